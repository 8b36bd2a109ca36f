"""DensityModel: a Keras model whose output is log_prob, and the data it takes."""

import math
import os
import random
import sys
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import compat
from tfp_flows.data import arguments
from tfp_flows.data.batches import EVALUATED_AT_ONCE
from tfp_flows.training.checkpoint import Checkpoint
from tfp_flows.training.guard import Guard
from tfp_flows.training.likelihood import LikelihoodModel, at_weights
from tfp_flows.training.workers import Workers

__all__ = ["DensityModel"]

_BATCH_SIZE = 32  # Keras's own


class DensityModel(LikelihoodModel):
    """A Keras model of a density: called with points, it returns log_prob in nats.

    It is fitted by maximum likelihood, through Keras's own `fit`. A subclass has the
    attributes `event_size`, the width of the points, and `context_size`, that of a
    context, 0 for none; its weights exist when it is constructed.
    """

    event_size: int
    context_size: int = 0

    @at_weights
    def fit(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        checkpoint_dir: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Fits the weights to data, by Keras's own `fit`.

        Args:
          x: points `(n, event_size)` as NumPy, pandas or tensors; {"x": points,
            "context": `(n, context_size)`} for a conditional flow; or a
            `tf.data.Dataset` of batches of these; with weights in a dataset as
            `(x, anything, sample_weight)`. Or a path, of which no more is in memory
            than some 200 MB: a `.npy`, CSV or Parquet file, or a folder of files of one
            of these kinds, with the columns of the points and then of the context.
          y: None: a density has no targets.
          batch_size: points a step, of all replicas together; 32 when None, as in
            Keras.
          epochs: passes over the data.
          checkpoint_dir: a folder for the state of the fit, which is written after
            its epochs. The same call goes on from there after a crash, and ends with
            the weights, to the bit, of a fit that was never interrupted; one that has
            ended is not repeated. After Ctrl-C `best.keras` lies there, too.
          **kwargs: as for `keras.Model.fit`: `validation_split`, `validation_data`
            (points, a path, or `(points, None, weights)`), `callbacks`,
            `sample_weight`, …

        Returns:
          Keras's History; "loss" is the mean of -log_prob in nats.

        Raises:
          ValueError: the chain has nothing to learn; or points of the wrong width,
            none at all, or NaN or infinite ones.
          ValueError: `checkpoint_dir` is of another fit, or damaged.
          TypeError: points that are not numbers.
          OSError: `checkpoint_dir` cannot be written, or a path not be read.
          ImportError: it is a Parquet file, and pyarrow is not installed.
          ConnectionError: another worker of the strategy has gone.
          FloatingPointError: step after step is not finite, at smaller rates too; the
            flow has the best weights so far. A single such step is left out, and the
            first one is explained in a warning.
        """
        if kwargs.get("class_weight") is not None:
            raise ValueError(
                "`class_weight` is for targets, which a density has none of. Remedy: "
                "`sample_weight`."
            )
        points = self._checked(x, y, kwargs.pop("sample_weight", None))
        validation = kwargs.pop("validation_data", None)
        fraction = kwargs.pop("validation_split", 0.0)
        if validation is None:
            points, held_out = arguments.split(points, fraction)
        else:
            held_out = self._checked(*arguments.unpacked(validation))
        if held_out is not None:
            size = kwargs.pop("validation_batch_size", None) or EVALUATED_AT_ONCE
            held_out = held_out.batches(size)
        steps = kwargs.get("steps_per_epoch")
        is_dataset = isinstance(points.x, tf.data.Dataset)
        # Weights start from one epoch.
        self._before_fit(
            points._replace(x=points.x.take(steps)) if is_dataset and steps else points
        )
        others = _as_list(kwargs.pop("callbacks", None))
        order, batches = None, points.x
        if points.is_array or points.is_stream:
            if batch_size is None:
                count = points.length
                batch_size = math.ceil(count / steps) if steps else _BATCH_SIZE
            shuffle = bool(kwargs.pop("shuffle", True))
            order = points.order(_drawn_seed(), shuffle=shuffle)
            has_own_step = type(self).train_step is not DensityModel.train_step
            if steps or has_own_step or points.is_stream or self.run_eagerly:
                batches = points.batches(batch_size, order)
            else:
                self._on_hand = (points.parts, order, batch_size)
                batches = self._example_of(points)  # is not read
                kwargs["steps_per_epoch"] = math.ceil(order.rows / batch_size)
                self._choose_compiler(batch_size, epochs * kwargs["steps_per_epoch"])
        self._choose_steps(batch_size, batches, kwargs.get("steps_per_epoch"), others)
        callbacks = [order, *others] if order else [*others]
        if self.compiled:
            callbacks.insert(0, self._prepared_guard(points))
            if isinstance(batches, tf.data.Dataset) and not self._on_hand:
                self._cut_batches(batches.element_spec)
        workers, seen = Workers(self.distribute_strategy), None
        if workers.count > 1 or checkpoint_dir is not None:
            seen = points.mark
        if checkpoint_dir is not None:
            watched = [*others, self._guard]
            checkpoint = Checkpoint(checkpoint_dir, order, watched, seen, workers)
            callbacks.append(checkpoint)
        try:
            with workers.together():
                if self.compiled:
                    workers.start_alike(self, seen, order)
                history = super().fit(
                    batches,
                    epochs=epochs,
                    validation_data=held_out,
                    callbacks=callbacks,
                    **{**kwargs, "shuffle": False},  # it is, where it should be
                )
        except KeyboardInterrupt:
            if checkpoint_dir is not None and workers.is_chief:
                self._guard.leave_best()
                print(checkpoint.leave_best(), file=sys.stderr)
            raise
        except Exception:
            # A graph that failed half-made would fail the next `fit` too.
            self.train_function = self.test_function = self._many_steps = None
            raise
        finally:
            compat.start_from_epoch(self, None)  # a checkpoint may have set it
            if self._on_hand:
                self._on_hand = self.train_function = None
        self._after_fit(points)
        return history

    @at_weights
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Takes one step, as `keras.Model.train_on_batch`."""
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)
        return super().train_on_batch(*args, **kwargs)

    @at_weights
    def evaluate(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Returns the mean of -log_prob in nats, by Keras's own `evaluate`.

        Args and errors are those of `fit`.
        """
        if compat.is_evaluation_within_fit(kwargs):  # already checked
            return super().evaluate(x, y, batch_size=batch_size, **kwargs)
        points = self._checked(x, y, kwargs.pop("sample_weight", None))
        return super().evaluate(
            points.batches(batch_size or EVALUATED_AT_ONCE), **kwargs
        )

    @at_weights
    def predict(
        self, x: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Returns `log_prob` of the points, `(n,)`, in nats, by Keras's own `predict`.

        Args and errors are those of `fit`.
        """
        batches = self._checked(x).batches(batch_size or EVALUATED_AT_ONCE)
        # Keras unrolls the steps of a call here.
        at_once, self.steps_per_execution = self.steps_per_execution, 1
        try:
            return super().predict(batches, **kwargs)
        finally:
            self.steps_per_execution = at_once

    def _checked(self, x: Any, y: Any = None, weights: Any = None) -> arguments.FitData:
        return arguments.checked(
            x,
            y,
            weights,
            event_size=self.event_size,
            dtype=self.dtype,
            context_size=self.context_size,
        )

    def _example_of(self, points: arguments.FitData) -> tf.data.Dataset:
        """Returns batches that look like those of the points, of a row a replica."""
        rows = self.distribute_strategy.num_replicas_in_sync
        batch = tf.nest.map_structure(
            lambda part: np.resize(part, [rows, *part.shape[1:]]), points.parts
        )
        return tf.data.Dataset.from_tensors(batch).repeat()

    def _prepared_guard(self, points: arguments.FitData) -> Guard:
        self._guard.rows = points.points if points.is_array else None
        sizes = {"x": self.event_size, "context": self.context_size}
        with self.distribute_strategy.scope():
            # Or Keras traces the first step twice.
            self.optimizer.build(self.trainable_variables)
            self._guard.keep_batches(
                {name: size for name, size in sizes.items() if size}, self.dtype
            )
        return self._guard

    def _before_fit(self, points: arguments.FitData) -> None:
        """Hook: `fit` has checked the data, and learns from these."""

    def _after_fit(self, points: arguments.FitData) -> None:
        """Hook: `fit` has learned from these."""


def _as_list(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Returns what Keras takes as callbacks as a list."""
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"`callbacks` must be Keras callbacks. Received: {callback!r}."
            )
    return callbacks


def _drawn_seed() -> int:
    """Returns a seed that follows `keras.utils.set_random_seed`, as Keras's own do."""
    return random.randint(0, 2**31 - 1)
