"""Statistics against their formulas."""

import math

import numpy as np
import pytest

from tfp_flows._core.statistics import (
    is_better,
    mean_and_error,
    median_and_spread,
    standard_error,
)


def test_the_standard_error_of_a_mean():
    values = np.array([1.0, 2.0, 4.0, 9.0])
    # Mean 4, squares 9 + 4 + 0 + 25 = 38.
    assert standard_error(values) == pytest.approx(math.sqrt(38 / 12), rel=1e-12)
    assert mean_and_error(values) == (4.0, standard_error(values))


def test_errors_of_float32_are_computed_in_float64():
    values = (1e4 + np.linspace(0, 1e-2, 1001)).astype(np.float32)
    wide = values.astype(np.float64)
    assert mean_and_error(values) == mean_and_error(wide)


@pytest.mark.parametrize(
    ("gains", "errors", "expected"),
    [
        ([1.0, 3.0], 1, True),  # 2 > 1 / √2
        ([1.0, 3.0], 3, False),  # 2 < 3 / √2
        ([-1.0, 1.0], 0, False),
        ([0.5], 1, True),
        ([np.nan, 1.0], 1, False),
    ],
)
def test_better_is_by_standard_errors_of_the_difference(gains, errors, expected):
    others = np.array([-7.0, 30.0])[: len(gains)]
    assert is_better(others + gains, others, errors) is expected


def test_anything_is_better_than_what_is_not_finite():
    assert is_better(np.array([-9.0, -9.0]), np.array([5.0, -np.inf]), 2)


def test_spread_is_the_deviation_of_a_normal_column():
    rng = np.random.default_rng(0)
    x = rng.normal([3.0, -1.0], [2.0, 0.5], size=(100_001, 2))
    x[:1000] = 1e6  # outliers
    middle, spread = median_and_spread(x)
    np.testing.assert_allclose(middle, [3.0, -1.0], atol=0.05)
    np.testing.assert_allclose(spread, [2.0, 0.5], rtol=0.03)
    assert median_and_spread(np.array([[1.0], [5.0], [5.0], [5.0], [9.0]]))[1] == 0
