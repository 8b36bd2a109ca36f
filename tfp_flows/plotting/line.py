"""A flow of one coordinate: its base, its function and its density."""

from typing import Any

import tensorflow_probability as tfp
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows._core.conditioning import Invert
from tfp_flows.bijectors import MixtureCDF
from tfp_flows.flow import Flow
from tfp_flows.plotting import drawables, panels, style
from tfp_flows.plotting.densities import plot_density
from tfp_flows.plotting.limits import centers, finite_rows
from tfp_flows.plotting.transformation import draw_map, points_of_line

__all__ = ["plot_line"]

_RESOLUTION = 500


def plot_line(
    flow: Flow,
    data: ArrayLike | None = None,
    *,
    context: ArrayLike | None = None,
    n: int = 2000,
    seed: int = 0,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws a flow of one coordinate in three panels.

    The first panel is the base's density over a rug of points from it. The second is
    the curve z = f⁻¹(x) with thin lines at the deciles: a tenth of either density lies
    between two neighbours. The third is the flow's density with the histogram and rug
    of the data. If the last bijector is `Invert(MixtureCDF(…))`, it also shows each
    component of the mixture times its weight; these add up to the density if the base
    is uniform.

    Args:
      flow: a Flow of one coordinate.
      data: the data, `(m, 1)`; None draws the flow's density alone.
      context: the context to draw a conditional flow for, `(context_size,)`.
      n: the number of points of the base.
      seed: the seed of these points.
      axes: three Axes; None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: the flow or the data have more than one coordinate, `axes` are too
        few, or a context is missing, not needed, or of another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> flow = tfpf.Flow([tfp.bijectors.Scale(2.0)], event_size=1)
      >>> [ax.get_title() for ax in plot_line(flow).axes]
      ['base: MultivariateNormalDiag', 'the map', 'density']
    """
    line = points_of_line("plot_line", flow, data, context, n, seed)
    base, curve, density = style.new_grid(axes, 1, 3, 3.4, 3)

    z_grid = centers(line.z_limits, _RESOLUTION)
    height = drawables.exp_log_prob(
        line.base.distribution.log_prob, z_grid[:, None].astype(flow.dtype)
    )
    top = panels.curve(base, z_grid, height, style.VERMILION, "#f8dccb")
    panels.rug(base, line.z[finite_rows(line.z), 0])
    base.set_xlim(line.z_limits)
    base.set_ylim(0.0, top)
    style.label(base, "z, base", "density")
    style.title(base, f"base: {line.base.name}", 10)

    draw_map(curve, line)
    style.title(curve, "the map", 10)

    plot_density(
        line.distribution,
        line.data,
        components=_mixture(line.last.bijector),
        limits=line.x_limits,
        ax=density,
    )
    style.label(density, "x, data", "density")
    style.title(density, "density", 10)
    return style.figure_of(base)


def _mixture(bijector: Any) -> tfp.distributions.MixtureSameFamily | None:
    """Returns the mixture of the last bijector, or None if it has none."""
    if not isinstance(bijector, Invert):
        return None
    inner = bijector.bijector
    return inner.mixture if isinstance(inner, MixtureCDF) else None
