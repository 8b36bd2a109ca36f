"""AffineCoupling and AdditiveCoupling: couplings that scale and shift, or shift."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.elementwise.additive import AdditiveMap
from tfp_flows.bijectors.elementwise.affine import AffineMap

__all__ = ["AdditiveCoupling", "AffineCoupling"]


@register
class AffineCoupling(Coupling):
    """Scales and shifts some coordinates by a network of the others (RealNVP).

    Forward, base to data, for a binary mask b::

        y[b] = x[b]
        y[~b] = x[~b] · exp(s) + t,    s = c · tanh(s' / c),    (s', t) = network(x[b])
        log|det ∂y/∂x| = Σ s

    with a learned c > 0 for each mapped coordinate, 1 at the start: it bounds how far
    one layer may stretch, which keeps training stable.

    Args:
      mask: which coordinates stay: "alternating" (1, 0, 1, 0, …), "halves" (the
        first half stays), or an array of `event_size` zeros and ones.
      flip: whether to exchange the coordinates that stay with those that are mapped.
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`. A dense layer from
        its features to (s', t) follows in either case.
      identity_start: whether to begin with y = x, by zeros in that last dense layer;
        otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside x[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to be mapped.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> coupling = AffineCoupling(hidden=(16,), identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0, 2.0]], "float32")
      >>> y = coupling.forward(x).numpy()
      >>> (y == x).tolist()
      [[True, False, True]]

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real
    NVP", eq. 7-9; the bounded scale is that of its reference implementation.
    """

    def __init__(
        self,
        mask: str | Sequence[int] = "alternating",
        *,
        flip: bool = False,
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
            AffineMap(),
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


@register
class AdditiveCoupling(Coupling):
    """Shifts some coordinates by a network of the others (NICE).

    Forward, base to data, for a binary mask b::

        y[b] = x[b]
        y[~b] = x[~b] + t,    t = network(x[b])
        log|det ∂y/∂x| = 0

    Args:
      mask: which coordinates stay: "alternating" (1, 0, 1, 0, …), "halves" (the
        first half stays), or an array of `event_size` zeros and ones.
      flip: whether to exchange the coordinates that stay with those that are mapped.
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`. A dense layer from
        its features to t follows in either case.
      identity_start: whether to begin with y = x, by zeros in that last dense layer;
        otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside x[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to be mapped.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> coupling = AdditiveCoupling("halves", hidden=(16,), identity_start=False)
      >>> coupling.forward_log_det_jacobian([[0.5, -1.0], [3.0, 2.0]]).numpy().tolist()
      [0.0, 0.0]

    Source: Dinh, Krueger and Bengio (2014), "NICE: Non-linear independent components
    estimation", eq. 9.
    """

    def __init__(
        self,
        mask: str | Sequence[int] = "alternating",
        *,
        flip: bool = False,
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
            AdditiveMap(),
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
