"""Spline: bends each coordinate by a learned monotone spline."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.box import CIRCLE, Box, as_box
from tfp_flows.bijectors.parameters import Parameters
from tfp_flows.bijectors.rational_quadratic import spline, steering_size

__all__ = ["Spline"]


@register
class Spline(Bijector):
    """Bends each coordinate by a monotone rational-quadratic spline of its own.

    With g_i the spline of K bins of coordinate i, inverse, from the data's side::

        x[i] = g_i(y[i])
        log|det ∂x/∂y| = Σ log g_i'(y[i])

    It begins as the identity. Inverse evaluates the splines; forward solves a
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
        bins = checks.positive_size(bins, "bins")
        if bins < 2:
            raise ValueError(f"`bins` must be at least 2. Received: {bins}.")
        box = as_box(box)
        hidden = networks.as_hidden(hidden)
        seed = as_seed(seed)
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        size = steering_size(given["bins"], circular=given["circular"])
        self._box = Box(
            CIRCLE if given["circular"] else given["box"], event_size, dtype
        )
        self._parameters_of = Parameters(
            {"steering": np.zeros([event_size, size])},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    @property
    def needs_adaptation(self) -> bool:
        """Whether the box is to be fitted to data, and was not yet."""
        if self.event_size is None:
            return self._box_is_fitted
        return self._box.needs_adaptation

    @property
    def _box_is_fitted(self) -> bool:
        return self.parameters["box"] == "data" and not self.parameters["circular"]

    def adapt(self, y: Any) -> None:
        """Fits the box to points `(n, event_size)` on the data's side."""
        y = tf.convert_to_tensor(y)
        self.build(y.shape[-1], y.dtype)
        if self._box_is_fitted:
            self._box.adapt(y)

    def outside(self, y: tf.Tensor) -> tf.Tensor:
        """Returns, for points on the data's side, whether a spline does not reach them.

        Args:
          y: `(..., event_size)`.

        Returns:
          Booleans `(...)`; never True for angles.
        """
        outside = tf.reduce_any(self._box.is_outside(y), -1)
        return tf.zeros_like(outside) if self.parameters["circular"] else outside

    def _bent(self, x: tf.Tensor, *, invert: bool) -> tuple[tf.Tensor, tf.Tensor]:
        steering = self._parameters_of(self._context_at(x))["steering"]
        u, log_slopes = spline(
            self._box.to_unit(x),
            steering,
            circular=self.parameters["circular"],
            invert=invert,
        )
        return self._box.from_unit(u), tf.reduce_sum(log_slopes, -1)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._bent(x, invert=True)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._bent(y, invert=False)
