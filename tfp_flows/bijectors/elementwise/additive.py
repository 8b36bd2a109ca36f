"""AdditiveMap: shifts."""

import tensorflow as tf

from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.base import ElementwiseMap

__all__ = ["AdditiveMap"]


@register
class AdditiveMap(ElementwiseMap):
    """Shifts, and preserves volumes.

    Forward, base to data, with one parameter t of each coordinate::

        y = x + t
        log(dy/dx) = 0

    Example:
      >>> from tfp_flows.bijectors import Autoregressive
      >>> bijector = Autoregressive(AdditiveMap(), hidden=(16,), identity_start=False)
      >>> bijector.inverse_log_det_jacobian([[0.5, -1.0]]).numpy().tolist()
      [0.0]

    Source: Dinh, Krueger and Bengio (2014), "NICE: Non-linear independent components
    estimation", eq. 9.
    """

    parameter_count = 1

    def forward(
        self, x: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx)."""
        return x + parameters[..., 0], tf.zeros_like(x)

    def inverse(
        self, y: tf.Tensor, parameters: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x and log(dx/dy)."""
        return y - parameters[..., 0], tf.zeros_like(y)
