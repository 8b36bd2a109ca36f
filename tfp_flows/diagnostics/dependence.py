"""Dependence between pairs of coordinates that a flow has left at its base."""

import dataclasses

import numpy as np
from scipy import stats
from scipy.special import ndtri

from tfp_flows.diagnostics.scores import Scores

__all__ = ["Dependence", "dependence_of"]

_LEAST = 1e-15
_SHOWN = 10


@dataclasses.dataclass(frozen=True)
class Dependence:
    """Dependence between two coordinates at the base that the base does not have.

    Attributes:
      first, second: indices of the coordinates.
      kind: "values" or "sizes" of both, or "value and size": of the first the value,
        of the second the size (how far it is from the middle).
      correlation: of their normal scores, in [-1, 1].
      expected: the same of the base: 0 where its coordinates are independent.
      p_value: that they are equal.
      adjusted: the same times the number of pairs and kinds.
    """

    first: int
    second: int
    kind: str
    correlation: float
    expected: float
    p_value: float
    adjusted: float


def dependence_of(scores: Scores) -> tuple[tuple[Dependence, ...], int]:
    """Returns the most dependent pairs, the most surprising first, and their number.

    With normal scores g = Φ⁻¹(u) and sizes h = Φ⁻¹(|2u - 1|), both standard normal,
    the correlations of (g_i, g_j), (h_i, h_j) and (g_i, h_j) are tested for all i ≠ j:
    by Student's t where coordinates are independent in the base, where it is exact;
    else against the base's draws, by Welch's t of the products.

    Args:
      scores: of the rows.

    Returns:
      At most ten Dependences, and how many were tested; none for one coordinate.
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
        # Both orders are one pair, but for a value and a size.
        places = np.triu_indices(d, 1)
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
    """Returns the normal scores of how far each is from the middle."""
    inner = np.abs(2 * stats.norm.cdf(normal) - 1)
    outer = 2 * stats.norm.sf(np.abs(normal))  # the same from 1, with all its digits
    below, above = (ndtri(np.maximum(share, _LEAST)) for share in (inner, outer))
    return np.where(inner < 0.5, below, -above)


def _standard(values: np.ndarray) -> np.ndarray:
    values = values - values.mean(axis=0)
    return values / np.maximum(values.std(axis=0), 1e-12)


def _student(r: np.ndarray, n: int) -> np.ndarray:
    """Returns p-values of correlations of independent normal numbers."""
    r = np.clip(r, -1 + 1e-15, 1 - 1e-15)
    return 2 * stats.t.sf(np.abs(r) * np.sqrt((n - 2) / (1 - r**2)), n - 2)


def _welch(a: np.ndarray, b: np.ndarray, c: np.ndarray, e: np.ndarray) -> np.ndarray:
    """Returns p-values that products of a and b have the mean of those of c and e."""
    means, variances = [], []
    for left, right in ((a, b), (c, e)):
        n = len(left)
        mean = left.T @ right / n
        variance = (left**2).T @ (right**2) / n - mean**2
        means.append(mean)
        variances.append(np.maximum(variance, 1e-12) / n)
    t = (means[0] - means[1]) / np.sqrt(variances[0] + variances[1])
    # Welch and Satterthwaite's degrees of freedom.
    sizes = len(a) - 1, len(c) - 1
    degrees = (variances[0] + variances[1]) ** 2 / sum(
        variance**2 / size for variance, size in zip(variances, sizes, strict=True)
    )
    return 2 * stats.t.sf(np.abs(t), degrees)
