"""What `fit` and `evaluate` take: checked at the door, and as Keras wants it."""

from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import _checks

__all__ = ["NO_TARGETS", "FitData", "checked", "first_points", "split", "unpacked"]

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
        return isinstance(self.x, (np.ndarray, dict))

    @property
    def points(self) -> np.ndarray:
        """The points alone, of data that are here."""
        return self.x["x"] if isinstance(self.x, dict) else self.x

    def rows(self, which: slice) -> "FitData":
        """Returns some rows of data that are here."""
        return FitData(
            *tf.nest.map_structure(
                lambda part: part if part is None else part[which], tuple(self)
            )
        )

    def in_its_own_dtype(
        self, batch_size: int | None, shuffle: bool = False
    ) -> "FitData":
        """Returns the arrays as a dataset where Keras would round them to `floatx`."""
        if not self.is_array or self.points.dtype == keras.config.floatx():
            return self
        parts = self.x if self.y is None else tuple(self)
        dataset = tf.data.Dataset.from_tensor_slices(parts)
        if shuffle:
            dataset = dataset.shuffle(len(self.points))
        return FitData(dataset.batch(batch_size or 32).prefetch(1))


def checked(
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    event_size: int,
    dtype: str,
    context_size: int = 0,
) -> FitData:
    """Returns checked points and weights; datasets and generators pass unread.

    Args:
      x: points `(n, event_size)`, array-like, or under the key "x" of a dict, whose
        "context" is `(n, context_size)`; or whatever else Keras's `fit` takes.
      y: None.
      sample_weight: n numbers ≥ 0, or None.
      event_size: width of the points.
      dtype: of the flow.
      context_size: width of the context; 0 for a flow that takes none.

    Raises:
      ValueError: points of the wrong shape, none, or NaN or infinite ones; weights
        of another number, negative or not finite; targets.
      TypeError: points that are not numbers.
    """
    if y is not None:
        raise ValueError(NO_TARGETS)
    context = None
    if isinstance(x, dict):
        expected = {"x", "context"} if context_size else {"x"}
        if set(x) != expected:
            raise ValueError(
                f"`x` must have the keys {sorted(expected)}. Received: {sorted(x)}."
            )
        x, context = x["x"], x.get("context")
    is_array_like = isinstance(x, (list, tuple)) or hasattr(x, "__array__")
    if not is_array_like:
        return FitData(x, None, sample_weight)
    x = _rows(x, event_size, dtype, "x")
    n = len(x)
    if context_size:
        if context is None:
            raise ValueError(
                "A conditional flow needs a context for each point. Remedy: pass "
                '{"x": x, "context": c}, or a dataset of such batches.'
            )
        context = _rows(context, context_size, dtype, "context")
        if len(context) != n:
            raise ValueError(
                "`x` and `context` must have as many rows. "
                f"Received {n} and {len(context)}."
            )
        x = {"x": x, "context": context}
    if sample_weight is None:
        return FitData(x)
    weights = np.asarray(sample_weight, dtype=dtype)
    of_each = weights.shape in ((n,), (n, 1))
    if not of_each or not np.isfinite(weights).all() or (weights < 0).any():
        raise ValueError(
            f"`sample_weight` must be {n} finite numbers ≥ 0. "
            f"Received shape {weights.shape}, least {weights.min(initial=np.inf)}."
        )
    return FitData(x, np.zeros(n, dtype), weights.reshape(-1))


def _rows(values: Any, width: int, dtype: str, name: str) -> np.ndarray:
    rows = _checks.as_points(values, width, dtype=dtype, name=name)
    if rows.ndim != 2:
        raise ValueError(
            f"`{name}` must have shape (n, {width}). Received {rows.shape}."
        )
    return rows


def unpacked(validation_data: Any) -> tuple[Any, Any, Any]:
    """Returns x, y and weights of points, or of (x, None, sample_weight)."""
    if isinstance(validation_data, tuple):
        return (*validation_data, None, None)[:3]
    return validation_data, None, None


def first_points(batches: Any, count: int) -> Any:
    """Returns at most `count` points from the start of a dataset of batches."""
    dataset = batches if isinstance(batches, tf.data.Dataset) else None
    if dataset is None:
        raise ValueError(
            "Weights that start from data need points in memory or a tf.data.Dataset. "
            f"Received a {type(batches).__name__}. Remedy: call `adapt(x)` first."
        )
    dataset = dataset.map(lambda *parts: parts[0]).unbatch().batch(count).take(1)
    return next(iter(dataset))


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
    n = len(data.points)
    at = int(n * (1.0 - fraction)) if 0 < fraction < 1 else 0
    if not 0 < at < n:
        raise ValueError(
            "`validation_split` must leave points on both sides. "
            f"Received: {fraction} of {n} points."
        )
    return data.rows(slice(at)), data.rows(slice(at, None))
