"""Linear bijectors: known answers, orthogonality, starts, contexts, files."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.bijectors import Householder, LULinear, Permute, Rotation, Shuffle
from tfp_flows.bijectors.matrices import random_rotation

ORTHOGONAL = {
    "householder": lambda: Householder(identity_start=False, seed=0),
    "householder, all": lambda: Householder(64, identity_start=False, seed=0),
    "householder, odd": lambda: Householder(3, identity_start=False, seed=0),
    "lu linear": lambda: LULinear(identity_start=False, seed=0),
    "rotation": lambda: Rotation(identity_start=False, seed=0),
}


def points(event_size, n=7):
    return np.random.default_rng(event_size).normal(size=(n, event_size))


def matrix_of(bijector, event_size, dtype="float64"):
    """The matrix that a linear bijector without a bias multiplies by."""
    return bijector.forward(np.eye(event_size, dtype=dtype)).numpy().T


def moved(bijector, event_size, dtype="float64", size=0.3):
    """The bijector built, with its weights as after some training."""
    bijector.build(event_size, dtype)
    rng = np.random.default_rng(0)
    for weight in bijector.trainable_variables:
        weight.assign_add(size * rng.normal(size=weight.shape).astype(dtype))
    return bijector


def test_lu_linear_multiplies_by_its_factors():
    linear = moved(LULinear(identity_start=False, seed=1), 4)
    factors, bias = (
        linear._learned.variables_by_name[name].numpy() for name in ("factors", "bias")
    )
    lower = np.tril(factors, -1) + np.eye(4)
    upper = np.triu(factors, 1) + np.diag(np.exp(np.diag(factors)))
    permutation = np.eye(4)[linear._order.numpy()]
    x = points(4)
    expected = x @ (permutation @ lower @ upper).T + bias
    np.testing.assert_allclose(linear.forward(x), expected, rtol=1e-12)
    np.testing.assert_allclose(linear.inverse(expected), x, rtol=1e-12)


@pytest.mark.parametrize("event_size", [1, 2, 5])
@pytest.mark.parametrize("identity_start", [True, False])
def test_lu_linear_log_det_is_that_of_its_matrix(event_size, identity_start):
    linear = LULinear(identity_start=identity_start, bias=False, seed=2)
    matrix = matrix_of(moved(linear, event_size), event_size)
    log_det = linear.forward_log_det_jacobian(points(event_size), 1).numpy()
    assert log_det.shape == (7,)
    np.testing.assert_allclose(log_det, np.linalg.slogdet(matrix)[1], rtol=1e-10)


def test_lu_linear_without_bias_keeps_the_origin():
    linear = moved(LULinear(bias=False), 3)
    np.testing.assert_array_equal(linear.forward(np.zeros([2, 3])), np.zeros([2, 3]))
    assert len(linear.trainable_variables) == 1


@pytest.mark.parametrize("case", ORTHOGONAL)
def test_random_starts_are_orthogonal_in_float32(case):
    bijector = ORTHOGONAL[case]()
    matrix = matrix_of(bijector, 64, "float32")
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=2e-6)
    assert np.abs(matrix - np.eye(64)).max() > 0.1
    x = points(64).astype("float32")
    np.testing.assert_allclose(bijector.inverse(bijector.forward(x)), x, atol=1e-5)


@pytest.mark.parametrize("make", [Rotation, Householder], ids=lambda m: m.__name__)
def test_training_keeps_matrices_orthogonal_in_float32(make):
    bijector = moved(make(seed=0), 64, "float32", size=1.0)
    matrix = matrix_of(bijector, 64, "float32")
    np.testing.assert_allclose(matrix @ matrix.T, np.eye(64), atol=2e-6)
    assert np.linalg.slogdet(matrix)[0] == 1
    x = points(64).astype("float32")
    np.testing.assert_allclose(bijector.inverse(bijector.forward(x)), x, atol=2e-5)


@pytest.mark.parametrize("make", [LULinear, Rotation, Householder])
@pytest.mark.parametrize("event_size", [1, 2, 5])
def test_they_start_as_the_identity(make, event_size):
    x = points(event_size).astype("float32")
    np.testing.assert_allclose(make(seed=0).forward(x), x, atol=1e-6)


def test_the_identity_start_can_be_left():
    # Gradients of a sum of cubes, which no rotation leaves as it is.
    x = tf.constant(points(4))
    for bijector in (Householder(seed=0), Rotation()):
        bijector.build(4, "float64")
        with tf.GradientTape() as tape:
            loss = tf.reduce_sum(bijector.forward(x) ** 3)
        (weight,) = bijector.trainable_variables
        assert np.abs(tape.gradient(loss, weight)).max() > 0.1


class TestHouseholder:
    def test_is_the_product_of_its_reflections(self):
        bijector = moved(Householder(5, identity_start=False, seed=1), 3)
        expected = np.eye(3)
        for v in bijector._learned.variables_by_name["vectors"].numpy():
            expected = expected @ (np.eye(3) - 2 * np.outer(v, v) / (v @ v))
        matrix = matrix_of(bijector, 3)
        np.testing.assert_allclose(matrix, expected, rtol=1e-10)
        assert np.linalg.det(matrix) == pytest.approx(-1)

    @pytest.mark.parametrize(
        ("event_size", "count"), [(1, 2), (2, 2), (5, 4), (8, 8), (64, 8)]
    )
    def test_takes_an_even_number_by_default(self, event_size, count):
        bijector = Householder()
        bijector.build(event_size)
        assert bijector.trainable_variables[0].shape == (count, event_size)

    def test_an_odd_number_is_no_identity(self):
        with pytest.raises(ValueError, match="even to start as the identity"):
            Householder(3)
        with pytest.raises(ValueError, match="whole number ≥ 1"):
            Householder(0)


class TestRotation:
    def test_turns_the_plane_counter_clockwise(self):
        rotation = Rotation()
        rotation.build(2, "float64")
        rotation.trainable_variables[0].assign([0.5])
        angle = 2 * np.arctan(0.25)
        np.testing.assert_allclose(
            rotation.forward(np.array([[1.0, 0.0]])),
            [[np.cos(angle), np.sin(angle)]],
            rtol=1e-12,
        )

    def test_random_ones_are_drawn_from_all_directions_alike(self):
        # The first column is uniform on the sphere: mean 0, covariance I/d.
        columns = np.stack([random_rotation(3, seed)[:, 0] for seed in range(2000)])
        np.testing.assert_allclose(columns.mean(0), 0, atol=0.05)
        np.testing.assert_allclose(np.cov(columns.T), np.eye(3) / 3, atol=0.03)

    def test_of_a_line_is_the_identity(self):
        rotation = Rotation(identity_start=False, context_size=2)
        x = points(1)
        np.testing.assert_array_equal(rotation.given([0.0, 1.0]).forward(x), x)


class TestPermutations:
    def test_permute_is_indexing(self):
        permute, x = Permute([2, 0, 3, 1]), points(4)
        np.testing.assert_array_equal(permute.forward(x), x[:, [2, 0, 3, 1]])
        np.testing.assert_array_equal(permute.inverse(permute.forward(x)), x)
        assert permute.required_event_size == 4

    @pytest.mark.parametrize("make", [lambda: Permute([2, 0, 1]), lambda: Shuffle()])
    def test_gradients_come_back_in_order(self, make):
        permute, x = make(), tf.constant(points(3))
        weights = np.array([1.0, 10.0, 100.0])
        with tf.GradientTape(persistent=True) as tape:
            tape.watch(x)
            there = tf.reduce_sum(permute.forward(x) * weights)
            back = tf.reduce_sum(permute.inverse(x) * weights)
        there, back = (
            tape.gradient(value, x, unconnected_gradients="zero").numpy()[0]
            for value in (there, back)
        )
        np.testing.assert_array_equal(there, permute.inverse(weights))
        np.testing.assert_array_equal(back, permute.forward(weights))

    @pytest.mark.parametrize("order", [[0, 0, 2], [1, 2, 3], [[0, 1]], [0.5, 1.0], 3])
    def test_an_order_must_be_a_permutation(self, order):
        with pytest.raises(ValueError, match="a permutation of 0"):
            Permute(order)

    def test_an_order_fits_one_width(self):
        with pytest.raises(ValueError, match="one entry a coordinate"):
            Permute([1, 0]).forward(points(3))

    def test_shuffle_follows_its_seed_in_every_version_of_numpy(self):
        # Noted down once: a saved configuration must mean this order forever.
        order = Shuffle(seed=3).forward(np.arange(8.0)).numpy()
        assert order.tolist() == [0, 4, 7, 1, 5, 6, 3, 2]

    def test_shuffles_differ(self):
        x = np.arange(5.0)
        orders = {tuple(Shuffle(seed=s).forward(x).numpy()) for s in range(40)}
        assert len(orders) > 25

    def test_the_order_is_a_weight(self):
        first, second = (
            tfpf.Flow([Shuffle(seed=seed)], event_size=8) for seed in (0, 1)
        )
        x = points(8).astype("float32")
        before = second.bijectors[0].forward(x)
        assert np.not_equal(before, first.bijectors[0].forward(x)).any()
        second.set_weights(first.get_weights())
        np.testing.assert_array_equal(
            first.bijectors[0].forward(x), second.bijectors[0].forward(x)
        )
        assert not first.trainable_variables


# Contexts


@pytest.mark.parametrize(
    "make",
    [
        lambda **kw: LULinear(identity_start=False, **kw),
        lambda **kw: Householder(4, identity_start=False, **kw),
        lambda **kw: Rotation(identity_start=False, **kw),
    ],
    ids=["lu linear", "householder", "rotation"],
)
def test_each_context_has_its_matrix(make):
    conditional = make(seed=0, hidden=(8,), context_size=2)
    contexts = np.array([[0.3, -1.0], [2.0, 0.5]])
    conditional.build(3, "float64")
    plain = make(seed=0)
    plain.build(3, "float64")
    x = points(3)[:, np.newaxis]
    start = conditional.given(contexts).forward(x)
    np.testing.assert_allclose(start, np.repeat(plain.forward(x), 2, 1), rtol=1e-10)

    moved(conditional, 3)
    y = conditional.given(contexts).forward(x).numpy()
    assert y.shape == (7, 2, 3)
    log_det = conditional.given(contexts).forward_log_det_jacobian(x, 1).numpy()
    for i, context in enumerate(contexts):
        # What the network says of this context, given to the unconditional one.
        said = conditional._learned(tf.constant(context))
        for name, variable in plain._learned.variables_by_name.items():
            variable.assign(said[name])
        np.testing.assert_allclose(y[:, i], plain.forward(x[:, 0]), rtol=1e-9)
        np.testing.assert_allclose(
            log_det[:, i], plain.forward_log_det_jacobian(x[:, 0], 1), atol=1e-10
        )
    assert np.abs(y[:, 0] - y[:, 1]).max() > 0.1
    back = conditional.given(contexts).inverse(tf.identity(y))
    np.testing.assert_allclose(back, np.repeat(x, 2, 1), rtol=1e-9)


# Flows and files


@pytest.mark.slow
def test_a_trained_flow_comes_back_from_its_file(tmp_path):
    flow = tfpf.Flow(
        [
            LULinear(identity_start=False),
            Shuffle(),
            Rotation(identity_start=False),
            Householder(identity_start=False),
            Permute([3, 1, 0, 2]),
        ],
        event_size=4,
    )
    x = points(4, 64).astype("float32")
    flow.compile("adam")
    flow.fit(x, epochs=1, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_allclose(loaded.log_prob(x), flow.log_prob(x), rtol=1e-6)
    np.testing.assert_array_equal(loaded.sample(5, seed=0), flow.sample(5, seed=0))
    copy = flow.reordered([4, 3, 2, 1, 0])
    np.testing.assert_array_equal(
        copy.bijectors[3].forward(x), flow.bijectors[1].forward(x)
    )


def test_lu_linear_fits_a_covariance():
    rng = np.random.default_rng(0)
    mix = np.array([[1.0, 0.0], [1.5, 0.5]])
    x = (rng.normal(size=(4000, 2)) @ mix.T + [1.0, -2.0]).astype("float32")
    flow = tfpf.Flow([LULinear()], event_size=2)
    flow.compile(keras.optimizers.Adam(0.03))
    flow.fit(x, batch_size=500, epochs=40, verbose=0)
    loss = flow.evaluate(x, batch_size=4000, verbose=0)
    covariance = np.cov(x.T, bias=True)
    least = 0.5 * np.linalg.slogdet(2 * np.pi * np.e * covariance)[1]
    assert loss - least < 0.01
