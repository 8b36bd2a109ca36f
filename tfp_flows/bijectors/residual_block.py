"""ResidualBlock: the identity plus a contraction."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.numerical_inverse import find_root

__all__ = ["ResidualBlock"]

# Relative error at which Newton's method takes over from the fixed-point iteration.
_NEAR = 1e-3


@register
class ResidualBlock(Bijector):
    """Adds a contractive network of all coordinates.

    Forward, base to data, with |g(a) - g(b)| ≤ L · |a - b| for any two points::

        y = x + g(x)
        log|det ∂y/∂x| = log|det(I + J)|,    J = ∂g/∂x

    which lies between d · log(1 - L) and d · log(1 + L). It is exact, not an estimate:
    J is carried along through the network, at d times the work of g, and the
    determinant takes d³. That is cheap up to a few dozen coordinates.

    The inverse is the limit of x ← y - g(x), which L < 1 makes converge from anywhere;
    near it Newton's method takes over, to rounding, with implicit gradients (see
    `NumericalInverse`). It costs ten to thirty evaluations. A flow that is fitted
    to data takes `tfb.Invert(ResidualBlock())`: `log_prob` is then analytic, and only
    `sample` iterates.

    Args:
      hidden: widths of the hidden layers of g, a `networks.ContractiveMLP`.
      lipschitz: L, in (0, 1).
      identity_start: whether to begin with y = x, by zeros in the last layer of g.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that g sees beside x; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `lipschitz` is not in (0, 1); `hidden`, `seed` or `context_size` are
        not whole numbers in range.

    Example:
      >>> import numpy as np
      >>> block = ResidualBlock(hidden=(16,), identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0]])
      >>> y = block.forward(x).numpy()
      >>> bool(np.abs(block.inverse(y) - x).max() < 1e-12)
      True

    Source: Behrmann et al. (2019), "Invertible residual networks", theorem 1 and
    algorithm 1; Chen et al. (2019), "Residual flows for invertible generative
    modeling", eq. 1-2.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (64, 64),
        lipschitz: float = 0.9,
        identity_start: bool = True,
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        hidden = networks.as_hidden(hidden)
        networks.ContractiveMLP(1, hidden, lipschitz)  # checks `lipschitz`
        seed = as_seed(seed)
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        self._network = networks.ContractiveMLP(
            event_size,
            given["hidden"],
            given["lipschitz"],
            zero_start=given["identity_start"],
            seed=given["seed"],
            dtype=dtype.name,
        )
        # Keras weights are invisible to tf.Module, and so to TFP, without this.
        self._weights = networks.create_weights(
            [self._network],
            event_size + self.context_size,
            trainable=given["trainable"],
        )

    def _rows(self, x: tf.Tensor) -> tf.Tensor:
        """Returns what the network sees of points and context, `(n, ...)`."""
        context = self._context_at(x)
        seen = x if context is None else tf.concat([x, context], -1)
        return tf.reshape(seen, [-1, seen.shape[-1]])

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._value_and_log_det(x, self._network.scaled_kernels())

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        kernels = self._network.scaled_kernels()

        def forward(x: tf.Tensor) -> tf.Tensor:
            value = self._network.value(self._rows(x), kernels)
            return x + tf.reshape(value, tf.shape(x))

        start = self._approximate_root(forward, tf.stop_gradient(y))
        x = find_root(forward, y, start=start)
        return x, -self._value_and_log_det(x, kernels)[1]

    def _value_and_log_det(
        self, x: tf.Tensor, kernels: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        value, jacobian = self._network.value_and_jacobian(self._rows(x), kernels)
        y = x + tf.ensure_shape(tf.reshape(value, tf.shape(x)), x.shape)
        log_det = _log_determinant(tf.eye(self.event_size, dtype=x.dtype) + jacobian)
        log_det = tf.reshape(log_det, tf.shape(x)[:-1])
        return y, tf.ensure_shape(log_det, x.shape[:-1])

    def _approximate_root(self, forward: Callable, y: tf.Tensor) -> tf.Tensor:
        """Returns points near those that the block maps to y, by fixed-point steps."""

        def is_far(x: tf.Tensor, off: tf.Tensor) -> tf.Tensor:
            near = _NEAR * (1 + tf.reduce_max(tf.abs(x), -1))
            return tf.reduce_any(tf.reduce_max(tf.abs(off), -1) > near)

        def step(x: tf.Tensor, _: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
            off = y - forward(x)
            return x + off, off

        lipschitz = self.parameters["lipschitz"]
        x, _ = tf.while_loop(
            is_far,
            step,
            (y, tf.fill(tf.shape(y), tf.constant(math.inf, y.dtype))),
            # Each step multiplies the error by at most L.
            maximum_iterations=math.ceil(math.log(_NEAR**2) / math.log(lipschitz)),
        )
        return x


@tf.custom_gradient
def _log_determinant(matrix: tf.Tensor) -> tuple[tf.Tensor, Callable]:
    """Returns log|det| of `(n, d, d)`, in operations that XLA supports."""
    triangle = tf.linalg.qr(matrix).r
    log_det = tf.reduce_sum(tf.math.log(tf.abs(tf.linalg.diag_part(triangle))), -1)

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        inverse = tf.linalg.matrix_transpose(tf.linalg.inv(matrix))
        return upstream[:, tf.newaxis, tf.newaxis] * inverse

    return log_det, gradient
