"""FlowDensity: scikit-learn's contract, supports, small and nasty data, time."""

import pickle
import time

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
from sklearn.base import clone
from sklearn.exceptions import NotFittedError
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import GridSearchCV
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from sklearn.utils.estimator_checks import parametrize_with_checks

import tfp_flows as tfpf
from tfp_flows import FlowDensity
from tfp_flows.bases import Mixture
from tfp_flows.bijectors import SplineCoupling
from tfp_flows.estimator import mixtures, race
from tfp_flows.estimator.flow_density import _in_float64

QUIET = {"verbose": 0, "random_state": 0}

# No time for cross-validation: what is fitted is always the same, but not the best.
HASTY = {**QUIET, "time_limit": 1e-6}

# As scikit-learn's own KernelDensity and GaussianMixture declare or lack them.
EXPECTED = {
    "check_sample_weight_equivalence_on_dense_data": "rows are drawn by weight",
    "check_sample_weight_equivalence_on_sparse_data": "rows are drawn by weight",
}


@parametrize_with_checks(
    [FlowDensity(**HASTY)], expected_failed_checks=lambda _: EXPECTED
)
def test_scikit_learns_checks(estimator, check):
    check(estimator)


def two_moons(n, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed)


@pytest.fixture(scope="module")
def fitted():
    """A flow that was trained for a few steps, from mixtures that it easily beats."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(mixtures, "_SIZES", (1, 2))
        patch.setattr(race, "_MOST_STEPS", 640)
        density = FlowDensity(layers=2, hidden=(16,), batch_size=100, **QUIET)
        return density.fit(two_moons(3000))


def test_a_trained_flow(fitted):
    assert fitted.history_["val_loss"]
    assert fitted.held_out_ > fitted.start_ + 0.1
    names = [stage.name for stage in fitted.flow_.stages(10)]
    assert names == ["Mixture", "SplineCoupling 1", "SplineCoupling 2", "Standardize"]
    test = two_moons(5000, seed=1)
    flow = fitted.flow_.log_prob(test).numpy()
    np.testing.assert_allclose(fitted.score_samples(test), flow, atol=1e-3)
    assert fitted.score(test) == pytest.approx(flow.mean(), abs=1e-4)
    mixture = GaussianMixture(2, random_state=0).fit(two_moons(3000))
    assert fitted.score(test) > mixture.score(test) + 0.1
    z = fitted.transform(test)
    np.testing.assert_allclose(fitted.inverse_transform(z), test, atol=1e-3)


def test_outliers(fitted):
    x = two_moons(3000)
    assert np.mean(fitted.predict(x) == -1) == pytest.approx(0.1, abs=0.002)
    assert fitted.predict([[9.0, 9.0]]) == [-1]


def test_samples(fitted):
    drawn = fitted.sample(500, random_state=1)
    np.testing.assert_array_equal(drawn, fitted.sample(500, random_state=1))
    assert drawn.shape == (500, 2)
    assert np.abs(drawn.mean(0) - two_moons(3000).mean(0)).max() < 0.2


def test_pickles_and_clones(fitted):
    copy = pickle.loads(pickle.dumps(fitted))
    x = two_moons(50, seed=3)
    np.testing.assert_array_equal(copy.score_samples(x), fitted.score_samples(x))
    np.testing.assert_array_equal(copy.predict(x), fitted.predict(x))
    again = clone(fitted)
    assert again.get_params() == fitted.get_params()
    with pytest.raises(NotFittedError):
        again.sample()


def test_time_limit_is_kept():
    x = two_moons(3000)
    # The processor's time, as other work on the machine must not fail the test; a fit
    # without a limit takes three times as much.
    start = time.process_time()
    density = FlowDensity(time_limit=1, **QUIET).fit(x)
    assert time.process_time() - start < 3
    assert density.history_ == {}  # too short for a flow


def test_in_a_pipeline_and_a_search():
    x = two_moons(120)
    pipeline = make_pipeline(StandardScaler(), FlowDensity(**HASTY)).fit(x)
    alone = FlowDensity(**HASTY).fit(x)
    units = np.log(pipeline["standardscaler"].scale_).sum()
    assert pipeline.score(x) == pytest.approx(alone.score(x) + units, abs=1e-6)
    options = {"support": ["real", (-2.5, 3.5)]}
    search = GridSearchCV(FlowDensity(**HASTY), options, cv=2, refit=False).fit(x)
    assert np.isfinite(search.cv_results_["mean_test_score"]).all()
    assert np.ptp(search.cv_results_["mean_test_score"]) > 0


@pytest.mark.parametrize("n", [1, 2, 5, 30])
def test_few_rows_give_something_sensible(n):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(n, 3))
    density = FlowDensity(**QUIET).fit(x)
    test = rng.normal(size=(1000, 3))
    assert np.isfinite(density.score_samples(test)).all()
    if n == 30:
        exact = -0.5 * (test**2).sum(1).mean() - 1.5 * np.log(2 * np.pi)
        assert density.score(test) > exact - 1.0


NASTY = {
    "outliers": lambda x, rng: np.where(rng.random(x.shape) < 0.01, 1e6, x),
    "constant and duplicated columns": lambda x, rng: np.stack(
        [x[:, 0], np.full(len(x), 7.0), x[:, 0]], -1
    ),
    "integers": lambda x, rng: np.round(3 * x),
    "tiny scales": lambda x, rng: 1e-8 * x,
    "far from zero": lambda x, rng: 1e6 + 1e-2 * x,
    "one repeated row": lambda x, rng: np.tile(x[:1], (len(x), 1)),
}


@pytest.mark.parametrize("kind", NASTY)
def test_nasty_data_give_finite_densities(kind):
    rng = np.random.default_rng(0)
    x = NASTY[kind](rng.normal(size=(60, 3)), rng)
    density = FlowDensity(**QUIET).fit(x)
    assert np.isfinite(density.score_samples(x)).all()
    assert np.isfinite(density.sample(20, random_state=0)).all()


def test_a_copy_in_float64():
    rng = np.random.default_rng(0)
    coupling = SplineCoupling(hidden=(8,), identity_start=False, box=3.0, seed=0)
    coupling.build(2)
    mixture = Mixture(2, 3, tails="student", seed=0)
    for part in (coupling, mixture):
        for weight in part.trainable_variables:
            weight.assign(weight + 0.1 * rng.normal(size=weight.shape))
    x = rng.normal(size=(20, 2)).astype("float32")
    copy = _in_float64(coupling, 2)
    assert copy.forward(x.astype(float)).dtype == tf.float64
    np.testing.assert_allclose(copy.forward(x.astype(float)), coupling.forward(x), 1e-4)
    log_prob = _in_float64(mixture, 2).log_prob(x.astype(float))
    np.testing.assert_allclose(log_prob, mixture.log_prob(x), 1e-4)


@pytest.mark.slow
def test_columns_that_float32_would_round_off(monkeypatch):
    monkeypatch.setattr(mixtures, "_SIZES", (1, 2))
    monkeypatch.setattr(race, "_MOST_STEPS", 640)
    x, test, scores = two_moons(3000), two_moons(2000, seed=1), []
    for shift, scale in ((0.0, 1.0), (1e9, 1.0), (0.0, 1e-30)):
        density = FlowDensity(layers=2, hidden=(16,), batch_size=100, **QUIET)
        density.fit(shift + scale * x)
        assert len(density.flow_.bijectors) == 3
        scores.append(density.score(shift + scale * test) + 2 * np.log(scale))
        drawn = (density.sample(2000, random_state=0) - shift) / scale
        np.testing.assert_allclose(drawn.std(axis=0), x.std(axis=0), rtol=0.1)
    np.testing.assert_allclose(scores, scores[0], atol=0.05)


def test_names_of_what_transform_returns():
    pipeline = make_pipeline(StandardScaler(), FlowDensity(**HASTY))
    frame = pipeline.set_output(transform="pandas").fit_transform(two_moons(40))
    assert list(frame.columns) == ["flowdensity0", "flowdensity1"]


def test_supports_and_names():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {
            "length": rng.exponential(size=150),
            "share": rng.beta(2, 3, size=150),
            "count": rng.poisson(3, size=150),
            "angle": np.mod(rng.normal(3.0, 0.5, size=150) + np.pi, 2 * np.pi) - np.pi,
        }
    )
    support = {
        "length": "positive",
        "share": (0, 1),
        "count": ("integer", 0, None),
        "angle": "circular",
    }
    density = FlowDensity(support=support, **QUIET).fit(frame)
    assert np.isfinite(density.score_samples(frame)).all()
    drawn = density.sample(400, random_state=0)
    assert list(drawn) == list(frame)
    assert (drawn["length"] >= 0).all() and drawn["share"].between(0, 1).all()
    assert drawn["count"].dtype == np.int64 and (drawn["count"] >= 0).all()
    assert drawn["angle"].between(-np.pi, np.pi).all()
    copy = pickle.loads(pickle.dumps(density))
    np.testing.assert_array_equal(
        copy.score_samples(frame), density.score_samples(frame)
    )


def test_weights_count():
    rng = np.random.default_rng(0)
    x = np.concatenate([rng.normal(-3, 1, (100, 1)), rng.normal(3, 1, (100, 1))])
    weights = np.repeat([1.0, 0.0], 100)
    density = FlowDensity(**QUIET).fit(x, sample_weight=weights)
    assert density.sample(200, random_state=0).mean() == pytest.approx(-3, abs=0.4)
    with pytest.raises(ValueError, match="non-zero"):
        FlowDensity(**QUIET).fit(x, sample_weight=np.zeros(200))


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"layers": 0}, "layers"),
        ({"time_limit": -1}, "time_limit"),
        ({"contamination": 0.7}, "contamination"),
        ({"support": "reel"}, "real"),
        ({"hidden": [0]}, "whole number ≥ 1"),
    ],
)
def test_wrong_options(options, message):
    with pytest.raises(ValueError, match=message):
        FlowDensity(**options).fit(two_moons(30))
