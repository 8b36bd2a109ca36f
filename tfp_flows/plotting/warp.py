"""What a bijector does to space: how a grid is warped, and where it is stretched."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow_probability as tfp
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, to_rgb
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow import Flow
from tfp_flows.plotting import arguments, panels, style
from tfp_flows.plotting.drawn_bijector import (
    DrawnBijector,
    as_drawn_bijector,
    input_limits,
    middle_of,
    scouts_of,
)
from tfp_flows.plotting.limits import Limits, centers, grid, robust_limits

__all__ = ["plot_log_det", "plot_warp"]

tfb = tfp.bijectors

_CIRCLES = 3
_ALONG = 400  # points on each line

# Lines are cut at so many widths of the panel, as renderers cannot clip huge numbers.
_FAR = 100.0

# The limits of a panel are those of its grid times this, to show the outermost lines.
_BORDER = np.array([[1.03, -0.03], [-0.03, 1.03]])

# Log-dets below this many nats may be due to rounding.
_LEAST_LOG_DET = 0.01


def plot_warp(
    flow: Flow | tfb.Bijector,
    *,
    stage: int | None = None,
    context: ArrayLike | None = None,
    limits: ArrayLike | None = None,
    coordinates: Sequence[int] = (0, 1),
    at: ArrayLike | None = None,
    lines: int = 13,
    seed: int = 0,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws a grid of lines and circles before and after a bijector.

    In two coordinates there are two panels, the base side and the data side. Upright
    lines are blue and level lines orange, darker where their coordinate is larger;
    circles are black. Parts of a line without a finite image stay blank.

    In one coordinate there is one panel with the curve x = f(z). Thin lines take
    evenly spaced z up to the curve and over to x.

    In more than two coordinates, the plane of two of them is warped, with the others
    held at the point `at`, and the same two coordinates of the image are drawn.

    Args:
      flow: a Flow, or a bijector by itself. A bijector that accepts any event size is
        drawn over a plane; use Flow([bijector], event_size=1) to draw it over a line.
      stage: the bijector of a Flow to draw, 1..K as in `flow.stages()`. None draws
        all of them together, from the base to the data.
      context: the context, `(context_size,)`, for a conditional flow or bijector.
      limits: (low, high) of the input, or one such pair for each coordinate. None
        takes those of a Flow's samples, or (-3, 3) for a bijector by itself.
      coordinates: the two coordinates to draw, if there are more than two.
      at: the point `(event_size,)` at which the other coordinates are held. None takes
        the median of the points that reach this stage.
      lines: the number of lines in each direction, at least 2.
      seed: the seed of the points that choose the limits.
      axes: two Axes, or one for one coordinate; None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` is neither a Flow nor a bijector.
      ValueError: an option is out of range, or a context is missing, not needed, or of
        another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> figure = plot_warp(tfpf.bijectors.Rotation2D(0.5), lines=5)
      >>> [ax.get_title() for ax in figure.axes]
      ['z', 'f(z)\\nRotation2D']
      >>> len(figure.axes[1].lines)  # five up, five across, three circles
      13
    """
    lines = checks.positive_int(lines, "lines")
    if lines < 2:
        raise ValueError(f"`lines` must be at least 2. Received: {lines}.")
    picture = as_drawn_bijector(flow, stage, context, limits, seed)
    picked = arguments.pick_coordinates(coordinates, picture.event_size)
    box = input_limits(picture, limits)
    middle = middle_of(picture, box, at)
    if picture.event_size == 1:
        (ax,) = style.new_grid(axes, 1, 1, 4.4, 1)
        _draw_curve(ax, picture, box[0], lines)
        return style.figure_of(ax)
    plane = [box[i] for i in picked]
    scouts = scouts_of(picture, picked, plane, middle)
    after = robust_limits(picture.forward(scouts)[:, picked])
    cells = style.new_grid(axes, 1, 2, 3.6, 2)
    reach = [_FAR * (high - low) for low, high in after]
    for z, look in _shapes(plane, lines):
        points = np.tile(middle, (len(z), 1))
        points[:, picked] = z
        x = np.clip(picture.forward(points)[:, picked], *_around(after, reach))
        cells[0].plot(*z.T, **look)
        cells[1].plot(*x.T, **look)
    before = [tuple(_BORDER @ pair) for pair in plane]
    for ax, text, shown in zip(cells, picture.titles, (before, after), strict=True):
        panels.set_limits(ax, shown)
        style.title(ax, text)
    _note(cells, picture, picked, axes)
    return style.figure_of(cells[0])


def plot_log_det(
    flow: Flow | tfb.Bijector,
    *,
    stage: int | None = None,
    context: ArrayLike | None = None,
    limits: ArrayLike | None = None,
    coordinates: Sequence[int] = (0, 1),
    at: ArrayLike | None = None,
    resolution: int | None = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draws where a bijector stretches space and where it squeezes it.

    The value at z is the forward log-det log|det ∂x/∂z| in nats, of one bijector or of
    all together. Where it is positive (orange), a small volume around z grows, and the
    density falls by the same factor; where it is negative (blue), the volume shrinks;
    white means that it is kept. In one coordinate the log-det is drawn as a curve.

    The range of colours covers all but one in a hundred points, so that corners
    without points do not make the rest pale, and at least half of the plane.

    Args:
      flow, stage, context, limits, coordinates, at, seed: as for `plot_warp`. With more
        than two coordinates the log-det is that of all coordinates, over the plane of
        two of them.
      resolution: the number of grid points along each axis. None takes 200 over a
        plane and 500 over a line.
      ax: the Axes to draw on, which also make room for the colour bar; None makes new
        ones.

    Returns:
      The Axes that were drawn on.

    Raises:
      TypeError: `flow` is neither a Flow nor a bijector.
      ValueError: as for `plot_warp`.

    Example:
      >>> import tensorflow_probability as tfp
      >>> ax = plot_log_det(tfp.bijectors.Scale([2.0, 3.0]), resolution=9)
      >>> round(float(ax.images[0].get_array().max()), 3)  # log 6, everywhere
      1.792
    """
    if resolution is not None:
        resolution = checks.positive_int(resolution, "resolution")
    picture = as_drawn_bijector(flow, stage, context, limits, seed)
    picked = arguments.pick_coordinates(coordinates, picture.event_size)
    box = input_limits(picture, limits)
    middle = middle_of(picture, box, at)
    is_new = ax is None
    ax = style.new_axes(ax, 4.8, 4.0)
    if picture.event_size == 1:
        _draw_log_det_line(ax, picture, box[0], resolution or 500)
    else:
        resolution = resolution or 200
        plane = [box[i] for i in picked]
        z = grid(plane, resolution)
        points = np.tile(middle, (len(z), 1))
        points[:, picked] = z
        values = picture.log_det(points).reshape(resolution, resolution)
        scouts = picture.log_det(scouts_of(picture, picked, plane, middle))
        reach = _reach(scouts, values)
        norm = Normalize(-reach, reach)
        image = panels.shade(ax, values, plane, style.DIVERGING, norm)
        beyond = np.nanmax(np.abs(values), initial=0.0) > norm.vmax
        bar = ax.figure.colorbar(image, ax=ax, extend="both" if beyond else "neither")
        bar.set_label(
            "log|det ∂x/∂z| (nats)",
            fontsize=8,
            color=style.INK,
            fontfamily=style.FONT,
        )
        bar.ax.tick_params(labelsize=7, labelcolor=style.INK, color=style.MUTED)
        bar.outline.set_visible(False)
        panels.set_limits(ax, plane)
        finite = values[np.isfinite(values)]
        if np.max(np.abs(finite), initial=0.0) < _LEAST_LOG_DET:
            panels.remark(ax, f"volume is kept, to {_LEAST_LOG_DET} nats")
        elif np.ptp(finite) < _LEAST_LOG_DET:
            panels.remark(ax, f"{finite[0]:.3g} nats everywhere")
        names = [f"coordinate {i}" for i in picked]
        style.label(ax, *(f"{picture.axis_names[0]}, {name}" for name in names))
    style.title(ax, picture.titles[1])
    if is_new:
        _note([ax], picture, picked, None)
    return ax


def _around(limits: list[Limits], reach: list[float]) -> tuple[np.ndarray, np.ndarray]:
    low, high = np.transpose(limits)
    return low - reach, high + reach


def _shapes(limits: list[Limits], lines: int) -> list[tuple[np.ndarray, dict]]:
    """Returns the points of each line and circle, `(m, 2)`, and its look."""
    (low0, high0), (low1, high1) = limits
    shapes = []
    shares = np.linspace(0.0, 1.0, lines)
    along = np.linspace(0.0, 1.0, _ALONG)
    for color, across in ((style.BLUE, 0), (style.VERMILION, 1)):
        for share in shares:
            places = [along, along]
            places[across] = np.full(_ALONG, share)
            z = np.stack(
                [low0 + places[0] * (high0 - low0), low1 + places[1] * (high1 - low1)],
                -1,
            )
            look = {"color": _shade(color, share), "linewidth": 0.9, "zorder": 2}
            shapes.append((z, look))
    angle = 2 * np.pi * along
    half = np.array([high0 - low0, high1 - low1]) / 2
    middle = np.array([high0 + low0, high1 + low1]) / 2
    for i in range(1, _CIRCLES + 1):
        ring = np.stack([np.cos(angle), np.sin(angle)], -1)
        z = middle + i / _CIRCLES * half * ring
        shapes.append((z, {"color": style.INK, "linewidth": 1.3, "zorder": 3}))
    return shapes


def _shade(color: str, share: float) -> tuple[float, ...]:
    """Returns the colour, lighter for a share of 0 and darker for 1."""
    rgb = np.array(to_rgb(color))
    if share < 0.5:
        return tuple(rgb + (1 - rgb) * (0.5 - share) * 1.2)
    return tuple(rgb * (1 - (share - 0.5) * 1.1))


def _draw_curve(ax: Axes, picture: DrawnBijector, limits: Limits, lines: int) -> None:
    z = centers(limits, _ALONG)
    x = picture.forward(z[:, None])[:, 0]
    scouts = scouts_of(picture, [0], [limits], np.zeros(1))
    (shown,) = robust_limits(picture.forward(scouts))
    ax.plot(z, x, color=style.BLUE, linewidth=1.8, zorder=3)
    marks = np.linspace(*limits, lines + 2)[1:-1]
    heights = picture.forward(marks[:, None])[:, 0]
    for mark, height in zip(marks, heights, strict=True):
        ax.plot(
            [mark, mark, limits[0]],
            [shown[0], height, height],
            color=style.MUTED,
            linewidth=0.6,
            zorder=1,
        )
    ax.set_xlim(limits)
    ax.set_ylim(shown)
    style.label(ax, *picture.axis_names)
    style.title(ax, picture.titles[1])


def _draw_log_det_line(
    ax: Axes, picture: DrawnBijector, limits: Limits, resolution: int
) -> None:
    z = centers(limits, resolution)
    values = picture.log_det(z[:, None])
    ax.plot(z, values, color=style.INK, linewidth=1.4, zorder=3)
    ax.axhline(0.0, color=style.MUTED, linewidth=0.8, zorder=1)
    look: dict[str, Any] = {"linewidth": 0, "alpha": 0.35, "zorder": 2}
    for side, color in ((np.maximum, style.VERMILION), (np.minimum, style.BLUE)):
        ax.fill_between(z, 0, side(values, 0.0), color=color, **look)
    ax.set_xlim(limits)
    scouts = picture.log_det(scouts_of(picture, [0], [limits], np.zeros(1)))
    reach = _reach(scouts, values)
    shown = np.clip(scouts[np.isfinite(scouts)], -reach, reach)
    low, high = min(shown.min(initial=0.0), 0.0), max(shown.max(initial=0.0), 0.0)
    margin = 0.1 * max(high - low, _LEAST_LOG_DET)
    ax.set_ylim(low - margin, high + margin)
    style.label(ax, picture.axis_names[0], "log|∂x/∂z| (nats)")


def _reach(of_points: np.ndarray, of_plane: np.ndarray) -> float:
    """Returns the size that 99% of the points and half of the plane do not exceed."""
    reach = _LEAST_LOG_DET
    for values, share in ((of_points, 0.99), (of_plane, 0.5)):
        sizes = np.abs(values[np.isfinite(values)])
        if sizes.size:
            reach = max(reach, float(np.quantile(sizes, share)))
    return reach


def _note(
    cells: list[Axes], picture: DrawnBijector, picked: list[int], axes: Any
) -> None:
    """Writes which plane is drawn, if there are more than two coordinates."""
    if axes is not None or picture.event_size <= 2:
        return
    style.note(
        style.figure_of(cells[0]),
        f"the plane of coordinates {picked[0]} and {picked[1]} of "
        f"{picture.event_size}; the others are held at one point",
    )
