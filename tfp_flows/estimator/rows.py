"""Rows: the points of a fit, split by the part that they play."""

import dataclasses
from typing import Any, Self

import numpy as np

__all__ = ["Rows", "in_random_order"]

# Bounds on the number of validation rows. A tenth of the rows is enough where that is
# less than the lower bound.
_LEAST_VALIDATION, _MOST_VALIDATION = 500, 20_000

# Share of the other rows that select among mixtures and starts, and its upper bound.
_SELECTION, _MOST_SELECTION = 0.3, 20_000


@dataclasses.dataclass(frozen=True)
class Rows:
    """Points in random order, of which the first ones are held out.

    Args:
      points: `(n, d)`.
      validation_size: number of rows that nothing is ever fitted to. They choose among
        averages of the weights and between the flow and the mixture.
      selection_size: number of rows that choose among the mixtures and among the
        flows that start from them. The result is fitted to these rows too.
    """

    points: np.ndarray
    validation_size: int
    selection_size: int

    @classmethod
    def split(cls, points: np.ndarray, validation_fraction: float) -> Self:
        """Returns the points with the sizes that suit their number.

        Args:
          points: `(n, d)`, in random order.
          validation_fraction: the share of them that is wanted for validation.
        """
        n = len(points)
        least = min(_LEAST_VALIDATION, n // 10)
        wanted = max(least, round(validation_fraction * n))
        validation = min(_MOST_VALIDATION, wanted, n // 2)
        selection = min(_MOST_SELECTION, round(_SELECTION * (n - validation)))
        return cls(points, validation, selection)

    @property
    def validation(self) -> np.ndarray:
        """The validation rows."""
        return self.points[: self.validation_size]

    @property
    def selection(self) -> np.ndarray:
        """The selection rows."""
        return self.held_out[self.validation_size :]

    @property
    def held_out(self) -> np.ndarray:
        """The validation rows, followed by the selection rows."""
        return self.points[: self.validation_size + self.selection_size]

    @property
    def train(self) -> np.ndarray:
        """All other rows: every model is fitted to these first."""
        return self.points[self.validation_size + self.selection_size :]

    @property
    def selection_and_train(self) -> np.ndarray:
        """The selection rows, followed by the training rows."""
        return self.points[self.validation_size :]

    def astype(self, dtype: Any) -> Self:
        """Returns the same split of the points in another dtype."""
        return dataclasses.replace(self, points=self.points.astype(dtype))


def in_random_order(n: int, weights: np.ndarray | None, seed: int) -> np.ndarray:
    """Returns n row numbers in random order, drawn in proportion to the weights.

    A row that is drawn several times stands beside its copies, so that a split of the
    result has at most one row on both sides. Equal weights draw every row once.

    Args:
      n: the number of rows.
      weights: `(n,)` numbers ≥ 0, or None for equal weights.
      seed: of the draws.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    if weights is not None and (weights != weights[0]).any():
        rows = rng.choice(n, n, p=weights / weights.sum())
    place = np.argsort(rng.permutation(n))
    return rows[np.argsort(place[rows])]
