"""One stage in a large panel, with histograms of its coordinates."""

import functools
from collections.abc import Sequence
from typing import Literal

import numpy as np
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow import Flow
from tfp_flows.plotting import arguments, drawables, panels, style
from tfp_flows.plotting.limits import Limits, finite_rows, grid, robust_limits
from tfp_flows.plotting.titles import stage_title

__all__ = ["plot_stage"]

_LINE_RESOLUTION = 600


def plot_stage(
    flow: Flow,
    stage: int,
    *,
    context: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    coordinates: Sequence[int] = (0, 1),
    resolution: int = 250,
    ax: Axes | None = None,
) -> Axes:
    """Draws samples and the density of one stage, with a histogram of each coordinate.

    The panel is a larger one of `plot_stages`: the exact density is shading, and points
    keep the colour of their place in the base. Histograms of both coordinates stand
    above and to the right, with the same limits. With one coordinate the density is a
    curve above the points, and there are no histograms. With more than two, two
    coordinates are drawn without shading, as marginal densities have no closed form.

    Args:
      flow: a Flow of any event size.
      stage: 0 for the base, k for the output of the k-th bijector, as in
        `flow.stages()`.
      context: the context to draw a conditional flow for, `(context_size,)`.
      n: the number of points.
      seed: the seed of the points of the base.
      coordinates: the two coordinates to draw, if there are more than one.
      resolution: the number of grid points along each axis of a density in two
        coordinates.
      ax: the Axes to draw on; None makes new ones. The histograms are drawn outside of
        them on `ax.child_axes`: above, then right.

    Returns:
      The Axes of the stage.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: an option is out of range, or a context is missing, not needed, or of
        another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> tfb = tfp.bijectors
      >>> flow = tfpf.Flow([tfb.Shift([0.0, -2.0]), tfb.Scale([2.0, 1.5])])
      >>> ax = plot_stage(flow, 2, n=100, resolution=20)
      >>> ax.get_title()
      'f₂∘f₁(z)\\nScale'
    """
    arguments.as_flow(flow)
    stage = arguments.pick_stage(stage, 0, len(flow.bijectors))
    coordinates = arguments.pick_coordinates(coordinates, flow.event_size)
    resolution = checks.positive_int(resolution, "resolution")
    stages = flow.stages(n, seed=seed, context=context)
    start, cloud = (
        np.asarray(stages[k].samples, np.float64)[:, coordinates] for k in (0, stage)
    )
    limits = robust_limits(cloud)
    density = None
    if flow.event_size <= 2:
        is_line = flow.event_size == 1
        cells = grid(limits, _LINE_RESOLUTION if is_line else resolution)
        places = cells[:, np.argsort(coordinates)].astype(flow.dtype)
        density = drawables.exp_log_prob(stages[stage].distribution.log_prob, places)
    ax = style.new_axes(ax, 5.4, 5.4 if len(coordinates) == 2 else 4.4)
    colors = style.base_colors(start)
    draw = panels.draw_line if len(coordinates) == 1 else panels.draw_plane
    draw(ax, cloud, colors, density, limits)
    finite = cloud[finite_rows(cloud)]
    if len(finite) < len(cloud):
        panels.remark(ax, f"{len(cloud) - len(finite):,} of {n:,} not finite")
    if len(coordinates) == 1:
        style.title(ax, stage_title(stages[stage], range(stage)), 10)
        style.label(ax, "x", "density")
        return ax
    if flow.event_size > 2:
        style.label(ax, *(f"coordinate {i} of {flow.event_size}" for i in coordinates))
    _draw_margins(ax, finite, limits)
    style.title(ax, stage_title(stages[stage], range(stage)), 10)
    ax.title.set_position((0.5, 1.2))  # above the histogram
    return ax


def _draw_margins(ax: Axes, points: np.ndarray, limits: list[Limits]) -> None:
    above = ax.inset_axes((0, 1.02, 1, 0.16), sharex=ax)
    right = ax.inset_axes((1.02, 0, 0.16, 1), sharey=ax)
    sides: list[tuple[Axes, Literal["vertical", "horizontal"]]] = [
        (above, "vertical"),
        (right, "horizontal"),
    ]
    for i, (margin, orientation) in enumerate(sides):
        margin.axis("off")
        if not len(points):
            continue
        heights, edges = panels.histogram(points[:, i], limits[i])
        draw = functools.partial(margin.stairs, heights, edges, orientation=orientation)
        draw(fill=True, color="#cfe3f1", zorder=1)
        draw(linewidth=1.0, color=style.BLUE, zorder=2)
        reach = (0.0, 1.1 * heights.max() or 1.0)
        margin.set_ylim(reach) if i == 0 else margin.set_xlim(reach)
