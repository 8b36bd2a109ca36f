"""bfloat16 in the networks of couplings and of autoregressive bijectors."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.bijectors import AffineCoupling, MaskedAutoregressive, SplineCoupling
from tfp_flows.testing import check_bijector

MIXED = "mixed_bfloat16"


def points(n=500, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed).astype("float32")


def random_coupling(**options):
    return AffineCoupling(hidden=(16,), identity_start=False, seed=1, **options)


def products(function):
    """Returns the dtypes of the matrix products of a function of points."""
    spec = tf.TensorSpec([None, 2], tf.float32)
    graph = tf.function(function, autograph=False).get_concrete_function(spec).graph
    return {op.outputs[0].dtype for op in graph.get_operations() if op.type == "MatMul"}


@pytest.mark.parametrize("name", ["real_nvp", "nice", "maf", "iaf"])
def test_products_are_in_bfloat16_and_all_else_in_float32(name):
    flow = getattr(tfpf.recipes, name)(2, layers=2, hidden=(8,), seed=0, dtype=MIXED)
    assert flow.dtype == "float32"
    bijector = flow.bijectors[0]
    way = bijector.forward if name == "iaf" else bijector.inverse
    assert products(way) == {tf.bfloat16}
    log_det = bijector.inverse_log_det_jacobian(points(), event_ndims=1)
    assert log_det.dtype == flow.log_prob(points()).dtype == tf.float32
    assert {weight.dtype for weight in flow.trainable_weights} == {"float32"}


@pytest.mark.parametrize(
    "factory",
    [
        random_coupling,
        lambda **options: SplineCoupling(
            hidden=(8,), box=3.0, identity_start=False, seed=1, **options
        ),
        lambda **options: MaskedAutoregressive(
            hidden=(8,), identity_start=False, seed=1, **options
        ),
    ],
)
def test_the_log_det_is_that_of_the_map(factory):
    """The networks are coarse; the maps of their outputs, and log-dets, are not."""
    x = 1.5 * np.random.default_rng(0).normal(size=(11, 3))
    # TensorFlow's graphs join operations, and round between others of them.
    skip = ("graph", "xla", "keras_file")
    passed = check_bijector(lambda: factory(dtype=MIXED), x, skip=skip)
    assert {"round_trip", "forward_log_det", "log_dets_cancel", "config"} <= {*passed}


def test_rounding_keeps_the_mass():
    flow = tfpf.Flow(
        [random_coupling(dtype=MIXED), random_coupling(flip=True)], None, 2
    )
    axis = np.arange(-12, 12, 0.04, dtype="float32")
    grid = np.stack(np.meshgrid(axis, axis), -1)
    mass = np.exp(flow.log_prob(grid).numpy().astype(float)).sum() * 0.04**2
    assert mass == pytest.approx(1, abs=2e-3)


@pytest.mark.slow
def test_it_is_near_float32_and_learns_as_well():
    losses, log_probs = [], []
    for dtype in (None, MIXED):
        flow = tfpf.recipes.real_nvp(2, layers=4, hidden=(32,), seed=0, dtype=dtype)
        flow.compile(keras.optimizers.Adam(5e-3))
        keras.utils.set_random_seed(0)
        told = flow.fit(points(2000), batch_size=100, epochs=4, verbose=0)
        losses.append(told.history["loss"])
        same = tfpf.recipes.real_nvp(2, layers=4, hidden=(32,), seed=0)
        same.set_weights(flow.get_weights())
        log_probs.append((flow.log_prob(points(seed=1)), same.log_prob(points(seed=1))))
    assert losses[1][0] - losses[1][-1] > 0.2
    assert abs(losses[0][-1] - losses[1][-1]) < 0.05
    np.testing.assert_array_equal(*log_probs[0])
    off = np.abs(log_probs[1][0] - log_probs[1][1])
    assert 0 < off.mean() < 0.03


@pytest.mark.slow
def test_a_saved_flow_keeps_it(tmp_path):
    flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0, dtype=MIXED)
    flow.compile("adam")
    flow.fit(points(), verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert products(loaded.bijectors[0].inverse) == {tf.bfloat16}
    assert loaded.dtype == "float32"
    np.testing.assert_array_equal(loaded.log_prob(points()), flow.log_prob(points()))
    loaded.fit(points(), verbose=0)


def test_a_users_network_has_the_precision_it_was_given():
    layer = tfpf.networks.MLP((8,), seed=0, dtype=MIXED)
    coupling = AffineCoupling(network=layer, identity_start=False, seed=0)
    # The head, which follows the network, is the coupling's own.
    assert products(coupling.forward) == {tf.bfloat16, tf.float32}
    assert coupling.forward(points()).dtype == tf.float32


def test_the_policy_of_keras_leaves_flows_alone():
    keras.config.set_dtype_policy(MIXED)
    try:
        flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
    finally:
        keras.config.set_dtype_policy("float32")
    assert flow.dtype == "float32"
    assert products(flow.bijectors[0].inverse) == {tf.float32}


def test_float16_is_refused():
    for refused in (AffineCoupling, MaskedAutoregressive):
        with pytest.raises(ValueError, match="Remedy: bfloat16 has the range"):
            refused(dtype="mixed_float16")
    with pytest.raises(ValueError, match="mixed_float16"):
        tfpf.recipes.real_nvp(2, dtype="mixed_float16")
