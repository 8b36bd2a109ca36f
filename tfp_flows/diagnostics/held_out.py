"""A flow and rows to judge it by, brought to one form."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.flow import Flow

__all__ = ["Subject", "subject_of"]

# Rows that the tests look at, of more; points drawn from the flow; rows at once.
MOST_ROWS = 100_000
DRAWN = 20_000
_CHUNK = 8_192

_LEAST_ROWS = 50


@dataclasses.dataclass(frozen=True, eq=False)
class Subject:
    """A flow and rows `(n, event_size)` in its dtype, in random order.

    Attributes:
      flow: the Flow.
      x: the rows that the tests look at.
      rows: number of rows that there were, at least as many.
      context: `(n, context_size)`, or None.
      row: `(n,)`, the place of each row in the user's own order.
      exact: `(event_size,)` bool, columns that no noise was added to.
      names: of the columns.
      seed: of all that is drawn.
    """

    flow: Flow
    x: np.ndarray
    rows: int
    context: np.ndarray | None
    row: np.ndarray
    exact: np.ndarray
    names: tuple[str, ...]
    seed: int

    def generator(self, *purpose: int) -> np.random.Generator:
        """Returns a generator of its own for each purpose."""
        return np.random.default_rng([self.seed, *purpose])

    @cached_property
    def draw_seed(self) -> int:
        """Of TFP's draws; apart from the seed that the rows may have been drawn by."""
        return int(self.generator(1).integers(2**31))

    def log_prob(self, x: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Returns the log-density of rows, `(n,)` float64; NaN and -inf stay."""
        if context is None:
            # Of points that are not numbers the flow would say nothing but that.
            finite = np.isfinite(x).all(axis=-1)
            result = np.full(len(x), np.nan)
            if finite.any():
                result[finite] = self.flow.log_prob(x[finite])
            return result
        parts = [
            self.flow.given(context[rows]).log_prob(tf.constant(x[rows]))
            for rows in chunks(len(x))
        ]
        return np.concatenate(parts).astype(np.float64)

    def to_base(self, x: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Returns the rows at the base, `(n, event_size)`, in the flow's dtype."""
        return self._mapped(x, context, "inverse")

    def to_data(self, z: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Returns the data of points of the base, in the flow's dtype."""
        return self._mapped(z, context, "forward")

    def _mapped(
        self, points: np.ndarray, context: np.ndarray | None, method: str
    ) -> np.ndarray:
        parts = []
        for rows in chunks(len(points)):
            bijector = self.distribution(context, rows).bijector
            parts.append(getattr(bijector, method)(tf.constant(points[rows])))
        return np.concatenate(parts)

    def distribution(self, context: np.ndarray | None, rows: Any = slice(None)) -> Any:
        """Returns the distribution of the flow, given the context of these rows."""
        if context is None:
            return self.flow.distribution
        return self.flow.given(context[rows])

    @cached_property
    def z(self) -> np.ndarray:
        """The rows at the base."""
        return self.to_base(self.x, self.context)

    @cached_property
    def of_flow(self) -> np.ndarray:
        """The log-density of the rows, `(n,)` float64."""
        return self.log_prob(self.x, self.context)

    @cached_property
    def drawn_context(self) -> np.ndarray | None:
        """The contexts that points are drawn for: those of the rows, in their order."""
        if self.context is None:
            return None
        return np.resize(self.context, (DRAWN, self.context.shape[1]))

    @cached_property
    def drawn(self) -> np.ndarray:
        """Points drawn from the flow, `(DRAWN, event_size)`, in its dtype.

        For a conditional flow point i is drawn given the context of row i, from the
        first row again after the last.
        """
        if self.context is None:
            return self.flow.sample(DRAWN, seed=self.draw_seed).numpy()
        parts = [
            self.flow.given(self.drawn_context[rows]).sample(seed=(self.draw_seed, i))
            for i, rows in enumerate(chunks(DRAWN))
        ]
        return np.concatenate(parts)

    @cached_property
    def log_prob_of_drawn(self) -> np.ndarray:
        """The log-density of the points drawn from the flow, `(DRAWN,)` float64."""
        return self.log_prob(self.drawn, self.drawn_context)


def chunks(n: int) -> Iterator[slice]:
    """Yields the rows to compute at once."""
    for start in range(0, n, _CHUNK):
        yield slice(start, min(start + _CHUNK, n))


def subject_of(
    flow: Any, x: Any, context: Any, names: Sequence[str] | None, seed: int
) -> Subject:
    """Returns the Subject of what the user handed in, or says what is wrong with it.

    Args:
      flow: a Flow, or a fitted FlowDensity.
      x: `(n, event_size)`, array-like or a DataFrame.
      context: `(n, context_size)` for a conditional flow.
      names: of the columns; those of a DataFrame, else x[0], x[1], … when None.
      seed: of the order of the rows and all draws.
    """
    seed = checks.as_seed(seed)
    said = names if names is not None else getattr(x, "columns", None)
    inner, points, exact = as_points(flow, x, "x_test", seed)
    if len(points) < _LEAST_ROWS:
        raise ValueError(
            f"`x_test` must hold at least {_LEAST_ROWS} rows: fewer say nothing about "
            f"a density. Received {len(points)}."
        )
    context = as_context(inner, context, len(points), "context")
    order = np.random.default_rng([seed, 0]).permutation(len(points))[:MOST_ROWS]
    return Subject(
        inner,
        points[order],
        len(points),
        None if context is None else context[order],
        order,
        exact,
        _named(said, inner.event_size),
        seed,
    )


def as_points(
    flow: Any, x: Any, name: str, seed: int
) -> tuple[Flow, np.ndarray, np.ndarray]:
    """Returns the Flow, rows as it takes them, and which columns have no noise added.

    Whole numbers and angles get the noise that `FlowDensity` fits them with.

    Raises:
      TypeError: neither a Flow nor a fitted FlowDensity.
      ValueError: rows of the wrong width, or NaN or infinite ones.
    """
    inner = getattr(flow, "flow_", flow)
    if not isinstance(inner, Flow):
        raise TypeError(
            "`flow` must be a Flow or a fitted FlowDensity. Received: "
            f"{type(flow).__name__}."
        )
    if inner is flow:
        points = checks.as_points(x, flow.event_size, dtype=flow.dtype, name=name)
        exact = np.ones(flow.event_size, bool)
    else:
        points = flow._supports.dequantize(x, seed=seed)
        others = flow._supports.dequantize(x, seed=seed + 1)
        exact = (points == others).all(axis=0)
    if points.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (n, {inner.event_size}). "
            f"Received shape {points.shape}."
        )
    return inner, points, exact


def as_context(flow: Flow, context: Any, n: int, name: str) -> np.ndarray | None:
    """Returns the contexts of n rows in the flow's dtype, or None.

    Raises:
      ValueError: they are missing, not asked for, or of another shape.
    """
    if (context is None) != (flow.context_size == 0):
        raise ValueError(
            f"`{name}` must be {'given' if flow.context_size else 'None'} for a flow "
            f"of context_size={flow.context_size}."
        )
    if context is None:
        return None
    context = checks.as_points(context, flow.context_size, dtype=flow.dtype, name=name)
    if context.shape != (n, flow.context_size):
        raise ValueError(
            f"`{name}` must have shape ({n}, {flow.context_size}), one row for each "
            f"point. Received shape {context.shape}."
        )
    return context


def _named(names: Any, event_size: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"x[{i}]" for i in range(event_size))
    names = tuple(str(name) for name in names)
    if len(names) != event_size or len(set(names)) != event_size:
        raise ValueError(
            f"`names` must be {event_size} different names, one a column. "
            f"Received: {list(names)}."
        )
    return names
