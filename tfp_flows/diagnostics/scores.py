"""Points at the base as normal scores: standard normal wherever the flow is right."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import ndtri

from tfp_flows._core import compat
from tfp_flows._core.conditioning import context_size_of
from tfp_flows.diagnostics.held_out import DRAWN, Subject, chunks

__all__ = ["Scores", "normal_scores", "scores_of"]

tfd = tfp.distributions

_INDEPENDENT = compat.plain_class(tfd.Independent)
_SAMPLE = compat.plain_class(tfd.Sample)

_LEAST = 1e-300  # a share whose quantile is still a number


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Where points lie within the base's marginal distributions.

    Where the base's coordinates are independent, and their distribution functions
    known, `normal` is standard normal in `event_size` dimensions whenever the points
    come from the flow. Of any other base `reference` holds draws, which went through
    the same map.

    Attributes:
      lower, upper: `(n, d)`, the base's share below each coordinate, and above it.
      normal: `(n, d)`, the quantiles of the standard normal at `lower`.
      values: `(n, d)`, the points themselves.
      reference, reference_values: the same two of draws from the base, `(m, d)`; None
        where the distribution functions are known.
    """

    lower: np.ndarray
    upper: np.ndarray
    normal: np.ndarray
    values: np.ndarray
    reference: np.ndarray | None = None
    reference_values: np.ndarray | None = None


def scores_of(subject: Subject, keep: np.ndarray) -> Scores:
    """Returns the Scores of those rows of the subject.

    Args:
      subject: with the flow and its rows.
      keep: `(n,)` bool, the rows that have finite numbers at the base.
    """
    z = subject.z[keep]
    context = None if subject.context is None else subject.context[keep]
    parts = []
    for rows in chunks(len(z)):
        shares = _known(_base(subject, context, rows), tf.constant(z[rows]))
        if shares is None:
            return _referred(subject, z.astype(np.float64))
        parts.append(shares)
    lower, upper = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scores(lower, upper, normal_scores(lower, upper), z.astype(np.float64))


def _base(subject: Subject, context: np.ndarray | None, rows: slice) -> Any:
    if not context_size_of(subject.flow.base):
        return subject.flow.base
    return subject.distribution(context, rows).distribution


def _known(base: Any, z: tf.Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the shares below and above each coordinate, if they are independent."""
    if isinstance(base, tfd.MultivariateNormalDiag):
        marginal = tfd.Normal(base.mean(), base.stddev())
    elif isinstance(base, (_INDEPENDENT, _SAMPLE)):
        marginal = base.distribution
        if marginal.event_shape.rank != 0:
            return None
    else:
        return None
    try:
        # Each by itself: near 1 a share has no digits left to tell tails by.
        shares = marginal.cdf(z), marginal.survival_function(z)
    except NotImplementedError:
        return None
    return tuple(np.asarray(share, np.float64) for share in shares)


def normal_scores(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Returns the quantiles Φ⁻¹(lower), exact in both tails; a share of 0 is at -37."""
    below, above = (ndtri(np.maximum(share, _LEAST)) for share in (lower, upper))
    return np.where(lower < upper, below, -above)


def _referred(subject: Subject, z: np.ndarray) -> Scores:
    """Returns the Scores for a base that is known by its draws alone.

    One half of the draws makes the map, the other goes through it as the rows do.
    """
    draws = []
    context = subject.drawn_context
    for i, rows in enumerate(chunks(DRAWN)):
        base = _base(subject, context, rows)
        wide = () if base.batch_shape.rank else (rows.stop - rows.start,)
        for half in (0, 1):
            seed = tf.constant([subject.draw_seed, ~(2 * i + half)], tf.int32)
            draws.append(base.sample(wide, seed=seed).numpy().astype(np.float64))
    places = np.sort(np.concatenate(draws[::2]), axis=0)
    others = np.concatenate(draws[1::2])
    (lower, normal), (_, reference) = (_ranked(places, part) for part in (z, others))
    return Scores(lower, 1.0 - lower, normal, z, reference, others)


def _ranked(places: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ranks = [np.searchsorted(*pair) for pair in zip(places.T, z.T, strict=True)]
    lower = (np.stack(ranks, axis=-1) + 0.5) / (len(places) + 1)
    return lower, ndtri(lower)
