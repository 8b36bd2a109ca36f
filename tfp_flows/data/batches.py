"""Rows in memory as batches: what `fit`, `evaluate` and `predict` read."""

import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core.devices import on_cpu

__all__ = ["EVALUATED_AT_ONCE", "Order", "in_batches", "options"]

# Rows a step where nothing is learned, and the size of a batch changes no result.
EVALUATED_AT_ONCE = 4096


class Order(keras.callbacks.Callback):
    """The order of the rows in each epoch, by the seed and the epoch's number alone.

    So a fit that goes on from its fifth epoch reads the rows as one that was never
    interrupted. A callback, as only Keras's `fit` knows which epoch it is.

    Args:
      rows: how many.
      seed: of the orders.
      shuffle: whether each epoch has an order of its own; else it is the data's.
    """

    def __init__(self, rows: int, seed: int, *, shuffle: bool = True) -> None:
        super().__init__()
        self.rows, self.seed, self.shuffle = rows, seed, shuffle
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: Any = None) -> None:
        """Keras tells the epoch before it reads its first batch."""
        self.epoch = epoch
        self._numbers, self._at = self(), 0

    def __call__(self) -> np.ndarray:
        """Returns this epoch's order of the rows' numbers."""
        if not self.shuffle:
            return np.arange(self.rows)
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)

    def next(self, count: int) -> np.ndarray:
        """Returns the numbers of the epoch's next rows, `count` of them at most."""
        found = self._numbers[self._at : self._at + count]
        self._at += count
        return found


@on_cpu
def in_batches(parts: Any, batch_size: int, order: Order | None = None) -> Any:
    """Returns rows in memory as a dataset of one epoch, in their own dtype.

    Args:
      parts: array, or tuple or dict of arrays, of as many rows.
      batch_size: rows a batch; the last has what is left.
      order: of the rows, asked anew each time the dataset is read; as they are when
        None.
    """
    tensors = tf.nest.map_structure(tf.constant, parts)
    rows = tf.nest.flatten(tensors)[0].shape[0]
    count = math.ceil(rows / batch_size)

    def slices(i: tf.Tensor) -> Any:
        these = slice(i * batch_size, tf.minimum((i + 1) * batch_size, rows))
        return tf.nest.map_structure(lambda part: part[these], tensors)

    def epoch(_: tf.Tensor) -> tf.data.Dataset:
        which = tf.ensure_shape(tf.numpy_function(order, [], tf.int64), [rows])

        def gathered(i: tf.Tensor) -> Any:
            these = which[i * batch_size : (i + 1) * batch_size]
            return tf.nest.map_structure(lambda part: tf.gather(part, these), tensors)

        return tf.data.Dataset.range(count).map(gathered)

    if order is None:
        dataset = tf.data.Dataset.range(count).map(slices)
    else:
        dataset = tf.data.Dataset.range(1).flat_map(epoch)
        dataset = dataset.apply(tf.data.experimental.assert_cardinality(count))
    return dataset.prefetch(2).with_options(options())


def options() -> tf.data.Options:
    """Returns how tf.data is to read rows that come in an order of ours."""
    options = tf.data.Options()
    # Its thread now and then keeps an iterator's end waiting for half a minute.
    options.autotune.enabled = False
    options.experimental_distribute.auto_shard_policy = (
        tf.data.experimental.AutoShardPolicy.DATA
    )
    return options
