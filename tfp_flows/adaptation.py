"""From the data to the base: weights that start from data, points out of reach."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.conditioning import Chain, bind

__all__ = ["adapt", "needs_adaptation", "shares_outside"]

tfb = tfp.bijectors
tfd = tfp.distributions


def needs_adaptation(parts: Iterable[Any]) -> bool:
    """Whether some bijector or base waits for data."""
    return any(getattr(part, "needs_adaptation", False) for part in _leaves(parts))


def adapt(
    base: tfd.Distribution,
    bijectors: Sequence[tfb.Bijector],
    x: tf.Tensor,
    context: tf.Tensor | None = None,
) -> None:
    """Has each adaptable part take its start from the points that reach it.

    Args:
      base: adapted last, to the points that the bijectors leave.
      bijectors: in sampling order; the points pass them in reverse.
      x: points `(n, event_size)`.
      context: `(n, context_size)` for a conditional flow.
    """
    for part in reversed([base, *_leaves(bijectors)]):
        if hasattr(part, "adapt"):
            part.adapt(x)
        if part is not base:
            x = bind(part, context).inverse(x)


def shares_outside(
    bijectors: Sequence[tfb.Bijector], x: tf.Tensor, context: tf.Tensor | None = None
) -> dict[tfb.Bijector, float]:
    """Returns, for each bijector with an `outside`, the share of points out of reach.

    Args:
      bijectors: in sampling order.
      x: points `(n, event_size)`.
      context: `(n, context_size)` for a conditional flow.
    """
    shares = {}
    for part in reversed(list(_leaves(bijectors))):
        if hasattr(part, "outside"):
            is_outside = tf.cast(part.outside(x), tf.float32)
            shares[part] = float(tf.reduce_mean(is_outside))
        x = bind(part, context).inverse(x)
    return shares


def _leaves(parts: Iterable[Any]) -> Iterator[Any]:
    """Yields the parts in sampling order, with chains taken apart."""
    for part in parts:
        if isinstance(part, Chain):
            yield from _leaves(reversed(part.bijectors))
        else:
            yield part
