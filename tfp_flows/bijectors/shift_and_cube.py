"""ShiftAndCube: bends the plane along a cubic and preserves volumes."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.parameters import Parameters, check_given, check_number

__all__ = ["ShiftAndCube"]


@register
class ShiftAndCube(Bijector):
    """Adds the cube of one coordinate to another.

    Forward, base to data, with a the coefficient::

        y[target] = x[target] + a · x[source]³,    all other y[i] = x[i]
        log|det ∂y/∂x| = 0

    This is a shear: its Jacobian changes from point to point, and its determinant is 1.

    Args:
      coefficient: a, any number; learned. A variable or tensor is used as it is.
        Drawn from Normal(3, 1) when None.
      source: index of the coordinate that is cubed.
      target: index of the coordinate to which the cube is added.
      hidden: widths of the hidden layers of the network that maps a context to what
        is added to a.
      seed: of the draw, when `coefficient` is None, and of that network.
      context_size: width of a context that a depends on; 0 for none.
      trainable: False freezes the coefficient.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `source` equals `target`, is negative, or is beyond the width of
        the points; or `coefficient` is a variable or tensor, and there is a context.

    Example:
      >>> bijector = ShiftAndCube(2.0)
      >>> bijector.forward([[1.0, 0.0], [-1.0, 5.0]]).numpy().tolist()
      [[1.0, 2.0], [-1.0, 3.0]]
      >>> bijector.forward_log_det_jacobian([[1.0, 0.0]]).numpy().tolist()
      [0.0]

    Source: additive coupling, Dinh, Krueger and Bengio (2014), "NICE", eq. 9, with
    the cubic x ↦ a·x³ in place of a network.
    """

    def __init__(
        self,
        coefficient: Any = None,
        source: int = 0,
        target: int = 1,
        *,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        for label, index in (("source", source), ("target", target)):
            if not isinstance(index, (int, np.integer)) or index < 0:
                raise ValueError(
                    f"`{label}` must be the index of a coordinate. Received: {index!r}."
                )
        if source == target:
            raise ValueError(
                "`source` and `target` must be different coordinates. "
                f"Received: {source} for both."
            )
        if coefficient is not None:
            check_number(coefficient, "coefficient")
        check_given(coefficient, "coefficient", context_size)
        hidden = networks.as_hidden(hidden)
        if context_size:
            seed = as_seed(seed)
        if coefficient is None:
            generator = np.random.default_rng(as_seed(seed))
            coefficient = float(generator.normal(3.0, 1.0))
        source, target = int(source), int(target)
        super().__init__(locals(), dtype=dtype, name=name)
        self._source, self._target = source, target

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        highest = max(self._source, self._target)
        if highest >= event_size:
            raise ValueError(
                f"ShiftAndCube needs points with a coordinate {highest}. Received "
                f"points of width {event_size}."
            )
        given = self.parameters
        self._learned = Parameters(
            {"coefficient": given["coefficient"]},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _sheared(self, x: tf.Tensor, sign: int) -> tuple[tf.Tensor, tf.Tensor]:
        coefficient = self._learned(self._context_at(x))["coefficient"]
        cubes = coefficient * x[..., self._source] ** 3
        onto = tf.one_hot(self._target, self.event_size, dtype=x.dtype)
        return x + sign * cubes[..., tf.newaxis] * onto, tf.zeros_like(cubes)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._sheared(x, +1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._sheared(y, -1)
