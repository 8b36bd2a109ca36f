"""Permute and Shuffle: the coordinates in another order, given or drawn."""

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, register

__all__ = ["Permute", "Shuffle", "permuted"]


class Permutation(Bijector):
    """Base of permutations: a subclass sets `_order`, an array or a variable."""

    _order: np.ndarray | tf.Variable

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return permuted(x, self._order), tf.zeros_like(x[..., 0])

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return permuted(y, self._order, inverse=True), tf.zeros_like(y[..., 0])


@register
class Permute(Permutation):
    """Puts the coordinates into a given order.

    Forward, base to data::

        y[i] = x[order[i]]
        log|det ∂y/∂x| = 0

    Args:
      order: a permutation of 0..event_size - 1. It is fixed: there is nothing to
        learn.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `order` is not a permutation, or the points have another width.

    Example:
      >>> permute = Permute([2, 0, 1])
      >>> permute.forward([[0.5, 1.5, 2.5]]).numpy().tolist()
      [[2.5, 0.5, 1.5]]
      >>> permute.inverse([[2.5, 0.5, 1.5]]).numpy().tolist()
      [[0.5, 1.5, 2.5]]
    """

    def __init__(
        self, order: Sequence[int], *, dtype: Any = None, name: str | None = None
    ) -> None:
        values = np.asarray(order)
        if values.ndim != 1 or not np.array_equal(
            np.sort(values), np.arange(len(values))
        ):
            last = max(values.size - 1, 0)
            raise ValueError(
                f"`order` must be a permutation of 0..{last}. Received: {order!r}."
            )
        order = values.astype(int).tolist()
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)
        self._order = np.array(order)

    @property
    def required_event_size(self) -> int:
        """The length of the order."""
        return len(self._order)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        if event_size != len(self._order):
            raise ValueError(
                f"`order` must have one entry a coordinate, {event_size}. "
                f"Received {len(self._order)}."
            )


@register
class Shuffle(Permutation):
    """Puts the coordinates into a random order, drawn once.

    Forward, base to data, with a permutation drawn for points of the first width::

        y[i] = x[order[i]]
        log|det ∂y/∂x| = 0

    The order is a weight that is not trained, so that saved weights restore the order
    that they were trained with. It depends on `seed` and the width alone: NumPy keeps
    the raw bits of its generator the same in every version.

    Args:
      seed: of the order; drawn when None.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `seed` is not a whole number ≥ 0.

    Example:
      >>> shuffle = Shuffle(seed=1)
      >>> shuffle.forward([[0.5, 1.5, 2.5]]).numpy().tolist()
      [[2.5, 0.5, 1.5]]
    """

    def __init__(
        self,
        *,
        seed: int | None = None,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        seed = as_seed(seed)
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        # NumPy keeps raw bits the same in every version, but not distributions.
        keys = np.random.PCG64(self.parameters["seed"]).random_raw(event_size)
        self._order = tf.Variable(
            np.argsort(keys, kind="stable"), trainable=False, name="order"
        )


def permuted(
    x: tf.Tensor, order: np.ndarray | tf.Variable, *, inverse: bool = False
) -> tf.Tensor:
    """Returns `x[..., order]`, whose gradient is a gather too and not a scatter.

    Args:
      x: points `(..., d)`.
      order: a permutation of 0..d - 1.
      inverse: whether to put the coordinates back instead.
    """
    if isinstance(order, np.ndarray):
        if (order == np.arange(len(order))).all():
            return x
        back = np.argsort(order)
    else:
        order = tf.convert_to_tensor(order)
        back = tf.argsort(order)
    if inverse:
        order, back = back, order

    @tf.custom_gradient
    def gathered(x: tf.Tensor) -> tuple[tf.Tensor, Callable]:
        return tf.gather(x, order, axis=-1), lambda dy: tf.gather(dy, back, axis=-1)

    return gathered(x)
