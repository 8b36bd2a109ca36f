"""Maps: what any of them promises, in both wrappers, and a user's own."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from zoo import MAPS

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    AffineCoupling,
    Autoregressive,
    AutoregressiveSpline,
    Coupling,
    MaskedAutoregressive,
    MixtureCDFCoupling,
    SplineCoupling,
    elementwise,
)

WRAPPERS = [Coupling, Autoregressive]


def points(n=20, d=3, dtype="float32"):
    return np.random.default_rng(d).normal(size=(n, d)).astype(dtype)


def evaluated(name, scale, n=200):
    """Returns a map, numbers y, parameters and what the map takes after them."""
    map = MAPS[name]()
    rng = np.random.default_rng(0)
    y = tf.constant(rng.uniform(-5, 5, n))
    parameters = tf.constant(scale * rng.normal(size=(n, map.parameter_count)))
    own = [
        tf.zeros([n], tf.float64) for _ in map.own_weights(n, tf.float64, trainable=0)
    ]
    if map.interval is not None:
        low, high = map.interval
        own += [tf.fill([n], tf.constant(v, tf.float64)) for v in (low, high - low)]
    return map, y, parameters, own


@pytest.mark.parametrize("name", MAPS)
def test_parameters_of_zero_make_the_identity(name):
    map, y, parameters, own = evaluated(name, scale=0.0)
    for function in (map.forward, map.inverse):
        value, log_slope = function(y, parameters, *own)
        np.testing.assert_allclose(value, y, rtol=1e-13, atol=1e-13)
        np.testing.assert_allclose(log_slope, 0.0, atol=1e-13)


@pytest.mark.parametrize("name", MAPS)
def test_both_directions_and_their_slopes_agree(name):
    map, y, parameters, own = evaluated(name, scale=2.0)
    with tf.GradientTape() as tape:
        tape.watch(y)
        x, log_slope = map.inverse(y, parameters, *own)
    slope = tape.gradient(x, y)
    np.testing.assert_allclose(log_slope, np.log(slope), rtol=1e-9, atol=1e-9)
    with tf.GradientTape() as tape:
        tape.watch(x)
        back, log_of_forward = map.forward(x, parameters, *own)
    np.testing.assert_allclose(back, y, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(log_of_forward, -log_slope, rtol=1e-6, atol=1e-7)
    np.testing.assert_allclose(tape.gradient(back, x), 1 / slope, rtol=1e-6)


@pytest.mark.parametrize("name", MAPS)
def test_a_map_is_told_apart_by_its_arguments_alone(name):
    map = MAPS[name]()
    again = type(map)(**map.get_config())
    assert again.get_config() == map.get_config()
    assert repr(again) == repr(map)


@pytest.mark.parametrize(
    ("named", "wrapped"),
    [
        (AffineCoupling, lambda **o: Coupling(elementwise.AffineMap(), **o)),
        (SplineCoupling, lambda **o: Coupling(elementwise.RationalQuadraticMap(), **o)),
        (MixtureCDFCoupling, lambda **o: Coupling(elementwise.MixtureCDFMap(), **o)),
        (
            MaskedAutoregressive,
            lambda **o: Autoregressive(elementwise.AffineMap(), **o),
        ),
        (
            AutoregressiveSpline,
            lambda **o: Autoregressive(elementwise.RationalQuadraticMap(), **o),
        ),
    ],
)
def test_a_named_bijector_is_the_wrapper_of_its_map(named, wrapped):
    options = {"hidden": (8,), "identity_start": False, "seed": 3}
    y = points()
    one, other = named(**options), wrapped(**options)
    np.testing.assert_array_equal(one.inverse(y), other.inverse(y))
    assert "map" not in one.get_config() and "map" in other.get_config()


@keras.saving.register_keras_serializable("tests")
class Sinh(elementwise.ElementwiseMap):
    """Forward, y = x + sinh(a·x)·k / a for an a ≥ 0; see `inverse`."""

    parameter_count = 2

    def __init__(self, most=1.0):
        self.most = most

    def inverse(self, y, parameters):
        scale, shift = tf.unstack(parameters, axis=-1)
        scale = self.most * tf.tanh(scale)
        x = tf.sinh(tf.asinh(y) * tf.exp(scale)) + shift
        return x, self._log_slope(y, x - shift, scale)

    def forward(self, x, parameters):
        scale, shift = tf.unstack(parameters, axis=-1)
        scale = self.most * tf.tanh(scale)
        y = tf.sinh(tf.asinh(x - shift) * tf.exp(-scale))
        return y, -self._log_slope(y, x - shift, scale)

    def _log_slope(self, y, x, scale):
        return scale + 0.5 * (tf.math.log1p(x**2) - tf.math.log1p(y**2))


@pytest.mark.parametrize(
    "wrapper", [WRAPPERS[0], pytest.param(WRAPPERS[1], marks=pytest.mark.slow)]
)
def test_a_users_map_passes_the_contract(wrapper):
    passed = tfpf.testing.check_bijector(
        lambda: wrapper(Sinh(0.5), hidden=(4,), identity_start=False, seed=1),
        points(9, 2, "float64"),
        skip=["xla"],
    )
    assert {"round_trip", "forward_log_det", "weights_used", "keras_file"} <= {*passed}


def test_a_users_map_is_saved_with_its_arguments(tmp_path):
    flow = tfpf.Flow(
        [
            Coupling(Sinh(0.7), hidden=(4,), identity_start=False),
            Autoregressive(Sinh(0.2), hidden=(4,), identity_start=False),
        ],
        event_size=2,
    )
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert [b.map.most for b in loaded.bijectors] == [0.7, 0.2]
    x = points(d=2)
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


def test_a_map_that_nobody_registered_is_copied_but_not_loaded(tmp_path):
    class Mine(elementwise.AdditiveMap):
        pass

    flow = tfpf.Flow(
        [Coupling(Mine(), hidden=(4,), identity_start=False)], event_size=2
    )
    x = points(d=2)
    copy = flow.reordered([0])
    np.testing.assert_array_equal(copy.log_prob(x), flow.log_prob(x))
    flow.save(tmp_path / "flow.keras")
    with pytest.raises(ValueError, match="Mine"):
        keras.models.load_model(tmp_path / "flow.keras")
    loaded = keras.models.load_model(
        tmp_path / "flow.keras", custom_objects={"Mine": Mine}
    )
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_a_map_must_be_one(wrapper):
    with pytest.raises(TypeError, match=r"ElementwiseMap, such as .*'affine'"):
        wrapper("affine")


@pytest.mark.parametrize("wrapper", WRAPPERS)
def test_the_box_of_any_map_is_fitted_to_data(wrapper):
    map = elementwise.RationalQuadraticMap(3)
    flow = tfpf.Flow([wrapper(map, hidden=(4,))], event_size=2)
    bijector = flow.bijectors[0]
    assert bijector.needs_adaptation
    x = (points(500, 2) * [1.0, 20.0] + [0.0, 300.0]).astype("float32")
    flow.adapt(x)
    assert not bijector.needs_adaptation
    low = bijector._box.low.numpy()
    assert (low[-1] < np.quantile(x[:, 1], 0.01)) and low[-1] > 200
    assert np.mean(bijector.outside(x)) < 0.01
    np.testing.assert_allclose(bijector.inverse(x), x, rtol=1e-5, atol=1e-5)
