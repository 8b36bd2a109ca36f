"""Malignant among benign: anomalies of a real table, found by their density.

The table comes with scikit-learn: cell nuclei of 569 tumours, of which we take the ten
mean measurements. A density is fitted to benign tumours only, and rows of low density
are anomalies. For so few rows FlowDensity fits a Gaussian mixture without a flow, on
the columns as `support=` transforms them. It is compared with scikit-learn's isolation
forest and mixture over several splits. `contamination` sets the threshold of
`predict`: the share of the fitted rows that are called outliers, which is larger among
held-out rows. Writes scores.png.

Run: python examples/anomaly_detection.py [--out FOLDER] [--splits N]
"""

import argparse
from pathlib import Path

import numpy as np
import pandas as pd
from matplotlib.figure import Figure
from sklearn import datasets, ensemble, metrics, mixture, model_selection

import tfp_flows as tfpf

COLORS = {"benign": "#0072b2", "malignant": "#d55e00"}


def load() -> tuple[pd.DataFrame, pd.DataFrame]:
    table = datasets.load_breast_cancer(as_frame=True)
    columns = [name for name in table.data if name.startswith("mean ")]
    is_benign = table.target == 1
    return table.data.loc[is_benign, columns], table.data.loc[~is_benign, columns]


def fit_all(rows: pd.DataFrame) -> dict:
    """Returns the three detectors; the mixture is the one with the lowest BIC."""
    mixtures = [mixture.GaussianMixture(k, random_state=0).fit(rows) for k in (1, 2, 3)]
    # Where concavity is exactly 0 there is no density: these two columns stay real.
    positive = [name for name in rows if "conca" not in name]
    density = tfpf.FlowDensity(
        support=dict.fromkeys(positive, "positive"),
        contamination=0.05,
        time_limit=30,
        random_state=0,
        verbose=0,
    )
    return {
        "FlowDensity": density.fit(rows),
        "GaussianMixture": min(mixtures, key=lambda one: one.bic(rows)),
        "IsolationForest": ensemble.IsolationForest(random_state=0).fit(rows),
    }


def draw(scores: dict[str, np.ndarray], truth: np.ndarray, offset: float, path: Path):
    """Draws log-densities of both kinds with the threshold, and all ROC curves."""
    figure = Figure((9, 4), layout="constrained", dpi=110)
    left, right = figure.subplots(1, 2)
    log_prob = scores["FlowDensity"]
    bins = np.linspace(log_prob.min(), log_prob.max(), 45)
    for name, rows in (("benign", truth == 0), ("malignant", truth == 1)):
        left.hist(log_prob[rows], bins, color=COLORS[name], alpha=0.6, label=name)
    left.axvline(offset, color="0.2", linestyle="--")
    left.set(xlabel="log_prob in nats; threshold dashed", ylabel="rows")
    left.set(title="held-out rows")
    left.legend(frameon=False, loc="upper left")
    looks = (("-", "0.1"), ("--", "#009e73"), ("-.", "#cc79a7"))
    for (style, color), (name, score) in zip(looks, scores.items(), strict=True):
        false_alarms, found, _ = metrics.roc_curve(truth, -score)
        right.plot(false_alarms, found, style, color=color, label=name)
    right.set(xlabel="benign called anomalies", ylabel="malignant found")
    right.set(title="of the same rows", aspect="equal")
    right.legend(frameon=False, loc="lower right")
    figure.savefig(path)


def main(out: Path, splits: int = 10) -> dict[str, float]:
    benign, malignant = load()
    areas, alarms, found = [], [], []
    for split in range(splits):
        rows, held_out = model_selection.train_test_split(
            benign, test_size=1 / 3, random_state=split
        )
        detectors = fit_all(rows)
        both = pd.concat([held_out, malignant])
        truth = np.repeat([0, 1], [len(held_out), len(malignant)])
        scores = {name: one.score_samples(both) for name, one in detectors.items()}
        areas.append([metrics.roc_auc_score(truth, -s) for s in scores.values()])
        is_outlier = detectors["FlowDensity"].predict(both) == -1
        alarms.append(is_outlier[truth == 0].mean())
        found.append(is_outlier[truth == 1].mean())
        if split == 0:
            first = scores, truth, detectors["FlowDensity"].offset_
    result = dict(zip(scores, np.mean(areas, axis=0).tolist(), strict=True))
    for (name, area), spread in zip(result.items(), np.std(areas, axis=0), strict=True):
        print(f"{name:>15}: AUC {area:.3f}, from split to split ± {spread:.3f}")
    result |= {"alarms": float(np.mean(alarms)), "found": float(np.mean(found))}
    print(
        f"predict finds {result['found']:.0%} of the malignant, and calls "
        f"{result['alarms']:.1%} of the benign rows outliers"
    )
    out.mkdir(parents=True, exist_ok=True)
    draw(*first, out / "scores.png")
    return result


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("anomaly_detection"))
    parser.add_argument("--splits", type=int, default=10)
    options = parser.parse_args()
    main(options.out, options.splits)
