"""Adam for many small weights: Keras's optimizer with one update of all weights."""

import functools
import math
from collections.abc import Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._core import compat, devices
from tfp_flows.training.replicas import own

__all__ = ["Packing", "fuse"]

# Above so many numbers, copying the gradients into one vector costs more than it saves.
# A GPU copies faster, and must launch each of the operations that are saved.
_MOST_PACKED, _MOST_PACKED_ON_GPU = 2_000_000, 200_000_000


def fuse(optimizer: keras.optimizers.Optimizer) -> None:
    """Has Keras's Adam or AdamW update all weights at once, by TensorFlow's kernel.

    Keras updates each weight by about twelve operations. A flow has many small weights,
    for which starting an operation costs more than its arithmetic. So the moments of
    all weights are kept as two vectors. The object, its options, its schedule and its
    counter remain Keras's, and the weights are the same to rounding. The moments are
    saved as those vectors.

    Other optimizers and subclasses are left as they are, and so are optimizers with
    `amsgrad`, averages of weights, accumulated gradients, loss scaling, or clipping of
    single gradients.

    Args:
      optimizer: of a model; it is changed in place.

    Source: Kingma and Ba (2015), "Adam", algorithm 1 in the form of its section 2.
    """
    fusible = (
        type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
        and not optimizer.built
        and not optimizer.amsgrad
        and not optimizer.use_ema
        and not optimizer.gradient_accumulation_steps
        and not optimizer.loss_scale_factor
        and optimizer.clipnorm is None
    )
    if fusible:
        optimizer.packing = None
        optimizer.build = functools.partial(_build, optimizer)
        optimizer.apply = functools.partial(_apply, optimizer)


def _build(optimizer: keras.optimizers.Adam, weights: Sequence[keras.Variable]) -> None:
    """Builds the optimizer, with the moments packed where that pays."""
    if optimizer.built:
        return
    count = sum(math.prod(weight.shape) for weight in weights)
    on_gpu = devices.is_gpu(weight.value for weight in weights)
    most = _MOST_PACKED_ON_GPU if on_gpu else _MOST_PACKED
    if count > most or len({weight.dtype for weight in weights}) > 1:
        type(optimizer).build(optimizer, weights)
        return
    keras.optimizers.Optimizer.build(optimizer, weights)
    optimizer.packing = Packing(optimizer, weights)


def _apply(
    optimizer: keras.optimizers.Adam,
    gradients: Sequence[Any],
    weights: Sequence[keras.Variable] | Any = None,
) -> None:
    """Updates the weights by their gradients, as `Optimizer.apply`."""
    if not optimizer.built:
        optimizer.build(list(weights))
    if optimizer.packing is None:
        type(optimizer).apply(optimizer, gradients, weights)
        return
    weights = optimizer.packing.weights if weights is None else weights
    gradient = optimizer.packing.flat(gradients, weights)
    if tf.distribute.has_strategy():  # each replica has the gradient of its part
        gradient = tf.distribute.get_replica_context().all_reduce("SUM", gradient)
    optimizer.packing.step(gradient)


class Packing:
    """Adam's moments of many weights, as two vectors.

    Attributes:
      weights: all weights, in the order in which they are packed.
    """

    def __init__(
        self, optimizer: keras.optimizers.Adam, weights: Sequence[keras.Variable]
    ) -> None:
        self.weights = list(weights)
        self._optimizer = optimizer
        self._sizes = [math.prod(weight.shape) for weight in weights]
        self._dtype = tf.as_dtype(weights[0].dtype)
        count = sum(self._sizes)
        self._momentum, self._velocity = (
            optimizer.add_variable([count], dtype=self._dtype.name, name=name).value
            for name in ("momentum", "velocity")
        )
        self._move = tf.Variable(tf.zeros([count], self._dtype), trainable=False)

    def flat(
        self, gradients: Sequence[Any], weights: Sequence[keras.Variable]
    ) -> tf.Tensor:
        """Returns gradients as one vector, with zeros for those that are missing.

        `step`, which is traced after this, leaves weights without a gradient alone.
        """
        found = dict(zip(map(id, weights), gradients, strict=True))
        unknown = set(found) - set(map(id, self.weights))
        if unknown:
            names = ", ".join(w.path for w in weights if id(w) in unknown)
            raise ValueError(
                f"This optimizer was built for other weights than {names}. Remedy: an "
                "optimizer for each model, and `compile` after weights are unfrozen."
            )
        in_order = [found.get(id(weight)) for weight in self.weights]
        self._moved = [gradient is not None for gradient in in_order]
        return tf.concat(
            [
                tf.zeros([size], self._dtype)
                if gradient is None
                else tf.reshape(tf.convert_to_tensor(gradient), [-1])
                for gradient, size in zip(in_order, self._sizes, strict=True)
            ],
            axis=0,
        )

    def step(self, gradient: tf.Tensor) -> None:
        """Updates the weights by the vector that `flat` has returned."""
        optimizer, dtype = self._optimizer, self._dtype
        moved = self._moved
        weights = [w for w, is_in in zip(self.weights, moved, strict=True) if is_in]
        momentum, velocity, change, iterations = map(
            own,
            (self._momentum, self._velocity, self._move, optimizer.iterations.value),
        )
        if optimizer.global_clipnorm is not None:
            gradient = tf.clip_by_norm(gradient, optimizer.global_clipnorm)
        elif optimizer.clipvalue is not None:
            most = optimizer.clipvalue
            gradient = tf.clip_by_value(gradient, -most, most)
        rate = tf.cast(optimizer.learning_rate, dtype)
        if optimizer.weight_decay is not None:
            for weight in weights:
                if not compat.has_weight_decay(optimizer, weight):
                    continue
                decay = tf.cast(optimizer.weight_decay, dtype)
                mine = own(weight.value)
                mine.assign_sub(mine * decay * rate)
        count = tf.cast(iterations + 1, dtype)
        beta_1, beta_2 = (
            tf.constant(beta, dtype) for beta in (optimizer.beta_1, optimizer.beta_2)
        )
        past = None if all(moved) else (momentum + 0, velocity + 0)
        change.assign(tf.zeros_like(gradient))
        tf.raw_ops.ResourceApplyAdam(
            var=change.handle,
            m=momentum.handle,
            v=velocity.handle,
            beta1_power=beta_1**count,
            beta2_power=beta_2**count,
            lr=rate,
            beta1=beta_1,
            beta2=beta_2,
            epsilon=tf.constant(optimizer.epsilon, dtype),
            grad=gradient,
        )
        if past:  # weights without a gradient keep their moments
            mask = tf.repeat(moved, self._sizes)
            for moment, before in zip((momentum, velocity), past, strict=True):
                moment.assign(tf.where(mask, moment, before))
        moves = tf.split(change, self._sizes)
        for weight, move, has_moved in zip(self.weights, moves, moved, strict=True):
            if has_moved:
                mine = own(weight.value)
                mine.assign_add(tf.reshape(move, weight.shape))
                if weight.constraint is not None:
                    mine.assign(weight.constraint(mine))
        iterations.assign_add(1)
