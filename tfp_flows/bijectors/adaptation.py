"""Walks a flow from the data to the base: starts from data, points out of reach."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.conditioning import Chain, Invert, bind
from tfp_flows._core.part import hooks_of

__all__ = ["adapt", "leaves", "needs_adaptation", "points_outside", "shares_outside"]

tfb = tfp.bijectors
tfd = tfp.distributions


def needs_adaptation(parts: Iterable[Any]) -> bool:
    """Whether some bijector or base waits for data."""
    return any(hooks_of(part).needs_adaptation for part, _ in leaves(parts))


def adapt(
    base: tfd.Distribution | None,
    bijectors: Sequence[tfb.Bijector],
    x: tf.Tensor,
    context: tf.Tensor | None = None,
    moments: tuple[np.ndarray, np.ndarray] | np.ndarray | None = None,
) -> None:
    """Starts each part from the points that reach it.

    Args:
      base: adapted last, to the points that the bijectors leave; or None.
      bijectors: in sampling order; the points pass them in reverse.
      x: points `(n, event_size)` on the data's side.
      context: `(n, context_size)` for a conditional flow.
      moments: mean and standard deviation of each column of all points, where x is a
        sample of them. Only the part next to the data can use these.
    """
    for part, inverted in reversed(list(leaves(bijectors))):
        bound = bind(part, context)
        hooks = hooks_of(bound)
        if moments is None or not hooks.adapt_to(*moments, inverted=inverted):
            (hooks.adapt_inverted if inverted else hooks.adapt)(x)
        x, moments = bound.forward(x) if inverted else bound.inverse(x), None
    hooks_of(base).adapt(x)


def points_outside(
    bijectors: Sequence[tfb.Bijector], x: tf.Tensor, context: tf.Tensor | None = None
) -> Iterator[tuple[tfb.Bijector, tf.Tensor]]:
    """Yields each bijector with a limited reach, and which points it does not reach.

    Args:
      bijectors: in sampling order.
      x: points `(..., event_size)` on the data's side.
      context: `(..., context_size)` for a conditional flow.
    """
    for part, inverted in reversed(list(leaves(bijectors))):
        bound = bind(part, context)
        after = bound.forward(x) if inverted else bound.inverse(x)
        outside = hooks_of(bound).outside(after if inverted else x)
        if outside is not None:
            yield part, outside
        x = after


def shares_outside(
    bijectors: Sequence[tfb.Bijector], x: tf.Tensor, context: tf.Tensor | None = None
) -> dict[tfb.Bijector, float]:
    """Returns the share of points out of reach, for each bijector of limited reach.

    Args:
      bijectors: in sampling order.
      x: points `(n, event_size)` on the data's side.
      context: `(n, context_size)` for a conditional flow.
    """
    return {
        part: float(tf.reduce_mean(tf.cast(outside, tf.float32)))
        for part, outside in points_outside(bijectors, x, context)
    }


def leaves(
    parts: Iterable[Any], *, inverted: bool = False
) -> Iterator[tuple[Any, bool]]:
    """Yields the parts in sampling order, and whether each of them is inverted.

    Chains are replaced by their bijectors, and `tfb.Invert` by what it inverts.
    """
    for part in parts:
        if isinstance(part, Chain):
            inner = part.bijectors if inverted else reversed(part.bijectors)
            yield from leaves(inner, inverted=inverted)
        elif isinstance(part, Invert):
            yield from leaves([part.bijector], inverted=not inverted)
        else:
            yield part, inverted
