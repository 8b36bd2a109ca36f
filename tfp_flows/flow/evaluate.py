"""log_prob, samples and stages of a base and bijectors, as compiled functions."""

from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows._core.caches import chain
from tfp_flows._core.conditioning import bind, context_size_of
from tfp_flows._core.cost import operations
from tfp_flows._core.part import hooks_of
from tfp_flows.bijectors.adaptation import leaves
from tfp_flows.data.arguments import Form
from tfp_flows.flow.chunks import Chunked, graph
from tfp_flows.flow.stages import Stage, stage_distributions, walk

__all__ = ["Evaluator"]

tfb = tfp.bijectors
tfd = tfp.distributions

# XLA takes 1 to 5 s to compile, and then half the time at each point. More operations
# than these win that back.
_OPERATIONS_FOR_XLA = 2e11


class Evaluator:
    """Evaluates a base distribution and bijectors, with functions traced once each.

    Args:
      base: distribution of vectors.
      bijectors: in sampling order.
      weights: all weights of both.
      form: of the points and contexts.
      name: of the distributions.
    """

    def __init__(
        self,
        base: tfd.Distribution,
        bijectors: Sequence[tfb.Bijector],
        weights: Sequence[keras.Variable],
        form: Form,
        name: str,
    ) -> None:
        self._base, self._bijectors = base, tuple(bijectors)
        self._weights, self._name = list(weights), name
        self._event_size, self._context_size = form.event_size, form.context_size
        self._dtype = form.dtype
        points = tf.TensorSpec([None, form.event_size], form.dtype)
        context = tf.TensorSpec([form.context_size], form.dtype)
        count, seed = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
        self._draw_base = graph(
            lambda n, s, c: bind(base, c).sample(n, seed=s), count, seed, context
        )
        self._walk = graph(lambda z, c: walk(*self.bound(c), z), points, context)
        self._distribution: tfd.TransformedDistribution | None = None
        if not form.context_size:
            self._distribution = _transformed(base, bijectors, name)
            self._log_prob = Chunked(self._distribution.log_prob, points)
            self._forward = Chunked(self._distribution.bijector.forward, points)

    @property
    def distribution(self) -> tfd.TransformedDistribution:
        """The distribution of x; see `Flow.distribution`."""
        if self._distribution is None:
            raise ValueError(
                f"This flow has a density for each context of width "
                f"{self._context_size}. Remedy: `flow.given(context)`."
            )
        return self._distribution

    def bound(self, context: tf.Tensor) -> tuple[tfd.Distribution, list[tfb.Bijector]]:
        """Returns the base and the bijectors with a context bound."""
        return bind(self._base, context), [bind(b, context) for b in self._bijectors]

    def given(self, context: Any) -> tfd.Distribution:
        """Returns the distribution of x given a context; see `Flow.given`."""
        if not self._context_size:
            raise ValueError("This flow takes no context. Remedy: `flow.distribution`.")
        if not _is_symbolic(context):
            checks.as_points(
                context, self._context_size, dtype=self._dtype, name="context"
            )
        context = tf.cast(tf.convert_to_tensor(context), self._dtype)
        base, bijectors = self.bound(context)
        if not context_size_of(self._base):
            base = tfd.BatchBroadcast(base, tf.shape(context)[:-1])
        return _transformed(base, bijectors, self._name)

    def log_prob_of_batch(self, parts: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log_prob of a checked batch of points, with their contexts."""
        if not self._context_size:
            return self.distribution.log_prob(parts["x"])
        distribution = _transformed(*self.bound(parts["context"]), self._name)
        return distribution.log_prob(parts["x"])

    def log_prob(
        self, x: Any, batch_size: int | None, jit_compile: bool | None
    ) -> tf.Tensor:
        """Returns the log-density at points; see `Flow.log_prob`."""
        if _is_symbolic(x):
            return self.distribution.log_prob(tf.cast(x, self._dtype))
        self.distribution  # noqa: B018  (raises for a conditional flow)
        checked = checks.as_points(x, self._event_size, dtype=self._dtype)
        # Gradients flow to the caller's own tensor only.
        points = tf.cast(x, self._dtype) if tf.is_tensor(x) else tf.constant(checked)
        flat = tf.reshape(points, [-1, self._event_size])
        values = self._log_prob(
            lambda i, start, stop: flat[start:stop],
            flat.shape[0],
            batch_size,
            by_xla=jit_compile is not False and self._is_worth_xla(flat.shape[0]),
        )
        return tf.reshape(values, checked.shape[:-1])

    def sample(
        self,
        n: int,
        seed: int | None,
        batch_size: int | None,
        jit_compile: bool | None,
    ) -> tf.Tensor:
        """Returns n points drawn from the flow; see `Flow.sample`."""
        n, seed = checks.positive_int(n, "n"), checks.as_seed(seed)
        self.distribution  # noqa: B018  (raises for a conditional flow)
        for part, inverted in leaves(self._bijectors):
            # Bijectors do not warn in a graph, where they run below.
            hooks_of(part).warn_of_cost(forward=not inverted)
        none = tf.zeros([0], self._dtype)
        return self._forward(
            lambda i, start, stop: self._draw_base(
                stop - start, _stateless(seed, i), none
            ),
            n,
            batch_size,
            by_xla=jit_compile is not False and self._is_worth_xla(n),
        )

    def stages(
        self, names: Sequence[str], n: int, seed: int | None, context: Any
    ) -> list[Stage]:
        """Returns the distribution after every bijector; see `Flow.stages`."""
        n, seed = checks.positive_int(n, "n"), checks.as_seed(seed)
        context = self._one_context(context)
        z = self._draw_base(n, _stateless(seed), context)
        base, bijectors = self.bound(context)
        return [
            Stage(name, bijector, samples, log_prob, log_det, distribution)
            for name, bijector, (samples, log_prob, log_det), distribution in zip(
                names,
                (None, *bijectors),
                self._walk(z, context),
                stage_distributions(base, bijectors),
                strict=True,
            )
        ]

    def _one_context(self, context: Any) -> tf.Tensor:
        if context is None and not self._context_size:
            return tf.zeros([0], self._dtype)
        if np.shape(context) != (self._context_size,) or not self._context_size:
            raise ValueError(
                "`context` must be one row for a conditional flow, and None for "
                f"another: expected shape ({self._context_size},). Received: "
                f"{context!r}."
            )
        checked = checks.as_points(context, dtype=self._dtype, name="context")
        return tf.constant(checked)

    def _is_worth_xla(self, n: int) -> bool:
        return operations(self._weights, n) > _OPERATIONS_FOR_XLA


def _transformed(
    base: tfd.Distribution, bijectors: Sequence[tfb.Bijector], name: str
) -> tfd.TransformedDistribution:
    return tfd.TransformedDistribution(base, chain(bijectors[::-1]), name=name)


def _is_symbolic(value: Any) -> bool:
    """Returns whether this is a tensor of a graph, which has no value to check."""
    return tf.is_tensor(value) and not hasattr(value, "numpy")


def _stateless(seed: int, chunk: int = 0) -> np.ndarray:
    """Returns TFP's stateless seed: equal numbers give equal draws."""
    return np.array([seed & 0x7FFFFFFF, (seed >> 31) + chunk & 0x7FFFFFFF], np.int32)
