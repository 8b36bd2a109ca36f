"""Flow: composed, fitted by Keras, looked at stage by stage, reordered."""

import itertools
import subprocess
import sys

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    AffineCoupling,
    LeakyReLU,
    MixtureCDF,
    Rotation2D,
)
from tfp_flows.testing import check_flow

tfb = tfp.bijectors
tfd = tfp.distributions


@pytest.fixture
def x():
    rng = np.random.default_rng(0)
    return (rng.normal(size=(200, 2)) * [1.0, 2.0] + [0.5, -1.0]).astype("float32")


def coupling_flow(seed=0, event_size=2, **options):
    return tfpf.Flow(
        [
            AffineCoupling(hidden=(8,), identity_start=False, seed=seed),
            LeakyReLU(0.5),
            AffineCoupling(hidden=(8,), identity_start=False, flip=True, seed=seed + 1),
        ],
        event_size=event_size,
        **options,
    )


@pytest.fixture(scope="module")
def trainable():
    """Whose weights may be any: a new one would be traced anew."""
    flow = coupling_flow()
    flow.compile("adam")
    return flow


def five_stages():
    """The tutorial's chain."""
    return tfpf.Flow(
        [
            tfb.Shift([0.0, -2.0]),
            tfb.Scale([2.0, 1.5]),
            tfpf.bijectors.ShiftAndCube(0.2),
            Rotation2D(1.0),
            tfb.Sigmoid(),
        ],
        base=tfd.MultivariateNormalDiag([0.0, 0.0], [0.5, 0.5]),
    )


class TestComposition:
    def test_order_is_base_to_data(self):
        flow = tfpf.Flow([tfb.Shift([1.0, 1.0]), tfb.Scale([10.0, 10.0])])
        z = flow.stages(5)[0].samples
        np.testing.assert_allclose(flow.stages(5)[-1].samples, 10 * (z + 1), rtol=1e-6)

    def test_log_prob_against_a_known_density(self, x):
        flow = tfpf.Flow([tfb.Scale([2.0, 3.0]), tfb.Shift([1.0, -1.0])])
        exact = tfd.MultivariateNormalDiag([1.0, -1.0], [2.0, 3.0])
        np.testing.assert_allclose(flow.log_prob(x), exact.log_prob(x), rtol=1e-5)

    def test_a_base_of_several_parts_is_refused(self):
        parts = [tfd.Normal(0.0, 1.0), tfd.Normal(0.0, 1.0)]
        joint = tfd.JointDistributionSequential(parts)
        with pytest.raises(ValueError, match=r"tfd\.Blockwise joins them"):
            tfpf.Flow([tfb.Scale([2.0, 3.0])], joint, event_size=2)

    def test_every_weight_exists_after_the_constructor(self):
        flow = tfpf.Flow([AffineCoupling(hidden=(16,)), MixtureCDF(3)], event_size=4)
        # 2→16→(16→4) network, bounds of 2; 3 rows of 4×3 for the mixture.
        assert flow.count_params() == 2 * 16 + 16 + 16 * 4 + 4 + 2 + 3 * 12

    @pytest.mark.parametrize(
        ("base", "event_size"),
        [
            (tfd.Beta(2.0, 5.0), 3),
            (tfd.Uniform([0.0, 0.0], [1.0, 2.0]), None),
            (tfd.Sample(tfd.StudentT(3.0, 0.0, 1.0), [2]), None),
            (
                tfd.MixtureSameFamily(
                    tfd.Categorical(logits=[0.0, 1.0]),
                    tfd.MultivariateNormalDiag([[0.0, 1.0], [2.0, 3.0]]),
                ),
                None,
            ),
        ],
    )
    def test_any_base(self, base, event_size):
        flow = tfpf.Flow([tfb.Scale(2.0)], base=base, event_size=event_size)
        samples = flow.sample(6, seed=0)
        assert samples.shape == (6, flow.event_size)
        # p(x) = base(x / 2) / 2ᵈ
        expected = flow.base.log_prob(samples / 2) - flow.event_size * np.log(2)
        np.testing.assert_allclose(flow.log_prob(samples), expected, rtol=1e-5)

    @pytest.mark.parametrize(
        "bijectors",
        [
            [tfb.Shift([1.0, 2.0])],
            [tfb.ScaleMatvecTriL(np.eye(2, dtype="float32"))],
            [tfb.Sigmoid(), tfb.Permute([1, 0])],
            [tfb.Invert(tfb.Chain([tfb.Exp(), tfb.Scale([1.0, 2.0])]))],
            [tfb.Chain([tfb.Scale([2.0]), tfb.Shift([1.0, 2.0])])],
            [tfb.Blockwise([tfb.Exp(), tfb.Identity()], block_sizes=[1, 1])],
            [tfb.Shift([1.0, 2.0]), tfb.LambertWTail(0.0, 1.0, tailweight=0.1)],
        ],
    )
    def test_event_size_is_read_off_the_bijectors(self, bijectors):
        assert tfpf.Flow(bijectors).event_size == 2

    def test_dtype_is_read_off_the_parts(self):
        flow = tfpf.Flow([tfb.Scale(np.float64([1.0, 2.0])), LeakyReLU(0.5)])
        assert flow.dtype == "float64"
        assert flow.sample(3).dtype == tf.float64
        assert {v.dtype for v in flow.variables} == {"float64"}

    @pytest.mark.parametrize(
        ("make", "kind", "message"),
        [
            (
                lambda: tfpf.Flow(tfb.Exp(), event_size=2),
                TypeError,
                r"write \[bijector\]",
            ),
            (lambda: tfpf.Flow(["a"], event_size=2), TypeError, "at index 0"),
            (lambda: tfpf.Flow([tfb.Exp()], base=3), TypeError, "TFP distribution"),
            (lambda: tfpf.Flow([tfb.Exp()]), ValueError, "`event_size` is needed"),
            (
                lambda: tfpf.Flow([tfb.Shift([0.0, 1.0])], event_size=3),
                ValueError,
                "one event size. Received `event_size`: 3, bijector 0",
            ),
            (
                lambda: tfpf.Flow([tfb.Scale(2.0)], event_size=2, dtype="float64"),
                ValueError,
                "np.float64",
            ),
            (
                lambda: tfpf.Flow([], event_size=2, dtype="float16"),
                ValueError,
                "float32",
            ),
            (lambda: tfpf.Flow([], event_size=0), ValueError, "whole number ≥ 1"),
            (
                lambda: tfpf.Flow([tfb.FillTriangular()], event_size=3),
                ValueError,
                "keep the width",
            ),
            (
                lambda: tfpf.Flow([], base=tfd.Normal(np.zeros((3, 2)), 1.0)),
                ValueError,
                "event_size",
            ),
            (
                lambda: tfpf.Flow([], event_size=2, context_size=1),
                ValueError,
                "context",
            ),
        ],
    )
    def test_contradictions_raise(self, make, kind, message):
        with pytest.raises(kind, match=message):
            make()

    def test_a_flow_passes_the_checker(self, x):
        assert "round_trip" in check_flow(
            coupling_flow(), x[:20], skip=["xla", "keras_file"]
        )


class TestFit:
    def test_reaches_the_entropy_of_a_gaussian(self):
        rng = np.random.default_rng(0)
        matrix = np.array([[2.0, 0.0], [1.5, 0.5]])
        x = rng.normal(size=(20_000, 2)) @ matrix.T + [3.0, -1.0]
        entropy = np.log(2 * np.pi * np.e) + np.linalg.slogdet(matrix)[1]
        initial = tfp.util.TransformedVariable(tf.eye(2), tfb.FillScaleTriL())
        flow = tfpf.Flow(
            [tfb.ScaleMatvecTriL(initial), tfb.Shift(tf.Variable([0.0, 0.0]))]
        )
        flow.compile(keras.optimizers.Adam(0.05))
        flow.fit(x[:10_000], batch_size=500, epochs=15, verbose=0)
        # The mean of 10,000 log-densities has a standard error of 0.01 nats.
        assert abs(flow.evaluate(x[10_000:], verbose=0) - entropy) < 0.03

    def test_keras_fit_with_everything(self, x, tmp_path):
        flow = coupling_flow()
        flow.compile("adam")
        history = flow.fit(
            x,
            batch_size=50,
            epochs=3,
            validation_split=0.25,
            callbacks=[
                keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
                keras.callbacks.EarlyStopping(patience=5, restore_best_weights=True),
            ],
            verbose=0,
        )
        assert set(history.history) == {"loss", "val_loss"}
        assert history.history["loss"][-1] < history.history["loss"][0]
        assert int(flow.optimizer.iterations) == 9  # 3 of 150 rows each epoch
        # The file is of the last epoch, whose held-out rows are the last quarter.
        last = keras.models.load_model(tmp_path / "best.keras")
        assert last.evaluate(x[150:], verbose=0) == pytest.approx(
            history.history["val_loss"][-1], rel=1e-5
        )

    def test_the_loss_is_minus_log_prob(self, x):
        flow = coupling_flow()
        flow.compile("adam")
        expected = -np.mean(flow.log_prob(x))
        assert flow.evaluate(x, verbose=0) == pytest.approx(expected, rel=1e-5)
        np.testing.assert_allclose(
            flow.predict(x, verbose=0), flow.log_prob(x), rtol=1e-5
        )

    @pytest.mark.parametrize(
        "form",
        [
            lambda x: x,
            lambda x: x.astype("float64"),
            lambda x: x.tolist(),
            lambda x: tf.constant(x),
            lambda x: pd.DataFrame(x, columns=["a", "b"]),
            lambda x: tf.data.Dataset.from_tensor_slices(x).batch(50),
            lambda x: {"x": x},
        ],
        ids=["numpy", "float64", "list", "tensor", "pandas", "tf.data", "dict"],
    )
    def test_forms_of_data(self, form, x, trainable):
        before = trainable.get_weights()
        trainable.fit(form(x), epochs=1, verbose=0, validation_data=form(x))
        assert any(
            (a != b).any() for a, b in zip(before, trainable.get_weights(), strict=True)
        )
        assert trainable.evaluate(form(x), verbose=0) == pytest.approx(
            -np.mean(trainable.log_prob(x)), rel=1e-5
        )

    def test_metrics_see_points_and_log_prob(self, x):
        def far(points, log_prob):
            return tf.reduce_mean(tf.cast(points[:, 0] > 1, tf.float32) * log_prob)

        flow = coupling_flow()
        flow.compile("adam", metrics=[far])
        history = flow.fit(x, batch_size=200, verbose=0, validation_data=x).history
        expected = np.mean(np.where(x[:, 0] > 1, flow.log_prob(x), 0))
        assert history["val_far"][0] == pytest.approx(expected, rel=0.2)

    def test_sample_weight_counts_points(self, x):
        flow = coupling_flow()
        flow.compile("adam")
        weight = np.r_[np.full(100, 2.0), np.zeros(100)]
        weighted = flow.evaluate(x, sample_weight=weight, batch_size=200, verbose=0)
        alone = flow.evaluate(x[:100], batch_size=100, verbose=0)
        assert weighted == pytest.approx(alone, rel=1e-5)
        data = tf.data.Dataset.from_tensors((x, x, weight.astype("float32")))
        assert flow.evaluate(data, verbose=0) == pytest.approx(alone, rel=1e-5)
        history = flow.fit(
            x,
            sample_weight=weight,
            validation_data=(x, None, weight),
            batch_size=200,
            verbose=0,
        ).history
        assert history["loss"][0] == pytest.approx(alone, rel=1e-5)  # before its step
        alone = flow.evaluate(x[:100], batch_size=100, verbose=0)
        assert history["val_loss"][0] == pytest.approx(alone, rel=1e-5)

    def test_float64_data_stay_float64(self):
        # In float32 these points would all be one.
        x = 1.0 + 1e-10 * np.random.default_rng(0).normal(size=(400, 1))
        scale = tfp.util.TransformedVariable(np.float64([1e-9]), tfb.Exp())
        flow = tfpf.Flow([tfb.Scale(scale), tfb.Shift(np.float64([1.0]))])
        flow.compile(keras.optimizers.Adam(0.1))
        flow.fit(x, batch_size=100, epochs=40, verbose=0, validation_split=0.5)
        exact = 0.5 * np.log(2 * np.pi * np.e) + np.log(1e-10)
        assert abs(flow.evaluate(x, verbose=0) - exact) < 0.1
        assert abs(-flow.predict(x, verbose=0).mean() - exact) < 0.1

    def test_same_seed_same_result(self, x):
        losses = []
        for _ in range(2):
            keras.utils.set_random_seed(3)
            flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,))
            flow.compile("adam")
            losses.append(flow.fit(x, epochs=3, verbose=0).history["loss"])
        assert losses[0] == losses[1]

    def test_learned_base(self, x):
        loc = tf.Variable([5.0, 5.0])
        flow = tfpf.Flow([], base=tfd.MultivariateNormalDiag(loc, [1.0, 1.0]))
        flow.compile(keras.optimizers.Adam(0.5))
        flow.fit(x, epochs=30, batch_size=50, verbose=0)
        np.testing.assert_allclose(loc.numpy(), x.mean(0), atol=0.5)

    def test_a_users_layer_keeps_its_regularizer_and_its_trainable(self, x):
        network = keras.Sequential(
            [keras.layers.Dense(4, kernel_regularizer=keras.regularizers.L2(10.0))]
        )
        flow = tfpf.Flow([AffineCoupling(network=network)], event_size=2)
        flow.compile("adam")
        kernel = network.layers[0].kernel.numpy()
        expected = -np.mean(flow.log_prob(x)) + 10.0 * np.sum(kernel**2)
        assert flow.evaluate(x, verbose=0) == pytest.approx(expected, rel=1e-4)
        count = len(flow.trainable_variables)
        network.trainable = False
        assert len(flow.trainable_variables) == count - 2

    def test_dropout_drops_in_training_only(self, x):
        network = keras.Sequential(
            [keras.layers.Dense(32), keras.layers.Dropout(0.5, seed=0)]
        )
        coupling = AffineCoupling(network=network, identity_start=False, seed=0)
        flow = tfpf.Flow([coupling], event_size=2)
        np.testing.assert_array_equal(flow(x), flow(x))
        assert np.any(flow(x, training=True) != flow(x, training=True))
        flow.compile("adam")
        flow.fit(x, verbose=0)

    def test_nothing_to_fit(self, x):
        flow = tfpf.Flow([tfb.Scale(2.0), Rotation2D(0.3, trainable=False)])
        flow.compile("adam")
        with pytest.raises(ValueError, match=r"Nothing to fit.*Scale, Rotation2D"):
            flow.fit(x)
        assert flow.sample(3).shape == (3, 2)

    @pytest.mark.parametrize(
        ("data", "kind", "message"),
        [
            (
                np.zeros((5, 3)),
                ValueError,
                r"shape \(..., 2\). Received shape \(5, 3\)",
            ),
            (np.zeros((0, 2)), ValueError, "at least one point"),
            (np.zeros((4, 5, 2)), ValueError, r"shape \(n, 2\)"),
            ([[0.0, 1.0], [np.nan, 1.0]], ValueError, "1 of 2 rows .* row 1"),
            ([[0.0, 1.0], [0.0, np.inf]], ValueError, "1 of 2 rows .* row 1"),
            ([[0.0, 1e300]], ValueError, "in float32"),
            (pd.DataFrame({"a": ["u", "v"], "b": [1, 2]}), TypeError, "such as 'u'"),
            ([[1.0, 2.0], [3.0]], ValueError, "unequal lengths"),
            (np.zeros((3, 2), complex), TypeError, "real numbers"),
            (np.array([["1", "2"]], dtype=object), TypeError, "such as '1'"),
            (np.array([[1, 10**400]], dtype=object), TypeError, "real numbers"),
            (np.ma.masked_equal([[1.0, 0.0]], 0.0), ValueError, "masked entries"),
        ],
    )
    def test_bad_data_stop_at_the_door(self, data, kind, message, trainable):
        with pytest.raises(kind, match=message):
            trainable.fit(data)
        with pytest.raises(kind, match=message):
            trainable.evaluate(data)
        with pytest.raises(kind, match=message):
            trainable.fit(np.zeros((5, 2)), validation_data=data)

    def test_targets_and_other_losses_are_refused(self, x):
        flow = coupling_flow()
        with pytest.raises(ValueError, match="fitted by -log_prob"):
            flow.compile("adam", loss="mse")
        flow.compile("adam")
        with pytest.raises(ValueError, match="no targets"):
            flow.fit(x, x)
        with pytest.raises(ValueError, match="no targets"):
            flow.fit(tf.data.Dataset.from_tensors((x, x)), verbose=0)
        with pytest.raises(ValueError, match="`sample_weight` must be 200"):
            flow.fit(x, sample_weight=np.ones(7))


def test_parts_of_a_chain_learn_the_width_that_tfp_loses():
    """In a graph, TFP's spline of width 1 gives points of unknown width."""
    spline = tfb.RationalQuadraticSpline(
        bin_widths=np.full([1, 2], 2.0, "float32"),
        bin_heights=np.full([1, 2], 2.0, "float32"),
        knot_slopes=np.full([1, 1], 0.8, "float32"),
        range_min=-2.0,
    )
    part = tfpf.bijectors.MaskedAutoregressive(hidden=(4,), seed=0)
    flow = tfpf.Flow([tfb.Chain([part, spline])], event_size=1)
    assert part.trainable_variables and flow.trainable_variables
    x = np.linspace(-1.0, 1.0, 5, dtype="float32")[:, None]
    z = flow.distribution.bijector.inverse(x)
    np.testing.assert_allclose(
        flow.distribution.bijector.forward(tf.identity(z)), x, atol=1e-5
    )


class TestDensity:
    def test_log_prob_keeps_leading_axes_and_chunks(self, x):
        flow = coupling_flow()
        whole = flow.log_prob(x.reshape(20, 10, 2))
        assert whole.shape == (20, 10)
        parts = flow.log_prob(x, batch_size=37)
        np.testing.assert_allclose(tf.reshape(whole, [-1]), parts, rtol=1e-5)
        assert flow.log_prob(x[0]).shape == ()

    def test_gradients_and_graphs(self, x):
        flow = coupling_flow()
        points = tf.constant(x)
        with tf.GradientTape() as tape:
            tape.watch(points)
            log_prob = flow.log_prob(points)
        gradient = tape.gradient(log_prob, points)
        assert np.isfinite(gradient).all() and gradient.shape == points.shape
        inside = tf.function(lambda p: flow.log_prob(p))(points)
        np.testing.assert_allclose(inside, log_prob, rtol=1e-5)

    def test_samples_are_reproducible_and_large_counts_are_chunked(self):
        flow = coupling_flow()
        np.testing.assert_array_equal(flow.sample(5, seed=1), flow.sample(5, seed=1))
        assert np.any(flow.sample(5) != flow.sample(5))
        assert np.any(flow.sample(5, seed=1) != flow.sample(5, seed=2))
        many = flow.sample(25, seed=1, batch_size=10).numpy()
        assert many.shape == (25, 2) and len(np.unique(many[:, 0])) == 25

    @pytest.mark.parametrize("n", [0, -1, 2.5, True])
    def test_bad_counts(self, n):
        with pytest.raises(ValueError, match="whole number ≥ 1"):
            coupling_flow().sample(n)

    def test_bad_seeds(self):
        with pytest.raises(ValueError, match="`seed`"):
            coupling_flow().sample(3, seed=-1)

    def test_distribution_shares_the_weights(self, x):
        flow = coupling_flow()
        np.testing.assert_allclose(
            flow.distribution.log_prob(x), flow.log_prob(x), rtol=1e-5
        )
        for weight in flow.trainable_variables:
            weight.assign(weight + 0.1)
        np.testing.assert_allclose(
            flow.distribution.log_prob(x), flow.log_prob(x), rtol=1e-5
        )


class TestStages:
    def test_each_stage_is_exact(self):
        flow = five_stages()
        stages = flow.stages(50, seed=2)
        assert [stage.name for stage in stages] == [
            "MultivariateNormalDiag",
            "Shift",
            "Scale",
            "ShiftAndCube",
            "Rotation2D",
            "Sigmoid",
        ]
        assert stages[0].bijector is None
        np.testing.assert_array_equal(stages[0].log_det, np.zeros(50))
        for before, stage in itertools.pairwise(stages):
            assert stage.samples.shape == (50, 2)
            np.testing.assert_allclose(
                stage.bijector.forward(before.samples), stage.samples, rtol=1e-5
            )
            np.testing.assert_allclose(
                stage.log_prob, before.log_prob - stage.log_det, rtol=1e-5
            )
            np.testing.assert_allclose(
                stage.distribution.log_prob(tf.identity(stage.samples)),
                stage.log_prob,
                atol=2e-3,
            )
        np.testing.assert_allclose(stages[-1].samples, flow.sample(50, seed=2))

    def test_names(self):
        coupling = AffineCoupling(hidden=(4,))
        flow = tfpf.Flow(
            [
                coupling,
                LeakyReLU(0.5, name="kink"),
                AffineCoupling(hidden=(4,)),
                coupling,
            ],
            event_size=2,
        )
        assert [stage.name for stage in flow.stages(2)][1:] == [
            "AffineCoupling 1",
            "kink",
            "AffineCoupling 2",
            "AffineCoupling 1",
        ]

    def test_summary_lists_the_stages_with_their_counts(self):
        lines = []
        coupling_flow().summary(print_fn=lambda line, **_: lines.append(line))
        text = "\n".join(map(str, lines))
        for part in (
            "MultivariateNormalDiag",
            "f1_AffineCoupling_1",
            "f2_LeakyReLU",
            "35",
        ):
            assert part in text


class TestOrders:
    def test_reordered_is_an_independent_copy(self, x):
        flow = coupling_flow()
        flow.compile("adam")
        flow.fit(x, verbose=0)
        same = flow.reordered([0, 1, 2])
        np.testing.assert_array_equal(same.log_prob(x), flow.log_prob(x))
        other = flow.reordered([2, 0, 1])
        assert [s.name for s in other.stages(2)][1:] == [
            "AffineCoupling 2",
            "AffineCoupling 1",
            "LeakyReLU",
        ]
        y = flow.bijectors[1].forward(
            flow.bijectors[0].forward(flow.bijectors[2].forward(x))
        )
        z = other.distribution.bijector.forward(x)
        np.testing.assert_allclose(z, y, rtol=1e-4, atol=1e-5)
        before = flow.log_prob(x).numpy()
        for weight in other.trainable_variables:
            weight.assign(weight + 1.0)
        np.testing.assert_array_equal(flow.log_prob(x), before)

    def test_shuffled_is_another_order_and_reproducible(self):
        flow = five_stages()
        names = [[s.name for s in flow.shuffled(seed=s).stages(2)] for s in (1, 1, 2)]
        assert names[0] == names[1]
        assert sorted(names[0]) == sorted(s.name for s in flow.stages(2))
        for seed in range(2):
            shuffled = tfpf.Flow([tfb.Exp(), tfb.Shift([1.0])]).shuffled(seed=seed)
            assert [s.name for s in shuffled.stages(2)][1:] == ["Shift", "Exp"]

    def test_functions_survive_a_shuffle_but_not_a_file(self, tmp_path):
        doubled = tfb.Inline(
            forward_fn=lambda x: 2 * x,
            inverse_fn=lambda y: y / 2,
            forward_log_det_jacobian_fn=lambda x: tf.ones_like(x) * np.log(2.0),
            forward_min_event_ndims=0,
        )
        flow = tfpf.Flow([doubled, tfb.Shift([1.0, 1.0])])
        z = flow.stages(4)[0].samples
        np.testing.assert_allclose(
            flow.reordered([1, 0]).stages(4)[-1].samples, 2 * (z + 1), rtol=1e-6
        )
        with pytest.raises(TypeError, match=r"`forward_fn` of Inline is the function"):
            flow.save(tmp_path / "flow.keras")
        assert not list(tmp_path.iterdir())

    @pytest.mark.parametrize("order", [[0, 0, 2, 3, 4], [0, 1], [0, 1, 2, 3, 5]])
    def test_bad_orders(self, order):
        with pytest.raises(ValueError, match=r"permutation of 0..4. Received: \["):
            five_stages().reordered(order)


class TestStrategy:
    @pytest.mark.slow
    def test_two_replicas_train_as_one_device(self):
        # Logical devices must be set before TensorFlow starts: a process of its own.
        code = """
import numpy as np, tensorflow as tf, keras, tfp_flows as tfpf, contextlib
import tensorflow_probability as tfp
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
x = np.random.default_rng(0).normal(size=(640, 3)).astype("float32") * [1, 2, 3]
results = []
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        scale = tf.Variable([1.0, 1.0, 1.0])
        flow = tfpf.Flow(
            [tfpf.bijectors.AffineCoupling(hidden=(8,), seed=1),
             tfpf.bijectors.LeakyReLU(0.5),
             tfpf.bijectors.AffineCoupling(hidden=(8,), flip=True, seed=2),
             tfp.bijectors.Scale(scale)])
        flow.compile(keras.optimizers.Adam(1e-2))
    history = flow.fit(x, batch_size=32, epochs=1, shuffle=False, verbose=0)
    weights = np.concatenate([w.numpy().ravel() for w in flow.trainable_variables])
    results.append((history.history["loss"][0], weights))
(loss, weights), (loss2, weights2) = results
assert len(weights) == len(weights2) > 100, (len(weights), len(weights2))
print(abs(loss - loss2), np.abs(weights - weights2).max())
"""
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        loss, weights = map(float, done.stdout.split()[-2:])
        assert loss < 1e-4 and weights < 1e-4
