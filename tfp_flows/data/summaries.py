"""Number, moments and a random sample of rows, found in one pass."""

import copy
import zlib
from typing import Any, Self

import numpy as np

__all__ = ["Summary"]

# A sample has at most so many rows and bytes.
_MOST_ROWS, _MOST_BYTES = 2**18, 2**25


class Summary:
    """Number, moments and a bounded random sample of rows that are read once.

    Mean and sum of squares are updated in float64 by those of each batch of m rows,
    after n rows::

        δ = mean_b - mean
        mean += δ · m / (n + m)
        M₂   += M₂_b + δ² · n · m / (n + m)

    The sample consists of the rows with the smallest keys, so that the keys alone
    determine which rows it holds.

    Attributes:
      rows: number of rows.
      mean: of each column.
      low: the smallest entry of each column.
      high: the largest entry of each column.
      checksum: of all rows in their order.

    Example:
      >>> import numpy as np
      >>> x, keys = np.arange(12.0).reshape(6, 2), np.array([3, 1, 4, 2, 6, 5])
      >>> summary = Summary()
      >>> summary.add(x[:4], keys[:4])
      >>> summary.add(x[4:], keys[4:])
      >>> bool(np.allclose(summary.std, x.std(0))), summary.sample[:2].tolist()
      (True, [[2.0, 3.0], [6.0, 7.0]])

    Source: Chan, Golub and LeVeque (1983), "Algorithms for computing the sample
    variance", eq. 2.1.
    """

    def __init__(self) -> None:
        self.rows = self.checksum = 0
        self.mean: np.ndarray | Any = 0.0
        self._squares: np.ndarray | Any = 0.0
        self.low: np.ndarray | Any = np.inf
        self.high: np.ndarray | Any = -np.inf
        self._kept: list[np.ndarray] = []
        self._keys: list[np.ndarray] = []
        self._held, self._limit = 0, np.inf

    def add(self, rows: np.ndarray, keys: np.ndarray) -> None:
        """Adds finite rows `(n, d)`, with a random key `(n,)` for each."""
        if not len(rows):
            return
        self._add_moments(rows, 1)
        self.low = np.minimum(self.low, rows.min(axis=0))
        self.high = np.maximum(self.high, rows.max(axis=0))
        self.checksum = zlib.crc32(np.ascontiguousarray(rows).data, self.checksum)
        chosen = keys < self._limit
        self._kept.append(rows[chosen])
        self._keys.append(keys[chosen])
        self._held += int(np.count_nonzero(chosen))
        if self._held > 2 * _most_rows(rows):
            self._settle()

    def _add_moments(self, rows: np.ndarray, sign: int) -> None:
        """Adds rows to the moments, or removes them where `sign` is -1."""
        numbers = np.asarray(rows, np.float64)
        mean, count = numbers.mean(axis=0), sign * len(rows)
        squares = sign * np.square(numbers - mean).sum(axis=0)
        delta, total = mean - self.mean, self.rows + count
        self._squares = self._squares + squares + delta**2 * self.rows * count / total
        self.mean = self.mean + delta * count / total
        self.rows = total

    def _settle(self) -> None:
        """Reduces what is kept to the sample, sorted by keys."""
        kept, keys = np.concatenate(self._kept), np.concatenate(self._keys)
        order = np.argsort(keys)[: _most_rows(kept)]
        self._kept, self._keys, self._held = [kept[order]], [keys[order]], len(order)
        if len(order) == _most_rows(kept):
            self._limit = self._keys[0][-1]

    @property
    def std(self) -> np.ndarray:
        """The standard deviation of each column; 0 where all numbers are the same."""
        variance = np.maximum(self._squares, 0.0) / self.rows
        return np.where(self.low < self.high, np.sqrt(variance), 0.0)

    @property
    def sample(self) -> np.ndarray:
        """At most 262,144 random rows, or what 32 MiB hold, in random order."""
        self._settle()
        return self._kept[0]

    def key(self, place: int) -> float:
        """Returns the key of a row of the sample."""
        self._settle()
        return self._keys[0][place]

    def without(self, count: int) -> Self:
        """Returns the summary of all rows but the first `count` of the sample."""
        rest = copy.copy(self)
        rest._add_moments(self.sample[:count], -1)
        rest._kept, rest._keys = [self._kept[0][count:]], [self._keys[0][count:]]
        return rest


def _most_rows(rows: np.ndarray) -> int:
    return max(min(_MOST_ROWS, _MOST_BYTES // (rows.shape[1] * rows.itemsize)), 1)
