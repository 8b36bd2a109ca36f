"""Keras callbacks: a learning rate that ends on time, and averaged weights."""

import math
import time
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import _checks

__all__ = ["CosineToDeadline", "WeightAverage"]

# Of the average: its weight lies on about the last ninth of all steps.
_RECENCY = 8.0


class CosineToDeadline(keras.callbacks.Callback):
    """Lowers the learning rate as a cosine, to zero or less far, and ends training.

    With f the share of the seconds or of the steps that is over, the larger one, and
    w the share for warming up::

        rate(f) = learning_rate · min(1, f / w) · (α + (1 - α) · (1 + cos πf) / 2)

    Args:
      learning_rate: at the start; that of the optimizer when None.
      seconds: until the end, from the first batch on; None for no limit.
      steps: until the end; None for no limit.
      warm_up: share of training, in [0, 1), in which the rate rises from zero.
      alpha: α in [0, 1], the rate at the end as a share of that at the start; 1 keeps
        it.

    Raises:
      ValueError: neither `seconds` nor `steps` is given, or one is not positive; a
        share that is none.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("two_moons").sample(500, seed=0)
      >>> flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
      >>> flow.compile("adam")
      >>> history = flow.fit(x, batch_size=50, epochs=99, verbose=0, callbacks=[
      ...     CosineToDeadline(3e-3, steps=40)])
      >>> len(history.history["loss"])  # of ten steps each
      4

    Source: Loshchilov and Hutter (2017), "SGDR", eq. 5, without restarts.
    """

    def __init__(
        self,
        learning_rate: float | None = None,
        *,
        seconds: float | None = None,
        steps: int | None = None,
        warm_up: float = 0.0,
        alpha: float = 0.0,
    ) -> None:
        super().__init__()
        if not 0 <= warm_up < 1:
            raise ValueError(f"`warm_up` must be in [0, 1). Received: {warm_up!r}.")
        if not 0 <= alpha <= 1:
            raise ValueError(f"`alpha` must be in [0, 1]. Received: {alpha!r}.")
        self.warm_up, self.alpha = warm_up, alpha
        if seconds is None and steps is None:
            raise ValueError("`seconds` or `steps` must be given.")
        if seconds is not None and not seconds > 0:
            raise ValueError(f"`seconds` must be positive. Received: {seconds!r}.")
        self.learning_rate = learning_rate
        self.seconds = seconds
        self.steps = None if steps is None else _checks.positive_int(steps, "steps")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock."""
        if self.learning_rate is None:
            self.learning_rate = float(self.model.optimizer.learning_rate)
        self._start = time.perf_counter()
        self._first = int(self.model.optimizer.iterations)
        self._set_rate(0.0)

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Sets the rate of the next step."""
        over = [0.0]
        if self.seconds is not None:
            over.append((time.perf_counter() - self._start) / self.seconds)
        if self.steps is not None:
            done = int(self.model.optimizer.iterations) - self._first
            over.append(done / self.steps)
        share = min(1.0, max(over))
        self._set_rate(share)
        if share >= 1:
            self.model.stop_training = True

    def _set_rate(self, share: float) -> None:
        rise = min(1.0, share / self.warm_up) if self.warm_up else 1.0
        fall = self.alpha + (1 - self.alpha) * (1 + math.cos(math.pi * share)) / 2
        self.model.optimizer.learning_rate = self.learning_rate * rise * fall


class WeightAverage(keras.callbacks.Callback):
    """Averages the weights over the steps, and ends with the best average.

    After each step t (each call of the compiled step, of `steps_per_execution` steps)::

        average ← average + (1 + 8) / (t + 8) · (weights - average)

    which lies on about the last ninth of the steps, however many there are. At the end
    of each epoch the average is judged on held-out points, as "val_loss" in the logs;
    when training ends, or is interrupted, the model has the best of them.

    Args:
      x: held-out points, as `Flow.fit` takes them.
      patience: epochs without a better one after which training ends; None for none.

    Attributes:
      best: the least mean of -log_prob found, in nats.

    Source: Shamir and Zhang (2013), "Stochastic gradient descent for non-smooth
    optimization", section 4 (polynomial-decay averaging).
    """

    def __init__(self, x: Any, *, patience: int | None = None) -> None:
        super().__init__()
        self.x = x
        self.patience = patience
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
        loss = self._judge()
        self._swap()
        if logs is not None:
            logs["val_loss"] = loss
        self._waited = 0 if self.best < before else self._waited + 1
        if not math.isfinite(loss):
            self._restart_from_best()
        elif self.patience is not None and self._waited >= self.patience:
            self.model.stop_training = True

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Leaves the best weights in the model."""
        for weight, value in zip(self._weights, self._best, strict=True):
            weight.assign(value)

    def _judge(self) -> float:
        if self.model.context_size:
            given = self.model.given(self.x["context"])
            log_prob = given.log_prob(tf.cast(self.x["x"], self.model.dtype))
        else:
            log_prob = self.model.log_prob(self.x)
        loss = -float(np.mean(log_prob, dtype=np.float64))
        if loss < self.best:
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
