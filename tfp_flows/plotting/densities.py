"""A density, and samples of a flow beside the data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.axes import Axes
from matplotlib.colors import Normalize
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.plotting import arguments, drawables, panels, style
from tfp_flows.plotting.limits import (
    Limits,
    as_limits,
    centers,
    finite_rows,
    grid,
    robust_limits,
)

__all__ = ["plot_density", "plot_samples"]

_SCOUTS = 2000  # samples that choose the limits
_DEPTH = 12.0  # nats below the highest value that `log=True` shows


def plot_density(
    density: Any,
    data: ArrayLike | None = None,
    *,
    components: tfp.distributions.MixtureSameFamily | None = None,
    limits: ArrayLike | None = None,
    resolution: int | None = None,
    log: bool = False,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draws exp(log_prob) exactly: a curve over a line, shading over a plane.

    Args:
      density: a Flow, a tfd.Distribution, a density of `tfp_flows.densities`, or
        anything with `log_prob`, of one or two coordinates.
      data: the data, `(n, event_size)`: drawn as a histogram of unit area and a rug
        over a line, and as points over a plane.
      components: a mixture of one coordinate, such as that of `MixtureCDF`. Each
        component times its weight is drawn as a thin line. They add up to the density
        if the base is uniform.
      limits: (low, high), or one such pair for each coordinate. None takes those of
        the data, or else of samples.
      resolution: the number of grid points along each axis. None takes 500 over a
        line and 200 over a plane.
      log: True draws log_prob in nats, down to 12 nats below its highest value.
      seed: the seed of the samples that choose the limits.
      ax: the Axes to draw on; None makes new ones.

    Returns:
      The Axes that were drawn on.

    Raises:
      TypeError: `density` has no `log_prob`, or `components` is not a mixture.
      ValueError: the density has more than two coordinates, the data have another
        width, the limits are not valid, or missing for a density without data and
        samples, or `components` are given over a plane.

    Example:
      >>> import tensorflow_probability as tfp
      >>> ax = plot_density(tfp.distributions.Normal(0.0, 1.0), limits=(-3, 3))
      >>> heights = ax.lines[0].get_ydata()
      >>> round(float(heights.max()), 3)
      0.399
    """
    drawable = drawables.as_drawable(density, limits)
    if data is not None:
        data = arguments.as_data(data, density, drawable.event_size)
    if components is not None:
        components = _as_components(components, drawable.event_size)
    if limits is None:
        limits = robust_limits(_scouts(drawable, data, seed))
    else:
        limits = as_limits(limits, drawable.event_size)
    if resolution is not None:
        resolution = checks.positive_int(resolution, "resolution")
    ax = style.new_axes(ax, 5.0 if drawable.event_size == 1 else 4.2, 4.0)
    if drawable.event_size == 1:
        _draw_line(ax, drawable, data, components, limits[0], resolution or 500, log)
    else:
        _draw_plane(ax, drawable, data, limits, resolution or 200, log)
    return ax


def _scouts(
    drawable: drawables.Drawable, data: np.ndarray | None, seed: int
) -> np.ndarray:
    if data is not None:
        return data
    if drawable.sample is None:
        raise ValueError(
            "`limits` must be given for a density without a `sample` method. "
            "Received: None."
        )
    return drawable.sample(_SCOUTS, seed)


def _draw_line(
    ax: Axes,
    drawable: drawables.Drawable,
    data: np.ndarray | None,
    components: Any,
    limits: Limits,
    resolution: int,
    log: bool,
) -> None:
    scale = _log if log else np.asarray
    x = centers(limits, resolution)
    density = drawable.density(x[:, None])
    fill = None if log else "#cfe3f1"
    top = panels.curve(ax, x, scale(density), style.BLUE, fill, "density")
    if data is not None:
        heights, edges = panels.histogram(data[:, 0], limits)
        look: dict[str, Any] = {
            "color": style.MUTED,
            "linewidth": 1.0,
            "zorder": 2,
            "label": "data",
        }
        ax.stairs(scale(heights), edges, baseline=None if log else 0.0, **look)
        top = max(top, 1.05 * heights.max())
        panels.rug(ax, data[:, 0])
    if components is not None:
        lines = ax.plot(x, scale(_weighted(components, x)).T, zorder=2.5)
        for line in lines:
            line.set(color=style.VERMILION, linewidth=0.9)
        lines[0].set_label("components")
    if data is not None or components is not None:
        style.legend(ax)
    ax.set_xlim(limits)
    if log:
        highest = _highest(scale(density))
        ax.set_ylim(highest - _DEPTH, highest + 0.05 * _DEPTH)
    else:
        ax.set_ylim(0.0, top)
    style.label(ax, "x", "log-density (nats)" if log else "density")


def _draw_plane(
    ax: Axes,
    drawable: drawables.Drawable,
    data: np.ndarray | None,
    limits: list[Limits],
    resolution: int,
    log: bool,
) -> None:
    values = drawable.density(grid(limits, resolution))
    values = values.reshape(resolution, resolution)
    norm = None
    if log:
        values = _log(values)
        highest = _highest(values)
        norm = Normalize(highest - _DEPTH, highest, clip=True)
    panels.shade(ax, values, limits, style.HEAT if data is None else style.SHADES, norm)
    if data is not None:
        panels.scatter(ax, data, style.BLUE)
    panels.set_limits(ax, limits)
    style.label(ax, "coordinate 0", "coordinate 1")


def _log(density: np.ndarray) -> np.ndarray:
    """Returns the logarithm of a density; NaN where the density is 0."""
    return np.log(np.where(np.asarray(density) > 0, density, np.nan))


def _highest(log_density: np.ndarray) -> float:
    """Returns the largest finite log-density, or 0 if there is none."""
    highest = np.nanmax(log_density, initial=-np.inf)
    return highest if np.isfinite(highest) else 0.0


def _as_components(components: Any, event_size: int) -> Any:
    if event_size != 1:
        raise ValueError(
            "`components` can be drawn for a density of 1 coordinate. Received one of "
            f"{event_size}."
        )
    mixture = components
    if not isinstance(mixture, tfp.distributions.MixtureSameFamily):
        raise TypeError(
            "`components` must be a tfd.MixtureSameFamily. "
            f"Received: {type(mixture).__name__}."
        )
    if mixture.event_shape.rank != 0 or mixture.batch_shape.num_elements() != 1:
        raise ValueError(
            "`components` must be one mixture over numbers. Received batch shape "
            f"{mixture.batch_shape}, event shape {mixture.event_shape}."
        )
    return mixture


def _weighted(
    mixture: tfp.distributions.MixtureSameFamily, x: np.ndarray
) -> np.ndarray:
    """Returns the density of each component times its weight, `(K, len(x))`."""
    batch = mixture.batch_shape.rank
    points = tf.reshape(tf.constant(x, mixture.dtype), [-1] + [1] * (batch + 1))
    parts = mixture.components_distribution.prob(points)
    weights = mixture.mixture_distribution.probs_parameter()
    return np.reshape(parts * weights, (len(x), -1)).astype(np.float64).T


def plot_samples(
    flow: Any,
    data: ArrayLike | None = None,
    *,
    n: int = 2000,
    seed: int = 0,
    coordinates: Sequence[int] = (0, 1),
    axes: style.AxesLike = None,
) -> Figure:
    """Draws the data beside samples of the flow, with the same limits.

    Args:
      flow: a Flow; a tfd.Distribution, such as `flow.given(context)` of a
        conditional one; or anything with `sample(n, seed=)` and `event_size`.
      data: the data, `(m, event_size)`; None draws the samples alone.
      n: the number of samples.
      seed: the seed of the samples.
      coordinates: the two coordinates to draw, if there are more than one. A single
        coordinate is drawn as a histogram of unit area.
      axes: two Axes, or one without data; None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` cannot be sampled, or the data are not numbers.
      ValueError: the data have another width, or coordinates do not exist.

    Example:
      >>> from tfp_flows import densities
      >>> moons = densities.make("two_moons")
      >>> figure = plot_samples(moons, moons.sample(300, seed=1), n=500)
      >>> [ax.get_title() for ax in figure.axes]
      ['300 data points', '500 samples']
    """
    event_size, sample = drawables.as_sampler(flow)
    coordinates = arguments.pick_coordinates(coordinates, event_size)
    n = checks.positive_int(n, "n")
    clouds = []
    if data is not None:
        points = arguments.as_data(data, flow, event_size)
        clouds.append((points, f"{len(points):,} data points", style.INK))
    samples = np.asarray(sample(n, seed=seed))
    clouds.append((samples, f"{n:,} samples", style.BLUE))

    clouds = [(cloud[:, coordinates], text, color) for cloud, text, color in clouds]
    # The data choose the limits, so that distant samples cannot make them small.
    limits = robust_limits(clouds[0][0])
    cells = style.new_grid(axes, 1, len(clouds), 3.4, len(clouds))
    for ax, (cloud, text, color) in zip(cells, clouds, strict=True):
        finite = cloud[finite_rows(cloud)]
        if len(finite) < len(cloud):
            panels.remark(ax, f"{len(cloud) - len(finite):,} not finite")
        if event_size == 1:
            style.label(ax, "x", "density" if ax is cells[0] else "")
            heights, edges = panels.histogram(finite[:, 0], limits[0])
            ax.stairs(heights, edges, fill=True, color=color, alpha=0.75, linewidth=0)
            ax.set_xlim(limits[0])
        else:
            panels.scatter(ax, finite, color)
            panels.set_limits(ax, limits)
            if event_size > 2:
                style.label(ax, *(f"coordinate {i}" for i in coordinates))
        style.title(ax, text, 10)
    if event_size == 1:
        top = max(ax.get_ylim()[1] for ax in cells)
        for ax in cells:
            ax.set_ylim(0.0, top)
    return style.figure_of(cells[0])
