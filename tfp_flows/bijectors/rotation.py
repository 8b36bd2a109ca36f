"""Rotation2D: turns the plane about the origin."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._checks import as_seed
from tfp_flows.bijectors.base import Bijector, learnable, register

__all__ = ["Rotation2D"]


@register
class Rotation2D(Bijector):
    """Turns the plane counter-clockwise about the origin.

    Forward, base to data, with θ the angle::

        y[0] = cos θ · x[0] - sin θ · x[1]
        y[1] = sin θ · x[0] + cos θ · x[1]
        log|det ∂y/∂x| = 0,  the determinant being +1

    Args:
      angle: θ in radians, any number; learned. A variable or tensor is used as it
        is. Drawn from Uniform(0, 2π) when None.
      seed: of the draw, when `angle` is None.
      trainable: False freezes the angle.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: the points are not of width 2.

    Example:
      >>> import math
      >>> quarter = Rotation2D(math.pi / 2)
      >>> print(abs(quarter.forward([[1.0, 0.0]]).numpy().round(6)))
      [[0. 1.]]
      >>> print(abs(quarter.inverse([[0.0, 1.0]]).numpy().round(6)))
      [[1. 0.]]
    """

    def __init__(
        self,
        angle: Any = None,
        *,
        seed: int | None = None,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if angle is None:
            generator = np.random.default_rng(as_seed(seed))
            angle = float(generator.uniform(0.0, 2 * math.pi))
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)
        self._trainable = trainable
        self._angle = angle

    @property
    def required_event_size(self) -> int:
        """2: it turns a plane."""
        return 2

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        if event_size != 2:
            raise ValueError(
                f"Rotation2D needs points of width 2. Received width {event_size}."
            )
        self._angle = learnable(
            self._angle, dtype, trainable=self._trainable, name="angle"
        )

    def _turned(self, x: tf.Tensor, sign: int) -> tuple[tf.Tensor, tf.Tensor]:
        angle = sign * tf.convert_to_tensor(self._angle)
        cos, sin = tf.cos(angle), tf.sin(angle)
        first, second = x[..., 0], x[..., 1]
        y = tf.stack([cos * first - sin * second, sin * first + cos * second], -1)
        return y, tf.zeros_like(first)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._turned(x, +1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._turned(y, -1)
