"""Clock: how much of a time limit is left."""

import math
import time

__all__ = ["Clock"]


class Clock:
    """The time since the start, and the end of it.

    Args:
      seconds: until the end; None for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = math.inf if seconds is None else seconds
        self._start = time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return self.seconds - self.spent

    def stop(self) -> None:
        """Ends it now."""
        self.seconds = -math.inf
