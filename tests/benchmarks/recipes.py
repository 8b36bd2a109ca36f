"""What does each recipe cost, and how well does it fit after equal training?

Every recipe at its defaults, and couplings that differ in nothing but their kind, get
the same points and the same steps, each in a process of its own. The tables show the
numbers that are learned, the time of a training step, of log_prob and of sampling, and
nats above the truth on fresh points. What is measured stays in the folder `--work`,
where a run goes on from what is there; `--write` writes the tables into
docs/choosing.md, between its two comments, and docs/choosing.json. Times want a quiet
machine.

Run: python tests/benchmarks/recipes.py [--steps 2000] [--rows 20000] [--seeds 1]
    [--entries neural_spline ...] [--problems two_moons ...] [--work FOLDER] [--write]
"""

import argparse
import json
import math
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import _harness
import _targets
import keras
import numpy as np
import quality

import tfp_flows as tfpf
from tfp_flows import bijectors

RECIPES = (
    "gaussian",
    "nice",
    "real_nvp",
    "neural_spline",
    "maf",
    "iaf",
    "neural_spline_autoregressive",
    "planar",
    "residual",
    "continuous",
    "gaussianization",
)
KINDS = {
    "AdditiveCoupling": bijectors.AdditiveCoupling,
    "AffineCoupling": bijectors.AffineCoupling,
    "SplineCoupling": bijectors.SplineCoupling,
    "MixtureCDFCoupling": bijectors.MixtureCDFCoupling,
}
ENTRIES = (*RECIPES, *KINDS)
PROBLEMS = ("two_moons", "checkerboard", "twisted_mixture")

LAYERS, HIDDEN = 6, (64, 64)  # of the couplings of one kind
BATCH_SIZE = 250
RATE = 2e-3
TIMED, REPEATS = 10_000, 5  # points a call, calls

BEGIN = "<!-- written by tests/benchmarks/recipes.py -->"
END = "<!-- until here -->"


# One fit


def make(entry: str, event_size: int, seed: int) -> tfpf.Flow:
    """Returns a recipe at its defaults, or couplings of one kind."""
    if entry in RECIPES:
        return getattr(tfpf.recipes, entry)(event_size, seed=seed)
    couplings = [
        KINDS[entry](flip=i % 2 == 1, hidden=HIDDEN, seed=1000 * seed + 10 * i)
        for i in range(LAYERS)
    ]
    return tfpf.Flow([*couplings, bijectors.Standardize()], event_size=event_size)


class Stopwatch(keras.callbacks.Callback):
    """Seconds of every epoch."""

    def __init__(self) -> None:
        super().__init__()
        self.seconds: list[float] = []

    def on_epoch_begin(self, epoch: int, logs: dict | None = None) -> None:
        self._begin = time.perf_counter()

    def on_epoch_end(self, epoch: int, logs: dict | None = None) -> None:
        self.seconds.append(time.perf_counter() - self._begin)


def measure(
    entry: str, train: np.ndarray, test: np.ndarray, truth: np.ndarray, steps: int, seed
) -> dict:
    """Fits, and returns what that cost and reached.

    The epochs are whole, two at least; the first one, which compiles, is not timed.
    """
    keras.utils.set_random_seed(seed)
    flow = make(entry, train.shape[1], seed)
    batches = len(train) // BATCH_SIZE
    epochs = max(round(steps / batches), 2)
    rate = keras.optimizers.schedules.CosineDecay(RATE, epochs * batches)
    flow.compile(keras.optimizers.Adam(rate, global_clipnorm=1.0))
    watch = Stopwatch()
    flow.fit(
        train[: batches * BATCH_SIZE],
        batch_size=BATCH_SIZE,
        epochs=epochs,
        verbose=0,
        callbacks=[watch],
    )
    points = test[:TIMED]
    learned = sum(math.prod(weight.shape) for weight in flow.trainable_variables)
    return {
        "event_size": train.shape[1],
        "parameters": learned,
        "step_ms": 1e3 * float(np.median(watch.seconds[1:])) / batches,
        "log_prob_us": microseconds(lambda: flow.log_prob(points), len(points)),
        "sample_us": microseconds(
            lambda: flow.sample(len(points), seed=0), len(points)
        ),
        "above_truth": _harness.mean_and_error(truth - flow.log_prob(test).numpy()),
    }


def microseconds(call: Callable[[], object], points: int) -> float:
    """Returns the median time of a call for each of its points, compiled before."""
    call()
    seconds = []
    for _ in range(REPEATS):
        begin = time.perf_counter()
        call()
        seconds.append(time.perf_counter() - begin)
    return 1e6 * float(np.median(seconds)) / points


def fit(folder: Path, entry: str, steps: int, seed: int) -> None:
    """Measures on train.npy, test.npy and truth.npy of a folder, and writes a row."""
    train, test = (
        np.load(folder / f"{part}.npy").astype("float32") for part in ("train", "test")
    )
    row = measure(entry, train, test, np.load(folder / "truth.npy"), steps, seed)
    (folder / f"{entry}.json").write_text(json.dumps(row))


# The page


def cost_table(rows: list[dict]) -> str:
    """Returns what each entry costs, for every width of the points, as Markdown."""
    sizes = sorted({row["event_size"] for row in rows})
    widths = " / ".join(f"{size}-d" for size in sizes)
    titles = ("numbers learned", "a step, ms", "log_prob, µs", "a sample, µs")
    keys = ("parameters", "step_ms", "log_prob_us", "sample_us")
    lines = [
        f"| {widths} | {' | '.join(titles)} |",
        "|---" * (1 + len(titles)) + "|",
    ]
    for entry in entries_of(rows):
        cells = []
        for key in keys:
            values = [
                [r[key] for r in rows if (r["entry"], r["event_size"]) == (entry, size)]
                for size in sizes
            ]
            as_text = whole if key == "parameters" else short
            cells.append(" / ".join(as_text(v) if v else "–" for v in values))
        lines.append(f"| {label(entry)} | {' | '.join(cells)} |")
    return "\n".join(lines)


def quality_table(rows: list[dict]) -> str:
    """Returns nats above the truth, lower is better, as Markdown."""
    problems = quality.unique(rows)
    lines = [f"| | {' | '.join(problems)} |", "|---" * (1 + len(problems)) + "|"]
    cells = {
        (entry, problem): quality.over_seeds(
            [r for r in rows if (r["entry"], r["problem"]) == (entry, problem)],
            "above_truth",
        )
        for entry in entries_of(rows)
        for problem in problems
    }
    for entry in entries_of(rows):
        shown = []
        for problem in problems:
            cell = cells[entry, problem]
            means = [c[0] for (_, p), c in cells.items() if p == problem and c]
            bold = "**" if cell and cell[0] == min(means) else ""
            text = f"{bold}{cell[0]:.3f}{bold} ± {cell[1]:.3f}" if cell else "–"
            shown.append(text)
        lines.append(f"| {label(entry)} | {' | '.join(shown)} |")
    return "\n".join(lines)


def entries_of(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(row["entry"] for row in rows))


def label(entry: str) -> str:
    return f"`{entry}`" if entry in RECIPES else f"{LAYERS} × `{entry}`"


def whole(values: list[int]) -> str:
    return f"{values[0]:,}"


def short(values: list[float]) -> str:
    """Returns the median with two digits that count."""
    value = float(np.median(values))
    return f"{value:,.{max(1 - math.floor(math.log10(value)), 0)}f}"


def block(rows: list[dict], options: argparse.Namespace) -> str:
    """Returns what docs/choosing.md tells of the measurement."""
    hidden = "×".join(map(str, HIDDEN))
    seeds = "one seed" if options.seeds == 1 else f"{options.seeds} seeds"
    errors = "that of the test points" if options.seeds == 1 else "that of the seeds"
    return f"""Recipes have their defaults. Couplings of one kind, {LAYERS} of {hidden}
with alternating masks and then `Standardize`, differ in nothing but the kind. All are
fitted to the same {options.rows:,} points by about {options.steps:,} steps of Adam
({RATE:g}, cosine decay, global gradient norm clipped at 1), batches of {BATCH_SIZE},
{seeds}: equal training, not the best for each.

**Cost.** A training step of {BATCH_SIZE} points, in milliseconds; `log_prob` and
`sample` of {TIMED:,} points at once, in microseconds for each of them, by the fitted
flow. Medians, after compiling.

{cost_table(rows)}

**Quality.** Nats above the truth on {quality.TEST_ROWS:,} fresh points, lower is
better; the error is {errors}. `twisted_mixture` (10-d) is in
`tests/benchmarks/_targets.py`, the others (2-d) in `tfpf.densities`.

{quality_table(rows)}

{_harness.made_by(__file__)}"""


def page(text: str, block: str) -> str:
    """Returns a page with what stands between its two comments replaced."""
    return _harness.between(text, BEGIN, END, block)


def main(options: argparse.Namespace) -> None:
    """Measures what is not measured yet, prints the tables, writes them when asked."""
    rows = []
    for problem in options.problems:
        for seed in range(options.seeds):
            folder = options.work / f"{problem}-{options.rows}-{options.steps}-{seed}"
            if not (folder / "truth.npy").exists():
                folder.mkdir(parents=True, exist_ok=True)
                quality.prepare(folder, problem, options.rows, seed)
            for entry in options.entries:
                if not _harness.run(__file__, folder, entry, options.steps, seed):
                    continue
                row = {"entry": entry, "problem": problem, "seed": seed}
                row |= json.loads((folder / f"{entry}.json").read_text())
                print(json.dumps(row), flush=True)
                rows.append(row)
    print(f"{cost_table(rows)}\n\n{quality_table(rows)}")
    if options.write:
        text = (_harness.DOCS / "choosing.md").read_text(encoding="utf-8")
        _harness.write("choosing", page(text, block(rows, options)), rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--steps", type=int, default=2000)
    parser.add_argument("--rows", type=int, default=20_000, help="to fit")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    parser.add_argument("--entries", nargs="+", choices=ENTRIES, default=ENTRIES)
    names = _targets.names()
    parser.add_argument("--problems", nargs="+", choices=names, default=PROBLEMS)
    parser.add_argument("--work", type=Path, help="folder of the rows; temporary")
    parser.add_argument("--write", action="store_true", help="into docs/")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        where, which, count, number = sys.argv[2:]
        fit(Path(where), which, int(count), int(number))
    else:
        given = arguments()
        with tempfile.TemporaryDirectory() as temporary:
            given.work = given.work or Path(temporary)
            main(given)
