"""Splines: the written-out derivative of what a bin is made of."""

import numpy as np
import pytest
import tensorflow as tf
from finite_differences import check_gradients

from tfp_flows.bijectors.elementwise import rational_quadratic
from tfp_flows.bijectors.elementwise.rational_quadratic import parameter_count, spline

BINS, POINTS = 4, 4
EVERY_WAY = pytest.mark.parametrize(
    ("circular", "invert"),
    [(False, False), (False, True), (True, False), (True, True)],
)


def start(circular, shape=(POINTS,)):
    """Returns x, partly outside of the unit interval, and variable parameters."""
    rng = np.random.default_rng(0)
    raw = rng.normal(size=(*shape, parameter_count(BINS, circular=circular)))
    return tf.constant(rng.uniform(-0.2, 1.2, size=POINTS)), tf.Variable(raw)


def value(x, raw, circular, invert):
    raw = tf.convert_to_tensor(raw)
    y, log_slope = spline(x, raw, circular=circular, invert=invert)
    return tf.reduce_sum(tf.sin(3.0 * y) + y * log_slope)


@EVERY_WAY
def test_gradients_match_finite_differences(circular, invert):
    x, raw = start(circular)
    check_gradients(lambda: value(x, raw, circular, invert), [raw])
    x = tf.Variable(x)
    check_gradients(lambda: value(x, raw, circular, invert), [x], rtol=1e-5)


def test_those_of_one_spline_for_all_points_too():
    x, raw = start(False, shape=(1,))
    check_gradients(lambda: value(x, raw, False, False), [raw])


@EVERY_WAY
@pytest.mark.parametrize(
    "compiled", [False, pytest.param(True, marks=pytest.mark.slow)]
)
@pytest.mark.slow
def test_second_derivatives_too(circular, invert, compiled):
    x, raw = start(circular)
    weights = tf.constant(np.random.default_rng(1).normal(size=raw.shape))

    def slope():
        with tf.GradientTape() as tape:
            total = value(x, raw, circular, invert)
        return tf.reduce_sum(weights * tape.gradient(total, raw))

    check_gradients(tf.function(slope) if compiled else slope, [raw], rtol=1e-5)


@EVERY_WAY
def test_zeros_make_the_identity(circular, invert):
    x, raw = start(circular)
    x = tf.clip_by_value(x, 0.01, 0.99)
    y, log_slope = spline(x, 0.0 * raw, circular=circular, invert=invert)
    np.testing.assert_allclose(y, x, atol=1e-15)
    np.testing.assert_allclose(log_slope, 0.0, atol=1e-14)


def test_a_gpu_gets_the_same_bins(monkeypatch):
    x, raw = start(circular=False)
    expected = spline(x, raw, circular=False, invert=False)
    monkeypatch.setattr(rational_quadratic, "has_gpu", lambda: True)
    for one, other in zip(
        spline(x, raw, circular=False, invert=False), expected, strict=True
    ):
        np.testing.assert_allclose(one, other, rtol=1e-12)
