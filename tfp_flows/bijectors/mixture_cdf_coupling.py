"""MixtureCDFCoupling: bends some coordinates by the CDFs of mixtures of logistics."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.mixtures import LogisticMixture, bracketed_root

__all__ = ["MixtureCDFCoupling"]

# The components' means at the start, evenly between -this and this.
_SPREAD = 2.0

# Bounds of log s and log κ, and of a.
_MOST_LOG_SCALE, _MOST_LOG_STRETCH = 5.0, 3.0

# Of h, as for the slopes of splines: no gap between components traps the root finder.
_LEAST_SLOPE = 1e-3


@register
class MixtureCDFCoupling(Coupling):
    """Bends some coordinates by mixture CDFs that a network of the others chooses.

    For a binary mask b, and σ the logistic function. From the data's side, inverse, on
    each of the other coordinates, with π, μ, s, κ, a and c from network(y[b])::

        x[b] = y[b]
        x[i] = h(y[i]) · exp(a) + c,    h(v) = logit F(v) + κ · (v - logit F₀(v)),
                                        F(v) = Σ_k π_k · σ((v - μ_k) / s_k)
        log|det ∂x/∂y| = Σ log h'(y[i]) + a

    The inverse, which training uses, is computed in logarithms, finite and with
    straight tails however far the point; forward, which sampling uses, is found by a
    bracketing root finder, and differentiated implicitly.

    F₀ is what F starts as: K components of weight 1/K, evenly over [-2, 2], s = 1. With
    κ = 1 at the start h is the identity, exactly, and its components lie apart. In the
    source, where κ = 0, h is the identity only where all components are equal, and
    equal ones get equal gradients: K of them would never become more than one. No
    component of F₀ is steeper than 1, so neither is logit F₀, and h increases for every
    κ > 0. For safety 1e-3 of h is v, |log s| < 5, |log κ| < 5 and |a| < 3.

    Args:
      mask: which coordinates stay: "alternating" (1, 0, 1, 0, …), "halves" (the
        first half stays), or an array of `event_size` zeros and ones.
      flip: exchange the coordinates that stay with those that move.
      components: K ≥ 1 of each mixture.
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`.
      identity_start: begin with y = x, by zeros in the last dense layer; else it
        begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside y[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to move; `components` is not a whole number ≥ 1.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> coupling = MixtureCDFCoupling(identity_start=False, seed=0)
      >>> y = coupling.forward(np.array([[0.5, -1.0], [0.5, 1e6]], "float32")).numpy()
      >>> y[:, 0].tolist(), bool(np.isfinite(y).all())
      ([0.5, 0.5], True)

    Source: Ho et al. (2019), "Flow++: Improving flow-based generative models with
    variational dequantization and architecture design", eq. 11-13; κ is ours.
    """

    def __init__(
        self,
        mask: str | Sequence[int] = "alternating",
        *,
        flip: bool = False,
        components: int = 8,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        network: keras.Layer | None = None,
        identity_start: bool = True,
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        components = checks.positive_size(components, "components")
        super().__init__(locals())

    @property
    def _steering_size(self) -> int:
        return 3 * self.parameters["components"] + 3

    def _transform(
        self, moved: tf.Tensor, steering: tf.Tensor, inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        stretch, shift, share = tf.unstack(steering[..., :3], axis=-1)
        stretch = _bounded(stretch, _MOST_LOG_STRETCH)
        bend = _Bend(steering[..., 3:], share)
        if inverse:
            x = bend(moved) * tf.exp(stretch) + shift
            return x, tf.reduce_sum(bend.log_slope(moved) + stretch, -1)
        y = bend.inverse((moved - shift) * tf.exp(-stretch))
        return y, -tf.reduce_sum(bend.log_slope(y) + stretch, -1)


class _Bend:
    """h(v) = logit F(v) + κ · (v - logit F₀(v)), but for 1e-3 of it, which is v.

    Args:
      raw: of the components, `(..., 3K)`; zeros are F₀.
      raw_share: of κ, `(...)`; zeros are 1.
    """

    def __init__(self, raw: tf.Tensor, raw_share: tf.Tensor) -> None:
        self._mixture = _mixture(raw)
        # From as many zeros: at the start the two agree to the last bit.
        self._start = _mixture(tf.zeros_like(raw))
        self._share = tf.exp(_bounded(raw_share, _MOST_LOG_SCALE))

    def __call__(self, v: tf.Tensor) -> tf.Tensor:
        """Returns h(v)."""
        start = self._start.log_odds(v)
        bent = self._mixture.log_odds(v) - start + (self._share - 1) * (v - start)
        return v + (1 - _LEAST_SLOPE) * bent

    def log_slope(self, v: tf.Tensor) -> tf.Tensor:
        """Returns log h'(v)."""
        lacking = -tf.math.expm1(self._start.log_slope(v))
        slope = tf.exp(self._mixture.log_slope(v)) + self._share * lacking
        return tf.math.log(_LEAST_SLOPE + (1 - _LEAST_SLOPE) * slope)

    def inverse(self, u: tf.Tensor) -> tf.Tensor:
        """Returns the v with h(v) = u."""
        # v - logit F₀(v) is no further from 0 than a component of F₀. What is left is a
        # mean of v and logit F(v): the root lies between those of the two.
        reach = self._share * _SPREAD
        low, _ = self._mixture.quantiles(u - reach)
        _, high = self._mixture.quantiles(u + reach)
        low, high = tf.minimum(low, u), tf.maximum(high, u)
        return bracketed_root(self, self.log_slope, u, low, high)


def _mixture(raw: tf.Tensor) -> LogisticMixture:
    logits, means, log_scales = tf.split(raw, 3, axis=-1)
    count = logits.shape[-1]
    start = np.linspace(-_SPREAD, _SPREAD, count) if count > 1 else np.zeros(1)
    return LogisticMixture(
        logits,
        means + tf.constant(start, raw.dtype),
        _bounded(log_scales, _MOST_LOG_SCALE),
    )


def _bounded(raw: tf.Tensor, most: float) -> tf.Tensor:
    """Returns `raw` where it is small, and never more than `most` in size."""
    return most * tf.tanh(raw / most)
