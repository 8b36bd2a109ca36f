"""AutoregressiveSpline: an autoregressive bijector that bends by splines."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.bijectors.autoregressive import Autoregressive
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.rational_quadratic import RationalQuadraticMap

__all__ = ["AutoregressiveSpline"]


@register
class AutoregressiveSpline(Autoregressive):
    """Bends each coordinate by a monotone spline that those before it choose.

    With g_i the rational-quadratic spline of K bins that the network chooses for
    coordinate i. From the data's side, inverse, for the natural order::

        x_i = g_i(y_i),    g_i chosen by network(y_1, …, y_{i-1})
        log|det ∂x/∂y| = Σ log g_i'(y_i)

    With `affine` the network also scales and shifts, by s = 3 tanh(s'/3) and t::

        x_i = g_i((y_i - t_i) · exp(-s_i)),    log|det ∂x/∂y| = Σ log g_i' - s_i

    which a spline alone must imitate by moving all its bins.

    The inverse, which training uses, takes one pass of the network; forward, which
    sampling uses, takes one after the other for each of the d coordinates, and solves
    a quadratic equation in each. A spline bends its box, and is the identity outside:
    points out there keep a correct density, but nothing is learned about them.
    `Flow.fit` warns of more than one in a hundred.

    Args:
      order: of the coordinates: "natural", "reversed", or a permutation of 0, …, d-1
        that names the first coordinate first.
      bins: K ≥ 2 of each spline. No bin is narrower than 1e-3 of the box, no slope
        at a knot less than 1e-3.
      box: the interval that is bent: "data" fits one for each coordinate to the points
        that reach it, at `Flow.adapt` or the first `fit` (it covers 99.9% of them,
        and a tenth more on either side; [-5, 5] before that); or b for [-b, b], or
        (low, high).
      affine: whether to scale and shift too; not for angles.
      circular: whether all coordinates are angles in radians, where -π and π are one
        point: the splines agree there and are turned by a phase, the box is [-π, π),
        and the network sees cosines and sines.
      hidden: widths of the network's hidden layers; from d - 1 on, or d with a
        context, each coordinate sees all those before it.
      activation: of the hidden layers, a Keras name or function.
      residual: whether the hidden layers are residual blocks, of one width, such as
        (64, 64) for two.
      network: any Keras layer from `(n, d + context_size)`, or `(n, 2d +
        context_size)` for angles, to `(n, d, 3K - 1)`, with `affine` 3K + 1, for
        angles 3K + 1, where the outputs for a coordinate depend on those before it
        alone; in place of `hidden`, `activation`, `residual` and `identity_start`.
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
      ValueError: an order that is not a permutation, or not of the points' width;
        fewer than two bins; a box without width; a network with outputs of another
        shape, or that sees later coordinates.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> bijector = AutoregressiveSpline(box=3.0, identity_start=False, seed=0)
      >>> y = np.array([[0.5, -1.0, 2.0], [0.5, -1.0, 10.0]], "float32")
      >>> x = bijector.inverse(y).numpy()
      >>> (x[0] == x[1]).tolist(), x[1, 2].item()  # 10 is outside of the box
      ([True, True, False], 10.0)

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", eq.
    4-8 (RQ-NSF (AR)); for angles, Rezende et al. (2020), "Normalizing flows on tori
    and spheres".
    """

    def __init__(
        self,
        order: str | Sequence[int] = "natural",
        *,
        bins: int = 8,
        box: str | float | tuple[float, float] = "data",
        affine: bool = False,
        circular: bool = False,
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
            RationalQuadraticMap(bins, box=box, affine=affine, circular=circular),
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
