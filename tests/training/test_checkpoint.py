"""Fits that are interrupted: nothing is lost, and nothing is different."""

import hashlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.callbacks import WeightAverage
from tfp_flows.training import checkpoint

EPOCHS = 6


class Stop(BaseException):
    """As a power cut: nothing of Python's or Keras's gets to clean up."""


class Cut(keras.callbacks.Callback):
    def __init__(self, epoch, error=Stop):
        super().__init__()
        self.at, self.error = epoch, error

    def on_epoch_begin(self, epoch, logs=None):
        if epoch == self.at:
            raise self.error


def points(n=300, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed)


def fit(folder, cut=None, x=None, **options):
    """One run of a script that fits."""
    keras.utils.set_random_seed(3)
    network = keras.Sequential(
        [keras.layers.Dense(8, "relu"), keras.layers.Dropout(0.2, seed=1)]
    )
    coupling = tfpf.bijectors.AffineCoupling
    flow = tfpf.Flow([coupling(network=network), coupling(flip=True)], event_size=2)
    steps = keras.optimizers.schedules.CosineDecay(0.02, 40)
    flow.compile(keras.optimizers.Adam(steps))
    callbacks = [
        keras.callbacks.EarlyStopping("val_loss", patience=5),
        WeightAverage(points(50, seed=2)),
        *([cut] if cut else []),
    ]
    options = {"epochs": EPOCHS, "callbacks": callbacks, **options}
    history = flow.fit(
        points() if x is None else x,
        batch_size=64,
        validation_split=0.2,
        checkpoint_dir=folder,
        verbose=0,
        **options,
    )
    return flow, history


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return fit(tmp_path_factory.mktemp("whole"))


@pytest.fixture(autouse=True, scope="module")
def always_written():
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "_SHARE", np.inf)
        yield


def assert_same(one, other):
    for a, b in zip(one.get_weights(), other.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    pairs = zip(one.optimizer.variables, other.optimizer.variables, strict=True)
    for a, b in pairs:
        np.testing.assert_array_equal(a.numpy(), b.numpy())


@pytest.mark.parametrize(
    "epochs", [(3,), pytest.param((0, 1, 2, 5), marks=pytest.mark.slow)]
)
def test_interrupted_as_never_interrupted(whole, tmp_path, epochs):
    for epoch in epochs:
        with pytest.raises(Stop):
            fit(tmp_path, Cut(epoch))
    flow, history = fit(tmp_path)
    assert_same(flow, whole[0])
    assert history.history == whole[1].history
    assert history.epoch == list(range(EPOCHS))


@pytest.mark.slow
def test_a_fit_that_has_ended_is_not_repeated(whole, tmp_path):
    fit(tmp_path)
    flow, history = fit(tmp_path)
    assert_same(flow, whole[0])
    assert history.history == whole[1].history
    _, longer = fit(tmp_path, epochs=EPOCHS + 2)
    assert len(longer.history["loss"]) == EPOCHS + 2


def test_a_fit_that_has_stopped_early_stays_stopped(tmp_path):
    stop = keras.callbacks.EarlyStopping("loss", patience=1, min_delta=99)
    flow, history = fit(tmp_path, callbacks=[stop])
    assert len(history.epoch) == 2
    again, repeated = fit(tmp_path, callbacks=[stop])
    assert repeated.epoch == history.epoch
    assert_same(flow, again)


def test_control_c_leaves_the_best(tmp_path, capsys):
    with pytest.raises(KeyboardInterrupt):
        fit(tmp_path, callbacks=[Cut(4, KeyboardInterrupt)])
    message = capsys.readouterr().err
    assert str(tmp_path / "best.keras") in message
    assert "goes on from epoch 5" in message
    best = keras.models.load_model(tmp_path / "best.keras")
    losses = fit(tmp_path, callbacks=[])[1].history["val_loss"][:4]
    loss = best.evaluate(points()[240:], verbose=0)
    assert loss == pytest.approx(min(losses), abs=1e-5)


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The file of a fit of one epoch."""
    folder = tmp_path_factory.mktemp("written")
    fit(folder, epochs=1)
    return (folder / "checkpoint.npz").read_bytes()


def test_another_fit_is_refused(written, tmp_path):
    (tmp_path / "checkpoint.npz").write_bytes(written)
    with pytest.raises(ValueError, match="another data"):
        fit(tmp_path, x=points(seed=5))
    flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(4,), seed=0)
    flow.compile("adam")
    with pytest.raises(ValueError, match="another model"):
        flow.fit(points()[:240], checkpoint_dir=tmp_path, verbose=0)
    assert (tmp_path / "checkpoint.npz").read_bytes() == written


@pytest.mark.parametrize("share", [0.0, 0.3, 0.99])
def test_a_truncated_file(written, tmp_path, share):
    path = tmp_path / "checkpoint.npz"
    path.write_bytes(written[: int(share * len(written))])
    with pytest.raises(ValueError, match=r"not a whole checkpoint.*Remedy: delete"):
        fit(tmp_path)


def test_a_flipped_bit(written, tmp_path):
    damaged = bytearray(written)
    damaged[len(damaged) // 3] ^= 4
    (tmp_path / "checkpoint.npz").write_bytes(damaged)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        fit(tmp_path)


@pytest.mark.slow
def test_a_full_disk_leaves_the_last_good_file(tmp_path, monkeypatch, whole):
    written = []
    savez = np.savez

    def full(file, **arrays):
        written.append(0)
        if len(written) > 3:
            file.write(b"half")
            raise OSError(28, "No space left on device")
        savez(file, **arrays)

    monkeypatch.setattr(checkpoint.np, "savez", full)
    with pytest.warns(RuntimeWarning, match="No space left.*that of epoch 2") as caught:
        flow, _ = fit(tmp_path)
    assert len(caught) == 1
    assert_same(flow, whole[0])
    monkeypatch.undo()
    assert [file.name for file in tmp_path.iterdir()] == ["checkpoint.npz"]
    assert_same(fit(tmp_path)[0], whole[0])


def test_a_folder_that_cannot_be_written(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(OSError, match="file"):
        fit(tmp_path / "file")


SCRIPT = """
import sys
sys.path[:0] = {path!r}
import test_checkpoint
flow, _ = test_checkpoint.fit(sys.argv[1], epochs=60)
flow.save(sys.argv[2])
"""


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(10))
def test_killed_twice(seed, tmp_path):
    script = tmp_path / "script.py"
    script.write_text(SCRIPT.format(path=[str(Path(__file__).parent), *sys.path]))

    def start(name):
        command = [sys.executable, script, tmp_path / name, tmp_path / f"{name}.keras"]
        environment = {**os.environ, "TF_CPP_MIN_LOG_LEVEL": "3"}
        return subprocess.Popen(command, env=environment)

    begun = time.perf_counter()
    assert start("whole").wait() == 0
    seconds = time.perf_counter() - begun
    kills, chance = 0, random.Random(seed)
    while kills < 2:
        process = start("killed")
        try:
            process.wait(chance.uniform(0.3, 0.9) * seconds)
        except subprocess.TimeoutExpired:
            process.send_signal(signal.SIGKILL)
            process.wait()
            kills += 1
        else:  # it has ended: anew
            (tmp_path / "killed" / "checkpoint.npz").unlink()
    assert start("killed").wait() == 0
    weights = [
        keras.models.load_model(tmp_path / f"{name}.keras").get_weights()
        for name in ("whole", "killed")
    ]
    digests = [hashlib.sha256(b"".join(w.tobytes() for w in ws)) for ws in weights]
    assert digests[0].hexdigest() == digests[1].hexdigest()
    assert tf.io.gfile.listdir(str(tmp_path / "killed")) == ["checkpoint.npz"]
