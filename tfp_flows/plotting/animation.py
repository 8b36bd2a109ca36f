"""The stages as a film, from the base to the data."""

from typing import Any

import numpy as np
from matplotlib.animation import FuncAnimation
from matplotlib.axes import Axes

from tfp_flows import _checks
from tfp_flows.flow import Flow
from tfp_flows.plotting import _panels, _style, _targets
from tfp_flows.plotting.stages import stage_title

__all__ = ["animate_stages"]


def animate_stages(
    flow: Flow,
    *,
    context: Any = None,
    n: int = 2000,
    seed: int = 0,
    interval: int = 500,
    between: int = 0,
    share_limits: bool = True,
    coordinates: tuple[int, int] = (0, 1),
    ax: Axes | None = None,
) -> FuncAnimation:
    """Films the points on their way from the base to the data, a frame a stage.

    A point keeps its colour, given by its place in the base. With one coordinate each
    point stands at a fixed fraction of the exact density's height, so that the points
    fill the area under the curve.

    Args:
      flow: of any event size.
      context: `(context_size,)`, for a conditional flow: the one to draw it for.
      n: number of points.
      seed: of the base's draw.
      interval: milliseconds a frame.
      between: frames between two stages, in which points move straight.
      share_limits: True keeps the limits still, wide enough for all stages; False
        gives each stage its own.
      coordinates: the two to draw, of more than one.
      ax: to draw on; new when None.

    Returns:
      A matplotlib animation: `.save("flow.gif", writer="pillow")`, `.to_jshtml()`.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: an option is out of its range, or a context is missing, not asked
        for, or of another shape.

    Example:
      >>> import tfp_flows as tfpf
      >>> flow = tfpf.Flow([tfpf.bijectors.Rotation2D(0.5) for _ in range(18)])
      >>> film = animate_stages(flow, n=100)
      >>> len(list(film.new_frame_seq()))
      19
    """
    _targets.as_flow(flow)
    interval = _checks.positive_int(interval, "interval")
    if isinstance(between, bool) or not isinstance(between, int) or between < 0:
        raise ValueError(
            f"`between` must be a whole number ≥ 0. Received: {between!r}."
        )
    coordinates = _targets.pick_coordinates(coordinates, flow.event_size)
    stages = flow.stages(n, seed=seed, context=context)
    clouds, limits = _clouds(stages, coordinates, share_limits)
    colors = _style.base_colors(np.asarray(stages[0].samples)[:, coordinates])
    titles = [stage_title(stage, range(k)) for k, stage in enumerate(stages)]

    if ax is None:
        ax = _style.new_axes(None, 4.0, 4.4)
        # Out of the layout, which would move the axes from frame to frame.
        ax.set_position([0.15, 0.11, 0.81, 0.75])
    ax = _style.new_axes(ax)
    points = _panels.scatter(ax, clouds[0], colors)
    if flow.event_size == 1:
        _style.label(ax, "x", "density")

    def draw(frame: int) -> list[Any]:
        stage, part = divmod(frame, between + 1)
        t = part / (between + 1)
        t = t * t * (3 - 2 * t)  # starts and stops gently
        after = min(stage + 1, len(stages) - 1)
        points.set_offsets((1 - t) * clouds[stage] + t * clouds[after])
        box = (1 - t) * limits[stage] + t * limits[after]
        if flow.event_size == 1:
            ax.set_xlim(box[0])
            ax.set_ylim(box[1])
        else:
            _panels.set_limits(ax, box.tolist())
        _style.title(ax, titles[stage if part == 0 else after], 10)
        return [points]

    draw(0)
    frames = (len(stages) - 1) * (between + 1) + 1
    return _Film(ax.figure, draw, frames=frames, interval=interval, repeat_delay=1500)


class _Film(FuncAnimation):
    """An animation that may be thrown away unseen; matplotlib's warns of that."""

    def __del__(self) -> None:
        pass


def _clouds(
    stages: list[Any], coordinates: list[int], share_limits: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """Returns places in the picture, `(n, 2)`, and limits, `(2, 2)`, of every stage."""
    clouds = [np.asarray(stage.samples, np.float64)[:, coordinates] for stage in stages]
    # Infinite points would turn into NaN on the way, with a warning.
    clouds = [np.where(np.isfinite(cloud), cloud, np.nan) for cloud in clouds]
    limits = _panels.limits_of_each(clouds, share_limits)
    if len(coordinates) == 1:
        fraction = np.random.default_rng(0).uniform(size=len(clouds[0]))
        heights = [
            _targets.exp_log_prob(lambda _, stage=stage: stage.log_prob, None)
            for stage in stages
        ]
        tops = [_top(height) for height in heights]
        if share_limits:
            tops = [max(tops)] * len(stages)
        clouds = [
            np.column_stack([cloud, fraction * height])
            for cloud, height in zip(clouds, heights, strict=True)
        ]
        limits = [[*pair, (0.0, top)] for pair, top in zip(limits, tops, strict=True)]
    return clouds, [np.array(pairs) for pairs in limits]


def _top(heights: np.ndarray) -> float:
    """Returns a height that shows nearly all, also beside a pole."""
    finite = heights[np.isfinite(heights)]
    return 1.2 * float(np.quantile(finite, 0.95)) if len(finite) else 1.0
