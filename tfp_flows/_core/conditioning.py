"""Conditional parts of a flow: finding them, and binding a context to them."""

from collections.abc import Iterable
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks, compat
from tfp_flows._core.caches import chain, in_flow
from tfp_flows._core.part import hooks_of

__all__ = ["Chain", "Invert", "bind", "context_size_of", "infer_context_size"]

tfb = tfp.bijectors
tfd = tfp.distributions

Chain, Invert = compat.plain_class(tfb.Chain), compat.plain_class(tfb.Invert)


def context_size_of(part: tfb.Bijector | tfd.Distribution) -> int:
    """Returns the width of the context that a bijector or a base needs, or 0.

    Raises:
      ValueError: a conditional bijector stands in a composition of TFP's through which
        no context can be passed, or two of them take contexts of different widths.
    """
    own = hooks_of(part).context_size
    if own or isinstance(part, tfd.Distribution):
        return own
    sizes = {
        hooks_of(inner).context_size
        for inner in part.submodules
        if isinstance(inner, tfb.Bijector) and hooks_of(inner).context_size
    }
    if not sizes:
        return 0
    if not isinstance(part, (Chain, Invert)):
        raise ValueError(
            f"No context reaches a conditional bijector inside {_class_name(part)}. "
            "Remedy: put it into the Flow's list itself, or into a tfb.Chain or "
            "tfb.Invert."
        )
    if len(sizes) > 1:
        raise ValueError(
            f"The parts of a flow must have one context size. Received {sorted(sizes)} "
            f"in one {_class_name(part)}."
        )
    return max(context_size_of(inner) for inner in _inner(part))


def infer_context_size(
    context_size: int, parts: Iterable[tfb.Bijector | tfd.Distribution]
) -> int:
    """Returns the context size of a flow, on which all of its parts agree.

    Args:
      context_size: the user's own; 0 when it is to be inferred.
      parts: the base, then the bijectors.

    Returns:
      The width of the context; 0 for an unconditional flow.

    Raises:
      ValueError: its parts, or one of them and `context_size`, disagree.
    """
    sizes = {}
    if checks.size(context_size, "context_size"):
        sizes["`context_size`"] = context_size
    for i, part in enumerate(parts):
        if size := context_size_of(part):
            where = f"bijector {i - 1}" if i else "base"
            sizes[f"{where} ({_class_name(part)})"] = size
    if not sizes:
        return 0
    if set(sizes) == {"`context_size`"}:
        raise ValueError(
            f"No part of the flow takes a context. Received: context_size="
            f"{context_size}. Remedy: give `context_size` to its bijectors or its base."
        )
    if len(set(sizes.values())) > 1:
        listed = ", ".join(f"{where}: {size}" for where, size in sizes.items())
        raise ValueError(
            f"The parts of a flow must have one context size. Received {listed}."
        )
    return next(iter(sizes.values()))


def bind(part: Any, context: tf.Tensor | None) -> Any:
    """Returns a part of a flow with the context bound, on the same weights.

    Args:
      part: a bijector or a base.
      context: `(..., context_size)`; not read if the part takes no context.
    """
    in_flow()
    if context is None or not context_size_of(part):
        return part
    if hooks_of(part).context_size:
        return part.given(context)
    if isinstance(part, Invert):
        return tfb.Invert(bind(part.bijector, context))
    return chain([bind(inner, context) for inner in part.bijectors])


def _inner(part: tfb.Bijector) -> list[tfb.Bijector]:
    return list(part.bijectors) if isinstance(part, Chain) else [part.bijector]


def _class_name(part: Any) -> str:
    return type(part).__name__.lstrip("_")
