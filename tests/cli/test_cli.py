"""The command line: its commands, its files, and one line for each mistake."""

import html
import json
import subprocess
import sys
import types
import zipfile
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from matplotlib.figure import Figure

import tfp_flows as tfpf
from tfp_flows import plotting, reporting
from tfp_flows.cli import fit, main
from tfp_flows.data import tables

tfb = tfp.bijectors

TINY = ["--layers", "2", "--hidden", "8", "--epochs", "3", "--quiet"]
FILES = [
    "history.csv",
    "metrics.json",
    "model.keras",
    "orders.png",
    "report.html",
    "samples.csv",
    "stages.png",
]
MEAN, STD = np.array([1000.0, -3.0]), np.array([20.0, 0.01])


def run(*words):
    return main([str(word) for word in words])


def refused(capsys, *words):
    """Returns the one line with which the command is refused."""
    assert run(*words) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.startswith("tfp-flows: ")
    assert captured.err.count("\n") == 1
    return captured.err


def write_people(path, n=2000):
    rows = np.random.default_rng(0).normal(size=(n, 2)) * STD + MEAN
    with path.open("w") as file:
        tables.write_csv(file, rows, ["height", "weight"])
    return path


@pytest.fixture
def people(tmp_path):
    return write_people(tmp_path / "people.csv")


@pytest.fixture(scope="module")
def fitted(tmp_path_factory):
    """The folder that a fit of a CSV file left."""
    folder = tmp_path_factory.mktemp("fitted")
    people = write_people(folder / "people.csv")
    assert run("fit", people, "--out", folder / "out", *TINY) == 0
    return folder / "out"


@pytest.fixture
def blank_pictures(monkeypatch):
    for name in ("plot_stages", "plot_orders"):
        monkeypatch.setattr(plotting, name, lambda *args, **kwargs: Figure())


@pytest.fixture
def blank_report(monkeypatch):
    def report(flow, x, path, **options):
        path.touch()
        return types.SimpleNamespace(verdicts=["Good."])

    monkeypatch.setattr(reporting, "report", report)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A saved flow whose answers are known: 2·z + 1 and z/2 - 1."""
    path = tmp_path_factory.mktemp("model") / "model.keras"
    tfpf.Flow([tfb.Scale([2.0, 0.5]), tfb.Shift([1.0, -1.0])]).save(path)
    return path


# fit


def test_fit_leaves_all_its_files(fitted):
    assert sorted(path.name for path in fitted.iterdir()) == FILES
    for picture in ("stages.png", "orders.png"):
        assert (fitted / picture).read_bytes().startswith(b"\x89PNG")
    history = tables.read(fitted / "history.csv")
    assert history.columns == ["epoch", "loss", "val_loss"]
    np.testing.assert_array_equal(history.points[:, 0], [1, 2, 3])


def test_the_report_says_what_was_called_and_what_was_found(fitted):
    page = (fitted / "report.html").read_text(encoding="utf-8")
    assert "tfp-flows fit" in page and "people.csv --out" in page
    assert "height" in page and "<title>people</title>" in page
    verdict = json.loads((fitted / "metrics.json").read_text())["verdicts"][0]
    assert html.escape(verdict) in page


def test_samples_have_the_headers_and_units_of_the_file(fitted):
    samples = tables.read(fitted / "samples.csv")
    assert samples.columns == ["height", "weight"]
    assert samples.points.shape == (1000, 2)
    np.testing.assert_allclose((samples.points.mean(0) - MEAN) / STD, 0, atol=0.15)
    np.testing.assert_allclose(samples.points.std(0) / STD, 1, atol=0.15)


def test_metrics_are_in_the_units_of_the_file(fitted):
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert metrics["training_points"] == 1600
    assert metrics["held_out_points"] == 200
    assert metrics["columns"] == ["height", "weight"]
    assert "entropy" not in metrics
    gaussian = -np.log(2 * np.pi * np.e) - np.log(STD).sum()
    assert abs(metrics["held_out_log_prob"] - gaussian) < 0.25
    assert 0 < metrics["standard_error"] < 0.2


def test_metrics_say_how_the_fit_was_made(fitted):
    metrics = json.loads((fitted / "metrics.json").read_text())
    assert metrics["seed"] == 0
    assert metrics["epochs"] == 3
    assert 1 <= metrics["best_epoch"] <= 3
    assert metrics["seconds"] > 0
    assert metrics["device"].startswith(("CPU:0", "GPU:0"))
    assert metrics["options"]["hidden"] == [8]
    assert metrics["versions"]["tensorflow"] == tf.__version__
    assert set(metrics["versions"]) == {
        "python",
        "tensorflow",
        "keras",
        "tensorflow_probability",
        "tfp_flows",
    }


@pytest.mark.slow
def test_the_same_seed_gives_the_same_result(fitted, blank_pictures):
    again = fitted.parent / "again"
    assert run("fit", fitted.parent / "people.csv", "--out", again, *TINY) == 0
    first, second = (
        json.loads((folder / "metrics.json").read_text()) for folder in (fitted, again)
    )
    assert first.pop("seconds") and second.pop("seconds")
    assert first == second
    for name in ("samples.csv", "history.csv"):
        assert (fitted / name).read_bytes() == (again / name).read_bytes()


def test_what_a_killed_fit_left_is_cleared(tmp_path):
    left = tmp_path / ".tfp_flows-left"
    left.mkdir()
    (left / "model.keras").touch()
    with fit._staged(tmp_path) as folder:
        (folder / "stages.png").touch()
    assert [file.name for file in tmp_path.iterdir()] == ["stages.png"]


def test_the_last_bijector_standardizes_the_data(fitted):
    flow = keras.models.load_model(fitted / "model.keras")
    assert flow.stages(n=1)[-1].name == "Standardize"
    units = flow.bijectors[-1]
    assert not units.needs_adaptation and not units.trainable_variables
    people = tables.read(fitted.parent / "people.csv").points
    standard = units.inverse(people.astype("float32")).numpy()
    np.testing.assert_allclose(standard.mean(0), 0, atol=0.1)
    np.testing.assert_allclose(standard.std(0), 1, atol=0.1)


@pytest.mark.slow
def test_fit_of_a_density_knows_its_entropy(
    tmp_path, capsys, blank_pictures, blank_report
):
    words = ["--flow", "nice", "--samples", "500", "--parameter", "noise=0.3"]
    words += ["--dtype", "float64", "--layers", "2", "--hidden", "4,4", "--epochs", "1"]
    assert run("fit", "two_moons", "--out", tmp_path, *words) == 0
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["entropy"] == tfpf.densities.make("two_moons", noise=0.3).entropy
    gap = -metrics["held_out_log_prob"] - metrics["entropy"]
    assert metrics["gap_to_entropy"] == gap
    assert metrics["held_out_points"] == 100_000
    assert metrics["training_points"] == 500
    printed = capsys.readouterr().out
    assert "loss: " in printed  # Keras shows its progress
    assert f"gap {gap:.4f}" in printed
    assert keras.models.load_model(tmp_path / "model.keras").dtype == "float64"


@pytest.mark.parametrize("error", [KeyboardInterrupt, ValueError("no")])
def test_an_unfinished_fit_leaves_nothing(people, monkeypatch, capsys, error):
    def fail(*args, **kwargs):
        raise error

    monkeypatch.setattr(tfpf.Flow, "fit", fail)
    out = people.parent / "out"
    code = run("fit", people, "--out", out, *TINY)
    assert code == (130 if error is KeyboardInterrupt else 2)
    assert capsys.readouterr().err.count("\n") == 1
    assert not out.exists()


@pytest.mark.slow
def test_an_interrupted_fit_goes_on(
    people, monkeypatch, capsys, blank_pictures, blank_report
):
    def interrupted(*args):
        raise KeyboardInterrupt

    out = people.parent / "out"
    words = ("fit", people, "--out", out, *TINY)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "_evaluate", interrupted)
        assert run(*words) == 130
    assert [file.name for file in out.iterdir()] == ["checkpoint"]
    assert run(*words, "--seed", "5") == 2
    assert "interrupted, with other options" in capsys.readouterr().err
    with monkeypatch.context() as patch:
        patch.setattr(tfpf.Flow, "train_step", interrupted)  # nothing is left to do
        assert run(*words) == 0
    assert (out / "model.keras").exists()
    assert not (out / "checkpoint").exists()


def test_a_fit_that_cannot_write_a_file_keeps_the_old_ones(
    people, monkeypatch, capsys, blank_pictures, blank_report
):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    out = people.parent / "out"
    out.mkdir()
    (out / "metrics.json").write_text("old")
    monkeypatch.setattr(tables, "write", full)
    monkeypatch.setattr(fit, "_train", lambda *args: {"val_loss": [0.0]})
    assert "No space left" in refused(capsys, "fit", people, "--out", out, *TINY)
    assert [path.name for path in out.iterdir()] == ["metrics.json"]
    assert (out / "metrics.json").read_text() == "old"


@pytest.mark.slow
def test_a_diverged_fit_is_refused(people, capsys):
    rate = ("--learning-rate", "1e30", "--epochs", "40")
    words = ("--out", people.parent / "out", *TINY, *rate)
    with pytest.warns(RuntimeWarning, match="The step was not taken"):
        line = refused(capsys, "fit", people, *words)
    assert "a lower learning rate" in line
    assert not (people.parent / "out").exists()


# What fit refuses

FIT_MISTAKES = {
    "density": (["two_moon"], "did you mean 'two_moons'?"),
    "ending": (["two_moons.txt"], "a file that ends in .csv, .npy, .npz"),
    "missing file": (["nowhere.csv"], "nowhere.csv: No such file"),
    "flow": (["two_moons", "--flow", "real_nvq"], "did you mean 'real_nvp'"),
    "one column": (["bimodal_1d"], "has one column; give it at least two"),
    "one layer": (["two_moons", "--layers", "1"], "`layers` must be at least 2"),
    "parameter": (["two_moons", "--parameter", "noize=1"], "did you mean 'noise'?"),
    "range": (["two_moons", "--parameter", "noise=-1"], "`noise` must be > 0"),
    "no number": (["two_moons", "--parameter", "noise"], "must be NAME=NUMBER"),
    "epochs": (["two_moons", "--epochs", "0"], "--epochs: must be a whole number ≥ 1"),
    "hidden": (["two_moons", "--hidden", "8,x"], "--hidden: must be whole numbers"),
    "rate": (["two_moons", "--learning-rate", "nan"], "must be a number > 0"),
    "seed": (["two_moons", "--seed", "-1"], "must be a whole number in 0.."),
    "dtype": (["two_moons", "--dtype", "float16"], "invalid choice: 'float16'"),
    "device": (["two_moons", "--device", "tpu"], "must be cpu, gpu or gpu:N"),
    "no such device": (["two_moons", "--device", "gpu:99"], "here, only cpu"),
    "key": (["two_moons", "--key", "x"], "--key is for .npz files"),
    "option": (["two_moons", "--epoch-count", "3"], "--epoch-count"),
}


@pytest.mark.parametrize(("words", "expected"), FIT_MISTAKES.values(), ids=FIT_MISTAKES)
def test_fit_refuses(tmp_path, monkeypatch, capsys, words, expected):
    monkeypatch.chdir(tmp_path)
    assert expected in refused(capsys, "fit", *words, "--out", "out")
    assert not list(tmp_path.iterdir())


ROWS = "\n".join(f"{i},{i * i}" for i in range(30))
BAD_FILES = {
    "text": ("a,kind\n1,2\n3,red\n", "line 3 has text in column 'kind': 'red'"),
    "text without header": ("1,2\n3,red\n", "text in column 2: 'red'"),
    "ragged": ("a,b\n1,2\n1,2,3\n", "line 3 has 3 cells, the first 2"),
    "NaN": ("a,b\n1,2\n1,nan\n,4\n", "2 of 3 rows have missing"),
    "infinite": ("a,b\n1,2\ninf,2\n", "row 2 with column 'a'"),
    "header only": ("a,b\n", "holds no rows"),
    "empty": ("", "holds no rows"),
    "few": ("a,b\n1,2\n", "at least 20 rows"),
    "constant": ("a,same\n" + "\n".join(f"{i},7" for i in range(30)), "column 'same'"),
    "overflow": (f"{ROWS}\n1e39,0", "float32"),
    "NUL": ("a,b\n1,\x002\n", "column 'b'"),
}


@pytest.mark.parametrize(("text", "expected"), BAD_FILES.values(), ids=BAD_FILES)
def test_fit_refuses_csv(tmp_path, capsys, text, expected):
    path = tmp_path / "data.csv"
    path.write_text(text)
    assert expected in refused(capsys, "fit", path, "--out", tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_fit_refuses_options_of_densities_for_files(people, capsys):
    line = refused(capsys, "fit", people, "--out", people.parent, "--samples", "9")
    assert "for densities, not for files" in line


def test_fit_refuses_a_folder_that_cannot_be_made(people, capsys):
    assert str(people) in refused(capsys, "fit", people, "--out", people / "out")


# Tables


@pytest.mark.parametrize(
    ("text", "columns"),
    [
        ("a,b\n1,2\n\n3,4\n", ["a", "b"]),
        ("1,2\r\n3,4\r\n", ["x0", "x1"]),
        ("\ufeffa;b\n1;2\n3;4", ["a", "b"]),
        ('"a, in m"\tb\n1\t2\n 3 \t4e0\n', ["a, in m", "b"]),
        ("1,2\n3,4", ["x0", "x1"]),
    ],
)
def test_csv_is_read(tmp_path, text, columns):
    path = tmp_path / "data.csv"
    path.write_text(text, encoding="utf-8", newline="")
    table = tables.read(path)
    assert table.columns == columns
    np.testing.assert_array_equal(table.points, [[1, 2], [3, 4]])


def test_written_numbers_are_read_back_exactly(tmp_path):
    values = np.random.default_rng(0).normal(size=(20, 2)) * 1e-3
    for dtype in (np.float32, np.float64):
        tables.write(tmp_path / "data.csv", values.astype(dtype), ["a,b", "c"])
        table = tables.read(tmp_path / "data.csv")
        assert table.columns == ["a,b", "c"]
        np.testing.assert_array_equal(table.points.astype(dtype), values.astype(dtype))


def test_numpy_files_are_read(tmp_path):
    x = np.arange(6).reshape(3, 2)
    np.save(tmp_path / "x.npy", x)
    np.savez(tmp_path / "one.npz", x)
    np.savez(tmp_path / "two.npz", x=x, y=-x)
    for name, key, expected in [
        ("x.npy", None, x), ("one.npz", None, x), ("two.npz", "y", -x)
    ]:  # fmt: skip
        table = tables.read(tmp_path / name, key=key)
        np.testing.assert_array_equal(table.points, expected)


def npy_of(shape):
    """A file that says it holds an array of this shape, and holds none."""
    header = f"{{'descr': '<f8', 'fortran_order': False, 'shape': {shape}}}\n".encode()
    return b"\x93NUMPY\x01\x00" + len(header).to_bytes(2, "little") + header


@pytest.mark.parametrize(
    ("content", "expected"),
    [
        (np.zeros(3), "shape (n, d)"),
        (np.zeros((3, 2, 2)), "shape (n, d)"),
        (np.zeros((0, 2)), "holds no rows"),
        (np.array([["a", "b"]]), "must hold real numbers"),
        (np.array([[1 + 1j]]), "must hold real numbers"),
        (np.array([[1.0, np.inf]]), "1 of 1 rows"),
        (np.array([[object()]]), "not a readable .npy file"),
        (b"", "not a readable .npy file"),
        (b"nonsense", "not a readable .npy file"),
        (npy_of("(10**15, 2)"), "not a readable .npy file"),
        (npy_of("(1000000000000000, 2)"), "not a readable .npy file"),
        (npy_of(f"({10**30}, 2)"), "not a readable .npy file"),
        (npy_of("((("), "not a readable .npy file"),
    ],
)
def test_fit_refuses_npy(tmp_path, capsys, content, expected):
    path = tmp_path / "data.npy"
    if isinstance(content, bytes):
        path.write_bytes(content)
    else:
        np.save(path, content, allow_pickle=True)
    assert expected in refused(capsys, "fit", path, "--out", tmp_path / "out")


def test_fit_refuses_npz(tmp_path, capsys):
    path = tmp_path / "data.npz"
    np.savez(path, x=np.zeros((3, 2)), y=np.zeros((3, 2)))
    words = ["fit", path, "--out", tmp_path / "out"]
    assert "one of x, y. Received: None" in refused(capsys, *words)
    assert "Received: z" in refused(capsys, *words, "--key", "z")
    path.write_bytes(path.read_bytes()[:100])
    assert "not a readable .npz file" in refused(capsys, *words)


# sample, score, stages, export, list


def test_sample(model, tmp_path, capsys):
    assert run("sample", model, "-n", 7, "--seed", 3) == 0
    printed = capsys.readouterr().out
    points = tfpf.Flow([tfb.Scale([2.0, 0.5]), tfb.Shift([1.0, -1.0])]).sample(
        7, seed=3
    )
    for name in ("points.csv", "points.npy"):
        assert run("sample", model, "-n", 7, "--seed", 3, "--out", tmp_path / name) == 0
        read = tables.read(tmp_path / name).points.astype(np.float32)
        np.testing.assert_array_equal(read, points)
    assert (tmp_path / "points.csv").read_text() == printed
    assert run("sample", model, "-n", 7, "--seed", 3, "--device", "cpu") == 0
    assert capsys.readouterr().out == printed
    assert run("sample", model, "-n", 7, "--seed", 4) == 0
    assert capsys.readouterr().out != printed


def test_score(model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", [[1.0, -1.0], [3.0, -1.0]])
    expected = -np.log(2 * np.pi) - np.array([0.0, 0.5])
    assert run("score", model, tmp_path / "x.npy") == 0
    captured = capsys.readouterr()
    lines = captured.out.splitlines()
    assert lines[0] == "log_prob"
    np.testing.assert_allclose([float(line) for line in lines[1:]], expected, 1e-6)
    assert captured.err == "log_prob of 2 rows: -2.0879 ± 0.2500 nats\n"
    out = tmp_path / "score.npy"
    assert run("score", model, tmp_path / "x.npy", "--out", out) == 0
    np.testing.assert_allclose(np.load(out), expected, 1e-6)


def test_score_of_one_row_has_no_standard_error(model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", [[1.0, -1.0]])
    assert run("score", model, tmp_path / "x.npy") == 0
    assert capsys.readouterr().err == "log_prob of 1 rows: -1.8379 nats\n"


def test_score_refuses_the_wrong_width(model, tmp_path, capsys):
    np.save(tmp_path / "x.npy", np.zeros((4, 3)))
    line = refused(capsys, "score", model, tmp_path / "x.npy")
    assert "(..., 2)" in line
    assert "(4, 3)" in line


def test_stages(model, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert run("stages", model) == 0
    assert Path("stages.png").read_bytes().startswith(b"\x89PNG")


def test_stages_refuses_an_unknown_kind_of_picture(model, tmp_path, capsys):
    line = refused(capsys, "stages", model, "--out", tmp_path / "stages.xyz")
    assert "xyz" in line
    assert not list(tmp_path.iterdir())


def test_export(model, tmp_path, capsys):
    out = tmp_path / "saved"
    for _ in range(2):  # a SavedModel is replaced
        assert run("export", model, out) == 0
    log_prob = tf.saved_model.load(out).log_prob(tf.constant([[1.0, -1.0]]))
    np.testing.assert_allclose(log_prob, [-np.log(2 * np.pi)], 1e-6)
    (out / "thesis.tex").write_text("mine")
    assert "not replaced" in refused(capsys, "export", model, out)
    assert (out / "thesis.tex").read_text() == "mine"


def test_list_names_what_there_is(capsys):
    assert run("list") == 0
    lines = capsys.readouterr().out.splitlines()
    known = [
        *(getattr(tfpf.densities, name) for name in tfpf.densities.names()),
        *(getattr(tfpf.recipes, name) for name in tfpf.recipes.__all__),
    ]
    expected = [(one.__name__, one.__doc__.partition("\n")[0]) for one in known]
    listed = [tuple(line.split(maxsplit=1)) for line in lines if line[0] == " "]
    assert listed == expected


@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (["sample", "-n", "0"], "-n: must be a whole number ≥ 1"),
        (["sample", "--out", "x.txt"], "must be a .csv or .npy file"),
        (["sample", "--seed", "x"], "must be a whole number in 0.."),
    ],
)
def test_sample_refuses(model, capsys, command, expected):
    assert expected in refused(capsys, command[0], model, *command[1:])


# Files that are not flows


def with_member(model, path, name, content):
    """Writes a copy of the model with another content of one member."""
    with zipfile.ZipFile(model) as old, zipfile.ZipFile(path, "w") as new:
        for member in old.namelist():
            new.writestr(member, content if member == name else old.read(member))


def write_text(model, path):
    path.write_text("hello")


def write_half(model, path):
    whole = model.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])


def write_other_zip(model, path):
    with zipfile.ZipFile(path, "w") as members:
        members.writestr("readme.txt", "hello")


def write_keras_model(model, path):
    keras.Sequential([keras.Input((2,)), keras.layers.Dense(1)]).save(path)


def write_foreign_class(model, path):
    with zipfile.ZipFile(model) as members:
        config = members.read("config.json").decode()
    assert "tfb.Shift" in config
    config = config.replace("tfb.Shift", "evil>Shift")
    with_member(model, path, "config.json", config)


def write_damaged_config(model, path):
    with_member(model, path, "config.json", "{")


def write_config_of_another_kind(model, path):
    with_member(model, path, "config.json", "[1]")


def write_damaged_weights(model, path):
    with_member(model, path, "model.weights.h5", b"noise")


@pytest.mark.parametrize(
    ("write", "expected"),
    [
        (write_text, "is not a whole flow file: it is cut short"),
        (write_half, "is not a whole flow file: it is cut short"),
        (write_other_zip, "no item named 'config.json'"),
        (write_damaged_config, "Expecting property name"),
        (write_config_of_another_kind, "'list' object"),
        (write_keras_model, "holds a Sequential, not a tfp_flows Flow"),
        (write_foreign_class, "the class 'evil>Shift'"),
        (write_damaged_weights, "cannot be loaded as a flow"),
        (lambda model, path: None, "No such file"),
    ],
)
def test_what_is_not_a_flow_is_refused(model, tmp_path, capsys, write, expected):
    path = tmp_path / "other.keras"
    write(model, path)
    line = refused(capsys, "sample", path, "--out", tmp_path / "out.csv")
    assert expected in line
    assert str(path) in line
    assert not (tmp_path / "out.csv").exists()


def test_a_model_needs_its_ending(model, tmp_path, capsys):
    path = tmp_path / "model.zip"
    path.write_bytes(model.read_bytes())
    assert ".keras" in refused(capsys, "sample", path)


# Words


def test_help_names_every_command(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--help")
    assert stop.value.code == 0
    printed = capsys.readouterr().out
    for command in ("fit", "sample", "score", "stages", "export", "list"):
        assert f"\n    {command} " in printed


def test_version(capsys):
    with pytest.raises(SystemExit) as stop:
        run("--version")
    assert stop.value.code == 0
    assert capsys.readouterr().out.startswith("tfp-flows ")


def test_mistaken_words_are_one_line(capsys):
    assert "invalid choice: 'fti'" in refused(capsys, "fti")
    assert "COMMAND" in refused(capsys)
    assert "--out" in refused(capsys, "fit", "two_moons")


@pytest.mark.slow
def test_the_package_runs_as_a_module_into_a_closed_pipe():
    process = subprocess.Popen(
        [sys.executable, "-m", "tfp_flows", "list"],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    process.stdout.close()
    with process.stderr:
        printed = process.stderr.read()
    assert process.wait() == 0
    assert "Traceback" not in printed
    assert "BrokenPipe" not in printed
