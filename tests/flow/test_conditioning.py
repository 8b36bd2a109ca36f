"""Conditional flows: p(x | context), bound, fitted, looked at and saved."""

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
from tfp_flows.bijectors import AffineCoupling, LeakyReLU

tfb = tfp.bijectors
tfd = tfp.distributions

X = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
C = np.random.default_rng(1).normal(size=(200, 3)).astype("float32")
DATA = {"x": X, "context": C}


def coupling(seed=0, **options):
    options = {"identity_start": False, "context_size": 3, **options}
    return AffineCoupling(hidden=(8,), seed=seed, **options)


def conditional_flow(**options):
    bijectors = [coupling(0), LeakyReLU(0.5), coupling(1, flip=True)]
    return tfpf.Flow(bijectors, event_size=2, **options)


@pytest.fixture(scope="module")
def flow():
    """Not to be trained."""
    return conditional_flow()


@pytest.fixture(scope="module")
def trainable():
    """Whose weights may be any: a new one would be traced anew."""
    flow = conditional_flow()
    flow.compile("adam")
    return flow


def row_by_row(flow, x, context):
    return [flow.given(c).log_prob(point) for point, c in zip(x, context, strict=True)]


class TestGiven:
    @pytest.mark.parametrize(
        ("context", "points", "expected"),
        [
            ((3,), (2,), ()),
            ((3,), (6, 2), (6,)),
            ((5, 3), (2,), (5,)),
            ((5, 3), (5, 2), (5,)),
            ((5, 3), (4, 1, 2), (4, 5)),
            ((5, 3), (4, 5, 2), (4, 5)),
            ((5, 1, 3), (2,), (5, 1)),
            ((5, 1, 3), (4, 2), (5, 4)),
            ((3, 1, 3), (2, 3, 2, 2), (2, 3, 2)),
        ],
    )
    def test_points_broadcast_against_the_batch(self, flow, context, points, expected):
        rng = np.random.default_rng(2)
        c = rng.normal(size=context).astype("float32")
        x = rng.normal(size=points).astype("float32")
        given = flow.given(c)
        assert given.batch_shape == context[:-1]
        assert given.event_shape == (2,)
        log_prob = given.log_prob(x)
        assert log_prob.shape == expected
        some = slice(None, None, 5)
        each = row_by_row(
            flow,
            np.broadcast_to(x, (*expected, 2)).reshape(-1, 2)[some],
            np.broadcast_to(c, (*expected, 3)).reshape(-1, 3)[some],
        )
        np.testing.assert_allclose(np.ravel(log_prob)[some], each, rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("context", [(3,), (5, 3), (5, 1, 3)])
    @pytest.mark.parametrize("n", [(), 7, (7, 4)])
    def test_samples_have_the_batch_behind_their_own_axes(self, flow, context, n):
        given = flow.given(np.ones(context))
        samples = given.sample(n, seed=1)
        assert samples.shape == (*np.atleast_1d(n).astype(int), *context[:-1], 2)
        # Each context has a draw of its own.
        assert len(np.unique(samples)) == np.size(samples)

    def test_samples_come_from_their_own_context(self):
        shift = AffineCoupling(hidden=(4,), context_size=1)
        flow = tfpf.Flow([shift, coupling(context_size=1, flip=True)], event_size=2)
        for weight in flow.trainable_variables:
            weight.assign(0.1 * np.ones(weight.shape))
        contexts = np.array([[-30.0], [0.0], [30.0]])
        means = tf.reduce_mean(flow.given(contexts).sample(2000, seed=0), 0)
        for context, mean in zip(contexts, means, strict=True):
            alone = tf.reduce_mean(flow.given(context).sample(2000, seed=1), 0)
            np.testing.assert_allclose(mean, alone, atol=0.2)
        assert np.ptp(means, axis=0).min() > 1.0

    def test_sample_and_log_prob_agree(self, flow):
        given = flow.given(C[:5])
        x, log_prob = given.experimental_sample_and_log_prob(7, seed=1)
        np.testing.assert_allclose(
            log_prob, given.log_prob(tf.identity(x)), rtol=1e-4, atol=1e-5
        )

    def test_in_a_graph_of_unknown_batch(self, flow):
        @tf.function(
            input_signature=[tf.TensorSpec([None, 3]), tf.TensorSpec([], tf.int32)]
        )
        def sampled(context, n):
            given = flow.given(context)
            x = given.sample(n, seed=[1, 2])
            return x, given.log_prob(tf.identity(x))

        for rows in (5, 2):
            x, log_prob = sampled(tf.constant(C[:rows]), tf.constant(7))
            assert x.shape == (7, rows, 2)
            np.testing.assert_allclose(
                log_prob, flow.given(C[:rows]).log_prob(x), rtol=1e-4, atol=1e-5
            )

    def test_under_xla(self, flow):
        log_prob = tf.function(
            lambda x, c: flow.given(c).log_prob(x), jit_compile=True
        )(X[:5], C[:5])
        expected = flow.given(C[:5]).log_prob(X[:5])
        np.testing.assert_allclose(log_prob, expected, rtol=1e-4, atol=1e-5)

    def test_the_gradient_reaches_the_context(self):
        # Without LeakyReLU, whose gradient is that of a smooth step.
        couplings = [coupling(0), coupling(1, flip=True)]
        flow = tfpf.Flow(couplings, event_size=2, dtype="float64")
        context = tf.Variable(C[:5], dtype=tf.float64)
        x = tf.constant(X[:5], tf.float64)
        with tf.GradientTape(persistent=True) as tape:
            log_prob = flow.given(context).log_prob(x)
            sample = flow.given(context).sample(3, seed=0)
        gradient = tape.gradient(log_prob, context).numpy()
        step = 1e-5 * np.eye(3)[0]
        difference = [
            (after - before) / 2e-5
            for after, before in zip(
                flow.given(context + step).log_prob(x),
                flow.given(context - step).log_prob(x),
                strict=True,
            )
        ]
        np.testing.assert_allclose(gradient[:, 0], difference, rtol=1e-4, atol=1e-6)
        assert np.abs(tape.gradient(sample, context)).min() > 0

    def test_contexts_of_any_kind(self, flow):
        expected = flow.given(np.ones((1, 3))).log_prob(X[:1])
        for context in (
            [[1, 1, 1]],
            np.ones((1, 3), int),
            tf.ones([1, 3], tf.float64),
            pd.DataFrame(np.ones((1, 3))),
            tf.Variable(tf.ones([1, 3])),
        ):
            np.testing.assert_allclose(flow.given(context).log_prob(X[:1]), expected)

    def test_shares_the_weights(self):
        flow = conditional_flow()
        given = flow.given(C[:5])
        before = given.log_prob(X[:5]).numpy()
        for weight in flow.trainable_variables:
            weight.assign(weight + 0.1)
        after = given.log_prob(X[:5]).numpy()
        assert np.abs(after - before).min() > 0
        np.testing.assert_allclose(after, flow.given(C[:5]).log_prob(X[:5]))

    @pytest.mark.parametrize(
        ("context", "kind", "message"),
        [
            (np.full((5, 3), np.nan), ValueError, "5 of 5 rows"),
            (np.zeros((5, 2)), ValueError, r"\(..., 3\). Received shape \(5, 2\)"),
            (1.0, ValueError, r"\(..., 3\)"),
            (np.zeros((0, 3)), ValueError, "at least one"),
            ([["a", "b", "c"]], TypeError, "`context` must hold real numbers"),
        ],
    )
    def test_bad_contexts(self, flow, context, kind, message):
        with pytest.raises(kind, match=message):
            flow.given(context)

    def test_wrong_widths_in_a_graph(self, flow):
        for shape in ([None, 2], None):
            signature = [tf.TensorSpec(shape)]
            bind = tf.function(lambda c: flow.given(c).log_prob(X[0]), signature)
            with pytest.raises(ValueError, match=r"must have shape \(\.\.\., 3\)"):
                bind.get_concrete_function()

    def test_what_needs_a_context_says_so(self, flow):
        for call in (
            lambda: flow.log_prob(X),
            lambda: flow.sample(3),
            lambda: flow.distribution,
        ):
            with pytest.raises(ValueError, match=r"Remedy: `flow.given\(context\)`"):
                call()
        with pytest.raises(ValueError, match=r"takes no context.*flow.distribution"):
            tfpf.Flow([tfb.Exp()], event_size=2).given(C)


class TestComposition:
    @pytest.mark.parametrize(
        "wrap",
        [
            lambda b: tfb.Invert(b),
            lambda b: tfb.Chain([tfb.Shift([1.0, 2.0]), b]),
            lambda b: tfb.Chain([tfb.Invert(tfb.Chain([b, tfb.Scale(2.0)]))]),
        ],
        ids=["Invert", "Chain", "nested"],
    )
    def test_contexts_reach_into_inverts_and_chains(self, wrap):
        flow = tfpf.Flow([wrap(coupling())], event_size=2)
        assert flow.context_size == 3
        assert len(flow.trainable_variables) == 5
        context, z = tf.constant(C[:5]), tf.constant(X[:5])
        bound = wrap(flow_coupling(flow).given(context))
        np.testing.assert_allclose(
            flow.given(context).bijector.forward(z), bound.forward(z), rtol=1e-5
        )

    def test_no_context_reaches_into_other_compositions(self):
        blocks = tfb.Blockwise([coupling(), tfb.Identity()], block_sizes=[2, 1])
        with pytest.raises(ValueError, match=r"inside Blockwise. Remedy: put it into"):
            tfpf.Flow([blocks], event_size=3)
        base = tfd.TransformedDistribution(
            tfd.MultivariateNormalDiag([0.0, 0.0]), coupling()
        )
        with pytest.raises(ValueError, match="needs a context of width 3"):
            tfpf.Flow([tfb.Exp()], base=base)

    def test_sizes_must_agree(self):
        with pytest.raises(ValueError, match="one context size"):
            tfpf.Flow([coupling(), coupling(context_size=4)], event_size=2)
        with pytest.raises(ValueError, match=r"`context_size`: 2, bijector 0 \(Affine"):
            conditional_flow(context_size=2)
        chain = tfb.Chain([coupling(), coupling(context_size=4)])
        with pytest.raises(ValueError, match=r"Received \[3, 4\] in one Chain"):
            tfpf.Flow([chain], event_size=2)
        with pytest.raises(ValueError, match="No part of the flow takes a context"):
            tfpf.Flow([tfb.Exp()], event_size=2, context_size=3)

    def test_other_orders_keep_the_context(self, flow):
        other = flow.reordered([2, 0, 1])
        assert other.context_size == flow.shuffled(seed=0).context_size == 3
        bound = [stage.bijector for stage in flow.stages(4, context=C[0])[1:]]
        stages = other.stages(4, context=C[0])
        z = stages[0].samples
        for i in (2, 0, 1):
            z = bound[i].forward(z)
        np.testing.assert_allclose(stages[-1].samples, z, rtol=1e-4, atol=1e-5)


def flow_coupling(flow):
    """The one coupling in a flow, however it is wrapped."""
    (found,) = (b for b in flow.bijectors[0].submodules if type(b) is AffineCoupling)
    return found


class TestConditionalBase:
    def flow(self):
        base = tfpf.bases.Mixture(2, 3, context_size=3, hidden=(8,), seed=0)
        flow = tfpf.Flow([coupling(0), LeakyReLU(0.5)], base=base)
        rng = np.random.default_rng(0)
        for weight in flow.trainable_variables:
            weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
        return flow

    @pytest.mark.parametrize(
        ("context", "points", "expected"),
        [((3,), (6, 2), (6,)), ((5, 3), (2,), (5,)), ((5, 1, 3), (4, 2), (5, 4))],
    )
    def test_given(self, context, points, expected):
        flow = self.flow()
        rng = np.random.default_rng(2)
        c = rng.normal(size=context).astype("float32")
        x = rng.normal(size=points).astype("float32")
        given = flow.given(c)
        assert given.batch_shape == context[:-1]
        assert given.sample(7, seed=0).shape == (7, *context[:-1], 2)
        each = row_by_row(
            flow,
            np.broadcast_to(x, (*expected, 2)).reshape(-1, 2),
            np.broadcast_to(c, (*expected, 3)).reshape(-1, 3),
        )
        np.testing.assert_allclose(
            np.ravel(given.log_prob(x)), each, rtol=1e-4, atol=1e-5
        )

    def test_stages(self):
        flow = self.flow()
        stages = flow.stages(50, context=C[0])
        np.testing.assert_allclose(
            flow.given(C[0]).log_prob(stages[-1].samples),
            stages[-1].log_prob,
            atol=1e-3,
        )

    @pytest.mark.slow
    def test_fit_and_files(self, tmp_path):
        flow = self.flow()
        flow.compile("adam")
        flow.adapt(DATA)
        flow.fit(DATA, verbose=0)
        flow.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(tmp_path / "flow.keras")
        np.testing.assert_array_equal(
            loaded.predict(DATA, verbose=0), flow.predict(DATA, verbose=0)
        )


class TestStages:
    def test_each_stage_is_exact(self, flow):
        stages = flow.stages(50, seed=2, context=C[0])
        given = flow.given(C[0])
        np.testing.assert_allclose(
            given.log_prob(stages[-1].samples), stages[-1].log_prob, atol=1e-4
        )
        for before, stage in itertools.pairwise(stages):
            np.testing.assert_allclose(
                stage.bijector.forward(before.samples), stage.samples, rtol=1e-5
            )
            np.testing.assert_allclose(
                stage.distribution.log_prob(tf.identity(stage.samples)),
                stage.log_prob,
                atol=1e-4,
            )

    @pytest.mark.parametrize(
        ("context", "message"),
        [
            (None, r"expected shape \(3,\). Received: None"),
            (C[:2], r"expected shape \(3,\)"),
            ([1.0, 2.0], r"expected shape \(3,\)"),
            ([1.0, np.nan, 2.0], "`context` must be finite"),
        ],
    )
    def test_bad_contexts(self, flow, context, message):
        with pytest.raises(ValueError, match=message):
            flow.stages(5, context=context)

    def test_a_context_that_nobody_asked_for(self):
        unconditional = tfpf.Flow([tfb.Exp()], event_size=2)
        with pytest.raises(ValueError, match="None for another"):
            unconditional.stages(5, context=[1.0])


class TestFit:
    def test_reaches_a_known_conditional_entropy(self):
        """x | c ~ N(A c + b, diag exp(c))."""
        matrix = np.array([[1.0, -0.5], [0.3, 0.8]])

        def draw(n, seed):
            rng = np.random.default_rng(seed)
            context, noise = rng.normal(size=(2, n, 2))
            x = context @ matrix.T + [0.5, -1.0] + np.exp(context / 2) * noise
            log_prob = -np.log(2 * np.pi) - 0.5 * (noise**2 + context).sum(1)
            return {"x": x, "context": context}, log_prob

        flow = tfpf.recipes.real_nvp(2, context_size=2, layers=2, hidden=(32,), seed=0)
        rate = keras.optimizers.schedules.CosineDecay(1e-2, 400)
        flow.compile(keras.optimizers.Adam(rate), steps_per_execution=20)
        keras.utils.set_random_seed(0)
        flow.fit(draw(8000, 1)[0], batch_size=200, epochs=10, verbose=0)
        fresh, exact = draw(20_000, 2)
        gap = exact - flow.predict(fresh, batch_size=5000, verbose=0)
        assert -0.005 < gap.mean() < 0.03

    @pytest.mark.parametrize(
        "form",
        [
            lambda d: d,
            lambda d: {k: v.astype("float64") for k, v in d.items()},
            lambda d: {k: v.tolist() for k, v in d.items()},
            lambda d: {k: tf.constant(v) for k, v in d.items()},
            lambda d: {k: pd.DataFrame(v) for k, v in d.items()},
            lambda d: tf.data.Dataset.from_tensor_slices(d).batch(50),
        ],
        ids=["numpy", "float64", "list", "tensor", "pandas", "tf.data"],
    )
    def test_forms_of_data(self, form, trainable):
        trainable.fit(form(DATA), verbose=0, validation_data=form(DATA))
        log_prob = trainable.given(C).log_prob(X)
        assert trainable.evaluate(form(DATA), verbose=0) == pytest.approx(
            -np.mean(log_prob), rel=1e-4
        )
        np.testing.assert_allclose(
            trainable.predict(form(DATA), verbose=0), log_prob, rtol=1e-4, atol=1e-5
        )

    def test_weights_and_validation_split(self, trainable):
        weight = np.r_[np.full(100, 2.0), np.zeros(100)].astype("float32")
        half = {k: v[:100] for k, v in DATA.items()}
        alone = trainable.evaluate(half, verbose=0)
        options = {"sample_weight": weight, "batch_size": 200, "verbose": 0}
        assert trainable.evaluate(DATA, **options) == pytest.approx(alone, rel=1e-5)
        dataset = tf.data.Dataset.from_tensors((DATA, X, weight))
        assert trainable.evaluate(dataset, verbose=0) == pytest.approx(alone, rel=1e-5)
        history = trainable.fit(DATA, validation_split=0.25, epochs=2, **options)
        assert set(history.history) == {"loss", "val_loss"}
        held_out = {k: v[150:] for k, v in DATA.items()}
        # The last quarter weighs nothing.
        assert history.history["val_loss"] == [0.0, 0.0]
        history = trainable.fit(
            DATA, validation_data=(held_out, None, 1 + weight[150:]), **options
        ).history
        assert history["val_loss"][0] == pytest.approx(
            trainable.evaluate(held_out, verbose=0), rel=1e-5
        )

    def test_float64_contexts_stay_float64(self):
        # In float32 these contexts would all be one.
        context = 1.0 + 1e-10 * np.random.default_rng(0).normal(size=(40, 3))
        flow = conditional_flow(dtype="float64")
        with_gain = flow.trainable_variables[0]
        with_gain.assign(with_gain * 1e8)
        flow.compile("adam")
        data = {"x": np.ones((40, 2)), "context": context}
        predicted = flow.predict(data, verbose=0)
        assert predicted.dtype == np.float64
        assert np.std(predicted) > 0
        np.testing.assert_allclose(predicted, flow.given(context).log_prob(data["x"]))
        flow.fit(data, verbose=0, validation_split=0.5)

    @pytest.mark.parametrize(
        ("data", "message"),
        [
            (X, "needs a context for each point"),
            ([X.tolist(), C.tolist()], "needs a context for each point"),
            ({"x": X, "contexts": C}, r"keys \['context', 'x'\]. Received: \['conte"),
            ({"x": X, "context": C[:10]}, "as many rows. Received 200 and 10"),
            ({"x": X, "context": C[:, :2]}, r"`context` must have .* \(200, 2\)"),
            ({"x": X, "context": C + np.nan}, "`context` must be finite"),
            ({"x": X, "context": C[:, None]}, r"`context` must have shape \(n, 3\)"),
        ],
    )
    def test_bad_data_stop_at_the_door(self, data, message, trainable):
        with pytest.raises(ValueError, match=message):
            trainable.fit(data)
        with pytest.raises(ValueError, match=message):
            trainable.predict(data)
        with pytest.raises(ValueError, match=message):
            trainable.fit(DATA, validation_data=data)

    @pytest.mark.parametrize(
        ("parts", "message"),
        [
            (X, "needs a context for each point"),
            ({"x": X, "c": C}, "must have the keys"),
            ({"x": X[:, :1], "context": C}, r"`x` must have shape \(n, 2\)"),
            ({"x": X, "context": C[:, :1]}, r"`context` must have shape \(n, 3\)"),
            ({"x": X[:, None], "context": C}, "as many axes"),
            (((X, C), X), "`x` must be one tensor|needs a context"),
        ],
    )
    def test_datasets_of_other_shapes(self, parts, message, trainable):
        dataset = tf.data.Dataset.from_tensor_slices(parts).batch(50)
        with pytest.raises(ValueError, match=message):
            trainable.fit(dataset, verbose=0)

    def test_datasets_without_batches(self, trainable):
        dataset = tf.data.Dataset.from_tensor_slices(DATA)
        with pytest.raises(ValueError, match=r"Remedy: `dataset.batch\(n\)`"):
            trainable.fit(dataset)

    def test_targets_are_refused_with_the_way_of_contexts(self, trainable):
        with pytest.raises(ValueError, match=r'fit\({"x": x, "context": c}\)'):
            trainable.fit(X, C)

    def test_a_context_that_nobody_asked_for(self):
        flow = tfpf.Flow([AffineCoupling(hidden=(4,))], event_size=2)
        flow.compile("adam")
        for data in (DATA, tf.data.Dataset.from_tensor_slices(DATA).batch(50)):
            with pytest.raises(ValueError, match=r"keys \['x'\]"):
                flow.fit(data)

    def test_fits_after_a_fit_that_failed(self, trainable):
        def generator(width):
            while True:
                yield {"x": X[:50, :width], "context": C[:50]}, X[:50], np.ones(50)

        with pytest.raises(ValueError, match="shape"):
            trainable.fit(generator(1), steps_per_epoch=2, verbose=0)
        history = trainable.fit(generator(2), steps_per_epoch=2, verbose=0)
        assert np.isfinite(history.history["loss"]).all()

    def test_adapts_to_points_given_their_contexts(self):
        for data in (DATA, tf.data.Dataset.from_tensor_slices(DATA).batch(50)):
            flow = tfpf.Flow([tfpf.bijectors.ActNorm(), coupling()], event_size=2)
            flow.adapt(data)
            z = flow.given(C).bijector.inverse(X)
            np.testing.assert_allclose(np.mean(z, 0), 0.0, atol=1e-5)
            np.testing.assert_allclose(np.std(z, 0), 1.0, rtol=1e-3)

    @pytest.mark.slow
    @pytest.mark.parametrize("head", [False, True])
    def test_two_replicas_train_as_one_device(self, head):
        # Logical devices must be set before TensorFlow starts: a process of its own.
        # Each has one strategy: a second one would reuse the first one's collectives.
        code = (
            f"head = {head}\n"
            + """
import numpy as np, tensorflow as tf, keras, tfp_flows as tfpf, contextlib
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
rng = np.random.default_rng(0)
data = {"x": rng.normal(size=(320, 2)).astype("float32"),
        "context": rng.normal(size=(320, 3)).astype("float32")}
results = []
for strategy in (None, tf.distribute.MirroredStrategy(["CPU:0", "CPU:1"])):
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else contextlib.nullcontext():
        model = tfpf.recipes.real_nvp(
            2, context_size=3, layers=2, hidden=(8,), seed=1)
        model.adapt(data)
        if head:
            inputs = {"x": keras.Input([2]), "context": keras.Input([3])}
            context = keras.layers.Dense(3)(inputs["context"])
            output = tfpf.LogProb(model)([inputs["x"], context])
            model = keras.Model(inputs, output)
        model.compile(
            keras.optimizers.Adam(1e-2), loss=tfpf.NegativeLogLikelihood())
    y = data["x"] if head else None
    history = model.fit(data, y, batch_size=32, shuffle=False, verbose=0)
    weights = np.concatenate(
        [w.numpy().ravel() for w in model.trainable_variables])
    results.append(np.r_[history.history["loss"], weights])
one, two = results
print(np.abs(one - two).max())
"""
        )
        done = subprocess.run(
            [sys.executable, "-c", code], capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, done.stderr[-3000:]
        assert float(done.stdout.split()[-1]) < 1e-4


class TestFiles:
    def test_saved_and_loaded(self, trainable, tmp_path):
        trainable.fit(DATA, verbose=0)
        trainable.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(tmp_path / "flow.keras")
        assert loaded.context_size == 3
        np.testing.assert_array_equal(
            loaded.predict(DATA, verbose=0), trainable.predict(DATA, verbose=0)
        )
        losses = [
            flow.fit(DATA, shuffle=False, verbose=0).history["loss"]
            for flow in (trainable, loaded)
        ]
        assert losses[0] == losses[1]

    def test_frozen_flows_stay_frozen(self, tmp_path):
        flow = conditional_flow()
        flow.trainable = False
        flow.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(tmp_path / "flow.keras")
        assert not loaded.trainable_variables
        assert len(loaded.variables) == len(flow.variables)

    @pytest.mark.slow
    def test_exported(self, flow, tmp_path):
        flow.export(tmp_path / "saved")
        served = tf.saved_model.load(tmp_path / "saved")
        np.testing.assert_allclose(
            served.log_prob(tf.constant(X[:5]), tf.constant(C[:5])),
            flow.given(C[:5]).log_prob(X[:5]),
            rtol=1e-5,
        )
        samples = served.sample(tf.constant(4000), tf.constant(C[:3]))
        assert samples.shape == (4000, 3, 2)
        own = flow.given(C[:3]).sample(4000, seed=0)
        np.testing.assert_allclose(
            tf.reduce_mean(samples, 0),
            tf.reduce_mean(own, 0),
            atol=6 * float(tf.reduce_max(tf.math.reduce_std(own, 0))) / 4000**0.5,
        )
