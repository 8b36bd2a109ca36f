"""Dependence between coordinates of the base that a flow has failed to remove."""

import dataclasses

import numpy as np
from scipy import stats
from scipy.special import ndtri

from tfp_flows.diagnostics.scores import Scores

__all__ = ["Dependence", "dependence_of"]

_LEAST = 1e-15  # the smallest share whose quantile is computed
_SHOWN = 10  # pairs that are returned


@dataclasses.dataclass(frozen=True)
class Dependence:
    """Dependence between two coordinates of the rows mapped to the base.

    Attributes:
      first, second: the indices of the coordinates.
      kind: "values" or "sizes" if those of both coordinates are correlated; "value and
        size" for the value of the first and the size of the second. The size of a
        coordinate is its distance from the median.
      correlation: the correlation of their normal scores, in [-1, 1].
      expected: the same correlation for the base, 0 if its coordinates are independent.
      p_value: p-value of both correlations being equal.
      adjusted: the p-value times the number of pairs and kinds, at most 1.
    """

    first: int
    second: int
    kind: str
    correlation: float
    expected: float
    p_value: float
    adjusted: float


def dependence_of(scores: Scores) -> tuple[tuple[Dependence, ...], int]:
    """Returns the pairs with the smallest p-values, and how many pairs were tested.

    With normal scores g = Φ⁻¹(u) and sizes h = Φ⁻¹(|2u - 1|), both standard normal,
    the correlations of (g_i, g_j), (h_i, h_j) and (g_i, h_j) are tested for all i ≠ j.
    If the coordinates of the base are independent, the test is Student's t, which is
    exact; otherwise it is Welch's t of the products, against draws from the base.

    Args:
      scores: the Scores of the rows.

    Returns:
      At most ten Dependences, smallest p-value first, and the number of pairs and
      kinds that were tested, 0 for one coordinate.
    """
    d = scores.normal.shape[1]
    if d == 1:
        return (), 0
    g, h = _standard(scores.normal), _standard(_sizes(scores.normal))
    if scores.reference is None:
        reference = None
    else:
        reference = _standard(scores.reference), _standard(_sizes(scores.reference))
    found = []
    for kind, pick in (
        ("values", (0, 0)),
        ("sizes", (1, 1)),
        ("value and size", (0, 1)),
    ):
        a, b = ((g, h)[i] for i in pick)
        r = a.T @ b / len(a)
        if reference is None:
            expected, p = np.zeros_like(r), _student(r, len(a))
        else:
            c, e = (reference[i] for i in pick)
            expected, p = c.T @ e / len(c), _welch(a, b, c, e)
        # (i, j) and (j, i) are one pair, except for a value and a size.
        places: tuple[np.ndarray, ...] = np.triu_indices(d, 1)
        if kind == "value and size":
            places = np.nonzero(~np.eye(d, dtype=bool))
        found += [
            (float(p[i, j]), int(i), int(j), kind, float(r[i, j]), expected[i, j])
            for i, j in zip(*places, strict=True)
        ]
    found.sort(key=lambda one: (one[0], -abs(one[4])))
    count = len(found)
    return tuple(
        Dependence(i, j, kind, r, float(e), p, min(1.0, count * p))
        for p, i, j, kind, r, e in found[:_SHOWN]
    ), count


def _sizes(normal: np.ndarray) -> np.ndarray:
    """Returns the normal scores of the distances from the median."""
    inner = np.abs(2 * stats.norm.cdf(normal) - 1)
    outer = 2 * stats.norm.sf(np.abs(normal))  # 1 - inner, without loss of digits
    below, above = (ndtri(np.maximum(share, _LEAST)) for share in (inner, outer))
    return np.where(inner < 0.5, below, -above)


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=0)
    return values / np.maximum(values.std(axis=0), 1e-12)


def _student(r: np.ndarray, n: int) -> np.ndarray:
    """Returns the p-values of correlations r between independent normal numbers."""
    r = np.clip(r, -1 + 1e-15, 1 - 1e-15)
    return 2 * stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2)


def _welch(a: np.ndarray, b: np.ndarray, c: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Returns the p-values of the products a·b and c·e having the same mean."""
    means, variances = [], []
    for left, right in ((a, b), (c, e)):
        n = len(left)
        mean = left.T @ right / n
        variance = (left**2).T @ (right**2) / n - mean**2
        means.append(mean)
        variances.append(np.maximum(variance, 1e-12) / n)
    t = (means[0] - means[1]) / np.sqrt(variances[0] + variances[1])
    # The degrees of freedom of Welch and Satterthwaite.
    sizes = len(a) - 1, len(c) - 1
    degrees = (variances[0] + variances[1]) ** 2 / sum(
        variance**2 / size for variance, size in zip(variances, sizes, strict=True)
    )
    return 2 * stats.t.sf(np.abs(t), degrees)
