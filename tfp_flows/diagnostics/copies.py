"""Copies: rows that repeat others or training rows, flows that learn by heart."""

import dataclasses

import numpy as np
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from tfp_flows.diagnostics.held_out import Subject
from tfp_flows.diagnostics.two_samples import pairs_of

__all__ = ["Copies", "copies_of"]

# Points whose nearest training row is looked for.
_SOUGHT = 2_000


@dataclasses.dataclass(frozen=True)
class Copies:
    """Rows that occur more often than a density allows.

    Attributes:
      rows: number of rows that were looked at, and of points of the flow.
      repeated: rows that repeat an earlier one exactly.
      repeated_by_flow: the same of the points of the flow, where only rounding to the
        dtype makes them.
      repeated_p_value: that the flow's points repeat each other as often.
      in_train: rows that are training rows, exactly; None without `x_train`.
      in_train_by_flow: the same of the flow's points.
      in_train_p_value: that these are as many.
      nearer: the chance that a point of the flow is nearer to its nearest training
        row than a row of the data is: 1/2 for a perfect flow, near 1 for one that has
        learned them by heart; None without `x_train`.
      nearer_p_value: that it is at most 1/2.
    """

    rows: int
    repeated: int
    repeated_by_flow: int
    repeated_p_value: float
    in_train: int | None = None
    in_train_by_flow: int | None = None
    in_train_p_value: float = 1.0
    nearer: float | None = None
    nearer_p_value: float = 1.0


def copies_of(subject: Subject, train: np.ndarray | None) -> Copies:
    """Returns the Copies of a subject.

    Args:
      subject: the flow and its rows.
      train: training rows as the flow takes them, with their contexts appended where
        there are some; None if not told.

    Source: for `nearer`, Meehan, Chaudhuri and Dasgupta (2020), "A non-parametric test
    to detect data-copying in generative models", section 3, over one cell.
    """
    n = min(len(subject.x), len(subject.drawn))
    # Noise that was added makes no copies.
    columns = subject.exact if subject.exact.any() else ~subject.exact
    x, drawn = (part[:n, columns] for part in (subject.x, subject.drawn))
    repeated, by_flow = (n - len(np.unique(part, axis=0)) for part in (x, drawn))
    found = Copies(n, repeated, by_flow, _more(repeated, by_flow))
    if train is None:
        return found
    known = set(_as_bytes(train[:, : len(columns)][:, columns]))
    in_train, in_flow = (
        sum(row in known for row in _as_bytes(part)) for part in (x, drawn)
    )
    nearer, p_value = _nearer(subject, train)
    return dataclasses.replace(
        found,
        in_train=in_train,
        in_train_by_flow=in_flow,
        in_train_p_value=_more(in_train, in_flow),
        nearer=nearer,
        nearer_p_value=p_value,
    )


def _as_bytes(rows: np.ndarray) -> list[bytes]:
    return [row.tobytes() for row in np.ascontiguousarray(rows) + 0.0]  # -0 is 0


def _more(count: int, by_flow: int) -> float:
    """Returns a p-value that a rare thing is as frequent among the flow's points."""
    if not count:
        return 1.0
    return float(stats.binomtest(count, count + by_flow, alternative="greater").pvalue)


def _nearer(subject: Subject, train: np.ndarray) -> tuple[float, float]:
    """Returns the chance that the flow's points are nearer, and its p-value.

    Rows that are training rows themselves are left out: they are counted already.
    """
    rows, points, train = pairs_of(subject, _SOUGHT, train)
    search = NearestNeighbors(n_neighbors=1).fit(train)
    of_rows, of_points = (search.kneighbors(part)[0][:, 0] for part in (rows, points))
    of_rows = of_rows[of_rows > 0]
    if not len(of_rows):
        return 0.5, 1.0
    test = stats.mannwhitneyu(of_points, of_rows, alternative="less")
    return 1.0 - float(test.statistic) / (len(of_points) * len(of_rows)), float(
        test.pvalue
    )
