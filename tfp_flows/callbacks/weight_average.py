"""WeightAverage: averages the weights of training and keeps the best average."""

import math
from collections.abc import Mapping
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

__all__ = ["WeightAverage"]

# With 3, most of the weight of the average is on about the last quarter of all steps.
_RECENCY = 3.0


class WeightAverage(keras.callbacks.Callback):
    """Averages the weights over the steps, and ends training with the best average.

    After call t of the compiled step, which makes `steps_per_execution` steps::

        average ← average + (1 + 3) / (t + 3) · (weights - average)

    Most of the weight of this average is on about the last quarter of the steps,
    however many there are. At the end of each epoch the average is evaluated on
    selection rows, and logged as "val_loss". When training ends, or is interrupted,
    the model gets the best of these averages.

    Args:
      x: selection rows, in the form that `Flow.fit` takes.
      patience: the number of epochs without a better average after which training
        ends; None for no such end.
      start_from_epoch: the number of epochs before any choice. In these the latest
        average counts as the best one, so that a few selection rows cannot end a
        training that is known to need this many epochs.

    Attributes:
      best: the mean of -log_prob of the best average at the selection rows, in nats.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("two_moons").sample(600, seed=0)
      >>> flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
      >>> flow.compile("adam")
      >>> average = WeightAverage(x[500:])
      >>> history = flow.fit(x[:500], epochs=3, verbose=0, callbacks=[average])
      >>> average.best == min(history.history["val_loss"])
      True

    Source: Shamir and Zhang (2013), "Stochastic gradient descent for non-smooth
    optimization", section 4 (polynomial-decay averaging).
    """

    def __init__(
        self,
        x: ArrayLike | Mapping[str, ArrayLike],
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
        """Evaluates the weights that training starts from."""
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
        self._evaluate()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Moves the average towards the weights."""
        share = (1 + _RECENCY) / (self._steps + 1 + _RECENCY)
        self._steps += 1
        self._move(tf.constant(share))

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Evaluates the average, and keeps it if it is the best so far."""
        before = self.best
        self._swap()
        loss = self._evaluate(always_best=epoch < self.start_from_epoch)
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

    def _evaluate(self, always_best: bool = False) -> float:
        if isinstance(self.x, Mapping):
            given = self.model.given(self.x["context"])
            log_prob = given.log_prob(tf.cast(self.x["x"], self.model.dtype))
        else:
            log_prob = self.model.log_prob(self.x)
        loss = -float(np.mean(log_prob, dtype=np.float64))
        if loss < self.best or (always_best and math.isfinite(loss)):
            self.best = loss
            self._best = [weight.numpy() for weight in self._weights]
        return loss

    def _restart_from_best(self) -> None:
        """Restores the best weights and clears the optimizer's state, after a NaN."""
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
