"""Held-out rows and the flow that is tested on them, checked and in one form."""

import dataclasses
from collections.abc import Iterator, Sequence
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow import Flow

__all__ = [
    "DRAWN",
    "FittedDensity",
    "HeldOut",
    "as_context",
    "as_points",
    "chunks",
    "held_out_of",
]

_LEAST_ROWS = 50
_MOST_ROWS = 100_000  # of more rows, a random part of this size is tested
DRAWN = 20_000  # points drawn from the flow
_CHUNK = 8_192  # rows in one call


class FittedDensity(Protocol):
    """The fitted attributes of a FlowDensity that the diagnostics use."""

    flow_: Flow
    supports_: Any


@dataclasses.dataclass(frozen=True, eq=False)
class HeldOut:
    """Held-out rows in random order, and the flow that is tested on them.

    Attributes:
      flow: the Flow.
      x: the rows that are tested, `(n, event_size)` in the flow's dtype.
      rows: the number of rows that the user gave, at least n.
      context: their contexts, `(n, context_size)`, or None.
      original_row: the index of each row among those the user gave, `(n,)`.
      exact: which columns have no noise added, `(event_size,)` bool.
      names: the names of the columns.
      seed: the seed of everything that is drawn.
    """

    flow: Flow
    x: np.ndarray
    rows: int
    context: np.ndarray | None
    original_row: np.ndarray
    exact: np.ndarray
    names: tuple[str, ...]
    seed: int

    def generator(self, *purpose: int) -> np.random.Generator:
        """Returns a generator that depends on the seed and the purpose."""
        return np.random.default_rng([self.seed, *purpose])

    @cached_property
    def draw_seed(self) -> int:
        """The seed of TFP's draws, unlike the seed that the rows may be drawn with."""
        return int(self.generator(1).integers(2**31))

    def log_prob(self, x: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Returns the log-density of rows, `(n,)` float64; it may be NaN or -inf."""
        if context is None:
            # The flow refuses rows that are not finite.
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
        """Returns rows mapped to the base, `(n, event_size)`, in the flow's dtype."""
        return self._mapped(x, context, "inverse")

    def to_data(self, z: np.ndarray, context: np.ndarray | None) -> np.ndarray:
        """Returns points of the base mapped to the data, in the flow's dtype."""
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
        """Returns the flow's distribution, given the contexts of these rows if any."""
        if context is None:
            return self.flow.distribution
        return self.flow.given(context[rows])

    @cached_property
    def z(self) -> np.ndarray:
        """The rows mapped to the base, `(n, event_size)`."""
        return self.to_base(self.x, self.context)

    @cached_property
    def log_prob_of_x(self) -> np.ndarray:
        """The log-density of the rows, `(n,)` float64."""
        return self.log_prob(self.x, self.context)

    @cached_property
    def drawn_context(self) -> np.ndarray | Any:
        """The contexts that points are drawn given: those of the rows, in order."""
        if self.context is None:
            return None
        return np.resize(self.context, (DRAWN, self.context.shape[1]))

    @cached_property
    def drawn(self) -> np.ndarray:
        """Points drawn from the flow, `(DRAWN, event_size)`, in its dtype.

        Point i of a conditional flow is drawn given row i of `drawn_context`.
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
    """Yields slices of the rows that one call computes."""
    for start in range(0, n, _CHUNK):
        yield slice(start, min(start + _CHUNK, n))


def held_out_of(
    flow: Flow | FittedDensity,
    x: ArrayLike,
    context: ArrayLike | None,
    names: Sequence[str] | None,
    seed: int,
) -> HeldOut:
    """Returns the user's rows and flow as a HeldOut, checked.

    Args:
      flow: a Flow, or a fitted FlowDensity.
      x: `(n, event_size)`, array-like or a DataFrame.
      context: `(n, context_size)` for a conditional flow.
      names: the names of the columns. None takes those of a DataFrame, or else
        x[0], x[1], ….
      seed: the seed of the order of the rows and of all draws.

    Raises:
      TypeError, ValueError: as `diagnostics.evaluate`.
    """
    seed = checks.as_seed(seed)
    if names is None:
        names = getattr(x, "columns", None)
    inner, points, exact = as_points(flow, x, "x_test", seed)
    if len(points) < _LEAST_ROWS:
        raise ValueError(
            f"`x_test` must hold at least {_LEAST_ROWS} rows: fewer say nothing about "
            f"a density. Received {len(points)}."
        )
    context = as_context(inner, context, len(points), "context")
    order = np.random.default_rng([seed, 0]).permutation(len(points))[:_MOST_ROWS]
    return HeldOut(
        inner,
        points[order],
        len(points),
        None if context is None else context[order],
        order,
        exact,
        _as_names(names, inner.event_size),
        seed,
    )


def as_points(
    flow: Flow | FittedDensity, x: ArrayLike, name: str, seed: int
) -> tuple[Flow, np.ndarray, np.ndarray]:
    """Returns the Flow, the rows in the form it takes, and which columns have no noise.

    A FlowDensity adds noise to whole numbers and angles, as it does when it is fitted.

    Raises:
      TypeError: `flow` is neither a Flow nor a fitted FlowDensity.
      ValueError: the rows have the wrong width, or NaN or infinite entries.
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
        points = flow.supports_.dequantize(x, seed=seed)
        others = flow.supports_.dequantize(x, seed=seed + 1)
        exact = (points == others).all(axis=0)
    if points.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (n, {inner.event_size}). "
            f"Received shape {points.shape}."
        )
    return inner, points, exact


def as_context(
    flow: Flow, context: ArrayLike | None, n: int, name: str
) -> np.ndarray | None:
    """Returns the contexts of n rows in the flow's dtype, or None without context.

    Raises:
      ValueError: they are missing, not needed, or of another shape.
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


def _as_names(names: Any, event_size: int) -> tuple[str, ...]:
    if names is None:
        return tuple(f"x[{i}]" for i in range(event_size))
    names = tuple(str(name) for name in names)
    if len(names) != event_size or len(set(names)) != event_size:
        raise ValueError(
            f"`names` must be {event_size} different names, one a column. "
            f"Received: {list(names)}."
        )
    return names
