"""ResidualBlock and its network: the Lipschitz bound, the inverse, the log-det."""

import math

import numpy as np
import pytest
import tensorflow as tf
from finite_differences import check_gradients

from tfp_flows.bijectors import ResidualBlock
from tfp_flows.networks import ContractiveMLP
from tfp_flows.networks.contractive import norm_bound


def points(event_size, n=20, scale=3.0):
    return scale * np.random.default_rng(event_size).normal(size=(n, event_size))


def trained(event_size=2, scale=10.0, dtype="float64", **options):
    """A block with large weights, as after long training."""
    block = ResidualBlock(identity_start=False, seed=0, **options)
    block.build(event_size, dtype)
    for weight in block.trainable_variables:
        weight.assign(scale * weight)
    return block


@pytest.mark.parametrize("shape", [(2, 64), (64, 64), (64, 3), (1, 5), (1, 1)])
@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e4])
@pytest.mark.parametrize("dtype", ["float64", "float32"])
def test_the_norm_bound_is_above_and_near(shape, scale, dtype):
    matrix = scale * np.random.default_rng(0).normal(size=shape)
    bound = float(norm_bound(tf.constant(matrix, dtype)))
    assert 1 - 1e-5 < bound / np.linalg.norm(matrix, 2) < 1.017


def test_the_norm_bound_at_its_worst():
    assert 1 <= float(norm_bound(tf.eye(64, dtype=tf.float64))) < 1.017
    zero = tf.Variable(tf.zeros([3, 4]))
    with tf.GradientTape() as tape:
        bound = tf.maximum(norm_bound(zero), 0.5)
    assert float(bound) == 0.5
    assert np.isfinite(tape.gradient(bound, zero)).all()


@pytest.mark.parametrize("lipschitz", [0.5, 0.97])
@pytest.mark.parametrize("hidden", [(), (16,), (8, 8)])
def test_the_network_contracts_at_any_weights(lipschitz, hidden):
    network = ContractiveMLP(3, hidden, lipschitz, seed=0, dtype="float64")
    a, b = points(3, n=200), points(4, n=200)[:, :3]
    b[:100] = a[:100] + 1e-3 * b[:100]
    network(a)
    for _ in range(3):
        off = np.linalg.norm(network(a) - network(b), axis=-1)
        assert (off <= lipschitz * np.linalg.norm(a - b, axis=-1)).all()
        for weight in network.trainable_weights:
            weight.assign(5.0 * weight)


def test_only_the_points_are_contracted():
    network = ContractiveMLP(2, (8,), 0.5, seed=0, dtype="float64")
    inputs = np.concatenate([np.zeros([2, 2]), [[0.0], [100.0]]], -1)
    network(inputs)
    network.context_kernel.assign(100.0 * network.context_kernel)
    value, jacobian = network.value_and_jacobian(inputs, network.scaled_kernels())
    assert np.abs(value[1] - value[0]).max() > 0.5
    np.testing.assert_allclose(value, network(inputs))
    assert (np.linalg.norm(jacobian, 2, axis=(-2, -1)) <= 0.5).all()


@pytest.mark.parametrize("lipschitz", [0.5, 0.99])
@pytest.mark.parametrize("event_size", [1, 2, 5])
def test_inverts_to_rounding(lipschitz, event_size):
    x = points(event_size)
    for scale in (1.0, 30.0):
        block = trained(event_size, scale, hidden=(16, 16), lipschitz=lipschitz)
        y = block.forward(x).numpy()
        np.testing.assert_allclose(block.inverse(y), x, rtol=1e-10, atol=1e-10)


def test_float32_is_as_good_as_rounding():
    block, x = trained(3, dtype="float32"), points(3).astype("float32")
    np.testing.assert_allclose(
        block.inverse(block.forward(x).numpy()), x, rtol=1e-5, atol=1e-5
    )


@pytest.mark.parametrize("event_size", [1, 4])
def test_the_log_det_keeps_its_bounds(event_size):
    block = trained(event_size, hidden=(16,), lipschitz=0.9)
    log_det = block.forward_log_det_jacobian(points(event_size), 1).numpy()
    assert np.ptp(log_det) > 0.01
    assert (log_det > event_size * math.log(1 - 0.9)).all()
    assert (log_det < event_size * math.log(1 + 0.9)).all()


def test_identity_start_is_exact():
    block, x = ResidualBlock(seed=0), points(3).astype("float32")
    np.testing.assert_array_equal(block.forward(x), x)
    np.testing.assert_array_equal(block.inverse(x), x)
    np.testing.assert_array_equal(block.forward_log_det_jacobian(x, 1), np.zeros(20))


@pytest.mark.slow
def test_implicit_gradients_match_finite_differences():
    block = trained(2, 2.0, hidden=(3,))
    y = points(2, n=4)

    @tf.function
    def value():
        x = tf.reduce_sum(tf.sin(block.inverse(y)))
        return x + tf.reduce_sum(block.inverse_log_det_jacobian(y, 1))

    check_gradients(value, block.trainable_variables)


@pytest.mark.parametrize("lipschitz", [0.0, 1.0, -0.5, float("nan")])
def test_a_contraction_needs_a_constant_below_one(lipschitz):
    with pytest.raises(ValueError, match=r"number in \(0, 1\)"):
        ResidualBlock(lipschitz=lipschitz)
