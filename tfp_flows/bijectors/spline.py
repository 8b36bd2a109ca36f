"""Spline: bends each coordinate by a learned monotone spline."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.rational_quadratic import RationalQuadraticMap
from tfp_flows.bijectors.mapped import Mapped
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["Spline"]


@register
class Spline(Mapped):
    """Bends each coordinate by a monotone rational-quadratic spline of its own.

    With g_i the spline of K bins of coordinate i, inverse, from the data's side::

        x[i] = g_i(y[i])
        log|det ∂x/∂y| = Σ log g_i'(y[i])

    It begins as the identity. The inverse evaluates the splines; forward solves a
    quadratic equation in each bin. A spline bends its box and is the identity outside,
    where nothing is learned; `Flow.fit` warns of more than one point in a hundred.

    Args:
      bins: K ≥ 2 of each spline. No bin is narrower than 1e-3 of the box, no slope
        at a knot less than 1e-3.
      box: the interval that is bent: "data" fits one for each coordinate to the points
        that reach it, at `Flow.adapt` or the first `fit` (it covers 99.9% of them,
        and a tenth more on either side; [-5, 5] before that); or b for [-b, b], or
        (low, high).
      circular: the coordinates are angles in radians, and -π and π are one point: the
        splines agree there and are turned by a phase, and the box is [-π, π).
      hidden: widths of the hidden layers of the context's network.
      seed: of that network's initial weights; drawn when None.
      context_size: width of a context that chooses the splines; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: fewer than two bins, or a box without width.

    Example:
      >>> import numpy as np
      >>> bijector = Spline(bins=4, box=(0.0, 1.0))
      >>> np.allclose(bijector.inverse([[0.25], [7.0]]), [[0.25], [7.0]])
      True

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows", eq.
    4-8; for angles, Rezende et al. (2020), "Normalizing flows on tori and spheres".
    """

    def __init__(
        self,
        bins: int = 8,
        *,
        box: str | float | tuple[float, float] = "data",
        circular: bool = False,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        hidden = networks.as_hidden(hidden)
        seed = as_seed(seed)
        map = RationalQuadraticMap(bins, box=box, circular=circular)
        arguments = {**locals(), **map.get_config()}
        super().__init__(map, arguments, dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        self._build_map(event_size, dtype)
        self._learned = Parameters(
            {"parameters": np.zeros([event_size, self._map.parameter_count])},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _apply(
        self, function: Callable, points: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        parameters = self._learned(self._context_at(points))["parameters"]
        result, log_slopes = function(points, parameters, *self._map_weights())
        return result, tf.reduce_sum(log_slopes, -1)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self._map.forward, x)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self._map.inverse, y)
