"""Drawables: anything with a density or samples, in one form, and exact densities."""

import dataclasses
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.flow.flow import Stage


@dataclasses.dataclass(frozen=True)
class Drawable:
    """Anything with a density over points.

    Attributes:
      event_size: the number of coordinates.
      density: maps points `(n, event_size)` to exp(log_prob), `(n,)` float64; NaN
        where it is not finite.
      sample: maps (n, seed) to samples `(n, event_size)`; None if there is no such
        method.
    """

    event_size: int
    density: Callable[[np.ndarray], np.ndarray]
    sample: Callable[[int, int], np.ndarray] | None


def as_drawable(source: Any, limits: Any) -> Drawable:
    """Returns the Drawable of a Flow, a tfd.Distribution or anything with `log_prob`.

    Args:
      source: the user's argument `density`.
      limits: the user's limits, whose number gives the event size if the source does
        not.

    Raises:
      TypeError: `source` has no `log_prob`.
      ValueError: `source` is a batch of distributions, or not of one or two
        coordinates.
    """
    if not callable(getattr(source, "log_prob", None)):
        raise TypeError(
            "`density` must be a Flow, a tfd.Distribution or have a `log_prob` method. "
            f"Received: {type(source).__name__}."
        )
    if isinstance(source, tfp.distributions.Distribution):
        drawable = of_distribution(source)
    else:
        event_size = getattr(source, "event_size", None)
        if event_size is None:
            event_size = 1 if limits is None else np.atleast_2d(limits).shape[0]
        sample = getattr(source, "sample", None)
        drawable = Drawable(
            event_size,
            lambda x: exp_log_prob(source.log_prob, x),
            sample and (lambda n, seed: np.asarray(sample(n, seed=seed))),
        )
    if drawable.event_size not in (1, 2):
        raise ValueError(
            "`density` must be over 1 or 2 coordinates to be drawn. Received one over "
            f"{drawable.event_size}. Remedy: plot_samples(flow, coordinates=(0, 1)) "
            "draws two of them."
        )
    return drawable


def of_distribution(source: tfp.distributions.Distribution) -> Drawable:
    """Returns the Drawable of one distribution, of any event size.

    Raises:
      ValueError: `source` is a batch, or its events are not numbers or vectors.
    """
    # The shapes of joint distributions are nested and have no rank.
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

    return Drawable(event_size, lambda x: exp_log_prob(log_prob, x), sample)


def stage_densities(
    stages: Sequence[Stage], grids: Sequence[np.ndarray]
) -> list[np.ndarray]:
    """Returns the exact density of each stage on its own grid, as `exp_log_prob`.

    All grids go back to the base together, so that each bijector is called once: for
    so few points the call itself takes most of the time.

    Args:
      stages: all stages of a flow.
      grids: the points of each stage, `(m, event_size)`.
    """
    dtype = stages[0].samples.dtype

    def log_prob(_: None) -> tf.Tensor:
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
    return np.split(exp_log_prob(log_prob, None), ends[:-1])


def exp_log_prob(log_prob: Callable[[Any], Any], x: Any) -> np.ndarray:
    """Returns exp(log_prob(x)) as float64, with NaN where it is not finite.

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


def as_sampler(flow: Any) -> tuple[int, Callable[..., Any]]:
    """Returns the event size and a function of n and seed that draws samples.

    Raises:
      TypeError: `flow` cannot be sampled.
    """
    event_size: int | None
    if isinstance(flow, tfp.distributions.Distribution):
        drawable = of_distribution(flow)
        event_size, sample = drawable.event_size, drawable.sample
    else:
        event_size = getattr(flow, "event_size", None)
        sample = getattr(flow, "sample", None)
    if event_size is None or not callable(sample):
        raise TypeError(
            "`flow` must be a Flow, a tfd.Distribution, or have `event_size` and "
            f"`sample(n, seed=)`. Received: {type(flow).__name__}."
        )
    return event_size, sample
