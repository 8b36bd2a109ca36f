"""How a flow is fitted: what is read, in which order, and by how many steps at once."""

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.training import plan


def flow(**options):
    return tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0, **options)


def points(n=400, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed)


def weights_after(optimizer, **options):
    model = flow()
    model.compile(optimizer, **options)
    keras.utils.set_random_seed(0)
    model.fit(points(), batch_size=64, epochs=3, verbose=0)
    return model.get_weights()


# Batches


def test_the_seed_of_keras_orders_the_rows():
    once, again = weights_after("adam"), weights_after("adam")
    for one, other in zip(once, again, strict=True):
        np.testing.assert_array_equal(one, other)
    model = flow()
    model.compile("adam")
    keras.utils.set_random_seed(1)
    model.fit(points(), batch_size=64, epochs=3, verbose=0)
    assert not np.array_equal(model.get_weights()[0], once[0])


# An odd rest, none, and an even one.
@pytest.mark.parametrize(
    "rows", [129, *(pytest.param(n, marks=pytest.mark.slow) for n in (400, 380))]
)
def test_parts_of_batches_are_the_whole(monkeypatch, rows):
    losses, weights = [], []
    for parts in (1, 4):
        monkeypatch.setattr(plan, "parts_of", lambda _, parts=parts: parts)
        model = flow()
        model.compile(keras.optimizers.Adam(0.01))
        keras.utils.set_random_seed(0)
        x, w = points(rows), np.linspace(0.5, 1.5, rows)
        history = model.fit(x, batch_size=130, sample_weight=w, epochs=3, verbose=0)
        losses.append(history.history["loss"])
        weights.append(model.get_weights())
        assert model._trainer.plan.parts == parts
    assert losses[0][0] > losses[0][-1] + 0.01
    np.testing.assert_allclose(*losses, atol=1e-5)
    for one, other in zip(*weights, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-4)


def test_layers_with_a_state_see_whole_batches(monkeypatch):
    monkeypatch.setattr(plan, "parts_of", lambda _: 2)
    layers = [keras.layers.Dense(8, "relu"), keras.layers.BatchNormalization()]
    for network in (keras.Sequential(layers), keras.Sequential(layers[:1])):
        coupling = tfpf.bijectors.AffineCoupling(network=network)
        model = tfpf.Flow([coupling], event_size=2)
        model.compile("adam")
        model.fit(points(100), batch_size=40, verbose=0)
        assert model._trainer.plan.parts == (1 if len(network.layers) > 1 else 2)


def test_metrics_see_no_rows_that_only_fill_up(monkeypatch):
    monkeypatch.setattr(plan, "parts_of", lambda _: 4)
    seen = []

    def count(x, log_prob):
        tf.py_function(lambda n: seen.append(int(n)), [tf.shape(x)[0]], [])
        return log_prob

    model = flow()
    model.compile("adam", metrics=[count])
    model.fit(points(50), batch_size=21, verbose=0)
    assert seen == [21, 21, 8]


@pytest.mark.slow
def test_xla_where_there_are_steps_enough(monkeypatch):
    losses = []
    for fit, step in ((np.inf, 0), (0, np.inf), (0, 0)):
        monkeypatch.setattr(plan, "_FIT_OPERATIONS_FOR_XLA", fit)
        monkeypatch.setattr(plan, "_STEP_OPERATIONS_FOR_XLA", step)
        model = flow()
        model.compile("adam")
        keras.utils.set_random_seed(0)
        losses.append(model.fit(points(), epochs=2, verbose=0).history["loss"])
        assert model._trainer.gradients.jit_compile == (fit == step == 0)
    np.testing.assert_allclose(losses[0], losses[2], atol=1e-4)


# Steps at once


class Batches(keras.callbacks.Callback):
    def __init__(self):
        super().__init__()
        self.seen = 0

    def on_train_batch_end(self, batch, logs=None):
        self.seen += 1


def test_many_steps_in_one_call():
    model = flow()
    model.compile("adam")
    history = model.fit(points(), batch_size=40, epochs=2, verbose=0)
    assert model.steps_per_execution == 10  # an epoch
    assert int(model.optimizer.iterations) == 20
    assert len(history.history["loss"]) == 2


@pytest.mark.slow
def test_the_curve_is_that_of_single_steps():
    curves = []
    for options in ({}, {"steps_per_execution": 1}, {"run_eagerly": True}):
        model = flow()
        model.compile("adam", **options)
        keras.utils.set_random_seed(0)
        history = model.fit(
            points(), batch_size=64, epochs=3, verbose=0, validation_split=0.2
        )
        curves.append([history.history[key] for key in ("loss", "val_loss")])
    np.testing.assert_allclose(curves[1], curves[0], atol=1e-5)
    np.testing.assert_allclose(curves[2], curves[0], atol=1e-4)


def test_a_callback_sees_each_batch():
    model, batches = flow(), Batches()
    model.compile("adam")
    seen = []
    watching = keras.callbacks.LambdaCallback(
        on_train_batch_end=lambda batch, logs: seen.append(batch)
    )
    for callback in (batches, watching):
        model.fit(points(), batch_size=40, callbacks=callback, verbose=0)
        assert model.steps_per_execution == 1
    assert batches.seen == 10
    assert seen == list(range(10))


def test_what_is_no_callback():
    model = flow()
    model.compile("adam")
    with pytest.raises(TypeError, match=r"must be Keras callbacks\. Received: 'stop'"):
        model.fit(points(), callbacks=["stop"])


def test_steps_that_were_asked_for(tmp_path):
    model = flow()
    model.compile("adam", steps_per_execution=3)
    model.fit(points(), batch_size=40, callbacks=[Batches()], verbose=0)
    assert model.steps_per_execution == 3
    model.save(tmp_path / "flow.keras")
    assert keras.models.load_model(tmp_path / "flow.keras").steps_per_execution == 3


def test_an_epoch_of_few_steps_is_not_overrun():
    model = flow()
    model.compile("adam")
    dataset = tf.data.Dataset.from_tensors(points(50)).repeat()
    model.fit(dataset, steps_per_epoch=14, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 28


def test_predict_of_many_batches():
    model = flow()
    model.compile("adam", steps_per_execution=4)
    log_prob = model.predict(points(10), batch_size=3, verbose=0)
    np.testing.assert_allclose(log_prob, model.log_prob(points(10)), atol=1e-5)
    assert model.steps_per_execution == 4


# Adam


@pytest.mark.parametrize(
    ("kind", "options"),
    [
        (keras.optimizers.Adam, {}),
        (keras.optimizers.AdamW, {"global_clipnorm": 0.1}),
        pytest.param(keras.optimizers.AdamW, {}, marks=pytest.mark.slow),
    ],
)
def test_fused_adam_is_adam(kind, options):
    class Plain(kind):
        """Not fused: a subclass."""

    ours, theirs = (weights_after(c(0.01, **options)) for c in (kind, Plain))
    for one, other in zip(ours, theirs, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_adam_is_one_operation():
    model = flow()
    model.compile("adam")
    model.optimizer.build(model.trainable_variables)
    model.optimizer.apply([v + 1 for v in model.trainable_variables])
    assert len(model.optimizer.variables) == 4  # counter, rate and two vectors
    model = flow()
    model.compile(keras.optimizers.Adam(amsgrad=True))
    model.optimizer.build(model.trainable_variables)
    assert len(model.optimizer.variables) == 2 + 3 * len(model.trainable_weights)


def test_an_optimizer_serves_one_model():
    optimizer = keras.optimizers.Adam(0.01)
    for model in (flow(), flow()):
        model.compile(optimizer)
        if model.optimizer.built:
            with pytest.raises(ValueError, match="built for other weights"):
                model.fit(points(), verbose=0)
        else:
            model.fit(points(), verbose=0)


@pytest.mark.parametrize(
    "reduction",
    ["sum", pytest.param("mean_with_sample_weight", marks=pytest.mark.slow)],
)
def test_other_reductions_see_whole_batches(monkeypatch, reduction):
    losses = []
    for parts in (1, 2):
        monkeypatch.setattr(plan, "parts_of", lambda _, parts=parts: parts)
        model = flow()
        model.compile("adam", loss=tfpf.NegativeLogLikelihood(reduction=reduction))
        keras.utils.set_random_seed(0)
        w = np.linspace(0.1, 1, 100)
        history = model.fit(points(100), sample_weight=w, batch_size=30, verbose=0)
        losses.append(history.history["loss"][0])
    assert losses[0] == pytest.approx(losses[1], rel=1e-5)


class Halved(tfpf.Flow):
    steps = 0

    def train_step(self, batch):
        Halved.steps += 1
        return super().train_step(batch)


def test_a_step_of_ones_own():
    model = Halved([tfpf.bijectors.Rotation2D(0.5)])
    model.compile("adam", run_eagerly=True)
    model.fit(points(100), batch_size=50, verbose=0)
    assert Halved.steps == 2
    model.compile("adam")
    model.fit(points(100), batch_size=50, verbose=0)
    assert Halved.steps == 3  # traced


def test_the_optimizer_stays_keras_own(tmp_path):
    model = flow()
    optimizer = keras.optimizers.Adam(0.01)
    model.compile(optimizer)
    assert model.optimizer is optimizer
    model.fit(points(), verbose=0)
    model.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert type(loaded.optimizer) is keras.optimizers.Adam
    for one in (model, loaded):
        one.fit(points(), shuffle=False, verbose=0)
    for ours, theirs in zip(model.get_weights(), loaded.get_weights(), strict=True):
        np.testing.assert_array_equal(ours, theirs)


@pytest.mark.parametrize("optimizer", ["adam", "sgd"])
def test_steps_one_by_one(optimizer):
    model, x = flow(), points(50)
    model.compile(optimizer)
    before = float(model.evaluate(x, verbose=0))
    losses = [float(model.train_on_batch(x)) for _ in range(20)]
    assert losses[0] == pytest.approx(before, rel=1e-5)
    assert model.evaluate(x, verbose=0) < before


def test_class_weights_are_refused():
    model = flow()
    model.compile("adam")
    with pytest.raises(ValueError, match="Remedy: `sample_weight`"):
        model.fit(points(20), class_weight={0: 1.0})
