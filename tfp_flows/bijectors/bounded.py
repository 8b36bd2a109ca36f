"""Bounded: the real line onto intervals and half-lines, coordinate by coordinate."""

import math
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_flows.bijectors.base import Bijector, register

__all__ = ["Bounded"]


@register
class Bounded(Bijector):
    """Maps each coordinate onto its interval, its half-line, or the line.

    Forward, from the real line into (low, high), elementwise, with s the scale::

        y = low + (high - low) / (1 + exp(-b(x)))    two finite ends
        y = low + s · exp(h(x))                      high = ∞
        y = high - s · exp(h(-x))                    low = -∞
        y = x                                        no end
        log|det ∂y/∂x| = Σ_i log ∂y_i/∂x_i

    where b and h are lines that bend into parabolas, twice differentiable::

        b(-x) = -b(x), b(0) = 0, b'(0) = 1.6, b''(x) = min(0.4 x, 1)  for x ≥ 0
        h(x) = x  for x ≥ 0,  h''(x) = max(x, -1)  for x ≤ 0

    A density that is finite at an end becomes one with a Gaussian tail, which is what
    a flow from a Gaussian base has: 1 / (1 + exp(-b)) is the normal CDF to within
    0.001, and makes the uniform density the standard normal. Away from its end a
    half-line is logarithmic, so that heavy tails become light.

    Values stay within (low, high) in every dtype: where rounding would reach an end, y
    stops at the number next to it, while the log-det stays exact. The ends themselves
    are valid data: the inverse treats a coordinate on an end like one that lies
    eps · (high - low), or eps · s, inside (eps is 1.2e-7 in float32,
    2.2e-16 in float64), so that its log-det is finite. Outside it is NaN.

    Args:
      low: the lower end, one number or one a coordinate; -inf for none.
      high: the upper end, likewise; inf for none.
      scale: s > 0, one number or one a coordinate. It matters for half-lines only, and
        should be the median distance of the data from their end.
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
      [[-5.12 -5.14  0.  ]]
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
        ends = {"low": low, "high": high, "scale": scale}
        arrays = {name: np.asarray(part, np.float64) for name, part in ends.items()}
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
        results = [
            getattr(part, method)(tf.gather(points, columns, axis=-1))
            for columns, part in self._parts
        ]
        back = np.argsort(np.concatenate([columns for columns, _ in self._parts]))
        values, slopes = (
            tf.gather(tf.concat(pieces, -1), back, axis=-1)
            for pieces in zip(*results, strict=True)
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
        inside = tf.clip_by_value(inside, ends.first, ends.last)
        x, log_slopes = self._each("inverse", inside)
        nan = tf.constant(math.nan, y.dtype)
        x = tf.where(outside, nan, x)
        log_slopes = tf.where(outside, nan, log_slopes)
        return x, -tf.reduce_sum(log_slopes, -1)


class _Ends(NamedTuple):
    """Numbers of the dtype at the ends of each coordinate, `(event_size,)`."""

    low: np.ndarray  # the end, rounded
    high: np.ndarray
    first: np.ndarray  # the smallest number inside; -inf or the minimum without an end
    last: np.ndarray
    beside_low: np.ndarray  # where a coordinate on the end is placed
    beside_high: np.ndarray


def _ends(low: np.ndarray, high: np.ndarray, scale: np.ndarray, dtype: Any) -> _Ends:
    limits = np.finfo(dtype)
    is_low, is_high = np.isfinite(low), np.isfinite(high)
    both = is_low & is_high
    width = np.where(both, high, 1.0) - np.where(both, low, 0.0)
    # Nearer to an end, a fraction of the width would be flushed to zero.
    least = 2.0 * float(limits.tiny) * np.maximum(width, 1.0)
    first = np.maximum(_next(low, +1, dtype), low + least)
    last = np.minimum(_next(high, -1, dtype), high - least)
    if np.any(first > last):
        i = int(np.argmax(first > last))
        raise ValueError(
            f"{limits.dtype.name} has no number between {low[i]} and {high[i]}. "
            "Remedy: float64, or other units."
        )
    # A half-line stops at the largest finite number, a line nowhere.
    first = np.where(is_high & ~is_low, limits.min, first)
    last = np.where(is_low & ~is_high, limits.max, last)
    step = limits.eps * np.where(both, width, scale)
    beside_low = np.clip(low + step, first, last)
    beside_high = np.clip(high - step, first, last)
    arrays = (low, high, first, last, beside_low, beside_high)
    return _Ends(*(array.astype(dtype) for array in arrays))


def _next(end: np.ndarray, sign: int, dtype: Any) -> np.ndarray:
    """Returns the first number of the dtype strictly beyond `end`, as float64."""
    rounded = end.astype(dtype)
    exact = rounded.astype(np.float64)
    beyond = np.nextafter(rounded, dtype(sign * np.inf)).astype(np.float64)
    is_beyond = exact > end if sign > 0 else exact < end
    return np.where(is_beyond | np.isinf(end), exact, beyond)


class _Line:
    """The identity."""

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return x, tf.zeros_like(x)

    inverse = forward


class _Interval:
    """The logistic function of a bent line, counted from the nearer end."""

    def __init__(self, low: np.ndarray, high: np.ndarray, dtype: Any) -> None:
        self._low, self._high = low.astype(dtype), high.astype(dtype)
        self._width = (high - low).astype(dtype)
        self._log_width = np.log(high - low).astype(dtype)

    def _log_slope(self, distance: tf.Tensor, logit: tf.Tensor) -> tf.Tensor:
        log_slope = -logit - 2 * tf.math.log1p(tf.exp(-logit))
        return self._log_width + log_slope + _LOGIT.log_slope(distance)

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        is_low = x < 0
        distance = tf.where(is_low, -x, x)  # from the middle
        logit = _LOGIT.value(distance)
        part = self._width * tf.sigmoid(-logit)
        y = tf.where(is_low, self._low + part, self._high - part)
        return y, self._log_slope(distance, logit)

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        below, above = y - self._low, self._high - y
        is_low = below < above
        part = tf.where(is_low, below, above) / self._width
        logit = tf.math.log1p(-part) - tf.math.log(part)
        distance = _LOGIT.root(logit)
        x = tf.where(is_low, -distance, distance)
        return x, self._log_slope(distance, logit)


class _HalfLine:
    """Distances from one end: Gaussian near it, logarithmic far from it."""

    def __init__(
        self, low: np.ndarray, high: np.ndarray, scale: np.ndarray, dtype: Any
    ) -> None:
        self._sign = np.where(np.isfinite(low), 1, -1).astype(dtype)
        self._end = np.where(np.isfinite(low), low, high).astype(dtype)
        self._log_scale = np.log(scale).astype(dtype)
        self._largest = dtype(np.log(np.finfo(dtype).max) - 0.01)

    def forward(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = self._sign * x
        near = tf.maximum(-x, 0.0)
        log_distance = self._log_scale + tf.where(x < 0, -_LOG.value(near), x)
        # An infinite value would make its gradient NaN.
        distance = tf.exp(tf.minimum(log_distance, self._largest))
        y = self._end + self._sign * distance
        return y, log_distance + _LOG.log_slope(near)

    def inverse(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_distance = tf.math.log(self._sign * (y - self._end))
        far = log_distance - self._log_scale
        near = _LOG.root(tf.maximum(-far, 0.0))
        x = tf.where(far < 0, -near, far)
        return self._sign * x, log_distance + _LOG.log_slope(near)


class _Bend(NamedTuple):
    """f on x ≥ 0 with f(0) = 0, f'(0) = `slope` and f''(x) = min(`bend` · x, 1)."""

    slope: float
    bend: float

    def value(self, x: tf.Tensor) -> tf.Tensor:
        joint, shift, offset = self._parabola
        cubic = tf.minimum(x, joint)
        cubic = self.slope * cubic + self.bend / 6 * cubic**3
        parabola = 0.5 * x**2 + shift * x + offset
        return tf.where(x < joint, cubic, parabola)

    def log_slope(self, x: tf.Tensor) -> tf.Tensor:
        joint, _, _ = self._parabola
        cubic = tf.minimum(x, joint)
        return tf.math.log(self.slope + self.bend / 2 * cubic**2 + (x - cubic))

    def root(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the x where f(x) = `value`: of the cubic by its hyperbolic sine."""
        joint, shift, offset = self._parabola
        highest = 0.5 * joint**2 + shift * joint + offset  # of the cubic
        p = 6 * self.slope / self.bend  # x³ + p x = 6 value / bend
        q = 6 / self.bend * tf.minimum(value, highest)
        half = 1.5 / p * math.sqrt(3 / p)
        cubic = 2 * math.sqrt(p / 3) * tf.sinh(tf.asinh(half * q) / 3)
        square = shift**2 + 2 * (tf.maximum(value, highest) - offset)
        return tf.where(value < highest, cubic, tf.sqrt(square) - shift)

    @property
    def _parabola(self) -> tuple[float, float, float]:
        """The joint, and b and c of x²/2 + b·x + c beyond it."""
        joint = 1 / self.bend
        return joint, self.slope - joint / 2, joint**2 / 6


_LOG = _Bend(1.0, 1.0)
_LOGIT = _Bend(1.6, 0.4)
