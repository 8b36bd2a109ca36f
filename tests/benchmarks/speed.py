"""How fast do flows train, score and sample? Beside zuko, normflows and flowjax.

Every library has a process of its own, which is set up and compiled first; then they
take turns, round by round, so that what disturbs the machine disturbs them all. Rates
are medians over the rounds. Ours is `flow.compile("adam")` and `flow.fit(x,
batch_size=...)` with nothing else set; `keras` is the same flow in a Keras model of its
own, by Keras's plain `fit`; the peers' loops are those of their documentation, with
the rows on hand as one tensor. `products` does the matrix products of a step and
nothing else. How soon a fit has taken its first steps is measured in fresh processes.
`--write` writes docs/speed.md and docs/speed.json.

Run: python tests/benchmarks/speed.py [--cases real_nvp_2d ...] [--rounds 5]
    [--methods ours zuko ...] [--write]
"""

import argparse
import statistics
import subprocess
import sys

import _harness
from _speed_cases import CASES, METHODS, PEERS, Case, Entry, measure

NAMES = [name for name in METHODS if name != "matrices"]

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
        told = subprocess.run(command, check=True, capture_output=True, text=True)
        found.append([float(line) for line in told.stdout.split()[-2:]])
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


def page(results: list[dict], first: tuple[float, float]) -> str:
    """Returns docs/speed.md."""
    tables = "\n".join(table(CASES[r["case"]], r["rates"]) for r in results)
    return f"""# How fast

Medians over rounds in which the libraries take turns; × is the ratio to the fastest of
zuko, normflows and flowjax in the same rounds. `ours` is `flow.compile("adam")` and
`flow.fit(x, batch_size=...)` with nothing else set, data feeding, shuffling and history
included; of so many points it scores and draws all but the last few under XLA. `keras`
is the same flow trained by Keras's plain `fit`; `products` does the matrix products of
a step and nothing else: no flow can train faster with them. The peers' rates do not
depend on the number of points, which they take in chunks of 65,536.

{tables}
## The first steps

A RealNVP of the first table is made, compiled and fitted: its first epoch starts
{first[0]:.1f} s after the imports, and the first call, of a tenth of a second's steps,
has ended after {first[1]:.1f} s. Medians of fresh processes.

{_harness.made_by(__file__)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=NAMES, default=NAMES)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="the page in docs/")
    options = parser.parse_args()
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
