"""Clock: how much of a time limit is left."""

import math
import threading
import time

__all__ = ["Clock"]


class Clock:
    """Measures the time from its construction on, and how much of a limit is left.

    Args:
      seconds: the limit; None for no limit.
      cancelled: an event that ends the time at once when another thread sets it.
    """

    def __init__(
        self, seconds: float | None, cancelled: threading.Event | None = None
    ) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._cancelled = cancelled
        self._start = time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds since the clock was constructed."""
        return time.perf_counter() - self._start

    @property
    def left(self) -> float:
        """Seconds until the limit, negative after it; -inf once cancelled."""
        if self._cancelled is not None and self._cancelled.is_set():
            return -math.inf
        return self.seconds - self.spent
