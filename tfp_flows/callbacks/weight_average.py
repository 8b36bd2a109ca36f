"""WeightAverage: averaged weights, the best of which are kept."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["WeightAverage"]

# Of the average: its weight lies on about the last quarter of all steps.
_RECENCY = 3.0


class WeightAverage(keras.callbacks.Callback):
    """Averages the weights over the steps, and ends with the best average.

    After each step t (each call of the compiled step, of `steps_per_execution` steps)::

        average ← average + (1 + 3) / (t + 3) · (weights - average)

    which lies on about the last quarter of the steps, however many there are. At the
    end of each epoch the average is judged on held-out points, as "val_loss" in the
    logs; when training ends, or is interrupted, the model has the best of them.

    Args:
      x: held-out points, as `Flow.fit` takes them.
      patience: epochs without a better one after which training ends; None for none.
      start_from_epoch: epochs before a choice: where it is known that so many do good,
        few points should not tell otherwise. Each of their averages takes the place of
        the one before.

    Attributes:
      best: the mean of -log_prob of the best average, in nats.

    Source: Shamir and Zhang (2013), "Stochastic gradient descent for non-smooth
    optimization", section 4 (polynomial-decay averaging).
    """

    def __init__(
        self,
        x: Any,
        *,
        patience: int | None = None,
        start_from_epoch: int = 0,
    ) -> None:
        super().__init__()
        self.x = x
        self.patience = patience
        self.start_from_epoch = start_from_epoch
        self.best = math.inf
        self._weights: list[tf.Variable] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Judges the weights that training starts from."""
        weights = [v.value for v in self.model.trainable_variables]
        if list(map(id, weights)) != list(map(id, self._weights)):
            self._weights = weights
            self._average = [tf.Variable(w, trainable=False) for w in weights]
            self._move = tf.function(self._moved, autograph=False)
            self._swap = tf.function(self._swapped, autograph=False)
        for average, weight in zip(self._average, weights, strict=True):
            average.assign(weight)
        self._steps = 0
        self._waited = 0
        self.best, self._best = math.inf, [weight.numpy() for weight in weights]
        self._judge()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Moves the average towards the weights."""
        share = (1 + _RECENCY) / (self._steps + 1 + _RECENCY)
        self._steps += 1
        self._move(tf.constant(share))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Judges the average, and keeps it when it is the best so far."""
        before = self.best
        self._swap()
        loss = self._judge(is_sure=epoch < self.start_from_epoch)
        self._swap()
        if logs is not None:
            logs["val_loss"] = loss
        self._waited = 0 if self.best != before else self._waited + 1
        if not math.isfinite(loss):
            self._restart_from_best()
        elif self.patience is not None and self._waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the best weights in the model."""
        for weight, value in zip(self._weights, self._best, strict=True):
            weight.assign(value)

    def _judge(self, is_sure: bool = False) -> float:
        if self.model.context_size:
            given = self.model.given(self.x["context"])
            log_prob = given.log_prob(tf.cast(self.x["x"], self.model.dtype))
        else:
            log_prob = self.model.log_prob(self.x)
        loss = -float(np.mean(log_prob, dtype=np.float64))
        if loss < self.best or (is_sure and math.isfinite(loss)):
            self.best = loss
            self._best = [weight.numpy() for weight in self._weights]
        return loss

    def _restart_from_best(self) -> None:
        """After NaN: the best weights, and an optimizer that remembers nothing."""
        for weight, average, value in zip(
            self._weights, self._average, self._best, strict=True
        ):
            weight.assign(value)
            average.assign(value)
        optimizer = self.model.optimizer
        for variable in optimizer.variables:
            if variable is not optimizer.iterations and variable.shape:
                variable.assign(tf.zeros_like(variable.value))

    def _moved(self, share: tf.Tensor) -> None:
        for average, weight in zip(self._average, self._weights, strict=True):
            average.assign_add(tf.cast(share, weight.dtype) * (weight - average))

    def _swapped(self) -> None:
        for average, weight in zip(self._average, self._weights, strict=True):
            before, after = tf.identity(average), tf.identity(weight)
            with tf.control_dependencies([before, after]):
                average.assign(after)
                weight.assign(before)
