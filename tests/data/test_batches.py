"""Rows in memory as batches: every row once an epoch, in an order of its own."""

import numpy as np
import tensorflow as tf

from tfp_flows.data.batches import BatchNumbers, as_dataset
from tfp_flows.data.row_order import RowOrder


def test_an_epoch_reads_every_row_once():
    rows = np.arange(10, dtype=np.float64)[:, np.newaxis]
    order = RowOrder(10, seed=1)
    dataset = as_dataset(rows, 4, order)
    assert int(dataset.cardinality()) == 3
    assert dataset.element_spec == tf.TensorSpec([None, 1], tf.float64)
    epochs = []
    for epoch in (0, 1, 0):
        order.on_epoch_begin(epoch)
        batches = list(dataset.as_numpy_iterator())
        assert [len(batch) for batch in batches] == [4, 4, 2]
        epochs.append(np.concatenate(batches)[:, 0])
        assert sorted(epochs[-1]) == list(range(10))
    assert list(epochs[0]) == list(epochs[2]) != list(epochs[1])
    order.shuffle = False
    np.testing.assert_array_equal(np.concatenate(list(dataset)), rows)


def test_rows_stay_together():
    x, c = np.arange(7.0), np.arange(7.0) ** 2
    order = RowOrder(7, seed=0)
    for parts in as_dataset({"x": x, "context": c}, 3, order).as_numpy_iterator():
        np.testing.assert_array_equal(parts["x"] ** 2, parts["context"])
    unordered = as_dataset((x, c), 3)
    assert int(unordered.cardinality()) == 3
    np.testing.assert_array_equal(np.concatenate([b[0] for b in unordered]), x)


def test_float64_is_not_rounded():
    x = 1.0 + 1e-12 * np.arange(4.0)[:, np.newaxis]
    (batch,) = as_dataset(x, 4)
    np.testing.assert_array_equal(batch, x)


def numbers_of(rows, batch_size, width):
    order = RowOrder(rows, seed=0, shuffle=False)
    order.on_epoch_begin(0)
    return BatchNumbers(order, batch_size, width)


def test_the_last_batch_is_short_where_nothing_fills_it_up():
    numbers = numbers_of(5, 2, None)
    ((whole,), (rest,)) = numbers.next(3)
    assert whole.tolist() == [[0, 1], [2, 3]] and rest.tolist() == [[4]]
    numbers = numbers_of(5, 2, None)
    assert [[part.tolist() for part in found] for found in numbers.next(1)] == [
        [[[0, 1]]]
    ]
    assert [part.tolist() for (part,) in numbers.next(2)] == [[[2, 3]], [[4]]]


def test_rows_that_fill_up_have_no_weight():
    ((rows, weights),) = numbers_of(5, 2, 3).next(3)
    assert rows.tolist() == [[0, 1, 0], [2, 3, 2], [4, 4, 4]]
    # A mean over three rows of these weights is that over the real ones.
    assert weights.tolist() == [[1.5, 1.5, 0], [1.5, 1.5, 0], [3, 0, 0]]
