"""CosineToDeadline: a learning rate that reaches its end at a deadline."""

import math
import time
from typing import Any

import keras

from tfp_flows._core import checks

__all__ = ["CosineToDeadline"]


class CosineToDeadline(keras.callbacks.Callback):
    """Lowers the learning rate along a cosine until a deadline, and ends training.

    Let f be the share of the seconds or of the steps that is over, whichever is larger,
    and w the share for warming up::

        rate(f) = learning_rate · min(1, f / w) · (α + (1 - α) · (1 + cos πf) / 2)

    Args:
      learning_rate: the rate at the start; None takes that of the optimizer.
      seconds: the time until the end, from the start of `fit`; None for no limit.
      steps: the number of steps until the end; None for no limit.
      warm_up: w, the share of training in which the rate rises from zero, in [0, 1).
      alpha: α, the rate at the end as a share of that at the start, in [0, 1]. With 1
        the rate stays constant.

    Raises:
      ValueError: neither `seconds` nor `steps` is given, one of them is not positive,
        or `warm_up` or `alpha` is out of range.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("two_moons").sample(500, seed=0)
      >>> flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
      >>> flow.compile("adam")
      >>> history = flow.fit(x, batch_size=50, epochs=99, verbose=0, callbacks=[
      ...     CosineToDeadline(3e-3, steps=40)])
      >>> len(history.history["loss"])  # epochs of ten steps each
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
        self.steps = None if steps is None else checks.positive_int(steps, "steps")

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Starts the clock and sets the first rate."""
        if self.learning_rate is None:
            self.learning_rate = float(self.model.optimizer.learning_rate)
        self._highest = self.learning_rate
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
        self.model.optimizer.learning_rate = self._highest * rise * fall
