"""A flow at some points, and what it says about them."""

from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._core.conditioning import bind
from tfp_flows.flow import Flow

__all__ = ["FlowCase"]


class FlowCase:
    """A flow at points x and their contexts; results are computed once.

    Args:
      flow: the Flow.
      x: array of shape `(n, event_size)` in the flow's dtype.
      context: array of shape `(n, context_size)` in that dtype, or None.
      tolerance: see `failures.mismatch`.
      skip: names of checks that are skipped, of the flow or of its stages.
    """

    def __init__(
        self,
        flow: Flow,
        x: np.ndarray,
        context: np.ndarray | Any,
        tolerance: float,
        skip: set[str],
    ):
        self.flow, self.x, self.context = flow, x, context
        self.tolerance, self.skip = tolerance, skip

    def distribution(self, context: Any = None) -> Any:
        """Returns the flow's distribution, given `context` or else the context of x."""
        if self.context is None:
            return self.flow.distribution
        return self.flow.given(self.context if context is None else context)

    @property
    def bijectors(self) -> list[Any]:
        """The bijectors in sampling order, with the context of x bound."""
        context = None if self.context is None else tf.constant(self.context)
        return [bind(bijector, context) for bijector in self.flow.bijectors]

    def log_prob_of(self, flow: Flow, x: np.ndarray) -> np.ndarray:
        """Returns log p at n points, `(n,)`, given the context of x."""
        if self.context is None:
            return np.asarray(flow.log_prob(x))
        return flow.given(self.context).log_prob(tf.constant(x)).numpy()

    def samples_of(self, flow: Flow, n: int, seed: int) -> np.ndarray:
        """Returns `(n, event_size)`, or `(n, len(x), event_size)` with contexts."""
        if self.context is None:
            return np.asarray(flow.sample(n, seed=seed))
        return flow.given(self.context).sample(n, seed=(seed, 0)).numpy()

    @cached_property
    def log_prob(self) -> np.ndarray:
        """The log-density log p at x, `(n,)`."""
        return self.log_prob_of(self.flow, self.x)

    @cached_property
    def path(self) -> list[np.ndarray]:
        """The points on the way from the base to x, each `(n, event_size)`: z first."""
        path = [self.x]
        for bijector in reversed(self.bijectors):
            path.insert(0, bijector.inverse(tf.constant(path[0])).numpy())
        return path
