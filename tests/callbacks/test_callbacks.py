"""The callbacks and the optimizer: schedules, averages, and the numbers of Adam."""

import itertools
import types

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.callbacks import CosineToDeadline, StagePictures, WeightAverage
from tfp_flows.callbacks import stage_pictures as module
from tfp_flows.plotting import animate_training


def flow():
    return tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)


def points(n=400, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed)


class Rates(keras.callbacks.Callback):
    def on_train_begin(self, logs=None):
        self.seen = []

    def on_train_batch_begin(self, batch, logs=None):
        self.seen.append(float(self.model.optimizer.learning_rate))


@pytest.mark.parametrize(
    ("options", "rise", "low"),
    [
        ({}, np.ones(8), 0.0),
        ({"alpha": 1.0}, np.ones(8), 1.0),
        ({"alpha": 0.2, "warm_up": 0.5}, [0, 1 / 4, 2 / 4, 3 / 4, 1, 1, 1, 1], 0.2),
    ],
)
def test_cosine_in_steps(options, rise, low):
    model, rates = flow(), Rates()
    model.compile("adam")
    end = CosineToDeadline(0.01, steps=8, **options)
    history = model.fit(
        points(), batch_size=100, epochs=9, verbose=0, callbacks=[rates, end]
    )
    assert len(history.history["loss"]) == 2
    cosine = (1 + np.cos(np.pi * np.arange(8) / 8)) / 2
    expected = 0.01 * np.array(rise) * (low + (1 - low) * cosine)
    np.testing.assert_allclose(rates.seen, expected, rtol=1e-5)


def test_cosine_in_seconds_ends_on_time(monkeypatch):
    readings = itertools.count(7.0, 0.125)  # a clock that every look moves on
    clock = types.SimpleNamespace(perf_counter=lambda: next(readings))
    monkeypatch.setattr("tfp_flows.callbacks.cosine_to_deadline.time", clock)
    model, rates = flow(), Rates()
    model.compile("adam")
    end = CosineToDeadline(1e-3, seconds=0.5)
    model.fit(points(), epochs=10**6, verbose=0, callbacks=[rates, end])
    cosine = (1 + np.cos(np.pi * np.arange(4) / 4)) / 2
    np.testing.assert_allclose(rates.seen, 1e-3 * cosine, rtol=1e-5)
    assert float(model.optimizer.learning_rate) == pytest.approx(0.0, abs=1e-9)


def test_an_end_is_needed():
    with pytest.raises(ValueError, match="must be given"):
        CosineToDeadline(1e-3)
    with pytest.raises(ValueError, match="positive"):
        CosineToDeadline(1e-3, seconds=0)


def test_average_of_the_weights():
    model = flow()
    model.compile(keras.optimizers.SGD(0.01))
    seen = []

    class Weights(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            seen.append(model.trainable_variables[0].numpy())

    average = WeightAverage(points(200, seed=1))
    before = model.trainable_variables[0].numpy()
    model.fit(points(), batch_size=100, verbose=0, callbacks=[Weights(), average])
    expected = before
    for t, weight in enumerate(seen, 1):
        expected = expected + 4 / (t + 3) * (weight - expected)
    held_out = model.log_prob(points(200, seed=1)).numpy().mean()
    np.testing.assert_allclose(
        model.trainable_variables[0].numpy(), expected, rtol=1e-5
    )
    assert -held_out == pytest.approx(average.best, rel=1e-5)


def test_no_average_is_chosen_before_start_from_epoch():
    model = flow()
    model.compile(keras.optimizers.SGD(0.01))
    elsewhere = points(200, seed=1) + 50.0  # selection rows that no step helps
    average = WeightAverage(elsewhere, start_from_epoch=2)
    history = model.fit(points(), epochs=4, verbose=0, callbacks=[average])
    losses = history.history["val_loss"]
    assert losses == sorted(losses)
    end = -model.log_prob(elsewhere).numpy().mean()
    assert end == pytest.approx(losses[1], rel=1e-5)
    assert average.best == losses[1] < losses[2]


@pytest.mark.parametrize("start", [0, 9])
def test_the_best_average_is_kept_when_training_diverges(start):
    model = flow()
    model.compile(keras.optimizers.SGD(1e9))
    average = WeightAverage(points(200, seed=1), start_from_epoch=start)
    start = -model.log_prob(points(200, seed=1)).numpy().mean()
    with pytest.warns(RuntimeWarning, match="The step was not taken"):
        model.fit(points(), batch_size=100, epochs=3, verbose=0, callbacks=[average])
    end = -model.log_prob(points(200, seed=1)).numpy().mean()
    assert end <= start + 1e-5


def test_patience():
    model = flow()
    model.compile(keras.optimizers.SGD(0.0))
    history = model.fit(
        points(),
        epochs=50,
        verbose=0,
        callbacks=[WeightAverage(points(200, seed=1), patience=3)],
    )
    assert len(history.history["val_loss"]) <= 5


# StagePictures


def trained(pictures, epochs=3, model=None):
    model = model or flow()
    model.compile("adam")
    model.fit(points(), epochs=epochs, batch_size=100, verbose=0, callbacks=[pictures])
    return model


def test_stages_are_recorded_from_the_start_to_the_end(monkeypatch):
    monkeypatch.setattr(module, "_SHARE", 1e9)
    pictures = StagePictures(n=50, seed=3)
    model = flow()
    model.adapt(points())
    first = model.stages(50, seed=3)
    trained(pictures, model=model)
    assert [record.epoch for record in pictures.records] == [0, 1, 2, 3]
    assert pictures.records[0].loss is None
    losses = [record.loss for record in pictures.records[1:]]
    assert losses == sorted(losses, reverse=True)
    for record, stages in ((0, first), (-1, model.stages(50, seed=3))):
        for cloud, stage in zip(pictures.records[record].samples, stages, strict=True):
            np.testing.assert_allclose(cloud, stage.samples, rtol=1e-5, atol=1e-6)
    pictures = StagePictures(every=2, n=50)
    trained(pictures, epochs=5)
    assert [record.epoch for record in pictures.records] == [0, 2, 4, 5]


def test_records_that_would_take_too_long_are_left_out(monkeypatch):
    monkeypatch.setattr(module, "_SHARE", 0.0)
    pictures = StagePictures(n=50)
    trained(pictures)
    # The time of the first tells nothing, as it builds things.
    assert [record.epoch for record in pictures.records] == [0, 1, 3]


@pytest.mark.slow
def test_tensorboard_gets_the_pictures(tmp_path):
    trained(StagePictures(n=50, log_dir=tmp_path), epochs=1)
    (file,) = tmp_path.iterdir()
    events = list(tf.compat.v1.train.summary_iterator(str(file)))
    values = [value for event in events for value in event.summary.value]
    assert [value.tag for value in values] == ["stages", "stages"]
    picture = tf.io.decode_image(values[0].tensor.string_val[2]).numpy()
    assert picture.shape[-1] == 3 and picture.std() > 10


def test_the_film_of_the_training_shows_each_record():
    pictures = StagePictures(n=50)
    trained(pictures)
    film = animate_training(pictures)
    figure = film._fig
    record = pictures.records[-1]
    film._func(len(pictures.records) - 1)
    assert [ax.get_title() for ax in figure.axes] == list(record.names)
    for ax, cloud in zip(figure.axes, record.samples, strict=True):
        np.testing.assert_allclose(ax.collections[0].get_offsets(), cloud, rtol=1e-6)
    assert figure.get_suptitle() == f"epoch 3: {record.loss:.3f} nats"
    film._func(0)
    assert figure.get_suptitle() == "epoch 0"


def test_one_coordinate_is_filmed_as_a_histogram():
    pictures = StagePictures(n=200)
    line = tfpf.Flow([tfpf.bijectors.Spline(4, seed=0)], event_size=1)
    line.compile("adam")
    line.fit(points()[:, :1], epochs=1, verbose=0, callbacks=[pictures])
    film = animate_training(pictures)
    heights, edges, _ = film._fig.axes[-1].patches[0].get_data()
    assert np.sum(heights * np.diff(edges)) == pytest.approx(1.0, abs=0.03)


def test_a_film_needs_records():
    with pytest.raises(ValueError, match="must hold a record"):
        animate_training(StagePictures())
    with pytest.raises(TypeError, match="must be a callbacks"):
        animate_training(None)
    with pytest.raises(ValueError, match="`every` must be a whole number"):
        StagePictures(every=0)
