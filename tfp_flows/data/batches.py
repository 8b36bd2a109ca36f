"""Rows in memory as batches: as a dataset for Keras, or as row numbers."""

import math
from collections.abc import Iterator
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows._core.devices import on_cpu
from tfp_flows.data.row_order import RowOrder

__all__ = ["EVALUATION_BATCH_SIZE", "BatchNumbers", "as_dataset", "dataset_options"]

# Where nothing is learned, the size of a batch does not change the result.
EVALUATION_BATCH_SIZE = 4096


@on_cpu
def as_dataset(
    parts: Any, batch_size: int, order: RowOrder | None = None
) -> tf.data.Dataset:
    """Returns rows in memory as a dataset of one epoch, in their own dtype.

    Args:
      parts: array, or tuple or dict of arrays, of as many rows.
      batch_size: rows of a batch; the last one has what is left.
      order: of the rows, asked anew each time the dataset is read; the order of the
        arrays when None.
    """
    tensors = tf.nest.map_structure(tf.constant, parts)
    rows = tf.nest.flatten(tensors)[0].shape[0]
    count = math.ceil(rows / batch_size)

    def slices(i: tf.Tensor) -> Any:
        these = slice(i * batch_size, tf.minimum((i + 1) * batch_size, rows))
        return tf.nest.map_structure(lambda part: part[these], tensors)

    def epoch(_: tf.Tensor) -> tf.data.Dataset:
        numbers = tf.ensure_shape(tf.numpy_function(order, [], tf.int64), [rows])

        def gathered(i: tf.Tensor) -> Any:
            these = numbers[i * batch_size : (i + 1) * batch_size]
            return tf.nest.map_structure(lambda part: tf.gather(part, these), tensors)

        return tf.data.Dataset.range(count).map(gathered)

    if order is None:
        dataset = tf.data.Dataset.range(count).map(slices)
    else:
        dataset = tf.data.Dataset.range(1).flat_map(epoch)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.prefetch(2).with_options(dataset_options())


def dataset_options() -> tf.data.Options:
    """Returns the options of datasets whose order is decided here."""
    options = tf.data.Options()
    # The autotuning thread can delay the end of an iterator by half a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return options


class BatchNumbers:
    """The row numbers of each batch, for steps that gather their rows themselves.

    Args:
      order: of the rows in an epoch.
      batch_size: rows of a step.
      width: rows of each batch, at least `batch_size`; what is missing is filled up
        with rows of weight 0. None leaves the last batch of an epoch short.
    """

    def __init__(self, order: RowOrder, batch_size: int, width: int | None) -> None:
        self._order, self._batch_size, self._width = order, batch_size, width

    def next(self, steps: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields row numbers `(batches, width)` of the next batches of an epoch.

        Where batches are filled up, it yields the weights of these rows as well.
        """
        size = self._batch_size
        numbers = self._order.next(steps * size)
        rest = len(numbers) % size
        if self._width is None:
            whole = numbers[: len(numbers) - rest]
            if len(whole):
                yield (whole.reshape(-1, size),)
            if rest:
                yield (numbers[-rest:][np.newaxis],)
            return
        count = math.ceil(len(numbers) / size)
        rows = np.full(count, size)
        rows[-1] = rest or size
        filled = np.resize(numbers, [count, size])
        filled = np.pad(filled, [(0, 0), (0, self._width - size)])
        is_real = np.arange(self._width) < rows[:, np.newaxis]
        filled = np.where(is_real, filled, filled[:, :1])
        # Keras divides the sum of the weighted losses by all rows of the batch.
        yield filled, is_real * (self._width / rows[:, np.newaxis])
