"""What `fit` and `evaluate` take: checked at the door, and as Keras wants it."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import _checks

__all__ = ["NO_TARGETS", "FitData", "checked", "split", "unpacked"]

NO_TARGETS = (
    "A density has no targets: `y` must be None. Remedy: call `fit(x)`, with weights "
    "`fit(x, sample_weight=w)` or a dataset of (x, anything, sample_weight)."
)


class FitData(NamedTuple):
    """Arguments of Keras's `fit` and `evaluate`.

    `y` is a placeholder where there are weights, and None elsewhere: Keras drops the
    weights of data without targets, and says nothing.
    """

    x: Any
    y: np.ndarray | None = None
    sample_weight: np.ndarray | None = None

    @property
    def is_array(self) -> bool:
        """Whether the points are here, and not behind a dataset or a generator."""
        return isinstance(self.x, np.ndarray)

    def in_its_own_dtype(
        self, batch_size: int | None, shuffle: bool = False
    ) -> "FitData":
        """Returns the arrays as a dataset where Keras would round them to `floatx`."""
        if not self.is_array or self.x.dtype == keras.config.floatx():
            return self
        parts = self.x if self.y is None else tuple(self)
        dataset = tf.data.Dataset.from_tensor_slices(parts)
        if shuffle:
            dataset = dataset.shuffle(len(self.x))
        return FitData(dataset.batch(batch_size or 32).prefetch(1))


def checked(
    x: Any, y: Any, sample_weight: Any, *, event_size: int, dtype: str
) -> FitData:
    """Returns checked points and weights; datasets and generators pass unread.

    Args:
      x: points `(n, event_size)`, array-like, or under the key "x" of a dict; or
        whatever else Keras's `fit` takes.
      y: None.
      sample_weight: n numbers ≥ 0, or None.
      event_size: width of the points.
      dtype: of the flow.

    Raises:
      ValueError: points of the wrong shape, none, or NaN or infinite ones; weights
        of another number, negative or not finite; targets.
      TypeError: points that are not numbers.
    """
    if y is not None:
        raise ValueError(NO_TARGETS)
    if isinstance(x, dict) and set(x) == {"x"}:
        x = x["x"]
    is_array_like = isinstance(x, (list, tuple)) or hasattr(x, "__array__")
    if not is_array_like:
        return FitData(x, None, sample_weight)
    x = _checks.as_points(x, event_size, dtype=dtype)
    if x.ndim != 2:
        raise ValueError(f"`x` must have shape (n, {event_size}). Received {x.shape}.")
    if sample_weight is None:
        return FitData(x)
    weights = np.asarray(sample_weight, dtype=dtype)
    of_each = weights.shape in ((len(x),), (len(x), 1))
    if not of_each or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"`sample_weight` must be {len(x)} finite numbers ≥ 0. "
            f"Received shape {weights.shape}, least {weights.min(initial=np.inf)}."
        )
    return FitData(x, np.zeros(len(x), dtype), weights.reshape(-1))


def unpacked(validation_data: Any) -> tuple[Any, Any, Any]:
    """Returns x, y and weights of points, or of (x, None, sample_weight)."""
    if isinstance(validation_data, tuple):
        return (*validation_data, None, None)[:3]
    return validation_data, None, None


def split(data: FitData, fraction: float) -> tuple[FitData, FitData | None]:
    """Returns the first points, and the last `fraction` of them for validation.

    Raises:
      ValueError: `fraction` is not in [0, 1), leaves nothing on one side, or `data`
        is a dataset.
    """
    if not fraction:
        return data, None
    if not data.is_array:
        raise ValueError("`validation_split` needs points in memory, not a dataset.")
    at = int(len(data.x) * (1.0 - fraction)) if 0 < fraction < 1 else 0
    if not 0 < at < len(data.x):
        raise ValueError(
            "`validation_split` must leave points on both sides. "
            f"Received: {fraction} of {len(data.x)} points."
        )
    first = FitData(*(part if part is None else part[:at] for part in data))
    last = FitData(*(part if part is None else part[at:] for part in data))
    return first, last
