"""What `fit` and `evaluate` take: checked at the door, and as Keras wants it."""

import os
import zlib
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.data.batches import Order, in_batches
from tfp_flows.data.streams import Stream, by_name
from tfp_flows.data.summaries import Summary

__all__ = ["NO_TARGETS", "FitData", "checked", "split", "unpacked"]

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
    def is_stream(self) -> bool:
        """Whether the points are in files, and read a few at a time."""
        return isinstance(self.x, Stream)

    @property
    def points(self) -> np.ndarray:
        """The points alone, of data that are here."""
        return self.x["x"] if isinstance(self.x, dict) else self.x

    @property
    def length(self) -> int:
        """How many points there are, of data that are here or in files."""
        return len(self.x if self.is_stream else self.points)

    def rows(self, which: slice) -> "FitData":
        """Returns some rows of data that are here."""
        return FitData(
            *tf.nest.map_structure(
                lambda part: part if part is None else part[which], tuple(self)
            )
        )

    @property
    def mark(self) -> list[int] | None:
        """Numbers that tell these points from others, where they are known."""
        if self.is_stream:
            return [self.length, *self.x.widths.values(), self.x.summary.mark]
        if not self.is_array:
            return None
        return [*self.points.shape, zlib.crc32(np.ascontiguousarray(self.points))]

    def some(self, count: int) -> Any:
        """Returns at most so many of the points, with their contexts, or None."""
        if self.is_stream:
            return by_name(self.x.summary.sample[:count], self.x.widths)
        return self.rows(slice(count)).x if self.is_array else None

    def start(self, most: int) -> tuple[Any, Any]:
        """Returns what weights start from.

        Args:
          most: of points that are not in memory, how many are looked at together; of
            an endless dataset, how many are read.

        Returns:
          Points, with their contexts; and mean and standard deviation of all of them,
          `(2, event_size)`, or None for points in memory.
        """
        if self.is_array:
            return self.x, None
        if self.is_stream:
            summary, widths = self.x.summary, self.x.widths
        else:
            summary, widths = _summarized(self.x, most)
        moments = by_name(np.stack([summary.mean, summary.std]), widths)
        moments = moments["x"] if isinstance(moments, dict) else moments
        return by_name(summary.sample[:most], widths), moments

    def order(self, seed: int, *, shuffle: bool) -> Order:
        """Returns the order of data that are here, or in files."""
        if self.is_stream:
            return self.x.order(seed, shuffle=shuffle)
        return Order(self.length, seed, shuffle=shuffle)

    def batches(self, batch_size: int, order: Order | None = None) -> Any:
        """Returns data that are here, or in files, as a dataset; a dataset as it is."""
        if self.is_stream:
            return self.x.batches(batch_size, order)
        return in_batches(self.parts, batch_size, order) if self.is_array else self.x

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
        "context" is `(n, context_size)`; a path or a `Stream`; or whatever else
        Keras's `fit` takes.
      y: None.
      sample_weight: n numbers ≥ 0, or None.
      event_size: width of the points.
      dtype: of the flow.
      context_size: width of the context; 0 for a flow that takes none.

    Raises:
      ValueError: points of the wrong shape, none, or NaN or infinite ones; weights
        of another number, negative or not finite; targets.
      TypeError: points that are not numbers, or None.
    """
    if y is not None:
        raise ValueError(NO_TARGETS)
    widths = {"x": event_size, **({"context": context_size} if context_size else {})}
    if x is None:
        raise TypeError("`x` must be points or batches of them. Received: None.")
    if isinstance(x, (set, frozenset)):
        raise TypeError("`x` must have its points in an order. Received a set.")
    if isinstance(x, (str, os.PathLike)):
        x = Stream(x, widths, dtype)
    if isinstance(x, Stream) and (x.widths, x.dtype) != (widths, np.dtype(dtype)):
        raise ValueError(
            f"The stream must have the columns {widths} in {dtype}. Received: "
            f"{x.widths} in {x.dtype}."
        )
    if isinstance(x, Stream) and sample_weight is not None:
        raise ValueError(
            "`sample_weight` must be None where points are in files. Remedy: a dataset "
            "of (x, anything, sample_weight)."
        )
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
    rows = checks.as_points(values, width, dtype=dtype, name=name)
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


def _summarized(batches: Any, most: int) -> tuple[Summary, dict[str, int]]:
    """Returns what a pass over a dataset finds, and the widths of points and contexts.

    Raises:
      ValueError: it is no `tf.data.Dataset`, or holds no points, or NaN or infinite
        ones.
    """
    if not isinstance(batches, tf.data.Dataset):
        raise ValueError(
            "Weights that start from data need points in memory, a path or a "
            f"tf.data.Dataset. Received a {type(batches).__name__}. Remedy: call "
            "`adapt(x)` first."
        )
    if batches.cardinality() == tf.data.INFINITE_CARDINALITY:
        batches = batches.unbatch().take(most).batch(most)
    summary, widths, draw = Summary(), {}, np.random.default_rng(0)
    for element in batches.as_numpy_iterator():
        x = element[0] if isinstance(element, tuple) else element
        parts = x if isinstance(x, dict) else {"x": x}
        widths = {name: part.shape[-1] for name, part in parts.items()}
        if not len(parts["x"]):
            continue
        checks.as_points(parts["x"])
        rows = [part.reshape(-1, widths[name]) for name, part in parts.items()]
        rows = np.concatenate(rows, axis=1)
        rows = rows[np.isfinite(rows).all(axis=1)]  # `fit` meets other contexts later
        summary.add(rows, draw.random(len(rows)))
    if not summary.rows:
        raise ValueError("`x` must hold at least one point. Received none.")
    return summary, widths


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
