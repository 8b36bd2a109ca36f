"""Mixtures on the real line: CDFs, densities and quantiles, in logarithms."""

import math

import numpy as np
import tensorflow as tf

__all__ = [
    "GaussianMixture",
    "LogisticMixture",
    "fitted_mixture",
    "log_normal_cdf",
    "log_normal_pdf",
    "normal_quantile",
]

# Below these, Φ(z) is computed by its series for large |z|; above them the dtype can
# represent it.
_MIN_NORMAL = {"float32": -12.4, "float64": -37.2}
_MIN_LOG_CDF = {"float32": -80.0, "float64": -700.0}

# Each step multiplies the error by 1/z², which is less than 1/150 in the tails.
_TAIL_STEPS = 4

# Steps of expectation and maximization when a mixture is fitted.
_EM_STEPS = 30


class _Mixture:
    """F(x) = Σ_k w_k · G((x - μ_k) / s_k), one mixture for each number x.

    A subclass gives log G and the log of its density, which is symmetric about zero.

    Args:
      logits: `(..., K)`; w is their softmax.
      means: μ, `(..., K)`.
      log_scales: log s, `(..., K)`.
    """

    def __init__(
        self, logits: tf.Tensor, means: tf.Tensor, log_scales: tf.Tensor
    ) -> None:
        self._log_weights = tf.nn.log_softmax(logits)
        self._means, self._log_scales = means, log_scales

    def _log_kernel_cdf(self, z: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _log_kernel_pdf(self, z: tf.Tensor) -> tf.Tensor:
        raise NotImplementedError

    def _standardized(self, x: tf.Tensor) -> tf.Tensor:
        return (x[..., tf.newaxis] - self._means) * tf.exp(-self._log_scales)

    def log_cdf(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log F(x)."""
        log_parts = self._log_kernel_cdf(self._standardized(x))
        return tf.reduce_logsumexp(self._log_weights + log_parts, -1)

    def log_cdf_and_survival(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns log F(x) and log(1 - F(x))."""
        z = self._standardized(x)
        log_parts = self._log_kernel_cdf(tf.stack([z, -z]))
        both = tf.reduce_logsumexp(self._log_weights + log_parts, -1)
        return both[0], both[1]

    def log_pdf(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log F'(x)."""
        log_parts = self._log_kernel_pdf(self._standardized(x)) - self._log_scales
        return tf.reduce_logsumexp(self._log_weights + log_parts, -1)

    def log_odds(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log F(x) - log(1 - F(x)), nearly straight in both tails."""
        log_cdf, log_survival = self.log_cdf_and_survival(x)
        return log_cdf - log_survival

    def log_slope(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the derivative of the log-odds."""
        log_cdf, log_survival = self.log_cdf_and_survival(x)
        return self.log_pdf(x) - log_cdf - log_survival

    def quantiles(self, of_kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns a lower and an upper bound of the mixture's quantile.

        They are the smallest and the largest quantile of its components.

        Args:
          of_kernel: the quantile of the kernel.
        """
        each = self._means + tf.exp(self._log_scales) * of_kernel[..., tf.newaxis]
        return tf.reduce_min(each, -1), tf.reduce_max(each, -1)


class GaussianMixture(_Mixture):
    """A mixture of normal distributions."""

    def _log_kernel_cdf(self, z: tf.Tensor) -> tf.Tensor:
        return log_normal_cdf(z)

    def _log_kernel_pdf(self, z: tf.Tensor) -> tf.Tensor:
        return log_normal_pdf(z)


class LogisticMixture(_Mixture):
    """A mixture of logistic distributions, whose log-odds have linear tails."""

    def _log_kernel_cdf(self, z: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(z)

    def _log_kernel_pdf(self, z: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(z) + tf.math.log_sigmoid(-z)

    def log_slope(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the derivative of the log-odds.

        It is F' / F + F' / (1 - F), and for this kernel each of the two is a mean of
        bounded terms, so that there is no cancellation in the tails.
        """
        z = self._standardized(x)
        log_cdf, log_survival = tf.math.log_sigmoid(z), tf.math.log_sigmoid(-z)
        below = tf.nn.log_softmax(self._log_weights + log_cdf) + log_survival
        above = tf.nn.log_softmax(self._log_weights + log_survival) + log_cdf
        parts = tf.concat([below, above], -1)
        log_scales = tf.concat([self._log_scales, self._log_scales], -1)
        return tf.reduce_logsumexp(parts - log_scales, -1)


def log_normal_pdf(z: tf.Tensor) -> tf.Tensor:
    """Returns log φ(z)."""
    return -0.5 * z**2 - 0.5 * math.log(2 * math.pi)


def log_normal_cdf(z: tf.Tensor) -> tf.Tensor:
    """Returns log Φ(z), with a small relative error in both tails."""
    least = _MIN_NORMAL[z.dtype.name]
    low = tf.clip_by_value(z, least, 0.0)
    low = tf.math.log(tf.math.erfc(low * -math.sqrt(0.5)) / 2)
    high = tf.maximum(z, 0.0)
    high = tf.math.log1p(tf.math.erfc(high * math.sqrt(0.5)) / -2)
    square = tf.minimum(z, least) ** 2
    far = -(square + tf.math.log(2 * math.pi * square)) / 2 + _log_tail_series(square)
    return tf.where(z > 0, high, tf.where(z < least, far, low))


def normal_quantile(log_cdf: tf.Tensor, log_survival: tf.Tensor) -> tf.Tensor:
    """Returns the z with Φ(z) = F, exact in both tails.

    Args:
      log_cdf: log F.
      log_survival: log(1 - F).
    """
    is_low = log_cdf < log_survival
    z = _quantile_below_zero(tf.where(is_low, log_cdf, log_survival))
    return tf.where(is_low, z, -z)


def _quantile_below_zero(log_cdf: tf.Tensor) -> tf.Tensor:
    """Returns the z ≤ 0 with log Φ(z) = log_cdf ≤ log 1/2."""
    least = _MIN_LOG_CDF[log_cdf.dtype.name]
    near = tf.math.ndtri(tf.exp(tf.maximum(log_cdf, least)))
    # Beyond, the formula of `log_normal_cdf` is solved for z² by fixed-point steps.
    start = -2 * tf.minimum(log_cdf, least) - math.log(2 * math.pi)
    square = start
    for _ in range(_TAIL_STEPS):
        square = start - tf.math.log(square) + 2 * _log_tail_series(square)
    return tf.where(log_cdf < least, -tf.sqrt(square), near)


def _log_tail_series(square: tf.Tensor) -> tf.Tensor:
    """Returns log(1 - 1/z² + 3/z⁴ - 15/z⁶ + 105/z⁸), nearly log(Φ(z) · |z| / φ(z))."""
    r = 1 / square
    return tf.math.log1p(-r * (1 - 3 * r * (1 - 5 * r * (1 - 7 * r))))


def fitted_mixture(values: np.ndarray, components: int) -> dict[str, np.ndarray]:
    """Returns a mixture of normal distributions, by expectation and maximization.

    The components start at evenly spaced quantiles. Each component gets one extra point
    at its mean, with the variance of a kernel by Silverman's rule: this prevents
    components with few points from collapsing or vanishing.

    Args:
      values: `(n,)`, with a standard deviation of about 1.
      components: K.

    Returns:
      "logits", "means" and "log_scales", each `(K,)`.
    """
    count = len(values)
    kernel = count**-0.4
    levels = (np.arange(components) + 0.5) / components
    means = np.quantile(values, levels)[:, np.newaxis]
    weights = np.full_like(means, 1 / components)
    variances = np.full_like(means, components**-2.0)
    for _ in range(_EM_STEPS):
        away = values - means
        log_parts = np.log(weights) - (np.log(variances) + away**2 / variances) / 2
        parts = np.exp(log_parts - log_parts.max(0))
        parts /= parts.sum(0)
        held = parts.sum(1, keepdims=True)
        shifts = (parts * away).sum(1, keepdims=True) / (held + 1)
        squares = (parts * (away - shifts) ** 2).sum(1, keepdims=True)
        means += shifts
        variances = (squares + kernel) / (held + 1)
        weights = (held + 1) / (count + components)
    return {
        "logits": np.log(weights[:, 0]),
        "means": means[:, 0],
        "log_scales": np.log(variances[:, 0]) / 2,
    }
