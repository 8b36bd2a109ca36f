"""MixtureCDFMap: bends the line by the CDF of a mixture of logistics."""

import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.bracketed_root import bracketed_root
from tfp_flows.bijectors.elementwise.base import ElementwiseMap, bounded
from tfp_flows.bijectors.mixtures import LogisticMixture

__all__ = ["MixtureCDFMap"]

# The components' means at the start lie evenly between -this and this.
_FARTHEST_MEAN = 2.0

# Bounds of |log s| and |log κ|, and of |a|.
_MAX_LOG_SCALE, _MAX_LOG_STRETCH = 5.0, 3.0

# Least slope of h, as for splines: no gap between components can trap the root finder.
_MIN_SLOPE = 1e-3


@register
class MixtureCDFMap(ElementwiseMap):
    """Bends the line by the log-odds of a mixture of logistics, then scales and shifts.

    With σ the logistic function and parameters π, μ, s, κ, a and c of each coordinate.
    Inverse, data to base::

        x = h(y) · exp(a) + c,    h(v) = logit F(v) + κ · (v - logit F₀(v)),
                                  F(v) = Σ_k π_k · σ((v - μ_k) / s_k)
        log(dx/dy) = log h'(y) + a

    The inverse is computed in logarithms, finite and with straight tails however far
    the number; forward is found by a bracketing root finder, and differentiated
    implicitly.

    F₀ is what F starts as: K components of weight 1/K, evenly over [-2, 2], s = 1. With
    κ = 1 at the start h is the identity, exactly, and its components lie apart. In the
    source, where κ = 0, h is the identity only where all components are equal, and
    equal ones get equal gradients: K of them would never become more than one. No
    component of F₀ is steeper than 1, so neither is logit F₀, and h increases for every
    κ > 0. For safety 1e-3 of h is v, |log s| < 5, |log κ| < 5 and |a| < 3.

    Args:
      components: K ≥ 1 of each mixture.

    Raises:
      ValueError: `components` is not a whole number ≥ 1.

    Example:
      >>> import numpy as np
      >>> from tfp_flows.bijectors import Autoregressive
      >>> bijector = Autoregressive(MixtureCDFMap(3), identity_start=False, seed=0)
      >>> y = np.array([[0.5, 1e6]], "float32")
      >>> bool(np.isfinite(bijector.inverse(y)).all())
      True

    Source: Ho et al. (2019), "Flow++: Improving flow-based generative models with
    variational dequantization and architecture design", eq. 11-13; κ is ours.
    """

    def __init__(self, components: int = 8) -> None:
        self.components = checks.positive_size(components, "components")
        self.parameter_count = 3 * self.components + 3

    def forward(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx)."""
        stretch, shift, bend = _parts(parameters)
        y = bend.inverse((x - shift) * tf.exp(-stretch))
        return y, -(bend.log_slope(y) + stretch)

    def inverse(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x and log(dx/dy)."""
        stretch, shift, bend = _parts(parameters)
        return bend(y) * tf.exp(stretch) + shift, bend.log_slope(y) + stretch


def _parts(parameters: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, "_Bend"]:
    """Returns a, c and h."""
    stretch, shift, share = tf.unstack(parameters[..., :3], axis=-1)
    return bounded(stretch, _MAX_LOG_STRETCH), shift, _Bend(parameters[..., 3:], share)


class _Bend:
    """h(v) = 1e-3 · v + (1 - 1e-3) · (logit F(v) + κ · (v - logit F₀(v))).

    Args:
      raw: parameters of the components, `(..., 3K)`; zeros give F₀.
      raw_share: parameter of κ, `(...)`; zero gives κ = 1.
    """

    def __init__(self, raw: tf.Tensor, raw_share: tf.Tensor) -> None:
        self._mixture = _mixture(raw)
        # Computed like F, so that at the start the two agree to the last bit.
        self._start = _mixture(tf.zeros_like(raw))
        self._share = tf.exp(bounded(raw_share, _MAX_LOG_SCALE))

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        """Returns h(v)."""
        start = self._start.log_odds(v)
        bent = self._mixture.log_odds(v) - start + (self._share - 1) * (v - start)
        return v + (1 - _MIN_SLOPE) * bent

    def log_slope(self, v: tf.Tensor) -> tf.Tensor:
        """Returns log h'(v)."""
        lacking = -tf.math.expm1(self._start.log_slope(v))
        slope = tf.exp(self._mixture.log_slope(v)) + self._share * lacking
        return tf.math.log(_MIN_SLOPE + (1 - _MIN_SLOPE) * slope)

    def inverse(self, u: tf.Tensor) -> tf.Tensor:
        """Returns the v with h(v) = u."""
        # |v - logit F₀(v)| is at most the largest mean of F₀. The rest of h is a
        # weighted mean of v and logit F(v): the root lies between the roots of these.
        reach = self._share * _FARTHEST_MEAN
        low, _ = self._mixture.quantiles(u - reach)
        _, high = self._mixture.quantiles(u + reach)
        low, high = tf.minimum(low, u), tf.maximum(high, u)
        return bracketed_root(self, self.log_slope, u, low, high)


def _mixture(raw: tf.Tensor) -> LogisticMixture:
    logits, means, log_scales = tf.split(raw, 3, axis=-1)
    count = logits.shape[-1]
    start = (
        np.linspace(-_FARTHEST_MEAN, _FARTHEST_MEAN, count)
        if count > 1
        else np.zeros(1)
    )
    return LogisticMixture(
        logits,
        means + tf.constant(start, raw.dtype),
        bounded(log_scales, _MAX_LOG_SCALE),
    )
