"""The stages of a flow, one panel each."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow.flow import Flow, Stage
from tfp_flows.plotting import arguments, drawables, panels, style
from tfp_flows.plotting.limits import finite_rows, grid, limits_of_each
from tfp_flows.plotting.titles import stage_title

__all__ = ["plot_stages"]

_SHOW = ("samples", "density", "both")
_LINE_RESOLUTION = 400


def plot_stages(
    flow: Flow,
    *,
    context: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    show: str = "both",
    share_limits: bool = False,
    coordinates: Sequence[int] = (0, 1),
    resolution: int | None = None,
    columns: int | None = None,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws samples and the density after every bijector, one panel for each stage.

    A point keeps its colour, given by its place in the base, through all stages. The
    shading is the exact density of the stage; it is darker where more of the mass has
    a lower density. With one coordinate the density is a filled curve above the
    points. With more than two coordinates only the points are drawn, as marginal
    densities have no closed form.

    Args:
      flow: a Flow of any event size.
      context: the context to draw a conditional flow for, `(context_size,)`.
      n: the number of points.
      seed: the seed of the points of the base.
      show: "samples", "density" or "both".
      share_limits: whether all panels have the same limits. Limits show the middle 99%
        of the points in each coordinate.
      coordinates: the two coordinates to draw, if there are more than one.
      resolution: the number of grid points along each axis of a density in two
        coordinates. None takes 160, or 100 for more than eight bijectors. A ridge
        thinner than a cell shows as dots.
      columns: the number of panels in a row; chosen when None.
      axes: one Axes for the base and one for each bijector; None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: an option is out of range, `axes` are too few, `show` is "density"
        for more than two coordinates, or a context is missing, not needed, or of
        another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> tfb = tfp.bijectors
      >>> flow = tfpf.Flow([tfb.Shift([0.0, -2.0]), tfb.Scale([2.0, 1.5])])
      >>> figure = plot_stages(flow, n=100, resolution=20)
      >>> [ax.get_title() for ax in figure.axes]
      ['z\\nMultivariateNormalDiag', 'f₁(z)\\nShift', 'f₂∘f₁(z)\\nScale']
    """
    coordinates = checked_options(flow, show, coordinates, resolution)
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
    draw_row(cells, stages, order, show, share_limits, coordinates, resolution)
    return with_note(cells, flow, coordinates, axes)


def checked_options(
    flow: Any, show: str, coordinates: Any, resolution: Any
) -> list[int]:
    """Returns the coordinates to draw, after checking all options."""
    arguments.as_flow(flow)
    checks.pick(show, _SHOW, "`show`")
    if resolution is not None:
        checks.positive_int(resolution, "resolution")
    if show == "density" and flow.event_size > 2:
        raise ValueError(
            '`show="density"` needs points of 1 or 2 coordinates: the density of two '
            f'of {flow.event_size} has no closed form. Remedy: `show="samples"`.'
        )
    return arguments.pick_coordinates(coordinates, flow.event_size)


def draw_row(
    cells: Sequence[Axes],
    stages: Sequence[Stage],
    order: Sequence[int],
    show: str,
    share_limits: bool,
    coordinates: Sequence[int],
    resolution: int,
    title_size: float = 9,
) -> None:
    """Draws the stages, one on each of the Axes."""
    clouds = [np.asarray(stage.samples)[:, coordinates] for stage in stages]
    colors = style.base_colors(clouds[0]) if show != "density" else None
    limits = limits_of_each(clouds, share_limits)
    densities: Sequence[np.ndarray | None] = [None] * len(stages)
    if show != "samples" and stages[0].samples.shape[-1] <= 2:
        resolution = resolution if len(coordinates) == 2 else _LINE_RESOLUTION
        grids = [grid(pairs, resolution) for pairs in limits]
        # Column i of a grid is the point's coordinate coordinates[i].
        places = [cells[:, np.argsort(coordinates)] for cells in grids]
        densities = drawables.stage_densities(stages, places)
    draw = panels.draw_line if len(coordinates) == 1 else panels.draw_plane
    for k, ax in enumerate(cells):
        draw(ax, clouds[k], colors, densities[k], limits[k])
        lost = int((~finite_rows(clouds[k])).sum())
        if lost:
            panels.remark(ax, f"{lost:,} of {len(clouds[k]):,} not finite")
        style.title(ax, stage_title(stages[k], order[:k]), title_size)


def columns_for(count: int) -> int:
    """Returns the number of columns of a nearly square sheet with few empty places."""
    if count <= 4:
        return count
    side = math.ceil(math.sqrt(count))
    return min(range(side, side + 3), key=lambda columns: -count % columns)


def with_note(
    cells: Sequence[Axes], flow: Flow, coordinates: Sequence[int], axes: Any
) -> Figure:
    """Returns the figure, with a note if it shows two coordinates of more."""
    figure = style.figure_of(cells[0])
    if axes is None and flow.event_size > 2:
        style.note(
            figure,
            f"coordinates {coordinates[0]} and {coordinates[1]} of {flow.event_size}; "
            "samples only, as marginal densities have no closed form",
        )
    return figure
