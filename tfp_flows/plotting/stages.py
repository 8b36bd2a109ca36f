"""What a flow does, one panel a stage, in the given order of stages and in others."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from tfp_flows._core import checks
from tfp_flows.flow.composition import random_orders
from tfp_flows.flow.flow import Flow, Stage
from tfp_flows.plotting import drawables, panels, style

__all__ = ["plot_orders", "plot_stages"]

_SHOW = ("samples", "density", "both")
_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LONGEST_NAME = 24
_LINE_RESOLUTION = 400


def plot_stages(
    flow: Flow,
    *,
    context: Any = None,
    n: int = 2000,
    seed: int = 0,
    show: str = "both",
    share_limits: bool = False,
    coordinates: tuple[int, int] = (0, 1),
    resolution: int | None = None,
    columns: int | None = None,
    axes: Any = None,
) -> Figure:
    """Draws what the base has become after every bijector, one panel a stage.

    A point keeps its colour, given by its place in the base, through all stages. The
    shading is the exact density of the stage, the darker the more of the mass lies
    where the density is lower. With one coordinate it is a filled curve, above the
    points; with more than two only the points are drawn, as marginal densities have no
    closed form.

    Args:
      flow: of any event size.
      context: `(context_size,)`, for a conditional flow: the one to draw it for.
      n: number of points.
      seed: of the base's draw.
      show: "samples", "density" or "both".
      share_limits: True draws all panels to the same limits. Limits show the middle
        99% of the points in each coordinate.
      coordinates: the two to draw, of more than one.
      resolution: grid points along each axis of a 2-d density; 160, and 100 for more
        than eight stages, when None. A ridge thinner than a cell shows as dots.
      columns: panels in a row; chosen when None.
      axes: at least one Axes for each stage and one for the base; a new figure when
        None.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: an option is out of its range, `axes` are too few, `show` is
        "density" for more than two coordinates, or a context is missing, not asked
        for, or of another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> tfb = tfp.bijectors
      >>> flow = tfpf.Flow([tfb.Shift([0.0, -2.0]), tfb.Scale([2.0, 1.5])])
      >>> figure = plot_stages(flow, n=100, resolution=20)
      >>> [ax.get_title() for ax in figure.axes]
      ['z\\nMultivariateNormalDiag', 'f₁(z)\\nShift', 'f₂∘f₁(z)\\nScale']
    """
    coordinates = _check(flow, show, coordinates, resolution)
    if columns is not None:
        columns = checks.positive_int(columns, "columns")
    stages = flow.stages(n, seed=seed, context=context)
    count = len(stages)
    if resolution is None:
        resolution = 160 if count <= 9 else 100
    columns = min(columns or columns_for(count), count)
    panel = 2.2 if count <= 12 else 1.9
    cells = style.new_grid(axes, math.ceil(count / columns), columns, panel, count)
    order = range(count - 1)
    _draw_row(cells, stages, order, show, share_limits, coordinates, resolution)
    return _finished(cells, flow, coordinates, axes)


def plot_orders(
    flow: Flow,
    *,
    context: Any = None,
    orders: Sequence[Sequence[int]] | None = None,
    n: int = 3,
    seed: int = 0,
    samples: int = 1000,
    show: str = "samples",
    share_limits: bool = False,
    coordinates: tuple[int, int] = (0, 1),
    resolution: int = 100,
    axes: Any = None,
) -> Figure:
    """Draws the stages in the given order and, row by row, in other orders.

    The order matters: the same functions, composed differently, make another density.
    Bijectors keep their names and numbers in every order.

    Args:
      flow: of at least two bijectors.
      context: as for `plot_stages`.
      orders: permutations of 0..K-1, as for `Flow.reordered`, one a row; when None,
        the given order and `n` random others, all different.
      n: number of random orders; fewer where there are not as many.
      seed: of the orders and of the base's draw.
      samples: number of points.
      show, share_limits, coordinates, resolution: as for `plot_stages`.
      axes: rows × (K + 1) Axes; a new figure when None.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: the flow has fewer than two bijectors, an order is not a
        permutation, or as for `plot_stages`.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> tfb = tfp.bijectors
      >>> flow = tfpf.Flow([tfb.Shift([0.0, -2.0]), tfb.Scale([2.0, 1.5])])
      >>> figure = plot_orders(flow, n=1, samples=100)
      >>> [ax.get_ylabel() for ax in figure.axes[::3]]
      ['given order', 'order 1, 0']
      >>> figure.axes[4].get_title()
      'f₂(z)\\nScale'
    """
    coordinates = _check(flow, show, coordinates, resolution)
    count = len(flow.bijectors)
    if orders is None:
        orders = random_orders(count, checks.positive_int(n, "n"), seed=seed)
    if not len(orders) or not all(isinstance(order, Sequence) for order in orders):
        raise ValueError(
            "`orders` must hold one order or more, each a permutation of "
            f"0..{count - 1}. Received: {orders!r}."
        )
    flows = [flow.reordered(order) for order in orders]
    panel, title_size = (1.9, 9) if count < 8 else (1.6, 8)
    cells = style.new_grid(axes, len(flows), count + 1, panel, len(flows) * (count + 1))
    for row, (order, other) in enumerate(zip(orders, flows, strict=True)):
        start = row * (count + 1)
        row_cells = cells[start : start + count + 1]
        stages = other.stages(samples, seed=seed, context=context)
        _draw_row(
            row_cells,
            stages,
            order,
            show,
            share_limits,
            coordinates,
            resolution,
            title_size,
        )
        style.label(row_cells[0], y=order_label(order), size=9)
    return _finished(cells, flow, coordinates, axes)


def _check(flow: Any, show: str, coordinates: Any, resolution: Any) -> list[int]:
    """Returns the coordinates to draw, once all options are right."""
    drawables.as_flow(flow)
    checks.pick(show, _SHOW, "`show`")
    if resolution is not None:
        checks.positive_int(resolution, "resolution")
    if show == "density" and flow.event_size > 2:
        raise ValueError(
            '`show="density"` needs points of 1 or 2 coordinates: the density of two '
            f'of {flow.event_size} has no closed form. Remedy: `show="samples"`.'
        )
    return drawables.pick_coordinates(coordinates, flow.event_size)


def composed(order: Sequence[int]) -> str:
    """Returns the composed function in words, such as f₂∘f₁(z); long ones shortened.

    Args:
      order: index of each function, in sampling order.
    """
    names = [f"f{i + 1}".translate(_SUBSCRIPTS) for i in reversed(order)]
    if len(names) > 3:
        names = [names[0], "⋯", names[-1]]
    return f"{'∘'.join(names)}(z)" if names else "z"


def stage_title(stage: Stage, order: Sequence[int]) -> str:
    """Returns the title of a stage, two lines: the composed function and the name."""
    name = stage.name
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    return f"{composed(order)}\n{name}"


def _draw_row(
    cells: Sequence[Axes],
    stages: Sequence[Stage],
    order: Sequence[int],
    show: str,
    share_limits: bool,
    coordinates: list[int],
    resolution: int,
    title_size: float = 9,
) -> None:
    clouds = [np.asarray(stage.samples)[:, coordinates] for stage in stages]
    colors = style.base_colors(clouds[0]) if show != "density" else None
    limits = panels.limits_of_each(clouds, share_limits)
    densities = [None] * len(stages)
    if show != "samples" and stages[0].samples.shape[-1] <= 2:
        resolution = resolution if len(coordinates) == 2 else _LINE_RESOLUTION
        grids = [panels.grid(pairs, resolution) for pairs in limits]
        # Column i of a grid is the point's coordinate coordinates[i].
        places = [grid[:, np.argsort(coordinates)] for grid in grids]
        densities = drawables.stage_densities(stages, places)
    draw = draw_line if len(coordinates) == 1 else draw_plane
    for k, ax in enumerate(cells):
        draw(ax, clouds[k], colors, densities[k], limits[k])
        lost = int((~panels.finite_rows(clouds[k])).sum())
        if lost:
            panels.remark(ax, f"{lost:,} of {len(clouds[k]):,} not finite")
        style.title(ax, stage_title(stages[k], order[:k]), title_size)


def draw_plane(
    ax: Axes,
    cloud: np.ndarray,
    colors: np.ndarray | None,
    density: np.ndarray | None,
    limits: list[panels.Limits],
) -> None:
    """Draws a stage over a plane: its density and points, where there are any."""
    if density is not None:
        cmap = style.HEAT if colors is None else style.SHADES
        side = math.isqrt(len(density))
        panels.shade(ax, density.reshape(side, side), limits, cmap)
    if colors is not None:
        finite = panels.finite_rows(cloud)
        panels.scatter(ax, cloud[finite], colors[finite])
    panels.set_limits(ax, limits)


def draw_line(
    ax: Axes,
    cloud: np.ndarray,
    colors: np.ndarray | None,
    density: np.ndarray | None,
    limits: list[panels.Limits],
) -> None:
    """Draws a stage over a line: its density and points, where there are any."""
    bottom, top = 0.0, 1.0
    if density is not None:
        top = panels.curve(ax, panels.centers(limits[0], len(density)), density)
    if colors is not None:
        finite = panels.finite_rows(cloud)
        bottom = -0.14 * top
        ax.scatter(
            cloud[finite, 0],
            np.full(finite.sum(), bottom / 2),
            s=60,
            marker="|",
            c=colors[finite],
            linewidths=0.6,
            alpha=0.8,
            rasterized=True,
            zorder=2,
        )
    ax.set_xlim(limits[0])
    ax.set_ylim(bottom, top)
    heights = [] if density is None else [y for y in ax.get_yticks() if 0 <= y <= top]
    ax.set_yticks(heights)
    ax.set_box_aspect(0.8)


def columns_for(count: int) -> int:
    """Returns how many columns make a nearly square sheet with few empty places."""
    if count <= 4:
        return count
    side = math.ceil(math.sqrt(count))
    return min(range(side, side + 3), key=lambda columns: -count % columns)


def _finished(
    cells: Sequence[Axes], flow: Flow, coordinates: list[int], axes: Any
) -> Figure:
    """Returns the figure, with a note where it shows two coordinates of many."""
    figure = cells[0].figure
    if axes is None and flow.event_size > 2:
        figure.set_figheight(figure.get_figheight() + 0.4)
        figure.supxlabel(
            f"coordinates {coordinates[0]} and {coordinates[1]} of {flow.event_size}; "
            "samples only, as marginal densities have no closed form",
            fontsize=8,
            color=style.INK,
            fontfamily=style.FONT,
        )
    return figure


def order_label(order: Sequence[int]) -> str:
    """Returns an order in words, a long one shortened."""
    order = [int(i) for i in order]
    if order == sorted(order):
        return "given order"
    shown = [str(i) for i in order]
    if len(shown) > 6:
        shown = [*shown[:3], "…", shown[-1]]
    return f"order {', '.join(shown)}"
