"""Loss and gradients of a batch, of parts of it side by side."""

import os
from typing import Any

import keras
import tensorflow as tf

__all__ = ["Gradients", "parts_of"]

# A part of fewer rows has matrix products too small to gain from another core.
_LEAST_ROWS = 64

# The gradients of the parts are added, which costs more the more there are.
_MOST_PARTS = 8


class Gradients:
    """Differentiates a model's loss.

    A flow is a long chain of small matrix products, each too small to occupy several
    cores. So on a CPU a batch may be cut into one part for each core, and their
    gradients are averaged: the numbers are those of the whole batch, to rounding.

    Args:
      model: it has `compute_loss`, and an optimizer that is built by the first call.
      jit_compile: whether XLA compiles loss and gradients.
    """

    def __init__(self, model: keras.Model, *, jit_compile: bool) -> None:
        self._model = model
        self.jit_compile = jit_compile
        self._can_split: bool | None = None
        self._of_part = tf.function(
            self._differentiate,
            autograph=False,
            jit_compile=jit_compile,
            reduce_retracing=True,
        )

    def __call__(
        self, x: Any, sample_weight: tf.Tensor | None = None, *, parts: int = 1
    ) -> tuple[tf.Tensor, list[tf.Tensor | None], tf.Tensor]:
        """Returns loss, gradients and log_prob of a batch.

        The gradients are those of the trainable weights, or one vector of them all
        where the optimizer packs them.

        Args:
          x: as for the model.
          sample_weight: of the rows, or None.
          parts: how many equal parts the batch is cut into.
        """
        if tf.distribute.has_strategy() or self._model.run_eagerly:
            return self._differentiate(x, sample_weight)
        if parts == 1:
            return self._of_part(x, sample_weight)
        pieces = [tf.split(part, parts) for part in tf.nest.flatten(x)]
        weights = (
            [None] * parts if sample_weight is None else tf.split(sample_weight, parts)
        )
        found = [
            self._of_part(tf.nest.pack_sequence_as(x, list(piece)), weight)
            for piece, weight in zip(zip(*pieces, strict=True), weights, strict=True)
        ]
        losses, gradients, log_prob = zip(*found, strict=True)
        mean = [
            None if gs[0] is None else tf.add_n(gs) / parts
            for gs in zip(*gradients, strict=True)
        ]
        return tf.add_n(losses) / parts, mean, tf.concat(log_prob, axis=0)

    def can_split(self, x: Any, sample_weight: Any = None) -> bool:
        """Returns whether the parts of a batch may be differentiated separately.

        They may not where differentiating changes a variable: layers with random
        generators or moving averages must see the batch as a whole.

        Args:
          x: `tf.TensorSpec` of a part.
          sample_weight: `tf.TensorSpec` of its weights, or None.
        """
        if self._can_split is None:
            graph = self._of_part.get_concrete_function(x, sample_weight).graph
            definition = graph.as_graph_def()
            nodes = [*definition.node]
            for function in definition.library.function:
                nodes += function.node_def
            self._can_split = not any(node.op.startswith("Assign") for node in nodes)
        return self._can_split

    def _differentiate(
        self, x: Any, sample_weight: tf.Tensor | None
    ) -> tuple[tf.Tensor, list[tf.Tensor | None], tf.Tensor]:
        model = self._model
        with tf.GradientTape() as tape:
            log_prob = model(x, training=True)
            loss = model.compute_loss(x, None, log_prob, sample_weight)
            scaled = model.optimizer.scale_loss(loss)
        weights = model.trainable_weights
        gradients = tape.gradient(scaled, weights)
        packing = getattr(model.optimizer, "packing", None)
        if packing is not None:
            gradients = [packing.flat(gradients, weights)]
        return loss, gradients, log_prob


def parts_of(rows: int) -> int:
    """Returns into how many parts a batch of `rows` is cut on a CPU."""
    cores = len(os.sched_getaffinity(0))
    return max(1, min(cores, _MOST_PARTS, rows // _LEAST_ROWS))
