"""What can be drawn, brought to one form: a width, exact densities, samples."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.flow.flow import Flow, Stage


@dataclasses.dataclass(frozen=True)
class Target:
    """Anything with a density over points.

    Attributes:
      event_size: number of coordinates.
      density: from points `(n, event_size)` to exp(log_prob), `(n,)` float64; NaN
        where there is none.
      sample: from (n, seed) to `(n, event_size)`; None if it cannot be sampled.
    """

    event_size: int
    density: Callable[[np.ndarray], np.ndarray]
    sample: Callable[[int, int], np.ndarray] | None


def as_target(source: Any, limits: Any) -> Target:
    """Returns the Target of a Flow, a tfd.Distribution or anything with `log_prob`.

    Args:
      source: what the user handed in.
      limits: tell the event size where nothing else does.

    Raises:
      TypeError: `source` has no `log_prob`.
      ValueError: it is a batch of distributions, or not 1-d or 2-d.
    """
    if not callable(getattr(source, "log_prob", None)):
        raise TypeError(
            "`density` must be a Flow, a tfd.Distribution or have a `log_prob` method. "
            f"Received: {type(source).__name__}."
        )
    if isinstance(source, tfp.distributions.Distribution):
        target = of_distribution(source)
    else:
        event_size = getattr(source, "event_size", None)
        if event_size is None:
            event_size = 1 if limits is None else np.atleast_2d(limits).shape[0]
        sample = getattr(source, "sample", None)
        target = Target(
            event_size,
            lambda x: exp_log_prob(source.log_prob, x),
            sample and (lambda n, seed: np.asarray(sample(n, seed=seed))),
        )
    if target.event_size not in (1, 2):
        raise ValueError(
            "`density` must be over 1 or 2 coordinates to be drawn. Received one over "
            f"{target.event_size}. Remedy: plot_samples(flow, coordinates=(0, 1)) "
            "draws two of them."
        )
    return target


def of_distribution(source: tfp.distributions.Distribution) -> Target:
    """Returns the Target of one distribution, of any event size.

    Raises:
      ValueError: it is a batch of distributions, or not over numbers or vectors.
    """
    # The shapes of joint distributions are nested, and have no rank.
    ranks = [getattr(s, "rank", None) for s in (source.batch_shape, source.event_shape)]
    if ranks not in ([0, 0], [0, 1]):
        raise ValueError(
            "Only one distribution with event shape () or (d,) can be drawn. "
            f"Received batch shape {source.batch_shape}, event shape "
            f"{source.event_shape}. Remedy: tfd.Independent or indexing, or one row "
            "in `flow.given(context)`."
        )
    is_scalar = ranks[1] == 0
    event_size = 1 if is_scalar else source.event_shape[0]

    def log_prob(x: np.ndarray) -> tf.Tensor:
        points = tf.constant(x, source.dtype)
        return source.log_prob(points[:, 0] if is_scalar else points)

    def sample(n: int, seed: int) -> np.ndarray:
        draws = source.sample(n, seed=tf.constant([seed, 0], tf.int32))
        return np.reshape(draws, (n, event_size))

    return Target(event_size, lambda x: exp_log_prob(log_prob, x), sample)


def stage_densities(
    stages: Sequence[Stage], grids: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the exact density of each stage on its own grid, as `exp_log_prob`.

    One walk from the last stage back to the base takes all grids along, so that each
    bijector is called once: for so few points a call costs more than they do.

    Args:
      stages: of a flow, all of them.
      grids: for each stage, `(m, event_size)`.
    """
    dtype = stages[0].samples.dtype

    def log_prob(_: Any) -> tf.Tensor:
        x = tf.zeros([0, grids[0].shape[1]], dtype)
        log_det = tf.zeros([0], dtype)
        for stage, grid in zip(reversed(stages), reversed(grids), strict=True):
            x = tf.concat([tf.constant(grid, dtype), x], 0)
            log_det = tf.concat([tf.zeros([len(grid)], dtype), log_det], 0)
            if stage.bijector is not None:
                log_det += stage.bijector.inverse_log_det_jacobian(x, event_ndims=1)
                x = stage.bijector.inverse(x)
        return stages[0].distribution.log_prob(x) + log_det

    ends = np.cumsum([len(grid) for grid in grids])
    return np.split(exp_log_prob(log_prob, grids), ends[:-1])


def exp_log_prob(log_prob: Callable, x: np.ndarray) -> np.ndarray:
    """Returns exp(log_prob(x)) as float64, NaN where it is not a finite number.

    Raises:
      ValueError: the distribution refuses points outside its support.
    """
    try:
        values = np.asarray(log_prob(x), np.float64)
    except tf.errors.InvalidArgumentError as error:
        raise ValueError(
            "The density cannot be evaluated on a grid: a distribution or bijector "
            "refuses points outside its support. Remedy: build it with "
            "`validate_args=False`, or draw samples only."
        ) from error
    with np.errstate(over="ignore"):
        density = np.exp(values)
    return np.where(np.isfinite(density), density, np.nan)


def as_flow(flow: Any) -> Flow:
    """Returns `flow`, or raises TypeError if it is none."""
    if not isinstance(flow, Flow):
        raise TypeError(f"`flow` must be a Flow. Received: {type(flow).__name__}.")
    return flow


def as_sampler(flow: Any) -> tuple[int, Callable[..., Any]]:
    """Returns the event size and a function of (n, seed) that samples.

    Raises:
      TypeError: `flow` cannot be sampled.
    """
    if isinstance(flow, tfp.distributions.Distribution):
        target = of_distribution(flow)
        return target.event_size, target.sample
    event_size = getattr(flow, "event_size", None)
    sample = getattr(flow, "sample", None)
    if event_size is None or not callable(sample):
        raise TypeError(
            "`flow` must be a Flow, a tfd.Distribution, or have `event_size` and "
            f"`sample(n, seed=)`. Received: {type(flow).__name__}."
        )
    return event_size, sample


def pick_coordinates(coordinates: Any, event_size: int) -> list[int]:
    """Returns the indices of the coordinates to draw: one, or two different ones.

    Raises:
      ValueError: they are not two different coordinates of the points.
    """
    if event_size == 1:
        return [0]
    picked = [int(i) for i in np.ravel(coordinates)]
    valid = len(picked) == len(set(picked)) == 2
    if not valid or not all(0 <= i < event_size for i in picked):
        raise ValueError(
            f"`coordinates` must be two different ones of 0..{event_size - 1}. "
            f"Received: {coordinates!r}."
        )
    return picked


def pick_stage(stage: Any, first: int, last: int) -> int:
    """Returns the index of a stage, as in `flow.stages()`.

    Raises:
      ValueError: it is not one of first..last.
    """
    is_whole = isinstance(stage, (int, np.integer)) and not isinstance(stage, bool)
    if not is_whole or not first <= stage <= last:
        hint = " Stage 0 is the base, which no bijector made." if first else ""
        raise ValueError(
            f"`stage` must be one of {first}..{last}. Received: {stage!r}.{hint}"
        )
    return int(stage)


def as_data(data: Any, flow: Any, event_size: int) -> np.ndarray:
    """Returns the user's data as `(n, event_size)`, checked."""
    dtype = flow.dtype if isinstance(flow, Flow) else None
    points = checks.as_points(data, event_size, dtype=dtype, name="data")
    return points.reshape(-1, event_size)


def coordinate_names(data: Any, names: Any, event_size: int) -> list[str] | None:
    """Returns what the coordinates are called: `names`, else a DataFrame's columns.

    Returns:
      A name for each, or None where nobody has named them.

    Raises:
      ValueError: `names` are not one for each coordinate.
    """
    if names is None:
        columns = getattr(data, "columns", None)
        if columns is None or len(columns) != event_size:
            return None
        return [str(column) for column in columns]
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if len(names) != event_size:
        raise ValueError(
            f"`names` must be {event_size}, one for each coordinate. "
            f"Received {len(names)}: {names!r}."
        )
    return names


def choose(coordinates: Any, event_size: int, most: int) -> list[int]:
    """Returns the indices of the coordinates to draw: those asked for, else the first.

    Raises:
      ValueError: they are not different coordinates of the points, or too many.
    """
    most = min(event_size, most)
    if coordinates is None:
        return list(range(most))
    picked = [int(i) for i in np.ravel(coordinates)]
    known = all(0 <= i < event_size for i in picked)
    if not known or not 1 <= len(picked) <= most or len(picked) > len(set(picked)):
        raise ValueError(
            f"`coordinates` must be 1 to {most} different ones of 0..{event_size - 1}. "
            f"Received: {coordinates!r}."
        )
    return picked
