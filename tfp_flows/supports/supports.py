"""Supports: what each column of the data can be, and densities in its own units."""

from collections.abc import Iterable, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors.bounded import Bounded
from tfp_flows.flow import Flow
from tfp_flows.supports.column import Specs
from tfp_flows.supports.columns import Columns
from tfp_flows.supports.marginals import LogDensity, over_cells, over_turns

__all__ = ["Supports"]

tfb = tfp.bijectors

# Each point's circle is cut at a random place, uniform within this share of the circle
# about the place where the data are fewest.
_CUT_WIDTH = 0.25

# The number of samples that show how far a flow spreads on the line.
_SAMPLES = 1000


class Supports:
    """What each column of the data can be, and what a flow needs to model it.

    A flow is a density on ℝ^d. For other columns this class provides a bijector at the
    data's end of the flow, for intervals and half-lines; `dequantize`, which turns
    whole numbers and angles into points for the flow, and `quantize`, which turns the
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
      spec: one spec for all columns (a string or a tuple); a list with one for each
        column; or a dict from the names of columns (their indices, if they have no
        names) to specs, in which columns that it lacks are real.
      event_size: d, the number of columns.
      columns: d names, such as `frame.columns`; None for columns without names.
      dtype: "float32" or "float64", the flow's; Keras's `floatx` when None.

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
        spec: Specs,
        event_size: int,
        *,
        columns: Iterable[Any] | None = None,
        dtype: Any = None,
    ) -> None:
        dtype = tf.as_dtype(dtype or keras.config.floatx()).name
        self._columns = Columns(spec, event_size, names=columns, dtype=dtype)
        self.event_size = self._columns.event_size
        self.columns = self._columns.names
        self.dtype = dtype
        # `adapt` sets both from data.
        self._cuts = self._columns.low[self._columns.circles]
        self._scales = np.ones(event_size)

    @property
    def is_random(self) -> bool:
        """Whether `dequantize` is random: for whole-numbered or circular columns."""
        return bool(len(self._columns.integers) or len(self._columns.circles))

    def get_config(self) -> dict[str, Any]:
        """Returns the specs, and what `adapt` took from data, as plain data."""
        return {
            "spec": self._columns.specs(),
            "event_size": self.event_size,
            "columns": None if self.columns is None else list(self.columns),
            "dtype": self.dtype,
            "cuts": self._cuts.tolist(),
            "scales": self._scales.tolist(),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the supports that `get_config` describes."""
        config = dict(config)
        cuts, scales = config.pop("cuts"), config.pop("scales")
        supports = cls(**config)
        supports._cuts, supports._scales = np.array(cuts), np.array(scales)
        return supports

    # From data to points of the flow, and back

    def adapt(self, x: Any) -> None:
        """Takes from data where to cut circles, and the scales of half-lines.

        A circle is cut where the data are fewest. The scale of a half-line is the
        median distance of the data from its end.

        Args:
          x: data `(n, event_size)`, array-like or a DataFrame.

        Raises:
          ValueError: data outside of their support; NaN, infinite or no rows; another
            number or other names of columns.
          TypeError: data that are not numbers.
        """
        columns = self._columns
        x = columns.checked(x).reshape(-1, self.event_size).astype(np.float64)
        for i, at in enumerate(columns.circles):
            self._cuts[i] = _emptiest(x[:, at], columns.low[at], columns.periods[i])
        for i, (low, high) in enumerate(zip(columns.low, columns.high, strict=True)):
            if np.isinf(low) == np.isinf(high):
                continue
            distances = np.abs(x[:, i] - (low if np.isinf(high) else high))
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
        columns = self._columns
        low, high = columns.low.copy(), columns.high.copy()
        low[columns.circles], high[columns.circles] = -np.inf, np.inf
        high[columns.integers] += 1
        if np.isinf(low).all() and np.isinf(high).all():
            return []
        ends = {"low": low, "high": high, "scale": self._scales}
        ends = {name: values.tolist() for name, values in ends.items()}
        return [Bounded(**ends, dtype=self.dtype, name="support")]

    def dequantize(
        self, x: Any, *, seed: int | None = None, noise: bool = True
    ) -> np.ndarray:
        """Returns data as points for the flow: what `flow.fit` takes.

        Whole numbers get noise from Uniform[0, 1). A circle is cut open and laid on the
        line, from its cut on; each point has its own cut, uniform within a quarter of
        the circle about the place where the data are fewest. So no density ends in a
        step, which a flow could not follow; only points near the cut move by a period,
        and `log_prob` sums over periods. The mean log-density that `fit` maximizes is a
        lower bound of the mean of `log_prob`, for both kinds of noise.

        Args:
          x: data `(..., event_size)`, array-like or a DataFrame.
          seed: of the noise; drawn when None.
          noise: False puts whole numbers at the middle of their cell, and every cut
            where the data are fewest, so that a row of data has one point.

        Returns:
          Points of shape `(..., event_size)`, in the flow's dtype. `quantize` turns
          them into the data again.

        Raises:
          ValueError: as for `adapt`.
          TypeError: as for `adapt`.
        """
        x = self._columns.checked(x)
        integers, circles = self._columns.integers, self._columns.circles
        # The second number sets this stream apart from that of data drawn by the seed.
        generator = np.random.default_rng([checks.as_seed(seed), 1])
        shape = (*x.shape[:-1], self.event_size)
        uniform = generator.uniform(size=shape) if noise else np.full(shape, 0.5)
        points = x.astype(np.float64)
        n = points[..., integers]
        points[..., integers] = n + uniform[..., integers]
        periods = self._columns.periods
        cuts = self._cuts + _CUT_WIDTH * periods * (uniform[..., circles] - 0.5)
        points[..., circles] = cuts + np.mod(points[..., circles] - cuts, periods)
        points = points.astype(self.dtype)
        # Rounding must not carry a number into the next cell.
        last = np.nextafter((n + 1).astype(self.dtype), -np.inf, dtype=self.dtype)
        points[..., integers] = np.minimum(points[..., integers], last)
        return points

    def quantize(self, points: Any) -> np.ndarray:
        """Returns points of the flow, such as samples, as data.

        Whole-numbered columns are rounded down, circular ones wrapped.

        Args:
          points: `(..., event_size)`.

        Returns:
          Data of shape `(..., event_size)`, in the flow's dtype, within the support.

        Raises:
          ValueError: NaN, infinite or no points, or another width.
          TypeError: points that are not numbers.
        """
        points = checks.as_points(
            points, self.event_size, dtype=self.dtype, name="points"
        )
        integers, circles = self._columns.integers, self._columns.circles
        data = points.copy()
        data[..., integers] = np.clip(
            np.floor(points[..., integers]),
            self._columns.low[integers],
            self._columns.high[integers],
        )
        low, high = self._columns.low[circles], self._columns.high[circles]
        turned = points[..., circles].astype(np.float64) - low
        wrapped = (low + np.mod(turned, self._columns.periods)).astype(self.dtype)
        # Rounding to the dtype may have reached an end; both ends are the same angle.
        first = low.astype(self.dtype)
        first = np.where(
            first < low, np.nextafter(first, first.dtype.type(np.inf)), first
        )
        is_out = (wrapped < low) | (wrapped >= high)
        data[..., circles] = np.where(is_out, first, wrapped)
        return data

    def named(self, data: Any) -> Any:
        """Returns data as a DataFrame, if the columns have names.

        Args:
          data: `(n, event_size)`, such as `quantize` returns.

        Returns:
          A DataFrame whose whole-numbered columns are int64, or `data` itself if the
          columns have no names.
        """
        return self._columns.named(data)

    # Densities

    def log_prob(
        self, flow: Flow, x: Any, context: Any = None, *, tolerance: float = 1e-3
    ) -> np.ndarray:
        """Returns the log-density of data in their units, a log-mass of whole numbers.

        Circles are summed over all turns that add more than a millionth of the sum.
        These are found among the neighbors of others and within the range of 1000
        samples of the flow; what is left out is less than `tolerance` for tails like
        1/x² and lighter ones. Cells of whole numbers are integrated by Gauss-Legendre
        rules (up to three such columns) or Sobol points (more), which are refined until
        two of them agree.

        Args:
          flow: a flow whose last bijectors are `bijectors()`.
          x: data `(..., event_size)`, array-like or a DataFrame.
          context: `(..., context_size)`, a row for each point, for a conditional flow.
          tolerance: of the mass of a cell, in nats.

        Returns:
          float64 array of shape `(...)`, in nats; -inf for data outside of the support,
          which includes fractions in whole-numbered columns.

        Raises:
          ValueError: NaN, infinite or no rows; another number or other names of
            columns; a context that is missing or not expected; a flow that spreads over
            more than 1000 turns of a circle.
          TypeError: data that are not numbers.

        Warns:
          UserWarning: masses that are not known to `tolerance`.
        """
        columns = self._columns
        x = columns.array(x)
        points = x.reshape(-1, self.event_size)
        context = self._contexts(flow, context, x.shape[:-1])
        log_density = _log_density(flow, context)
        if len(columns.circles):
            drawn = _drawn(flow, context)
            log_density = over_turns(
                log_density, columns.circles, columns.periods, drawn
            )
        if len(columns.integers):
            log_density = over_cells(log_density, columns.integers, tolerance)
        result = np.full(len(points), -np.inf)
        rows = np.flatnonzero(columns.contain(points).all(axis=-1))
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


def _emptiest(angles: np.ndarray, low: float, period: float) -> float:
    """Returns where a circle has the fewest data, smoothed over a sixth of it."""
    bins = 256
    parts = np.mod(angles - low, period) / period
    counts, _ = np.histogram(parts, bins, (0.0, 1.0))
    # The kernel is positive everywhere, so that the result is far from all data where
    # a wide arc has none.
    kernel = np.exp(8 * (np.cos(2 * np.pi * np.arange(bins) / bins) - 1))
    smooth = np.fft.irfft(np.fft.rfft(counts) * np.fft.rfft(kernel), bins)
    return low + (np.argmin(smooth) + 0.5) / bins * period


def _log_density(flow: Flow, context: np.ndarray | None) -> LogDensity:
    """Returns the flow's own log-density of points on the line."""

    if context is None:
        return lambda points, rows: flow.log_prob(points).numpy().astype(np.float64)
    contexts = context

    def conditional(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        given = flow.given(contexts[rows])
        return given.log_prob(points.astype(flow.dtype)).numpy().astype(np.float64)

    return conditional


def _drawn(flow: Flow, context: np.ndarray | None) -> np.ndarray:
    """Returns samples of the flow, the same ones each time."""
    if context is None:
        return flow.sample(_SAMPLES, seed=0).numpy().astype(np.float64)
    given = flow.given(np.resize(context, (_SAMPLES, flow.context_size)))
    seed = np.zeros(2, np.int32)
    return given.sample(1, seed=seed)[0].numpy().astype(np.float64)
