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

from tfp_flows._core import compat

__all__ = ["CacheOfBoth"]

tfb = tfp.bijectors


class _Traces(threading.local):
    """The graphs under construction, the innermost last, and the results in each."""

    def __init__(self) -> None:
        self._open: list[tuple[tf.Graph, compat.Results]] = []

    def results(self) -> compat.Results | None:
        """Returns those of the graph being traced; None in eager mode."""
        if tf.executing_eagerly():
            self._open.clear()
            return None
        graph = tf.compat.v1.get_default_graph()
        around = set(map(id, compat.graphs_around(graph)))
        while self._open and id(self._open[-1][0]) not in around:
            self._open.pop()
        if not self._open or self._open[-1][0] is not graph:
            self._open.append((graph, compat.Results()))
        return self._open[-1][1]


_TRACES = _Traces()


class _Cache(compat.Cache):
    """TFP's cache; in eager mode TFP's own, where it holds no graph."""

    def __get__(self, bijector: Any, bijector_class: Any = None) -> compat.Cache:
        results = _TRACES.results()
        results = self.storage if results is None else results
        return compat.cache_of_one(
            compat.Cache, self, bijector, bijector_class, results
        )


class CacheOfBoth(compat.CacheOfLogDets):
    """A cache of values with their log-dets; none in eager mode.

    There it would return what the weights were at the first call.
    """

    def __init__(self) -> None:
        super().__init__("_forward_and_attributes", "_inverse_and_attributes")

    def __get__(self, bijector: Any, bijector_class: Any = None) -> compat.Cache:
        results = _TRACES.results()
        return compat.cache_of_one(
            compat.CacheOfLogDets, self, bijector, bijector_class, results
        )


tfb.Bijector._cache = _Cache()
