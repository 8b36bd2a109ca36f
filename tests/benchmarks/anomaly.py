"""Which anomalies does a density find? ROC AUC of -log_prob on labelled tables.

Reads a folder of `.npz` files with X and y (1 is an anomaly), as ADBench has them.
Fits 70% of the rows, anomalies among them, without their labels, and scores the other
30%; `--normal-only` fits the normal ones of the 70%. Every fit runs in a process of its
own. Fits are kept in the folder `--work`, from which a later run continues; `--write`
writes docs/anomaly.md and docs/anomaly.json.

Run: python tests/benchmarks/anomaly.py FOLDER [--seconds 60] [--seeds 5]
    [--methods ours forest ...] [--normal-only] [--work FOLDER] [--write]
"""

import argparse
import json
import math
import sys
import tempfile
from pathlib import Path

import _harness
import _methods
import numpy as np

# Methods: as in `_methods`, and what they return is high for normal points.


def forest(train, validation, clock, seed):
    """Fits scikit-learn's IsolationForest with its default settings."""
    from sklearn.ensemble import IsolationForest

    clock.start()
    model = IsolationForest(random_state=seed)
    return model.fit(np.concatenate([train, validation])).score_samples


def neighbors(train, validation, clock, seed):
    """Fits scikit-learn's LocalOutlierFactor, with novelty=True."""
    from sklearn.neighbors import LocalOutlierFactor

    clock.start()
    model = LocalOutlierFactor(novelty=True)
    return model.fit(np.concatenate([train, validation])).score_samples


METHODS = {
    "ours": _methods.flow_density,
    "mixture": _methods.mixture,
    "forest": forest,
    "neighbors": neighbors,
}
TITLES = {
    "ours": "FlowDensity",
    "mixture": "GaussianMixture",
    "forest": "IsolationForest",
    "neighbors": "LocalOutlierFactor",
}


def prepare(
    x: np.ndarray, y: np.ndarray, seed: int, *, normal_only: bool
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Splits a table with the same share of anomalies in both parts; standardizes it.

    Columns that are constant in the rows to fit are left out.

    Returns:
      The rows to fit, the test rows, and the labels of the test rows.
    """
    from sklearn.model_selection import train_test_split

    train, test, train_labels, labels = train_test_split(
        x.astype(float), y, test_size=0.3, stratify=y, random_state=seed
    )
    if normal_only:
        train = train[train_labels == 0]
    varies = np.ptp(train, axis=0) > 0
    train, test = train[:, varies], test[:, varies]
    shift, scale = train.mean(axis=0), train.std(axis=0)
    return (train - shift) / scale, (test - shift) / scale, labels


def area(log_prob: np.ndarray, labels: np.ndarray) -> float:
    """Returns ROC AUC of -log_prob; NaN counts as the most anomalous."""
    from sklearn.metrics import roc_auc_score

    least = np.finfo(float).min
    score = np.nan_to_num(log_prob, nan=least, neginf=least)
    return float(roc_auc_score(labels, -score))


# Results


def spread(values: list[float]) -> tuple[float, float]:
    """Returns the mean over seeds and its standard error; NaN for one seed."""
    if len(values) < 2:
        return values[0], math.nan
    return float(np.mean(values)), float(np.std(values, ddof=1) / len(values) ** 0.5)


def table(rows: list[dict], methods: list[str]) -> str:
    """Returns AUCs as Markdown: a row for each table, and their mean."""
    names = list(dict.fromkeys(row["table"] for row in rows))
    cells = {}
    for row in rows:
        cells.setdefault((row["table"], row["method"]), []).append(row["auc"])
    lines = [
        "| " + " | ".join(["table", *(TITLES[m] for m in methods)]) + " |",
        "|---" * (len(methods) + 1) + "|",
    ]
    spreads = {key: spread(values) for key, values in cells.items()}
    for name in names:
        lines.append(line(name, [spreads.get((name, m)) for m in methods]))
    means = []
    for method in methods:
        parts = [spreads.get((name, method)) for name in names]
        if all(parts):
            values, errors = np.array(parts).T
            mean = values.mean(), np.sqrt((errors**2).sum()) / len(parts)
        means.append(mean if all(parts) else None)
    return "\n".join([*lines, line("mean", means)])


def line(name: str, cells: list[tuple[float, float] | None]) -> str:
    top = max(cell[0] for cell in cells if cell)
    shown = []
    for cell in cells:
        if not cell:
            shown.append("–")
            continue
        value = f"**{cell[0]:.4f}**" if cell[0] == top else f"{cell[0]:.4f}"
        shown.append(value if math.isnan(cell[1]) else f"{value} ± {cell[1]:.4f}")
    return "| " + " | ".join([name, *shown]) + " |"


def page(rows: list[dict], options: argparse.Namespace) -> str:
    """Returns docs/anomaly.md."""
    fitted = "the normal ones among 70%" if options.normal_only else "70%"
    return f"""# Finding anomalies

The numbers are ROC AUC on 30% of the rows, after fits to {fitted} of them; higher is
better. They are means over {options.seeds} splits with their standard errors. Both
parts of a split have the same share of anomalies, no method gets the labels, and
columns are standardized. GaussianMixture chooses its number of components on a tenth
of the rows, FlowDensity has `time_limit={options.seconds:g}`, and the others have
their default settings. FlowDensity and GaussianMixture rank rows by -log_prob. The
tables are those of ADBench.

{table(rows, options.methods)}

{_harness.made_by(__file__)}
"""


def main(options: argparse.Namespace) -> None:
    """Fits what is not fitted yet, prints the table, and writes it when asked."""
    rows = []
    for path in sorted(options.folder.glob("*.npz")):
        with np.load(path) as content:
            x, y = content["X"], content["y"]
        for seed in range(options.seeds):
            protocol = "normal" if options.normal_only else "all"
            label = f"{path.stem}-{protocol}-{options.seconds:g}s-{seed}"
            folder = options.work / label
            folder.mkdir(parents=True, exist_ok=True)
            train, test, labels = prepare(x, y, seed, normal_only=options.normal_only)
            np.save(folder / "train.npy", train)
            np.save(folder / "test.npy", test)
            for method in options.methods:
                if _harness.run(__file__, folder, method, options.seconds, seed):
                    log_prob, spent = _harness.load(folder, method)
                    row = {"table": path.stem, "seed": seed, "method": method}
                    row |= {"auc": area(log_prob, labels), "spent": spent}
                    rows.append(row)
                    print(json.dumps(row), flush=True)
    if not rows:
        sys.exit(f"{options.folder} holds no .npz file that could be fitted.")
    print(table(rows, options.methods))
    if options.write:
        _harness.write("anomaly", page(rows, options), rows)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("folder", type=Path, help="of .npz files with X and y")
    parser.add_argument("--seconds", type=float, default=60, help="for each fit")
    parser.add_argument("--seeds", type=int, default=5, help="how many splits")
    methods = list(METHODS)
    parser.add_argument("--methods", nargs="+", choices=methods, default=methods)
    parser.add_argument("--normal-only", action="store_true")
    parser.add_argument("--work", type=Path, help="folder of the fits; temporary")
    parser.add_argument("--write", action="store_true", help="the pages in docs/")
    return parser.parse_args()


if __name__ == "__main__":
    if sys.argv[1:2] == ["--fit"]:
        where, which, budget, number = sys.argv[2:]
        _harness.fit(METHODS, Path(where), which, float(budget), int(number))
    else:
        given = arguments()
        with tempfile.TemporaryDirectory() as temporary:
            given.work = given.work or Path(temporary)
            main(given)
