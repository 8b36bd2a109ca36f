"""LogProb: flows as heads of bigger Keras models, trained end to end."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import AffineCoupling

tfb = tfp.bijectors

X = np.random.default_rng(0).normal(size=(200, 2)).astype("float32")
FEATURES = np.random.default_rng(1).normal(size=(200, 5)).astype("float32")
DATA = {"x": X, "features": FEATURES}


def conditional_flow(**options):
    couplings = [
        AffineCoupling(
            hidden=(8,), identity_start=False, seed=i, flip=bool(i), context_size=3
        )
        for i in range(2)
    ]
    return tfpf.Flow(couplings, event_size=2, **options)


def head_on_an_encoder(flow, **options):
    x, features = keras.Input([2], name="x"), keras.Input([5], name="features")
    context = keras.layers.Dense(3, activation="tanh", name="encoder")(features)
    log_prob = tfpf.LogProb(flow, **options)([x, context])
    model = keras.Model({"x": x, "features": features}, log_prob)
    model.compile(keras.optimizers.Adam(1e-2), loss=tfpf.NegativeLogLikelihood())
    return model


def context_of(model, features):
    layer = model.get_layer("encoder")
    return layer(features)


class TestLayer:
    @pytest.mark.parametrize(
        "form",
        [lambda x, c: [x, c], lambda x, c: (x, c), lambda x, c: {"x": x, "context": c}],
        ids=["list", "tuple", "dict"],
    )
    def test_is_the_log_prob_of_the_flow(self, form):
        flow = conditional_flow()
        context = FEATURES[:, :3]
        log_prob = tfpf.LogProb(flow)(form(X, context))
        expected = flow.given(context).log_prob(X)
        np.testing.assert_allclose(log_prob, expected, rtol=1e-5, atol=1e-5)
        symbolic = tfpf.LogProb(flow)(form(keras.Input([2]), keras.Input([3])))
        assert symbolic.shape == (None,) and symbolic.dtype == "float32"

    def test_of_an_unconditional_flow(self):
        flow = tfpf.Flow([AffineCoupling(hidden=(4,), identity_start=False)], None, 2)
        for inputs in (X, {"x": X}):
            np.testing.assert_allclose(
                tfpf.LogProb(flow)(inputs), flow.log_prob(X), rtol=1e-5
            )
        assert tfpf.LogProb(flow)(keras.Input([2])).shape == (None,)

    def test_of_sequences_of_points(self):
        flow = conditional_flow()
        context = FEATURES[:, :3].reshape(20, 10, 3)
        log_prob = tfpf.LogProb(flow)([X.reshape(20, 10, 2), context])
        expected = flow.given(FEATURES[:, :3]).log_prob(X)
        np.testing.assert_allclose(np.ravel(log_prob), expected, rtol=1e-4, atol=1e-5)

    def test_float64_is_not_rounded(self):
        flow = tfpf.Flow([tfb.Scale(np.float64([1e-9])), tfb.Shift(np.float64([1.0]))])
        x = 1.0 + 1e-10 * np.random.default_rng(0).normal(size=(10, 1))
        log_prob = tfpf.LogProb(flow)(x)
        assert log_prob.dtype == tf.float64
        np.testing.assert_allclose(log_prob, flow.log_prob(x))

    @pytest.mark.parametrize(
        ("inputs", "message"),
        [
            (keras.Input([2]), "needs a context for each point"),
            ([keras.Input([2])], r"must have the keys \['context', 'x'\]"),
            ([keras.Input([2])] * 3, r"`\[x, context\]`. Received: 3 inputs"),
            ([keras.Input([2]), keras.Input([4])], r"`context` must have shape \(n, 3"),
            ([keras.Input([1]), keras.Input([3])], r"`x` must have shape \(n, 2\)"),
            ([keras.Input([6, 2]), keras.Input([3])], "as many axes"),
            ({"x": keras.Input([2]), "c": keras.Input([3])}, "must have the keys"),
        ],
    )
    def test_wrong_inputs(self, inputs, message):
        with pytest.raises(ValueError, match=message):
            tfpf.LogProb(conditional_flow())(inputs)

    def test_a_context_that_nobody_asked_for(self):
        flow = tfpf.Flow([AffineCoupling(hidden=(4,))], event_size=2)
        with pytest.raises(ValueError, match=r"must have the keys \['x'\]"):
            tfpf.LogProb(flow)([keras.Input([2]), keras.Input([3])])

    def test_takes_flows_only(self):
        with pytest.raises(TypeError, match=r"`flow` must be a Flow\. Received"):
            tfpf.LogProb(tfb.Scale(2.0))

    def test_a_frozen_flow(self):
        model = head_on_an_encoder(conditional_flow(), trainable=False)
        assert len(model.trainable_variables) == 2  # of the encoder
        before = [w.numpy() for w in model.non_trainable_variables]
        loss = model.fit(DATA, X, epochs=3, verbose=0).history["loss"]
        assert loss[-1] < loss[0]
        for old, new in zip(before, model.non_trainable_variables, strict=True):
            np.testing.assert_array_equal(old, new)
        flow = conditional_flow()
        model = head_on_an_encoder(flow)
        flow.trainable = False
        assert len(model.trainable_variables) == 2

    def test_dropout_drops_in_training_only(self):
        network = keras.Sequential(
            [keras.layers.Dense(32), keras.layers.Dropout(0.5, seed=0)]
        )
        coupling = AffineCoupling(network=network, identity_start=False, seed=0)
        layer = tfpf.LogProb(tfpf.Flow([coupling], event_size=2))
        np.testing.assert_array_equal(layer(X), layer(X))
        assert np.any(layer(X, training=True) != layer(X, training=True))


class TestFit:
    @pytest.mark.slow
    def test_the_encoder_learns_what_the_context_must_be(self):
        """x | f ~ N((f₀, -f₀), 0.1² I): what the encoder finds in five features."""
        rng = np.random.default_rng(0)
        features = rng.normal(size=(4000, 5)).astype("float32")
        noise = rng.normal(size=(4000, 2)).astype("float32")
        data = {"x": features[:, :1] * [1, -1] + 0.1 * noise, "features": features}
        entropy = np.log(2 * np.pi * np.e * 0.01)
        keras.utils.set_random_seed(0)
        flow = tfpf.recipes.real_nvp(2, context_size=3, layers=4, hidden=(32,), seed=0)
        flow.adapt({"x": data["x"], "context": features[:, :3]})
        model = head_on_an_encoder(flow)
        history = model.fit(
            data, data["x"], batch_size=100, epochs=15, validation_split=0.1, verbose=0
        )
        assert history.history["val_loss"][-1] < entropy + 0.3
        weights = model.get_layer("encoder").kernel.numpy()
        assert np.abs(weights[0]).max() > 3 * np.abs(weights[1:]).max()

    def test_the_loss_is_minus_log_prob(self):
        flow = conditional_flow()
        model = head_on_an_encoder(flow)
        log_prob = flow.given(context_of(model, FEATURES)).log_prob(X)
        assert model.evaluate(DATA, X, verbose=0) == pytest.approx(
            -np.mean(log_prob), rel=1e-5
        )
        np.testing.assert_allclose(
            model.predict(DATA, verbose=0), log_prob, rtol=1e-4, atol=1e-5
        )

    def test_y_is_not_read_but_needed(self):
        model = head_on_an_encoder(conditional_flow())
        options = {"batch_size": 200, "verbose": 0}
        losses = [model.evaluate(DATA, y, **options) for y in (X, np.full(200, np.nan))]
        assert losses[0] == losses[1]
        for data in (DATA, tf.data.Dataset.from_tensors(DATA)):
            with pytest.raises(ValueError, match="Keras drops `sample_weight`"):
                model.evaluate(data, verbose=0)

    @pytest.mark.slow
    def test_weights_validation_and_callbacks(self, tmp_path):
        model = head_on_an_encoder(conditional_flow())
        weight = np.r_[np.full(100, 2.0), np.zeros(100)].astype("float32")
        half = {name: part[:100] for name, part in DATA.items()}
        alone = model.evaluate(half, X[:100], verbose=0)
        weighted = model.evaluate(
            DATA, X, sample_weight=weight, batch_size=200, verbose=0
        )
        assert weighted == pytest.approx(alone, rel=1e-5)
        dataset = tf.data.Dataset.from_tensors((DATA, X, weight))
        assert model.evaluate(dataset, verbose=0) == pytest.approx(alone, rel=1e-5)
        history = model.fit(
            DATA,
            X,
            epochs=2,
            sample_weight=weight,
            validation_data=(half, X[:100]),
            callbacks=[
                keras.callbacks.ModelCheckpoint(tmp_path / "best.keras"),
                keras.callbacks.EarlyStopping(patience=1, restore_best_weights=True),
            ],
            verbose=0,
        )
        assert set(history.history) == {"loss", "val_loss"}
        last = keras.models.load_model(tmp_path / "best.keras")
        assert last.evaluate(half, X[:100], verbose=0) == pytest.approx(
            history.history["val_loss"][-1], rel=1e-5
        )

    def test_metrics_see_points_and_log_prob(self):
        def bits(points, log_prob):
            return -log_prob / (np.log(2.0) * tf.cast(tf.shape(points)[1], tf.float32))

        model = head_on_an_encoder(conditional_flow())
        model.compile("adam", loss=tfpf.NegativeLogLikelihood(), metrics=[bits])
        loss, measured = model.evaluate(DATA, X, verbose=0)
        assert measured == pytest.approx(loss / np.log(2.0) / 2, rel=1e-5)

    def test_the_gradient_reaches_points_that_a_network_made(self):
        """On top of an encoder, a flow is a density of what the encoder makes."""
        flow = tfpf.Flow([AffineCoupling(hidden=(4,), identity_start=False)], None, 2)
        features = keras.Input([5])
        code = keras.layers.Dense(2)(features)
        model = keras.Model(features, tfpf.LogProb(flow, trainable=False)(code))
        model.compile(keras.optimizers.SGD(0.01), loss=tfpf.NegativeLogLikelihood())
        loss = model.fit(FEATURES, FEATURES, epochs=3, verbose=0).history["loss"]
        assert loss[-1] < loss[0]

    def test_parts_that_wait_for_data_are_warned_of(self):
        flow = tfpf.Flow([tfpf.bijectors.ActNorm()], event_size=2)
        x = keras.Input([2])
        model = keras.Model(x, tfpf.LogProb(flow)(x))
        model.compile("adam", loss=tfpf.NegativeLogLikelihood())
        with pytest.warns(UserWarning, match=r"call `flow.adapt\(x\)`"):
            model.fit(X, X, verbose=0)
        flow.adapt(X)
        model.compile("adam", loss=tfpf.NegativeLogLikelihood())
        model.fit(X, X, verbose=0)

    @pytest.mark.slow
    def test_two_heads_of_one_flow(self, tmp_path):
        flow = conditional_flow()
        x, features = keras.Input([2], name="x"), keras.Input([5], name="features")
        contexts = [keras.layers.Dense(3, name=name)(features) for name in "ab"]
        outputs = [
            tfpf.LogProb(flow, name=f"head_{i}")([x, context])
            for i, context in enumerate(contexts)
        ]
        model = keras.Model({"x": x, "features": features}, outputs)
        assert len(model.trainable_variables) == 4 + len(flow.trainable_variables)
        model.compile("adam", loss=tfpf.NegativeLogLikelihood())
        model.fit(DATA, [X, X], verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        assert loaded.get_layer("head_0").flow is loaded.get_layer("head_1").flow
        np.testing.assert_array_equal(
            loaded.predict(DATA, verbose=0), model.predict(DATA, verbose=0)
        )

    def test_one_layer_called_twice(self):
        layer = tfpf.LogProb(conditional_flow())
        x, features = keras.Input([2], name="x"), keras.Input([5], name="features")
        outputs = [layer([x, keras.layers.Dense(3)(features)]) for _ in range(2)]
        log_ratio = keras.layers.Subtract()(outputs)
        model = keras.Model({"x": x, "features": features}, log_ratio)
        assert len(model.trainable_variables) == 4 + len(layer.trainable_variables)


class TestFiles:
    @pytest.mark.parametrize(
        "fitted", [False, pytest.param(True, marks=pytest.mark.slow)]
    )
    def test_saved_and_loaded(self, fitted, tmp_path):
        flow = conditional_flow()
        if fitted:  # by itself before, with an optimizer of its own
            flow.compile("adam")
            flow.fit({"x": X, "context": FEATURES[:, :3]}, verbose=0)
        model = head_on_an_encoder(flow)
        model.fit(DATA, X, verbose=0)
        model.save(tmp_path / "model.keras")
        loaded = keras.models.load_model(tmp_path / "model.keras")
        np.testing.assert_array_equal(
            loaded.predict(DATA, verbose=0), model.predict(DATA, verbose=0)
        )
        losses = [
            m.fit(DATA, X, shuffle=False, verbose=0).history["loss"]
            for m in (model, loaded)
        ]
        assert losses[0] == losses[1]

    @pytest.mark.slow
    def test_a_frozen_flow_stays_frozen(self, tmp_path):
        for freeze_layer in (True, False):
            flow = conditional_flow()
            model = head_on_an_encoder(flow, trainable=not freeze_layer)
            flow.trainable = False
            model.fit(DATA, X, verbose=0)
            model.save(tmp_path / "model.keras")
            loaded = keras.models.load_model(tmp_path / "model.keras")
            assert len(loaded.trainable_variables) == 2

    def test_exported(self, tmp_path):
        model = head_on_an_encoder(conditional_flow())
        model.export(tmp_path / "saved", verbose=False)
        served = tf.saved_model.load(tmp_path / "saved")
        np.testing.assert_allclose(
            served.serve(DATA), model.predict(DATA, verbose=0), rtol=1e-4, atol=1e-5
        )

    def test_configuration(self):
        layer = tfpf.LogProb(conditional_flow(), name="head")
        copy = tfpf.LogProb.from_config(layer.get_config())
        assert copy.name == "head" and copy.flow is not layer.flow
        assert copy.flow.context_size == 3
