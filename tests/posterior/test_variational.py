"""Targets without data: the reverse KL, its two gradients, importance weights."""

import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import AffineCoupling, SplineCoupling
from tfp_flows.variational import ImportanceSample, ReverseKL, importance

tfb = tfp.bijectors
tfd = tfp.distributions

MEAN, STD = np.array([3.0, -1.0]), np.array([0.5, 2.0])
LOG_Z = 1.5


def gaussian(x):
    return tfd.MultivariateNormalDiag(
        MEAN.astype(x.dtype.as_numpy_dtype), STD.astype(x.dtype.as_numpy_dtype)
    ).log_prob(x) + tf.cast(LOG_Z, x.dtype)


def gaussian_flow(mean=(0.0, 0.0), std=(1.0, 1.0), dtype="float32"):
    scale = tfp.util.TransformedVariable(np.array(std, dtype), tfb.Exp())
    return tfpf.Flow([tfb.Scale(scale), tfb.Shift(tf.Variable(np.array(mean, dtype)))])


def coupling_flow(dtype="float32"):
    return tfpf.Flow(
        [
            AffineCoupling(hidden=(8,), identity_start=False, flip=i == 1, seed=i)
            for i in range(2)
        ],
        event_size=2,
        dtype=dtype,
    )


def keys(n, step=0, seed=0):
    """What `fit` hands to `call` at one step."""
    return tf.constant(
        np.stack([np.full(n, seed), np.full(n, step), np.arange(n)], -1), tf.int32
    )


def gradients(flow, target, n, steps=1, **options):
    """Returns losses and gradients, a row a step, of n samples each."""
    model = ReverseKL(flow, target, **options)
    weights = [weight.value for weight in flow.trainable_variables]

    @tf.function(autograph=False)
    def at(inputs):
        with tf.GradientTape() as tape:
            loss = tf.reduce_mean(model(inputs))
        parts = tape.gradient(loss, weights)
        return loss, tf.concat([tf.reshape(part, [-1]) for part in parts], 0)

    losses, rows = zip(*[at(keys(n, step)) for step in range(steps)], strict=True)
    return np.array(losses), np.array(rows)


class TestReverseKL:
    @pytest.mark.parametrize(
        ("path_gradient", "dtype"), [(True, "float32"), (False, "float64")]
    )
    def test_a_gaussian_is_found(self, path_gradient, dtype):
        flow = gaussian_flow(dtype=dtype)
        model = ReverseKL(flow, gaussian, path_gradient=path_gradient)
        rate = keras.optimizers.schedules.CosineDecay(0.1, 200)
        model.compile(keras.optimizers.Adam(rate), steps_per_execution=40)
        history = model.fit(
            epochs=5, steps_per_epoch=40, batch_size=64, seed=0, verbose=0
        ).history
        assert set(history) == {"loss", "ess"}
        assert history["loss"][-1] == pytest.approx(-LOG_Z, abs=0.01)
        assert history["ess"][-1] > 0.98
        scale, shift = flow.bijectors
        np.testing.assert_allclose(scale.scale, STD, rtol=0.05)
        np.testing.assert_allclose(shift.shift, MEAN, atol=0.05 * STD.max())
        sample = importance(flow, gaussian, 10_000, seed=0)
        assert sample.log_z.value == pytest.approx(LOG_Z, abs=1e-2)
        assert sample.ess_fraction > 0.98
        assert sample.x.dtype == sample.log_weights.dtype == dtype

    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    def test_the_path_gradient_has_no_variance_at_the_optimum(self, dtype):
        flow = gaussian_flow(MEAN, STD, dtype)
        loss, path = gradients(flow, gaussian, 32)
        np.testing.assert_allclose(loss, -LOG_Z, atol=1e-5)
        assert np.abs(path).max() < (1e-5 if dtype == "float32" else 1e-13)
        _, plain = gradients(flow, gaussian, 32, path_gradient=False)
        assert np.abs(plain).max() > 1e-2

    def test_both_gradients_agree_on_average(self):
        flow = coupling_flow("float64")
        path, plain = (
            gradients(flow, gaussian, 1000, steps=20, path_gradient=kind)[1]
            for kind in (True, False)
        )
        difference = path - plain  # of the same samples
        error = difference.std(0, ddof=1) / math.sqrt(20)
        assert (np.abs(difference.mean(0)) < 4.5 * error + 1e-12).all()
        assert error.max() > 1e-4  # and they are not the same

    def test_the_value_is_the_same_for_both(self):
        flow = coupling_flow()
        path, plain = (
            ReverseKL(flow, gaussian, path_gradient=kind)(keys(16)).numpy()
            for kind in (True, False)
        )
        np.testing.assert_allclose(path, plain, rtol=1e-6)

    def test_the_plain_gradient_is_that_of_the_estimate(self):
        """By finite differences, with the same samples."""
        flow = gaussian_flow((0.5, 0.0), (1.5, 0.7), "float64")
        model = ReverseKL(flow, gaussian, path_gradient=False)
        _, gradient = gradients(flow, gaussian, 16, path_gradient=False)
        shift = flow.trainable_variables[-1]
        start, found = shift.numpy(), []
        for step in np.eye(2) * 1e-5:
            shift.assign(start + step)
            above = float(tf.reduce_mean(model(keys(16))))
            shift.assign(start - step)
            below = float(tf.reduce_mean(model(keys(16))))
            found.append((above - below) / 2e-5)
        np.testing.assert_allclose(gradient[0, -2:], found, rtol=1e-7)

    def test_samples_are_fresh_and_reproducible(self):
        def losses(seed):
            flow = gaussian_flow()
            model = ReverseKL(flow, gaussian)
            model.compile(keras.optimizers.SGD(0.0))
            history = model.fit(
                epochs=3, steps_per_epoch=1, batch_size=8, seed=seed, verbose=0
            )
            return history.history["loss"]

        first = losses(0)
        assert losses(0) == first
        assert len({*first, *losses(1)}) == 6

    def test_the_effective_sample_size_in_the_history(self):
        """p = N(0, 1) and q = N(0, s²): E_q[(p/q)²] = s / √(2 - 1/s²)."""
        s = 1.5
        flow = tfpf.Flow([tfb.Scale(tf.Variable([s]))])
        model = ReverseKL(flow, lambda x: 7.0 - x[:, 0] ** 2 / 2)
        model.compile(keras.optimizers.SGD(0.0))
        history = model.fit(
            steps_per_epoch=5, batch_size=10_000, seed=0, verbose=0
        ).history
        assert history["ess"][0] == pytest.approx(math.sqrt(2 - 1 / s**2) / s, rel=0.01)

    def test_validation_is_on_the_same_samples(self):
        flow = gaussian_flow()
        model = ReverseKL(flow, gaussian)
        model.compile(keras.optimizers.SGD(0.0))
        history = model.fit(
            epochs=3,
            steps_per_epoch=2,
            batch_size=8,
            validation_steps=3,
            seed=0,
            verbose=0,
        ).history
        assert len(set(history["val_loss"])) == 1
        assert len(set(history["loss"])) == 3
        assert "val_ess" in history

    @pytest.mark.slow
    def test_keras_callbacks_work_and_checkpoints_are_flows(self, tmp_path):
        flow = gaussian_flow()
        model = ReverseKL(flow, gaussian)
        model.compile(keras.optimizers.Adam(0.1))
        path = tmp_path / "best.keras"
        history = model.fit(
            epochs=20,
            steps_per_epoch=5,
            batch_size=16,
            validation_steps=2,
            seed=0,
            verbose=0,
            callbacks=[
                keras.callbacks.ModelCheckpoint(path, save_best_only=True),
                keras.callbacks.EarlyStopping(min_delta=10.0, patience=3),
            ],
        )
        assert len(history.epoch) < 20
        loaded = keras.models.load_model(path)
        assert isinstance(loaded, tfpf.Flow)
        np.testing.assert_allclose(
            loaded.sample(5, seed=0), flow.sample(5, seed=0), rtol=1e-5
        )

    @pytest.mark.slow
    def test_under_xla(self):
        flow = coupling_flow()
        model = ReverseKL(flow, gaussian)
        model.compile("adam", jit_compile=True)
        history = model.fit(epochs=1, steps_per_epoch=2, batch_size=8, verbose=0)
        assert np.isfinite(history.history["loss"]).all()

    @pytest.mark.slow
    def test_samples_of_a_boxed_flow_stay_in_the_box(self):
        couplings = [
            SplineCoupling(
                box=4.0, bins=4, hidden=(8,), flip=i == 1, identity_start=False, seed=i
            )
            for i in range(2)
        ]
        flow = tfpf.Flow(couplings, tfd.Uniform(-4.0, 4.0), event_size=2)
        for path_gradient in (True, False):
            _, gradient = gradients(flow, gaussian, 1000, path_gradient=path_gradient)
            assert np.isfinite(gradient).all()
        sample = importance(flow, gaussian, 20_000, seed=0)
        assert np.abs(sample.x).max() <= 4.0
        assert np.isfinite(sample.log_weights).all()


class TestErrors:
    def test_what_cannot_be_fitted(self):
        with pytest.raises(TypeError, match="must be a Flow"):
            ReverseKL(tfd.Normal(0.0, 1.0), gaussian)
        with pytest.raises(TypeError, match="must be a function"):
            ReverseKL(gaussian_flow(), tfd.Normal(0.0, 1.0))
        with pytest.raises(ValueError, match="conditional on a context of width 3"):
            ReverseKL(tfpf.recipes.real_nvp(2, context_size=3), gaussian)
        with pytest.raises(ValueError, match="Nothing to fit"):
            ReverseKL(tfpf.Flow([tfb.Shift([1.0, 1.0])]), gaussian)
        mixture = tfd.MixtureSameFamily(
            tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal([-1.0, 1.0], 1.0)
        )
        flow = tfpf.Flow([AffineCoupling(hidden=(4,))], mixture, event_size=2)
        with pytest.raises(ValueError, match=r"no gradient.*reparameterized"):
            ReverseKL(flow, gaussian)

    @pytest.mark.parametrize(
        ("target", "error", "message"),
        [
            (lambda x: x, ValueError, r"expected shape \(8,\).*\(8, 2\)"),
            (lambda x: tf.reduce_sum(x), ValueError, r"Received shape \(\)"),
            (lambda x: tf.cast(x[:, 0], tf.float64), TypeError, "return float32"),
            (lambda x: x.numpy()[:, 0], ValueError, "has no gradient"),
            (
                lambda x: tf.where(x[:, 0] > 0, x[:, 0], -np.inf),
                ValueError,
                "onto its support.* NaN or infinite values at [1-7] of 8 samples",
            ),
            (
                lambda x: tf.sqrt(tf.nn.relu(x[:, 0])),
                ValueError,
                "NaN or infinite gradient at [1-7] of 8",
            ),
        ],
    )
    def test_what_a_target_must_return(self, target, error, message):
        model = ReverseKL(gaussian_flow(), target)
        model.compile()
        with pytest.raises(error, match=message):
            model.fit(batch_size=8, seed=0, verbose=0)

    def test_a_target_that_ends_on_the_way(self):
        """Half a plane away from the start, where the gradient leads to."""

        def ending(x):
            inside = tf.where(x[:, 0] < 20.0, 0.0, -np.inf)
            return tf.stop_gradient(inside) + 10.0 * x[:, 0]

        model = ReverseKL(gaussian_flow(), ending)
        model.compile(keras.optimizers.Adam(0.5))
        with pytest.raises(ValueError, match="at points that the flow samples"):
            model.fit(epochs=5, batch_size=8, seed=0, verbose=0)

    def test_a_fit_that_diverges(self):
        model = ReverseKL(gaussian_flow(), gaussian)
        model.compile(keras.optimizers.SGD(1e30))
        with pytest.raises(ValueError, match=r"diverged.*lower learning rate"):
            model.fit(batch_size=8, seed=0, verbose=0)

    def test_options(self):
        model = ReverseKL(gaussian_flow(), gaussian)
        model.compile()
        with pytest.raises(ValueError, match="`batch_size`"):
            model.fit(batch_size=0)
        with pytest.raises(ValueError, match="`steps_per_epoch`"):
            model.fit(steps_per_epoch=0)
        with pytest.raises(ValueError, match="`seed`"):
            model.fit(seed=-1)
        with pytest.raises(ValueError, match="`n` must be at least 2"):
            importance(gaussian_flow(), gaussian, 1)


class TestImportance:
    def test_an_exact_flow_has_equal_weights(self):
        flow = gaussian_flow(MEAN, STD, "float64")
        sample = importance(flow, gaussian, 1000, seed=0)
        assert sample.log_z.value == pytest.approx(LOG_Z, abs=1e-12)
        assert sample.log_z.standard_error < 1e-8
        assert sample.ess == pytest.approx(1000)
        assert sample.ess_fraction == pytest.approx(1.0)

    def test_against_closed_forms(self):
        """p = N(0, 1) and q = N(0, s²): E_q[(p/q)²] = s / √(2 - 1/s²)."""
        s = 1.5
        flow = tfpf.Flow([tfb.Scale([s])])
        second_moment = s / math.sqrt(2 - 1 / s**2)

        def target(x):
            return -(x[:, 0] ** 2) / 2

        n = 100_000
        sample = importance(flow, target, n, seed=0)
        assert sample.ess_fraction == pytest.approx(1 / second_moment, rel=0.01)
        log_z, error = sample.log_z
        assert error == pytest.approx(math.sqrt((second_moment - 1) / n), rel=0.02)
        assert abs(log_z - math.log(2 * math.pi) / 2) < 4 * error

    @pytest.mark.slow
    def test_standard_errors_are_those_of_repetitions(self):
        flow = tfpf.Flow([tfb.Scale([1.5])])

        def target(x):
            return -(x[:, 0] ** 2) / 2

        samples = [importance(flow, target, 500, seed=i) for i in range(200)]
        squares = [sample.expectation(lambda x: x[:, 0] ** 2) for sample in samples]
        for estimates in ([sample.log_z for sample in samples], squares):
            values, errors = np.array(estimates, np.float64).T
            assert values.std(ddof=1) == pytest.approx(errors.mean(), rel=0.2)

    def test_expectations(self):
        flow = gaussian_flow(MEAN + 0.2, STD * 1.2)
        sample = importance(flow, gaussian, 50_000, seed=0)
        mean = sample.expectation(lambda x: x)
        assert mean.value.shape == (2,)
        assert (np.abs(mean.value - MEAN) < 4 * mean.standard_error).all()
        square = sample.expectation(lambda x: (x - MEAN.astype("float32")) ** 2)
        assert (np.abs(square.value - STD**2) < 4 * square.standard_error).all()
        with pytest.raises(ValueError, match="a value for each of 50000"):
            sample.expectation(lambda x: 1.0)

    def test_resampling(self):
        flow = gaussian_flow(MEAN + 0.2, STD * 1.2)
        sample = importance(flow, gaussian, 50_000, seed=0)
        x = sample.resample(5000, seed=0).numpy()
        assert x.shape == (5000, 2)
        np.testing.assert_allclose(x.mean(0), MEAN, atol=4 * STD.max() / 70)
        np.testing.assert_allclose(x.std(0), STD, rtol=0.05)
        np.testing.assert_array_equal(x, sample.resample(5000, seed=0))

    def test_chunks(self):
        sample = importance(gaussian_flow(), gaussian, 1000, seed=0, batch_size=300)
        expected = gaussian(sample.x) - gaussian_flow().log_prob(sample.x)
        np.testing.assert_allclose(sample.log_weights, expected, atol=1e-4)
        assert len(np.unique(sample.x.numpy()[:, 0])) == 1000

    def test_where_the_target_is_zero_the_weight_is_too(self):
        def half(x):
            return tf.where(x[:, 0] > 0, -tf.reduce_sum(x**2, -1) / 2, -np.inf)

        sample = importance(gaussian_flow(), half, 20_000, seed=0)
        log_z, error = sample.log_z
        assert abs(log_z - math.log(math.pi)) < 4 * error
        assert sample.ess_fraction == pytest.approx(0.5, abs=0.02)
        assert sample.resample(100, seed=0).numpy()[:, 0].min() > 0

    def test_weights_that_mean_nothing(self):
        for value, message in ((np.nan, "must be finite"), (-np.inf, "at all 10")):
            with pytest.raises(ValueError, match=message):
                importance(
                    gaussian_flow(), lambda x, v=value: tf.fill(x.shape[:1], v), 10
                )

    def test_one_weight_that_is_all(self):
        log_weights = tf.constant([0.0, -1e4, -1e4])
        sample = ImportanceSample(tf.zeros([3, 2]), log_weights)
        assert sample.ess == pytest.approx(1.0)
        assert sample.log_z.value == pytest.approx(-math.log(3.0))


class TestInsideTFP:
    @pytest.mark.slow
    def test_hmc_through_a_flow(self):
        flow = coupling_flow()
        kernel = tfp.mcmc.TransformedTransitionKernel(
            tfp.mcmc.HamiltonianMonteCarlo(gaussian, 0.3, 3), flow.distribution.bijector
        )

        @tf.function(autograph=False)
        def sample(start):
            return tfp.mcmc.sample_chain(
                300, start, kernel=kernel, num_burnin_steps=50, trace_fn=None, seed=0
            )

        draws = sample(flow.sample(32, seed=0)).numpy()
        ess = tfp.mcmc.effective_sample_size(draws, cross_chain_dims=1)
        np.testing.assert_array_less(
            np.abs(draws.mean((0, 1)) - MEAN), 5 * STD / np.sqrt(ess)
        )

    def test_surrogate_posterior_with_a_keras_optimizer(self):
        flow = gaussian_flow()
        losses = tfp.vi.fit_surrogate_posterior(
            gaussian,
            flow.distribution,
            optimizer=keras.optimizers.Adam(0.1),
            num_steps=150,
            sample_size=32,
            seed=0,
        )
        assert float(losses[-1]) == pytest.approx(-LOG_Z, abs=0.1)
