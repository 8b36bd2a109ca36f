"""The Bernstein polynomial: its formula, its tails, its slopes and what it learns."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.interpolate import BPoly
from scipy.stats import norm

import tfp_flows as tfpf
from tfp_flows.bijectors import Autoregressive, Coupling
from tfp_flows.bijectors.elementwise import BernsteinMap

BOX = (-2.0, 3.0)


def ends(dtype=tf.float64):
    return tf.constant([BOX[0]], dtype), tf.constant([BOX[1] - BOX[0]], dtype)


def raw(degree, scale=1.0, seed=0):
    return scale * np.random.default_rng(seed).normal(size=degree + 1)


@pytest.mark.parametrize("degree", [1, 2, 7, 30])
def test_is_the_polynomial_of_its_coefficients(degree):
    parameters = raw(degree, scale=2.0)
    slopes = 1e-3 + np.log1p(np.exp(parameters[1:] + np.log(np.expm1(0.999))))
    coefficients = parameters[0] + np.append(0, np.cumsum(slopes)) / degree
    y = np.linspace(*BOX, 101)
    u = (y - BOX[0]) / 5
    expected = BPoly(coefficients[:, None], [0, 1])
    map = BernsteinMap(degree, box=BOX)
    x, log_slope = map.inverse(y, tf.constant(parameters)[tf.newaxis], *ends())
    np.testing.assert_allclose(x, BOX[0] + 5 * expected(u), rtol=1e-12)
    np.testing.assert_allclose(log_slope, np.log(expected.derivative()(u)), rtol=1e-9)


def test_the_tails_are_its_tangents():
    parameters = tf.constant(raw(6, scale=2.0))[tf.newaxis]
    map = BernsteinMap(6, box=BOX)
    for end, away in ((BOX[0], -1.0), (BOX[1], 1.0)):
        y = tf.constant(end + away * np.array([0.0, 1.0, 10.0, 1e6]))
        x, log_slope = map.inverse(y, parameters, *ends())
        slope = np.exp(log_slope[0])
        np.testing.assert_allclose(log_slope, log_slope[0], rtol=1e-12)
        np.testing.assert_allclose(x - x[0], slope * (y - y[0]), rtol=1e-9)
        back, _ = map.forward(x, parameters, *ends())
        np.testing.assert_allclose(back, y, rtol=1e-9)


@pytest.mark.parametrize(("dtype", "tolerance"), [("float32", 5e-2), ("float64", 1e-9)])
def test_round_trips_of_wild_parameters(dtype, tolerance):
    rng = np.random.default_rng(0)
    parameters = tf.constant(20.0 * rng.normal(size=(500, 17)), dtype)
    y = tf.constant(rng.uniform(-4.0, 5.0, 500), dtype)
    map = BernsteinMap(16, box=BOX)
    x, log_slope = map.inverse(y, parameters, *ends(dtype))
    back, other = map.forward(x, parameters, *ends(dtype))
    np.testing.assert_allclose(back, y, atol=tolerance)
    np.testing.assert_allclose(other, -log_slope, atol=20 * tolerance)
    assert np.min(log_slope) >= np.log(1e-3) - 1e-6


def test_gradients_of_the_root_are_implicit():
    map = BernsteinMap(5, box=BOX)
    parameters = tf.constant(raw(5))[tf.newaxis]
    x = tf.constant([-5.0, 0.3, 1.0, 8.0], tf.float64)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(parameters)
        y, _ = map.forward(x, parameters, *ends())
        loss = tf.reduce_sum(tf.sin(y))
    gradient = tape.gradient(loss, parameters).numpy()[0]
    for i in range(6):
        step = 1e-6 * np.eye(6)[i]
        up, down = (
            np.sum(np.sin(map.forward(x, parameters + s * step, *ends())[0]))
            for s in (1, -1)
        )
        np.testing.assert_allclose(gradient[i], (up - down) / 2e-6, rtol=1e-6)


def test_gradients_at_the_ends_of_the_box_are_finite():
    map = BernsteinMap(4, box=BOX)
    parameters = tf.Variable(raw(4)[np.newaxis])
    y = tf.Variable([BOX[0], BOX[1], 50.0], dtype=tf.float64)
    with tf.GradientTape() as tape:
        x, log_slope = map.inverse(y, tf.convert_to_tensor(parameters), *ends())
        loss = tf.reduce_sum(x) + tf.reduce_sum(log_slope)
    for gradient in tape.gradient(loss, [parameters, y]):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("wrapper", [Coupling, Autoregressive])
@pytest.mark.slow
def test_learns_a_conditional_of_two_modes(wrapper):
    rng = np.random.default_rng(0)
    first = rng.normal(size=4000)
    mean = 2 + 0.5 * first
    second = rng.choice([-1.0, 1.0], 4000) * mean + 0.5 * rng.normal(size=4000)
    x = np.stack([first, second], -1).astype("float32")
    density = norm.pdf(second, mean, 0.5) / 2 + norm.pdf(second, -mean, 0.5) / 2
    best = -np.mean(norm.logpdf(first) + np.log(density))
    options = {"mask": "halves"} if wrapper is Coupling else {}
    bijector = wrapper(BernsteinMap(32), hidden=(32,), seed=0, **options)
    flow = tfpf.Flow([bijector], event_size=2)
    flow.compile(keras.optimizers.Adam(1e-2))
    keras.utils.set_random_seed(0)
    history = flow.fit(x, batch_size=200, epochs=15, verbose=0).history["loss"]
    assert history[0] > best + 0.5
    assert history[-1] < best + 0.1


def test_its_tails_are_learned_so_that_no_point_is_out_of_reach():
    coupling = Coupling(BernsteinMap(3, box=1.0), hidden=(4,))
    assert coupling.outside(np.array([[9.0, 9.0]], "float32")) is None


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"degree": 0}, "whole number ≥ 1"),
        ({"degree": 101}, "at most 100"),
        ({"box": (1.0, 0.0)}, "'data', a number"),
    ],
)
def test_wrong_options_raise(options, message):
    with pytest.raises(ValueError, match=message):
        BernsteinMap(**options)
