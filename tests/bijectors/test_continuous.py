"""ContinuousFlow: known solutions, exact traces, gradients, and when it gives up."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from finite_differences import check_gradients

import tfp_flows as tfpf
from tfp_flows.bijectors import ContinuousFlow

MATRIX = np.array([[0.3, -1.2, 0.0], [0.8, -0.5, 0.4], [0.0, 0.1, 0.6]])


def points(event_size=2, n=12):
    return 1.5 * np.random.default_rng(event_size).normal(size=(n, event_size))


def linear(matrix, by_time, **options):
    """dx/dt = matrix · x + by_time · t."""
    flow = ContinuousFlow(hidden=(), **options)
    flow.build(len(matrix), options.get("dtype", "float64"))
    flow._head.kernel.assign(np.vstack([np.transpose(matrix), by_time]))
    return flow


def exponential(matrix):
    """The matrix exponential."""
    return tf.linalg.expm(tf.constant(matrix)).numpy()


def moved(event_size=2, scale=1.5, dtype="float64", **options):
    """A field with weights as after some training."""
    flow = ContinuousFlow(identity_start=False, seed=0, **options)
    flow.build(event_size, dtype)
    for weight in flow.trainable_variables:
        weight.assign(scale * weight)
    return flow


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({}, 1e-9),
        pytest.param({"tolerance": 1e-6}, 1e-5, marks=pytest.mark.slow),
        pytest.param({"dtype": "float32"}, 1e-4, marks=pytest.mark.slow),
    ],
)
def test_a_linear_field_gives_the_matrix_exponential(options, error):
    by_time = np.array([1.0, -2.0, 0.5])
    flow = linear(MATRIX, by_time, **options)
    # The time is a fourth coordinate, u' = [[A, b, 0], [0, 0, 1], [0, 0, 0]] u.
    augmented = np.zeros([5, 5])
    augmented[:3, :3], augmented[:3, 3], augmented[3, 4] = MATRIX, by_time, 1.0
    x = points(3).astype(options.get("dtype", "float64"))
    start = np.concatenate([x, np.zeros([len(x), 1]), np.ones([len(x), 1])], -1)
    expected = (start @ exponential(augmented).T)[:, :3]
    y = flow.forward(x)
    np.testing.assert_allclose(y, expected, rtol=error, atol=error)
    np.testing.assert_allclose(flow.inverse(y.numpy()), x, rtol=error, atol=error)
    for method, sign in (("forward", 1), ("inverse", -1)):
        log_det = getattr(flow, f"{method}_log_det_jacobian")(x, 1)
        np.testing.assert_allclose(log_det, sign * np.trace(MATRIX), atol=error)


@pytest.mark.parametrize("hidden", [(), (5,), (5, 4), (5, 4, 3)])
def test_the_trace_is_exact_at_every_depth(hidden):
    flow, x = moved(3, hidden=hidden), tf.constant(points(3))
    context = x[:, :0]
    weights = [w.value for w in (*flow._network.weights, *flow._head.weights)]
    signs = tf.constant([1.0, -1.0, 1.0], tf.float64) + tf.zeros_like(x)

    def rates(x, signs=None, inverse=False):
        return flow._rates(
            tf.constant(0.3, x.dtype), x, [context, *weights], signs, inverse
        )

    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        velocity, trace = rates(x)
    jacobian = tape.batch_jacobian(velocity, x, experimental_use_pfor=False)
    np.testing.assert_allclose(trace, tf.linalg.trace(jacobian), rtol=1e-12)
    estimate = rates(x, signs)[1]
    expected = np.einsum("ni,nij,nj->n", signs, jacobian, signs)
    np.testing.assert_allclose(estimate, expected, rtol=1e-12)


def test_a_users_network():
    inner = keras.Sequential([keras.layers.Dense(5, "softplus", dtype="float64")])
    flow = ContinuousFlow(network=inner, identity_start=False, dtype="float64")
    x = points()
    y = flow.forward(x).numpy()
    plain = ContinuousFlow(hidden=(5,), activation="softplus", dtype="float64")
    plain.build(2)
    for source, target in zip(flow._weights, plain._weights, strict=True):
        target.assign(source)
    np.testing.assert_allclose(y, plain.forward(x), atol=1e-9)
    np.testing.assert_allclose(
        flow.forward_log_det_jacobian(x, 1),
        plain.forward_log_det_jacobian(x, 1),
        atol=1e-8,
    )


@pytest.mark.slow
def test_gradients_match_finite_differences():
    flow, x = moved(2, hidden=(3,)), tf.Variable(points(2, n=3))

    @tf.function(autograph=False)
    def value():
        total = tf.reduce_sum(tf.sin(flow.inverse(x)))
        return total + tf.reduce_sum(flow.inverse_log_det_jacobian(x, 1))

    variables = [x, *flow.trainable_variables]
    check_gradients(value, variables, step=1e-4, rtol=1e-6, atol=1e-6)


def test_identity_start_is_exact():
    flow, x = ContinuousFlow(hidden=(8,), seed=0), points().astype("float32")
    np.testing.assert_array_equal(flow.forward(x), x)
    np.testing.assert_array_equal(flow.inverse(x), x)
    np.testing.assert_array_equal(flow.forward_log_det_jacobian(x, 1), np.zeros(12))


def test_a_bad_point_spoils_no_other():
    flow, x = moved(), points()
    expected = flow.forward(x).numpy()
    x[3, 0] = np.nan
    y = flow.forward(x).numpy()
    log_det = flow.forward_log_det_jacobian(x, 1).numpy()
    np.testing.assert_array_equal(np.isnan(log_det), np.arange(12) == 3)
    np.testing.assert_allclose(np.delete(y, 3, 0), np.delete(expected, 3, 0), atol=1e-8)


@pytest.mark.slow
def test_a_field_that_cannot_be_followed_is_no_answer():
    flow = linear(np.array([[800.0]]), [0.0])  # e^800 is too large a number
    x = tf.constant([[1.0]], tf.float64)
    with tf.GradientTape() as tape:
        tape.watch(x)
        y = flow.forward(x)
    assert np.isnan(y).all()
    assert np.isnan(flow.forward_log_det_jacobian(x, 1)).all()
    assert not np.isfinite(tape.gradient(y, x)).any()  # and comes to an end


class TestHutchinson:
    def make(self):
        part = ContinuousFlow(
            hidden=(8, 8), identity_start=False, trace="hutchinson", seed=0
        )
        return tfpf.Flow([part], event_size=4)

    @pytest.mark.slow
    def test_training_estimates_and_evaluation_is_exact(self):
        flow, x = self.make(), points(4, n=2).astype("float32")
        exact = flow.log_prob(x).numpy()
        np.testing.assert_array_equal(flow.log_prob(x), exact)
        np.testing.assert_allclose(flow(x), exact, rtol=1e-4)
        copies = np.tile(x, (400, 1))
        drawn = flow(copies, training=True).numpy().reshape(400, 2)
        assert (drawn.std(0) > 1e-3).all()
        error = drawn.std(0) / 20
        assert (np.abs(drawn.mean(0) - exact) < 4 * error).all()

    @pytest.mark.slow
    def test_fit(self):
        flow, x = self.make(), points(4, n=64).astype("float32")
        before = [weight.numpy() for weight in flow.trainable_variables]
        flow.compile(keras.optimizers.Adam(1e-2))
        history = flow.fit(x, batch_size=32, epochs=2, verbose=0).history
        assert history["loss"][1] < history["loss"][0]
        for weight, old in zip(flow.trainable_variables, before, strict=True):
            assert np.abs(weight - old).max() > 0


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: ContinuousFlow(trace="none"), ValueError, "Unknown trace: 'none'"),
        (lambda: ContinuousFlow(tolerance=0.0), ValueError, "positive"),
        (lambda: ContinuousFlow(network=np.tanh), TypeError, "Keras layer"),
    ],
)
def test_wrong_arguments_raise_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()
