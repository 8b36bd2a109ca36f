"""Planar, Radial and Sylvester: formulas, bounds, inverses at any weights."""

import numpy as np
import pytest
import tensorflow as tf
from finite_differences import check_gradients

from tfp_flows.bijectors import Planar, Radial, Sylvester

FAMILY = [Planar, Radial, Sylvester]


def points(event_size, n=25, scale=1.5):
    return scale * np.random.default_rng(event_size).normal(size=(n, event_size))


def at(bijector, event_size, dtype="float64", **values):
    """The bijector, with these values of its parameters."""
    bijector.build(event_size, dtype)
    for name, value in values.items():
        bijector._learned.variables_by_name[name].assign(value)
    return bijector


def excess_slope(free):
    return (1 - 1e-3) * (np.logaddexp(0, free + np.log(np.e - 1)) - 1)


def test_planar_is_its_formula():
    u, w, b = np.array([1.0, -2.0, 0.5]), np.array([0.3, 0.7, -1.0]), 0.4
    planar, x = at(Planar(), 3, u=u, w=w, b=b), points(3)
    m = excess_slope(w @ u)
    u_hat = u + (m - w @ u) * w / (w @ w)
    assert w @ u_hat == pytest.approx(m)
    t = np.tanh(x @ w + b)
    np.testing.assert_allclose(planar.forward(x), x + t[:, np.newaxis] * u_hat)
    np.testing.assert_allclose(
        planar.forward_log_det_jacobian(x, 1), np.log1p(m * (1 - t**2))
    )


def test_radial_is_its_formula():
    center, alpha, free = np.array([1.0, -1.0]), 0.7, -1.2
    radial = at(Radial(), 2, center=center, log_radius=np.log(alpha), free=free)
    x = points(2)
    off = x - center
    r = np.linalg.norm(off, axis=-1)
    beta = alpha * excess_slope(free)
    h = beta / (alpha + r)
    np.testing.assert_allclose(radial.forward(x), x + h[:, np.newaxis] * off)
    # Rezende and Mohamed, eq. 14, with h'(r) = -1 / (α + r)².
    expected = np.log((1 + h) * (1 + h - beta * r / (alpha + r) ** 2))
    np.testing.assert_allclose(radial.forward_log_det_jacobian(x, 1), expected)


def test_radial_at_its_centre():
    radial = at(Radial(dtype="float64"), 2, center=[1.0, -1.0], free=2.0)
    x = tf.Variable([[1.0, -1.0]], dtype=tf.float64)
    for method, log_det in (
        (radial.forward, radial.forward_log_det_jacobian),
        (radial.inverse, radial.inverse_log_det_jacobian),
    ):
        with tf.GradientTape() as tape:
            y = method(x)
            total = tf.reduce_sum(y) + tf.reduce_sum(log_det(x, 1))
        np.testing.assert_array_equal(y, x)
        gradients = tape.gradient(total, [x, *radial.trainable_variables])
        assert all(np.isfinite(gradient).all() for gradient in gradients)
    slope = 1 + excess_slope(2.0)
    log_det = radial.forward_log_det_jacobian(x, 1)
    np.testing.assert_allclose(log_det, [2 * np.log(slope)])


def test_sylvester_of_one_unit_is_planar():
    sylvester = at(Sylvester(1, seed=0), 3, r=[1.3], s=[0.4], b=[0.2])
    (vector,) = sylvester._learned.variables_by_name["vectors"].numpy()
    direction = np.eye(3)[0] - 2 * vector[0] * vector / (vector @ vector)
    w = np.exp(3 * np.tanh(0.4 / 3)) * direction
    planar = at(Planar(), 3, u=1.3 * w / (w @ w), w=w, b=0.2)
    x = points(3)
    np.testing.assert_allclose(sylvester.forward(x), planar.forward(x))
    for method in ("forward_log_det_jacobian", "inverse_log_det_jacobian"):
        np.testing.assert_allclose(
            getattr(sylvester, method)(x, 1), getattr(planar, method)(x, 1), rtol=1e-6
        )


def test_sylvester_moves_points_within_as_many_directions_as_it_has_units():
    sylvester, x = Sylvester(2, identity_start=False, seed=1), points(5)
    moves = (sylvester.forward(x) - x).numpy()
    assert np.linalg.matrix_rank(moves, tol=1e-10) == 2


@pytest.mark.parametrize("cls", FAMILY)
def test_identity_start_is_exact(cls):
    x = points(4).astype("float32")
    bijector = cls(seed=0)
    np.testing.assert_array_equal(bijector.forward(x), x)
    np.testing.assert_array_equal(bijector.inverse(x), x)
    np.testing.assert_array_equal(bijector.forward_log_det_jacobian(x, 1), np.zeros(25))
    other = cls(identity_start=False, seed=0).forward(x)
    assert np.abs(other - x).max() > 0.05


@pytest.mark.parametrize("event_size", [1, 2, 6])
@pytest.mark.parametrize("cls", FAMILY)
def test_invertible_at_any_weights(cls, event_size):
    rng = np.random.default_rng(0)
    x = points(event_size, scale=4.0)
    for scale in (0.5, 3.0):
        bijector = cls(seed=1)
        bijector.build(event_size, "float64")
        for weight in bijector.trainable_variables:
            weight.assign(scale * rng.normal(size=weight.shape))
        y = bijector.forward(x).numpy()
        back = bijector.inverse(y).numpy()
        np.testing.assert_allclose(bijector.forward(back), y, atol=1e-9)
        np.testing.assert_allclose(back, x, rtol=1e-5, atol=1e-5)
        assert np.isfinite(bijector.forward_log_det_jacobian(x, 1)).all()


@pytest.mark.parametrize("cls", FAMILY)
def test_far_points_and_steep_units_leave_no_nan(cls):
    bijector = cls(seed=1)
    bijector.build(3, "float32")
    for weight in bijector.trainable_variables:
        weight.assign(-8.0 * np.sign(weight + 1e-9))
    y = tf.Variable(points(3, scale=1e6).astype("float32"))
    with tf.GradientTape() as tape:
        x = bijector.inverse(y)
        log_det = bijector.inverse_log_det_jacobian(y, 1)
        total = tf.reduce_sum(x) + tf.reduce_sum(log_det)
    assert np.isfinite(x).all() and np.isfinite(log_det).all()
    for gradient in tape.gradient(total, [y, *bijector.trainable_variables]):
        assert np.isfinite(gradient).all()


@pytest.mark.parametrize("scale", [3.0, 30.0, 300.0])
def test_an_inverse_of_sylvester_is_right_or_nan(scale):
    rng = np.random.default_rng(1)
    x = points(4, n=500).astype("float32")
    for _ in range(3):
        sylvester = Sylvester(seed=0)
        sylvester.build(4, "float32")
        for weight in sylvester.trainable_variables:
            weight.assign(scale * rng.normal(size=weight.shape))
        y = sylvester.forward(x).numpy()
        back = sylvester.inverse(y).numpy()
        log_det = sylvester.inverse_log_det_jacobian(y, 1)
        is_found = np.isfinite(back).all(-1)
        np.testing.assert_array_equal(np.isfinite(log_det), is_found)
        assert is_found.mean() > 0.9
        off = np.abs(sylvester.forward(back[is_found]) - y[is_found]).max(-1)
        assert (off < 1e-3 * (1 + np.abs(y[is_found]).max(-1))).all()


@pytest.mark.parametrize("cls", [Planar, Sylvester])
@pytest.mark.slow
def test_implicit_gradients_match_finite_differences(cls):
    bijector = cls(identity_start=False, seed=0)
    y = points(3, n=4)
    bijector.build(3, "float64")

    @tf.function
    def value():
        x = tf.reduce_sum(tf.sin(bijector.inverse(y)))
        return x + tf.reduce_sum(bijector.inverse_log_det_jacobian(y, 1))

    check_gradients(value, bijector.trainable_variables)


def test_units_are_at_most_the_coordinates():
    with pytest.raises(ValueError, match="at most 2 for points of width 2"):
        Sylvester(3).forward(points(2))
    with pytest.raises(ValueError, match="whole number ≥ 1"):
        Sylvester(0)
