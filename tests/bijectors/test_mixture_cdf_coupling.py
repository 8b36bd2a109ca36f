"""MixtureCDFCoupling: its formula, its start, its tails and both of its directions."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy.special import expit, logit

import tfp_flows as tfpf
from tfp_flows.bijectors import MixtureCDFCoupling

FAR = np.array([[0.5, 1e6, -1e6], [1e6, -1e6, 0.0], [-1e6, 2.0, 1e6], [1e3, 1e-6, 0.0]])
# With the coordinates that stay near: else the shift that they choose drowns the rest.
FAR_MOVED = np.array([[0.5, 1e6, -1.0], [2.0, -1e6, 0.0], [-1.0, 1e3, 1.0]])


def points(count=50, width=3, scale=2.0):
    return scale * np.random.default_rng(0).normal(size=(count, width))


def make(width=3, dtype="float64", wild=1.0, **options):
    options = {"hidden": (8,), "identity_start": False, "seed": 1, **options}
    coupling = MixtureCDFCoupling(**options)
    coupling.build(width, dtype)
    coupling._head.kernel.assign(wild * coupling._head.kernel)
    return coupling


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("components", [1, 3, 8])
def test_the_start_is_the_identity_to_the_last_bit(dtype, components):
    coupling = MixtureCDFCoupling(components=components, hidden=(8,))
    for x in (points().astype(dtype), FAR.astype(dtype)):
        np.testing.assert_array_equal(coupling.inverse(x), x)
        rounding = 4 * np.finfo(dtype).eps
        back = coupling.forward(x)  # by a root finder
        np.testing.assert_allclose(back, x, rtol=rounding, atol=rounding)
        log_det = coupling.inverse_log_det_jacobian(x, 1)
        np.testing.assert_allclose(log_det, 0.0, atol=rounding)


def test_components_differ_in_what_they_learn_first():
    coupling = MixtureCDFCoupling("halves", components=4, hidden=(8,), seed=0)
    y = tf.constant(points(width=2))
    coupling.build(2, "float64")
    with tf.GradientTape() as tape:
        z = coupling.inverse(y)
        density = -0.5 * tf.reduce_sum(z**2, -1)
        loss = -tf.reduce_mean(density + coupling.inverse_log_det_jacobian(y, 1))
    gradient = tape.gradient(loss, coupling._head.bias.value).numpy()
    logits, means, log_scales = np.split(gradient[3:], 3)
    for part in (logits, means, log_scales):
        assert np.ptp(np.abs(part)) > 0.1 * np.abs(part).max()
    assert np.abs(gradient[2]) > 0  # κ too


def test_the_inverse_is_the_formula():
    coupling = make(width=2, components=3, wild=2.0)
    y = points(width=2)
    features = coupling._network(y[:, :1])
    raw = coupling._head(features).numpy().reshape(len(y), 12)
    a, c, log_share = 3 * np.tanh(raw[:, 0] / 3), raw[:, 1], 5 * np.tanh(raw[:, 2] / 5)
    logits, means, log_scales = np.split(raw[:, 3:], 3, axis=-1)
    weights = np.exp(logits) / np.exp(logits).sum(-1, keepdims=True)
    start = np.array([-2.0, 0.0, 2.0])
    scales = np.exp(5 * np.tanh(log_scales / 5))
    v = y[:, 1:]
    bent = logit((weights * expit((v - means - start) / scales)).sum(-1))
    v = v[:, 0]
    lacking = v - logit(expit(v[:, np.newaxis] - start).mean(-1))
    bent = 1e-3 * v + (1 - 1e-3) * (bent + np.exp(log_share) * lacking)
    expected = np.stack([y[:, 0], bent * np.exp(a) + c], -1)
    np.testing.assert_allclose(coupling.inverse(y), expected, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize(
    ("dtype", "tolerance"), [("float32", 3e-3), ("float64", 1e-10)]
)
def test_round_trips_of_wild_weights(dtype, tolerance):
    y = np.concatenate([points(), FAR_MOVED]).astype(dtype)
    coupling = make(dtype=dtype, wild=20.0)
    x = coupling.inverse(y).numpy()
    assert np.ptp(x) > 100
    back = coupling.forward(tf.identity(x)).numpy()
    np.testing.assert_allclose(back, y, rtol=tolerance, atol=tolerance)
    assert np.isfinite(coupling.forward(FAR.astype(dtype))).all()


@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("wild", [1.0, 100.0])
def test_tails_are_straight_and_finite(dtype, wild):
    coupling = make(dtype=dtype, wild=wild)
    far = np.concatenate([FAR, 1e3 * FAR]).astype(dtype)
    with tf.GradientTape() as tape:
        x = coupling.inverse(far)
        log_det = coupling.inverse_log_det_jacobian(far, 1)
        loss = tf.reduce_sum(log_det) + tf.reduce_mean(x)
    assert np.isfinite(x).all() and np.isfinite(log_det).all()
    for gradient in tape.gradient(loss, coupling.trainable_variables):
        assert np.isfinite(gradient).all()
    # Along one moved coordinate the slope settles, at 1/s of the widest component.
    line = np.zeros((3, 3), dtype)
    line[:, 1] = [1e5, 2e5, 3e5]
    steps = np.diff(coupling.inverse(line).numpy()[:, 1])
    np.testing.assert_allclose(steps[0], steps[1], rtol=1e-2)


def test_no_slope_is_below_the_least_even_in_a_gap():
    coupling = make(width=2, components=2)
    start = np.zeros(9)
    start[2] = -1e3  # κ as small as it may be
    start[5:7] = [-98.0, 98.0]  # components at -100 and 100
    coupling._head.kernel.assign(0 * coupling._head.kernel)
    coupling._head.bias.assign(start)
    y = np.array([[0.0, 50.0], [0.0, 20.0], [0.0, -30.0]])
    log_det = coupling.inverse_log_det_jacobian(y, 1).numpy()
    np.testing.assert_allclose(log_det, np.log(1e-3), atol=0.01)
    x = coupling.inverse(y)
    np.testing.assert_allclose(coupling.forward(tf.identity(x)), y, atol=1e-9)


def test_implicit_gradients_match_finite_differences():
    coupling = make(width=2, components=2, hidden=(3,))
    x = tf.constant(points(4, 2))

    @tf.function
    def loss():
        y = coupling.forward(tf.identity(x))
        log_det = coupling.forward_log_det_jacobian(tf.identity(x), 1)
        return tf.reduce_sum(y**2) + tf.reduce_sum(log_det)

    for weight in coupling.trainable_variables:
        with tf.GradientTape() as tape:
            value = loss()
        gradient = tape.gradient(value, weight).numpy()
        start, step = weight.numpy(), 1e-6
        for index in list(np.ndindex(*weight.shape))[:6]:
            ends = []
            for sign in (1, -1):
                moved = start.copy()
                moved[index] += sign * step
                weight.assign(moved)
                ends.append(float(loss()))
            weight.assign(start)
            expected = (ends[0] - ends[1]) / (2 * step)
            np.testing.assert_allclose(gradient[index], expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("wild", [1.0, 5.0])
def test_the_density_integrates_to_one(wild):
    flow = tfpf.Flow([make(width=2, wild=wild)], event_size=2)
    first = np.linspace(-2.0, 2.0, 5)
    # Denser where the density is; the tails may be long.
    t, step = np.linspace(-12, 12, 8001, retstep=True)
    grid = np.stack(np.meshgrid(first, np.sinh(t), indexing="ij"), -1)
    total = (np.exp(flow.log_prob(grid)) * np.cosh(t) * step).sum(-1)
    expected = np.exp(-0.5 * first**2) / np.sqrt(2 * np.pi)
    np.testing.assert_allclose(total, expected, rtol=1e-3)


def test_it_learns_a_bimodal_conditional_that_no_affine_coupling_can():
    rng = np.random.default_rng(0)
    first = rng.normal(size=4000)
    sign = rng.choice([-1.0, 1.0], 4000)
    x = np.stack([first, sign * (2 + 0.5 * first) + 0.2 * rng.normal(size=4000)], -1)
    coupling = MixtureCDFCoupling("halves", components=4, hidden=(16,), seed=0)
    flow = tfpf.Flow([coupling], event_size=2)
    flow.compile(keras.optimizers.Adam(1e-2))
    x = x.astype("float32")
    history = flow.fit(x, batch_size=200, epochs=15, verbose=0).history["loss"]
    # The entropy: that of the first, of the noise, and of the sign (where the modes
    # touch, less than that).
    entropy = 1.4189 + (1.4189 + np.log(0.2)) + np.log(2)
    assert history[0] > entropy + 0.5
    assert history[-1] < entropy + 0.15


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"components": 0}, "whole number ≥ 1"),
        ({"mask": [0, 2]}, "zeros and ones"),
        ({"hidden": 16}, "sequence of layer widths"),
    ],
)
def test_wrong_arguments_raise_what_is_wrong(options, message):
    with pytest.raises(ValueError, match=message):
        MixtureCDFCoupling(**options)
