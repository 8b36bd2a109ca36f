"""Every recipe: a density at each width, with and without a context, and its file."""

import functools
import inspect
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from zoo import COUPLINGS, ONE_OR_TWO, RECIPES, make

import tfp_flows as tfpf
from tfp_flows import recipes

tfd = tfp.distributions

EVERY = pytest.mark.parametrize("name", RECIPES)


def some_are_slow(*quick):
    """Returns the mark of a test of every recipe, slow for all but a few of them.

    The contract of bijectors covers the parts of the others, and they take long.
    """
    return pytest.mark.parametrize(
        "name",
        [
            name if name in quick else pytest.param(name, marks=pytest.mark.slow)
            for name in RECIPES
        ],
    )


def points(event_size, n=11):
    return np.random.default_rng(event_size).normal(size=(n, event_size)).astype("f4")


@functools.cache
def trained(name, event_size):
    """Returns a flow with weights off their start, and what it was at the start.

    The flow must not be changed: tests share it. A flow of one column has one layer, as
    its width is all that differs.

    Returns:
      The flow, its weights and its log_prob of `points(event_size)` at the start.
    """
    one_layer = {"layers": 1} if event_size == 1 and name != "gaussian" else {}
    flow = make(name, event_size, **one_layer)
    weights = flow.get_weights()
    start = flow.log_prob(points(event_size)).numpy()
    rng = np.random.default_rng(0)
    for weight in flow.trainable_variables:
        weight.assign_add(0.1 * rng.normal(size=weight.shape))
    return flow, weights, start


def test_the_tables_are_complete():
    assert set(RECIPES) == set(recipes.__all__)
    page = (Path(__file__).parents[2] / "docs" / "recipes.md").read_text()
    for name in recipes.__all__:
        assert f"\n| `{name}` |" in page


@EVERY
def test_the_signatures_are_alike(name):
    recipe = getattr(recipes, name)
    takes = inspect.signature(recipe).parameters
    assert {"context_size", "hidden", "base", "seed", "dtype", "name"} <= set(takes)
    assert takes["name"].default == name
    kinds = [parameter.kind for parameter in takes.values()]
    assert set(kinds[1:]) == {inspect.Parameter.KEYWORD_ONLY}
    summary = recipe.__doc__.partition("\n")[0]
    assert summary.startswith("Returns ") and summary.endswith(".")


@EVERY
def test_the_last_bijector_standardizes(name):
    flow, *_ = trained(name, 2)
    assert [b.name for b in flow.bijectors].index("standardize") == (
        len(flow.bijectors) - 1
    )


@some_are_slow("gaussian", "nice")
def test_a_base_has_the_units_of_the_data(name):
    flow = make(name, 2, base=tfd.MultivariateNormalDiag([0.0] * 2))
    assert "standardize" not in [bijector.name for bijector in flow.bijectors]


@pytest.mark.parametrize("name", ["gaussianization", "real_nvp"])
def test_the_units_are_those_of_the_data(name):
    x = np.array([1e6, 1e-6]) * (7 + points(2, 200))
    flow = make(name, 2, dtype="float64")
    flow.adapt(x)
    mean, std = x.mean(0), x.std(0)
    np.testing.assert_allclose(flow.bijectors[-1].inverse(x), (x - mean) / std)


@EVERY
def test_begins_as_the_base(name):
    *_, start = trained(name, 2)
    normal = -0.5 * (points(2) ** 2).sum(-1) - np.log(2 * np.pi)
    # Its mixtures are not quite normal: each has an excess kurtosis of -0.11.
    atol = 0.15 if name == "gaussianization" else 1e-5
    np.testing.assert_allclose(start, normal, atol=atol)


@pytest.mark.parametrize(("name", "size"), ONE_OR_TWO)
def test_the_density_integrates_to_one(name, size):
    flow, *_ = trained(name, size)
    axis = np.linspace(-10, 10, 2001 if size == 1 else 201, dtype="float32")
    grid = np.stack(np.meshgrid(*[axis] * size), -1).reshape(-1, size)
    density = np.exp(flow.log_prob(grid).numpy().astype("float64"))
    assert density.sum() * (20 / (len(axis) - 1)) ** size == pytest.approx(1, abs=1e-3)


@pytest.mark.parametrize(("name", "size"), ONE_OR_TWO)
def test_samples_follow_the_density(name, size):
    flow, _, start = trained(name, size)
    assert np.abs(flow.log_prob(points(size)) - start).max() > 5e-3
    samples, log_prob = flow.distribution.experimental_sample_and_log_prob(50, seed=0)
    again = flow.log_prob(samples.numpy()).numpy()
    assert np.isfinite(again).all()
    np.testing.assert_allclose(again, log_prob, atol=1e-3)


@some_are_slow("nice", "real_nvp")
def test_a_file_keeps_it(name, tmp_path):
    flow, *_ = trained(name, 2)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert loaded.name == name
    x = points(2)
    np.testing.assert_allclose(loaded.log_prob(x), flow.log_prob(x), atol=1e-5)


@some_are_slow("gaussian", "maf", "real_nvp")
@pytest.mark.filterwarnings("ignore:.*outside the box")  # at so large a rate
def test_five_coordinates_and_a_context(name):
    flow = make(name, 5, context_size=3)
    x, context = points(5, 64), points(3, 64)
    flow.compile(keras.optimizers.Adam(0.05))
    before = flow.weights and [np.array(w) for w in flow.trainable_weights]
    history = flow.fit(
        {"x": 2 * x + 1, "context": context}, batch_size=64, epochs=2, verbose=0
    )
    assert np.isfinite(history.history["loss"]).all()
    assert any(
        (np.array(w) != b).any()
        for w, b in zip(flow.trainable_weights, before, strict=True)
    )
    given = flow.given(context[:4])
    log_prob = given.log_prob(x[0])
    assert np.isfinite(log_prob).all() and np.ptp(log_prob) > 0
    assert np.isfinite(given.sample(seed=0)).all()


@pytest.mark.parametrize("name", COUPLINGS)
@pytest.mark.parametrize("wrong", [{"event_size": 1}, {"layers": 1}])
def test_couplings_need_two(name, wrong):
    (argument,) = wrong
    with pytest.raises(ValueError, match=f"`{argument}` must be at least 2"):
        make(name, **{"event_size": 2, **wrong})


@pytest.mark.parametrize("name", [name for name in RECIPES if name != "gaussian"])
def test_no_layers_are_refused(name):
    with pytest.raises(ValueError, match="`layers` must be"):
        make(name, 2, layers=0)


@pytest.mark.parametrize("name", ["maf", "gaussianization"])
def test_a_seed_makes_it_reproducible(name):
    _, first, _ = trained(name, 2)
    same, other = (make(name, 2, seed=seed).get_weights() for seed in (0, 1))
    for a, b in zip(first, same, strict=True):
        np.testing.assert_array_equal(a, b)
    assert any((a != b).any() for a, b in zip(first, other, strict=True))


def test_on_a_mixture_in_its_own_dtype():
    base = tfpf.bases.Mixture(2, 3, seed=0, dtype="float64")
    flow = make("neural_spline", 2, base=base)
    assert flow.dtype == "float64"
    x = points(2, 200).astype("float64")
    flow.adapt(x)
    assert not base.needs_adaptation
    np.testing.assert_allclose(flow.log_prob(x), base.log_prob(x), rtol=1e-8)


@pytest.mark.slow
def test_gaussianization_gains_with_each_layer_before_any_training():
    density = tfpf.densities.make("two_moons")
    x, other = (density.sample(3000, seed=s).astype("float32") for s in (0, 1))
    deviance = []
    for layers in (1, 2, 4):
        flow = recipes.gaussianization(2, layers=layers, seed=0)
        flow.adapt(x)
        deviance.append(float(-tf.reduce_mean(flow.log_prob(other))))
    normal = np.log(2 * np.pi * np.e) + 0.5 * np.linalg.slogdet(np.cov(x.T))[1]
    assert (np.diff([normal, *deviance]) < -0.1).all()
    assert deviance[-1] > density.entropy
