"""What bijectors returned in a graph, kept until the graph is complete.

TFP answers `inverse(forward(x))` and repeated calls from a cache whose keys are the
tensors. In a graph, that saves the second evaluation of a network for the log-det. But
TFP has one cache for all graphs. It holds their tensors, so that no graph is ever
freed, nor what the graph reads, such as the weights of a flow.

TFP's cache itself stays as it is. Bijectors of ours, and the chains that flows are made
of, keep their results of a graph here. What other bijectors leave in TFP's cache as
parts of a flow is removed from there. Both happens when the graph is complete: when
a flow is next used outside of it, or is deleted.
"""

import threading
import weakref
from collections.abc import Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import compat

__all__ = ["CacheOfBoth", "chain", "forget_finished_graphs", "forget_with", "in_flow"]

tfb = tfp.bijectors

# The results of each graph that parts of flows were used in, and the thread that makes
# the graph.
_OPEN: dict[tf.Graph, tuple[int, compat.Results]] = {}


def in_flow() -> compat.Results | None:
    """Says that bijectors are about to be used as parts of a flow.

    Returns:
      What bijectors of ours have returned in the current graph; None in eager mode.
    """
    forget_finished_graphs()
    if tf.executing_eagerly():
        return None
    graph = tf.compat.v1.get_default_graph()
    entry = _OPEN.get(graph)
    if entry is None:
        entry = _OPEN[graph] = threading.get_ident(), compat.Results()
    return entry[1]


def forget_finished_graphs() -> None:
    """Forgets what parts of flows returned in graphs that are complete.

    A graph is complete if its thread now works outside of it.
    """
    if not _OPEN:
        return
    eager = tf.executing_eagerly()
    graph = None if eager else tf.compat.v1.get_default_graph()
    if _OPEN.keys() <= (current := set(compat.graphs_around(graph))):
        return
    mine = threading.get_ident()
    others = {thread.ident for thread in threading.enumerate()} - {mine}
    finished = {
        graph
        for graph, (thread, _) in list(_OPEN.items())
        if graph not in current and thread not in others
    }
    for graph in finished:
        _OPEN.pop(graph, None)
    if finished:
        compat.forget_results(finished)


def forget_with(owner: Any) -> None:
    """Calls `forget_finished_graphs` when an object is deleted."""
    weakref.finalize(owner, forget_finished_graphs).atexit = False


def chain(bijectors: Sequence[tfb.Bijector]) -> tfb.Bijector:
    """Returns a `tfb.Chain` of bijectors, the last one first, as a part of a flow."""
    made = tfb.Chain(list(bijectors))
    compat.give_cache(made, _CacheOfChain(made))
    return made


class CacheOfBoth(compat.CacheOfLogDets):
    """A cache of values with their log-dets; it keeps nothing in eager mode.

    In eager mode it would answer with what the weights were at the first call.
    """

    def __init__(self) -> None:
        super().__init__("_forward_and_attributes", "_inverse_and_attributes")

    def __get__(self, bijector: Any, bijector_class: Any = None) -> compat.Cache:
        return compat.cache_of_one(
            compat.CacheOfLogDets, self, bijector, bijector_class, in_flow()
        )


class _CacheOfChain(compat.Cache):
    """The cache of one chain; in eager mode it is TFP's own, which holds no graph."""

    def __init__(self, bijector: tfb.Bijector) -> None:
        super().__init__(bijector=bijector, bijector_class=type(bijector))

    @property
    def storage(self) -> compat.Results:
        """The results that it reads and adds to."""
        results = in_flow()
        return compat.shared_results() if results is None else results

    @storage.setter
    def storage(self, results: Any) -> None:
        pass  # the constructor of TFP's cache assigns to it
