"""Normal scores: points of the base, standard normal wherever the flow is right."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from scipy.special import ndtri

from tfp_flows._core import compat
from tfp_flows._core.conditioning import context_size_of
from tfp_flows.diagnostics.held_out import DRAWN, HeldOut, chunks

__all__ = ["Scores", "normal_scores", "scores_of"]

tfd = tfp.distributions

_INDEPENDENT = compat.plain_class(tfd.Independent)
_SAMPLE = compat.plain_class(tfd.Sample)

_LEAST = 1e-300  # the smallest share whose quantile is finite


@dataclasses.dataclass(frozen=True, eq=False)
class Scores:
    """Where points lie within the marginal distributions of the base.

    If the coordinates of the base are independent and have known distribution
    functions, then `normal` is standard normal in all coordinates together whenever
    the points come from the flow. For any other base, `reference` holds the normal
    scores of draws from it, computed in the same way.

    Attributes:
      lower, upper: the shares of the base below and above each coordinate, `(n, d)`.
      normal: the quantiles of the standard normal at `lower`, `(n, d)`.
      values: the points themselves, `(n, d)`.
      reference, reference_values: `normal` and `values` of draws from the base,
        `(m, d)`; None if the distribution functions are known.
    """

    lower: np.ndarray
    upper: np.ndarray
    normal: np.ndarray
    values: np.ndarray
    reference: np.ndarray | None = None
    reference_values: np.ndarray | Any = None


def scores_of(held_out: HeldOut, keep: np.ndarray) -> Scores:
    """Returns the Scores of some of the held-out rows.

    Args:
      held_out: the rows and their flow.
      keep: which rows are finite at the base, `(n,)` bool.
    """
    z = held_out.z[keep]
    context = None if held_out.context is None else held_out.context[keep]
    parts = []
    for rows in chunks(len(z)):
        shares = _known(_base(held_out, context, rows), tf.constant(z[rows]))
        if shares is None:
            return _estimated(held_out, z.astype(np.float64))
        parts.append(shares)
    lower, upper = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scores(lower, upper, normal_scores(lower, upper), z.astype(np.float64))


def _base(held_out: HeldOut, context: np.ndarray | None, rows: slice) -> Any:
    if not context_size_of(held_out.flow.base):
        return held_out.flow.base
    return held_out.distribution(context, rows).distribution


def _known(base: Any, z: tf.Tensor) -> tuple[np.ndarray, np.ndarray] | None:
    """Returns the shares below and above each coordinate, or None if not known."""
    if isinstance(base, tfd.MultivariateNormalDiag):
        marginal = tfd.Normal(base.mean(), base.stddev())
    elif isinstance(base, (_INDEPENDENT, _SAMPLE)):
        marginal = base.distribution
        if marginal.event_shape.rank != 0:
            return None
    else:
        return None
    try:
        # Near 1 a share loses the digits of the tail, so both are computed.
        below, above = marginal.cdf(z), marginal.survival_function(z)
    except NotImplementedError:
        return None
    return np.asarray(below, np.float64), np.asarray(above, np.float64)


def normal_scores(lower: np.ndarray, upper: np.ndarray) -> np.ndarray:
    """Returns Φ⁻¹(lower), accurate in both tails; a share of 0 gives -37."""
    below, above = (ndtri(np.maximum(share, _LEAST)) for share in (lower, upper))
    return np.where(lower < upper, below, -above)


def _estimated(held_out: HeldOut, z: np.ndarray) -> Scores:
    """Returns the Scores for a base that is only known through its draws.

    One half of the draws defines the shares; the other half is the reference, whose
    shares are computed in the same way as those of the rows.
    """
    draws = []
    context = held_out.drawn_context
    for i, rows in enumerate(chunks(DRAWN)):
        base = _base(held_out, context, rows)
        wide = () if base.batch_shape.rank else (rows.stop - rows.start,)
        for half in (0, 1):
            seed = tf.constant([held_out.draw_seed, ~(2 * i + half)], tf.int32)
            draws.append(base.sample(wide, seed=seed).numpy().astype(np.float64))
    places = np.sort(np.concatenate(draws[::2]), axis=0)
    others = np.concatenate(draws[1::2])
    (lower, normal), (_, reference) = (_ranked(places, part) for part in (z, others))
    return Scores(lower, 1.0 - lower, normal, z, reference, others)


def _ranked(places: np.ndarray, z: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    ranks = [np.searchsorted(*pair) for pair in zip(places.T, z.T, strict=True)]
    lower = (np.stack(ranks, axis=-1) + 0.5) / (len(places) + 1)
    return lower, ndtri(lower)
