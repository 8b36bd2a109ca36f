"""Standardize: from mean 0 and standard deviation 1 to the units of data."""

from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.bijectors.base import Bijector, register

__all__ = ["Normalizer", "Standardize"]


class Normalizer(Bijector):
    """Base of bijectors whose inverse takes data to mean 0 and deviation 1.

    A subclass sets its weights from mean and deviation in `_start`.
    """

    _adapted: Any = None  # a tf.Variable once it is built

    @property
    def needs_adaptation(self) -> bool:
        """Whether `adapt` has yet to be called."""
        return self._adapted is None or not float(tf.convert_to_tensor(self._adapted))

    def adapt(self, y: Any) -> None:
        """Starts from data: from the mean and standard deviation of each coordinate.

        Both are computed in float64. A constant coordinate counts as one of standard
        deviation 1.

        Args:
          y: points `(n, event_size)` on the data's side.

        Raises:
          ValueError: points of the wrong width, none at all, or NaN or infinite ones.
        """
        self.adapt_to(*self._mean_and_std(y))

    def adapt_inverted(self, x: Any) -> None:
        """Starts from data on the base's side, as `tfb.Invert` needs it.

        Then `forward` maps them to mean 0 and deviation 1. Args and errors are those of
        `adapt`.
        """
        self.adapt_to(*self._mean_and_std(x), inverted=True)

    def adapt_to(
        self, mean: np.ndarray, std: np.ndarray, *, inverted: bool = False
    ) -> bool:
        """Starts from the moments of data, which are all that it needs.

        Args:
          mean: `(event_size,)`.
          std: `(event_size,)`; 0 where a coordinate is constant.
          inverted: whether the data are on the base's side.

        Returns:
          True.
        """
        # The reciprocal of a smaller number overflows.
        least = np.finfo(self.dtype.as_numpy_dtype).tiny
        std = np.where(std >= least, std, 1.0)
        if inverted:
            mean, std = -mean / std, 1 / std
        self._start(mean, std)
        self._adapted.assign(tf.ones_like(self._adapted))
        return True

    def _mean_and_std(self, y: Any) -> tuple[np.ndarray, np.ndarray]:
        y = checks.as_points(y, self.event_size, name="y")
        self.build(y.shape[-1], y.dtype)
        y = y.reshape(-1, y.shape[-1]).astype(np.float64)
        varies = y.min(0) < y.max(0)
        # The mean of equal numbers can differ from them by rounding.
        return np.where(varies, y.mean(0), y[0]), np.where(varies, y.std(0), 0.0)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        self._adapted = tf.Variable(
            tf.zeros([], dtype), trainable=False, name="adapted"
        )

    def _start(self, mean: np.ndarray, std: np.ndarray) -> None:
        raise NotImplementedError


@register
class Standardize(Normalizer):
    """Scales and shifts to the data's units, by a fixed mean and deviation.

    Forward, base to data, elementwise::

        y = x · std + mean
        log|det ∂y/∂x| = Σ log std

    The inverse standardizes: as the last stage in sampling order, this lets all the
    others work on data with mean 0 and standard deviation 1, while densities and
    samples stay in the data's own units. It is not trained; `ActNorm` is.

    Args:
      mean: a number or `(event_size,)`.
      std: a number or `(event_size,)`, positive. When both are None, they are those of
        the data: `Flow.fit` finds them, or `adapt` does. Before that, and where the
        data are constant, std is 1.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `mean` without `std` or the reverse, or numbers that are not finite,
        not positive, or not one a coordinate.

    Example:
      >>> import numpy as np
      >>> standardize = Standardize()
      >>> standardize.adapt(np.array([[1.0, 10.0], [3.0, 50.0]]))
      >>> standardize.inverse([[1.0, 50.0]]).numpy().tolist()
      [[-1.0, 1.0]]
      >>> Standardize(mean=2.0, std=10.0).forward([[1.0]]).numpy().tolist()
      [[12.0]]
    """

    def __init__(
        self,
        mean: Any = None,
        std: Any = None,
        *,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if (mean is None) != (std is None):
            raise ValueError(
                "`mean` and `std` must both be given, or neither. Received: "
                f"mean={mean!r}, std={std!r}."
            )
        for what, value in (("mean", mean), ("std", std)):
            values = np.asarray(0.5 if value is None else value, np.float64)
            positive = what == "mean" or (values > 0).all()
            if values.ndim > 1 or not np.isfinite(values).all() or not positive:
                raise ValueError(
                    f"`{what}` must be one finite number, or one a coordinate"
                    f"{', above 0' * (what == 'std')}. Received: {value!r}."
                )
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)

    @property
    def required_event_size(self) -> int | None:
        """The number of means or deviations, if there is one for each coordinate."""
        sizes = [
            np.size(self.parameters[what])
            for what in ("mean", "std")
            if np.ndim(self.parameters[what])
        ]
        return sizes[0] if sizes else self.event_size

    @property
    def needs_adaptation(self) -> bool:
        """Whether mean and deviation were neither given nor found by `adapt`."""
        return self.parameters["mean"] is None and super().needs_adaptation

    def adapt(self, y: Any) -> None:
        """Finds mean and standard deviation of each coordinate, unless both are given.

        Args and errors are those of `Normalizer.adapt`: points `(n, event_size)` on
        the data's side.
        """
        if self.parameters["mean"] is None:
            super().adapt(y)

    def adapt_inverted(self, x: Any) -> None:
        """Does what `adapt` does, for data on the base's side."""
        if self.parameters["mean"] is None:
            super().adapt_inverted(x)

    def adapt_to(
        self, mean: np.ndarray, std: np.ndarray, *, inverted: bool = False
    ) -> bool:
        """Does what `adapt` does, for data whose moments are known."""
        if self.parameters["mean"] is None:
            super().adapt_to(mean, std, inverted=inverted)
        return True

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        super()._build(event_size, dtype)
        variables = []
        for what, default in (("mean", 0.0), ("std", 1.0)):
            value = self.parameters[what]
            values = np.asarray(default if value is None else value, np.float64)
            if values.shape not in ((), (event_size,)):
                raise ValueError(
                    f"`{what}` must have shape () or ({event_size},) for points of "
                    f"width {event_size}. Received shape {values.shape}."
                )
            values = np.broadcast_to(values, [event_size]).astype(dtype.as_numpy_dtype)
            variables.append(tf.Variable(values, trainable=False, name=what))
        self._mean, self._std = variables

    def _start(self, mean: np.ndarray, std: np.ndarray) -> None:
        self._mean.assign(mean.astype(self._mean.dtype.as_numpy_dtype))
        self._std.assign(std.astype(self._std.dtype.as_numpy_dtype))

    def _log_det(self, points: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(tf.math.log(self._std)) + tf.zeros_like(points[..., 0])

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return x * self._std + self._mean, self._log_det(x)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return (y - self._mean) / self._std, -self._log_det(y)
