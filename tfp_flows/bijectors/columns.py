"""Columns: a bijector of some of the columns, which leaves the others alone."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.conditioning import bind, context_size_of
from tfp_flows._core.part import hooks_of
from tfp_flows.bijectors import adaptation
from tfp_flows.bijectors.base import Bijector, create_inner_weights, register
from tfp_flows.bijectors.permute import permuted

__all__ = ["Columns"]

tfb = tfp.bijectors


@register
class Columns(Bijector):
    """Applies a bijector to some of the columns, and leaves the others as they are.

    Forward, base to data, for columns c and a bijector g::

        y[c] = g(x[c])
        y[i] = x[i]    for the other columns
        log|det ∂y/∂x| = log|det ∂g/∂x[c]|

    The bijector sees the columns in the order in which they are listed, and nothing of
    the others. To map some columns as a function of others, use a coupling.

    Args:
      bijector: any `tfb.Bijector` of vectors or numbers that keeps the width of its
        points, with or without a context. Weights, dtype and starts from data are its
        own.
      columns: indices of the columns, 0 to `event_size` - 1, each at most once.
      name: as in TFP.

    Raises:
      TypeError: `bijector` is not a bijector.
      ValueError: `columns` are not different whole numbers ≥ 0, there are none, or one
        is not a column of the points.

    Example:
      >>> from tfp_flows.bijectors import LeakyReLU
      >>> bijector = Columns(LeakyReLU(0.5), [0, 2])
      >>> bijector.forward([[-1.0, -1.0, -2.0]]).numpy().tolist()
      [[-0.5, -1.0, -1.0]]
    """

    def __init__(
        self,
        bijector: tfb.Bijector,
        columns: Sequence[int],
        *,
        name: str | None = None,
    ) -> None:
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(
                f"`bijector` must be a tfb.Bijector. Received: {bijector!r}."
            )
        columns = _as_columns(columns)
        own = bijector.dtype
        super().__init__(
            locals(),
            is_constant_jacobian=bijector.is_constant_jacobian,
            dtype=own if isinstance(own, tf.DType) and own.is_floating else None,
            name=name,
        )
        self._inner = bijector
        self._context_size = context_size_of(bijector)

    @property
    def inner(self) -> tfb.Bijector:
        """The bijector of the columns."""
        return self._inner

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        columns = self.parameters["columns"]
        if max(columns) >= event_size:
            raise ValueError(
                f"`columns` must be among 0..{event_size - 1} for points of width "
                f"{event_size}. Received: {list(columns)}."
            )
        others = np.setdiff1d(np.arange(event_size), columns)
        self._order = np.concatenate([columns, others]).astype(int)
        create_inner_weights(self._inner, len(columns), self.context_size, dtype)

    def _apply(self, points: tf.Tensor, *, forward: bool) -> tuple[tf.Tensor, ...]:
        sizes = [len(self.parameters["columns"]), -1]
        mapped, others = tf.split(permuted(points, self._order), sizes, axis=-1)
        inner = bind(self._inner, self._context_at(points))
        if forward:
            result = inner.forward(mapped)
            log_det = inner.forward_log_det_jacobian(mapped, event_ndims=1)
        else:
            result = inner.inverse(mapped)
            log_det = inner.inverse_log_det_jacobian(mapped, event_ndims=1)
        together = tf.concat([result, others], -1)
        # TFP does not broadcast a constant log-det to the points.
        log_det += tf.zeros_like(points[..., 0])
        return permuted(together, self._order, inverse=True), log_det

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(x, forward=True)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(y, forward=False)

    # The hooks of a flow are those of the bijector within, which may be a chain.

    @property
    def needs_adaptation(self) -> bool:
        """Whether a part of the bijector starts from data, and has not seen any yet."""
        return adaptation.needs_adaptation([self._inner])

    def adapt(self, y: Any) -> None:
        """Starts the bijector from its columns of points on the data's side.

        Args:
          y: `(n, event_size)`.
        """
        adaptation.adapt(None, [self._inner], self._columns_of(y), self._context)

    def adapt_inverted(self, x: Any) -> None:
        """Starts the bijector from points on the base's side, as `tfb.Invert` needs it.

        Args:
          x: `(n, event_size)`.
        """
        inverted = [tfb.Invert(self._inner)]
        adaptation.adapt(None, inverted, self._columns_of(x), self._context)

    def outside(self, y: Any) -> tf.Tensor | None:
        """Returns which points some part of the bijector does not reach, or None.

        Args:
          y: `(..., event_size)`, on the data's side.
        """
        parts = [self._inner]
        found = adaptation.points_outside(parts, self._columns_of(y), self._context)
        outside = [is_outside for _, is_outside in found]
        return tf.reduce_any(tf.stack(outside), 0) if outside else None

    def warn_of_cost(self, *, forward: bool) -> None:
        """Warns, once, if a part of the bijector is slow in this direction."""
        for part, inverted in adaptation.leaves([self._inner]):
            hooks_of(part).warn_of_cost(forward=forward != inverted)

    def _columns_of(self, points: Any) -> tf.Tensor:
        points = tf.convert_to_tensor(points)
        self.build(points.shape[-1], points.dtype)
        return tf.gather(points, np.array(self.parameters["columns"]), axis=-1)


def _as_columns(columns: Any) -> tuple[int, ...]:
    values = np.asarray(columns)
    are_indices = values.ndim == 1 and values.size > 0 and values.dtype.kind in "iu"
    if not are_indices or values.min() < 0 or len(np.unique(values)) < values.size:
        raise ValueError(
            "`columns` must be different whole numbers ≥ 0, at least one. "
            f"Received: {columns!r}."
        )
    return tuple(values.tolist())
