"""AffineMap: scales and shifts."""

from collections.abc import Sequence

import tensorflow as tf

from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.base import ElementwiseMap, bounded

__all__ = ["AffineMap"]


@register
class AffineMap(ElementwiseMap):
    """Scales and shifts.

    Forward, base to data, with parameters s' and t of each coordinate::

        y = x · exp(s) + t,    s = c · tanh(s' / c)
        log(dy/dx) = s

    with a learned c > 0 for each coordinate, 1 at the start: it bounds how far one
    bijector may stretch, which keeps training stable.

    Example:
      >>> from tfp_flows.bijectors import Coupling
      >>> coupling = Coupling(AffineMap(), hidden=(16,))
      >>> coupling.forward([[0.5, -1.0]]).numpy().tolist()  # starts as the identity
      [[0.5, -1.0]]

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real
    NVP", eq. 7-9; the bounded scale is that of its reference implementation.
    """

    parameter_count = 2

    def own_weights(
        self, size: int, dtype: tf.DType, *, trainable: bool
    ) -> Sequence[tf.Variable]:
        """Returns log c."""
        log_bound = tf.Variable(
            tf.zeros([size], dtype), trainable=trainable, name="log_bound"
        )
        return (log_bound,)

    def forward(
        self, x: tf.Tensor, parameters: tf.Tensor, log_bound: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx)."""
        raw, shift = tf.unstack(parameters, axis=-1)
        log_scale = bounded(raw, tf.exp(log_bound))
        return x * tf.exp(log_scale) + shift, log_scale

    def inverse(
        self, y: tf.Tensor, parameters: tf.Tensor, log_bound: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x and log(dx/dy)."""
        raw, shift = tf.unstack(parameters, axis=-1)
        log_scale = bounded(raw, tf.exp(log_bound))
        return (y - shift) * tf.exp(-log_scale), -log_scale
