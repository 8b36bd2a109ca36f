"""Every public bijector through one contract, and what is particular to each."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from zoo import CONTRACT, DEAR, MAPS, ONE_OF_EACH, QUICK, SLOW, points

from tfp_flows import bijectors
from tfp_flows.bijectors import (
    AdditiveCoupling,
    AffineCoupling,
    LeakyReLU,
    MixtureCDF,
    Rotation2D,
    ShiftAndCube,
    elementwise,
)
from tfp_flows.testing import check_bijector

tfb = tfp.bijectors
tfd = tfp.distributions


def network():
    return keras.Sequential([keras.layers.Dense(7, "tanh", dtype="float64")])


OF_THE_CLASS = {"xla", "keras_file", "dtypes"}


def slow_if(slow, cases):
    return [pytest.param(c, marks=[pytest.mark.slow] * slow(c)) for c in cases]


@pytest.mark.parametrize("case", slow_if(lambda case: case in SLOW, CONTRACT))
def test_contract(case):
    _, factory, x = CONTRACT[case]
    passed = check_bijector(factory(), x, skip=OF_THE_CLASS)  # in float64
    assert {"round_trip", "forward_log_det", "graph", "weights_used"} <= {*passed}


@pytest.mark.parametrize(
    "case",
    [
        *slow_if(
            lambda case: case not in QUICK,
            [case for case in ONE_OF_EACH if case not in DEAR],
        ),
        *(pytest.param(case, marks=pytest.mark.campaign) for case in DEAR),
    ],
)
def test_contract_of_files_dtypes_and_xla(case):
    """What is a matter of the class rather than of its options."""
    _, factory, x = CONTRACT[case]
    assert OF_THE_CLASS <= {*check_bijector(factory, x)}


def test_the_contract_covers_every_public_bijector():
    assert {*DEAR} <= {*ONE_OF_EACH}
    public = {getattr(bijectors, name) for name in bijectors.__all__}
    assert public == {cls for cls, _, _ in CONTRACT.values()}


def test_the_contract_covers_every_map_in_both_wrappers():
    public = {m for m in vars(elementwise).values() if isinstance(m, type)}
    maps = {type(make()) for make in MAPS.values()}
    assert maps == public - {elementwise.ElementwiseMap}
    for name in MAPS:
        assert f"coupling, {name}" in CONTRACT and f"autoregressive, {name}" in CONTRACT


@pytest.mark.parametrize("event_size", [2, 3, 64, 300])
@pytest.mark.parametrize("mask", ["alternating", "halves"])
def test_couplings_of_every_width_leave_the_masked_coordinates_alone(event_size, mask):
    x = points(event_size).astype("float32")
    coupling = AffineCoupling(mask, hidden=(8,), identity_start=False, seed=0)
    moved = (coupling.forward(x).numpy() != x).any(0)
    stays = np.arange(event_size) % 2 == 0
    if mask == "halves":
        stays = np.arange(event_size) < math.ceil(event_size / 2)
    np.testing.assert_array_equal(moved, ~stays)
    # Nothing is computed only to be thrown away.
    network, head = coupling._network, coupling._head
    assert network.dense[0].kernel.shape[0] == stays.sum()
    assert head.kernel.shape[-1] == 2 * (~stays).sum()


def test_couplings_start_as_the_identity_unless_told_otherwise():
    x = points(4).astype("float32")
    np.testing.assert_array_equal(AffineCoupling(hidden=(8,)).forward(x), x)
    other = AffineCoupling(hidden=(8,), identity_start=False).forward(x)
    assert np.abs(other - x).max() > 0.1


def test_affine_scale_is_bounded():
    coupling = AffineCoupling(hidden=(4,), identity_start=False, seed=0)
    far = np.array([[1e6, 1.0], [-1e6, 1.0]], "float32")
    log_det = coupling.forward_log_det_jacobian(far, event_ndims=1)
    assert np.abs(log_det).max() <= 1.0


def test_a_users_network_conditions_the_coupling():
    inner = network()
    coupling = AffineCoupling(network=inner, identity_start=False, dtype="float64")
    passed = check_bijector(coupling, points(3), skip=OF_THE_CLASS)
    assert "weights_used" in passed
    held = [weight.value for weight in inner.weights]
    assert all(any(v is h for v in coupling.trainable_variables) for h in held)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: AffineCoupling("odd"), "'alternating', 'halves'"),
        (lambda: AffineCoupling([0, 2]), "zeros and ones"),
        (lambda: AffineCoupling(hidden=16), "sequence of layer widths"),
        (lambda: AffineCoupling(hidden=(0,)), "whole number ≥ 1"),
        (lambda: AffineCoupling().forward(np.ones((3, 1))), "one that moves"),
        (lambda: AffineCoupling([1, 0]).forward(np.ones((3, 3))), "one entry a coord"),
        (lambda: LeakyReLU(-0.1), "positive"),
        (lambda: LeakyReLU([0.1, 0.2]).forward(np.ones((4, 3))), r"\(\) or \(3,\)"),
        (lambda: Rotation2D(1.0).forward(np.ones((4, 3))), "width 2"),
        (lambda: Rotation2D(1.0).forward(1.0), "Received a scalar"),
        (lambda: ShiftAndCube(1.0, 1, 1), "different coordinates"),
        (lambda: ShiftAndCube(1.0, 0, 3).forward(np.ones((4, 2))), "coordinate 3"),
        (lambda: ShiftAndCube(1.0, -1), "index of a coordinate"),
        (lambda: MixtureCDF(0), "whole number ≥ 1"),
        (lambda: Rotation2D(seed=-1), "whole number ≥ 0"),
        (lambda: Rotation2D([0.1, 0.2]), "`angle` must be one finite number"),
        (lambda: Rotation2D(tf.Variable([0.1])), "`angle` must be one finite number"),
        (lambda: ShiftAndCube(math.nan), "`coefficient` must be one finite number"),
        (lambda: ShiftAndCube("1"), "`coefficient` must be one finite number"),
    ],
)
def test_wrong_arguments_raise_what_is_wrong(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_a_network_must_be_a_layer():
    with pytest.raises(TypeError, match="Keras layer"):
        AffineCoupling(network=lambda x: x)


def test_a_name_must_be_a_string():
    with pytest.raises(TypeError, match="must be a string"):
        LeakyReLU(0.5, name={})


@pytest.mark.parametrize("cls", [ShiftAndCube, Rotation2D, LeakyReLU, AffineCoupling])
def test_a_random_start_is_drawn_once_and_stored(cls):
    x = points(2).astype("float32")
    drawn = cls(seed=5)
    again, other = cls.from_config(drawn.get_config()), cls(seed=6)
    np.testing.assert_array_equal(drawn.forward(x), again.forward(x))
    assert other.get_config() != drawn.get_config()
    unseeded = cls()
    copy = cls.from_config(unseeded.get_config())
    np.testing.assert_array_equal(unseeded.forward(x), copy.forward(x))


@pytest.mark.parametrize("case", ["shift and cube", "leaky relu", "rotation"])
def test_trainable_false_freezes(case):
    cls, factory, x = CONTRACT[case]
    config = {**factory().get_config(), "trainable": False}
    bijector = cls.from_config(config)
    bijector.forward(x)
    assert bijector.variables and not bijector.trainable_variables


@pytest.mark.parametrize("cls", [AffineCoupling, AdditiveCoupling, MixtureCDF])
def test_trainable_false_freezes_networks(cls):
    bijector = cls(trainable=False)
    bijector.build(3, "float32")
    assert bijector.variables and not bijector.trainable_variables


def test_a_callers_variable_is_used_as_it_is():
    angle = tf.Variable(0.1)
    rotation = Rotation2D(angle)
    rotation.build(2)
    assert rotation.trainable_variables == (angle,)
    angle.assign(math.pi)
    y = rotation.forward(np.array([[1.0, 0.0]], "float32"))
    np.testing.assert_allclose(y, [[-1.0, 0.0]], atol=1e-6)


def test_equal_arguments_do_not_share_cached_answers():
    # TFP would take the second for the first, and hand out the first's inverse.
    x = tf.constant(points(2).astype("float32"))
    first, second = LeakyReLU(0.5), LeakyReLU(0.5)
    second.build(2)
    second.trainable_variables[0].assign(math.log(0.1))

    @tf.function
    def both(x):
        return second.inverse(first.forward(x))

    negative = x < 0
    np.testing.assert_allclose(both(x)[negative], x[negative] * 5.0, rtol=1e-6)


def test_eager_answers_follow_the_weights():
    x = tf.constant([[1.0, 0.0]])
    rotation = Rotation2D(0.0)
    before = rotation.forward(x)
    rotation.trainable_variables[0].assign(math.pi / 2)
    after = rotation.forward(x)
    np.testing.assert_allclose(before, [[1.0, 0.0]], atol=1e-6)
    np.testing.assert_allclose(after, [[0.0, 1.0]], atol=1e-6)


def test_in_plain_tfp_distributions_with_batches():
    chain = tfb.Chain([Rotation2D(0.3), LeakyReLU(0.5), AffineCoupling(hidden=(4,))])
    base = tfd.MultivariateNormalDiag(tf.zeros([3, 2]))
    distribution = tfd.TransformedDistribution(base, chain)
    samples = distribution.sample(7, seed=1)
    assert samples.shape == (7, 3, 2)
    assert distribution.log_prob(samples).shape == (7, 3)


class TestLeakyReLU:
    def test_scalar_events(self):
        log_det = LeakyReLU(0.5).forward_log_det_jacobian(np.array([-1.0, 2.0]), 0)
        np.testing.assert_allclose(log_det, [math.log(0.5), 0.0])

    def test_batch_shape_follows_the_slopes(self):
        assert LeakyReLU([0.5, 0.2]).experimental_batch_shape(x_event_ndims=0) == [2]
        assert LeakyReLU([0.5, 0.2]).experimental_batch_shape(x_event_ndims=1) == []

    def test_gradients_see_points_that_cross_the_kink(self):
        # d/dθ of the mean log-det of LeakyReLU(z + θ) is -log a · φ(θ), z normal.
        bijector = LeakyReLU(0.2, dtype="float64")
        z = tf.constant(np.random.default_rng(0).normal(size=(200_000, 1)))
        for shift in (0.0, 1.0):
            theta = tf.Variable(np.float64(shift))
            with tf.GradientTape() as tape:
                mean = tf.reduce_mean(bijector.forward_log_det_jacobian(z + theta, 1))
            density = math.exp(-0.5 * shift**2) / math.sqrt(2 * math.pi)
            expected = -math.log(0.2) * density
            assert float(tape.gradient(mean, theta)) == pytest.approx(
                expected, rel=0.05
            )

    def test_training_cannot_leave_the_domain(self):
        bijector = LeakyReLU(0.01)
        bijector.build(1)
        (weight,) = bijector.trainable_variables
        for _ in range(20):  # a loss that wants the slope at minus infinity
            with tf.GradientTape() as tape:
                loss = -100.0 * tf.reduce_sum(bijector.forward([[-1.0]]))
            weight.assign_sub(tape.gradient(loss, weight))
        assert 0 < -float(bijector.forward([[-1.0]])[0, 0]) < 0.01


class TestMixtureCDF:
    def make(self, dtype="float64"):
        bijector = MixtureCDF(3)
        bijector.build(2, dtype)
        rng = np.random.default_rng(0)
        for variable in bijector.variables:
            variable.assign(variable + rng.normal(size=variable.shape))
        return bijector

    def test_is_the_cdf_of_its_mixture(self):
        bijector, x = self.make(), points(2)
        np.testing.assert_allclose(bijector.forward(x), bijector.mixture.cdf(x))
        np.testing.assert_allclose(
            bijector.forward_log_det_jacobian(x, 1),
            tf.reduce_sum(bijector.mixture.log_prob(x), -1),
        )

    def test_tails(self):
        bijector = self.make()
        far = np.array([[-30.0, 30.0], [-1e3, 1e3], [-1e8, 1e8]])
        y = bijector.forward(far).numpy()
        assert ((y > 0) & (y < 1)).all()
        log_det = bijector.forward_log_det_jacobian(far, 1)
        np.testing.assert_allclose(
            log_det, tf.reduce_sum(bijector.mixture.log_prob(far), -1), rtol=1e-12
        )

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_inverse_in_the_tails(self, dtype):
        bijector = self.make(dtype)
        limits = np.finfo(dtype)
        y = np.array(
            [[1e-30, 1e-10], [0.5, 1e-3], [1 - 1e-3, 1 - 4 * limits.epsneg]], dtype
        )
        x = bijector.inverse(y)
        back = bijector.forward(tf.identity(x)).numpy()
        np.testing.assert_allclose(back, y, rtol=2e3 * limits.eps)

    def test_outside_the_interval_is_no_answer(self):
        x = self.make().inverse(np.array([[-0.1, 0.5], [0.5, 1.1]])).numpy()
        np.testing.assert_array_equal(np.isnan(x), [[True, False], [False, True]])

    def test_implicit_gradients_match_finite_differences(self):
        bijector = self.make()
        y = tf.constant([[0.1, 0.7], [0.4, 0.95]], tf.float64)
        for weight in bijector.trainable_variables:
            with tf.GradientTape() as tape:
                x = tf.reduce_sum(bijector.inverse(y) ** 2)
            gradient = tape.gradient(x, weight).numpy()
            start, step = weight.numpy(), 1e-6
            for index in list(np.ndindex(*weight.shape))[::4]:
                ends = []
                for sign in (1, -1):
                    moved = start.copy()
                    moved[index] += sign * step
                    weight.assign(moved)
                    ends.append(float(tf.reduce_sum(bijector.inverse(y) ** 2)))
                weight.assign(start)
                expected = (ends[0] - ends[1]) / (2 * step)
                np.testing.assert_allclose(
                    gradient[index], expected, rtol=1e-5, atol=1e-7
                )
