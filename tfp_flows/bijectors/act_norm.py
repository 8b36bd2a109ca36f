"""ActNorm: a learned scale and shift that start from data."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.parameters import Parameters
from tfp_flows.bijectors.standardize import Normalizer

__all__ = ["ActNorm"]


@register
class ActNorm(Normalizer):
    """Scales and shifts each coordinate by learned parameters that start from data.

    Forward, base to data, elementwise::

        y = x · exp(s) + t
        log|det ∂y/∂x| = Σ s

    It begins as the identity. `adapt`, which `Flow.fit` calls, sets s and t so that
    the inverse maps the data to mean 0 and standard deviation 1; from there they are
    trained. A saved ActNorm does not start from data again.

    Args:
      hidden: widths of the hidden layers of the network that maps a context to what
        is added to s and t. `adapt` starts s and t themselves, the same for every
        context.
      seed: of that network; drawn when None.
      context_size: width of a context that s and t depend on; 0 for none.
      trainable: False freezes all weights, but for `adapt`.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `hidden` or `seed` is not what it must be.

    Example:
      >>> import numpy as np
      >>> norm = ActNorm()
      >>> norm.adapt(np.array([[1.0, 10.0], [3.0, 50.0]]))
      >>> norm.inverse([[1.0, 50.0]]).numpy().round(6).tolist()
      [[-1.0, 1.0]]

    Source: Kingma and Dhariwal (2018), "Glow: Generative flow with invertible 1×1
    convolutions", sec. 3.1.
    """

    def __init__(
        self,
        *,
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
        super()._build(event_size, dtype)
        given = self.parameters
        self._learned = Parameters(
            {"log_scale": np.zeros(event_size), "shift": np.zeros(event_size)},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _start(self, mean: np.ndarray, std: np.ndarray) -> None:
        start = {"log_scale": np.log(std), "shift": mean}
        for name, variable in self._learned.variables_by_name.items():
            variable.assign(start[name].astype(variable.dtype.as_numpy_dtype))

    def _scale_and_shift(
        self, points: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Returns s, t, and the log-det at each point."""
        learned = self._learned(self._context_at(points))
        log_scale = learned["log_scale"]
        log_det = tf.reduce_sum(log_scale, -1) + tf.zeros_like(points[..., 0])
        return log_scale, learned["shift"], log_det

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_scale, shift, log_det = self._scale_and_shift(x)
        return x * tf.exp(log_scale) + shift, log_det

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        log_scale, shift, log_det = self._scale_and_shift(y)
        return (y - shift) * tf.exp(-log_scale), -log_det
