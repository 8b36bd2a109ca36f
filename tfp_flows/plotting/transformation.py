"""The function between data and base of a flow of one coordinate."""

from typing import NamedTuple

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.axes import Axes
from numpy.typing import ArrayLike

from tfp_flows.flow.flow import Flow, Stage
from tfp_flows.plotting import arguments, drawables, panels, style
from tfp_flows.plotting.limits import Limits, centers, robust_limits

__all__ = ["plot_transformation"]

_RESOLUTION = 500

# A coordinate beyond any limits, also those set after the lines are drawn.
_FAR = 1e9


def plot_transformation(
    flow: Flow,
    data: ArrayLike | None = None,
    *,
    context: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draws the function from x to the base's z, with both densities at its sides.

    The curve is z = f⁻¹(x). Above it stand the flow's density and the histogram and
    rug of the data; to its right stands the base's density. Thin lines mark the
    deciles of the base: a tenth of either density lies between two neighbours.

    Args:
      flow: a Flow of one coordinate.
      data: the data, `(m, 1)`; None draws the flow's density alone.
      context: the context to draw a conditional flow for, `(context_size,)`.
      n: the number of samples that choose the limits and the deciles.
      seed: the seed of these samples.
      ax: the Axes to draw on; None makes new ones. The densities are drawn outside of
        them on `ax.child_axes`: above, then right.

    Returns:
      The Axes of the curve.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: the flow or the data have more than one coordinate, or a context is
        missing, not needed, or of another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> flow = tfpf.Flow([tfp.bijectors.Scale(2.0)], event_size=1)
      >>> ax = plot_transformation(flow)
      >>> x, z = ax.lines[0].get_data()
      >>> bool(abs(x - 2 * z).max() < 1e-5)
      True
    """
    line = points_of_line("plot_transformation", flow, data, context, n, seed)
    distribution, data = line.distribution, line.data
    ax = style.new_axes(ax, 5.2, 5.2)
    draw_map(ax, line)
    x_grid = centers(line.x_limits, _RESOLUTION)
    x_points = tf.constant(x_grid[:, None], flow.dtype)

    above = ax.inset_axes((0, 1.03, 1, 0.24), sharex=ax)
    x_density = drawables.exp_log_prob(distribution.log_prob, x_points)
    top = panels.curve(above, x_grid, x_density, style.BLUE, "#cfe3f1")
    if data is not None:
        heights, edges = panels.histogram(data[:, 0], line.x_limits)
        above.stairs(heights, edges, color=style.MUTED, linewidth=1.0, zorder=2)
        top = max(top, 1.05 * heights.max())
        panels.rug(above, data[:, 0])
    above.set_ylim(0, top)

    right = ax.inset_axes((1.03, 0, 0.24, 1), sharey=ax)
    z_grid = centers(line.z_limits, _RESOLUTION)
    z_density = drawables.exp_log_prob(
        line.base.distribution.log_prob, z_grid[:, None].astype(flow.dtype)
    )
    right.plot(z_density, z_grid, color=style.VERMILION, linewidth=1.2)
    right.fill_betweenx(z_grid, 0, z_density, color="#f8dccb", linewidth=0)
    right.set_xlim(0, 1.1 * np.nanmax(z_density, initial=0.0) or 1.0)
    for margin in (above, right):
        margin.axis("off")
    return ax


class Line(NamedTuple):
    """A flow of one coordinate, at points.

    Attributes:
      base, last: the first and the last stage.
      distribution: the distribution of x.
      data: the data, `(m, 1)`, or None.
      z, x: points of the base and their images, `(n, 1)`.
      z_limits, x_limits: the limits that show most of these and of the data.
    """

    base: Stage
    last: Stage
    distribution: tfp.distributions.TransformedDistribution
    data: np.ndarray | None
    z: np.ndarray
    x: np.ndarray
    z_limits: Limits
    x_limits: Limits


def points_of_line(
    caller: str,
    flow: Flow,
    data: ArrayLike | None,
    context: ArrayLike | None,
    n: int,
    seed: int,
) -> Line:
    """Returns the Line of a flow, or raises in the name of the function `caller`."""
    arguments.as_flow(flow)
    if flow.event_size != 1:
        raise ValueError(
            f"`{caller}` needs a flow of 1 coordinate. Received one of "
            f"{flow.event_size}. Remedy: plot_stages(flow) draws every stage of it."
        )
    if data is not None:
        data = arguments.as_data(data, flow, 1)
    stages = flow.stages(n, seed=seed, context=context)
    distribution = flow.distribution if context is None else flow.given(context)
    z, x = (np.asarray(stage.samples, np.float64) for stage in (stages[0], stages[-1]))
    (z_limits,) = robust_limits(z)
    (x_limits,) = robust_limits(x if data is None else data)
    return Line(stages[0], stages[-1], distribution, data, z, x, z_limits, x_limits)


def draw_map(ax: Axes, line: Line) -> None:
    """Draws the curve of z over x, with the deciles."""
    x_grid = centers(line.x_limits, _RESOLUTION)
    points = tf.constant(x_grid[:, None], line.distribution.dtype)
    z_curve = np.asarray(line.distribution.bijector.inverse(points), np.float64)
    ax.plot(x_grid, z_curve[:, 0], color=style.BLUE, linewidth=1.8, zorder=3)
    _draw_deciles(ax, line.z, line.x)
    ax.set_xlim(line.x_limits)
    ax.set_ylim(line.z_limits)
    style.label(ax, "x, data", "z, base")


def _draw_deciles(ax: Axes, z: np.ndarray, x: np.ndarray) -> None:
    """Draws lines from x down to the curve and across to z, a tenth of the mass apart.

    Args:
      ax: the Axes of the curve.
      z, x: points of the base and their images, `(n, 1)`.
    """
    order = np.argsort(z[:, 0])
    for i in order[np.arange(1, 10) * len(order) // 10]:
        ax.plot(
            [x[i, 0], x[i, 0], _FAR],
            [_FAR, z[i, 0], z[i, 0]],
            color=style.MUTED,
            linewidth=0.6,
            zorder=1,
        )
