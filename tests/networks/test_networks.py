"""The networks: what each output sees, how they start, what a file keeps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from tfp_flows import networks
from tfp_flows.networks import MLP, MaskedMLP, MaskedResidualMLP, ResidualMLP

MASKED = [MaskedMLP, MaskedResidualMLP]
PLAIN = [MLP, ResidualMLP]


def points(n, width, dtype="float64"):
    return np.random.default_rng(width).normal(size=(n, width)).astype(dtype)


def moved(layer, amount=0.5):
    """Moves every weight at random, so that nothing is zero by its start."""
    rng = np.random.default_rng(0)
    weights = layer.get_weights()
    layer.set_weights([w + amount * rng.normal(size=w.shape) for w in weights])
    return layer


def dependence(network, width, n=20):
    """Returns whether some output of variable i depends on input j, `(d, width)`."""
    x = tf.constant(points(n, width))
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = network(x)
    jacobian = tape.batch_jacobian(outputs, x, experimental_use_pfor=False)
    return (np.abs(jacobian) > 0).any(axis=(0, 2))


def allowed(order, context=0, features=1):
    """Returns the same for a network that leaves nothing out."""
    place = np.argsort(order)
    before = place[:, None] > place[None, :]
    return np.hstack([np.tile(before, features), np.ones((len(order), context), bool)])


class TestAutoregressive:
    @pytest.mark.parametrize("cls", MASKED)
    @pytest.mark.parametrize(
        ("order", "hidden"),
        [
            ([0, 1, 2, 3], (3,)),
            ([0, 1, 2, 3], (7, 7)),
            ([3, 2, 1, 0], (16, 16)),
            ([2, 0, 3, 1], (5, 5, 5)),
            ([1, 0], (1,)),
        ],
    )
    @pytest.mark.parametrize("context", [0, 2])
    def test_outputs_see_all_that_comes_before_and_nothing_else(
        self, cls, order, hidden, context
    ):
        if context:
            hidden = tuple(units + 1 for units in hidden)
        d = len(order)
        network = cls(d, 2, hidden, "tanh", order=order, seed=0, dtype="float64")
        network.build((None, d + context))
        got = dependence(moved(network), d + context)
        np.testing.assert_array_equal(got, allowed(order, context))

    @pytest.mark.parametrize("cls", MASKED)
    @pytest.mark.parametrize("context", [0, 2])
    @pytest.mark.parametrize("units", [1, 2, 3])
    def test_narrow_layers_lose_connections_but_never_gain_any(
        self, cls, context, units
    ):
        network = cls(6, 2, (units, units), "tanh", seed=0, dtype="float64")
        network.build((None, 6 + context))
        got = dependence(moved(network), 6 + context)
        assert not (got & ~allowed(range(6), context)).any()
        # The context comes first of all, and reaches everything.
        assert got[:, 6:].all()

    def test_without_hidden_layers_it_is_linear_in_what_comes_before(self):
        network = MaskedMLP(3, 2, (), order="reversed", dtype="float64")
        network.build((None, 4))
        got = dependence(moved(network), 4)
        np.testing.assert_array_equal(got, allowed([2, 1, 0], 1))

    @pytest.mark.parametrize("cls", MASKED)
    def test_several_features_tell_each_variable(self, cls):
        order = [1, 2, 0]
        network = cls(
            3, 2, (8,), "tanh", order=order, features=2, seed=0, dtype="float64"
        )
        network.build((None, 2 * 3 + 1))
        got = dependence(moved(network), 7)
        np.testing.assert_array_equal(got, allowed(order, 1, features=2))

    @pytest.mark.parametrize("cls", MASKED)
    def test_of_one_variable_it_depends_on_the_context_alone(self, cls):
        network = cls(1, 3, (4, 4), "tanh", seed=0, dtype="float64")
        network.build((None, 3))
        got = dependence(moved(network), 3)
        np.testing.assert_array_equal(got, [[False, True, True]])
        alone = cls(1, 3, (4, 4), seed=0, dtype="float64")
        outputs = alone(points(5, 1))
        assert outputs.shape == (5, 1, 3)
        assert np.ptp(outputs, axis=0).max() == 0.0

    @pytest.mark.parametrize("cls", MASKED)
    def test_degrees_are_dealt_evenly(self, cls):
        network = cls(9, 1, (64, 64), seed=0)
        network.build((None, 9))
        # Unit of degree m feeds the variables at places m and later: 9 - m of them.
        degrees = 9 - network.head.mask.sum(1)
        counts = np.bincount(degrees.astype(int), minlength=9)
        np.testing.assert_array_equal(counts, [0, 8, 8, 8, 8, 8, 8, 8, 8])

    @pytest.mark.parametrize("cls", MASKED)
    def test_outputs_of_one_variable_are_a_part_of_all(self, cls):
        network = cls(4, 3, (8, 8), order=[2, 0, 3, 1], seed=0, dtype="float64")
        x = points(5, 6)
        outputs = network(x)
        for i in range(4):
            one = network(x, variable=tf.constant(i))
            np.testing.assert_allclose(one, outputs[:, i], rtol=1e-12)

    @pytest.mark.parametrize("cls", MASKED)
    def test_zero_start(self, cls):
        network = cls(3, 2, (8,), zero_start=True)
        np.testing.assert_array_equal(network(points(5, 3, "float32")), 0.0)


class TestResidualMLP:
    def test_blocks_add_to_their_input(self):
        network = ResidualMLP((5, 5), "tanh", seed=0, dtype="float64")
        x = points(7, 3)
        got = network(x)
        first, *dense = [
            (w.numpy(), b.numpy())
            for w, b in zip(network.weights[::2], network.weights[1::2], strict=True)
        ]
        h = x @ first[0] + first[1]
        for (w1, b1), (w2, b2) in zip(dense[::2], dense[1::2], strict=True):
            h = h + np.tanh(np.tanh(h) @ w1 + b1) @ w2 + b2
        np.testing.assert_allclose(got, h, rtol=1e-12)

    @pytest.mark.parametrize("cls", [ResidualMLP, lambda h: MaskedResidualMLP(3, 1, h)])
    @pytest.mark.parametrize("hidden", [(), (8, 16)])
    def test_blocks_have_one_width(self, cls, hidden):
        with pytest.raises(ValueError, match="one width"):
            cls(hidden)


class TestOptions:
    def test_an_mlp_without_options_is_what_it_was(self):
        network = MLP((4, 3), seed=7)
        network.build((None, 2))
        glorot = keras.initializers.GlorotUniform
        uniform = keras.initializers.RandomUniform
        expected = [
            glorot(7)((2, 4)),
            uniform(-1.0, 1.0, 7 + 2**31)((4,)),
            glorot(8)((4, 3)),
            uniform(-1.0, 1.0, 8 + 2**31)((3,)),
        ]
        for weight, values in zip(network.weights, expected, strict=True):
            np.testing.assert_array_equal(weight, values)
        # Files from before hold the class by this name, and two options less.
        config = network.get_config()
        del config["dropout"], config["normalization"]
        assert MLP.from_config(config).hidden == (4, 3)
        assert keras.saving.get_registered_name(MLP) == "tfp_flows>MLP"

    @pytest.mark.parametrize("cls", PLAIN)
    def test_layer_normalization_centers_what_is_activated(self, cls):
        network = cls((16, 16), "linear", normalization="layer", seed=0)
        x = points(9, 3, "float32")
        network(x)
        assert len(network.norms) == (2 if cls is MLP else 4)
        if cls is MLP:
            np.testing.assert_allclose(np.mean(network(x), -1), 0.0, atol=1e-5)
            # Features no longer grow with the input.
            assert np.abs(network(1e4 * x)).max() < 10.0

    @pytest.mark.parametrize("cls", [*PLAIN, *MASKED])
    def test_dropout_acts_in_training_alone(self, cls):
        head = (3, 2) if cls in MASKED else ()
        network = cls(*head, (64, 64), dropout=0.5, seed=0)
        x = points(9, 3, "float32")
        np.testing.assert_array_equal(network(x), network(x))
        model = keras.Sequential([network])  # hands `training` on to its layers
        assert np.abs(model(x, training=True) - network(x)).max() > 0.01
        np.testing.assert_array_equal(model(x, training=False), network(x))

    @pytest.mark.parametrize("cls", [*PLAIN, *MASKED])
    def test_seeds_make_draws_reproducible(self, cls):
        head = (3, 2) if cls in MASKED else ()
        x = points(9, 3, "float32")
        outputs = [cls(*head, (8, 8), seed=seed)(x) for seed in (1, 1, 2)]
        np.testing.assert_array_equal(outputs[0], outputs[1])
        assert np.abs(outputs[0] - outputs[2]).max() > 0.01

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: MLP(dropout=1.0), r"\[0, 1\)"),
            (lambda: ResidualMLP(dropout=-0.1), r"\[0, 1\)"),
            (lambda: MLP(normalization="batch"), "None or 'layer'"),
            (lambda: MaskedMLP(0), "whole number ≥ 1"),
            (lambda: MaskedMLP(3, 0), "whole number ≥ 1"),
            (lambda: MaskedMLP(3, order=[0, 1]), "permutation of 0..2"),
            (lambda: MaskedMLP(3, order=[0, 1, 1]), "permutation of 0..2"),
            (lambda: MaskedMLP(3, order="sorted"), "'natural', 'reversed'"),
            (lambda: MaskedMLP(3)(np.zeros((2, 2), "float32")), "width 3"),
        ],
    )
    def test_wrong_arguments_raise_what_is_wrong(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()


@pytest.mark.parametrize(
    "make",
    [
        lambda: MLP((8, 4), "tanh", dropout=0.1, normalization="layer", seed=1),
        lambda: ResidualMLP((8, 8), "elu", dropout=0.1, normalization="layer", seed=1),
        lambda: MaskedMLP(3, 2, (8, 4), "tanh", order=[2, 0, 1], dropout=0.1, seed=1),
        lambda: MaskedResidualMLP(3, 2, (8,), zero_start=True, features=1, seed=1),
    ],
)
def test_config_and_file_keep_everything(make, tmp_path):
    network, x = make(), points(6, 4, "float32")
    model = keras.Sequential([keras.Input((4,)), network])
    assert model.output_shape[1:] == tuple(model(x).shape[1:])
    moved(network, 0.1)
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    np.testing.assert_array_equal(loaded(x), model(x))
    config = network.get_config()
    assert type(network).from_config(config).get_config() == config
    assert loaded.layers[-1].get_config() == config


@pytest.mark.parametrize("order", ["natural", "reversed"])
def test_orders_by_name(order):
    got = networks.as_order(order, 4).tolist()
    assert got == ([0, 1, 2, 3] if order == "natural" else [3, 2, 1, 0])
