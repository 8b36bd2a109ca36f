"""Films: of the stages from the base to the data, and of how they were learned."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes
from matplotlib.image import AxesImage
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow.flow import Flow, Stage
from tfp_flows.plotting import arguments, drawables, panels, paths, style
from tfp_flows.plotting.film import Film
from tfp_flows.plotting.limits import grid, limits_of_each, robust_limits
from tfp_flows.plotting.stages import columns_for
from tfp_flows.plotting.titles import stage_title

__all__ = ["animate_stages", "animate_training"]

_SHOW = ("samples", "density", "both")
_FRAMES = 60  # about this many frames for all stages together
_MOST_BETWEEN = 11  # frames between two stages
_RESOLUTION = 90
_DPI = 80  # keeps the files small


def animate_stages(
    flow: Flow,
    *,
    context: ArrayLike | None = None,
    n: int = 1000,
    seed: int = 0,
    show: str = "both",
    interval: int = 60,
    between: int | None = None,
    share_limits: bool = False,
    coordinates: Sequence[int] = (0, 1),
    ax: Axes | None = None,
) -> FuncAnimation:
    """Films the points on their way from the base to the data.

    A rotation turns the points; all other bijectors move them along straight lines.
    The film slows down at each stage. A point keeps its colour, given by its place in
    the base. The shading is the exact density of a stage, which fades on the way to
    the next. With one coordinate each point stands at a fixed fraction of the exact
    density's height, so that the points fill the area under the curve. With more than
    two coordinates only points are drawn.

    Args:
      flow: a Flow of any event size.
      context: the context to draw a conditional flow for, `(context_size,)`.
      n: the number of points.
      seed: the seed of the points of the base.
      show: "samples", "density" or "both".
      interval: milliseconds per frame.
      between: the number of frames between two stages; None chooses it for a film of a
        few seconds.
      share_limits: True keeps the limits fixed, wide enough for all stages; False
        moves them from those of one stage to those of the next.
      coordinates: the two coordinates to draw, if there are more than one.
      ax: the Axes to draw on; None makes new ones.

    Returns:
      A matplotlib animation. `.save("flow.gif", writer="pillow")` writes a GIF, and
      `.save("flow.html")` a page with a button and a slider. In a notebook,
      `IPython.display.HTML(film.to_jshtml())` shows it.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: an option is out of range, `show` is "density" for other than two
        coordinates, or a context is missing, not needed, or of another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> flow = tfpf.Flow([tfpf.bijectors.Rotation2D(0.5) for _ in range(3)])
      >>> film = animate_stages(flow, n=100, between=4)
      >>> len(list(film.new_frame_seq()))  # from stage to stage in five
      16
    """
    arguments.as_flow(flow)
    checks.pick(show, _SHOW, "`show`")
    if show == "density" and flow.event_size != 2:
        raise ValueError(
            '`show="density"` needs points of 2 coordinates. Received '
            f'{flow.event_size}. Remedy: `show="samples"`.'
        )
    interval = checks.positive_int(interval, "interval")
    if between is not None:
        between = checks.size(between, "between")
    coordinates = arguments.pick_coordinates(coordinates, flow.event_size)
    stages = flow.stages(n, seed=seed, context=context)
    if between is None:
        between = min(max(_FRAMES // len(stages), 1), _MOST_BETWEEN)
    film = _Walk(stages, coordinates, show, share_limits)
    titles = [stage_title(stage, range(k)) for k, stage in enumerate(stages)]

    if ax is None:
        ax = style.new_axes(None, 4.0, 4.4)
        style.figure_of(ax).set_dpi(_DPI)
        # A constrained layout would move the axes from frame to frame.
        ax.set_position((0.15, 0.11, 0.81, 0.75))
    ax = style.new_axes(ax)
    colors = style.base_colors(np.asarray(stages[0].samples)[:, coordinates])
    points = panels.scatter(ax, film.places(0, 0.0), colors)
    points.set_visible(show != "density")
    shading = film.shade(ax)
    if flow.event_size == 1:
        style.label(ax, "x", "density")

    def draw(frame: int) -> list[Any]:
        stage, part = divmod(frame, between + 1)
        t = part / (between + 1)
        t = t * t * (3 - 2 * t)  # starts and stops gently
        points.set_offsets(film.places(stage, t))
        box = film.limits(stage, t)
        if flow.event_size == 1:
            ax.set_xlim(box[0])
            ax.set_ylim(box[1])
        else:
            panels.set_limits(ax, box.tolist())
        near = stage if t < 0.5 else stage + 1
        if shading is not None:
            film.put_shade(shading, near, abs(1 - 2 * t))
        style.title(ax, titles[stage if part == 0 else stage + 1], 10)
        return [points] if shading is None else [points, shading]

    draw(0)
    frames = (len(stages) - 1) * (between + 1) + 1
    return Film(
        style.figure_of(ax), draw, frames=frames, interval=interval, repeat_delay=1500
    )


class _Walk:
    """The places of points, the limits and the density's image at each time of a film.

    Args:
      stages: all stages of a flow.
      coordinates: the one or two coordinates to draw.
      show: as for `animate_stages`.
      share_limits: whether all stages have the same limits.
    """

    def __init__(
        self,
        stages: Sequence[Stage],
        coordinates: Sequence[int],
        show: str,
        share_limits: bool,
    ) -> None:
        whole = [np.asarray(stage.samples, np.float64) for stage in stages]
        # Infinite points would become NaN between stages, with a warning.
        whole = [np.where(np.isfinite(cloud), cloud, np.nan) for cloud in whole]
        self._coordinates = coordinates
        self._last = whole[-1]
        self._paths = [
            paths.path(stage.bijector, before, after)
            for stage, before, after in zip(stages[1:], whole, whole[1:], strict=False)
        ]
        clouds = [cloud[:, coordinates] for cloud in whole]
        self._limits = limits_of_each(clouds, share_limits)
        self._heights: list[np.ndarray] = []
        self._images: list[np.ndarray] = []
        if whole[0].shape[1] == 1:
            self._heights, tops = _heights(stages, share_limits)
            self._limits = [
                [*pair, (0.0, top)]
                for pair, top in zip(self._limits, tops, strict=True)
            ]
        elif whole[0].shape[1] == 2 and show != "samples":
            grids = [grid(pairs, _RESOLUTION) for pairs in self._limits]
            # Column i of a grid is the point's coordinate coordinates[i].
            grids = [cells[:, np.argsort(coordinates)] for cells in grids]
            self._images = drawables.stage_densities(stages, grids)
            self._cmap = style.HEAT if show == "density" else style.SHADES

    def places(self, stage: int, t: float) -> np.ndarray:
        """Returns the points `(n, 2)` at a share t of the way to the next stage."""
        at_end = stage == len(self._paths)
        cloud = self._last if at_end else self._paths[stage](t)
        cloud = cloud[:, self._coordinates]
        if not self._heights:
            return cloud
        after = min(stage + 1, len(self._paths))
        height = (1 - t) * self._heights[stage] + t * self._heights[after]
        return np.column_stack([cloud, height])

    def limits(self, stage: int, t: float) -> np.ndarray:
        """Returns (low, high) of both axes, `(2, 2)`."""
        after = min(stage + 1, len(self._paths))
        here, there = np.array(self._limits[stage]), np.array(self._limits[after])
        return (1 - t) * here + t * there

    def shade(self, ax: Axes) -> AxesImage | None:
        """Draws the density of the first stage and returns its image, if it has one."""
        if not self._images:
            return None
        first = self._images[0].reshape(_RESOLUTION, _RESOLUTION)
        return panels.shade(ax, first, self._limits[0], self._cmap)

    def put_shade(self, image: AxesImage, stage: int, strength: float) -> None:
        """Shows the density of a stage with an opacity of `strength`."""
        values = self._images[stage].reshape(_RESOLUTION, _RESOLUTION)
        image.set_norm(panels.MassNorm(values))
        image.set_data(np.ma.masked_invalid(values))
        (left, right), (low, high) = self._limits[stage]
        image.set_extent((left, right, low, high))
        image.set_alpha(strength)


def _heights(
    stages: Sequence[Stage], share_limits: bool
) -> tuple[list[np.ndarray], list[float]]:
    """Returns heights of points below each density, and upper limits of the axes."""
    fraction = np.random.default_rng(0).uniform(size=len(stages[0].samples))
    densities = [drawables.exp_log_prob(np.asarray, stage.log_prob) for stage in stages]
    tops = [_top(density) for density in densities]
    if share_limits:
        tops = [max(tops)] * len(stages)
    return [fraction * density for density in densities], tops


def _top(heights: np.ndarray) -> float:
    """Returns an upper limit that shows nearly all heights, even next to a pole."""
    finite = heights[np.isfinite(heights)]
    return 1.2 * float(np.quantile(finite, 0.95)) if len(finite) else 1.0


def animate_training(
    pictures: Any,
    *,
    interval: int = 200,
    coordinates: Sequence[int] = (0, 1),
    axes: style.AxesLike = None,
) -> FuncAnimation:
    """Films how the stages were learned: a panel for each stage, a frame per record.

    A point keeps its colour, given by its place in the base.

    Args:
      pictures: a `callbacks.StagePictures` that was given to `fit`.
      interval: milliseconds per frame.
      coordinates: the two coordinates to draw, if there are more than one. A single
        coordinate is drawn as a histogram.
      axes: one Axes for the base and one for each bijector; None makes a new figure.

    Returns:
      A matplotlib animation, as `animate_stages`.

    Raises:
      TypeError: `pictures` has no records.
      ValueError: `pictures` has no record yet, or an option is out of range.

    Example:
      >>> import tfp_flows as tfpf
      >>> flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
      >>> flow.compile("adam")
      >>> pictures = tfpf.callbacks.StagePictures(n=50)
      >>> x = tfpf.densities.make("two_moons").sample(200, seed=0)
      >>> history = flow.fit(x, epochs=1, verbose=0, callbacks=[pictures])
      >>> len(list(animate_training(pictures).new_frame_seq()))
      2
    """
    interval = checks.positive_int(interval, "interval")
    records = getattr(pictures, "records", None)
    if not isinstance(records, Sequence):
        raise TypeError(
            "`pictures` must be a callbacks.StagePictures. "
            f"Received: {type(pictures).__name__}."
        )
    if not records:
        raise ValueError(
            "`pictures` must hold a record. Remedy: give it to `fit` as a callback."
        )
    width = records[0].samples[0].shape[1]
    coordinates = arguments.pick_coordinates(coordinates, width)
    count = len(records[0].samples)
    columns = columns_for(count)
    cells = style.new_grid(axes, math.ceil(count / columns), columns, 2.0, count)
    if axes is None:
        style.figure_of(cells[0]).set_dpi(_DPI)
    # The limits are those of the last record in all frames.
    limits = [robust_limits(cloud[:, coordinates]) for cloud in records[-1].samples]
    colors = style.base_colors(records[0].samples[0][:, coordinates])
    drawn: list[Any] = []
    for ax, pairs, name in zip(cells, limits, records[0].names, strict=True):
        if width == 1:
            ax.set_xlim(pairs[0])
            drawn.append(ax.stairs([0.0], pairs[0], fill=True, color=style.BLUE))
        else:
            drawn.append(panels.scatter(ax, np.zeros((len(colors), 2)), colors))
            panels.set_limits(ax, pairs)
        style.title(ax, name, 8)
    caption = cells[0].figure.suptitle(
        " ", fontsize=10, color=style.INK, fontfamily=style.FONT
    )

    def draw(frame: int) -> list[Any]:
        record = records[frame]
        for ax, artist, cloud, pairs in zip(
            cells, drawn, record.samples, limits, strict=True
        ):
            if width > 1:
                artist.set_offsets(cloud[:, coordinates])
                continue
            heights, edges = panels.histogram(cloud[:, 0], pairs[0])
            artist.set_data(heights, edges)
            ax.set_ylim(0.0, 1.1 * max(heights.max(), 1e-12))
        loss = "" if record.loss is None else f": {record.loss:.3f} nats"
        caption.set_text(f"epoch {record.epoch}{loss}")
        return [*drawn, caption]

    draw(0)
    return Film(
        style.figure_of(cells[0]),
        draw,
        frames=len(records),
        interval=interval,
        repeat_delay=1500,
    )
