"""Several replicas and processes: the fit of one, to rounding."""

import contextlib
import functools
import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.cli import main

TOGETHER, SECONDS = 1e-4, 400  # of a machine under load
ROWS, BATCH = 205, 50  # the last batch of an epoch is short, and odd
EPOCHS = 3
STEPS = -(-ROWS // BATCH)


class Seen(keras.metrics.Metric):
    """Writes down the rows of every batch of this process."""

    def __init__(self):
        super().__init__(name="seen")
        self.rows = []

    def update_state(self, x, log_prob, sample_weight=None):
        tf.numpy_function(lambda rows: self.rows.append(rows.copy()), [x], [])

    def result(self):
        return tf.constant(0.0)


class Diary(keras.callbacks.Callback):
    """Writes down each epoch, which takes a while."""

    def __init__(self, path):
        super().__init__()
        self.path = path

    def on_epoch_begin(self, epoch, logs=None):
        with self.path.open("a") as file:
            file.write(f"{epoch} ")
        time.sleep(0.05)


def points(n, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed)


def fit(strategy=None, folder=None, optimizer=None, x=None, **options):
    """Returns a fitted flow, its history and the rows that this process has seen."""
    keras.utils.set_random_seed(5)
    with strategy.scope() if strategy else tf.device("CPU:0"):
        flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
        optimizer = optimizer or keras.optimizers.Adam
        seen = Seen()
        flow.compile(optimizer(0.01, global_clipnorm=0.3), metrics=[seen])
    weights = np.random.default_rng(0).uniform(size=ROWS)
    data = {"x": points(ROWS), "sample_weight": weights, "batch_size": BATCH}
    options = {**data, "epochs": EPOCHS, **({} if x is None else {"x": x}), **options}
    history = flow.fit(
        validation_data=points(63, seed=1),
        validation_batch_size=40,
        checkpoint_dir=folder,
        verbose=0,
        **options,
    )
    return flow, history.history, seen.rows


def assert_close(one, other):
    for name, values in one[1].items():
        np.testing.assert_allclose(other[1][name], values, atol=TOGETHER, rtol=0)
    for a, b in zip(one[0].get_weights(), other[0].get_weights(), strict=True):
        np.testing.assert_allclose(a, b, atol=TOGETHER)


# Replicas in one process. TensorFlow must not have started: a process of its own.


def in_a_process(code, devices=2):
    head = f"""
import sys
sys.path[:0] = {[str(Path(__file__).parent), *sys.path]!r}
from test_distribution import *
tf.config.set_logical_device_configuration(
    tf.config.list_physical_devices("CPU")[0],
    [tf.config.LogicalDeviceConfiguration()] * {devices})
strategy = tf.distribute.MirroredStrategy([f"CPU:{{i}}" for i in range({devices})])
"""
    done = subprocess.run(
        [sys.executable, "-c", head + code],
        capture_output=True,
        text=True,
        timeout=SECONDS,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


HOLED = """
import tensorflow_probability as tfp

def holed(strategy, optimizer):
    x = np.exp(points(100))
    x[37, 1] *= -1  # has no logarithm
    keras.utils.set_random_seed(1)
    with strategy.scope() if strategy else tf.device("CPU:0"):
        scale = tf.Variable([1.0, 1.0])
        chain = [tfp.bijectors.Scale(scale), tfp.bijectors.Exp()]
        flow = tfpf.Flow(chain, event_size=2)
        flow.compile(optimizer(0.05))
    with pytest.warns(RuntimeWarning, match="Row 37.*coordinate 1 is nan"):
        history = flow.fit(x, batch_size=10, epochs=2, verbose=0)
    assert flow.optimizer.iterations.numpy() == 18
    return flow, history.history
"""


@pytest.mark.slow
def test_two_replicas_are_as_one_device_and_leave_out_the_same_steps():
    in_a_process(
        HOLED
        + """
assert_close(fit(), fit(strategy))
assert_close(*(holed(place, keras.optimizers.Adam) for place in (None, strategy)))
"""
    )


@pytest.mark.slow
def test_a_fit_on_replicas_goes_on_with_one(tmp_path):
    in_a_process(
        f"""
folder = Path({str(tmp_path)!r})
fit(strategy, folder=folder)
assert_close(fit(epochs=EPOCHS + 1), fit(folder=folder, epochs=EPOCHS + 1))
"""
    )


@pytest.mark.slow
@pytest.mark.parametrize("optimizer", ["AdamW", "SGD"])
def test_three_replicas_other_optimizers_and_datasets(optimizer):
    in_a_process(
        HOLED
        + f"""
optimizer = keras.optimizers.{optimizer}
assert_close(fit(optimizer=optimizer), fit(strategy, optimizer=optimizer))
dataset = tf.data.Dataset.from_tensor_slices(points(ROWS)).batch(BATCH)
options = dict(x=dataset, sample_weight=None, batch_size=None, optimizer=optimizer)
assert_close(fit(**options), fit(strategy, **options))
assert_close(*(holed(place, optimizer) for place in (None, strategy)))
""",
        devices=3,
    )


def test_what_was_made_outside_of_the_scope_is_refused():
    strategy = tf.distribute.MirroredStrategy(["CPU:0"])
    flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(4,), seed=0)
    with strategy.scope(), pytest.raises(ValueError, match="that it was made for"):
        flow.compile("adam")
    with strategy.scope():
        flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(4,), seed=0)
    with pytest.raises(ValueError, match="`optimizer` must be made for"):
        flow.compile(keras.optimizers.Adam())
    flow.compile("adam")  # by its name it is made where it belongs


# Processes


class Workers:
    """The same command in two processes that train together; ended with the test."""

    def __init__(self, folder, words):
        with contextlib.ExitStack() as stack:
            sockets = [stack.enter_context(socket.socket()) for _ in range(2)]
            for each in sockets:
                each.bind(("127.0.0.1", 0))
            ports = [each.getsockname()[1] for each in sockets]
        self.cluster = {"worker": [f"127.0.0.1:{port}" for port in ports]}
        self.folder, self.words = folder, words
        self.processes = [self.start(i) for i in range(2)]

    def start(self, index):
        task = {"cluster": self.cluster, "task": {"type": "worker", "index": index}}
        with (self.folder / f"log{index}").open("a") as log:
            return subprocess.Popen(
                [sys.executable, *map(str, self.words)],
                env={
                    **os.environ,
                    "TF_CONFIG": json.dumps(task),
                    "TF_CPP_MIN_LOG_LEVEL": "3",
                    "CUDA_VISIBLE_DEVICES": "-1",
                    "PYTHONPATH": os.pathsep.join(filter(None, sys.path)),
                },
                stdout=log,
                stderr=subprocess.STDOUT,
                start_new_session=True,
            )

    def kill(self, index):
        """Kills one, waits for the other to notice, and starts both again."""
        os.killpg(self.processes[index].pid, signal.SIGKILL)
        self.until(lambda codes: None not in codes)
        assert "A worker has gone" in (self.folder / f"log{1 - index}").read_text()
        self.processes = [self.start(i) for i in range(2)]

    def until(self, done):
        """Waits for something to be true of both exit codes."""
        end = time.monotonic() + SECONDS
        while not done([process.poll() for process in self.processes]):
            assert time.monotonic() < end, f"not after {SECONDS} s: {self.last_lines()}"
            time.sleep(0.2)

    def wait(self, event=bool):
        """Waits until both have ended, or until something comes true.

        TensorFlow gives a process up whose machine sleeps for a while: then again.
        """
        for _ in range(3):
            self.until(lambda codes: None not in codes or event())
            if event() or not any(process.poll() for process in self.processes):
                return
            assert "heartbeat timeout" in self.last_lines(), self.last_lines()
            self.processes = [self.start(i) for i in range(2)]
        raise AssertionError(self.last_lines())

    def last_lines(self):
        return "\n".join(
            (self.folder / f"log{i}").read_text()[-5000:] for i in range(2)
        )

    def end(self):
        for process in self.processes:
            if process.poll() is None:
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


@pytest.fixture
def workers(tmp_path):
    with contextlib.ExitStack() as stack:

        def start(*words, folder=tmp_path):
            started = Workers(folder, words)
            stack.callback(started.end)
            return started

        yield start


SCRIPT = """
strategy = tf.distribute.MultiWorkerMirroredStrategy()
index, out = strategy.cluster_resolver.task_id, Path(sys.argv[1])
diary = Diary(out / f"diary{index}")
flow, history, rows = fit(
    strategy, out / f"checkpoint{index}", callbacks=[diary], epochs=int(sys.argv[2]))
np.savez(
    out / f"{index}.npz", history=list(history.values()),
    **{f"row{i}": part for i, part in enumerate(rows)},
    **{f"weight{i}": part for i, part in enumerate(flow.get_weights())})
"""


def script(folder):
    path = folder / "script.py"
    head = "import sys\nfrom test_distribution import *\n"
    always = "from tfp_flows.training import checkpoint\ncheckpoint._SHARE = np.inf\n"
    path.write_text(head + always + SCRIPT)
    return path


def left(folder, index):
    with np.load(folder / f"{index}.npz") as file:
        return dict(file)


@pytest.mark.slow
def test_two_workers_are_as_one_process(tmp_path, workers):
    workers(script(tmp_path), tmp_path, EPOCHS).wait()
    first, second = (left(tmp_path, index) for index in range(2))
    flow, history, rows = fit()
    for i, weight in enumerate(flow.get_weights()):
        np.testing.assert_array_equal(first[f"weight{i}"], second[f"weight{i}"])
        np.testing.assert_allclose(first[f"weight{i}"], weight, atol=TOGETHER)
    np.testing.assert_array_equal(first["history"], second["history"])
    np.testing.assert_allclose(
        first["history"], list(history.values()), atol=TOGETHER, rtol=0
    )
    for i in range(STEPS):  # each its own part of the same batch
        parts = [first[f"row{i}"], second[f"row{i}"]]
        np.testing.assert_array_equal(np.concatenate(parts), rows[i])
        assert abs(len(parts[0]) - len(parts[1])) <= 1
    assert (tmp_path / "checkpoint0" / "checkpoint.npz").exists()
    assert not (tmp_path / "checkpoint1").exists()


@pytest.mark.slow
def test_killed_workers_that_are_started_again_go_on(tmp_path, workers):
    epochs, found = 60, []
    for name, kills in (("whole", {}), ("killed", {10: 1, 30: 0})):
        folder = tmp_path / name
        folder.mkdir()
        diary = folder / "diary0"
        diary.touch()
        started = workers(script(folder), folder, epochs, folder=folder)
        for epoch, index in kills.items():
            at = functools.partial(re.search, rf"\b{epoch} ")
            started.wait(lambda at=at, diary=diary: at(diary.read_text()))
            started.kill(index)
        started.wait()
        found.append([left(folder, index) for index in range(2)])
    begun = [int(epoch) for epoch in diary.read_text().split()]
    assert sorted(set(begun)) == list(range(epochs))
    assert epochs < len(begun) < 1.5 * epochs  # on from the middle, not anew
    whole, killed = found
    for name in (n for n in whole[0] if not n.startswith("row")):
        np.testing.assert_array_equal(killed[0][name], killed[1][name])
        np.testing.assert_array_equal(killed[0][name], whole[0][name])


@pytest.mark.slow
def test_the_script_of_the_page_runs(tmp_path, workers, monkeypatch):
    page = Path(__file__).parents[2] / "docs" / "scaling.md"
    (block,) = re.findall(r"^```py\n(.*?)^```$", page.read_text(), re.M | re.S)
    (tmp_path / "fit.py").write_text(block)
    monkeypatch.chdir(tmp_path)
    workers("fit.py").wait()
    assert "Epoch 20/20" in (tmp_path / "log1").read_text()
    assert keras.models.load_model("moons.keras").event_size == 2


OWN_STEP = """
class Own(tfpf.Flow):
    def train_step(self, x):
        with tf.GradientTape() as tape:
            loss = self.compute_loss(y_pred=self(x))
        weights = self.trainable_weights
        gradients = tape.gradient(loss, weights)
        self.optimizer.apply_gradients(zip(gradients, weights, strict=True))
        return {"loss": loss * tf.distribute.get_strategy().num_replicas_in_sync}

found = []
for place in (contextlib.nullcontext(), strategy.scope()):
    keras.utils.set_random_seed(1)
    with place:
        flow = Own([tfpf.bijectors.AffineCoupling(hidden=(4,), seed=0)], event_size=2)
        flow.compile("adam")
    history = flow.fit(points(80), batch_size=20, epochs=2, verbose=0)
    found.append((flow, history.history, None))
assert_close(*found)
"""


@pytest.mark.slow
def test_a_step_of_the_users_own_is_added_up_too():
    in_a_process(OWN_STEP)


# The command line


def test_multiworker_needs_its_configuration(tmp_path, monkeypatch, capsys):
    words = ["fit", "two_moons", "--strategy", "multiworker", "--out", str(tmp_path)]
    for content in ("", "{", "[]", '{"cluster": {"worker": ["a:1"]}}'):
        monkeypatch.setenv("TF_CONFIG", content)
        assert main(words) == 2
        error = capsys.readouterr().err
        assert "needs TF_CONFIG" in error and error.count("\n") == 1
    assert not list(tmp_path.iterdir())


@pytest.mark.slow
def test_two_workers_on_the_command_line(tmp_path, workers):
    out = tmp_path / "out"
    words = ["fit", "two_moons", "--strategy", "multiworker", "--out", out]
    words += ["--layers", "2", "--hidden", "8", "--epochs", "2", "--samples", "600"]
    started = workers("-m", "tfp_flows", *words)
    started.wait()
    assert (out / "model.keras").exists() and (out / "report.html").exists()
    assert not (out / "checkpoint").exists()
    metrics = json.loads((out / "metrics.json").read_text())
    assert metrics["replicas"] == 2
    assert "nats" in (tmp_path / "log0").read_text()
    assert "nats" not in (tmp_path / "log1").read_text()
    alone = tmp_path / "alone"
    assert main([*map(str, words[:2]), "--out", str(alone), *words[6:], "--quiet"]) == 0
    rows = [
        np.genfromtxt(path / "history.csv", delimiter=",", skip_header=1)
        for path in (out, alone)
    ]
    np.testing.assert_allclose(*rows, atol=TOGETHER)
