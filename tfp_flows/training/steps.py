"""Many steps in one call of a compiled function, over rows in memory."""

import contextlib
from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows.data.batches import BatchNumbers
from tfp_flows.data.row_order import RowOrder
from tfp_flows.training.plan import Plan
from tfp_flows.training.replicas import on_each, part_of

__all__ = ["RowsInMemory", "many_steps"]


class RowsInMemory:
    """The rows of a fit whose compiled function gathers its batches by itself.

    Args:
      parts: arrays, as Keras takes them.
      order: of the rows in each epoch.
      plan: of the fit.
      strategy: of the model, or None.

    Attributes:
      arrays: the rows, as tensors.
      numbers: which of them make up the next batches.
      width: rows of a batch, or None where the last one of an epoch may be short.
      has_weights: whether some batches are filled up with rows of weight 0.
      kind: equal for rows that the same compiled function fits.
    """

    def __init__(
        self,
        parts: Any,
        order: RowOrder,
        plan: Plan,
        strategy: tf.distribute.Strategy | None,
    ) -> None:
        self._replicas = strategy.num_replicas_in_sync if strategy else 1
        # Replicas read their part of a batch from the CPU: a GPU may not hold the rows.
        with tf.device("CPU:0") if strategy else contextlib.nullcontext():
            self.arrays = tf.nest.map_structure(tf.constant, parts)
        self.width = plan.width
        self.has_weights = plan.has_weighted_rows(order.rows)
        self.numbers = BatchNumbers(
            order, plan.batch_size, self.width if self.has_weights else None
        )
        forms = tf.nest.map_structure(
            lambda part: (*part.shape[1:], part.dtype.name), self.arrays
        )
        self.kind = (self.width, self.has_weights, str(forms))

    def example(self) -> tf.data.Dataset:
        """Returns batches of the same form, with one row for each replica."""
        batch = tf.nest.map_structure(
            lambda part: np.resize(part, [self._replicas, *part.shape[1:]]), self.arrays
        )
        return tf.data.Dataset.from_tensors(batch).repeat()


def many_steps(
    step: Callable,
    results: Callable,
    parts: Any,
    *,
    width: int | None,
    has_weights: bool,
    strategy: tf.distribute.Strategy | None = None,
) -> Callable:
    """Returns a compiled function that takes many steps over rows in memory.

    It does without tf.data, whose pipeline costs a small step on a CPU a third of its
    time.

    Args:
      step: takes a step with a batch and the weights of its rows, or None.
      results: returns the metrics once all steps are taken.
      parts: the arrays, or others of the same shapes and dtypes but for the number of
        rows.
      width: rows of a batch, or None where that varies.
      has_weights: whether rows have weights.
      strategy: whose replicas each take their part of a batch, of rows without weights.

    Returns:
      A function of the arrays, and of row numbers and weights as `BatchNumbers.next`
      has them.
    """
    # With a signature, the function is traced once.
    signature = [
        tf.nest.map_structure(
            lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), parts
        ),
        tf.TensorSpec([None, width], tf.int64),
    ]
    if has_weights:
        signature.append(tf.TensorSpec([None, width], tf.float64))

    def steps(parts: Any, numbers: tf.Tensor, weights: Any = None) -> Any:
        def one(rows: tf.Tensor, weight: tf.Tensor | None = None) -> None:
            with tf.device("CPU:0") if strategy else contextlib.nullcontext():
                rows = part_of(rows) if strategy else rows
                batch = tf.nest.map_structure(lambda p: tf.gather(p, rows), parts)
            step(batch, weight)

        def body(i: tf.Tensor) -> tf.Tensor:
            if strategy:
                strategy.run(one, args=(numbers[i],))
            else:
                one(numbers[i], None if weights is None else weights[i])
            return i + 1

        tf.while_loop(lambda i: i < tf.shape(numbers)[0], body, [tf.constant(0)])
        return on_each(strategy, results) if strategy else results()

    return tf.function(steps, autograph=False, input_signature=signature)
