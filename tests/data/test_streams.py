"""Rows in files: read whole, in any order, and fitted as rows in memory are."""

import json
import sys
import tracemalloc

import keras
import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows import plotting, reporting
from tfp_flows.cli import fit, main
from tfp_flows.data import streams, summaries, tables
from tfp_flows.data.row_order import RowOrder
from tfp_flows.data.streams import Stream
from tfp_flows.data.summaries import Summary
from tfp_flows.training import checkpoint

RNG = np.random.default_rng(0)


def points(n=600, width=2):
    return RNG.normal([5.0, -3.0, 0.5][:width], [2.0, 0.1, 1.0][:width], (n, width))


def write_npy(path, rows):
    np.save(path.with_suffix(".npy"), rows)


def write_csv(path, rows):
    with path.with_suffix(".csv").open("w") as file:
        tables.write_csv(file, np.asarray(rows), ["a", "b", "c"][: rows.shape[1]])


def write_parquet(path, rows):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    table = pyarrow.table(dict(zip("abc", np.transpose(rows), strict=False)))
    parquet.write_table(table, path.with_suffix(".parquet"), row_group_size=50)


WRITERS = {"npy": write_npy, "csv": write_csv, "parquet": write_parquet}


def write(folder, rows, kind="npy", shards=3):
    folder.mkdir(exist_ok=True)
    for i, part in enumerate(np.array_split(rows, shards)):
        WRITERS[kind](folder / f"{i}", part)
    return folder


@pytest.fixture
def small_pools(monkeypatch):
    """Pools of 64 rows from stretches of 4, so that few rows fill several."""
    monkeypatch.setattr(streams, "_POOL_ROWS", 64)
    monkeypatch.setattr(streams, "_PLACES", 16)


def read(dataset):
    return np.concatenate(list(dataset.as_numpy_iterator()))


def by_first(rows):
    return rows[np.argsort(rows[:, 0])]


# Rows and their order


@pytest.mark.parametrize("kind", WRITERS)
def test_every_row_comes_once_an_epoch(tmp_path, small_pools, kind):
    x = points(601)
    stream = Stream(write(tmp_path / "x", x, kind), dtype="float64")
    assert len(stream) == 601
    assert stream.columns == ([] if kind == "npy" else ["a", "b"])
    order = stream.order(3)
    dataset = stream.batches(50, order)
    assert dataset.cardinality() == 13
    epochs = []
    for epoch in range(2):
        order.epoch = epoch
        found = list(dataset.as_numpy_iterator())
        assert [len(batch) for batch in found] == [50] * 12 + [1]
        epochs.append(np.concatenate(found))
        np.testing.assert_array_equal(by_first(epochs[-1]), by_first(x))
    assert (epochs[0] != epochs[1]).any()
    order.epoch = 0
    np.testing.assert_array_equal(read(dataset), epochs[0])
    other = stream.batches(50, stream.order(4))
    assert (read(other) != epochs[0]).any()
    np.testing.assert_array_equal(read(stream.batches(50)), x)
    in_order = stream.batches(50, stream.order(3, shuffle=False))
    np.testing.assert_array_equal(read(in_order), x)


def test_a_pool_holds_rows_from_everywhere(tmp_path, small_pools):
    numbers = np.repeat(np.arange(6400.0)[:, np.newaxis], 2, axis=1)
    stream = Stream(write(tmp_path / "x", numbers, shards=7))
    found = read(stream.batches(64, stream.order(0)))[:, 0]
    means = found.reshape(100, 64).mean(axis=1)
    # Of 16 random places of 4 rows each: a sixteenth of the rows' variance.
    assert means.std() == pytest.approx(6400 / np.sqrt(12 * 16), rel=0.3)


@pytest.mark.slow
def test_memory_is_that_of_pools_whatever_the_rows(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_POOL_ROWS", 2000)
    monkeypatch.setattr(streams, "_PLACES", 10)
    x = np.zeros([20_000, 8], "float32")
    peaks = []
    for shards in (2, 20):
        folder = tmp_path / str(shards)
        folder.mkdir()
        for i in range(shards):
            np.save(folder / f"{i}.npy", x)
        stream = Stream(folder)
        pools = stream._pools(2000, stream.order(0))
        tracemalloc.start()
        assert sum(len(pool) for pool in pools) == shards * len(x)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < 1.2 * peaks[0]
    assert peaks[1] < 4 * 2000 * 8 * 4 + 2**17


def test_a_wide_row_makes_a_small_pool(tmp_path, monkeypatch):
    monkeypatch.setattr(streams, "_POOL_BYTES", 1000)
    x = RNG.normal(size=(40, 300)).astype("float32")
    stream = Stream(write(tmp_path / "x", x))
    np.testing.assert_array_equal(
        by_first(read(stream.batches(7, stream.order(0)))), by_first(x)
    )


def test_a_sample_is_left_out_of_the_rest(tmp_path, small_pools):
    x = points(600)
    stream = Stream(write(tmp_path / "x", x), dtype="float64", seed=2)
    first, rest = stream.split(60)
    second, rest = rest.split(40)
    assert len(rest) == 500 and len(first) == 60 and len(second) == 40
    train = read(rest.batches(64, rest.order(0)))
    whole = np.concatenate([first, second, train])
    np.testing.assert_array_equal(by_first(whole), by_first(x))
    np.testing.assert_allclose(rest.summary.mean, train.mean(0))
    np.testing.assert_allclose(rest.summary.std, train.std(0))
    again, _ = Stream(tmp_path / "x", dtype="float64", seed=2).split(60)
    np.testing.assert_array_equal(first, again)
    other, _ = Stream(tmp_path / "x", dtype="float64", seed=3).split(60)
    assert (first != other).any()


# Summaries


def test_moments_are_those_of_all_rows():
    x = RNG.normal(1e4, [1.0, 1e-3, 0.0], size=(5000, 3))
    summary = Summary()
    for part in np.split(x, [1, 1, 700, 2500]):
        summary.add(part, RNG.random(len(part)))
    np.testing.assert_allclose(summary.mean, x.mean(0), rtol=1e-12)
    np.testing.assert_allclose(summary.std, x.std(0), rtol=1e-6)
    assert summary.std[2] == 0
    assert summary.rows == 5000


def test_a_sample_is_bounded_and_random(monkeypatch):
    monkeypatch.setattr(summaries, "_MOST_ROWS", 100)
    x, keys = np.arange(10_000.0)[:, np.newaxis], RNG.random(10_000)
    summary = Summary()
    for part in np.split(np.arange(10_000), 40):
        summary.add(x[part], keys[part])
        assert sum(map(len, summary._kept)) <= 450
    np.testing.assert_array_equal(summary.sample, x[np.argsort(keys)[:100]])
    assert summary.key(9) == np.sort(keys)[9]


# Fits


def flow(width=2, dtype="float32", context_size=0):
    keras.utils.set_random_seed(1)
    made = tfpf.recipes.real_nvp(
        width, layers=2, hidden=(8,), seed=0, dtype=dtype, context_size=context_size
    )
    made.compile(keras.optimizers.Adam(0.01))
    return made


def test_a_fit_is_that_of_rows_in_memory(tmp_path, monkeypatch):
    """To rounding, where the order is the same."""
    x = points()
    path = write(tmp_path / "x", x)
    one, other = flow(), flow()
    options = {"batch_size": 64, "epochs": 3, "shuffle": False, "verbose": 0}
    streamed = one.fit(path, validation_data=path / "0.npy", **options).history
    memory = other.fit(x, validation_data=x[:200], **options).history
    assert int(one.optimizer.iterations) == 30
    assert one.steps_per_execution == 10
    for name in ("loss", "val_loss"):
        np.testing.assert_allclose(streamed[name], memory[name], rtol=1e-5)
    np.testing.assert_allclose(
        one.evaluate(str(path), verbose=0), one.evaluate(x, verbose=0), rtol=1e-6
    )
    np.testing.assert_allclose(one.predict(path, verbose=0), one.log_prob(x), 1e-5)
    shuffled = flow().fit(path, **{**options, "shuffle": True}).history
    assert shuffled["loss"][-1] == pytest.approx(memory["loss"][-1], abs=0.1)
    assert shuffled["loss"] != memory["loss"]


@pytest.mark.slow
def test_contexts_are_the_last_columns(tmp_path):
    x = points(300, width=3).astype("float32")
    path = write(tmp_path / "x", x)
    named = {"x": x[:, :2], "context": x[:, 2:]}
    one, other = flow(context_size=1), flow(context_size=1)
    options = {"batch_size": 50, "epochs": 1, "shuffle": False, "verbose": 0}
    streamed, memory = one.fit(path, **options), other.fit(named, **options)
    np.testing.assert_allclose(
        streamed.history["loss"], memory.history["loss"], rtol=1e-5
    )


class Stop(BaseException):
    """As a power cut."""


class Cut(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        if epoch == 2:
            raise Stop


@pytest.mark.slow
def test_an_interrupted_fit_ends_as_one_that_was_not(
    tmp_path, small_pools, monkeypatch
):
    monkeypatch.setattr(checkpoint, "_SHARE", np.inf)
    path = write(tmp_path / "x", points(300))
    options = {"batch_size": 20, "epochs": 4, "verbose": 0}
    whole = flow()
    history = whole.fit(path, **options)
    folder = tmp_path / "state"
    with pytest.raises(Stop):
        flow().fit(path, **options, checkpoint_dir=folder, callbacks=[Cut()])
    again = flow()
    resumed = again.fit(path, **options, checkpoint_dir=folder)
    assert resumed.history == history.history
    for a, b in zip(whole.get_weights(), again.get_weights(), strict=True):
        np.testing.assert_array_equal(a, b)
    write(tmp_path / "x", points(300))
    with pytest.raises(ValueError, match="another data"):
        flow().fit(path, **options, checkpoint_dir=folder)


# Starts from data


@pytest.mark.parametrize("kind", ["path", "dataset", "tuples"])
def test_adapt_in_one_pass(tmp_path, kind):
    """By all points, and not by a sample, where moments do."""
    x = points(70_000) + 1e3 * (np.arange(70_000) > 69_000)[:, np.newaxis]
    passes = []
    if kind == "path":
        given = write(tmp_path / "x", x)
    else:
        given = tf.data.Dataset.from_tensor_slices(x).batch(512)
        given = given.map(lambda b: (passes.append(0), b)[1])
        if kind == "tuples":
            given = given.map(lambda b: (b, b[:, 0], b[:, 0]))
    for chain in (
        [tfpf.bijectors.ActNorm(), tfpf.bijectors.Standardize()],
        [tfpf.bijectors.ActNorm()],
    ):
        flows = [tfpf.Flow(chain, event_size=2, dtype="float64") for _ in range(2)]
        flows[0].adapt(given)
        mean = flows[0].bijectors[-1].forward(np.zeros(2))
        std = flows[0].bijectors[-1].forward(np.ones(2)) - mean
        np.testing.assert_allclose(mean, x.mean(0), rtol=1e-9)
        np.testing.assert_allclose(std, x.std(0), rtol=1e-9)


def test_other_starts_look_at_a_sample(tmp_path):
    x = points(70_000)
    spline = tfpf.bijectors.Spline(box="data")
    base = tfpf.bases.Mixture(2, components=2, seed=0)
    chain = [spline, tfpf.bijectors.Standardize()]
    streamed = tfpf.Flow(chain, base=base)
    streamed.adapt(write(tmp_path / "x", x))
    assert not any(part.needs_adaptation for part in (base, *chain))
    low = spline._box.low.numpy()
    other = tfpf.bijectors.Spline(box="data")
    tfpf.Flow([other, tfpf.bijectors.Standardize()], event_size=2).adapt(x)
    np.testing.assert_allclose(low, other._box.low, rtol=0.1)


def test_an_endless_dataset_is_not_read_to_its_end():
    x = points(600).astype("float32")
    endless = tf.data.Dataset.from_tensor_slices(x).batch(50).repeat()
    one = flow()
    one.adapt(endless)
    np.testing.assert_allclose(one.bijectors[-1]._mean, x.mean(0), rtol=1e-2)
    two = flow()
    two.fit(endless, steps_per_epoch=3, epochs=2, verbose=0)
    np.testing.assert_allclose(two.bijectors[-1]._mean, x[:150].mean(0), rtol=1e-5)


def test_a_dataset_must_hold_finite_points():
    for x, expected in [
        (np.full([4, 2], np.nan), "finite"),
        (np.zeros([0, 2]), "none"),
    ]:
        with pytest.raises(ValueError, match=expected):
            flow().adapt(tf.data.Dataset.from_tensor_slices(x).batch(2))


# Errors


def test_what_is_wrong_with_a_file_is_said(tmp_path, small_pools):
    def refused(name, error=ValueError, width=2):
        with pytest.raises(error) as raised:
            Stream(tmp_path / name, {"x": width})
        return str(raised.value)

    assert "nowhere" in refused("nowhere", FileNotFoundError)
    (tmp_path / "x.txt").touch()
    assert "must be a .csv, .npy, .parquet file" in refused("x.txt")
    folder = write(tmp_path / "x", points(300))
    assert "0.npy must have 3 columns (3 for x). Received: 2" in refused("x", width=3)
    (folder / "_hidden.csv").touch()
    Stream(folder)
    (folder / "a.csv").touch()
    assert "files of one kind. Received: .csv and .npy" in refused("x")
    (folder / "a.csv").unlink()
    for bad in (np.nan, np.inf, 1e39):
        rows = points(100)
        rows[57, 1] = bad
        np.save(folder / "1.npy", rows)
        assert "1.npy: row 58 has missing, NaN or infinite" in refused("x")
    np.save(folder / "1.npy", points(100, width=3))
    assert "1.npy must have 2 columns, as 0.npy has. Received: 3" in refused("x")
    np.save(folder / "1.npy", np.zeros(5))
    assert "1.npy must hold an array of shape (n, d)" in refused("x")
    np.save(folder / "1.npy", np.array([["a", "b"]]))
    assert "1.npy must hold real numbers" in refused("x", TypeError)
    (folder / "1.npy").write_bytes(b"nonsense")
    assert "1.npy is not a readable .npy file" in refused("x")
    np.save(tmp_path / "empty.npy", np.zeros([0, 2]))
    assert "empty.npy holds no rows" in refused("empty.npy")


def test_what_is_wrong_with_a_line_is_said(tmp_path, small_pools):
    path = tmp_path / "x.csv"
    lines = ["a,b", *(f"{i},{i}" for i in range(200))]
    for line, expected in {
        "1": "line 152 has 1 cells, the first 2",
        "1,red": "line 152 has text in column 'b': 'red'",
        "1,": "row 151 has missing, NaN",
        "nan,1": "row 151 has missing, NaN",
    }.items():
        path.write_text("\n".join([*lines[:151], line, *lines[151:]]))
        with pytest.raises(ValueError) as raised:
            Stream(path)
        assert f"x.csv: {expected}" in str(raised.value)


def test_headers_agree(tmp_path):
    (tmp_path / "0.csv").write_text("a,b\n1,2\n")
    (tmp_path / "1.csv").write_text("3,4\n")
    np.testing.assert_array_equal(read(Stream(tmp_path).batches(9)), [[1, 2], [3, 4]])
    (tmp_path / "1.csv").write_text("b,a\n3,4\n")
    with pytest.raises(ValueError, match=r"1\.csv must have the columns of 0\.csv"):
        Stream(tmp_path)


def test_parquet_without_pyarrow(tmp_path, monkeypatch, capsys):
    (tmp_path / "x.parquet").touch()
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(ImportError, match=r"pip install 'tfp_flows\[parquet\]'"):
        Stream(tmp_path / "x.parquet")
    words = ["fit", str(tmp_path / "x.parquet"), "--out", str(tmp_path / "out")]
    assert main(words) == 2
    assert "need pyarrow" in capsys.readouterr().err


def test_parquet_holds_numbers(tmp_path):
    pyarrow = pytest.importorskip("pyarrow")
    from pyarrow import parquet

    path = tmp_path / "x.parquet"
    table = {"n": pyarrow.array([1, None, 3]), "f": [0.5, 1.5, 2.5], "b": [True] * 3}
    parquet.write_table(pyarrow.table(table), path)
    with pytest.raises(ValueError, match=r"row 2 has missing.*\[nan 1\.5 1\. \]"):
        Stream(path)
    parquet.write_table(pyarrow.table({**table, "kind": ["a", "b", "c"]}), path)
    with pytest.raises(TypeError, match="column 'kind' of type string"):
        Stream(path)
    path.write_bytes(b"PAR1 and nonsense")
    with pytest.raises(ValueError, match=r"not a readable \.parquet file"):
        Stream(path)


def test_what_a_path_does_not_do(tmp_path):
    path = write(tmp_path / "x", points(50))
    with pytest.raises(ValueError, match="`sample_weight` must be None"):
        flow().fit(path, sample_weight=np.ones(50))
    with pytest.raises(ValueError, match=r"must have the columns.*in float64"):
        flow(dtype="float64").fit(Stream(path))
    with pytest.raises(ValueError, match="`validation_split` needs points in memory"):
        flow().fit(path, validation_split=0.1)


# The command line

TINY = ["--layers", "2", "--hidden", "8", "--epochs", "2", "--quiet"]


def run(*words):
    return main([str(word) for word in words])


@pytest.fixture
def blank(monkeypatch):
    from matplotlib.figure import Figure

    seen = {}

    def report(flow, x, path, **options):
        seen.update(options, x=x)
        path.touch()
        return type("Report", (), {"verdicts": ["Good."]})

    for name in ("plot_stages", "plot_orders"):
        monkeypatch.setattr(plotting, name, lambda *args, **kwargs: Figure())
    monkeypatch.setattr(reporting, "report", report)
    return seen


@pytest.mark.parametrize(
    "kind", ["npy", pytest.param("parquet", marks=pytest.mark.slow)]
)
def test_fit_streams_a_folder(tmp_path, blank, kind):
    folder = write(tmp_path / "x", points(1000), kind)
    assert run("fit", folder, "--stream", "--out", tmp_path / "out", *TINY) == 0
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["training_points"] == 800 and metrics["held_out_points"] == 100
    assert metrics["columns"] == (["x0", "x1"] if kind == "npy" else ["a", "b"])
    gaussian = -np.log(2 * np.pi * np.e) - np.log(2.0 * 0.1)
    assert abs(metrics["held_out_log_prob"] - gaussian) < 0.4
    held_out, train = (set(blank[k][:, 0].tolist()) for k in ("x", "x_train"))
    assert not held_out & train and len(train) == 800


@pytest.fixture
def trained_on(monkeypatch, blank):
    """What flows would have been trained on."""
    seen = []

    def train(flow, data, options):
        seen.append(data.train)
        return {"val_loss": [0.0]}

    monkeypatch.setattr(fit, "_train", train)
    return seen


@pytest.mark.slow
def test_what_is_large_is_streamed_by_itself(tmp_path, monkeypatch, trained_on, capsys):
    path, out = tmp_path / "x.csv", tmp_path / "out"
    write_csv(path, points(100))
    words = ("score", out / "model.keras", path)
    messages = []
    for share in (1.0, 1e-9):
        monkeypatch.setattr(tables, "_SHARE", share)
        assert run("fit", path, "--out", out, *TINY) == 0
        assert run(*words, "--out", tmp_path / f"{share}.npy") == 0
        messages.append(capsys.readouterr().err)
    assert [type(train) for train in trained_on] == [np.ndarray, Stream]
    assert messages[0] == messages[1] != ""
    scores = [np.load(tmp_path / f"{share}.npy") for share in (1.0, 1e-9)]
    np.testing.assert_allclose(scores[0], scores[1], rtol=1e-5)


@pytest.mark.slow
def test_a_folder_and_a_density_of_one_name(tmp_path, monkeypatch, trained_on):
    monkeypatch.chdir(tmp_path)
    write(tmp_path / "two_moons", points(100))
    for source, rows in {"two_moons": 90, "./two_moons": 80}.items():
        words = ["--samples", 90] if rows == 90 else []
        assert run("fit", source, *words, "--out", "out", *TINY) == 0
        assert len(trained_on[-1]) == rows


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        (["two_moons", "--stream"], "--stream is for files"),
        (["x.npz", "--stream"], "not for .npz files"),
        (["few.npy", "--stream"], "at least 20 rows"),
        (["constant.npy", "--stream"], "column 'x1' is constant in float32 (7.0)"),
    ],
)
def test_fit_refuses_streams(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    np.savez("x.npz", points(50))
    np.save("few.npy", points(5))
    np.save("constant.npy", points(50) * [1, 0] + [0, 7])
    assert run("fit", *words, "--out", "out") == 2
    assert expected in capsys.readouterr().err


def test_orders_are_of_stretches(tmp_path, small_pools):
    stream = Stream(write(tmp_path / "x", points(300)))
    order = stream.order(0)
    assert isinstance(order, RowOrder) and order.rows == 75
