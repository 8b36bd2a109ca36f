"""SplineCoupling: a coupling that bends coordinates by splines."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.elementwise.rational_quadratic import RationalQuadraticMap

__all__ = ["SplineCoupling"]


@register
class SplineCoupling(Coupling):
    """Bends some coordinates by monotone splines that a network of the others chooses.

    For a binary mask b, with g_i the rational-quadratic spline of K bins that the
    network chooses for coordinate i. From the data's side, inverse::

        x[b] = y[b]
        x[i] = g_i(y[i])    for the others
        log|det ∂x/∂y| = Σ log g_i'(y[i])

    With `affine` the network also scales and shifts, by s = 3 tanh(s'/3) and t::

        x[i] = g_i((y[i] - t_i) · exp(-s_i)),    log|det ∂x/∂y| = Σ log g_i' - s_i

    which a spline alone must imitate by moving all its bins.

    The inverse, which training uses, evaluates the splines; forward, which sampling
    uses, solves a quadratic equation in each bin. A spline bends its box, and is the
    identity outside: points out there keep a correct density, but nothing is learned
    about them. `Flow.fit` warns of more than one in a hundred.

    Args:
      mask: which coordinates stay: "alternating" (1, 0, 1, 0, …), "halves" (the
        first half stays), or an array of `event_size` zeros and ones.
      flip: whether to exchange the coordinates that stay with those that are mapped.
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
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`; twice the number that
        stay for angles.
      identity_start: whether to begin with y = x, by zeros in the last dense layer;
        otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside x[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to be mapped; fewer than two bins; a box without width.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> coupling = SplineCoupling(box=3.0, identity_start=False, seed=0)
      >>> y = coupling.forward(np.array([[0.5, -1.0], [0.5, 10.0]], "float32")).numpy()
      >>> y[:, 0].tolist(), y[1, 1].item()  # one stays; 10 is outside of the box
      ([0.5, 0.5], 10.0)

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", eq.
    4-8; for angles, Rezende et al. (2020), "Normalizing flows on tori and spheres".
    """

    def __init__(
        self,
        mask: str | Sequence[int] = "alternating",
        *,
        flip: bool = False,
        bins: int = 8,
        box: str | float | tuple[float, float] = "data",
        affine: bool = False,
        circular: bool = False,
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
            RationalQuadraticMap(bins, box=box, affine=affine, circular=circular),
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
