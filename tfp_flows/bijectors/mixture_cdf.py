"""MixtureCDF: the distribution function of a learned mixture, elementwise."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.bracketed_root import bracketed_root
from tfp_flows.bijectors.mixtures import GaussianMixture
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["MixtureCDF"]


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
    computed in logarithms and stay accurate in the tails. Near 1, y stops at the
    largest number of the dtype below 1, while the log-det stays exact.

    Towards the data, as the last stage of density estimation, this stands inverted:
    `tfb.Invert(MixtureCDF(4))` has a base on (0, 1) and data on the real line.

    Args:
      components: K ≥ 1. Their means start evenly over [-3, 3], with standard
        deviations equal to the spacing and equal weights.
      hidden: widths of the hidden layers of the network that maps a context to what
        is added to the logits, the means and log σ.
      seed: of that network; drawn when None.
      context_size: width of a context that the mixture depends on; 0 for none.
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
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        components = checks.positive_size(components, "components")
        hidden = networks.as_hidden(hidden)
        if context_size:
            seed = checks.as_seed(seed)
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        count = given["components"]
        means = np.linspace(-3.0, 3.0, count) if count > 1 else np.zeros(1)
        spacing = 6.0 / (count - 1) if count > 1 else 1.0
        rows = {
            "logits": np.zeros(count),
            "means": means,
            "log_scales": np.full(count, math.log(spacing)),
        }
        self._learned = Parameters(
            {name: np.tile(row, (event_size, 1)) for name, row in rows.items()},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    @property
    def mixture(self) -> tfp.distributions.MixtureSameFamily:
        """The mixture whose CDF this is, with batch shape `(event_size,)`.

        With a context bound, the batch shape is `(*context.shape[:-1], event_size)`.

        Raises:
          ValueError: the weights do not exist yet, or the context is not bound.
        """
        if self.event_size is None:
            raise ValueError("The mixture exists after `build(event_size)`.")
        if self.context_size and self._context is None:
            raise ValueError("There is one for each context: `given(context).mixture`.")
        context = self._context
        if context is not None:
            context = tf.cast(context, self.dtype)
        learned = self._learned(context)
        tfd = tfp.distributions
        return tfd.MixtureSameFamily(
            tfd.Categorical(logits=learned["logits"]),
            tfd.Normal(learned["means"], tf.exp(learned["log_scales"])),
        )

    def _mixture_at(self, points: tf.Tensor) -> GaussianMixture:
        return GaussianMixture(**self._learned(self._context_at(points)))

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixture = self._mixture_at(x)
        y = tf.exp(mixture.log_cdf(x))
        # Values are kept inside (0, 1) without changing the gradient.
        y += tf.stop_gradient(_inside(y) - y)
        return y, tf.reduce_sum(mixture.log_pdf(x), -1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixture = self._mixture_at(y)
        outside = (y < 0) | (y > 1)
        y += tf.stop_gradient(_inside(y) - y)
        # In log-odds F is nearly straight in both tails.
        log_odds = tf.math.log(y) - tf.math.log1p(-y)
        bracket = mixture.quantiles(tf.math.ndtri(y))
        x = bracketed_root(mixture.log_odds, mixture.log_slope, log_odds, *bracket)
        x = tf.where(outside, tf.constant(math.nan, x.dtype), x)
        return x, -tf.reduce_sum(mixture.log_pdf(x), -1)


def _inside(y: tf.Tensor) -> tf.Tensor:
    """Returns `y` clipped to the numbers of its dtype within (0, 1)."""
    limits = np.finfo(y.dtype.as_numpy_dtype)
    return tf.clip_by_value(y, limits.tiny, 1 - limits.epsneg)
