"""The rows of a fit: drawn by weight, and split by the part that they play."""

import numpy as np
import pytest

from tfp_flows.estimator.rows import Rows, in_random_order


@pytest.mark.parametrize(
    ("n", "fraction", "sizes"),
    [
        (600, 0.05, (60, 162)),  # a tenth
        (20_000, 0.05, (1_000, 5_700)),
        (20_000, 0.9, (10_000, 3_000)),  # half at most
        (1_000_000, 0.05, (20_000, 20_000)),
    ],
)
def test_sizes_of_the_parts(n, fraction, sizes):
    rows = Rows.split(np.zeros((n, 1)), fraction)
    assert (rows.validation_size, rows.selection_size) == sizes


def test_every_row_has_one_part():
    rows = Rows(np.arange(10.0)[:, np.newaxis], 2, 3)
    parts = (rows.validation, rows.selection, rows.train)
    assert [part.ravel().tolist() for part in parts] == [
        [0, 1],
        [2, 3, 4],
        [5, 6, 7, 8, 9],
    ]
    np.testing.assert_array_equal(rows.held_out, np.concatenate(parts[:2]))
    np.testing.assert_array_equal(rows.selection_and_train, np.concatenate(parts[1:]))
    assert rows.astype(np.float32).train.dtype == np.float32


def test_rows_drawn_by_weight_stand_beside_their_copies():
    weights = np.array([1.0, 5.0, 1.0, 3.0] * 50)
    rows = in_random_order(200, weights, 0)
    assert len(rows) == 200 and np.bincount(rows).max() > 2
    changes = np.count_nonzero(np.diff(rows)) + 1
    assert changes == len(np.unique(rows))
    heavy = np.isin(rows % 4, (1, 3)).mean()
    assert heavy == pytest.approx(0.8, abs=0.1)


@pytest.mark.parametrize("weights", [None, np.full(200, 3.0)])
def test_equal_weights_draw_every_row_once(weights):
    rows = in_random_order(200, weights, 0)
    assert sorted(rows) == list(range(200)) and list(rows) != list(range(200))
