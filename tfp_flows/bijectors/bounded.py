"""Bounded: the real line onto intervals and half-lines, coordinate by coordinate."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_flows.bijectors.base import Bijector, register

__all__ = ["Bounded"]


@register
class Bounded(Bijector):
    """Maps each coordinate into its interval, its half-line, or itself.

    Forward, from the real line into (low, high), elementwise, with Φ the standard
    normal CDF and s the scale::

        y = low + (high - low) · Φ(x)      two finite ends
        y = low + s · exp(h(x))            high = ∞
        y = high - s · exp(h(-x))          low = -∞
        y = x                              no end

        h(x) = x                     x ≥ 0
               x + x³/6              -1 < x < 0
               -x²/2 + x/2 - 1/6     x ≤ -1

        log|det ∂y/∂x| = Σ_i log ∂y_i/∂x_i

    A density that is finite at an end becomes one with a Gaussian tail, which is what
    a flow from a Gaussian base has: Φ makes the uniform density exactly the standard
    normal. Away from its end a half-line is logarithmic, so that heavy tails become
    light; h is twice differentiable.

    Values stay within (low, high) in every dtype: beyond what its numbers tell apart,
    y stops at the first or last of them inside, while the log-det stays exact. The
    ends themselves belong to the data: the inverse takes a coordinate on an end for
    one that lies eps · (high - low), or eps · s, inside (eps is 1.2e-7 in float32,
    2.2e-16 in float64), so that its log-det is finite. Outside it is NaN.

    Args:
      low: the lower end, one number or one a coordinate; -inf for none.
      high: the upper end, likewise; inf for none.
      scale: s > 0, one number or one a coordinate; read for half-lines only, best
        the median distance of the data from their end.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `low` is not below `high`, with a number of the dtype between them;
        a scale that is not positive; or not one of them a coordinate.

    Example:
      >>> import numpy as np
      >>> mixed = Bounded([0.0, 0.0, -np.inf], [1.0, np.inf, np.inf])
      >>> print(mixed.forward([[0.0, 0.0, 0.0], [1.5, -2.0, 7.0]]).numpy().round(2))
      [[0.5  1.   0.  ]
       [0.93 0.04 7.  ]]
      >>> bool(mixed.forward([[9.0, 0.0, 0.0]])[0, 0] < 1)
      True
      >>> print(mixed.inverse([[0.0, 0.0, 0.0]]).numpy().round(2))
      [[-5.17 -5.14  0.  ]]
    """

    def __init__(
        self,
        low: Any = 0.0,
        high: Any = 1.0,
        *,
        scale: Any = 1.0,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        numbers = {"low": low, "high": high, "scale": scale}
        arrays = {name: np.asarray(part, np.float64) for name, part in numbers.items()}
        widths = {array.shape for array in arrays.values()} - {(), (1,)}
        if len(widths) > 1 or any(len(width) != 1 for width in widths):
            shapes = ", ".join(f"{name} {part.shape}" for name, part in arrays.items())
            raise ValueError(
                "`low`, `high` and `scale` must each be one number, or one a "
                f"coordinate. Received shapes {shapes}."
            )
        if not np.all(arrays["low"] < arrays["high"]):
            raise ValueError(
                f"`low` must be below `high`. Received: {low!r} and {high!r}."
            )
        if not np.all((arrays["scale"] > 0) & np.isfinite(arrays["scale"])):
            raise ValueError(f"`scale` must be positive. Received: {scale!r}.")
        super().__init__(locals(), dtype=dtype, name=name)
        self._width = next(iter(widths), (None,))[0]
        self._arrays = arrays

    @property
    def required_event_size(self) -> int | None:
        """The number of ends, or None for one pair, which serves every width."""
        return self._width

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        if self._width not in (None, event_size):
            raise ValueError(
                f"`low`, `high` and `scale` must be numbers, or {event_size} of them "
                f"for points of width {event_size}. Received {self._width}."
            )
        numpy_dtype = dtype.as_numpy_dtype
        low, high, scale = (
            np.broadcast_to(array, [event_size]) for array in self._arrays.values()
        )
        self._ends = _ends(low, high, scale, numpy_dtype)
        is_low, is_high = np.isfinite(low), np.isfinite(high)
        both, one = is_low & is_high, is_low ^ is_high
        parts = [
            (both, _Interval(low[both], high[both], numpy_dtype)),
            (one, _HalfLine(low[one], high[one], scale[one], numpy_dtype)),
            (~(is_low | is_high), _Line()),
        ]
        self._parts = [(np.flatnonzero(m), part) for m, part in parts if m.any()]

    def _each(self, method: str, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies `method` of each part to its coordinates."""
        if len(self._parts) == 1:
            ((_, part),) = self._parts
            return getattr(part, method)(points)
        moved = [
            getattr(part, method)(tf.gather(points, columns, axis=-1))
            for columns, part in self._parts
        ]
        back = np.argsort(np.concatenate([columns for columns, _ in self._parts]))
        values, slopes = (
            tf.gather(tf.concat(pieces, -1), back, axis=-1)
            for pieces in zip(*moved, strict=True)
        )
        return values, slopes

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        y, log_slopes = self._each("forward", x)
        y = tf.clip_by_value(y, self._ends.first, self._ends.last)
        return y, tf.reduce_sum(log_slopes, -1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        ends = self._ends
        outside = (y < ends.low) | (y > ends.high)
        inside = tf.where(y <= ends.low, ends.beside_low, y)
        inside = tf.where(y >= ends.high, ends.beside_high, inside)
        x, log_slopes = self._each("inverse", inside)
        nan = tf.constant(math.nan, y.dtype)
        x = tf.where(outside, nan, x)
        log_slopes = tf.where(outside, nan, log_slopes)
        return x, -tf.reduce_sum(log_slopes, -1)


class _Ends(NamedTuple):
    """Numbers of the dtype at the ends of each coordinate, `(event_size,)`."""

    low: np.ndarray  # the end, rounded
    high: np.ndarray
    first: np.ndarray  # the least inside, -inf or the least of all without an end
    last: np.ndarray
    beside_low: np.ndarray  # what the end is taken for
    beside_high: np.ndarray


def _ends(low: np.ndarray, high: np.ndarray, scale: np.ndarray, dtype: Any) -> _Ends:
    limits = np.finfo(dtype)
    first, last = _next_inside(low, +1, dtype), _next_inside(high, -1, dtype)
    if np.any(first > last):
        i = int(np.argmax(first > last))
        raise ValueError(
            f"{limits.dtype.name} has no number between {low[i]!r} and {high[i]!r}. "
            "Remedy: float64, or other units."
        )
    is_line = np.isinf(low) & np.isinf(high)
    # A half-line stops at the largest finite number, a line nowhere.
    first = np.where(np.isinf(low) & ~is_line, limits.min, first)
    last = np.where(np.isinf(high) & ~is_line, limits.max, last)
    finite = np.isfinite(low) & np.isfinite(high)
    step = limits.eps * np.where(finite, high, scale) - limits.eps * np.where(
        finite, low, 0.0
    )
    with np.errstate(invalid="ignore"):
        beside_low = np.clip(low + step, first, last)
        beside_high = np.clip(high - step, first, last)
    arrays = (low, high, first, last, beside_low, beside_high)
    return _Ends(*(array.astype(dtype) for array in arrays))


def _next_inside(end: np.ndarray, sign: int, dtype: Any) -> np.ndarray:
    """Returns the first number of the dtype strictly beyond `end`, as float64."""
    limits = np.finfo(dtype)
    rounded = end.astype(dtype)
    toward = dtype(sign * np.inf)
    exact = rounded.astype(np.float64)
    inside = exact > end if sign > 0 else exact < end
    result = np.where(inside, rounded, np.nextafter(rounded, toward)).astype(np.float64)
    # Numbers below the least normal one count as zero on many machines.
    small = np.abs(result) < limits.tiny
    beyond = np.where(sign * end < 0, 0.0, sign * float(limits.tiny))
    result = np.where(small, beyond, result)
    return np.where(np.isfinite(end), result, end)


class _Line:
    """The identity."""

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return x, tf.zeros_like(x)

    inverse = forward


class _Interval:
    """The normal CDF between two ends, from the nearer of them."""

    def __init__(self, low: np.ndarray, high: np.ndarray, dtype: Any) -> None:
        self._low, self._high = low.astype(dtype), high.astype(dtype)
        self._width = (high - low).astype(dtype)
        log_height = np.log(high - low) - 0.5 * math.log(2 * math.pi)
        self._log_height = log_height.astype(dtype)

    def _log_slope(self, x: tf.Tensor) -> tf.Tensor:
        return self._log_height - 0.5 * x**2

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_low = x < 0
        tail = self._width * 0.5 * tf.math.erfc(tf.where(is_low, -x, x) / math.sqrt(2))
        y = tf.where(is_low, self._low + tail, self._high - tail)
        return y, self._log_slope(x)

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        below, above = y - self._low, self._high - y
        x = tf.math.ndtri(tf.minimum(below, above) / self._width)
        x = tf.where(below < above, x, -x)
        return x, self._log_slope(x)


class _HalfLine:
    """Distances from the one end: Gaussian near it, logarithmic far from it."""

    def __init__(
        self, low: np.ndarray, high: np.ndarray, scale: np.ndarray, dtype: Any
    ) -> None:
        self._sign = np.where(np.isfinite(low), 1, -1).astype(dtype)
        self._end = np.where(np.isfinite(low), low, high).astype(dtype)
        self._log_scale = np.log(scale).astype(dtype)
        self._largest = dtype(np.log(np.finfo(dtype).max) - 0.01)

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = self._sign * x
        log_distance = self._log_scale + _bent(x)
        # An infinite value would make its gradient NaN.
        distance = tf.exp(tf.minimum(log_distance, self._largest))
        y = self._end + self._sign * distance
        return y, log_distance + _log_bend(x)

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_distance = tf.math.log(self._sign * (y - self._end))
        x = _unbent(log_distance - self._log_scale)
        return self._sign * x, log_distance + _log_bend(x)


def _bent(x: tf.Tensor) -> tf.Tensor:
    """Returns h(x) of the docstring: h'' is x, held within [-1, 0]."""
    middle = tf.clip_by_value(x, -1.0, 0.0)
    left = tf.minimum(x, -1.0)
    bent = tf.where(x > -1, middle + middle**3 / 6, -0.5 * left**2 + 0.5 * left - 1 / 6)
    return tf.where(x < 0, bent, x)


def _log_bend(x: tf.Tensor) -> tf.Tensor:
    """Returns log h'(x)."""
    middle = tf.clip_by_value(x, -1.0, 0.0)
    return tf.math.log1p(0.5 * middle**2 + (middle - tf.minimum(x, 0.0)))


def _unbent(t: tf.Tensor) -> tf.Tensor:
    """Returns the x where h(x) = t."""
    middle = tf.clip_by_value(t, -7 / 6, 0.0)
    root = 2 * math.sqrt(2) * tf.sinh(tf.asinh(1.5 / math.sqrt(2) * middle) / 3)
    left = 0.5 - tf.sqrt(-2 * tf.minimum(t, -7 / 6) - 1 / 12)
    return tf.where(t < 0, tf.where(t > -7 / 6, root, left), t)
