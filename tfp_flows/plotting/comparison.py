"""The picture of an OrderComparison: the ranking and the density of each order."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows.plotting import arguments, drawables, panels, style
from tfp_flows.plotting.densities import plot_density
from tfp_flows.plotting.limits import finite_rows, robust_limits
from tfp_flows.plotting.titles import order_label

_RESOLUTION = 120
_SAMPLES = 2000
_ERRORS = 2.0  # standard errors that a bar reaches to each side


def draw_comparison(
    comparison: Any,
    *,
    context: ArrayLike | None = None,
    coordinates: Sequence[int] = (0, 1),
    axes: style.AxesLike = None,
) -> Figure:
    """Draws an `OrderComparison`; see `OrderComparison.plot`."""
    fits = comparison.fits
    event_size = fits[0].flow.event_size
    coordinates = arguments.pick_coordinates(coordinates, event_size)
    if fits[0].flow.context_size and context is None:
        raise ValueError(
            "`context` must be given, as a conditional flow has a density for each. "
            f"Received: None. Remedy: one row of {fits[0].flow.context_size} numbers."
        )
    ranking, *cells = _layout(axes, len(fits))
    _draw_ranking(ranking, fits)

    held_out = comparison.held_out
    x = held_out["x"] if isinstance(held_out, dict) else held_out
    limits = robust_limits(x[:, coordinates])
    top = 0.0
    for ax, fit in zip(cells, fits, strict=True):
        given = fit.flow.distribution if context is None else fit.flow.given(context)
        if event_size > 2:
            _, sample = drawables.as_sampler(given)
            cloud = sample(_SAMPLES, 0)[:, coordinates]
            panels.scatter(ax, cloud[finite_rows(cloud)], style.BLUE)
            panels.set_limits(ax, limits)
        else:
            resolution = None if event_size == 1 else _RESOLUTION
            plot_density(given, limits=limits, resolution=resolution, ax=ax)
            style.label(ax)
        top = max(top, ax.get_ylim()[1])
        style.title(ax, f"{_short(fit.order)}\n{_nats(fit.mean)}", 8)
    if event_size == 1:  # equal axes make the heights comparable
        for ax in cells:
            ax.set_ylim(0.0, top)
    figure = style.figure_of(ranking)
    if axes is None and event_size > 2:
        first, second = coordinates
        text = f"samples: coordinates {first} and {second} of {event_size}"
        style.note(figure, text, 0.3)
    return figure


def _layout(axes: Any, count: int) -> list[Axes]:
    """Returns Axes for the ranking and for each density."""
    if axes is not None:
        return style.new_grid(axes, 1, 1, 0.0, count + 1)
    rows = max(1, round(math.sqrt(count / 2)))
    columns = math.ceil(count / rows)
    panel, ranking = 1.7, 4.0
    height = max((panel + 0.45) * rows, 0.3 * count + 0.8)
    figure = style.new_figure(ranking + panel * columns, height)
    widths = [ranking / panel] + [1.0] * columns
    grid = figure.add_gridspec(rows, columns + 1, width_ratios=widths)
    cells = [figure.add_subplot(grid[:, 0])]
    for i in range(count):
        row, column = divmod(i, columns)
        cells.append(figure.add_subplot(grid[row, column + 1]))
    return [style.dress(ax) for ax in cells]


def _draw_ranking(ax: Axes, fits: Any) -> None:
    """Draws the distance of each order from the best one, the best on top."""
    finite = [i for i, fit in enumerate(fits) if math.isfinite(fit.behind)]
    behind = np.array([fits[i].behind for i in finite])
    errors = np.array([fits[i].behind_error for i in finite])
    ax.errorbar(
        -behind,
        finite,
        xerr=_ERRORS * errors,
        fmt="o",
        color=style.BLUE,
        markersize=5,
        elinewidth=1.2,
        capsize=2.5,
        zorder=3,
    )
    ax.axvline(0.0, color=style.MUTED, linewidth=0.8, zorder=1)
    for i in range(len(fits)):
        if i not in finite:
            ax.text(
                0.03,
                i,
                "not finite",
                transform=ax.get_yaxis_transform(),
                va="center",
                fontsize=8,
                color=style.VERMILION,
                fontfamily=style.FONT,
            )
    ax.set_yticks(range(len(fits)), [_short(fit.order) for fit in fits])
    ax.set_ylim(len(fits) - 0.5, -0.5)
    low = -np.max(behind + _ERRORS * errors, initial=0.0) or -1.0
    high = np.max(_ERRORS * errors - behind, initial=0.0)
    margin = 0.05 * (high - low)
    ax.set_xlim(low - margin, high + margin)
    style.label(ax, "behind the best, held out (nats, ± 2 standard errors)", size=8)
    style.title(ax, "order of the bijectors, base to data", 9)


def _short(order: Sequence[int]) -> str:
    return order_label(order).removeprefix("order ")


def _nats(mean: float) -> str:
    return f"{mean:.3f} nats" if math.isfinite(mean) else "not finite"
