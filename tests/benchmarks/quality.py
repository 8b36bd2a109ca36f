"""How well do density estimators fit, given the same minute?

Every method gets the same points and the same seconds of wall clock, compiling
included, in a process of its own. On named densities the table shows nats above the
exact entropy; on tables given by path, nats of test rows. Fits and scores are kept
in the folder `--work`, from which a later run continues; `--write` writes
docs/quality.md and docs/quality.json.

Run: python tests/benchmarks/quality.py [--seconds 60] [--rows 20000] [--seeds 1]
    [--problems two_moons ...] [--methods ours mixture ...] [--tables FILE ...]
    [--work FOLDER] [--no-fits] [--write]
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import _harness
import _methods
import _targets
import numpy as np

TEST_ROWS = 100_000


# Problems


def read_table(path: Path) -> tuple[np.ndarray, np.ndarray | None]:
    """Reads a table of numbers.

    Args:
      path: a `.npy` file; a CSV file with commas, plain or `.gz`, with or without a
        header; or a folder with train.npy, test.npy and perhaps val.npy.

    Returns:
      All rows and None; of a folder, the training rows and the test rows.
    """
    if path.is_dir():
        parts = [path / name for name in ("train.npy", "val.npy")]
        fitted = np.concatenate([np.load(part) for part in parts if part.exists()])
        return fitted.astype(float), np.load(path / "test.npy").astype(float)
    if path.suffix == ".npy":
        return np.load(path).astype(float), None
    rows = np.genfromtxt(path, delimiter=",", dtype=float)
    return rows[~np.isnan(rows).all(axis=1)], None  # without the header


def split_table(
    rows: np.ndarray, test: np.ndarray | None, seed: int
) -> tuple[np.ndarray, np.ndarray]:
    """Makes a density out of a table: splits, dequantizes and standardizes it.

    A fifth is held out, 100,000 rows at most, if there are no separate test rows.
    Numbers that repeat would have unbounded density, so each column gets uniform noise
    as wide as the least difference between its values. Constant columns are left out.

    Returns:
      The points to fit and those to test on, in units of the former's deviations.
    """
    rng = np.random.default_rng(seed)
    if test is None:
        rows = rng.permutation(rows)
        held_out = min(len(rows) // 5, TEST_ROWS)
        rows, test = rows[held_out:], rows[:held_out]
    varies = np.ptp(rows, axis=0) > 0
    rows, test = rows[:, varies], test[:, varies]
    width = np.array([resolution(column) for column in rows.T])
    rows, test = (part + width * rng.random(part.shape) for part in (rows, test))
    shift, scale = rows.mean(axis=0), rows.std(axis=0)
    return (rows - shift) / scale, (test - shift) / scale


def resolution(column: np.ndarray) -> float:
    """Returns the least difference between values, above the noise of rounding."""
    steps = np.diff(np.unique(column))
    return steps[steps > 1e-7 * np.ptp(column)].min()


def prepare(folder: Path, problem: str | Path, rows: int, seed: int) -> None:
    """Writes train.npy and test.npy, and truth.npy where it is known."""
    if isinstance(problem, Path):
        train, test = split_table(*read_table(problem), seed)
    else:
        density = _targets.make(problem)
        train = density.sample(rows, seed=seed)
        test = density.sample(TEST_ROWS, seed=1_000_000 + seed)
        np.save(folder / "truth.npy", density.log_prob(test))
    np.save(folder / "train.npy", train)
    np.save(folder / "test.npy", test)


# Results


def results(folder: Path, problem: str, seed: int, methods: list[str]) -> list[dict]:
    """Returns one row for each of the methods, which were fitted in that folder."""
    fits = {method: _harness.load(folder, method) for method in methods}
    truth = folder / "truth.npy"
    rows = []
    for method, (log_prob, spent) in fits.items():
        row = {"problem": problem, "seed": seed, "method": method, "spent": spent}
        row["log_likelihood"] = _harness.mean_and_error(log_prob)
        if truth.exists():
            row["above_entropy"] = _harness.mean_and_error(np.load(truth) - log_prob)
        if "ours" in fits:
            row["minus_ours"] = _harness.mean_and_error(log_prob - fits["ours"][0])
        rows.append(row)
    return rows


def over_seeds(rows: list[dict], key: str) -> tuple[float, float] | None:
    """Returns the mean over seeds and its error.

    That of the test points for one seed, that of the seeds' spread for several.
    """
    values = [row[key] for row in rows if key in row]
    if not values:
        return None
    if len(values) == 1:
        return tuple(values[0])
    means = np.array([mean for mean, _ in values])
    return means.mean(), means.std(ddof=1) / math.sqrt(len(means))


def density_table(rows: list[dict], methods: list[str]) -> str:
    """Returns nats above the entropy, lower is better, as Markdown."""
    rows = [row for row in rows if "above_entropy" in row]
    lines = header("density", methods, "ours / best peer")
    for problem in unique(rows):
        cells = {
            method: over_seeds(of(rows, problem, method), "above_entropy")
            for method in methods
        }
        peers = [cell[0] for m, cell in cells.items() if m != "ours" and cell]
        ratio = "–"
        if peers and cells.get("ours"):
            ratio = f"{cells['ours'][0] / min(peers):.2f}"
        lines.append(line(problem, cells.values(), min, ratio))
    return "\n".join(lines) if len(lines) > 2 else ""


def table_table(rows: list[dict], methods: list[str]) -> str:
    """Returns nats of test rows, higher is better, and their differences to ours."""
    rows = [row for row in rows if "above_entropy" not in row]
    lines = header("table", methods)
    for problem in unique(rows):
        parts = {method: of(rows, problem, method) for method in methods}
        nats = [over_seeds(part, "log_likelihood") for part in parts.values()]
        lines.append(line(problem, nats, max))
        peers = [
            over_seeds(part, "minus_ours") if method != "ours" else None
            for method, part in parts.items()
        ]
        if any(peers):
            lines.append(line("minus ours", peers, None))
    return "\n".join(lines) if len(lines) > 2 else ""


def header(first: str, methods: list[str], *last: str) -> list[str]:
    titles = [first, *(_methods.TITLES[method] for method in methods), *last]
    return ["| " + " | ".join(titles) + " |", "|---" * len(titles) + "|"]


def line(first: str, cells, best, *last: str) -> str:
    """Returns a row of the table, its best cell in bold."""
    cells = list(cells)
    means = [cell[0] for cell in cells if cell]
    top = best(means) if best and means else None
    shown = [
        "–"
        if not cell
        else f"{'**' * (cell[0] == top)}{cell[0]:.4f}{'**' * (cell[0] == top)}"
        f" ± {cell[1]:.4f}"
        for cell in cells
    ]
    return "| " + " | ".join([first, *shown, *last]) + " |"


def unique(rows: list[dict]) -> list[str]:
    return list(dict.fromkeys(row["problem"] for row in rows))


def of(rows: list[dict], problem: str, method: str) -> list[dict]:
    return [r for r in rows if (r["problem"], r["method"]) == (problem, method)]


def page(rows: list[dict], options: argparse.Namespace) -> str:
    """Returns docs/quality.md."""
    slowest = max(row["spent"] for row in rows)
    parts = [
        f"""# How well density estimators fit in {options.seconds:g} seconds

Each method gets the same points and {options.seconds:g} s of wall clock, compiling
included. The methods run one after the other, each in a process of its own; the
slowest took {slowest:.0f} s. Number of seeds: {options.seeds}. A dash means that a
method was not run.

- FlowDensity has `time_limit={options.seconds:g}` and no other option.
- GaussianMixture chooses its number of components on a tenth of the points, and is then
  refitted to all of them. KernelDensity chooses its bandwidth in the same way.
- zuko is an NSF with 3 transforms, flowjax a MAF with rational-quadratic splines. Both
  use Adam at 1e-3, batches of 256, standardized columns, and the weights that were best
  on a tenth of the points."""
    ]
    if table := density_table(rows, options.methods):
        parts.append(f"""## Named densities

The numbers are nats above the exact entropy, from paired differences on {TEST_ROWS:,}
fresh points, after fits to {options.rows:,}; lower is better. crescent, thin_rings,
heavy_cross, funnel (5-d) and twisted_mixture (10-d) are in
`tests/benchmarks/_targets.py`, the others in `tfpf.densities`.

{table}""")
    if table := table_table(rows, options.methods):
        parts.append(f"""## Tables

The numbers are mean log-densities of test rows in nats, higher is better, and below
them the paired differences to ours. Columns are standardized, and get uniform noise
as wide as the smallest difference between their values.

{table}""")
    parts.append(_harness.made_by(__file__))
    return "\n\n".join(parts) + "\n"


def main(options: argparse.Namespace) -> None:
    """Fits what is not fitted yet, prints the tables, and writes them when asked."""
    rows = []
    for problem in [*options.problems, *options.tables]:
        name = problem if isinstance(problem, str) else problem.name.split(".")[0]
        for seed in range(options.seeds):
            label = f"{name}-{options.seconds:g}s-{options.rows}-{seed}"
            folder = options.work / label
            if not (folder / "test.npy").exists():
                folder.mkdir(parents=True, exist_ok=True)
                prepare(folder, problem, options.rows, seed)
            done = [
                method
                for method in options.methods
                if (folder / f"{method}.json").exists()
                or (
                    not options.no_fits
                    and _harness.run(__file__, folder, method, options.seconds, seed)
                )
            ]
            fresh = results(folder, name, seed, done)
            for row in fresh:
                print(json.dumps(row), flush=True)
            rows += fresh
    tables = density_table(rows, options.methods), table_table(rows, options.methods)
    print("\n\n".join(table for table in tables if table))
    if options.write:
        _harness.write("quality", page(rows, options), rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--rows", type=int, default=20_000, help="to fit, of densities")
    parser.add_argument("--seeds", type=int, default=1, help="how many")
    names = _targets.names()
    parser.add_argument("--problems", nargs="*", choices=names, default=names)
    methods = list(_methods.METHODS)
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--tables", nargs="*", type=Path, default=[])
    parser.add_argument("--work", type=Path, help="folder of the fits; temporary")
    parser.add_argument("--no-fits", action="store_true", help="only what is there")
    parser.add_argument("--write", action="store_true", help="the pages in docs/")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        where, which, budget, number = sys.argv[2:]
        _harness.fit(_methods.METHODS, Path(where), which, float(budget), int(number))
    else:
        given = arguments()
        with tempfile.TemporaryDirectory() as temporary:
            given.work = given.work or Path(temporary)
            main(given)
