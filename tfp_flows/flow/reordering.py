"""Copies of a flow with its bijectors in another order."""

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from tfp_flows._core.serialization import copy_objects
from tfp_flows.flow.tracking import TFPLayer

if TYPE_CHECKING:
    from tfp_flows.flow.flow import Flow

__all__ = ["other_order", "reordered"]


def reordered(flow: "Flow", order: Sequence[int]) -> "Flow":
    """Returns an independent copy in another order; see `Flow.reordered`."""
    count, order = len(flow.bijectors), list(order)
    if sorted(order) != list(range(count)):
        raise ValueError(
            f"`order` must be a permutation of 0..{count - 1}. Received: {order}."
        )
    order = [int(i) for i in order]
    base, bijectors = copy_objects([flow.base, list(flow.bijectors)])
    copy = type(flow)(
        [bijectors[i] for i in order],
        base=base,
        event_size=flow.event_size,
        dtype=flow.dtype,
    )
    sources = [0, *(1 + i for i in order)]
    copy._stage_names = tuple(flow._stage_names[i] for i in sources)
    mine, theirs = _layers_in_order(flow), _layers_in_order(copy)
    for target, i in zip(theirs, sources, strict=True):
        target.set_weights(mine[i].get_weights())
    return copy


def other_order(count: int, seed: int) -> list[int]:
    """Returns a random order other than 0..K-1, where there is one."""
    rng = np.random.default_rng(seed)
    order = rng.permutation(count)
    while count > 1 and (order == np.arange(count)).all():
        order = rng.permutation(count)
    return [int(i) for i in order]


def _layers_in_order(flow: "Flow") -> list[TFPLayer]:
    by_object = {id(layer.tfp_object): layer for layer in flow._parts}
    return [by_object[id(part)] for part in (flow.base, *flow.bijectors)]
