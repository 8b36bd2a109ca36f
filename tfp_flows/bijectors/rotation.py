"""Rotation2D and Rotation: turn the plane, or any space, about the origin."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, learnable, register
from tfp_flows.bijectors.matrices import random_rotation, strictly_lower, transformed
from tfp_flows.bijectors.parameters import Parameters, check_given, check_number

__all__ = ["Rotation", "Rotation2D"]


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
      hidden: widths of the hidden layers of the network that maps a context to what
        is added to θ.
      seed: of the draw, when `angle` is None, and of that network.
      context_size: width of a context that θ depends on; 0 for none.
      trainable: False freezes the angle.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: the points are not of width 2; or `angle` is a variable or tensor,
        and there is a context.

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
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if angle is not None:
            check_number(angle, "angle")
        check_given(angle, "angle", context_size)
        hidden = networks.as_hidden(hidden)
        if context_size:
            seed = as_seed(seed)
        if angle is None:
            generator = np.random.default_rng(as_seed(seed))
            angle = float(generator.uniform(0.0, 2 * math.pi))
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)

    @property
    def required_event_size(self) -> int:
        """2, since it turns a plane."""
        return 2

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        if event_size != 2:
            raise ValueError(
                f"Rotation2D needs points of width 2. Received width {event_size}."
            )
        given = self.parameters
        self._learned = Parameters(
            {"angle": given["angle"]},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _turned(self, x: tf.Tensor, sign: int) -> tuple[tf.Tensor, tf.Tensor]:
        angle = sign * self._learned(self._context_at(x))["angle"]
        cos, sin = tf.cos(angle), tf.sin(angle)
        first, second = x[..., 0], x[..., 1]
        y = tf.stack([cos * first - sin * second, sin * first + cos * second], -1)
        return y, tf.zeros_like(first)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._turned(x, +1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._turned(y, -1)


@register
class Rotation(Bijector):
    """Turns a space of any width about the origin.

    Forward, base to data, with A skew-symmetric, learned, and R_0 fixed::

        y = R R_0 x,    R = (I - A/2)⁻¹ (I + A/2)
        log|det ∂y/∂x| = 0,  the determinant being +1

    R is Cayley's transform: every rotation without a half-turn, in the plane by the
    angle 2 arctan(a/2), which is a for small ones. It is orthogonal to rounding, and
    its inverse is its transpose.

    Args:
      identity_start: whether to begin with y = x; otherwise R_0 is drawn uniformly
        among all rotations. It is a weight that is not trained.
      hidden: widths of the hidden layers of the network that maps a context to A.
      seed: of R_0 and of that network; drawn when None.
      context_size: width of a context that A depends on; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `hidden` or `seed` is not what it must be.

    Example:
      >>> import numpy as np
      >>> rotation = Rotation(identity_start=False, seed=0)
      >>> x = np.array([[1.0, 2.0, 2.0]], "float32")
      >>> round(float(np.linalg.norm(rotation.forward(x))), 5)
      3.0

    Source: Helfrich, Willmott and Ye (2018), "Orthogonal recurrent neural networks
    with scaled Cayley transform", sec. 3, with R_0 in place of the scaling.
    """

    def __init__(
        self,
        *,
        identity_start: bool = True,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        hidden = networks.as_hidden(hidden)
        seed = as_seed(seed)
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        self._start = None
        if not given["identity_start"]:
            matrix = random_rotation(event_size, given["seed"])
            self._start = learnable(matrix, dtype, trainable=False, name="start")
        self._learned = None
        if event_size > 1:  # the only rotation of a line is the identity
            self._learned = Parameters(
                {"entries": np.zeros(event_size * (event_size - 1) // 2)},
                context_size=self.context_size,
                hidden=given["hidden"],
                seed=given["seed"],
                trainable=given["trainable"],
                dtype=dtype,
            )

    def _turn(self, points: tf.Tensor) -> tf.Tensor:
        """Returns R, one matrix or one for each point."""
        if self._learned is None:
            return tf.ones([1, 1], points.dtype)
        half = strictly_lower(self._learned(self._context_at(points))["entries"]) / 2
        skew = half - tf.linalg.matrix_transpose(half)
        identity = tf.eye(self.event_size, dtype=points.dtype)
        return tf.linalg.solve(identity - skew, identity + skew)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        started = x if self._start is None else transformed(x, self._start)
        return transformed(started, self._turn(x)), tf.zeros_like(x[..., 0])

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        x = transformed(y, self._turn(y), transpose=True)
        if self._start is not None:
            x = transformed(x, self._start, transpose=True)
        return x, tf.zeros_like(y[..., 0])
