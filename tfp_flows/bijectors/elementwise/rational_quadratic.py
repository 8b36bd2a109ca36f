"""RationalQuadraticMap: bends an interval by a monotone rational-quadratic spline.

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

from tfp_flows._core import checks
from tfp_flows._core.devices import has_gpu
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.base import ElementwiseMap, bounded
from tfp_flows.bijectors.elementwise.box import CIRCLE, as_box

__all__ = ["MIN_BIN", "MIN_SLOPE", "RationalQuadraticMap", "parameter_count", "spline"]

# Without lower bounds on bins and slopes the gradients of splines become NaN sooner or
# later.
MIN_BIN, MIN_SLOPE = 1e-3, 1e-3

# Bound of the log-scale of one map. Several maps in a row may scale by more.
_MAX_LOG_SCALE = 3.0


@register
class RationalQuadraticMap(ElementwiseMap):
    """Bends an interval by a monotone rational-quadratic spline.

    With g the spline of K bins that the parameters describe, inverse, data to base::

        x = g(y),    log(dx/dy) = log g'(y)

    With `affine` two more parameters scale and shift, by s = 3 tanh(s'/3) and t::

        x = g((y - t) · exp(-s)),    log(dx/dy) = log g' - s

    which a spline alone must imitate by moving all its bins. The inverse evaluates the
    spline; forward solves a quadratic equation in the bin. Outside of its box a spline
    is the identity.

    Args:
      bins: K ≥ 2. No bin is narrower than 1e-3 of the box, and no slope at a knot is
        less than 1e-3.
      box: the interval that is bent: "data" for one that is fitted to the data of each
        coordinate (it covers 99.9% of them, and a tenth more on either side; [-5, 5]
        before that); or b for [-b, b], or (low, high).
      affine: whether to scale and shift too; not for angles.
      circular: whether the coordinates are angles in radians, where -π and π are one
        point: the spline agrees there and is turned by a phase, and the box is
        [-π, π).

    Raises:
      ValueError: fewer than two bins, a box without width, or `affine` for angles.

    Example:
      >>> from tfp_flows.bijectors import Coupling
      >>> coupling = Coupling(RationalQuadraticMap(bins=5, box=3.0), seed=0)
      >>> y = coupling.forward([[0.5, 10.0]]).numpy()  # 10 is outside of the box
      >>> y.tolist()
      [[0.5, 10.0]]

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", eq.
    4-8; for angles, Rezende et al. (2020), "Normalizing flows on tori and spheres".
    """

    divides_by_width = True

    def __init__(
        self,
        bins: int = 8,
        *,
        box: str | float | tuple[float, float] = "data",
        affine: bool = False,
        circular: bool = False,
    ) -> None:
        self.bins = checks.positive_size(bins, "bins")
        if self.bins < 2:
            raise ValueError(f"`bins` must be at least 2. Received: {bins}.")
        self.box = as_box(box)
        if affine and circular:
            raise ValueError("`affine` must be False for angles.")
        self.affine = affine
        self.circular = circular
        self.parameter_count = parameter_count(self.bins, circular=circular)
        self.parameter_count += 2 * affine
        self.interval = CIRCLE if circular else self.box
        self.periodic = circular

    def forward(
        self, x: tf.Tensor, parameters: tf.Tensor, low: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx)."""
        if self.affine:
            log_scale, shift, parameters = _scale_and_shift(parameters)
        u, log_slope = spline(
            (x - low) / width, parameters, circular=self.circular, invert=True
        )
        y = low + width * u
        if not self.affine:
            return y, log_slope
        return y * tf.exp(log_scale) + shift, log_slope + log_scale

    def inverse(
        self, y: tf.Tensor, parameters: tf.Tensor, low: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x and log(dx/dy)."""
        if self.affine:
            log_scale, shift, parameters = _scale_and_shift(parameters)
            y = (y - shift) * tf.exp(-log_scale)
        u, log_slope = spline((y - low) / width, parameters, circular=self.circular)
        x = low + width * u
        return x, log_slope - log_scale if self.affine else log_slope

    def outside(self, y: tf.Tensor, low: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        """Returns which numbers lie outside of the box; none on a circle."""
        u = (y - low) / width
        outside = (u < 0) | (u > 1)
        return tf.zeros_like(outside) if self.circular else outside


def _scale_and_shift(
    parameters: tf.Tensor,
) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
    """Returns s, t and the parameters of the spline."""
    raw, shift = tf.unstack(parameters[..., :2], axis=-1)
    return bounded(raw, _MAX_LOG_SCALE), shift, parameters[..., 2:]


def parameter_count(bins: int, *, circular: bool = False) -> int:
    """Returns the number of widths, heights, slopes and phases of one spline."""
    return 3 * bins + 1 if circular else 3 * bins - 1


def spline(
    x: tf.Tensor, raw: tf.Tensor, *, circular: bool = False, invert: bool = False
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns y and log(dy/dx), elementwise; the identity where `raw` is zero.

    Args:
      x: numbers `(...)`; the spline lives on [0, 1].
      raw: the parameters, `(..., parameter_count(bins))`, any real numbers.
      circular: whether 0 and 1 are one point: the slopes agree there, the spline is
        turned by a phase, and every x is taken modulo 1. Otherwise the spline
        continues as the identity outside [0, 1], with slope 1 at both ends.
      invert: whether to evaluate the inverse function. It is a root of a quadratic,
        polished by a Newton step; the direct function costs less.
    """
    bins = raw.shape[-1] // 3 if circular else (raw.shape[-1] + 1) // 3
    if not circular:
        inside = (x > 0) & (x < 1)
        # Numbers outside must not make the gradient NaN.
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

    Comparisons find the bin, and a sum weighted by zeros and ones selects its values:
    gathers are slow on a CPU, and their gradients slower. The derivative is written
    out, because that takes a third of the time of differentiating the sums.
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
            # Computed again from `raw`, so that second derivatives are right.
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
    # A parameter of zero gives a slope of 1, the slope at both ends of the interval.
    start = math.log(math.expm1(1 - MIN_SLOPE))
    d0, d1 = (MIN_SLOPE + tf.math.softplus(d + start) for d in (d0, d1))
    return left, width, bottom, height, d0, d1


def _bins(raw: tf.Tensor, bins: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns left ends and sizes of bins, `(..., 2, bins)`: of x, and of y."""
    # As a matrix: TensorFlow's softmax takes at most five axes, and a batched product
    # crashes TensorFlow 2.21.
    rows = tf.reshape(raw[..., : 2 * bins], [-1, bins])
    shares = MIN_BIN + (1 - bins * MIN_BIN) * tf.nn.softmax(rows)
    if has_gpu():  # whose matrix products may round to the ten bits of TF32
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
    """Returns, as zeros and ones, the bins that x has passed and the one it is in."""
    beyond = tf.cast(x[..., tf.newaxis] >= left, x.dtype)  # 1, …, 1, 0, …, 0
    past = tf.concat([beyond[..., 1:], tf.zeros_like(beyond[..., :1])], -1)
    return past, beyond - past


def _summed_to(like: tf.Tensor, gradient: tf.Tensor) -> tf.Tensor:
    """Returns a gradient summed over the axes along which `like` was broadcast."""
    if like.shape.is_fully_defined() and like.shape == gradient.shape:
        return gradient
    shape = tf.shape(like)
    axes, _ = tf.raw_ops.BroadcastGradientArgs(s0=shape, s1=tf.shape(gradient))
    return tf.reshape(tf.reduce_sum(gradient, axes), shape)


def _knots(is_mine: tf.Tensor, count: int) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns, as zeros and ones, the slopes at the left and at the right of the bin.

    Args:
      is_mine: the bin, `(..., bins)`.
      count: number of slopes: one fewer than bins, between them; or as many as bins on
        a circle, where the first slope is at the left of the first bin.
    """
    if count < is_mine.shape[-1]:
        return is_mine[..., 1:], is_mine[..., :-1]
    return is_mine, tf.concat([is_mine[..., -1:], is_mine[..., :-1]], -1)
