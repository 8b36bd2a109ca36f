"""Calibration: held-out rows compared with the flow's own distribution."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike
from scipy import stats

from tfp_flows.diagnostics.held_out import FittedDensity, HeldOut, held_out_of
from tfp_flows.diagnostics.p_values import holm, smallest
from tfp_flows.diagnostics.scores import Scores, normal_scores, scores_of
from tfp_flows.flow import Flow

__all__ = ["Calibration", "calibrate", "calibrations_of"]

TAIL = 0.005  # the share of the base in each tail that is tested by itself
_BINS, _LEVELS = 20, 200  # of `histogram` and of `quantiles`


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How one number computed from every row compares with its distribution.

    Let u be the share of the flow's own distribution that lies below the number of a
    row. For a flow that fits, u is uniform on [0, 1] over the rows (the probability
    integral transform), and the normal scores Φ⁻¹(u) are standard normal.

    Attributes:
      name: "z[0]", "z[1]", … for coordinates of the base, "radius" for the length of
        the normal scores, "log-density" for log_prob.
      column: the column of the data that is correlated with this coordinate most, if
        the correlation is above 1/2; else None, as for "radius" and "log-density".
      distance: the Kolmogorov-Smirnov distance of u from uniform, in [0, 1].
      shift, spread: the mean and standard deviation of the normal scores: 0 and 1 for
        a flow that fits.
      below, above: the shares of rows in the flow's lowest and highest 0.5%.
      lowest, highest: the smallest and the largest normal score.
      distance_p_value: p-value of a flow that fits, by the distance.
      tails_p_value: p-value of a flow that fits, by the tails' shares and extremes.
      p_value: p-value of a flow that fits, by both together.
      adjusted: `p_value`, adjusted by Holm's method among the coordinates.
      histogram: the number of rows in 20 equal cells of [0, 1], `(20,)`.
      quantiles: the quantiles of u at (i + 1/2) / 200, `(200,)`.
      n: the number of rows.
      reference: the number of draws that define u; None if u is computed from a
        distribution function.

    Source: Rosenblatt (1952), "Remarks on a multivariate transformation".
    """

    name: str
    column: str | None
    distance: float
    shift: float
    spread: float
    below: float
    above: float
    lowest: float
    highest: float
    distance_p_value: float
    tails_p_value: float
    p_value: float
    adjusted: float
    histogram: np.ndarray
    quantiles: np.ndarray
    n: int
    reference: int | None


def calibrate(
    flow: Flow | FittedDensity,
    x_test: ArrayLike,
    *,
    context: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[Calibration, ...]:
    """Returns the calibration of each coordinate of the base, the radius and log_prob.

    If the coordinates of the base are independent, their distribution functions are
    used where they are known. For any other base, draws from it are used.

    Args:
      flow: a Flow, or a fitted FlowDensity.
      x_test: held-out rows, `(n, event_size)`, n ≥ 50.
      context: the contexts of these rows, `(n, context_size)`, for a conditional flow.
      names: the names of the columns. None takes those of a DataFrame, or else
        x[0], x[1], ….
      seed: the seed of everything that is drawn.

    Returns:
      One Calibration for each coordinate, then "radius" and "log-density".

    Raises:
      TypeError: `flow` is neither a Flow nor a FlowDensity, or the rows are not
        numbers.
      ValueError: the rows have the wrong width, NaN or infinite entries, or no density
        under the flow, or are too few; a context is missing or not needed.

    Example:
      >>> import numpy as np, tfp_flows as tfpf
      >>> flow = tfpf.Flow([], event_size=2)
      >>> x = np.random.default_rng(0).normal(size=(2000, 2)) + [0.0, 0.3]
      >>> for one in calibrate(flow, x):
      ...     print(f"{one.name}: {one.distance:.2f} (p = {one.adjusted:.2f})")
      z[0]: 0.02 (p = 0.20)
      z[1]: 0.11 (p = 0.00)
      radius: 0.02 (p = 0.34)
      log-density: 0.02 (p = 0.42)
    """
    held_out = held_out_of(flow, x_test, context, names, seed)
    keep = usable(held_out)
    return calibrations_of(held_out, scores_of(held_out, keep), keep)


def usable(held_out: HeldOut) -> np.ndarray:
    """Returns which rows have a finite log_prob and are finite at the base, `(n,)`.

    Raises:
      ValueError: fewer than two rows do.
    """
    keep = np.isfinite(held_out.z).all(axis=-1) & np.isfinite(held_out.log_prob_of_x)
    if keep.sum() < 2:
        raise ValueError(
            "`x_test` must hold rows that have a density under the flow. Received "
            f"{len(keep) - keep.sum()} of {len(keep)} without. Remedy: a flow whose "
            "range holds the data (see docs/supports.md)."
        )
    return keep


def calibrations_of(
    held_out: HeldOut, scores: Scores, keep: np.ndarray
) -> tuple[Calibration, ...]:
    """Returns the Calibrations of the held-out rows in `keep`; see `calibrate`."""
    d = scores.normal.shape[1]
    rng = held_out.generator(5)
    columns = _closest_columns(held_out.x[keep], scores.normal, held_out.names)
    coordinates = []
    for j in range(d):
        if scores.reference is None:
            shares = scores.lower[:, j], scores.upper[:, j]
            one = _known(f"z[{j}]", *shares)
        else:
            pair = scores.values[:, j], scores.reference_values[:, j]
            one = _drawn(f"z[{j}]", *pair, rng)
        coordinates.append(dataclasses.replace(one, column=columns[j]))
    adjusted = holm([one.p_value for one in coordinates])
    coordinates = [
        dataclasses.replace(one, adjusted=float(p))
        for one, p in zip(coordinates, adjusted, strict=True)
    ]
    squared = np.sum(scores.normal**2, axis=-1)
    if scores.reference is None:
        chi2 = stats.chi2(d)
        radius = _known("radius", chi2.cdf(squared), chi2.sf(squared))
    else:
        drawn = np.sum(scores.reference**2, axis=-1)
        radius = _drawn("radius", squared, drawn, rng)
    own = held_out.log_prob_of_drawn
    own = own[np.isfinite(own)]
    density = _drawn("log-density", held_out.log_prob_of_x[keep], own, rng)
    return (*coordinates, radius, density)


def _known(name: str, lower: np.ndarray, upper: np.ndarray) -> Calibration:
    """Returns the Calibration of shares that are uniform if the flow fits."""
    n = len(lower)
    test = stats.ks_1samp(lower, stats.uniform.cdf)
    ends = []
    for shares in (lower, upper):
        count = stats.binom(n, TAIL)
        k = np.sum(shares < TAIL)
        ends.append(_two_sided(count.cdf(k), count.sf(k - 1)))
        least = shares.min()
        # The p-values (1 - least)ⁿ and 1 - (1 - least)ⁿ, without loss of digits.
        above = n * math.log1p(-least) if least < 1 else -math.inf
        ends.append(_two_sided(-math.expm1(above), math.exp(above)))
    return _assembled(name, lower, upper, test, ends, None)


def _drawn(
    name: str, values: np.ndarray, draws: np.ndarray, rng: np.random.Generator
) -> Calibration:
    """Returns the Calibration of values distributed as `draws` if the flow fits."""
    n, m = len(values), len(draws)
    # Ranks among all values. Ties are broken at random, as a density may be constant.
    both = np.concatenate([values, draws])
    places = np.empty(n + m)
    places[np.lexsort([rng.uniform(size=n + m), both])] = np.arange(n + m)
    values, draws = places[:n], np.sort(places[n:])
    test = stats.ks_2samp(values, draws, method="asymp")
    ends = []
    for ordered, sign in ((draws, 1), (-draws[::-1], -1)):
        for k in (1, math.ceil(TAIL * m)):
            # The number of values beyond the k-th of m draws is beta-binomial.
            beyond = int(np.sum(sign * values < ordered[k - 1]))
            masses = stats.betabinom.pmf(np.arange(beyond + 1), n, k, m + 1 - k)
            at_most = masses.sum()
            ends.append(_two_sided(at_most, 1.0 - at_most + masses[-1]))
    lower = (np.searchsorted(draws, values) + 0.5) / (m + 1)
    return _assembled(name, lower, 1.0 - lower, test, ends, m)


def _two_sided(at_most: float, at_least: float) -> float:
    return float(min(1.0, 2 * max(min(at_most, at_least), 0.0)))


def _assembled(
    name: str,
    lower: np.ndarray,
    upper: np.ndarray,
    test: Any,
    ends: list[float],
    reference: int | None,
) -> Calibration:
    by_tails = smallest(*ends)
    p_value = smallest(float(test.pvalue), by_tails)
    normal = normal_scores(lower, upper)
    levels = (np.arange(_LEVELS) + 0.5) / _LEVELS
    return Calibration(
        name=name,
        column=None,
        distance=float(test.statistic),
        shift=float(normal.mean()),
        spread=float(normal.std()),
        below=float(np.mean(lower < TAIL)),
        above=float(np.mean(upper < TAIL)),
        lowest=float(normal.min()),
        highest=float(normal.max()),
        distance_p_value=float(test.pvalue),
        tails_p_value=by_tails,
        p_value=p_value,
        adjusted=p_value,
        histogram=np.histogram(lower, _BINS, (0.0, 1.0))[0],
        quantiles=np.quantile(lower, levels),
        n=len(lower),
        reference=reference,
    )


def _closest_columns(
    x: np.ndarray, normal: np.ndarray, names: tuple[str, ...]
) -> list[str | None]:
    """Returns the column that each coordinate has the highest rank correlation with."""
    some = slice(5_000)
    pair = [stats.rankdata(part[some], axis=0) for part in (x, normal)]
    pair = [part - part.mean(axis=0) for part in pair]
    lengths = [np.maximum(np.linalg.norm(part, axis=0), 1e-9) for part in pair]
    together = np.abs(pair[1].T @ pair[0]) / np.outer(lengths[1], lengths[0])
    best = together.argmax(axis=1)
    return [
        names[k] if together[j, k] > 0.5 else None for j, k in enumerate(best.tolist())
    ]
