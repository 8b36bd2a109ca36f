"""What the benchmarks measure with, at a reduced size; they run by themselves."""

import argparse
import dataclasses
import gzip
import json
import math
import multiprocessing.dummy
import shutil

import _harness
import _memory
import _methods
import _speed_cases
import _targets
import anomaly
import bsds300
import gpu
import mixed_precision
import numpy as np
import pytest
import quality
import recipes
import scaling
import speed
from PIL import Image

import tfp_flows as tfpf
from tfp_flows.training import plan, trainer

RNG = np.random.default_rng(0)


# Targets

GRIDS = {  # of both coordinates, and the lengths that their points stand for
    "crescent": [np.arange(-7, 7, 0.05), np.arange(-4, 50, 0.05)],
    "thin_rings": [np.arange(-2.3, 2.3, 0.01)] * 2,
    "heavy_cross": [np.sinh(np.arange(-8, 8, 0.02))] * 2,
}


@pytest.mark.parametrize("name", GRIDS)
def test_targets_integrate_to_one(name):
    axes = GRIDS[name]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    mass = np.exp(_targets.make(name).log_prob(x))
    for axis in reversed(axes):
        mass = mass @ np.gradient(axis)
    assert mass == pytest.approx(1, abs=2e-4)


@pytest.mark.parametrize("name", _targets.TARGETS)
def test_targets_have_their_entropy(name):
    density = _targets.make(name)
    surprise = -density.log_prob(density.sample(40_000, seed=1))
    mean, error = _harness.mean_and_error(surprise)
    assert abs(mean - density.entropy) < 4 * error


def test_the_twist_of_no_waves_is_a_mixture():
    """Where the twist is nothing, its mixture; elsewhere a shear of that."""
    plain = _targets.twisted_mixture(twist=0.0)
    twisted = _targets.twisted_mixture()
    assert twisted.entropy == plain.entropy
    x, z = twisted.sample(1000, seed=2), plain.sample(1000, seed=2)
    assert np.abs(x - z).max() > 0.5
    np.testing.assert_allclose(twisted.log_prob(x), plain.log_prob(z), rtol=1e-9)


# Methods


@pytest.mark.parametrize("method", [_methods.mixture, _methods.kernels])
def test_methods_keep_the_units_of_the_data(method):
    x = RNG.standard_normal((600, 2)) * [1000, 0.01] + [5, -5]
    score = method(x[100:], x[:100], _methods.Clock(0.1), 0)
    entropy = math.log(2 * math.pi * math.e) + math.log(10)
    assert -score(x).mean() == pytest.approx(entropy, abs=0.3)


def test_training_keeps_the_best_and_the_clock():
    """Steps go past the best of weights, in the 20 that the clock allows."""
    steps, kept, rates = [], [], []

    class Steps(_methods.Clock):
        spent = property(lambda self: len(steps))

    def step(batch, rate):
        steps.append(batch)
        rates.append(rate)

    def score(x):
        return np.full(len(x), -float((len(steps) - 8) ** 2))

    points, clock = np.zeros((64, 1)), Steps(20)
    _methods._train(
        points,
        points[:5],
        clock,
        0,
        step,
        score,
        lambda: kept.append(len(steps)),
        16,
        decay=True,
    )
    assert kept == [0, 0, 4, 8] and len(steps) == 20
    assert {batch.shape for batch in steps} == {(16, 1)}
    assert rates[0] == 1e-3 and rates[10] == 5e-4 and rates[-1] < 1e-5


# Tables


def test_tables_are_read_with_and_without_a_header(tmp_path):
    rows = RNG.standard_normal((20, 3))
    text = "\n".join(",".join(map(repr, row)) for row in rows.tolist())
    (tmp_path / "a.csv").write_text("one,two,three\n" + text)
    with gzip.open(tmp_path / "b.csv.gz", "wt") as file:
        file.write(text)
    np.save(tmp_path / "c.npy", rows)
    for name in ("a.csv", "b.csv.gz", "c.npy"):
        table, test = quality.read_table(tmp_path / name)
        np.testing.assert_array_equal(table, rows)
        assert test is None
    for i, part in enumerate(("train", "val", "test")):
        np.save(tmp_path / f"{part}.npy", rows[5 * i : 5 * i + 5])
    train, test = quality.read_table(tmp_path)
    np.testing.assert_array_equal(train, rows[:10])
    np.testing.assert_array_equal(test, rows[10:15])


def test_tables_become_densities():
    """Integers spread over their cells; what is constant goes; a fifth is held out."""
    n = 5000
    columns = RNG.integers(3, size=n), np.full(n, 7.0), RNG.standard_normal(n)
    train, test = quality.split_table(np.stack(columns, -1), None, seed=0)
    assert train.shape == (4000, 2) and test.shape == (1000, 2)
    np.testing.assert_allclose(train.mean(axis=0), 0, atol=1e-9)
    np.testing.assert_allclose(train.std(axis=0), 1)
    assert len(np.unique(train[:, 0])) == 4000
    assert np.ptp(train[:, 0]) == pytest.approx(3 / math.sqrt(9 / 12), rel=0.05)


def test_results_are_paired(tmp_path):
    truth = RNG.standard_normal(1000)
    np.save(tmp_path / "truth.npy", truth)
    _harness.save(tmp_path, "ours", truth - 0.1, 1.0)
    _harness.save(tmp_path, "mixture", truth - 0.2, 2.0)
    methods = ["ours", "mixture"]
    rows = quality.results(tmp_path, "moons", 0, methods)
    assert rows[1]["above_entropy"] == pytest.approx((0.2, 0), abs=1e-12)
    assert rows[1]["minus_ours"] == pytest.approx((-0.1, 0), abs=1e-12)
    table = quality.density_table(rows, [*methods, "zuko"])
    expected = "| moons | **0.1000** ± 0.0000 | 0.2000 ± 0.0000 | – | 0.50 |"
    assert table.splitlines()[-1] == expected
    assert quality.table_table(rows, methods) == ""


# Recipes


def test_every_recipe_is_measured():
    assert set(recipes.RECIPES) == set(tfpf.recipes.__all__)


@pytest.mark.slow
def test_recipes_are_measured_and_written(tmp_path, monkeypatch):
    """A run as from the command line, with the fits in this process."""

    def run(script, folder, entry, steps, seed):
        recipes.fit(folder, entry, steps, seed)
        return True

    shutil.copy(_harness.DOCS / "choosing.md", tmp_path)
    before = (tmp_path / "choosing.md").read_text(encoding="utf-8")
    monkeypatch.setattr(_harness, "DOCS", tmp_path)
    monkeypatch.setattr(_harness, "run", run)
    monkeypatch.setattr(quality, "TEST_ROWS", 2000)
    for name, value in {"LAYERS": 2, "TIMED": 50, "REPEATS": 1}.items():
        monkeypatch.setattr(recipes, name, value)
    options = argparse.Namespace(
        problems=["two_moons"],
        entries=["gaussian", "AdditiveCoupling"],
        rows=500,
        steps=4,
        seeds=1,
        work=tmp_path / "work",
        write=True,
    )
    recipes.main(options)

    gaussian, couplings = json.loads((tmp_path / "choosing.json").read_text())[
        "results"
    ]
    assert gaussian["parameters"] == 2 * 2 + 2
    # 1 → 64 → 64 → 1, twice.
    assert couplings["parameters"] == 2 * (2 * 64 + 64 * 65 + 65)
    for row in (gaussian, couplings):
        assert row["step_ms"] > 0 and row["log_prob_us"] > 0 and row["sample_us"] > 0
    # Standardized columns alone: short by what two moons differ from a normal.
    mean, error = gaussian["above_truth"]
    assert 0.5 < mean < 3 and 0 < error < 0.1

    after = (tmp_path / "choosing.md").read_text(encoding="utf-8")
    assert after.startswith(before.partition(recipes.BEGIN)[0])
    assert after.endswith(before.partition(recipes.END)[2])
    assert f"| `gaussian` | {mean:.3f} ± {error:.3f} |" in after.replace("**", "")
    assert "| 2 × `AdditiveCoupling` | 8,706 |" in after
    assert recipes.page(after, "again") == recipes.page(before, "again")


def test_numbers_of_the_page_have_two_digits():
    shown = [recipes.short([value]) for value in (0.0123, 0.852, 3.42, 99.0, 1234.0)]
    assert shown == ["0.012", "0.85", "3.4", "99", "1,234"]
    assert recipes.short([1.0, 2.0, 30.0]) == "2.0"
    with pytest.raises(ValueError, match="must hold"):
        recipes.page("a page without its comments", "a table")


# Patches


def test_patches_have_63_numbers_without_their_mean():
    down, across = np.mgrid[:21, :31]
    images = [(4 * down).astype(np.uint8), (5 * across).astype(np.uint8)]
    patches = bsds300.draw_patches(images, 4000, np.random.default_rng(0))
    assert patches.shape == (4000, 63) and patches.dtype == np.float32
    np.testing.assert_allclose(patches.mean(axis=0).sum(), 0.5 * 7.5 / 256, atol=0.5)
    whole = np.append(patches, -patches.sum(axis=1, keepdims=True), axis=1)
    step = np.arange(8) - 3.5
    slopes = whole.reshape(-1, 8, 8)
    vertical = np.abs(slopes.mean(axis=2) - 4 / 256 * step).max(axis=1) < 1 / 256
    horizontal = np.abs(slopes.mean(axis=1) - 5 / 256 * step).max(axis=1) < 1 / 256
    assert vertical.sum() == horizontal.sum() == 2000
    assert (vertical ^ horizontal).all()


def test_the_gaussian_scores_as_a_gaussian(tmp_path, monkeypatch):
    rows = {"train": 3000, "validation": 200, "test": 300}
    monkeypatch.setattr(bsds300, "ROWS", rows)
    for part, count in (("train", 20), ("test", 3)):
        (tmp_path / part).mkdir()
        for i in range(count):
            pixels = RNG.integers(256, size=(30, 40, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / part / f"{i:02}.jpg")
    bsds300.prepare(tmp_path, tmp_path, seed=0)
    train, test = (np.load(tmp_path / f"{part}.npy") for part in ("train", "test"))
    assert train.shape == (3000, 63)
    np.testing.assert_allclose(np.cov(train, rowvar=False), np.eye(63), atol=1e-3)
    score = -(test.astype(float) ** 2).sum(axis=1) / 2 - 31.5 * math.log(2 * math.pi)
    nats, _ = _harness.load(tmp_path, "gaussian")
    np.testing.assert_allclose(nats, score + np.load(tmp_path / "log_det.npy"), 1e-4)
    # Independent pixels: a patch is 64 of them less one direction.
    grey = 255**2 / 12 * (0.299**2 + 0.587**2 + 0.114**2) / 256**2
    assert nats.mean() == pytest.approx(
        -31.5 * math.log(2 * math.pi * math.e * grey), 0.3
    )


# Anomalies


def test_anomalies_are_split_and_judged():
    x = RNG.standard_normal((1000, 3)) * [1, 100, 0] + 5
    y = (np.arange(1000) < 50).astype(int)
    x[:50, 0] += 8
    train, test, labels = anomaly.prepare(x, y, 0, normal_only=False)
    assert train.shape == (700, 2) and test.shape == (300, 2)
    assert labels.sum() == 15
    np.testing.assert_allclose(train.std(axis=0), 1)
    normal, _, _ = anomaly.prepare(x, y, 0, normal_only=True)
    assert len(normal) == 665
    score = anomaly.forest(train[50:], train[:50], _methods.Clock(1), 0)
    assert anomaly.area(score(test), labels) > 0.95
    score = anomaly.neighbors(normal[50:], normal[:50], _methods.Clock(1), 0)
    assert anomaly.area(score(test), labels) > 0.95


def test_area_takes_what_is_no_number_as_most_anomalous():
    labels = np.array([0, 0, 1, 1])
    assert anomaly.area(np.array([-1.0, -2.0, -np.inf, np.nan]), labels) == 1
    assert anomaly.area(np.array([-1.0, -3.0, -2.0, -4.0]), labels) == 0.75


def test_means_over_tables():
    aucs = {"a": [0.8, 0.9], "b": [0.6, 0.6]}
    rows = [
        {"table": name, "seed": seed, "method": "forest", "auc": auc}
        for name, values in aucs.items()
        for seed, auc in enumerate(values)
    ]
    last = anomaly.table(rows, ["ours", "forest"]).splitlines()[-1]
    assert last == "| mean | – | **0.7250** ± 0.0250 |"


# Speed

TINY = _speed_cases.Case("tiny", 4, 2, (8,), 16, 0, 8, 50)


@pytest.mark.slow
def test_contenders_take_the_steps_they_are_timed_for(monkeypatch):
    made = []
    build = _speed_cases.our_flow
    monkeypatch.setattr(
        _speed_cases, "our_flow", lambda *args: made.append(build(*args)) or made[-1]
    )
    entry = _speed_cases.Entry("ours")
    contender = _speed_cases.ours(TINY, entry)
    contender.train(TINY.steps)
    assert int(made[0].optimizer.iterations) == TINY.steps
    x = _speed_cases.points_of(TINY, 50)
    assert contender.log_prob(x).shape == (50,)
    assert contender.sample(50).shape == (50, 4)
    assert contender.device() == "CPU:0"
    for method in ("products", "matrices"):
        _speed_cases.METHODS[method](TINY, entry).train(2)


def test_the_work_of_a_case_is_that_of_its_networks():
    flow = _speed_cases.our_flow(TINY, _speed_cases.Entry("ours"))
    kernels = [w for w in flow.trainable_weights if w.path.endswith("kernel")]
    assert TINY.multiplications == sum(math.prod(w.shape) for w in kernels)


def test_contenders_take_turns(monkeypatch, capsys):
    """With threads in place of processes."""
    monkeypatch.setattr(
        _speed_cases.multiprocessing, "get_context", lambda _: multiprocessing.dummy
    )
    turns = []

    def flow(case, entry):
        if entry.precision == "tf32":
            raise MemoryError("out of it\nand more")
        return _speed_cases.Contender(
            train=lambda n: turns.append((entry.method, n)), device=lambda: "GPU:1"
        )

    methods = {"zuko": flow, "flowjax": flow}
    monkeypatch.setattr(_speed_cases, "METHODS", methods)
    monkeypatch.setattr(_speed_cases, "set_precision", lambda entry: None)
    who = [_speed_cases.Entry("zuko"), _speed_cases.Entry("flowjax")]
    failing = _speed_cases.Entry("zuko", "tf32")
    found = _speed_cases.measure(TINY, [*who, failing], 2)
    assert turns == [("zuko", TINY.steps), ("flowjax", TINY.steps)] * 3
    for entry in who:
        assert list(found[entry].rates) == ["train"]
        assert len(found[entry].rates["train"]) == 2
        assert found[entry].device == "GPU:1"
    assert found[failing].error == "MemoryError: out of it"
    assert "MemoryError" in capsys.readouterr().err


def test_the_table_of_rates():
    rates = {
        "ours": {"train": [300.0, 100.0, 200.0], "log_prob": [4000.0]},
        "zuko": {"train": [50.0], "log_prob": [1000.0]},
        "flowjax": {"train": [100.0], "log_prob": [2000.0]},
    }
    lines = speed.table(speed.CASES["real_nvp_2d"], rates).splitlines()
    assert "| ours | 200 | 2.00 | 4 | 2.00 |  |  |" in lines
    told = speed.page([{"case": "real_nvp_2d", "rates": rates}], (1.23, 2.34))
    assert "starts\n1.2 s after" in told and "after 2.3 s" in told


@pytest.mark.slow
@pytest.mark.parametrize("name", ["", *_speed_cases.OPTIMIZATIONS])
def test_what_makes_ours_fast_can_be_left_out(name, monkeypatch):
    made = []
    build = _speed_cases.our_flow
    monkeypatch.setattr(
        _speed_cases, "our_flow", lambda *args: made.append(build(*args)) or made[-1]
    )
    monkeypatch.setattr(plan, "_STEP_OPERATIONS_FOR_XLA", 0)
    monkeypatch.setattr(plan, "_FIT_OPERATIONS_FOR_XLA", 1e6)
    monkeypatch.setattr(plan, "parts_of", lambda _: 2)
    entry = _speed_cases.Entry("ours-without", without=name)
    _speed_cases.ours_without(TINY, entry).train(TINY.steps)
    (flow,) = made
    found = flow._trainer.plan
    expected = {
        "fused-adam": getattr(flow.optimizer, "packing", None) is not None,
        "rows-in-memory": found.rows_in_memory,
        "parts": found.parts == 2,
        "many-steps": found.steps_per_call > 1,
        "xla": found.jit_compile,
    }
    gone = {name, "parts"} if name == "rows-in-memory" else {name}
    assert expected == {each: each not in gone for each in _speed_cases.OPTIMIZATIONS}
    assert int(flow.optimizer.iterations) == TINY.steps
    assert trainer.make_plan is plan.make_plan


def test_speedups_are_those_of_pairs_of_rounds():
    def measured(*rates):
        return _speed_cases.Measured({"train": list(rates)})

    found = {
        _speed_cases.Entry("ours-without"): measured(10.0, 30.0, 20.0),
        _speed_cases.Entry("ours-without", without="parts"): measured(5.0, 10.0, 5.0),
        _speed_cases.Entry("ours-without", without="rows-in-memory"): measured(
            5.0, 4.0, 2.5
        ),
    }
    ratios = speed.speedups(found)
    assert ratios == {"parts": [2.0, 3.0, 4.0], "rows-in-memory": [1.0, 2.5, 2.0]}
    table = speed.table_of_optimizations([{"case": "real_nvp_2d", "speedups": ratios}])
    assert "| parts | 3.00 (2.00 to 4.00) |" in table
    assert "| rows-in-memory | 2.00 (1.00 to 2.50) |" in table


@pytest.mark.slow
def test_the_first_steps_of_a_process():
    begin, end = speed.first_steps(1)
    assert 0 < begin < end


# GPU


@pytest.mark.slow
def test_the_gpu_benchmark_runs_on_a_cpu(tmp_path, monkeypatch, capsys):
    """A run as from the command line, of one flow, with a thread for each process."""
    monkeypatch.setattr(
        _speed_cases.multiprocessing, "get_context", lambda _: multiprocessing.dummy
    )
    monkeypatch.setattr(gpu, "devices", lambda: ["TensorFlow 2 built for CUDA none"])
    shutil.copy(_harness.DOCS / "gpu.md", tmp_path)
    monkeypatch.setattr(_harness, "DOCS", tmp_path)
    words = ["--cases", "real_nvp_2d", "--batches", "small", "--methods", "ours"]
    gpu.main(gpu.arguments([*words, "--rounds", "1", "--write"]))

    assert "sees no GPU" in capsys.readouterr().out
    found = json.loads((tmp_path / "gpu.json").read_text())["results"]
    assert set(found["matrices"]) == {"float32", "mixed"}
    (flow,) = found["flows"]
    settings = [(m["precision"], m["xla"]) for m in flow["measured"]]
    assert settings == [(p, xla) for p in ("float32", "mixed") for xla in (False, True)]
    for measured in flow["measured"]:
        assert not measured["error"] and measured["device"] == "CPU:0"
        assert set(measured["rates"]) == {"train", "log_prob", "sample"}
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "**Measured on a CPU only**" in page
    assert "| ours | mixed bfloat16 | yes | CPU:0 |" in page


def test_peers_on_another_device_are_no_peers():
    case = _speed_cases.CASES["real_nvp_2d"]
    rates = {"train": [100.0], "log_prob": [2000.0], "sample": [1000.0]}

    def measured(factor, device):
        faster = {task: [factor * rate[0]] for task, rate in rates.items()}
        return _speed_cases.Measured(faster, device)

    found = {
        _speed_cases.Entry("ours", "tf32", True): measured(3, "GPU:0 (some)"),
        _speed_cases.Entry("zuko", "tf32"): measured(1, "GPU:0 (some)"),
        _speed_cases.Entry("flowjax", "tf32"): measured(9, "CPU:0"),
        _speed_cases.Entry("zuko", "float32"): _speed_cases.Measured(error="No memory"),
    }
    most = 6 * case.batch_size * case.multiplications * 3000.0
    ours, zuko, flowjax, failed = gpu.table(
        case, found, {"tf32": most}, "GPU"
    ).splitlines()[-4:]
    assert ours.startswith(
        "| ours | float32, TF32 on | yes | GPU:0 | 300 | 3.00 | 10.0 | 6 | 3.00 |"
    )
    assert "| GPU:0 | 100 | 1.00 |" in zuko
    assert "| CPU:0 | 900 |  |" in flowjax
    assert "No memory" in failed


@pytest.mark.slow
def test_precisions_are_compared(tmp_path, monkeypatch):
    shutil.copy(_harness.DOCS / "gpu.md", tmp_path)
    monkeypatch.setattr(_harness, "DOCS", tmp_path)
    for name, value in {"RECIPES": ("real_nvp",), "DENSITIES": ("two_moons",)}.items():
        monkeypatch.setattr(mixed_precision, name, value)
    monkeypatch.setattr(mixed_precision, "FRESH", 2000)
    mixed_precision.main(
        mixed_precision.arguments(["--steps", "8", "--seeds", "1", "--write"])
    )
    page = (tmp_path / "gpu.md").read_text(encoding="utf-8")
    assert "| `real_nvp` | two_moons | 0 |" in page
    assert gpu.BEGIN in page and "by 8 steps of 250" in page


# Scaling


def test_exponents_are_those_of_the_upper_half():
    sizes = [1, 2, 4, 8, 16]
    assert scaling.exponent(sizes, [9, 9, 4**1.5, 8**1.5, 16**1.5]) == pytest.approx(
        1.5
    )


def test_what_grows_too_fast_is_marked():
    slow = [{"size": n, "training": n, "log_prob": n, "sample": n} for n in (2, 4, 8)]
    fast = [{**row, "sample": row["size"] ** 2} for row in slow]
    assert "too fast" not in scaling.shown("layers", slow)
    assert "| exponent | 1.00 | 1.00 | **2.00, too fast** |" in scaling.shown(
        "layers", fast
    )
    assert "| exponent | 1.00 | 1.00 | 2.00 |" in scaling.shown("maf", fast)


def options_of(monkeypatch, tmp_path, **given):
    """Those of a run that writes into a copy of docs/."""
    shutil.copy(_harness.DOCS / "scaling.md", tmp_path)
    (tmp_path / "figures").mkdir()
    monkeypatch.setattr(_harness, "DOCS", tmp_path)
    return argparse.Namespace(write=True, rounds=1, **given)


@pytest.mark.slow
def test_costs_are_measured_and_written(tmp_path, monkeypatch):
    small = {
        name: dataclasses.replace(
            scaling.TABLES[name],
            values=(2, 3, 4),
            setting=lambda n, asked=scaling.TABLES[name].setting: dataclasses.replace(
                asked(n), steps=2, per=2
            ),
        )
        for name in ("layers", "batch")
    }
    monkeypatch.setattr(scaling, "TABLES", small)
    options = options_of(monkeypatch, tmp_path, tables=list(small))
    scaling.measure_tables(options)
    results = json.loads((tmp_path / "scaling.json").read_text())["results"]
    assert [row["size"] for row in results["layers"]] == [2, 3, 4]
    for row in results["layers"]:
        assert min(row["training"], row["log_prob"], row["sample"]) > 0
    assert set(results["batch"][0]) == {"size", "training"}
    page = (tmp_path / "scaling.md").read_text()
    assert "### Layers" in page and "### Rows a step" in page
    assert page.count(scaling.END) == 2


@pytest.mark.slow
def test_memory_is_watched_while_rows_are_streamed(tmp_path, monkeypatch):
    monkeypatch.setattr(_memory, "SHARD", 20_000)
    options = options_of(
        monkeypatch,
        tmp_path,
        memory=tmp_path / "shards",
        rows=70_000,
        width=3,
        batch_size=500,
    )
    scaling.measure_memory(options)
    sizes = [len(np.load(path)) for path in sorted(options.memory.iterdir())]
    assert sizes == [20_000, 20_000, 20_000, 10_000]
    found = json.loads((tmp_path / "scaling_memory.json").read_text())
    assert found["rows"] == 70_000 and found["rows_mb"] == pytest.approx(0.8, abs=0.01)
    # Below zero where what other tests left is freed meanwhile.
    assert found["growth_mb"] < 100
    assert 0 < found["nats_above_entropy"] < 0.5
    assert (tmp_path / "figures" / "scaling_memory.png").stat().st_size > 1000
    assert "70,000 rows of 3 columns" in (tmp_path / "scaling.md").read_text()
    monkeypatch.setattr(
        _memory.shutil, "disk_usage", lambda folder: argparse.Namespace(free=1000)
    )
    with pytest.raises(OSError, match="has room for 1,000 bytes"):
        _memory.generate(tmp_path / "others", 70_000, 3)
