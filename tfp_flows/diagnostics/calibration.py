"""Calibration: points at the base against the base's own distribution."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy import stats

from tfp_flows.diagnostics.held_out import Subject, subject_of
from tfp_flows.diagnostics.p_values import holm, smallest
from tfp_flows.diagnostics.scores import Scores, normal_scores, scores_of

__all__ = ["Calibration", "calibrate", "calibrations_of"]

# The share of the base beyond each end that is looked at by itself.
TAIL = 0.005
_BINS, _LEVELS = 20, 200


@dataclasses.dataclass(frozen=True, eq=False)
class Calibration:
    """How one number of every row compares with what the flow says of it.

    For a flow that fits, the share u of the flow that lies below the number is uniform
    on [0, 1] over rows (the probability integral transform).

    Attributes:
      name: "z[0]", "z[1]", … for coordinates at the base, "radius" for the length of
        the normal scores, "log-density" for log_prob itself.
      column: the data's column that a coordinate moves with most; None where there is
        none, and for the others.
      distance: the Kolmogorov-Smirnov distance of u from uniform, in [0, 1].
      shift, spread: mean and standard deviation of the normal scores Φ⁻¹(u): 0 and 1
        for a flow that fits.
      below, above: shares of rows in the flow's lowest and highest 0.5%.
      lowest, highest: the extreme normal scores.
      distance_p_value, tails_p_value: that the flow is right, by the distance, and by
        the shares and the extremes.
      p_value: of both together.
      adjusted: the same by Holm's method among the coordinates.
      histogram: `(20,)`, rows in 20 equal cells of [0, 1].
      quantiles: `(200,)`, of u at (i + 1/2) / 200.
      n: number of rows.
      reference: number of draws that u is taken from; None for a distribution function.

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
    flow: Any,
    x_test: Any,
    *,
    context: Any = None,
    names: Sequence[str] | None = None,
    seed: int = 0,
) -> tuple[Calibration, ...]:
    """Returns how the coordinates at the base, the radius and the density calibrate.

    The base's distribution functions are used where its coordinates are independent
    and have some; else draws from the base.

    Args:
      flow: a Flow, or a fitted FlowDensity.
      x_test: rows that it was not fitted to, `(n, event_size)`, n ≥ 50.
      context: `(n, context_size)`, for a conditional flow.
      names: of the columns, for `column`.
      seed: of the draws.

    Returns:
      One Calibration for each coordinate, then "radius" and "log-density".

    Raises:
      TypeError: `flow` is neither, or the rows are not numbers.
      ValueError: rows of the wrong width, too few, or NaN or infinite ones; a context
        that is missing or not asked for; no row with a density.

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
    subject = subject_of(flow, x_test, context, names, seed)
    keep = usable(subject)
    return calibrations_of(subject, scores_of(subject, keep), keep)


def usable(subject: Subject) -> np.ndarray:
    """Returns which rows have a density and finite numbers at the base, `(n,)`.

    Raises:
      ValueError: no two of them.
    """
    keep = np.isfinite(subject.z).all(axis=-1) & np.isfinite(subject.of_flow)
    if keep.sum() < 2:
        raise ValueError(
            "`x_test` must hold rows that have a density under the flow. Received "
            f"{len(keep) - keep.sum()} of {len(keep)} without. Remedy: a flow whose "
            "range holds the data (see docs/supports.md)."
        )
    return keep


def calibrations_of(
    subject: Subject, scores: Scores, keep: np.ndarray
) -> tuple[Calibration, ...]:
    """Returns the Calibrations of a subject's rows `keep`; see `calibrate`."""
    d = scores.normal.shape[1]
    rng = subject.generator(5)
    columns = _closest_columns(subject.x[keep], scores.normal, subject.names)
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
    own = subject.log_prob_of_drawn
    own = own[np.isfinite(own)]
    density = _drawn("log-density", subject.of_flow[keep], own, rng)
    return (*coordinates, radius, density)


def _known(name: str, lower: np.ndarray, upper: np.ndarray) -> Calibration:
    """Returns the Calibration of shares that are uniform if the flow is right."""
    n = len(lower)
    test = stats.ks_1samp(lower, stats.uniform.cdf)
    ends = []
    for shares in (lower, upper):
        count = stats.binom(n, TAIL)
        k = np.sum(shares < TAIL)
        ends.append(_two_sided(count.cdf(k), count.sf(k - 1)))
        least = shares.min()  # 1 - (1 - least)ⁿ, with all digits
        above = n * math.log1p(-least) if least < 1 else -math.inf
        ends.append(_two_sided(-math.expm1(above), math.exp(above)))
    return _assembled(name, lower, upper, test, ends, None)


def _drawn(
    name: str, values: np.ndarray, draws: np.ndarray, rng: np.random.Generator
) -> Calibration:
    """Returns the Calibration of values that are like draws if the flow is right."""
    n, m = len(values), len(draws)
    # Places among all, those of equal numbers by lot: a density may be constant.
    both = np.concatenate([values, draws])
    places = np.empty(n + m)
    places[np.lexsort([rng.uniform(size=n + m), both])] = np.arange(n + m)
    values, draws = places[:n], np.sort(places[n:])
    test = stats.ks_2samp(values, draws, method="asymp")
    ends = []
    for ordered, sign in ((draws, 1), (-draws[::-1], -1)):
        for k in (1, math.ceil(TAIL * m)):
            # The k-th draw has k of the m + n on its side, wherever the others fall.
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
    """Returns the column whose ranks go with those of each coordinate, if one does."""
    some = slice(5_000)
    pair = [stats.rankdata(part[some], axis=0) for part in (x, normal)]
    pair = [part - part.mean(axis=0) for part in pair]
    lengths = [np.maximum(np.linalg.norm(part, axis=0), 1e-9) for part in pair]
    together = np.abs(pair[1].T @ pair[0]) / np.outer(lengths[1], lengths[0])
    best = together.argmax(axis=1)
    return [
        names[k] if together[j, k] > 0.5 else None for j, k in enumerate(best.tolist())
    ]
