"""LeakyReLU: an invertible kink at zero, with a learned slope below it."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, is_given, register
from tfp_flows.bijectors.parameters import Parameters, check_given

__all__ = ["LeakyReLU"]


@register
class LeakyReLU(Bijector):
    """Scales every negative coordinate by a learned positive slope.

    Forward, base to data, elementwise, with a the slope::

        y = x        where x ≥ 0
        y = a · x    where x < 0
        log|det ∂y/∂x| = log a, summed over the negative coordinates

    The learned parameter is log a, so that a stays positive in training.

    The log-det is exact, and jumps where a coordinate changes its sign. Its derivative
    is zero elsewhere, so that training would not see the effect of moving points across
    zero, and the loss of a chain of these would rise. The derivative with respect to x
    is therefore that of a smooth step of width 0.1: averaged over a batch, it estimates
    the derivative of the mean log-det. Values do not change.

    Args:
      slope: a > 0, one number or one for each coordinate, shape `()` or
        `(event_size,)`; learned. A variable or tensor is used as it is, and must stay
        positive by itself (`tfp.util.TransformedVariable`). Drawn from Uniform(0, 0.9)
        when None.
      hidden: widths of the hidden layers of the network that maps a context to what
        is added to log a.
      seed: of the draw, when `slope` is None, and of that network.
      context_size: width of a context that a depends on; 0 for none.
      trainable: False freezes the slope.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: a slope that is not positive, or not one a coordinate; or that is a
        variable or tensor, and there is a context.

    Example:
      >>> import numpy as np
      >>> bijector = LeakyReLU(0.5)
      >>> bijector.forward([[2.0, -2.0]]).numpy().tolist()
      [[2.0, -1.0]]
      >>> log_det = bijector.forward_log_det_jacobian([[-1.0, -1.0]], event_ndims=1)
      >>> np.allclose(log_det, 2 * np.log(0.5))
      True

    Source: Maas, Hannun and Ng (2013), "Rectifier nonlinearities improve neural
    network acoustic models", eq. 2; as a flow, Jang (2018), "Normalizing flows
    tutorial, part 2".
    """

    def __init__(
        self,
        slope: Any = None,
        *,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        check_given(slope, "slope", context_size)
        hidden = networks.as_hidden(hidden)
        if context_size:
            seed = as_seed(seed)
        if slope is None:
            # 1 - U lies in (0, 1], so that the slope is not zero.
            generator = np.random.default_rng(as_seed(seed))
            slope = float(0.9 * (1.0 - generator.uniform()))
        if not is_given(slope):
            values = np.asarray(slope, np.float64)
            if values.ndim > 1 or not (np.isfinite(values) & (values > 0)).all():
                raise ValueError(
                    "`slope` must be one positive number, or one a coordinate. "
                    f"Received: {slope!r}."
                )
        super().__init__(locals(), event_ndims=0, dtype=dtype, name=name)
        self._slope = slope

    @property
    def required_event_size(self) -> int | None:
        """The number of slopes, or None for one slope, which serves every width."""
        shape = np.shape(self._slope)
        return shape[0] if shape not in ((), (1,)) else None

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        shape = tuple(np.shape(self._slope))
        if shape not in ((), (1,), (event_size,)):
            raise ValueError(
                f"`slope` must have shape () or ({event_size},) for points of width "
                f"{event_size}. Received shape {shape}."
            )
        given = self.parameters
        name, value = "slope", self._slope
        if not is_given(self._slope):
            name, value = "log_slope", np.log(self._slope)
        self._learned = Parameters(
            {name: value},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _check_width(self, width: int | None) -> None:
        if self.required_event_size is not None:
            super()._check_width(width)

    def _log_slope_at(self, x: tf.Tensor) -> tf.Tensor:
        context = self._context_at(x)
        (value,) = self._learned(context).values()
        if is_given(self._slope):
            return tf.math.log(value)
        if context is not None and not np.shape(self._slope):
            return value[..., tf.newaxis]  # one slope for all coordinates of a point
        return value

    def _scaled(self, x: tf.Tensor, sign: int) -> tuple[tf.Tensor, tf.Tensor]:
        log_slope = sign * self._log_slope_at(x)
        y = x * tf.where(x < 0, tf.exp(log_slope), tf.ones([], x.dtype))
        return y, log_slope * _is_negative(x)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._scaled(x, +1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._scaled(y, -1)

    def _static_batch(self, x_event_ndims: int) -> tf.TensorShape:
        shape = np.shape(self._slope)
        own = tf.TensorShape(shape[: max(0, len(shape) - x_event_ndims)])
        return tf.broadcast_static_shape(own, super()._static_batch(x_event_ndims))


# Width of the smooth step, in units of the points.
_WIDTH = 0.1


@tf.custom_gradient
def _is_negative(x: tf.Tensor) -> tuple[tf.Tensor, Any]:
    """Returns 1 where x < 0, otherwise 0, with the derivative of a smooth step."""

    def gradient(upstream: tf.Tensor) -> tf.Tensor:
        inside = tf.sigmoid(-x / _WIDTH)
        return -upstream * inside * (1 - inside) / _WIDTH

    return tf.cast(x < 0, x.dtype), gradient
