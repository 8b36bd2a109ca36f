"""What `fit` and `evaluate` take: checked at the door, and as Keras wants it."""

from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_flows import _checks
from tfp_flows.batches import in_batches

__all__ = ["NO_TARGETS", "FitData", "checked", "first_points", "split", "unpacked"]

NO_TARGETS = (
    "A density has no targets: `y` must be None. Remedy: call `fit(x)`, with a context "
    '`fit({"x": x, "context": c})`, with weights `fit(x, sample_weight=w)` or a '
    "dataset of (x, anything, sample_weight)."
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

    def batches(self, batch_size: int) -> Any:
        """Returns data that are here as a dataset, and a dataset as it is."""
        if not self.is_array:
            return self.x
        return in_batches(self.parts, batch_size)

    @property
    def parts(self) -> Any:
        """The points, or points, placeholder and weights, as Keras wants them."""
        return self.x if self.y is None else tuple(self)


def checked(
    x: Any,
    y: Any,
    sample_weight: Any,
    *,
    event_size: int,
    dtype: str,
    context_size: int = 0,
) -> FitData:
    """Returns checked points and weights; of a dataset, only the shapes are checked.

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
    if isinstance(x, tf.data.Dataset):
        spec = x.element_spec
        points = spec[0] if isinstance(spec, tuple) else spec
        _check_shapes(_by_name(points, context_size), event_size, context_size)
    if not isinstance(x, (list, tuple, dict)) and not hasattr(x, "__array__"):
        return FitData(x, None, sample_weight)
    parts = _by_name(x, context_size)
    x = _rows(parts["x"], event_size, dtype, "x")
    n = len(x)
    if context_size:
        context = _rows(parts["context"], context_size, dtype, "context")
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


def batch(
    inputs: Any, *, event_size: int, dtype: str, context_size: int
) -> dict[str, tf.Tensor]:
    """Returns a batch of tensors by name, checked, in the flow's dtype.

    Raises:
      ValueError: wrong names or widths, or a context with more or fewer axes than the
        points.
    """
    parts = _by_name(inputs, context_size)
    _check_shapes(parts, event_size, context_size)
    return {name: tf.cast(part, dtype) for name, part in parts.items()}


def _by_name(inputs: Any, context_size: int) -> dict[str, Any]:
    """Returns points as {"x": points}, and a dict as it is once its keys are right."""
    if context_size and not isinstance(inputs, dict):
        raise ValueError(
            "A conditional flow needs a context for each point. Remedy: pass "
            '{"x": x, "context": c}, or a dataset of such batches.'
        )
    parts = inputs if isinstance(inputs, dict) else {"x": inputs}
    expected = ["context", "x"] if context_size else ["x"]
    if sorted(parts) != expected:
        raise ValueError(
            f"`x` must have the keys {expected}. Received: {sorted(parts)}."
        )
    return parts


def _check_shapes(
    parts: dict[str, tf.Tensor | tf.TensorSpec], event_size: int, context_size: int
) -> None:
    """Refuses what TFP would broadcast: points of width 1, contexts to other points."""
    for name, part in parts.items():
        if not hasattr(part, "shape"):
            raise ValueError(
                f"`{name}` must be one tensor. Received: {type(part).__name__}."
            )
    shapes = {name: part.shape for name, part in parts.items()}
    if None in [shape.rank for shape in shapes.values()]:
        return
    for name, width in (("x", event_size), ("context", context_size)):
        shape = shapes.get(name, tf.TensorShape([None, width]))
        if shape.rank < 2 or shape[-1] not in (None, width):
            remedy = " Remedy: `dataset.batch(n)`." if shape.rank == 1 else ""
            raise ValueError(
                f"`{name}` must have shape (n, {width}). Received shape {shape}."
                f"{remedy}"
            )
    if len({shape.rank for shape in shapes.values()}) > 1:
        raise ValueError(
            "`x` and `context` must have as many axes. "
            f"Received shapes {shapes['x']} and {shapes['context']}."
        )


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
