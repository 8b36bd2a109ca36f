"""Mixtures on the real line: distribution functions, densities and quantiles, in logs."""

import math
from collections.abc import Callable

import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["GaussianMixture", "LogisticMixture", "bracketed_root"]

# Enough for a bracket of 1e9 widths to shrink below one float64 spacing; the
# iteration ends when every point has converged, commonly after about ten.
_MAX_ITERATIONS = 100

# Where a function is flatter than this, as F between components far apart, rounding
# alone decides where the root lies; the reciprocal would overflow.
_LEAST_LOG_SLOPE = -60.0


class _Mixture:
    """F(x) = Σ_k w_k · G((x - μ_k) / s_k), one mixture for each number x.

    A subclass gives the kernel, symmetric about zero, by log G and the log of its
    density.

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

    def log_survival(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log(1 - F(x))."""
        log_parts = self._log_kernel_cdf(-self._standardized(x))
        return tf.reduce_logsumexp(self._log_weights + log_parts, -1)

    def log_pdf(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log F'(x)."""
        log_parts = self._log_kernel_pdf(self._standardized(x)) - self._log_scales
        return tf.reduce_logsumexp(self._log_weights + log_parts, -1)

    def log_odds(self, x: tf.Tensor) -> tf.Tensor:
        """Returns log F(x) - log(1 - F(x)), nearly straight in both tails."""
        return self.log_cdf(x) - self.log_survival(x)

    def log_slope(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the derivative of the log-odds."""
        return self.log_pdf(x) - self.log_cdf(x) - self.log_survival(x)

    def quantiles(self, of_kernel: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns two numbers that the mixture's own quantile lies between.

        They are the extremes of what each component alone would have.

        Args:
          of_kernel: the quantile of the kernel.
        """
        each = self._means + tf.exp(self._log_scales) * of_kernel[..., tf.newaxis]
        return tf.reduce_min(each, -1), tf.reduce_max(each, -1)


class GaussianMixture(_Mixture):
    """A mixture of normal distributions."""

    def _log_kernel_cdf(self, z: tf.Tensor) -> tf.Tensor:
        zero, one = tf.zeros([], z.dtype), tf.ones([], z.dtype)
        return tfp.distributions.Normal(zero, one).log_cdf(z)

    def _log_kernel_pdf(self, z: tf.Tensor) -> tf.Tensor:
        return -0.5 * z**2 - 0.5 * math.log(2 * math.pi)


class LogisticMixture(_Mixture):
    """A mixture of logistic distributions, whose log-odds have linear tails."""

    def _log_kernel_cdf(self, z: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(z)

    def _log_kernel_pdf(self, z: tf.Tensor) -> tf.Tensor:
        return tf.math.log_sigmoid(z) + tf.math.log_sigmoid(-z)

    def log_slope(self, x: tf.Tensor) -> tf.Tensor:
        """Returns the logarithm of the derivative of the log-odds.

        It is F' / F + F' / (1 - F), and for this kernel each of the two is a mean of
        bounded terms: nothing large cancels in the tails.
        """
        z = self._standardized(x)
        log_cdf, log_survival = tf.math.log_sigmoid(z), tf.math.log_sigmoid(-z)
        below = tf.nn.log_softmax(self._log_weights + log_cdf) + log_survival
        above = tf.nn.log_softmax(self._log_weights + log_survival) + log_cdf
        parts = tf.concat([below, above], -1)
        log_scales = tf.concat([self._log_scales, self._log_scales], -1)
        return tf.reduce_logsumexp(parts - log_scales, -1)


def bracketed_root(
    function: Callable[[tf.Tensor], tf.Tensor],
    log_slope: Callable[[tf.Tensor], tf.Tensor],
    y: tf.Tensor,
    low: tf.Tensor,
    high: tf.Tensor,
) -> tf.Tensor:
    """Returns the x with function(x) = y, differentiable in y and the parameters.

    Args:
      function: increasing, number by number.
      log_slope: the logarithm of its derivative.
      y: `(...)`.
      low: no more than x.
      high: no less than x.
    """
    target, low, high = (tf.stop_gradient(t) for t in (y, low, high))
    margin = 1e-3 * (1 + tf.abs(low) + tf.abs(high))
    root = tfp.math.find_root_chandrupatla(
        lambda x: function(x) - target,
        low - margin,
        high + margin,
        position_tolerance=0.0,
        max_iterations=_MAX_ITERATIONS,
    ).estimated_root
    root = tf.ensure_shape(tf.stop_gradient(root), y.shape)
    # Nothing is added to the root but its gradient, by the implicit function theorem:
    # dx = (dy - ∂function/∂θ dθ) / (∂function/∂x).
    error = y - function(root)
    steepness = tf.exp(-tf.maximum(log_slope(root), _LEAST_LOG_SLOPE))
    return root + (error - tf.stop_gradient(error)) * tf.stop_gradient(steepness)
