"""How fast do flows train, score and sample? Beside zuko, normflows and flowjax.

Every library has a process of its own, which is set up and compiled first; then they
take turns, round by round, so that what disturbs the machine disturbs them all. Rates
are medians over the rounds. Ours is `flow.compile("adam")` and `flow.fit(x,
batch_size=...)` with nothing else set; `keras` is the same flow in a Keras model of its
own, by Keras's plain `fit`; the peers' loops are those of their documentation, with
the rows on hand as one tensor. `products` does the matrix products of a step and
nothing else. How soon a fit has taken its first steps is measured in fresh processes.
`--write` writes docs/speed.md and docs/speed.json.

`--without` measures instead what each optimization of training brings, by leaving it
out: all flows are in one process and take turns, and each round gives a
ratio. `--write` then writes the table to docs/speed.md, and docs/speed_without.json.

Run: python tests/benchmarks/speed.py [--cases real_nvp_2d ...] [--rounds 5]
    [--methods ours zuko ...] [--without all | NAME ...] [--write]
"""

import argparse
import dataclasses
import statistics
import subprocess
import sys

import _harness
from _speed_cases import (
    CASES,
    COMPARED_WITH,
    METHODS,
    OPTIMIZATIONS,
    PEERS,
    Case,
    Entry,
    Measured,
    measure,
)

NAMES = [name for name in METHODS if name not in ("matrices", "ours-without")]

# Between these comments stands the table of `--without` in docs/speed.md.
PAGE = _harness.DOCS / "speed.md"
BEGIN, END = (
    "<!-- optimizations by tests/benchmarks/speed.py -->",
    "<!-- until here -->",
)

OPTIMIZATIONS_TEXT = """\
[Training](training.md) says what makes a fit fast. Each of these optimizations is left
out in turn, in a fit that is as long as XLA needs to pay: how many times as fast is
training with it? The numbers are medians of paired rounds, with the lowest and the
highest. What rows in memory bring is measured without parts, since batches of a dataset
are not cut into parts."""

# Prints seconds from the end of the imports to the start of the first epoch, and to the
# end of the first call, which takes several steps.
_FIRST = """
import time
import keras, numpy as np
import tfp_flows as tfpf

class Clock(keras.callbacks.Callback):
    def on_epoch_begin(self, epoch, logs=None):
        print(time.perf_counter() - begin)

    def on_train_batch_end(self, batch, logs=None):
        if not ended:
            ended.append(time.perf_counter() - begin)

ended, x = [], np.random.default_rng(0).normal(size=(25_600, 2))
begin = time.perf_counter()
flow = tfpf.recipes.real_nvp(2, layers=6, hidden=(128, 128), seed=0)
flow.compile("adam")
flow.fit(x, batch_size=256, callbacks=[Clock()], verbose=0)
print(ended[0])
"""


def first_steps(runs: int) -> tuple[float, float]:
    """Returns median seconds to the first epoch, and to the end of its first call."""
    found = []
    for _ in range(runs):
        command = [sys.executable, "-c", _FIRST]
        done = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append([float(line) for line in done.stdout.split()[-2:]])
    begin, end = (statistics.median(seconds) for seconds in zip(*found, strict=True))
    return begin, end


def table(case: Case, rates: dict[str, dict]) -> str:
    """Returns medians, and how many times the fastest peer each is."""
    lines = [
        f"## {case.title}",
        "",
        f"Steps a second, and thousands of points a second ({case.points:,} of them"
        + (f"; peers {case.peers_points:,})." if case.peers_points else ")."),
        "",
        "| | training | × | log_prob | × | sample | × |",
        "|---|---|---|---|---|---|---|",
    ]
    medians = {
        method: {task: statistics.median(values) for task, values in tasks.items()}
        for method, tasks in rates.items()
    }
    for method, found in medians.items():
        cells = []
        for task, unit in (("train", 1), ("log_prob", 1000), ("sample", 1000)):
            peers = [m[task] for p, m in medians.items() if p in PEERS and task in m]
            if task not in found:
                cells += ["", ""]
                continue
            cells.append(f"{found[task] / unit:,.0f}")
            cells.append(f"{found[task] / max(peers):.2f}" if peers else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def optimizations_block() -> str:
    """Returns the table of `--without` that docs/speed.md has."""
    return PAGE.read_text("utf-8").partition(BEGIN)[2].partition(END)[0].strip()


def page(results: list[dict], first: tuple[float, float]) -> str:
    """Returns docs/speed.md."""
    tables = "\n".join(table(CASES[r["case"]], r["rates"]) for r in results)
    return f"""# How fast

The rates are medians over rounds in which the libraries take turns, and × is the
ratio to the fastest of zuko, normflows and flowjax in the same rounds. `ours` is
`flow.compile("adam")` and `flow.fit(x, batch_size=...)` with nothing else set. Its
times include feeding the data, shuffling and the history, and XLA computes all but
the last of the points that it scores and draws. `keras` is the same flow, trained by
Keras's plain `fit`. `products` computes the matrix products of a step and nothing
else, so no flow with these networks can train faster. The peers' rates do not depend
on the number of points, which they take in chunks of 65,536.

{tables}
## What each optimization brings

{OPTIMIZATIONS_TEXT}

{BEGIN}

{optimizations_block()}

{END}

## The first steps

A RealNVP of the first table is made, compiled and fitted. Its first epoch starts
{first[0]:.1f} s after the imports, and the first call, which takes a tenth of a
second's steps, ends after {first[1]:.1f} s. These are medians over fresh processes.

{_harness.made_by(__file__)}
"""


def speedups(found: dict[Entry, Measured]) -> dict[str, list[float]]:
    """Returns how many times as fast ours is with each optimization, by rounds."""
    rates = {e.without: m.rates["train"] for e, m in found.items() if not m.error}
    return {
        name: [
            with_it / without
            for with_it, without in zip(
                rates[COMPARED_WITH.get(name, "")], rates[name], strict=True
            )
        ]
        for name in rates
        if name
    }


def table_of_optimizations(results: list[dict]) -> str:
    """Returns the medians of `speedups`, with their range over the rounds."""
    titles = [CASES[result["case"]].title for result in results]
    lines = [
        f"| | {' | '.join(titles)} |",
        f"|---|{'---|' * len(titles)}",
    ]
    for name in results[0]["speedups"]:
        cells = [
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})"
            for ratios in (result["speedups"][name] for result in results)
        ]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return "\n".join(lines)


def without(names: list[str], cases: list[str], rounds: int) -> list[dict]:
    """Measures ours with all optimizations, and without each of some."""
    names = [n for n in OPTIMIZATIONS if n in names or "all" in names]
    left_out = dict.fromkeys(["", *map(COMPARED_WITH.get, names), *names])
    entries = [Entry("ours-without", without=n) for n in left_out if n is not None]
    results = []
    for each in cases:
        # A third of the steps is enough, since the ratios are paired.
        case = dataclasses.replace(CASES[each], steps=CASES[each].steps // 12 * 4)
        found = measure(case, entries, rounds, tasks=["train"])
        ratios = speedups(found)
        ratios = {name: ratios[name] for name in names}
        results.append({"case": each, "speedups": ratios})
        print(table_of_optimizations(results[-1:]), flush=True)
    return results


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--without", nargs="+", choices=["all", *OPTIMIZATIONS])
    parser.add_argument("--write", action="store_true", help="the page in docs/")
    options = parser.parse_args()
    if options.without:
        results = without(options.without, options.cases, options.rounds)
        if options.write:
            block = f"{table_of_optimizations(results)}\n\n{_harness.made_by(__file__)}"
            text = _harness.between(PAGE.read_text("utf-8"), BEGIN, END, block)
            PAGE.write_text(text, encoding="utf-8")
            _harness.write_results("speed_without", results)
        raise SystemExit
    results = []
    for name in options.cases:
        entries = [Entry(method) for method in options.methods]
        found = measure(CASES[name], entries, options.rounds)
        rates = {entry.method: measured.rates for entry, measured in found.items()}
        results.append({"case": name, "rates": rates})
        print(table(CASES[name], rates), flush=True)
    first = first_steps(options.rounds)
    print(f"first epoch after {first[0]:.2f} s, first call after {first[1]:.2f} s")
    if options.write:
        _harness.write("speed", page(results, first), results)
