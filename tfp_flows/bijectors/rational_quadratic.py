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
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._core.devices import has_gpu

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
    are slow on a CPU, and their gradients slower. The derivative is written out, as it
    takes a third of the time that differentiating the sums takes.
    """

    @tf.custom_gradient
    def taken(raw: tf.Tensor) -> tuple[tuple[tf.Tensor, ...], Any]:
        ends, shares = _bins(raw, bins)
        past, is_mine = _places(x, ends[..., int(invert), :])
        table = tf.concat([ends, shares], -2)
        parts = tf.reduce_sum(table * is_mine[..., tf.newaxis, :], -1)
        slopes = raw[..., 2 * bins :]
        d0, d1 = (
            tf.reduce_sum(slopes * at, -1) for at in _knots(is_mine, slopes.shape[-1])
        )
        left, bottom, width, height = tf.unstack(parts, axis=-1)

        def gradient(*upstream: tf.Tensor) -> tf.Tensor:
            # From `raw` anew, so that derivatives of this derivative are right.
            shares = _bins(raw, bins)[1]
            free = 1 - bins * MIN_BIN
            of_left, of_bottom, of_width, of_height, of_d0, of_d1 = (
                part[..., tf.newaxis] for part in upstream
            )
            gradients = []
            for i, (of_end, of_share) in enumerate(
                [(of_left, of_width), (of_bottom, of_height)]
            ):
                p = (shares[..., i, :] - MIN_BIN) / free
                of_p = past * of_end + is_mine * of_share
                mean = tf.reduce_sum(p * of_p, -1, keepdims=True)
                gradients.append(free * p * (of_p - mean))
            at_left, at_right = _knots(is_mine, slopes.shape[-1])
            gradients.append(at_left * of_d0 + at_right * of_d1)
            return _summed_to(raw, tf.concat(gradients, -1))

        return (left, bottom, width, height, d0, d1), gradient

    left, bottom, width, height, d0, d1 = taken(raw)
    # Zero makes a slope of 1, as at both ends of the unit interval.
    start = math.log(math.expm1(1 - MIN_SLOPE))
    d0, d1 = (MIN_SLOPE + tf.math.softplus(d + start) for d in (d0, d1))
    return left, width, bottom, height, d0, d1


def _bins(raw: tf.Tensor, bins: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns left ends and sizes of bins, `(..., 2, bins)`: of x, and of y."""
    # As rows: TensorFlow's softmax takes five axes at most, and a batch of products
    # crashes TensorFlow 2.21.
    rows = tf.reshape(raw[..., : 2 * bins], [-1, bins])
    shares = MIN_BIN + (1 - bins * MIN_BIN) * tf.nn.softmax(rows)
    if has_gpu():  # whose products may keep ten bits alone, those of TF32
        ends = tf.cumsum(shares, -1, exclusive=True)
    else:  # one product of matrices is the fastest cumulative sum
        before = tf.constant(np.triu(np.ones([bins, bins]), 1), shares.dtype)
        ends = tf.linalg.matmul(shares, before)
    shape = tf.concat([tf.shape(raw)[:-1], [2, bins]], 0)
    static = [*raw.shape[:-1], 2, bins]
    ends, shares = (
        tf.ensure_shape(tf.reshape(part, shape), static) for part in (ends, shares)
    )
    return ends, shares


def _places(x: tf.Tensor, left: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns, as zeros and ones, which bins x is past, and which it is in."""
    beyond = tf.cast(x[..., tf.newaxis] >= left, x.dtype)  # 1, …, 1, 0, …, 0
    past = tf.concat([beyond[..., 1:], tf.zeros_like(beyond[..., :1])], -1)
    return past, beyond - past


def _summed_to(like: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Returns the gradient of what was broadcast, summed to its shape."""
    if like.shape.is_fully_defined() and like.shape == gradient.shape:
        return gradient
    shape = tf.shape(like)
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(gradient))
    return tf.reshape(tf.reduce_sum(gradient, axes), shape)


def _knots(is_mine: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns, as zeros and ones, which slope is that of the bin's left end, and right.

    Args:
      is_mine: which bin, `(..., bins)`.
      count: of slopes: one fewer than bins, between them, or as many on a circle, the
        first at the first left end.
    """
    if count < is_mine.shape[-1]:
        return is_mine[..., 1:], is_mine[..., :-1]
    return is_mine, tf.concat([is_mine[..., -1:], is_mine[..., :-1]], -1)
