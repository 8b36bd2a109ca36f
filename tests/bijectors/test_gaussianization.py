"""Gaussianize: exact tails, known answers, and starts from any data."""

import keras
import numpy as np
import pytest
import tensorflow as tf
from scipy import special, stats

import tfp_flows as tfpf
from tfp_flows.bijectors import Gaussianize
from tfp_flows.bijectors.mixtures import log_normal_cdf, normal_quantile

BOTH = pytest.mark.parametrize("dtype", ["float32", "float64"])
FAR = np.array([0.01, 0.5, 1, 3, 5, 9, 12.3, 12.5, 20, 37, 38, 100, 1e4, 1e9])
FAR = np.concatenate([-FAR[::-1], [0.0], FAR])


def eps(dtype):
    return np.finfo(dtype).eps


@BOTH
def test_the_logarithm_of_the_normal_cdf(dtype):
    z = FAR.astype(dtype)
    expected = special.log_ndtr(z.astype("float64"))
    np.testing.assert_allclose(
        log_normal_cdf(z), expected, rtol=100 * eps(dtype), atol=np.finfo(dtype).tiny
    )


@BOTH
def test_the_normal_quantile_and_its_derivative(dtype):
    log_cdf, log_survival = (special.log_ndtr(s * FAR).astype(dtype) for s in (1, -1))
    log_cdf = tf.constant(log_cdf)
    with tf.GradientTape() as tape:
        tape.watch(log_cdf)
        z = normal_quantile(log_cdf, tf.constant(log_survival))
    np.testing.assert_allclose(z, FAR, rtol=5 * eps(dtype), atol=eps(dtype))
    low = FAR < 0
    ratio = np.sqrt(np.pi / 2) * special.erfcx(-FAR[low] / np.sqrt(2))
    gradient = tape.gradient(z, log_cdf).numpy()
    np.testing.assert_allclose(gradient[low], ratio, rtol=1000 * eps(dtype))
    assert np.isfinite(gradient).all()


@BOTH
def test_one_component_is_exactly_affine_however_far_out(dtype):
    bijector = Gaussianize(1)
    bijector.build(1, dtype)
    y = FAR[:, np.newaxis].astype(dtype)
    near_zero = {"rtol": 5 * eps(dtype), "atol": eps(dtype)}
    np.testing.assert_allclose(bijector.inverse(y), y, **near_zero)
    np.testing.assert_allclose(bijector.forward(y), y, **near_zero)
    bijector._learned.variables_by_name["means"].assign([[3.0]])
    bijector._learned.variables_by_name["log_scales"].assign([[np.log(0.5)]])
    np.testing.assert_allclose(
        bijector.inverse(y), (y - 3) / 0.5, rtol=10 * eps(dtype), atol=10 * eps(dtype)
    )
    log_det = bijector.inverse_log_det_jacobian(y, 1).numpy()
    near = np.abs(FAR) < 30
    np.testing.assert_allclose(log_det[near], np.log(2), atol=1e4 * eps(dtype))


def test_is_the_normal_quantile_of_the_mixtures_cdf():
    bijector, y = Gaussianize(3), np.linspace(-4, 4, 22).reshape(11, 2)
    bijector.build(2, "float64")
    rng = np.random.default_rng(0)
    for weight in bijector.trainable_variables:
        weight.assign_add(rng.normal(size=weight.shape))
    learned = {k: v.numpy() for k, v in bijector._learned.variables_by_name.items()}
    weights, scales = (
        special.softmax(learned["logits"], -1),
        np.exp(learned["log_scales"]),
    )
    parts = stats.norm(learned["means"], scales)
    cdf = (weights * parts.cdf(y[..., np.newaxis])).sum(-1)
    pdf = (weights * parts.pdf(y[..., np.newaxis])).sum(-1)
    x = stats.norm.ppf(cdf)
    np.testing.assert_allclose(bijector.inverse(y), x, rtol=1e-10)
    np.testing.assert_allclose(bijector.forward(x), y, rtol=1e-8)
    log_det = (np.log(pdf) - stats.norm.logpdf(x)).sum(-1)
    np.testing.assert_allclose(bijector.inverse_log_det_jacobian(y, 1), log_det)


def test_the_derivatives_of_forward_are_those_of_the_inverse():
    bijector, x = (
        Gaussianize(3, dtype="float64"),
        tf.constant([[0.3], [-1.2]], tf.float64),
    )
    bijector.adapt(np.random.default_rng(0).exponential(size=(200, 1)))
    weights = bijector.trainable_variables
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        y = bijector.forward(x)
        total = tf.reduce_sum(y)
        tape.watch(fixed := tf.stop_gradient(y))
        # From x(y(x, θ), θ) = x: ∂y/∂θ = -(∂x/∂θ) / (∂x/∂y).
        back = bijector.inverse(fixed)
        slopes = tape.gradient(back, fixed)
        implied = tf.reduce_sum(-back / tf.stop_gradient(slopes))
    for got, expected in zip(
        tape.gradient(total, weights), tape.gradient(implied, weights), strict=True
    ):
        np.testing.assert_allclose(got, expected, rtol=1e-6, atol=1e-9)
    np.testing.assert_allclose(tape.gradient(total, x), 1 / slopes, rtol=1e-8)


@pytest.mark.parametrize("components", [1, 2, 8, 40])
def test_it_begins_nearly_as_the_identity(components):
    y = np.linspace(-2.5, 2.5, 11)[:, np.newaxis]
    np.testing.assert_allclose(Gaussianize(components).inverse(y), y, atol=0.06)


class TestAdapt:
    def adapted(self, y, components=8, **options):
        bijector = Gaussianize(components, **options)
        assert bijector.needs_adaptation
        bijector.adapt(y)
        assert not bijector.needs_adaptation
        return bijector

    def gain(self, y, expected):
        """Returns how much more log-density it gives than expected, on average."""
        bijector = self.adapted(y)
        x = bijector.inverse(y).numpy()
        log_det = bijector.inverse_log_det_jacobian(y, 1).numpy()
        return np.mean(stats.norm.logpdf(x).sum(-1) + log_det - expected)

    def test_makes_each_coordinate_normal(self):
        rng = np.random.default_rng(0)
        sides = rng.choice([-3.0, 3.0], 4000)
        y = np.stack(
            [rng.exponential(size=4000), 1e3 + 1e-2 * (sides + rng.normal(size=4000))],
            -1,
        )
        x = self.adapted(y).inverse(y).numpy()
        levels = [0.01, 0.1, 0.3, 0.5, 0.7, 0.9, 0.99]
        np.testing.assert_allclose(
            np.quantile(x, levels, axis=0).T, [stats.norm.ppf(levels)] * 2, atol=0.12
        )

    @pytest.mark.parametrize(
        "density", [stats.expon(), stats.t(1.5), stats.norm(1e4, 1e-3)]
    )
    def test_comes_close_to_the_density(self, density):
        y = density.rvs(size=(5000, 1), random_state=0)
        assert self.gain(y, density.logpdf(y)[:, 0]) > -0.05

    def test_one_outlier_does_not_blur_the_rest(self):
        y = np.random.default_rng(0).normal(size=(1000, 1))
        y[7] = 1e6
        bulk = np.delete(y, 7, 0)
        bijector = self.adapted(y)
        x = bijector.inverse(bulk).numpy()
        log_prob = stats.norm.logpdf(x)[:, 0] + bijector.inverse_log_det_jacobian(
            bulk, 1
        )
        assert np.mean(log_prob - stats.norm.logpdf(bulk)[:, 0]) > -0.05

    @BOTH
    @pytest.mark.parametrize(
        "y",
        [
            np.full((100, 1), 3.3),
            np.full((1, 1), -1e6),
            np.zeros((100, 1)),
            np.where(np.arange(100) < 90, 0.0, 1.0)[:, np.newaxis],
            np.random.default_rng(0).poisson(2.0, (100, 1)).astype(float),
            1e-8 * np.random.default_rng(0).normal(size=(100, 1)),
            1e6 + np.random.default_rng(0).normal(size=(5, 1)),
            np.append(np.zeros(99), 1e6)[:, np.newaxis],
        ],
        ids=["constant", "one", "zeros", "mostly", "integers", "tiny", "five", "far"],
    )
    def test_nasty_columns(self, y, dtype):
        y = y.astype(dtype)
        bijector = self.adapted(y)
        x = bijector.inverse(y).numpy()
        assert np.isfinite(x).all() and np.abs(x).max() < 15
        assert np.isfinite(bijector.inverse_log_det_jacobian(y, 1)).all()
        assert np.isfinite(bijector.forward(np.array([[-4.0], [4.0]], dtype))).all()

    def test_looks_at_all_of_many_sorted_points(self):
        y = np.sort(np.random.default_rng(0).exponential(size=(30_000, 1)), axis=0)
        x = self.adapted(y).inverse(y).numpy()
        assert abs(x.mean()) < 0.05 and abs(x.std() - 1) < 0.05

    def test_starts_alike_for_every_context(self):
        y = np.random.default_rng(0).exponential(size=(200, 2))
        plain = self.adapted(y)
        conditional = self.adapted(y, context_size=3, hidden=(4,), seed=0)
        given = conditional.given(np.random.default_rng(1).normal(size=(200, 3)))
        np.testing.assert_allclose(given.inverse(y), plain.inverse(y), rtol=1e-10)

    @pytest.mark.slow
    def test_is_saved(self, tmp_path):
        y = np.random.default_rng(0).exponential(size=(200, 1)).astype("float32")
        flow = tfpf.Flow([Gaussianize(3)], event_size=1)
        flow.adapt(y)
        flow.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(tmp_path / "flow.keras")
        assert not loaded.bijectors[0].needs_adaptation
        np.testing.assert_array_equal(loaded.log_prob(y), flow.log_prob(y))

    def test_says_what_is_wrong(self):
        with pytest.raises(ValueError, match="must be finite"):
            Gaussianize().adapt(np.full((3, 1), np.nan))
        with pytest.raises(ValueError, match="whole number ≥ 1"):
            Gaussianize(0)
