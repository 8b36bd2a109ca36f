"""Autoregressive bijectors: who sees whom, one pass against many, their cost."""

import warnings

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows import networks
from tfp_flows.bijectors import IAF, AutoregressiveSpline, MaskedAutoregressive
from tfp_flows.testing import check_bijector

tfb = tfp.bijectors
tfd = tfp.distributions

SHORT = {"hidden": (8,), "identity_start": False, "seed": 1}
ORDERS = ["natural", "reversed", [2, 0, 3, 1]]
CLASSES = [MaskedAutoregressive, IAF, AutoregressiveSpline]


def points(n, d, dtype="float64"):
    return np.random.default_rng(d).normal(size=(n, d)).astype(dtype)


def jacobian(function, x):
    x = tf.constant(x)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        columns = tf.unstack(function(x), axis=-1)
    zero = tf.UnconnectedGradients.ZERO
    rows = [tape.gradient(c, x, unconnected_gradients=zero) for c in columns]
    return tf.stack(rows, -2).numpy()


@pytest.mark.parametrize("order", ORDERS, ids=str)
@pytest.mark.parametrize("cls", CLASSES)
def test_each_coordinate_sees_itself_and_those_before_it(cls, order):
    bijector = cls(order, **SHORT)
    x = points(9, 4)
    place = np.argsort(networks.as_order(order, 4))
    expected = place[:, None] >= place[None, :]
    for direction in (bijector.forward, bijector.inverse):
        seen = (jacobian(direction, x) != 0).any(0)
        np.testing.assert_array_equal(seen, expected)


@pytest.mark.parametrize("cls", CLASSES)
def test_many_passes_solve_what_one_pass_evaluates(cls):
    bijector = cls([3, 1, 0, 2], context_size=2, **SHORT).given(points(9, 2))
    u = points(9, 4)
    one, many = bijector.inverse, bijector.forward
    log_det, other = (
        bijector.inverse_log_det_jacobian,
        bijector.forward_log_det_jacobian,
    )
    if cls is IAF:
        one, many, log_det, other = many, one, other, log_det
    v = one(u).numpy()
    np.testing.assert_allclose(many(v), u, rtol=1e-10, atol=1e-12)
    np.testing.assert_allclose(other(v, 1), -log_det(u, 1), rtol=1e-10)


@pytest.mark.parametrize("residual", [False, True])
def test_iaf_is_the_inverse_of_maf_on_the_same_weights(residual):
    options = {**SHORT, "order": "reversed", "residual": residual}
    maf, iaf = MaskedAutoregressive(**options), IAF(**options)
    x = points(9, 3)
    np.testing.assert_array_equal(iaf.forward(x), maf.inverse(x))
    np.testing.assert_array_equal(iaf.inverse(x), maf.forward(x))
    np.testing.assert_array_equal(
        iaf.forward_log_det_jacobian(x, 1), maf.inverse_log_det_jacobian(x, 1)
    )


@pytest.mark.parametrize("cls", CLASSES)
def test_64_dimensions(cls):
    bijector = cls("reversed", hidden=(64,), identity_start=False, seed=0)
    x = points(20, 64)

    def there(x):
        return bijector.forward(x), bijector.forward_log_det_jacobian(x, event_ndims=1)

    def back(y):
        return bijector.inverse(y), bijector.inverse_log_det_jacobian(y, event_ndims=1)

    # In a graph, as a Flow does; in eager mode the passes take their time.
    y, log_det = tf.function(there, autograph=False)(x)
    again, other = tf.function(back, autograph=False)(y)
    np.testing.assert_allclose(again, x, rtol=1e-9, atol=1e-9)
    np.testing.assert_allclose(other, -log_det, rtol=1e-9)
    assert np.abs(y - x).mean() > 0.1


def test_by_hand():
    # A linear network: (s', t) of the second from the first, of the first the bias.
    maf = MaskedAutoregressive(hidden=(), identity_start=False, dtype="float64")
    maf.build(2)
    kernel = np.zeros((2, 4))
    kernel[0, 2:] = 0.3, -2.0
    maf._network.set_weights([kernel, np.array([0.5, 1.0, 0.1, 0.2])])
    s = np.tanh([0.5, 0.3 * 1.7 + 0.1])
    t = np.array([1.0, -2.0 * 1.7 + 0.2])
    y = np.array([[1.7, -0.4]])
    expected = (y - t) * np.exp(-s)
    np.testing.assert_allclose(maf.inverse(y), expected, rtol=1e-12)
    log_det = maf.inverse_log_det_jacobian(y, 1)
    np.testing.assert_allclose(log_det, [-s.sum()], rtol=1e-12)
    np.testing.assert_allclose(maf.forward(expected), y, rtol=1e-12)


def test_one_coordinate_is_moved_by_the_context_alone():
    bijector = MaskedAutoregressive(context_size=1, dtype="float64", **SHORT)
    context, y = points(9, 1) + 0.5, np.ones((9, 1))
    x = bijector.given(context).inverse(y).numpy()
    assert np.ptp(x) > 0.1
    again = bijector.given(context).forward(x)
    np.testing.assert_allclose(again, y, rtol=1e-12)


@pytest.mark.parametrize("cls", CLASSES)
def test_the_context_reaches_every_coordinate(cls):
    bijector = cls(context_size=2, **{**SHORT, "dtype": "float64"})
    x, context = points(9, 3), tf.constant(points(9, 2))
    for direction in ("forward", "inverse"):
        seen = jacobian(
            lambda c, d=direction: getattr(bijector.given(c), d)(x), context
        )
        assert (np.abs(seen) > 0).any(0).all()


@pytest.mark.parametrize("cls", CLASSES)
def test_starts_as_the_identity_unless_told_otherwise(cls):
    x = points(9, 3, "float32")
    y = cls(hidden=(8,)).forward(x)
    np.testing.assert_allclose(y, x, atol=1e-6)
    if cls is not AutoregressiveSpline:
        np.testing.assert_array_equal(y, x)
    assert np.abs(cls(**SHORT).forward(x) - x).max() > 0.1


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("cls", [MaskedAutoregressive, AutoregressiveSpline])
@pytest.mark.slow
def test_gradients_through_the_passes_of_a_graph(cls, jit_compile):
    bijector = cls("reversed", **SHORT)
    bijector.build(3, "float64")
    x = tf.constant(points(6, 3))

    def gradients(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = bijector.forward(x)
            log_det = bijector.forward_log_det_jacobian(x, event_ndims=1)
            total = tf.reduce_sum(y**2) + tf.reduce_sum(log_det)
        return tape.gradient(total, [x, *bijector.trainable_variables])

    # A batch of any size, as `Flow` compiles it.
    signature = [tf.TensorSpec([None, 3], tf.float64)]
    traced = tf.function(
        gradients, input_signature=signature, jit_compile=jit_compile, autograph=False
    )
    for got, expected in zip(traced(x), gradients(x), strict=True):
        np.testing.assert_allclose(got, expected, rtol=1e-8, atol=1e-10)


class TestCost:
    def test_warns_once_of_many_passes_in_a_row(self):
        x = points(2, 128, "float32")
        maf, iaf = MaskedAutoregressive(hidden=(4,)), IAF(hidden=(4,))
        with pytest.warns(UserWarning, match=r"sampling \(forward\) takes 128 network"):
            maf.forward(x)
        with pytest.warns(UserWarning, match=r"density \(inverse\) takes 128 network"):
            iaf.inverse(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            maf.forward(x)  # said before
            maf.inverse(x)  # takes one
            iaf.forward(x)

    def test_bound_to_contexts_it_warns_once_in_all(self):
        maf = MaskedAutoregressive(hidden=(4,), context_size=1)
        x = points(1, 128, "float32")
        with pytest.warns(UserWarning, match="128 network passes"):
            maf.given(np.ones((1, 1), "float32")).forward(x)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            maf.given(np.zeros((1, 1), "float32")).forward(x)

    def test_samples_of_a_flow_warn_once(self):
        flow = tfpf.recipes.maf(128, layers=1, hidden=(4,))
        with pytest.warns(UserWarning, match=r"sampling \(forward\) takes 128 network"):
            flow.sample(2, seed=0)
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            flow.sample(3, seed=0)
            tfpf.recipes.iaf(128, layers=1, hidden=(4,)).sample(2, seed=0)

    def test_says_nothing_of_few_passes_or_in_a_graph(self):
        maf = MaskedAutoregressive(hidden=(4,))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            tf.function(maf.forward, autograph=False)(points(2, 128, "float32"))
            MaskedAutoregressive(hidden=(4,)).forward(points(2, 16, "float32"))


class TestNetwork:
    @pytest.mark.parametrize(
        "cls", [networks.MaskedMLP, networks.MaskedResidualMLP], ids=["mlp", "residual"]
    )
    def test_a_masked_network_with_options_of_its_own(self, cls):
        order = [1, 2, 0]
        network = cls(3, 2, (8,), order=order, dropout=0.1, seed=0, dtype="float64")
        bijector = MaskedAutoregressive(order, network=network, dtype="float64")
        assert {"round_trip", "weights_used"} <= {
            *check_bijector(bijector, points(9, 3), skip=["xla", "keras_file"])
        }

    def test_any_layer_that_looks_back_alone_will_do(self):
        class Cumulative(keras.layers.Layer):
            def build(self, shape):
                self.scale = self.add_weight(shape=(2,), initializer="ones")

            def call(self, x):
                before = tf.cumsum(x, axis=-1, exclusive=True)
                return before[..., tf.newaxis] * self.scale

        bijector = MaskedAutoregressive(network=Cumulative(dtype="float64"))
        x = points(9, 4)
        y = bijector.forward(x).numpy()
        np.testing.assert_allclose(bijector.inverse(y), x, rtol=1e-9)
        assert len(bijector.trainable_variables) == 2

    def test_one_that_looks_ahead_is_refused(self):
        network = keras.Sequential(
            [keras.layers.Dense(6, dtype="float64"), keras.layers.Reshape((3, 2))]
        )
        bijector = MaskedAutoregressive(network=network, dtype="float64")
        with pytest.raises(ValueError, match="variable 0 depend on more"):
            bijector.build(3)

    def test_one_of_another_order_is_refused(self):
        network = networks.MaskedMLP(3, 2, (8,), zero_start=True)
        with pytest.raises(ValueError, match=r"one order.*\[0, 1, 2\] and \[2, 1, 0\]"):
            MaskedAutoregressive("reversed", network=network).build(3)

    def test_outputs_of_another_shape_are_refused(self):
        network = networks.MaskedMLP(3, 5, (8,))
        with pytest.raises(ValueError, match=r"shape \(4, 3, 2\)"):
            MaskedAutoregressive(network=network).build(3)

    def test_it_must_be_a_layer(self):
        with pytest.raises(TypeError, match="Keras layer"):
            MaskedAutoregressive(network=lambda x: x)


class TestSpline:
    def test_outside_of_its_box_it_leaves_points_alone(self):
        bijector = AutoregressiveSpline(box=3.0, **SHORT)
        y = np.array([[4.0, -5.0, 100.0]])
        np.testing.assert_allclose(bijector.inverse(y), y, rtol=1e-12)
        np.testing.assert_array_equal(bijector.outside(y), [True])
        np.testing.assert_array_equal(bijector.outside(0 * y), [False])

    def test_affine_scales_far_out_too(self):
        bijector = AutoregressiveSpline(box=3.0, affine=True, **SHORT)
        y = 1e3 * points(9, 3)
        assert np.abs(bijector.inverse(y) - y).max() > 1.0
        back = bijector.forward(bijector.inverse(y).numpy())
        np.testing.assert_allclose(back, y, rtol=1e-9)

    def test_angles_go_around(self):
        bijector = AutoregressiveSpline(circular=True, **SHORT)
        y = np.random.default_rng(0).uniform(-3.1, 3.1, (9, 3))
        x = bijector.inverse(y).numpy()
        turned = bijector.inverse(y + 2 * np.pi).numpy()
        np.testing.assert_allclose(np.cos(x - turned), 1.0, rtol=1e-9)
        assert ((x >= -np.pi) & (x < np.pi)).all()
        assert not bijector.needs_adaptation
        assert not bijector.outside(y + 2 * np.pi).numpy().any()

    def test_a_flow_fits_the_box_to_data(self, tmp_path):
        rng = np.random.default_rng(0)
        x = (rng.normal(size=(500, 2)) * [1.0, 20.0] + [0.0, 300.0]).astype("float32")
        flow = tfpf.Flow([AutoregressiveSpline(bins=4, hidden=(8,))], event_size=2)
        spline = flow.bijectors[0]
        assert spline.needs_adaptation
        flow.adapt(x)
        assert not spline.needs_adaptation
        assert spline.outside(x).numpy().mean() < 0.01
        flow.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(tmp_path / "flow.keras")
        assert not loaded.bijectors[0].needs_adaptation
        np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"bins": 1}, "at least 2"),
            ({"box": (1.0, 0.0)}, "'data', a number"),
            ({"affine": True, "circular": True}, "False for angles"),
        ],
    )
    def test_wrong_options_raise(self, options, message):
        with pytest.raises(ValueError, match=message):
            AutoregressiveSpline(**options)


@pytest.mark.parametrize("cls", CLASSES)
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"order": "sorted"}, "'natural', 'reversed'"),
        ({"order": [0, 2]}, "permutation of 0..1"),
        ({"hidden": (8, 16), "residual": True}, "one width"),
    ],
)
def test_wrong_arguments_raise_what_is_wrong(cls, arguments, message):
    with pytest.raises(ValueError, match=message):
        cls(**arguments)


def test_an_order_tells_the_width():
    assert tfpf.Flow([MaskedAutoregressive([2, 0, 1])]).event_size == 3
    with pytest.raises(ValueError, match=r"permutation of 0\.\.3"):
        MaskedAutoregressive([2, 0, 1]).build(4)


@pytest.mark.parametrize("cls", CLASSES)
def test_integrates_to_one(cls):
    bijector = cls("reversed", **SHORT)
    flow = tfd.TransformedDistribution(
        tfd.MultivariateNormalDiag(np.zeros(2), np.ones(2)), bijector
    )
    axis = np.linspace(-12.0, 12.0, 401)
    grid = np.stack(np.meshgrid(axis, axis), -1)
    total = np.exp(flow.log_prob(grid)).sum() * (axis[1] - axis[0]) ** 2
    assert total == pytest.approx(1.0, abs=1e-3)


def test_fits_what_its_order_can_say():
    # x₂ given x₁ is normal with a mean and a spread that x₁ bends.
    rng = np.random.default_rng(0)
    z = rng.normal(size=(4000, 2))
    log_scale = 0.5 * np.tanh(z[:, 0])
    x2 = np.sin(2 * z[:, 0]) + np.exp(log_scale) * z[:, 1]
    x = np.stack([z[:, 0], x2], -1).astype("float32")
    log_prob = -np.log(2 * np.pi) - 0.5 * (z**2).sum(-1) - log_scale
    flow = tfpf.Flow([MaskedAutoregressive(hidden=(32, 32), seed=0)], event_size=2)
    flow.compile(keras.optimizers.Adam(5e-3), steps_per_execution=16)
    keras.utils.set_random_seed(0)
    flow.fit(x[:3000], batch_size=250, epochs=20, verbose=0)
    lost = np.mean(log_prob[3000:] - flow.log_prob(x[3000:]))
    assert lost < 0.03


def test_dropout_of_a_network_acts_while_a_flow_is_fitted():
    network = networks.MaskedMLP(2, 2, (64,), dropout=0.9, seed=0)
    flow = tfpf.Flow([MaskedAutoregressive(network=network)], event_size=2)
    x = points(64, 2, "float32")
    assert np.abs(flow(x, training=True) - flow(x, training=False)).max() > 0.01
    np.testing.assert_allclose(flow(x, training=False), flow.log_prob(x), rtol=1e-5)
