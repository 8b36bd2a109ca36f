"""MixtureCDFCoupling: a coupling that bends coordinates by CDFs of mixtures."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.elementwise.mixture_cdf import MixtureCDFMap

__all__ = ["MixtureCDFCoupling"]


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
      flip: whether to exchange the coordinates that stay with those that are mapped.
      components: K ≥ 1 of each mixture.
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`.
      identity_start: whether to begin with y = x, by zeros in the last dense layer;
        otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside y[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to be mapped; `components` is not a whole number ≥ 1.
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
        super().__init__(
            MixtureCDFMap(components),
            mask,
            flip=flip,
            hidden=hidden,
            activation=activation,
            network=network,
            identity_start=identity_start,
            seed=seed,
            context_size=context_size,
            trainable=trainable,
            dtype=dtype,
            name=name,
        )
