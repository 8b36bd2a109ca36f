"""MaskedAutoregressive and IAF: autoregressive bijectors that scale and shift."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.bijectors.autoregressive import Autoregressive
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.affine import AffineMap

__all__ = ["IAF", "MaskedAutoregressive"]


@register
class MaskedAutoregressive(Autoregressive):
    """Scales and shifts each coordinate by a network of those before it (MAF).

    Inverse, data to base, for the natural order::

        x_i = (y_i - t_i) · exp(-s_i),    s_i = c_i · tanh(s_i' / c_i)
        (s_i', t_i) = network(y_1, …, y_{i-1})
        log|det ∂x/∂y| = -Σ s

    with a learned c_i > 0 for each coordinate, 1 at the start: it bounds how far one
    layer may stretch. The density takes one pass of the network; forward, which
    sampling uses, takes one after the other for each of the d coordinates. `IAF` is
    the other way round.

    Args:
      order: of the coordinates: "natural", "reversed", or a permutation of 0, …, d-1
        that names the first coordinate first.
      hidden: widths of the network's hidden layers; from d - 1 on, or d with a
        context, each coordinate sees all those before it.
      activation: of the hidden layers, a Keras name or function.
      residual: whether the hidden layers are residual blocks, of one width, such as
        (64, 64) for two.
      network: any Keras layer from `(n, d + context_size)` to `(n, d, 2)`, (s', t)
        of each coordinate from those before it alone, in place of `hidden`,
        `activation`, `residual` and `identity_start`: such as `networks.MaskedMLP`
        with this order.
      identity_start: whether to begin with y = x, by zeros in the network's last
        layer; otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside the coordinates;
        0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: an order that is not a permutation, or not of the points' width; a
        network with outputs of another shape, or that sees later coordinates.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> bijector = MaskedAutoregressive(identity_start=False, seed=0)
      >>> y = np.array([[0.5, -1.0, 2.0], [0.5, -1.0, 9.0]], "float32")
      >>> x = bijector.inverse(y).numpy()
      >>> (x[0] == x[1]).tolist()  # no other depends on the third
      [True, True, False]
      >>> np.allclose(bijector.forward(x), y, atol=1e-5)
      True

    Source: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for
    density estimation", section 3.1.
    """

    def __init__(
        self,
        order: str | Sequence[int] = "natural",
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        residual: bool = False,
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
            order,
            hidden=hidden,
            activation=activation,
            residual=residual,
            network=network,
            identity_start=identity_start,
            seed=seed,
            context_size=context_size,
            trainable=trainable,
            dtype=dtype,
            name=name,
        )


@register
class IAF(Autoregressive):
    """Scales and shifts each coordinate by a network of the base's before it.

    Forward, base to data, for the natural order::

        y_i = (x_i - t_i) · exp(-s_i),    s_i = c_i · tanh(s_i' / c_i)
        (s_i', t_i) = network(x_1, …, x_{i-1})
        log|det ∂y/∂x| = -Σ s

    This is the inverse of `MaskedAutoregressive` on the same weights: sampling takes
    one pass of the network, and the density of points that are not its own samples
    takes d, one after the other. It is meant for flows that are fitted by their own
    samples, as in variational inference.

    Args:
      order: of the coordinates: "natural", "reversed", or a permutation of 0, …, d-1
        that names the first coordinate first.
      hidden: widths of the network's hidden layers; from d - 1 on, or d with a
        context, each coordinate sees all those before it.
      activation: of the hidden layers, a Keras name or function.
      residual: whether the hidden layers are residual blocks, of one width, such as
        (64, 64) for two.
      network: any Keras layer from `(n, d + context_size)` to `(n, d, 2)`, (s', t)
        of each coordinate from those before it alone, in place of `hidden`,
        `activation`, `residual` and `identity_start`: such as `networks.MaskedMLP`
        with this order.
      identity_start: whether to begin with y = x, by zeros in the network's last
        layer; otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside the coordinates;
        0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: an order that is not a permutation, or not of the points' width; a
        network with outputs of another shape, or that sees later coordinates.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> bijector = IAF(identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0, 2.0]], "float32")
      >>> maf = MaskedAutoregressive(identity_start=False, seed=0)
      >>> np.array_equal(bijector.forward(x), maf.inverse(x))
      True

    Source: Kingma et al. (2016), "Improved variational inference with inverse
    autoregressive flow"; in this form, Papamakarios, Pavlakou and Murray (2017),
    "Masked autoregressive flow for density estimation", section 3.2.
    """

    _samples_in_one_pass = True

    def __init__(
        self,
        order: str | Sequence[int] = "natural",
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        residual: bool = False,
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
            order,
            hidden=hidden,
            activation=activation,
            residual=residual,
            network=network,
            identity_start=identity_start,
            seed=seed,
            context_size=context_size,
            trainable=trainable,
            dtype=dtype,
            name=name,
        )
