"""From the data to the base: weights that start from data, points out of reach."""

from collections.abc import Iterable, Iterator, Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.conditioning import Chain, Invert, bind

__all__ = ["adapt", "leaves", "needs_adaptation", "shares_outside"]

tfb = tfp.bijectors
tfd = tfp.distributions


def needs_adaptation(parts: Iterable[Any]) -> bool:
    """Whether some bijector or base waits for data."""
    return any(getattr(part, "needs_adaptation", False) for part, _ in leaves(parts))


def adapt(
    base: tfd.Distribution,
    bijectors: Sequence[tfb.Bijector],
    x: tf.Tensor,
    context: tf.Tensor | None = None,
    moments: tuple[np.ndarray, np.ndarray] | None = None,
) -> None:
    """Has each adaptable part take its start from the points that reach it.

    Its `adapt` gets those on its data's side. Within `tfb.Invert` they come from its
    other side: a part that is to do the opposite there has `adapt_inverted`, too.

    Args:
      base: adapted last, to the points that the bijectors leave.
      bijectors: in sampling order; the points pass them in reverse.
      x: points `(n, event_size)`.
      context: `(n, context_size)` for a conditional flow.
      moments: mean and standard deviation of each column of all points, where x are
        a sample of them; the part on the data's side takes these, if it can.
    """
    for part, inverted in reversed(list(leaves(bijectors))):
        if moments is not None and hasattr(part, "adapt_to"):
            part.adapt_to(*moments, inverted=inverted)
        elif inverted and hasattr(part, "adapt_inverted"):
            part.adapt_inverted(x)
        elif hasattr(part, "adapt"):
            part.adapt(bind(part, context).forward(x) if inverted else x)
        x, moments = _toward_base(part, inverted, context, x), None
    if hasattr(base, "adapt"):
        base.adapt(x)


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
    for part, inverted in reversed(list(leaves(bijectors))):
        after = _toward_base(part, inverted, context, x)
        if hasattr(part, "outside"):
            is_outside = tf.cast(part.outside(after if inverted else x), tf.float32)
            shares[part] = float(tf.reduce_mean(is_outside))
        x = after
    return shares


def leaves(
    parts: Iterable[Any], *, inverted: bool = False
) -> Iterator[tuple[Any, bool]]:
    """Yields the parts in sampling order, and whether each stands inverted.

    Chains are taken apart, and what `tfb.Invert` inverts is taken out of it.
    """
    for part in parts:
        if isinstance(part, Chain):
            inner = part.bijectors if inverted else reversed(part.bijectors)
            yield from leaves(inner, inverted=inverted)
        elif isinstance(part, Invert):
            yield from leaves([part.bijector], inverted=not inverted)
        else:
            yield part, inverted


def _toward_base(
    part: tfb.Bijector, inverted: bool, context: tf.Tensor | None, x: tf.Tensor
) -> tf.Tensor:
    bound = bind(part, context)
    return bound.forward(x) if inverted else bound.inverse(x)
