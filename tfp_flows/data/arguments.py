"""What `fit` and `evaluate` take: checked, and in the form that Keras takes."""

import dataclasses
import os
import zlib
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.data.batches import EVALUATION_BATCH_SIZE, as_dataset
from tfp_flows.data.row_order import RowOrder
from tfp_flows.data.streams import Stream, by_name
from tfp_flows.data.summaries import Summary

__all__ = [
    "NO_TARGETS",
    "FitData",
    "Form",
    "as_callbacks",
    "batch",
    "check_no_targets",
    "checked",
    "for_fit",
    "split",
    "unpacked",
]

NO_TARGETS = (
    "A density has no targets: `y` must be None. Remedy: call `fit(x)`, with a context "
    '`fit({"x": x, "context": c})`, with weights `fit(x, sample_weight=w)` or a '
    "dataset of (x, anything, sample_weight)."
)


@dataclasses.dataclass(frozen=True)
class Form:
    """What the data of a flow look like.

    Attributes:
      event_size: width of the points.
      context_size: width of the contexts; 0 for a flow that takes none.
      dtype: of both.
    """

    event_size: int
    context_size: int
    dtype: str

    @property
    def widths(self) -> dict[str, int]:
        """How many columns the parts of a batch have, by name."""
        widths = {"x": self.event_size, "context": self.context_size}
        return {name: width for name, width in widths.items() if width}


class FitData(NamedTuple):
    """Checked data, as the arguments of Keras's `fit` and `evaluate`.

    `x` is an array, a dict of arrays, a `Stream` of rows in files, a `tf.data.Dataset`,
    or whatever else Keras takes. `y` is a placeholder where there are weights, and None
    elsewhere: Keras silently drops the weights of data without targets.
    """

    x: Any
    y: np.ndarray | None = None
    sample_weight: np.ndarray | None = None

    @property
    def in_memory(self) -> bool:
        """Whether the points are arrays."""
        return isinstance(self.x, (np.ndarray, dict))

    @property
    def in_files(self) -> bool:
        """Whether the points are in files, and read a few at a time."""
        return isinstance(self.x, Stream)

    @property
    def parts(self) -> Any:
        """The points, or points, placeholder and weights, as Keras takes a batch."""
        return self.x if self.y is None else tuple(self)

    @property
    def points(self) -> np.ndarray:
        """The points without contexts, of data in memory."""
        return self.x["x"] if isinstance(self.x, dict) else self.x

    @property
    def length(self) -> int | Any:
        """How many points there are; None of a dataset or a generator."""
        if self.in_files:
            return len(self.x)
        return len(self.points) if self.in_memory else None

    @property
    def rows_per_batch(self) -> int | Any:
        """How many rows every batch of a dataset has; None where that is not known."""
        if not isinstance(self.x, tf.data.Dataset):
            return None
        return tf.nest.flatten(self.x.element_spec)[0].shape[0]

    @property
    def batches_per_epoch(self) -> int | Any:
        """How many batches a dataset has; None where that is not known."""
        if not isinstance(self.x, tf.data.Dataset):
            return None
        count = int(self.x.cardinality())
        return count if count > 0 else None

    @property
    def identity(self) -> list[int] | None:
        """Numbers that differ for other points; None of a dataset or a generator."""
        if self.in_files:
            return [self.length, *self.x.widths.values(), self.x.summary.checksum]
        if not self.in_memory:
            return None
        return [*self.points.shape, zlib.crc32(np.ascontiguousarray(self.points).data)]

    def rows(self, which: slice) -> "FitData":
        """Returns some rows of data in memory."""
        return FitData(
            *tf.nest.map_structure(
                lambda part: part if part is None else part[which], tuple(self)
            )
        )

    def first_epoch(self, steps: int | None) -> "FitData":
        """Returns the data of one epoch, of so many steps where that is given."""
        if steps and isinstance(self.x, tf.data.Dataset):
            return self._replace(x=self.x.take(steps))
        return self

    def batch_spec(self, rows: int) -> tuple[Any, Any, tf.TensorSpec | None]:
        """Returns `tf.TensorSpec`s of x, y and weights of a batch of so many rows."""
        parts = self.parts if self.in_memory else self.x.element_spec
        return keras.utils.unpack_x_y_sample_weight(
            tf.nest.map_structure(
                lambda part: tf.TensorSpec([rows, *part.shape[1:]], part.dtype), parts
            )
        )

    def some(self, count: int) -> dict[str, np.ndarray] | None:
        """Returns at most `count` points, and their contexts, by name; or None."""
        if self.in_files:
            return _by_name(by_name(self.x.summary.sample[:count], self.x.widths))
        return _by_name(self.rows(slice(count)).x) if self.in_memory else None

    def start(self, most: int) -> tuple[dict[str, np.ndarray], np.ndarray | None]:
        """Returns what weights start from.

        Args:
          most: how many points are looked at together where they are not in memory;
            of an endless dataset, how many are read.

        Returns:
          Points and contexts by name; and mean and standard deviation of all points,
          `(2, event_size)`, or None for points in memory.
        """
        if self.in_memory:
            return _by_name(self.x), None
        if self.in_files:
            summary, widths = self.x.summary, self.x.widths
        else:
            summary, widths = _summarized(self.x, most)
        moments = by_name(np.stack([summary.mean, summary.std]), widths)
        sample = by_name(summary.sample[:most], widths)
        return _by_name(sample), _by_name(moments)["x"]

    def order(self, seed: int, *, shuffle: bool) -> RowOrder:
        """Returns the order of data in memory or in files."""
        if self.in_files:
            return self.x.order(seed, shuffle=shuffle)
        return RowOrder(self.length, seed, shuffle=shuffle)

    def batches(self, batch_size: int, order: RowOrder | None = None) -> Any:
        """Returns data in memory or in files as a dataset; anything else as it is."""
        if self.in_files:
            return self.x.batches(batch_size, order)
        return as_dataset(self.parts, batch_size, order) if self.in_memory else self.x


def checked(x: Any, form: Form, y: Any = None, sample_weight: Any = None) -> FitData:
    """Returns checked points and weights; of a dataset only the shapes are checked.

    Args:
      x: points `(n, event_size)`, array-like, or under the key "x" of a dict, whose
        "context" is `(n, context_size)`; a path or a `Stream`; or whatever else
        Keras's `fit` takes.
      form: of the flow's data.
      y: None.
      sample_weight: n numbers ≥ 0, or None.

    Raises:
      ValueError: points of the wrong shape, none, or NaN or infinite ones; weights
        of another number, negative or not finite; targets.
      TypeError: points that are not numbers, or None.
    """
    if y is not None:
        raise ValueError(NO_TARGETS)
    widths, dtype = form.widths, form.dtype
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
        _check_shapes(_named(points, form), form)
    if not isinstance(x, (list, tuple, dict)) and not hasattr(x, "__array__"):
        return FitData(x, None, sample_weight)
    parts = _named(x, form)
    x = _rows(parts["x"], form.event_size, dtype, "x")
    n = len(x)
    if form.context_size:
        context = _rows(parts["context"], form.context_size, dtype, "context")
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


def batch(inputs: Any, form: Form) -> dict[str, tf.Tensor]:
    """Returns a batch of tensors by name, checked, in the flow's dtype.

    Raises:
      ValueError: wrong names or widths, or a context with more or fewer axes than the
        points.
    """
    parts = _named(inputs, form)
    _check_shapes(parts, form)
    return {name: tf.cast(part, form.dtype) for name, part in parts.items()}


def _by_name(x: Any) -> dict[str, Any]:
    return x if isinstance(x, dict) else {"x": x}


def _named(inputs: Any, form: Form) -> dict[str, Any]:
    """Returns points as {"x": points}, and a dict as it is where its keys are right."""
    if form.context_size and not isinstance(inputs, dict):
        raise ValueError(
            "A conditional flow needs a context for each point. Remedy: pass "
            '{"x": x, "context": c}, or a dataset of such batches.'
        )
    parts = _by_name(inputs)
    expected = sorted(form.widths)
    if sorted(parts) != expected:
        raise ValueError(
            f"`x` must have the keys {expected}. Received: {sorted(parts)}."
        )
    return parts


def _check_shapes(parts: dict[str, tf.Tensor | tf.TensorSpec], form: Form) -> None:
    """Raises where TFP would broadcast points of width 1, or contexts to points."""
    for name, part in parts.items():
        if not hasattr(part, "shape"):
            raise ValueError(
                f"`{name}` must be one tensor. Received: {type(part).__name__}."
            )
    shapes = {name: part.shape for name, part in parts.items()}
    if None in [shape.rank for shape in shapes.values()]:
        return
    for name, width in form.widths.items():
        shape = shapes[name]
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
        parts = _by_name(x)
        widths = {name: part.shape[-1] for name, part in parts.items()}
        if not len(parts["x"]):
            continue
        checks.as_points(parts["x"])
        rows = np.concatenate(
            [part.reshape(-1, widths[name]) for name, part in parts.items()], axis=1
        )
        # Contexts that are not finite are met, and explained, by the step with them.
        rows = rows[np.isfinite(rows).all(axis=1)]
        summary.add(rows, draw.random(len(rows)))
    if not summary.rows:
        raise ValueError("`x` must hold at least one point. Received none.")
    return summary, widths


def for_fit(x: Any, y: Any, options: dict[str, Any], form: Form) -> tuple[FitData, Any]:
    """Returns checked points for training, and batches for validation or None.

    Args:
      x, y: as for `checked`.
      options: keyword arguments of Keras's `fit`; those about data are taken out of it.
      form: of the flow's data.
    """
    if options.pop("class_weight", None) is not None:
        raise ValueError(
            "`class_weight` is for targets, which a density has none of. Remedy: "
            "`sample_weight`."
        )
    points = checked(x, form, y, options.pop("sample_weight", None))
    fraction = options.pop("validation_split", 0.0)
    validation = options.pop("validation_data", None)
    if validation is None:
        points, held_out = split(points, fraction)
    else:
        x, y, weights = unpacked(validation)
        held_out = checked(x, form, y, weights)
    if held_out is None:
        return points, None
    size = options.pop("validation_batch_size", None) or EVALUATION_BATCH_SIZE
    return points, held_out.batches(size)


def check_no_targets(y: Any, sample_weight: Any) -> None:
    """Raises where there are targets; with weights, `y` is only a placeholder."""
    if y is not None and sample_weight is None:
        raise ValueError(NO_TARGETS)


def as_callbacks(callbacks: Any) -> list[keras.callbacks.Callback]:
    """Returns what Keras takes as callbacks as a list.

    Raises:
      TypeError: something else is among them.
    """
    if isinstance(callbacks, keras.callbacks.CallbackList):
        return list(callbacks.callbacks)
    callbacks = [] if callbacks is None else keras.tree.flatten(callbacks)
    for callback in callbacks:
        if not isinstance(callback, keras.callbacks.Callback):
            raise TypeError(
                f"`callbacks` must be Keras callbacks. Received: {callback!r}."
            )
    return callbacks


def split(data: FitData, fraction: float) -> tuple[FitData, FitData | None]:
    """Returns the first points, and the last `fraction` of them for validation.

    Raises:
      ValueError: `fraction` is not in [0, 1), leaves nothing on one side, or `data`
        is a dataset.
    """
    if not fraction:
        return data, None
    if not data.in_memory:
        raise ValueError("`validation_split` needs points in memory, not a dataset.")
    n = len(data.points)
    at = int(n * (1.0 - fraction)) if 0 < fraction < 1 else 0
    if not 0 < at < n:
        raise ValueError(
            "`validation_split` must leave points on both sides. "
            f"Received: {fraction} of {n} points."
        )
    return data.rows(slice(at)), data.rows(slice(at, None))
