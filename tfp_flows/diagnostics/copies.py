"""Copies: rows that repeat others or training rows, and flows that memorize."""

import dataclasses

import numpy as np
from scipy import stats
from sklearn.neighbors import NearestNeighbors

from tfp_flows.diagnostics.held_out import HeldOut
from tfp_flows.diagnostics.two_samples import pairs_of

__all__ = ["Copies", "copies_of"]

# Rows, and as many points, whose nearest training row is searched for.
_SOUGHT = 2_000


@dataclasses.dataclass(frozen=True)
class Copies:
    """Rows that occur more often than a density allows.

    Attributes:
      rows: the number of rows that were compared, and of points drawn from the flow.
      repeated: the number of rows that exactly repeat an earlier one.
      repeated_by_flow: the same number for points drawn from the flow, where only
        rounding to the dtype causes repetitions.
      repeated_p_value: p-value of both repeating equally often.
      in_train: the number of rows that are exactly training rows; None without
        `x_train`.
      in_train_by_flow: the same number for points drawn from the flow.
      in_train_p_value: p-value of both being training rows equally often.
      nearer: the chance that a point drawn from the flow is nearer to its nearest
        training row than a held-out row is: 1/2 for a perfect flow, near 1 for one
        that has memorized its training rows; None without `x_train`.
      nearer_p_value: p-value of this chance being at most 1/2.
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


def copies_of(held_out: HeldOut, train: np.ndarray | None) -> Copies:
    """Returns the Copies among the held-out rows and the flow's points.

    Args:
      held_out: the rows and their flow.
      train: training rows in the form the flow takes, with their contexts appended
        if there are any; None without training rows.

    Source: for `nearer`, Meehan, Chaudhuri and Dasgupta (2020), "A non-parametric test
    to detect data-copying in generative models", section 3, over one cell.
    """
    n = min(len(held_out.x), len(held_out.drawn))
    # Added noise hides copies, so columns without noise are compared if there are any.
    columns = held_out.exact if held_out.exact.any() else ~held_out.exact
    x, drawn = (part[:n, columns] for part in (held_out.x, held_out.drawn))
    repeated, by_flow = (n - len(np.unique(part, axis=0)) for part in (x, drawn))
    found = Copies(n, repeated, by_flow, _more(repeated, by_flow))
    if train is None:
        return found
    known = set(_as_bytes(train[:, : len(columns)][:, columns]))
    in_train, in_flow = (
        sum(row in known for row in _as_bytes(part)) for part in (x, drawn)
    )
    nearer, p_value = _nearer(held_out, train)
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
    """Returns the p-value of a rare event being as frequent in the flow's points."""
    if not count:
        return 1.0
    return float(stats.binomtest(count, count + by_flow, alternative="greater").pvalue)


def _nearer(held_out: HeldOut, train: np.ndarray) -> tuple[float, float]:
    """Returns the chance that the flow's points are nearer, and its p-value.

    Rows that are training rows themselves are left out, as `in_train` counts them.
    """
    rows, points, train = pairs_of(held_out, _SOUGHT, train)
    search = NearestNeighbors(n_neighbors=1).fit(train)
    of_rows, of_points = (search.kneighbors(part)[0][:, 0] for part in (rows, points))
    of_rows = of_rows[of_rows > 0]
    if not len(of_rows):
        return 0.5, 1.0
    test = stats.mannwhitneyu(of_points, of_rows, alternative="less")
    return 1.0 - float(test.statistic) / (len(of_points) * len(of_rows)), float(
        test.pvalue
    )
