"""Monotone rational-quadratic splines: the mathematics that the spline bijectors share.

A spline here maps the unit interval onto itself, from K bins with learned widths and
heights and learned slopes at the knots. Within a bin, with ξ in [0, 1] the place in it,
s = height / width and d₀, d₁ the slopes at its ends::

    y = y₀ + height · (s ξ² + d₀ ξ(1-ξ)) / (s + (d₁ + d₀ - 2s) ξ(1-ξ))

Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", eq.
4-8; circular splines, Rezende et al. (2020), "Normalizing flows on tori and spheres",
section 2.1.2.
"""

import math

import numpy as np
import tensorflow as tf

__all__ = ["MIN_BIN", "MIN_SLOPE", "spline", "steering_size"]

# Without least bins and slopes the gradients of splines are NaN sooner or later.
MIN_BIN, MIN_SLOPE = 1e-3, 1e-3


def steering_size(bins: int, *, circular: bool = False) -> int:
    """Returns how many raw numbers steer one spline: widths, heights, slopes, phase."""
    return 3 * bins + 1 if circular else 3 * bins - 1


def spline(
    x: tf.Tensor, raw: tf.Tensor, *, circular: bool = False, invert: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns y and log(dy/dx), elementwise; the identity where `raw` is zero.

    Args:
      x: numbers `(...)`; the spline lives on [0, 1].
      raw: `(..., steering_size(bins))`, any real numbers.
      circular: whether 0 and 1 are one point: the slopes agree there, the spline is
        turned by a phase, and every x is taken modulo 1. Else the spline goes on as
        the identity outside [0, 1], with slope 1 at both ends.
      invert: evaluate the inverse function. It is a root of a quadratic, polished by
        a Newton step; the direct function costs less.
    """
    bins = raw.shape[-1] // 3 if circular else (raw.shape[-1] + 1) // 3
    if not circular:
        inside = (x > 0) & (x < 1)
        # What is outside must not spoil the gradient either.
        y, log_slope = _interior(tf.clip_by_value(x, 0.0, 1.0), raw, bins, invert)
        return tf.where(inside, y, x), tf.where(inside, log_slope, 0.0)
    phase, raw = raw[..., -1], raw[..., :-1]
    if not invert:
        x = x + phase
    y, log_slope = _interior(x - tf.floor(x), raw, bins, invert)
    if invert:
        y = y - phase
    return y - tf.floor(y), log_slope


def _interior(
    x: tf.Tensor, raw: tf.Tensor, bins: int, invert: bool
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the spline and its log-slope at x in [0, 1]."""
    left, width, bottom, height, d0, d1 = _bin_of(x, raw, bins, invert)
    s = height / width
    bend = d0 + d1 - 2 * s
    if not invert:
        y, log_slope = _evaluate((x - left) / width, s, d0, d1, bend)
        return bottom + height * y, log_slope
    rise = (x - bottom) / height
    a = s - d0 + rise * bend
    b = d0 - rise * bend
    c = -s * rise
    root = tf.sqrt(tf.maximum(b * b - 4 * a * c, 0.0))
    # b + root > 0: this form of the root of aξ² + bξ + c does not cancel.
    xi = tf.clip_by_value(-2 * c / (b + root), 0.0, 1.0)
    y, log_slope = _evaluate(xi, s, d0, d1, bend)
    # In units of the bin, dξ/dy is s divided by the slope.
    xi = tf.clip_by_value(xi - (y - rise) * s * tf.exp(-log_slope), 0.0, 1.0)
    _, log_slope = _evaluate(xi, s, d0, d1, bend)
    return left + width * xi, -log_slope


def _evaluate(
    xi: tf.Tensor, s: tf.Tensor, d0: tf.Tensor, d1: tf.Tensor, bend: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns the height reached in a bin, as a share of it, and the log-slope."""
    other = 1 - xi
    both = xi * other
    below = s + bend * both
    y = xi * (s * xi + d0 * other) / below
    steepness = d1 * xi * xi + 2 * s * both + d0 * other * other
    return y, tf.math.log(steepness) + 2 * tf.math.log(s / below)


def _bin_of(
    x: tf.Tensor, raw: tf.Tensor, bins: int, invert: bool
) -> tuple[tf.Tensor, ...]:
    """Returns left, width, bottom, height and both slopes of the bin that x is in.

    The bin is found by comparisons and taken by a sum with zeros and ones: gathers
    are slow on a CPU, and their gradients slower.
    """
    shares, slopes = _shares_and_slopes(raw, bins)
    ends = _sums_before(shares, bins)
    mine = ends[..., 1, :] if invert else ends[..., 0, :]
    beyond = tf.cast(x[..., tf.newaxis] >= mine, x.dtype)  # 1, …, 1, 0, …, 0
    is_mine = beyond - tf.concat([beyond[..., 1:], tf.zeros_like(beyond[..., :1])], -1)
    table = tf.concat([ends, shares, slopes], -2)
    taken = tf.reduce_sum(table * is_mine[..., tf.newaxis, :], -1)
    left, bottom, width, height, d0, d1 = tf.unstack(taken, axis=-1)
    return left, width, bottom, height, d0, d1


def _shares_and_slopes(raw: tf.Tensor, bins: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns `(..., 2, bins)`: widths and heights; slopes left and right of bins."""
    shape = tf.shape(raw)[:-1]
    pair = tf.reshape(raw[..., : 2 * bins], tf.concat([shape, [2, bins]], 0))
    pair = tf.ensure_shape(pair, [*raw.shape[:-1], 2, bins])
    shares = MIN_BIN + (1 - bins * MIN_BIN) * tf.nn.softmax(pair)
    # softplus(start) + MIN_SLOPE is 1.
    start = math.log(math.expm1(1 - MIN_SLOPE))
    slopes = MIN_SLOPE + tf.math.softplus(raw[..., 2 * bins :] + start)
    if raw.shape[-1] == 3 * bins - 1:
        ends = tf.ones_like(raw[..., :1])
        pair = [tf.concat([ends, slopes], -1), tf.concat([slopes, ends], -1)]
    else:
        pair = [slopes, tf.concat([slopes[..., 1:], slopes[..., :1]], -1)]
    return shares, tf.stack(pair, -2)


def _sums_before(shares: tf.Tensor, bins: int) -> tf.Tensor:
    """Returns, for each share, the sum of those before it: the left ends of bins."""
    # One product of matrices is the fastest cumulative sum; as a batch of products
    # TensorFlow 2.21 crashes on it.
    before = tf.constant(np.triu(np.ones([bins, bins]), 1), shares.dtype)
    sums = tf.linalg.matmul(tf.reshape(shares, [-1, bins]), before)
    return tf.ensure_shape(tf.reshape(sums, tf.shape(shares)), shares.shape)
