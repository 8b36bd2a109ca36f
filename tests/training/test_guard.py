"""Steps that are not finite: left out, explained, recovered from."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb = tfp.bijectors


def positive_flow():
    """A density of positive numbers: NaN at negative ones."""
    scale, shift = tf.Variable([1.0, 1.0]), tf.Variable([0.0, 0.0])
    return tfpf.Flow([tfb.Scale(scale), tfb.Shift(shift), tfb.Exp()], event_size=2)


def rows(n=100, bad=()):
    x = np.exp(np.random.default_rng(0).normal(size=(n, 2))).astype("float32")
    x[list(bad), 1] *= -1
    return x


def fitted(model, x, optimizer=None, **options):
    model.compile(optimizer or keras.optimizers.Adam(0.05))
    options = {"batch_size": 10, "epochs": 3, "verbose": 0, **options}
    return model.fit(x, **options)


def test_a_row_is_named_and_its_steps_are_left_out():
    model = positive_flow()
    with pytest.warns(RuntimeWarning) as caught:
        history = fitted(model, rows(bad=[37]))
    (message,) = [str(warning.message) for warning in caught]  # once
    assert message.startswith("Row 37, [")
    assert "coordinate 1 is nan before Exp" in message
    assert int(model.optimizer.iterations) == 3 * 9
    assert np.isfinite(history.history["loss"]).all()
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_steps_left_out_are_as_if_they_had_not_been():
    x = rows(40)
    whole, holed = positive_flow(), positive_flow()
    fitted(whole, np.concatenate([x[:10], x[20:]]), shuffle=False, epochs=1)
    x[13, 0] *= -1
    with pytest.warns(RuntimeWarning, match="Row 13"):
        history = fitted(holed, x, shuffle=False, epochs=1)
    for one, other in zip(whole.get_weights(), holed.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
    # Neither are they in the loss: a mean over the rows of steps that were taken.
    assert history.history["loss"] == pytest.approx(whole.history.history["loss"])


def test_a_batch_of_a_dataset():
    x = rows(40)
    x[25, 0] = np.nan
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(10)
    with pytest.warns(RuntimeWarning, match="Row 5 of a batch.* nan in the data"):
        fitted(positive_flow(), dataset, batch_size=None)


def test_a_conditional_flow():
    flow = tfpf.recipes.real_nvp(2, context_size=1, layers=2, hidden=(4,), seed=0)
    context = np.ones([20, 1], "float32")
    context[3] = np.inf
    dataset = tf.data.Dataset.from_tensors({"x": rows(20), "context": context})
    with pytest.warns(RuntimeWarning, match="Row 3 of a batch"):
        fitted(flow, dataset, batch_size=None)


class Steep(tfb.Shift):
    """A shift with a value where its gradient has none."""

    def __init__(self, root):
        self.root = root
        super().__init__(tf.zeros(2))

    @property
    def shift(self):
        return tf.sqrt(self.root)


def test_gradients_that_are_not_finite():
    flow = tfpf.Flow([Steep(tf.Variable([0.0, 1.0])), tfb.Shift(tf.Variable([0.0, 0]))])
    with pytest.warns(RuntimeWarning, match="The gradient of .* is not finite"):
        fitted(flow, rows(20), epochs=1)
    np.testing.assert_array_equal(flow.get_weights()[0], [0, 1])


@pytest.mark.parametrize("rate", [0.05, keras.optimizers.schedules.CosineDecay(1, 9)])
def test_training_gives_up_with_the_best_weights(rate):
    model, x = positive_flow(), rows(200)
    x[100:] *= -1  # the second half of each epoch
    start = model.get_weights()
    with (
        pytest.warns(RuntimeWarning, match="The step was not taken"),
        pytest.raises(FloatingPointError, match="halved 3 times") as raised,
    ):
        fitted(
            model, x, keras.optimizers.Adam(rate), shuffle=False, epochs=9, batch_size=5
        )
    assert "Remedy" in str(raised.value)
    assert all(np.isfinite(weight).all() for weight in model.get_weights())
    for one, other in zip(start, model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)  # no epoch has ended well


class Trap(keras.callbacks.Callback):
    """Weights that make every row NaN, at the start of the third epoch."""

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            self.good = self.model.get_weights()
            self.model.set_weights([w + np.inf for w in self.good])


def test_training_goes_on_from_the_last_good_weights():
    model, trap = positive_flow(), Trap()
    with pytest.warns(RuntimeWarning, match="The step was not taken"):
        history = fitted(model, rows(200), epochs=5, callbacks=[trap])
    assert float(model.optimizer.learning_rate) == pytest.approx(0.025)
    assert history.history["loss"][-1] < history.history["loss"][0]


def test_xla_leaves_steps_out_too():
    model = positive_flow()
    model.compile(keras.optimizers.Adam(0.05), jit_compile=True)
    with pytest.warns(RuntimeWarning, match="The step was not taken"):
        model.fit(rows(20, bad=[3]), batch_size=10, epochs=2, verbose=0)
    assert int(model.optimizer.iterations) == 2


def test_under_a_strategy_a_step_that_is_not_finite_is_not_taken():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    with strategy.scope():
        model = tfpf.recipes.real_nvp(2, layers=2, hidden=(4,), seed=0)
        model.compile("adam")
    x = rows(20)
    model.adapt(x)
    dataset = tf.data.Dataset.from_tensor_slices(x).batch(10)
    bad = dataset.map(lambda part: part * np.nan)
    with pytest.warns(RuntimeWarning, match="nan in the data"):
        model.fit(dataset.concatenate(bad), verbose=0)
    assert model.optimizer.iterations.numpy() == 2
    assert all(np.isfinite(weight).all() for weight in model.get_weights())


def test_an_optimizer_that_seeks_the_scale_of_the_loss():
    model = positive_flow()
    inner = keras.optimizers.Adam(0.05)
    # So large a scale that the first gradients are infinite.
    optimizer = keras.optimizers.LossScaleOptimizer(inner, initial_scale=1e38)
    history = fitted(model, rows(), optimizer, epochs=4).history["loss"]
    assert np.isfinite(history).all() and history[-1] < history[0]
    assert float(optimizer.dynamic_scale) < 1e38


def test_nan_weights_are_not_saved(tmp_path):
    model = positive_flow()
    model.set_weights([w * np.nan for w in model.get_weights()])
    with pytest.raises(ValueError, match="NaN cannot be saved"):
        model.save(tmp_path / "flow.keras")
    assert not list(tmp_path.iterdir())
