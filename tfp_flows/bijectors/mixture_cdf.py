"""MixtureCDF: the distribution function of a learned mixture, elementwise."""

import math
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _checks
from tfp_flows.bijectors.base import Bijector, register

__all__ = ["MixtureCDF"]

# Enough for a bracket of 1e9 widths to shrink below one float64 spacing; the
# iteration ends when every point has converged, commonly after about ten.
_MAX_ITERATIONS = 100


@register
class MixtureCDF(Bijector):
    """Maps each coordinate through the CDF of a learned Gaussian mixture.

    Forward, from the real line into (0, 1), elementwise, with w the softmax of
    learned logits and K components for each coordinate::

        y = F(x) = Σ_k w_k · Φ((x - μ_k) / σ_k)
        log|det ∂y/∂x| = Σ_i log Σ_k w_k · φ((x_i - μ_k) / σ_k) / σ_k

    The inverse is the root of F(x) = y, found within the bracket that the
    components' own quantiles give, and differentiated implicitly: gradients with
    respect to y and to the weights are exact. Densities, F near 0 and the root are
    computed in logarithms and stay accurate in the tails. Near 1 the floating-point
    numbers themselves run out: y stops at the largest below 1, while the log-det
    stays exact.

    Towards the data, as the last stage of density estimation, this stands inverted:
    `tfb.Invert(MixtureCDF(4))` has a base on (0, 1) and data on the real line.

    Args:
      components: K ≥ 1. Their means start evenly over [-3, 3], with standard
        deviations equal to the spacing and equal weights.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `components` is not a whole number ≥ 1.

    Example:
      >>> bijector = MixtureCDF(1)
      >>> bijector.forward([[0.0]]).numpy().tolist()
      [[0.5]]
      >>> print(bijector.inverse([[0.975]]).numpy().round(2))
      [[1.96]]

    Source: Ho et al. (2019), "Flow++", eq. 12 (with logistic components); implicit
    gradients, Figurnov, Mohamed and Mnih (2018), "Implicit reparameterization
    gradients", eq. 4.
    """

    def __init__(
        self,
        components: int = 8,
        *,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        components = _checks.positive_int(components, "components")
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        count = self.parameters["components"]
        means = np.linspace(-3.0, 3.0, count) if count > 1 else np.zeros(1)
        spacing = 6.0 / (count - 1) if count > 1 else 1.0

        def variable(row: np.ndarray, name: str) -> tf.Variable:
            return tf.Variable(
                np.tile(row, (event_size, 1)).astype(dtype.as_numpy_dtype),
                trainable=self.parameters["trainable"],
                name=name,
            )

        self._logits = variable(np.zeros(count), "logits")
        self._means = variable(means, "means")
        self._log_scales = variable(np.full(count, math.log(spacing)), "log_scales")

    @property
    def mixture(self) -> tfp.distributions.MixtureSameFamily:
        """The mixture whose CDF this is, with batch shape `(event_size,)`.

        Raises:
          ValueError: the weights do not exist yet.
        """
        if self.event_size is None:
            raise ValueError("The mixture exists after `build(event_size)`.")
        tfd = tfp.distributions
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=self._logits),
            tfd.Normal(self._means, tf.exp(self._log_scales)),
        )

    def _standardized(self, x: tf.Tensor) -> tf.Tensor:
        return (x[..., tf.newaxis] - self._means) * tf.exp(-self._log_scales)

    def _log_cdf(self, x: tf.Tensor, sign: int = 1) -> tf.Tensor:
        """Returns log F(x), or log(1 - F(x)) for `sign=-1`."""
        log_parts = tfp.distributions.Normal(
            tf.zeros([], x.dtype), tf.ones([], x.dtype)
        ).log_cdf(sign * self._standardized(x))
        return tf.reduce_logsumexp(tf.nn.log_softmax(self._logits) + log_parts, -1)

    def _log_pdf(self, x: tf.Tensor) -> tf.Tensor:
        z = self._standardized(x)
        log_parts = -0.5 * z**2 - self._log_scales - 0.5 * math.log(2 * math.pi)
        return tf.reduce_logsumexp(tf.nn.log_softmax(self._logits) + log_parts, -1)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        y = tf.exp(self._log_cdf(x))
        # Kept inside (0, 1) without a kink in the gradient.
        y += tf.stop_gradient(_inside(y) - y)
        return y, tf.reduce_sum(self._log_pdf(x), -1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = self._quantile(y)
        return x, -tf.reduce_sum(self._log_pdf(x), -1)

    def _quantile(self, y: tf.Tensor) -> tf.Tensor:
        """Returns the root of F(x) = y, differentiable in y and the weights."""
        outside = (y < 0) | (y > 1)
        y += tf.stop_gradient(_inside(y) - y)
        target = tf.math.log(y) - tf.math.log1p(-y)

        def excess(x: tf.Tensor) -> tf.Tensor:
            # In log-odds F is nearly straight in both tails.
            return self._log_cdf(x) - self._log_cdf(x, -1) - target

        # Each component alone would put y at its own quantile: F lies between.
        quantiles = self._means + tf.exp(self._log_scales) * tf.math.ndtri(
            tf.stop_gradient(y)[..., tf.newaxis]
        )
        low, high = tf.reduce_min(quantiles, -1), tf.reduce_max(quantiles, -1)
        margin = 1e-3 * (1 + tf.abs(low) + tf.abs(high))
        root = tfp.math.find_root_chandrupatla(
            excess,
            tf.stop_gradient(low - margin),
            tf.stop_gradient(high + margin),
            position_tolerance=0.0,
            max_iterations=_MAX_ITERATIONS,
        ).estimated_root
        root = tf.ensure_shape(tf.stop_gradient(root), y.shape)
        # One Newton step changes the root by less than its error, and carries the
        # gradient: dx = -(∂excess/∂θ dθ - dtarget) / (∂excess/∂x).
        log_slope = self._log_pdf(root) - self._log_cdf(root) - self._log_cdf(root, -1)
        x = root - excess(root) * tf.stop_gradient(tf.exp(-log_slope))
        return tf.where(outside, tf.constant(math.nan, x.dtype), x)


def _inside(y: tf.Tensor) -> tf.Tensor:
    """Returns `y` moved off 0 and 1 by the least that its dtype allows."""
    limits = np.finfo(y.dtype.as_numpy_dtype)
    return tf.clip_by_value(y, limits.tiny, 1 - limits.epsneg)
