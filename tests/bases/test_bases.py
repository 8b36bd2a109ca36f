"""Mixtures as bases: against TFP's and SciPy's own, from data, in flows."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from scipy import stats
from sklearn.mixture import GaussianMixture

import tfp_flows as tfpf
from tfp_flows.bases import Mixture

tfd = tfp.distributions


def some(tails="normal", d=3, components=4, **options):
    mixture = Mixture(d, components, tails=tails, seed=0, dtype="float64", **options)
    rng = np.random.default_rng(1)
    for variable in mixture.trainable_variables:
        variable.assign(variable + 0.3 * rng.normal(size=variable.shape))
    return mixture


def points(n=50, d=3):
    return np.random.default_rng(2).normal(size=(n, d))


def test_normal_tails_are_those_of_tfp():
    mixture, x = some(), points()
    other = tfd.MixtureSameFamily(
        tfd.Categorical(probs=mixture.weights),
        tfd.MultivariateNormalFullCovariance(mixture.means, mixture.covariances),
    )
    np.testing.assert_allclose(mixture.log_prob(x), other.log_prob(x), rtol=1e-9)


def test_student_tails_are_those_of_scipy():
    mixture, x = some("student"), points()
    freedom = np.exp(mixture._learned.variables_by_name["log_freedom"].numpy())
    parts = [
        w * stats.multivariate_t(mean, cov, nu).pdf(x)
        for w, mean, cov, nu in zip(
            *map(np.asarray, (mixture.weights, mixture.means, mixture.covariances)),
            freedom,
            strict=True,
        )
    ]
    np.testing.assert_allclose(mixture.log_prob(x), np.log(sum(parts)), rtol=1e-9)


@pytest.mark.parametrize("tails", ["normal", "student"])
def test_samples_have_the_mixtures_moments(tails):
    mixture = some(tails, d=2, components=3)
    samples = mixture.sample(200_000, seed=[0, 3]).numpy()
    again = mixture.sample(200_000, seed=[0, 3]).numpy()
    np.testing.assert_array_equal(samples, again)
    mean = np.einsum("k,kd->d", mixture.weights, mixture.means)
    np.testing.assert_allclose(samples.mean(0), mean, atol=0.03)
    # E[-log p] by samples, and by importance from a wide normal.
    wide = tfd.MultivariateNormalDiag(tf.zeros(2, tf.float64), [8.0, 8.0])
    z = wide.sample(400_000, seed=[0, 4])
    log_p = mixture.log_prob(z)
    entropy = -tf.reduce_mean(tf.exp(log_p - wide.log_prob(z)) * log_p)
    mine = -tf.reduce_mean(mixture.log_prob(samples))
    assert float(mine) == pytest.approx(float(entropy), abs=0.05)


def test_starts_from_scikit_learn():
    x = tfpf.densities.make("two_moons").sample(2000, seed=0)
    theirs = GaussianMixture(5, random_state=0).fit(x)
    mixture = Mixture(2, 8, dtype="float64")
    mixture.start(theirs.weights_, theirs.means_, theirs.precisions_cholesky_)
    np.testing.assert_allclose(mixture.log_prob(x), theirs.score_samples(x), rtol=1e-6)
    np.testing.assert_allclose(mixture.weights[5:], 0.0)


def test_heavy_tails_are_seen_at_the_start():
    rng = np.random.default_rng(0)
    found = []
    for x in (rng.standard_t(2.5, (4000, 1)), rng.normal(size=(4000, 1))):
        mixture = Mixture(1, tails="student")
        mixture.adapt(x)
        found.append(np.exp(mixture._learned.variables_by_name["log_freedom"])[0])
    assert found[0] < 9 and found[1] > 60


def test_flow_adapts_its_base_to_what_the_bijectors_leave(tmp_path):
    x = tfpf.densities.make("two_moons").sample(2000, seed=0)
    shift = tfp.bijectors.Shift(np.float32([3.0, -1.0]))
    flow = tfpf.Flow([shift], base=Mixture(2, 6, tails="student", seed=1))
    flow.adapt(x)
    theirs = GaussianMixture(6, random_state=1).fit(x)
    gap = float(tf.reduce_mean(flow.log_prob(x))) - theirs.score(x)
    assert abs(gap) < 0.1
    assert flow.sample(7, seed=0).shape == (7, 2)
    flow.compile("adam")
    history = flow.fit(x, epochs=2, verbose=0).history["loss"]
    assert history[1] < history[0] + 0.01
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x[:9]), flow.log_prob(x[:9]))
    assert not loaded.base.needs_adaptation


def test_context():
    mixture = some("student", d=2, components=3, context_size=4)
    c = np.random.default_rng(0).normal(size=(5, 1, 4))
    given = mixture.given(c)
    assert given.batch_shape == (5, 1) and given.event_shape == (2,)
    x = points(7, 2)
    log_prob = given.log_prob(x)
    assert log_prob.shape == (5, 7)
    for i in range(5):
        alone = mixture.given(c[i, 0]).log_prob(x)
        np.testing.assert_allclose(alone, log_prob[i], rtol=1e-9)
    assert given.sample(11, seed=0).shape == (11, 5, 1, 2)
    flow = tfpf.Flow([], base=Mixture(2, 3, context_size=4))
    assert flow.context_size == 4
    assert flow.given(c[:, 0]).log_prob(np.zeros(2, "float32")).shape == (5,)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Mixture(0), "event_size"),
        (lambda: Mixture(2, 0), "components"),
        (lambda: Mixture(2, tails="heavy"), "kind of tails"),
        (lambda: Mixture(2).given([1.0]), "context_size"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize("scale", [1e-8, 1.0, 1e6])
def test_degenerate_points_give_a_finite_start(scale):
    rng = np.random.default_rng(0)
    x = rng.normal(size=(40, 3)) * scale
    x[:, 1] = scale
    x[:, 2] = x[:, 0]
    mixture = Mixture(3, 4, tails="student", dtype="float64")
    mixture.adapt(x)
    assert np.isfinite(mixture.log_prob(x)).all()
