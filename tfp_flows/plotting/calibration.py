"""Calibration: held-out rows compared with a flow's own distribution."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike
from scipy import stats

from tfp_flows._core import checks
from tfp_flows.flow import Flow
from tfp_flows.plotting import style

if TYPE_CHECKING:
    from tfp_flows.diagnostics import Calibration, FitReport
    from tfp_flows.diagnostics.held_out import FittedDensity

__all__ = ["plot_calibration"]

# The chance that all bins, or all quantiles, of a flow that fits lie in the band.
_CHANCE = 0.95
_BAND = "#dbe9f3"
_SHARE, _NORMAL = "share of the flow below", "normal"


def plot_calibration(
    report: "FitReport | Flow | FittedDensity",
    x_test: ArrayLike | None = None,
    *,
    context: ArrayLike | None = None,
    coordinates: int = 2,
    seed: int = 0,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws the calibration of a flow: histograms and quantiles of held-out rows.

    There is a column of two panels for each of the worst coordinates of the base, for
    the radius, and for log_prob. The upper panel is the histogram of u, the share of
    the flow below each row; for a flow that fits it is flat. The lower panel is the
    quantiles of the normal scores Φ⁻¹(u) over those of the standard normal; for a flow
    that fits they lie on the diagonal. If the flow fits, all of a panel stays within
    the shaded band with a chance of at least 95%; bars and dots outside of the band
    have another colour.

    Args:
      report: a FitReport of `tfp_flows.diagnostics.evaluate`; or a Flow or a fitted
        FlowDensity.
      x_test: held-out rows, `(n, event_size)`, n ≥ 50; None with a FitReport.
      context: the contexts of these rows, `(n, context_size)`, for a conditional flow.
      coordinates: the number of coordinates to draw, the worst first.
      seed: the seed of what is drawn from the flow.
      axes: two rows of Axes, with a column for each of the above; None makes a new
        figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `report` is none of these.
      ValueError: rows are missing, not needed, or refused by `diagnostics.calibrate`;
        or `axes` are too few.

    Example:
      >>> import numpy as np, tfp_flows as tfpf
      >>> flow = tfpf.Flow([], event_size=2)
      >>> x = np.random.default_rng(0).normal(size=(500, 2)) + [0.0, 0.5]
      >>> figure = plot_calibration(flow, x)
      >>> [ax.get_title().split()[0] for ax in figure.axes[:4]]
      ['z[1]', 'z[0]', 'radius', 'log-density']
    """
    coordinates = checks.positive_int(coordinates, "coordinates")
    *every, radius, density = _calibrations(report, x_test, context, seed)
    worst = sorted(every, key=lambda one: (one.p_value, -one.distance))
    shown = [*worst[:coordinates], radius, density]
    cells = style.new_grid(axes, 2, len(shown), 2.6, 2 * len(shown))
    for column, one in enumerate(shown):
        _draw_histogram(cells[column], one)
        _draw_quantiles(cells[len(shown) + column], one)
    style.label(cells[0], _SHARE, "rows, times expected", size=8)
    style.label(cells[len(shown)], _NORMAL, "data", size=8)
    return style.figure_of(cells[0])


def _calibrations(
    report: Any, x_test: Any, context: ArrayLike | None, seed: int
) -> Sequence["Calibration"]:
    # It imports scikit-learn, which no other picture needs.
    from tfp_flows import diagnostics

    if not isinstance(report, diagnostics.FitReport):
        if x_test is None:
            raise ValueError(
                "`x_test` must be given with a flow. Received: None. Remedy: held-out "
                "rows, or a FitReport of `diagnostics.evaluate`."
            )
        return diagnostics.calibrate(report, x_test, context=context, seed=seed)
    if x_test is not None or context is not None:
        raise ValueError("`x_test` and `context` must be None with a FitReport.")
    return report.calibrations


def _draw_histogram(ax: Axes, one: "Calibration") -> None:
    counts = one.histogram
    bins = len(counts)
    expected = one.n / bins
    # Each bin gets an equal part of the chance that any leaves the band.
    rest = (1 - _CHANCE) / bins / 2
    if one.reference is None:
        spread = stats.binom(one.n, 1 / bins)
    else:  # the edges of the bins are random, too
        part = one.reference / bins
        spread = stats.betabinom(one.n, part, one.reference - part)
    low, high = spread.ppf([rest, 1 - rest])
    ax.axhspan(low / expected, high / expected, color=_BAND, linewidth=0, zorder=0)
    ax.axhline(1.0, color=style.MUTED, linewidth=0.8, zorder=1)
    edges = np.linspace(0, 1, bins + 1)
    is_out = (counts < low) | (counts > high)
    colors = [style.VERMILION if out else style.BLUE for out in is_out]
    ax.hlines(counts / expected, edges[:-1], edges[1:], colors, linewidth=2.0)
    ax.set_xlim(0, 1)
    ax.set_xticks([0, 0.5, 1])
    top = max(1.15 * counts.max(), 1.3 * high) / expected
    ax.set_ylim(0, top)
    name = one.name if one.column is None else f"{one.name} ~ {_short(one.column)}"
    style.title(ax, f"{name}\n{_verdict(one)}", 8)
    style.label(ax, _SHARE, size=8)


def _draw_quantiles(ax: Axes, one: "Calibration") -> None:
    """Draws a QQ plot of normal scores, with the band of the order statistics."""
    levels = (np.arange(len(one.quantiles)) + 0.5) / len(one.quantiles)
    n: float = one.n
    if one.reference is not None:
        n = one.n * one.reference / (one.n + one.reference)
    spread = stats.beta(n * levels + 0.5, n * (1 - levels) + 0.5)
    rest = (1 - _CHANCE) / len(levels) / 2
    low, high = (spread.ppf(share) for share in (rest, 1 - rest))
    at = stats.norm.ppf(levels)
    band = [stats.norm.ppf(np.clip(share, 1e-9, 1 - 1e-9)) for share in (low, high)]
    ax.fill_between(at, *band, color=_BAND, linewidth=0, zorder=0)
    ax.plot(at, at, color=style.MUTED, linewidth=0.8, zorder=1)
    # Scores further out are drawn at the edge.
    scores = stats.norm.ppf(np.clip(one.quantiles, 2e-5, 1 - 2e-5))
    is_out = (one.quantiles < low) | (one.quantiles > high)
    colors = [style.VERMILION if out else style.BLUE for out in is_out]
    ax.scatter(at, scores, s=5, c=colors, linewidths=0, zorder=2)
    ax.set_xlim(-3.2, 3.2)
    ax.set_ylim(-4.2, 4.2)
    ax.set_xticks([-2, 0, 2])
    ax.set_yticks([-4, -2, 0, 2, 4])
    style.label(ax, _NORMAL, size=8)


def _verdict(one: "Calibration") -> str:
    p = f"{one.adjusted:.2f}" if one.adjusted >= 0.01 else f"{one.adjusted:.0e}"
    return f"distance {one.distance:.3f}, p {p}"


def _short(name: str) -> str:
    return name if len(name) <= 14 else f"{name[:13]}…"
