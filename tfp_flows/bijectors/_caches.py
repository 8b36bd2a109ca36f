"""The cache in which TFP keeps what bijectors returned, for one trace at a time.

TFP answers `inverse(forward(x))` and repeated calls from a cache keyed by the tensor.
In a graph that saves a network's second evaluation for the log-det. But TFP's cache is
one for all graphs and holds their tensors: no graph is freed, nor what it reads, such
as the weights of all flows ever traced.

So the results of a trace are kept here until another one begins, or until something
runs in eager mode. This holds of our bijectors and, by the last line of this file, of
TFP's: the chain that a distribution is made of is one of those.
"""

import threading
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

# TFP has no public name for it.
from tensorflow_probability.python.internal import cache_util

__all__ = ["CacheOfBoth"]

tfb = tfp.bijectors


class _Traces(threading.local):
    """The graphs under construction, the innermost last, and the results in each."""

    def __init__(self) -> None:
        self._open: list[tuple[tf.Graph, cache_util.EphemeralDict]] = []

    def results(self) -> cache_util.EphemeralDict | None:
        """Returns those of the graph being traced; None in eager mode."""
        if tf.executing_eagerly():
            self._open.clear()
            return None
        graph = outer = tf.compat.v1.get_default_graph()
        around = set()
        while outer is not None:
            around.add(id(outer))
            outer = getattr(outer, "outer_graph", None)
        while self._open and id(self._open[-1][0]) not in around:
            self._open.pop()
        if not self._open or self._open[-1][0] is not graph:
            self._open.append((graph, cache_util.EphemeralDict()))
        return self._open[-1][1]


_TRACES = _Traces()


class _Cache(cache_util.BijectorCache):
    """TFP's cache; in eager mode TFP's own, where it holds no graph."""

    def __get__(
        self, bijector: Any, bijector_class: Any = None
    ) -> cache_util.BijectorCache:
        results = _TRACES.results()
        return cache_util.BijectorCache(
            self._forward_name,
            self._inverse_name,
            bijector,
            bijector_class,
            self.storage if results is None else results,
        )


class CacheOfBoth(cache_util.BijectorCacheWithGreedyAttrs):
    """A cache of values with their log-dets; none in eager mode.

    There it would return what the weights were at the first call.
    """

    def __init__(self) -> None:
        super().__init__("_forward_and_attributes", "_inverse_and_attributes")

    def __get__(
        self, bijector: Any, bijector_class: Any = None
    ) -> cache_util.BijectorCache:
        return cache_util.BijectorCacheWithGreedyAttrs(
            self._forward_name,
            self._inverse_name,
            bijector,
            bijector_class,
            _TRACES.results(),
        )


tfb.Bijector._cache = _Cache()
