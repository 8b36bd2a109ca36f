"""How does cost grow with columns, layers, rows a step and rows? Is memory flat?

Each table takes one size through its range, and holds the others. Times are medians
after compiling; the exponent is the slope of their logarithms over the upper half of
the range: 1 where cost is proportional to size. What grows faster than it need is
marked. `--write` writes the tables into docs/scaling.md, between their comments, and
docs/scaling.json, where tables that are not measured anew stay as they are. Times want
a quiet machine.

`--memory FOLDER` generates shards in a folder (50 million rows of 8 columns: 1.6 GB),
streams one epoch of them, and notes the resident memory; with `--write` also into the
page, docs/scaling_memory.json and docs/figures/scaling_memory.png.

Run: python tests/benchmarks/scaling.py [--tables real_nvp ...] [--rounds 5] [--write]
    [--memory FOLDER] [--rows 50000000] [--width 8] [--batch-size 16384]
"""

import argparse
import dataclasses
import json
import os
import statistics
import time
from collections.abc import Callable
from pathlib import Path

import _harness
import _memory
import numpy as np

BEGIN = "<!-- tables of tests/benchmarks/scaling.py -->"
BEGIN_MEMORY = "<!-- memory by tests/benchmarks/scaling.py -->"
END = "<!-- until here -->"

STEPS = 16  # of an epoch that is timed
FASTER = 0.15  # an exponent beyond the expected one by more is marked
TASKS = ("training", "log_prob", "sample")


@dataclasses.dataclass(frozen=True)
class Setting:
    """What is measured at one size.

    Attributes:
      recipe: of the flow.
      width: columns.
      layers: of the flow, with networks of 64×64.
      batch_size: rows a step.
      steps: of an epoch; its time is divided by `per`.
      per: by what the time of an epoch is divided.
      points: that are scored and sampled; 0 for neither.
    """

    recipe: str = "real_nvp"
    width: int = 16
    layers: int = 4
    batch_size: int = 256
    steps: int = STEPS
    per: int = STEPS
    points: int = 4096


@dataclasses.dataclass(frozen=True)
class Table:
    """One size through its range.

    Attributes:
      title: of the table.
      size: what the first column is called.
      values: of it.
      setting: from a value.
      unit: of the training column.
      expected: exponents other than 1, by task, and why.
    """

    title: str
    size: str
    values: tuple[int, ...]
    setting: Callable[[int], Setting]
    unit: str = "ms a step"
    expected: dict[str, tuple[float, str]] = dataclasses.field(default_factory=dict)


WIDTHS = (2, 4, 8, 16, 32, 64, 128, 256, 512)
PASSES = {"sample": (2.0, "one pass a column, each through all columns")}
TABLES = {
    **{
        recipe: Table(
            f"Columns, `{recipe}`",
            "columns",
            WIDTHS,
            lambda width, recipe=recipe: Setting(recipe, width=width),
            expected=PASSES if recipe == "maf" else {},
        )
        for recipe in ("real_nvp", "neural_spline", "maf")
    },
    "layers": Table(
        "Layers, `real_nvp` of 16 columns",
        "layers",
        (2, 4, 8, 16, 32),
        lambda layers: Setting(layers=layers),
    ),
    "batch": Table(
        "Rows a step, `real_nvp` of 16 columns",
        "rows a step",
        (64, 256, 1024, 4096, 16384),
        lambda rows: Setting(batch_size=rows, points=0),
    ),
    "rows": Table(
        "Rows, `real_nvp` of 16 columns",
        "rows",
        (10_000, 30_000, 100_000, 300_000, 1_000_000),
        lambda rows: Setting(batch_size=1000, steps=rows // 1000, per=1, points=rows),
        unit="ms an epoch",
    ),
}


def measure(setting: Setting, rounds: int) -> dict[str, float]:
    """Returns seconds of a training step or epoch, of log_prob and of sampling."""
    import keras

    import tfp_flows as tfpf

    class Stopwatch(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
            self.begin = time.perf_counter()

        def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
            seconds.append(time.perf_counter() - self.begin)

    keras.utils.clear_session()
    rows = setting.batch_size * setting.steps
    x = np.random.default_rng(0).normal(size=(rows, setting.width)).astype("float32")
    recipe = getattr(tfpf.recipes, setting.recipe)
    flow = recipe(setting.width, layers=setting.layers, hidden=(64, 64), seed=0)
    flow.compile("adam", jit_compile=False)  # XLA would come in at some sizes only
    seconds: list[float] = []
    flow.fit(
        x,
        batch_size=setting.batch_size,
        epochs=rounds + 1,
        callbacks=[Stopwatch()],
        verbose=0,
    )
    found = {"training": statistics.median(seconds[1:]) / setting.per}
    if setting.points:
        points = np.resize(x, (setting.points, setting.width))
        found["log_prob"] = timed(lambda: flow.log_prob(points), rounds)
        found["sample"] = timed(lambda: flow.sample(setting.points, seed=0), rounds)
    return found


def timed(task: Callable, rounds: int) -> float:
    """Returns the median of seconds, after a first call."""
    seconds = []
    for _ in range(rounds + 1):
        begin = time.perf_counter()
        task()
        seconds.append(time.perf_counter() - begin)
    return statistics.median(seconds[1:])


def exponent(sizes: list[int], seconds: list[float]) -> float:
    """Returns the slope of log seconds over log size, in the upper half."""
    half = len(sizes) // 2
    return float(np.polyfit(np.log(sizes[half:]), np.log(seconds[half:]), 1)[0])


def shown(name: str, rows: list[dict]) -> str:
    """Returns a table of the page."""
    table = TABLES[name]
    tasks = [task for task in TASKS if task in rows[0]]
    units = [table.unit if task == "training" else "ms" for task in tasks]
    heads = [f"{task}, {unit}" for task, unit in zip(tasks, units, strict=True)]
    lines = [
        f"### {table.title}",
        "",
        f"| {table.size} | {' | '.join(heads)} |",
        "|---" * (1 + len(tasks)) + "|",
    ]
    for row in rows:
        cells = [_three_digits(1000 * row[task]) for task in tasks]
        lines.append(f"| {row['size']:,} | {' | '.join(cells)} |")
    cells, notes = [], []
    for task in tasks:
        slope = exponent([r["size"] for r in rows], [r[task] for r in rows])
        expected, why = table.expected.get(task, (1.0, ""))
        is_fast = slope > expected + FASTER
        cells.append(f"**{slope:.2f}, too fast**" if is_fast else f"{slope:.2f}")
        if why:
            notes.append(f"Of `{task}` an exponent of {expected:g} is expected: {why}.")
    lines.append(f"| exponent | {' | '.join(cells)} |")
    return "\n".join([*lines, "", *notes, ""] if notes else [*lines, ""])


def _three_digits(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"


def block(results: dict[str, list[dict]]) -> str:
    """Returns what docs/scaling.md tells of the costs."""
    tables = "\n".join(shown(name, rows) for name, rows in results.items())
    return f"{tables}\n{_harness.made_by(__file__)}"


def write_page(begin: str, text: str) -> None:
    """Writes a part of docs/scaling.md, between its comments."""
    path = _harness.DOCS / "scaling.md"
    page = path.read_text(encoding="utf-8")
    path.write_text(_harness.between(page, begin, END, text), encoding="utf-8")


def measure_tables(options: argparse.Namespace) -> None:
    stored = _harness.DOCS / "scaling.json"
    results: dict[str, list[dict]] = {}
    if set(options.tables) != set(TABLES) and stored.exists():  # the others stay
        results = json.loads(stored.read_text())["results"]
    for name in options.tables:
        results[name] = []
        for size in TABLES[name].values:
            found = measure(TABLES[name].setting(size), options.rounds)
            results[name].append({"size": size, **found})
            print(name, json.dumps(results[name][-1]), flush=True)
        print(shown(name, results[name]), flush=True)
    if options.write:
        write_page(BEGIN, block(results))
        record = {"machine": _harness.machine(), "results": results}
        text = json.dumps(record, indent=1) + "\n"
        stored.write_text(text)


def measure_memory(options: argparse.Namespace) -> None:
    _memory.generate(options.memory, options.rows, options.width)
    found = _memory.measure(options.memory, options.batch_size)
    name = "scaling_memory"
    text = _memory.block(found, f"{name}.png", _harness.made_by(__file__))
    print(text)
    if options.write:
        write_page(BEGIN_MEMORY, text)
        _memory.draw(found, _harness.DOCS / "figures" / f"{name}.png")
        record = {"machine": _harness.machine(), **found}
        (_harness.DOCS / f"{name}.json").write_text(json.dumps(record) + "\n")


if __name__ == "__main__":
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--tables", nargs="+", choices=TABLES, default=list(TABLES))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--memory", type=Path, metavar="FOLDER", help="of the shards")
    parser.add_argument("--rows", type=int, default=50_000_000, help="in the folder")
    parser.add_argument("--width", type=int, default=8, help="of the rows")
    parser.add_argument("--batch-size", type=int, default=16_384)
    parser.add_argument("--write", action="store_true", help="into docs/")
    given = parser.parse_args()
    (measure_memory if given.memory else measure_tables)(given)
