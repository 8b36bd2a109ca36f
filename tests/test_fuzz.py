"""Fuzzed inputs and files: a clear error or a right answer, and nothing else.

Never a hang, a crash, a file's code run, or a number that looks like an answer. The
cases are drawn from seeds, so that a failure repeats itself: its message has the seed.
With those of the campaign they are some 10,000.
"""

import contextlib
import copy
import faulthandler
import functools
import io
import json
import marshal
import math
import pickle
import time
import warnings
import zipfile

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from fuzzing import ODD, Payload, anything, array, damaged, pick, points, repacked

import tfp_flows as tfpf
from tfp_flows import bijectors
from tfp_flows.cli import main
from tfp_flows.data import tables as table_files
from tfp_flows.training import checkpoint

tfb = tfp.bijectors
tfd = tfp.distributions

CLEAR = (ValueError, TypeError)
SECONDS_A_CASE = 60  # of the processor: a hang is longer
SECONDS_AT_ALL = 1500

SCALE, SHIFT = np.array([2.0, 0.5]), np.array([1.0, -1.0])


def small_flow():
    """Its density is known: normal in z = (x - shift) / scale."""
    stages = [
        tfb.Scale(tf.Variable(SCALE, dtype=tf.float32)),
        tfb.Shift(np.float32(SHIFT)),
    ]
    return tfpf.Flow(stages, name="small")


def log_density(x):
    z = (np.asarray(x, np.float64) - SHIFT) / SCALE
    return (-0.5 * z**2 - 0.5 * math.log(2 * math.pi) - np.log(SCALE)).sum(-1)


@pytest.fixture(scope="module")
def flow():
    flow = small_flow()
    flow.compile("sgd", run_eagerly=True)
    return flow


@pytest.fixture(scope="module")
def conditional():
    coupling = bijectors.AffineCoupling(hidden=(2,), context_size=1, seed=0)
    return tfpf.Flow([coupling], event_size=2)


@pytest.fixture(scope="module")
def estimator():
    rows = np.random.default_rng(0).normal(size=(60, 2))
    return tfpf.FlowDensity(time_limit=5, verbose=0, random_state=0).fit(rows)


@pytest.fixture(autouse=True)
def no_hang():
    """Ends the process, with a trace, where a case would go on for ever."""
    faulthandler.dump_traceback_later(SECONDS_AT_ALL, exit=True)
    yield
    faulthandler.cancel_dump_traceback_later()


@pytest.fixture(autouse=True, scope="module")
def tidy():
    yield
    keras.backend.clear_session()


def seeds(count, parts=1):
    """Cases by default, and `parts` times as many of a kind in the campaign."""
    more = (range(i * count, (i + 1) * count) for i in range(1, parts + 1))
    return pytest.mark.parametrize(
        "cases",
        [range(count), *(pytest.param(r, marks=pytest.mark.campaign) for r in more)],
        ids=lambda cases: f"{cases.start}-{cases.stop - 1}",
    )


@contextlib.contextmanager
def case(number, allowed=CLEAR):
    """Lets clear errors pass, and says of any other which case it is."""
    start = time.process_time()
    try:
        with warnings.catch_warnings(), np.errstate(all="ignore"):
            warnings.simplefilter("ignore")
            yield
    except allowed as error:
        assert str(error).strip(), f"case {number}: an error that says nothing"
    except Exception as error:
        error.add_note(f"case {number}")
        raise
    assert time.process_time() - start < SECONDS_A_CASE, f"case {number}"


# Inputs


@np.errstate(all="ignore")
def is_fine(x):
    """Whether there is nothing wrong with these points."""
    return (
        isinstance(x, np.ndarray)
        and not isinstance(x, np.ma.MaskedArray)
        and x.dtype in (np.float32, np.float64)
        and x.ndim > 0
        and x.shape[-1] == 2
        and x.size > 0
        and bool(np.isfinite(x.astype("float32")).all())
    )


def assert_right(answer, x):
    answer, x = np.asarray(answer, np.float64), np.asarray(x, np.float64)
    assert answer.shape == x.shape[:-1]
    expected = log_density(x.astype("float32"))
    # Far out, the square has no place in float32.
    expected = np.where(expected < -np.finfo("float32").max, -np.inf, expected)
    near = expected > -1e37
    np.testing.assert_allclose(answer[near], expected[near], rtol=1e-4, atol=1e-4)
    assert not np.isnan(answer).any()


@seeds(100, parts=40)
def test_points(cases, flow):
    ask = {
        "log_prob": flow.log_prob,
        "predict": lambda x: flow.predict(x, verbose=0),
        "batched": lambda x: flow.log_prob(x, batch_size=2),
    }
    for number in cases:
        rng = np.random.default_rng([1, number])
        x = anything(rng) if rng.integers(2) else array(rng)
        how = pick(rng, ["log_prob"] * 8 + list(ask))
        fine = is_fine(x) and (how != "predict" or x.ndim == 2)
        with case(number, () if fine else CLEAR):
            answer = ask[how](x)
            if isinstance(x, (tf.data.Dataset, keras.KerasTensor)):
                continue
            assert_right(answer, x)


@seeds(30, parts=30)
def test_other_calls(cases, flow, conditional, estimator):
    x = np.ones((4, 2), "float32")
    named = {"x": x, "context": x[:, :1]}

    def options(rng, *names):
        return {pick(rng, names): anything(rng)}

    calls = [
        lambda rng: flow.sample(anything(rng), seed=0),
        lambda rng: flow.sample(3, **options(rng, "seed", "batch_size")),
        lambda rng: flow.stages(3, **options(rng, "seed", "context")),
        lambda rng: flow.reordered(anything(rng)),
        lambda rng: flow.shuffled(**options(rng, "seed")),
        lambda rng: flow.given(anything(rng)),
        lambda rng: flow.adapt(anything(rng)),
        lambda rng: flow.evaluate(anything(rng), verbose=0),
        lambda rng: flow.fit(anything(rng), verbose=0),
        lambda rng: flow.fit(
            x,
            verbose=0,
            **options(
                rng,
                "y",
                "batch_size",
                "sample_weight",
                "validation_split",
                "validation_data",
                "steps_per_epoch",
                "callbacks",
            ),
        ),
        lambda rng: conditional.given(anything(rng)).log_prob(x),
        lambda rng: conditional.log_prob(anything(rng)),
        lambda rng: conditional.adapt({**named, **options(rng, "x", "context")}),
        lambda rng: conditional.predict(
            {**named, **options(rng, "x", "context", "y")}, verbose=0
        ),
        lambda rng: estimator.score_samples(anything(rng)),
        lambda rng: estimator.predict(anything(rng)),
        lambda rng: estimator.transform(anything(rng)),
        lambda rng: estimator.inverse_transform(anything(rng)),
        lambda rng: estimator.sample(anything(rng)),
        lambda rng: tfpf.densities.make("two_moons").log_prob(anything(rng)),
    ]
    for number in cases:
        rng = np.random.default_rng([2, number])
        with case(number, (*CLEAR, OSError)):  # text is a path
            answer = pick(rng, calls)(rng)
            if isinstance(answer, (np.ndarray, tf.Tensor)):
                assert not np.isnan(answer).any()
        for one in (flow, conditional):
            for weight in one.weights:
                assert np.isfinite(weight).all(), f"case {number}"


REQUIRED = {
    bijectors.Permute: lambda: {"order": [1, 0]},
    bijectors.Autoregressive: lambda: {"map": bijectors.elementwise.AffineMap()},
    bijectors.Columns: lambda: {
        "bijector": bijectors.AffineCoupling(hidden=(2,)),
        "columns": [1, 0],
    },
    bijectors.Coupling: lambda: {"map": bijectors.elementwise.AffineMap()},
    bijectors.NumericalInverse: lambda: {
        "bijector": bijectors.AffineCoupling(hidden=(2,))
    },
}


def constructed(rng):
    """Something constructed with one argument that is anything."""
    cls = getattr(bijectors, pick(rng, bijectors.__all__))
    arguments = REQUIRED.get(cls, dict)()
    names = list(cls.__init__.__annotations__)
    names.remove("return")
    arguments[pick(rng, names)] = anything(rng)
    if "hidden" in names:
        arguments = {"hidden": (2,), **arguments}
    return cls(**arguments)


@seeds(20, parts=25)
def test_constructors(cases):
    good = {"bijectors": [tfb.Scale([2.0, 0.5])]}
    x = np.array([[0.3, 0.4], [0.9, 0.2]])
    for number in cases:
        rng = np.random.default_rng([3, number])
        with case(number):
            if rng.integers(3):
                one = tfpf.Flow([constructed(rng)], event_size=2)
            else:
                names = ["bijectors", "base", "event_size", "context_size", "dtype"]
                one = tfpf.Flow(**{**good, pick(rng, [*names, "name"]): anything(rng)})
            if not one.context_size:
                assert np.isfinite(one.log_prob(x)).all()


# Tables and words


def tables(rng):
    """The bytes of a good table, by the ending of its name."""
    x = points(rng)
    text, npy, npz = io.StringIO(), io.BytesIO(), io.BytesIO()
    table_files.write_csv(text, x, ["a", "b"])
    np.save(npy, x)
    np.savez(npz, x=x)
    return {
        ".csv": text.getvalue().encode(),
        ".npy": npy.getvalue(),
        ".npz": npz.getvalue(),
    }


@seeds(50, parts=40)
def test_tables(cases, tmp_path):
    for number in cases:
        rng = np.random.default_rng([4, number])
        ending = pick(rng, [".csv", ".npy", ".npz"])
        content = damaged(rng, tables(rng)[ending])
        path = tmp_path / f"table{pick(rng, [ending] * 9 + ['.csv', '.npy', '.npz'])}"
        path.write_bytes(content)
        with case(number, (*CLEAR, OSError)):
            table = table_files.read(path)
            assert table.points.ndim == 2 and np.isfinite(table.points).all()


def npy_header(text):
    raw = text.encode()
    return b"\x93NUMPY\x01\x00" + len(raw).to_bytes(2, "little") + raw


HOSTILE_TABLES = {
    "huge.npy": npy_header("{'descr':'<f8','fortran_order':False,'shape':(10**3,)}\n"),
    "vast.npy": npy_header(
        "{'descr':'<f8','fortran_order':False,'shape':(1000000000000000,2)}\n"
    ),
    "more than int64.npy": npy_header(
        f"{{'descr':'<f8','fortran_order':False,'shape':({10**30},2)}}\n"
    ),
    "nested.npy": npy_header("(" * 3000 + ")" * 3000),
    "code.npy": npy_header("__import__('os').system('touch HERE')\n"),
    "void.npy": npy_header("{'descr':'|V8','fortran_order':False,'shape':(1,1)}\n")
    + bytes(8),
    "wide.csv": b"a,b\n1," + b"1" * 200_000 + b"\n",
    "quoted.csv": b'"' * 150_001,
    "one long line.csv": b"1," * 100_000 + b"1\n",
}


@pytest.mark.parametrize("name", HOSTILE_TABLES)
def test_hostile_tables(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    path = tmp_path / name
    path.write_bytes(HOSTILE_TABLES[name])
    with case(name, (*CLEAR, OSError)):
        assert np.isfinite(table_files.read(path).points).all()
    assert [file.name for file in tmp_path.iterdir()] == [name]


@pytest.mark.parametrize("ending", [".npy", ".npz", ".csv"])
def test_pickles_are_refused(ending, tmp_path):
    planted, path = tmp_path / "planted", tmp_path / f"table{ending}"
    thing = np.array([[Payload(planted)]], dtype=object)
    with path.open("wb") as file:
        if ending == ".npz":
            np.savez(file, x=thing)
        elif ending == ".npy":
            np.save(file, thing)
        else:
            pickle.dump(Payload(planted), file)
    with pytest.raises(ValueError, match="table"):
        table_files.read(path)
    with pytest.raises(ValueError, match="not a whole checkpoint"):
        checkpoint._read(path, path.read_bytes())
    assert main(["score", "model.keras", str(path)]) == 2
    assert not planted.exists()


@seeds(30, parts=10)
def test_checkpoints(cases, tmp_path):
    path = tmp_path / "checkpoint.npz"
    told = np.frombuffer(json.dumps({"epoch": 3}).encode(), np.uint8)
    np.savez(path, told=told, **{f"model/{i}": np.full(9, i) for i in range(3)})
    whole = path.read_bytes()
    for number in cases:
        rng = np.random.default_rng([5, number])
        path.write_bytes(damaged(rng, whole))
        with case(number, ValueError):
            arrays, found = checkpoint._read(path, path.read_bytes())
            assert found == {"epoch": 3}
            for i in range(3):
                np.testing.assert_array_equal(arrays[f"model/{i}"], np.full(9, i))


COMMANDS = [
    ["fit", "data.csv", "--out", "folder"],
    ["fit", "--out", "folder", "data.npy", "--epochs", "1", "--flow", "maf"],
    ["sample", "model.keras", "-n", "3", "--seed", "1"],
    ["sample", "other.keras"],
    ["score", "model.keras", "data.csv"],
    ["score", "model.keras", "data.npz", "--key", "x", "--out", "scores.npy"],
    ["export", "other.keras", "folder"],
    ["list"],
]
WORDS = [
    *("--help", "--version", "-n", "--seed", "--out", "--key", "--flow", "--layers"),
    *("--hidden", "--batch-size", "--learning-rate", "--parameter", "--dtype", "--"),
    *("model.keras", "other.keras", "data.csv", "data.npy", "missing.csv", "folder"),
    *("", "-1", "0", "3", "nan", "1e999", "x.png", "x=y", "8,8", "maf", "\x00", "é"),
]


@seeds(20, parts=20)
def test_words(cases, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    small_flow().save("model.keras")
    whole = (tmp_path / "model.keras").read_bytes()
    for number in cases:
        rng = np.random.default_rng([6, number])
        words = [*pick(rng, COMMANDS)]
        for _ in range(rng.integers(3)):
            at = rng.integers(len(words) + 1)
            words[at : at + rng.integers(2)] = [pick(rng, WORDS)]
        for ending, content in tables(rng).items():
            is_good = rng.integers(2)
            (tmp_path / f"data{ending}").write_bytes(
                content if is_good else damaged(rng, content)
            )
        (tmp_path / "other.keras").write_bytes(damaged(rng, whole))
        with case(number, ()):
            try:
                status = main(words)
            except SystemExit as stop:
                assert stop.code == 0 and {"--help", "-h", "--version"} & set(words)
                status = 0
        told = capsys.readouterr().err
        assert status in (0, 2), f"case {number}: {words}"
        if status == 2:
            assert told.count("\n") == 1, f"case {number}: {words}: {told}"


# Model files


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """A flow's file, and one of a flow of another shape."""
    folder = tmp_path_factory.mktemp("files")
    small_flow().save(folder / "small.keras")
    tfpf.Flow([tfb.Scale(tf.Variable([1.0, 2.0, 3.0]))]).save(folder / "other.keras")
    return folder / "small.keras", folder / "other.keras"


def load(path):
    """Returns the model, or the error: Keras opens the file, and raises any kind."""
    try:
        return keras.models.load_model(path), None
    except RecursionError:
        raise
    except Exception as error:
        return None, error


@seeds(40, parts=40)
def test_damaged_files(cases, files, tmp_path, capsys):
    path, content = tmp_path / "model.keras", files[0].read_bytes()
    x = points(np.random.default_rng(0)).astype("float32")
    known = [keras.models.load_model(file).get_weights() for file in files]
    for number in cases:
        rng = np.random.default_rng([7, number])
        if is_whole := rng.integers(4) == 0:
            repacked(rng, files[0], path, files[1])
        else:
            path.write_bytes(damaged(rng, content))
        with case(number):
            loaded, error = load(path)
            if loaded is None:
                assert str(error).strip()
                if rng.integers(10) == 0:
                    assert main(["sample", str(path)]) == 2
                    assert capsys.readouterr().err.count("\n") == 1
            elif not is_whole:
                assert loaded.event_size == 2
                np.testing.assert_array_equal(loaded.get_weights(), known[0])
                assert_right(loaded.log_prob(x), x)


NAMES = ["os.system", "builtins.eval", "tfd.PixelCNN", "tfb.Inline", "tfb.Exp", "same"]
DEEP = functools.reduce(lambda inner, _: [inner], range(400), [])
VALUES = [v for v in ODD if isinstance(v, (type(None), bool, int, float, str, list))]
VALUES += [10**9, 2**62, 1e308, DEEP, {"class_name": "same", "id": 0}, {"a": 1}, *NAMES]


def changed(rng, config):
    """Returns the configuration with something else somewhere in it."""
    config = copy.deepcopy(config)
    places = []

    def walk(node):
        items = node.items() if isinstance(node, dict) else enumerate(node)
        for key, value in items:
            places.append((node, key))
            if isinstance(value, (dict, list)):
                walk(value)

    walk(config)
    for _ in range(rng.integers(1, 3)):
        node, key = pick(rng, places)
        kind = rng.integers(4)
        if kind == 0 and isinstance(node, dict):
            node.pop(key, None)
        elif kind == 1:
            other, name = pick(rng, places)
            node[key] = copy.deepcopy(
                other.get(name) if isinstance(other, dict) else None
            )
        elif key in range(len(node)) or isinstance(node, dict):
            node[key] = pick(rng, VALUES)
    return config


def rich_flow():
    coupling = bijectors.AffineCoupling(hidden=(2,), seed=0)
    mixture = tfpf.bases.Mixture(2, 2, seed=0)
    scale = tfp.util.TransformedVariable([1.0, 2.0], tfb.Softplus())
    layer = keras.Sequential([keras.layers.Dense(2, "tanh")])
    own = bijectors.AdditiveCoupling(network=layer)
    chain = tfb.Chain([tfb.Invert(coupling), tfb.Scale(scale)])
    return tfpf.Flow([coupling, chain, bijectors.Spline(2), own], mixture)


@seeds(30, parts=14)
def test_changed_configurations(cases):
    """`from_config` says in its own words that this is no flow."""
    config = json.loads(json.dumps(rich_flow().get_config()))
    for number in cases:
        rng = np.random.default_rng([8, number])
        with case(number, ValueError):
            tfpf.Flow.from_config(changed(rng, config))


def rewrite(path, target, change):
    """Copies a `.keras` file with its config changed."""
    with zipfile.ZipFile(path) as old, zipfile.ZipFile(target, "w") as new:
        for name in old.namelist():
            content = old.read(name)
            if name == "config.json":
                config = json.loads(content)
                content = json.dumps(change(config)).encode()
            new.writestr(name, content)


def payloads(planted):
    """What runs code, or would, if somebody believed it."""
    command = f"touch {planted}"
    code = marshal.dumps(compile(f"open({str(planted)!r}, 'w')", "x", "eval"))
    raw = {"code": code.hex(), "defaults": None, "closure": None}
    function = {"class_name": "function", "registered_name": None}
    yield {"module": "os", "class_name": "system", "config": {"command": command}}
    yield {"class_name": "os.system", "config": {"command": command}}
    yield {"class_name": "function", "name": "os.system"}
    yield {"class_name": "tfb.Inline", "config": {"forward_fn": "os.system"}}
    for module, name in (
        ("os", "system"),
        ("builtins", "eval"),
        ("builtins", "exec"),
        ("posix", "system"),
        ("pathlib", "Path.touch"),
        ("keras.utils", "get_file"),
        ("keras.src.utils.python_utils", "func_load"),
        ("subprocess", "Popen"),
        ("tfp_flows.cli", "main"),
        ("pickle", "loads"),
    ):
        yield {**function, "module": module, "config": name}
        yield {"module": module, "class_name": name, "config": {"args": [command]}}
        yield {"module": None, "class_name": f"{module}.{name}", "config": {}}
        yield {"class_name": f"{module}>{name}", "config": {"command": command}}
    for lambda_ in ({"class_name": "__lambda__", "config": raw}, code.hex()):
        yield lambda_
        layer = {"name": "x", "function": lambda_, "arguments": {}}
        yield {"module": "keras.layers", "class_name": "Lambda", "config": layer}
        yield {
            "class_name": "keras",
            "config": {"class_name": "Lambda", "config": layer},
        }


def places():
    """Where in a file a payload may stand: functions that put it there."""

    def put(*path):
        def change(config, payload):
            node = config
            for key in path[:-1]:
                node = node[key]
            node[path[-1]] = payload
            return config

        return change

    structure = ("config", "structure")
    return {
        "the file": lambda config, payload: payload,
        "the config": put("config"),
        "the structure": put("config", "structure"),
        "the base": put(*structure, 0),
        "a bijector": put(*structure, 1, 0),
        "a class": put(*structure, 1, 0, "class_name"),
        "an argument": put(*structure, 1, 0, "config", "network"),
        "a number": put(*structure, 1, 0, "config", "seed"),
        "a variable": put(*structure, 1, 1),
        "the dtype": put("config", "dtype"),
        "the optimizer": put("compile_config", "optimizer"),
        "the loss": put("compile_config", "loss"),
        "a metric": put("compile_config", "metrics"),
        "the shapes": put("build_config"),
    }


@pytest.mark.parametrize("every", [17, pytest.param(1, marks=pytest.mark.campaign)])
@pytest.mark.parametrize("place", places())
def test_hostile_files_run_nothing(place, every, tmp_path):
    planted, good, bad = (tmp_path / n for n in ("planted", "good.keras", "bad.keras"))
    coupling = bijectors.AdditiveCoupling(hidden=(), seed=0)
    flow = tfpf.Flow([coupling, tfb.Scale(tf.Variable([1.0, 2.0]))])
    flow.compile("sgd", run_eagerly=True)
    flow.save(good)
    for i, payload in enumerate(list(payloads(planted))[::every]):
        rewrite(good, bad, lambda config, p=payload: places()[place](config, p))
        with case(str(payload)):
            loaded, _ = load(bad)
            if isinstance(loaded, tfpf.Flow):
                with contextlib.suppress(*CLEAR):
                    loaded.fit(np.ones((4, 2)), verbose=0)
            if i % 10 == 0:
                assert main(["sample", str(bad), "-n", "2"]) in (0, 2)
        assert not planted.exists(), payload


def variable(*shape):
    return {
        "class_name": "variable",
        "dtype": "float32",
        "shape": list(shape),
        "trainable": True,
        "name": "x",
        "id": 77,
    }


def scale(value):
    return {"class_name": "tfb.Scale", "config": {"scale": value}}


def laughs():
    """Each holds the one before twice: a short text, and 2⁶⁰ bijectors."""
    stages = [{"class_name": "tfb.Exp", "config": {}, "id": 0}]
    for i in range(1, 60):
        same = {"class_name": "same", "id": i - 1}
        twice = {"class_name": "tfb.Chain", "config": {"bijectors": [same, same]}}
        stages.append({**twice, "id": i})
    return stages


def nested(depth):
    inner = {"class_name": "tfb.Exp", "config": {}}
    for _ in range(depth):
        inner = {"class_name": "tfb.Invert", "config": {"bijector": inner}}
    return inner


BOMBS = {
    "a vast variable": [scale(variable(10**15))],
    "a large variable": [scale(variable(2**16, 2**15))],
    "a negative variable": [scale(variable(-3))],
    "a vast layer": [
        {"class_name": "tfp_flows>AffineCoupling", "config": {"hidden": [10**14]}}
    ],
    "an unpayable table": [
        {"class_name": "tfp_flows>Spline", "config": {"bins": 10**15}}
    ],
    "laughs": laughs(),
    "nested": [nested(300)],
    "itself": [
        {
            "class_name": "tfb.Invert",
            "config": {"bijector": {"class_name": "same", "id": 5}},
            "id": 5,
        }
    ],
}


# TensorFlow waits ten seconds for memory that is not there.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * ("layer" in name))
        for name in BOMBS
    ],
)
def test_bombs_are_refused(name, files, tmp_path, capsys):
    def change(config):
        config["config"]["structure"][1] = BOMBS[name]
        config["config"]["stage_names"] = ["base", *"x" * len(BOMBS[name])]
        return config

    rewrite(files[0], tmp_path / "bomb.keras", change)
    start = time.process_time()
    with pytest.raises(ValueError):
        keras.models.load_model(tmp_path / "bomb.keras")
    assert main(["sample", str(tmp_path / "bomb.keras")]) == 2
    assert capsys.readouterr().err.count("\n") == 1
    assert time.process_time() - start < 10


def test_text_nested_too_deeply(files, tmp_path, capsys):
    path = tmp_path / "deep.keras"
    with zipfile.ZipFile(files[0]) as old, zipfile.ZipFile(path, "w") as new:
        for name in old.namelist():
            deep = b"[" * 10**6 + b"]" * 10**6
            new.writestr(name, deep if name == "config.json" else old.read(name))
    assert main(["sample", str(path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
