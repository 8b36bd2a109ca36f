"""Supports: what each column of the data can be, and densities in its own units."""

import math
from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors.bounded import Bounded
from tfp_flows.flow import Flow
from tfp_flows.supports._column import Column, as_column
from tfp_flows.supports._marginals import LogDensity, over_cells, over_turns

__all__ = ["Supports"]

tfb = tfp.bijectors

# Circles are cut at random places within this part of them, about the emptiest one.
_CUT_WIDTH = 0.25

# Samples that tell how far a flow spreads on the line.
_SAMPLES = 1000


class Supports:
    """What each column of the data can be: a flow's last bijector, and its first step.

    A flow is a density on ℝ^d. For other columns this gives three things: a bijector
    at the data's end for intervals and half-lines; `dequantize`, which makes whole
    numbers and circles into points for the flow, and `quantize`, which makes the
    flow's samples into data; and `log_prob`, the density or mass of the data.

    | spec | values | `dequantize` | `log_prob` |
    |---|---|---|---|
    | `"real"` | all | | density |
    | `"positive"` | [0, ∞) | | density |
    | `(a, b)` | [a, b]; None for no end | | density |
    | `"integer"` | … -1, 0, 1 … | n + u, u uniform on [0, 1) | mass ∫₀¹ p(n + u) du |
    | `("integer", a, b)` | a, …, b; None for no end | the same | the same |
    | `"circular"` | angles in [-π, π) | cut open | density Σ_k p(θ + 2πk) |
    | `("circular", P)` | [0, P), period P | the same | Σ_k p(θ + kP) |
    | `("circular", a, b)` | [a, b), period b - a | the same | the same |

    The ends a and b, and 0 of "positive", may occur in the data. `log_prob` is a
    density in the units of the columns that are not whole-numbered, and a mass in
    those that are.

    Args:
      spec: one spec for all columns (a string or a tuple), a list of one a column, or
        a dict from column names (indices, without names) to specs, where columns that
        are not in it are real.
      event_size: d, the number of columns.
      columns: d names, such as `frame.columns`; None for columns without names.
      dtype: "float32" or "float64", that of the flow; Keras's `floatx` when None.

    Raises:
      ValueError: an unknown spec or column, ends in the wrong order, or another
        number of specs or names than columns.
      TypeError: ends that are not numbers.

    Example:
      >>> import numpy as np, tfp_flows as tfpf
      >>> supports = Supports([(0, 1), ("integer", 0, None)], 2)
      >>> x = np.array([[0.2, 3], [0.9, 0], [0.4, 1]])
      >>> supports.adapt(x)
      >>> flow = tfpf.Flow(supports.bijectors(), event_size=2)
      >>> points = supports.dequantize(x, seed=0)  # what `flow.fit` takes
      >>> print(points.round(2))
      [[0.2  3.56]
       [0.9  0.96]
       [0.4  1.24]]
      >>> supports.quantize(points).tolist() == x.astype("float32").tolist()
      True
      >>> print(supports.log_prob(flow, [[0.5, 0], [0.5, 2.5], [1.5, 0]]).round(3))
      [-1.355   -inf   -inf]

    Source: dequantization, Theis, van den Oord and Bethge (2016), "A note on the
    evaluation of generative models", section 3.1; wrapped densities, Mardia and Jupp
    (2000), "Directional statistics", section 3.5.7.
    """

    def __init__(
        self,
        spec: Any,
        event_size: int,
        *,
        columns: Iterable[Any] | None = None,
        dtype: Any = None,
    ) -> None:
        self.event_size = checks.positive_size(event_size, "event_size")
        self.columns = None if columns is None else tuple(columns)
        if self.columns is not None and len(self.columns) != event_size:
            raise ValueError(
                f"`columns` must be {event_size} names. Received {len(self.columns)}: "
                f"{list(self.columns)}."
            )
        self.dtype = tf.as_dtype(dtype or keras.config.floatx()).name
        self._columns = self._read(spec)
        kinds = np.array([support.kind for support in self._columns])
        self._low = np.array([support.low for support in self._columns])
        self._high = np.array([support.high for support in self._columns])
        self._integers = np.flatnonzero(kinds == "integer")
        self._circles = np.flatnonzero(kinds == "circular")
        self._periods = (self._high - self._low)[self._circles]
        # What data tell; `adapt` sets them.
        self._cuts = self._low[self._circles]
        self._scales = np.ones(event_size)

    def _read(self, spec: Any) -> list[Column]:
        if isinstance(spec, dict):
            known = range(self.event_size) if self.columns is None else self.columns
            known = list(known)
            for name in spec:
                if name not in known:
                    checks.pick(str(name), map(str, known), "column")
                    raise ValueError(f"Unknown column: {name!r}. Known: {known}.")
            spec = [spec.get(name, "real") for name in known]
        if not isinstance(spec, list):
            return [as_column(spec)] * self.event_size
        if len(spec) != self.event_size:
            raise ValueError(
                f"`spec` must hold {self.event_size} supports, one a column. Received "
                f"{len(spec)}: {spec!r}. A tuple is one support for all columns."
            )
        return [as_column(one, self._label(i)) for i, one in enumerate(spec)]

    def _label(self, i: int) -> str:
        return f"Column {int(i) if self.columns is None else self.columns[i]!r}"

    @property
    def is_random(self) -> bool:
        """Whether `dequantize` draws noise: for whole-numbered or circular columns."""
        return bool(len(self._integers) or len(self._circles))

    def get_config(self) -> dict[str, Any]:
        """Returns the supports, and what `adapt` took from data, as plain data."""
        return {
            "spec": [support.spec() for support in self._columns],
            "event_size": self.event_size,
            "columns": None if self.columns is None else list(self.columns),
            "dtype": self.dtype,
            "cuts": self._cuts.tolist(),
            "scales": self._scales.tolist(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the supports that `get_config` described."""
        config = dict(config)
        cuts, scales = config.pop("cuts"), config.pop("scales")
        supports = cls(**config)
        supports._cuts, supports._scales = np.array(cuts), np.array(scales)
        return supports

    # Data to points of the flow, and back

    def adapt(self, x: Any) -> None:
        """Takes from data where to cut circles, and the scales of half-lines.

        A circle is cut where the data are fewest. The scale of a half-line is the
        median distance of the data from its end.

        Args:
          x: data `(n, event_size)`, array-like or a DataFrame.

        Raises:
          ValueError: data outside their support; NaN, infinite or no rows; another
            width or other names.
          TypeError: data that are not numbers.
        """
        x = self._checked(x).reshape(-1, self.event_size).astype(np.float64)
        for i, at in enumerate(self._circles):
            self._cuts[i] = _emptiest(x[:, at], self._low[at], self._periods[i])
        for i, support in enumerate(self._columns):
            if math.isinf(support.low) == math.isinf(support.high):
                continue
            end = support.low if math.isinf(support.high) else support.high
            distances = np.abs(x[:, i] - end)
            if (distances > 0).any():
                self._scales[i] = np.median(distances[distances > 0])

    def bijectors(self) -> list[tfb.Bijector]:
        """Returns what to append to a flow's bijectors: one `Bounded`, or nothing.

        Example:
          >>> import tfp_flows as tfpf
          >>> supports = Supports(["positive", "real"], 2)
          >>> inner = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
          >>> flow = tfpf.Flow([*inner.bijectors, *supports.bijectors()])
          >>> flow.stages()[-1].name
          'support'
        """
        low, high = self._low.copy(), self._high.copy()
        low[self._circles], high[self._circles] = -np.inf, np.inf
        high[self._integers] += 1
        if np.isinf(low).all() and np.isinf(high).all():
            return []
        ends = {"low": low, "high": high, "scale": self._scales}
        ends = {name: values.tolist() for name, values in ends.items()}
        return [Bounded(**ends, dtype=self.dtype, name="support")]

    def dequantize(
        self, x: Any, *, seed: int | None = None, noise: bool = True
    ) -> np.ndarray:
        """Returns data as points for the flow: what `flow.fit` takes.

        Whole numbers get noise from Uniform[0, 1). A circle is cut open, and laid on
        the line from the cut on; each point has its own cut, uniform within a quarter
        of the circle about the emptiest place. So no density ends in a step that a
        flow could not follow; only the points near the cut move by a period, and
        `log_prob` sums over periods. The mean log-density that `fit` maximizes is a
        lower bound of the mean of `log_prob`, for both kinds of noise.

        Args:
          x: data `(..., event_size)`, array-like or a DataFrame.
          seed: of the noise; drawn when None.
          noise: False puts whole numbers at the middle of their cell and every cut
            at the emptiest place, for one point a row of data.

        Returns:
          Points of shape `(..., event_size)`, in the flow's dtype. `quantize` turns
          them into the data again.

        Raises:
          ValueError, TypeError: as for `adapt`.
        """
        x = self._checked(x)
        # Apart from the stream that the data themselves may come from.
        generator = np.random.default_rng([checks.as_seed(seed), 1])
        shape = (*x.shape[:-1], self.event_size)
        uniform = generator.uniform(size=shape) if noise else np.full(shape, 0.5)
        points = x.astype(np.float64)
        n, parts = points[..., self._integers], uniform[..., self._integers]
        points[..., self._integers] = n + parts
        cuts = self._cuts + _CUT_WIDTH * self._periods * (
            uniform[..., self._circles] - 0.5
        )
        points[..., self._circles] = cuts + np.mod(
            points[..., self._circles] - cuts, self._periods
        )
        points = points.astype(self.dtype)
        # Rounding must not carry a number into the next cell.
        last = np.nextafter((n + 1).astype(self.dtype), -np.inf, dtype=self.dtype)
        points[..., self._integers] = np.minimum(points[..., self._integers], last)
        return points

    def quantize(self, points: Any) -> np.ndarray:
        """Returns the flow's points, such as samples, as data.

        Args:
          points: `(..., event_size)`.

        Returns:
          Data of shape `(..., event_size)`, in the flow's dtype, within the support:
          whole numbers are floored, circles wrapped.
        """
        points = checks.as_points(
            points, self.event_size, dtype=self.dtype, name="points"
        )
        data = points.copy()
        data[..., self._integers] = np.clip(
            np.floor(points[..., self._integers]),
            self._low[self._integers],
            self._high[self._integers],
        )
        low, high = self._low[self._circles], self._high[self._circles]
        turned = points[..., self._circles].astype(np.float64) - low
        wrapped = (low + np.mod(turned, self._periods)).astype(self.dtype)
        # Rounded to the dtype it may have reached an end, which are one place.
        first = low.astype(self.dtype)
        first = np.where(
            first < low, np.nextafter(first, first.dtype.type(np.inf)), first
        )
        is_out = (wrapped < low) | (wrapped >= high)
        data[..., self._circles] = np.where(is_out, first, wrapped)
        return data

    def named(self, data: Any) -> Any:
        """Returns data as a DataFrame under the columns' names, where they have some.

        Args:
          data: `(n, event_size)`, such as `quantize` returns.

        Returns:
          A DataFrame whose whole-numbered columns are int64; `data` itself where the
          columns have no names.
        """
        if self.columns is None:
            return data
        import pandas as pd  # here only: whoever has names has it

        integers = {self.columns[i]: np.int64 for i in self._integers}
        return pd.DataFrame(np.asarray(data), columns=list(self.columns)).astype(
            integers
        )

    # Densities

    def log_prob(
        self, flow: Flow, x: Any, context: Any = None, *, tolerance: float = 1e-3
    ) -> np.ndarray:
        """Returns the log-density of data, in their units; of whole numbers the mass.

        Circles are summed over all turns that add more than a millionth of the sum,
        found among the neighbours of others and within the range of 1000 samples of
        the flow; what is left out is less than `tolerance` for tails like 1/x² and
        lighter. Cells of whole numbers are integrated by Gauss-Legendre rules (up to
        three such columns) or Sobol points (more), refined until two of them agree.

        Args:
          flow: whose last bijectors are `bijectors()`.
          x: data `(..., event_size)`, array-like or a DataFrame.
          context: `(..., context_size)`, a row for each point, for a conditional flow.
          tolerance: of the mass of a cell, in nats.

        Returns:
          float64 array of shape `(...)`, in nats; -inf for data outside the support,
          which includes fractions in whole-numbered columns.

        Raises:
          ValueError: NaN, infinite or no rows; another width or other names; a
            context that is missing or not asked for; a flow that spreads over more
            than 1000 turns of a circle.
          TypeError: data that are not numbers.

        Warns:
          UserWarning: masses that are not known to `tolerance`.
        """
        x = self._array(x)
        points = x.reshape(-1, self.event_size)
        context = self._contexts(flow, context, x.shape[:-1])
        log_density = _log_density(flow, context)
        if len(self._circles):
            drawn = _drawn(flow, context)
            log_density = over_turns(log_density, self._circles, self._periods, drawn)
        if len(self._integers):
            log_density = over_cells(log_density, self._integers, tolerance)
        result = np.full(len(points), -np.inf)
        rows = np.flatnonzero(self._within(points).all(axis=-1))
        if len(rows):
            result[rows] = log_density(points[rows].astype(np.float64), rows)
        return result.reshape(x.shape[:-1])

    def _contexts(
        self, flow: Flow, context: Any, batch: Sequence[int]
    ) -> np.ndarray | None:
        if (context is None) != (flow.context_size == 0):
            raise ValueError(
                f"`context` must be {'given' if flow.context_size else 'None'} for a "
                f"flow of context_size={flow.context_size}."
            )
        if context is None:
            return None
        context = checks.as_points(
            context, flow.context_size, dtype=flow.dtype, name="context"
        )
        context = np.broadcast_to(context, (*batch, flow.context_size))
        return context.reshape(-1, flow.context_size)

    # Checks

    def _array(self, x: Any) -> np.ndarray:
        """Returns `x` as finite numbers of the dtype, its columns found by name."""
        names = getattr(x, "columns", None)
        if names is not None and self.columns is not None:
            names = list(names)
            for name in names:
                if name not in self.columns:
                    checks.pick(str(name), map(str, self.columns), "column")
            missing = [name for name in self.columns if name not in names]
            if missing:
                raise ValueError(
                    f"`x` must have the columns {list(self.columns)}. Missing: "
                    f"{missing}."
                )
            x = x[list(self.columns)]
        return checks.as_points(x, self.event_size, dtype=self.dtype)

    def _within(self, points: np.ndarray) -> np.ndarray:
        """Returns whether each coordinate is in its support, `(n, event_size)`."""
        low, high = self._low.copy(), self._high.copy()
        low[self._circles], high[self._circles] = -np.inf, np.inf
        # Ends as the data have them: rounded to their dtype.
        within = (points >= low.astype(self.dtype)) & (
            points <= high.astype(self.dtype)
        )
        within[:, self._integers] &= points[:, self._integers] % 1 == 0
        return within

    def _checked(self, x: Any) -> np.ndarray:
        """Returns `x` as data within the support, or says what is outside."""
        x = self._array(x)
        points = x.reshape(-1, self.event_size)
        outside = ~self._within(points)
        for i in np.flatnonzero(outside.any(axis=0)):
            row = int(np.argmax(outside[:, i]))
            raise ValueError(
                f"{self._label(i)} must hold {self._columns[i].values()}. Received "
                f"{outside[:, i].sum()} of {len(points)} rows outside; the first is "
                f"row {row}: {points[row, i]}."
            )
        # A number of the dtype must leave room for sixteen parts of its cell.
        limit = 2.0 ** (np.finfo(self.dtype).nmant - 3)
        large = np.abs(points[:, self._integers]) > limit
        for i in self._integers[large.any(axis=0)]:
            raise ValueError(
                f"{self._label(i)} holds whole numbers beyond ±{limit:.0f}, whose "
                f"fractions {self.dtype} cannot tell apart. Remedy: "
                + ("float64, or " if self.dtype == "float32" else "")
                + 'the support "real".'
            )
        return x


def _emptiest(angles: np.ndarray, low: float, period: float) -> float:
    """Returns where a circle has the least data, smoothed over a sixth of it."""
    bins = 256
    parts = np.mod(angles - low, period) / period
    counts, _ = np.histogram(parts, bins, (0.0, 1.0))
    # As far from all data as possible where there are none: the kernel is positive.
    kernel = np.exp(8 * (np.cos(2 * np.pi * np.arange(bins) / bins) - 1))
    smooth = np.fft.irfft(np.fft.rfft(counts) * np.fft.rfft(kernel), bins)
    return low + (np.argmin(smooth) + 0.5) / bins * period


def _log_density(flow: Flow, context: np.ndarray | None) -> LogDensity:
    """Returns the flow's own log-density, at points on the line."""

    def unconditional(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        return flow.log_prob(points).numpy().astype(np.float64)

    def conditional(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        given = flow.given(context[rows])
        return given.log_prob(points.astype(flow.dtype)).numpy().astype(np.float64)

    return unconditional if context is None else conditional


def _drawn(flow: Flow, context: np.ndarray | None) -> np.ndarray:
    """Returns samples of the flow, always the same."""
    if context is None:
        return flow.sample(_SAMPLES, seed=0).numpy().astype(np.float64)
    given = flow.given(np.resize(context, (_SAMPLES, flow.context_size)))
    seed = np.zeros(2, np.int32)
    return given.sample(1, seed=seed)[0].numpy().astype(np.float64)
