"""p(target | features) of a table: a spline on top of what a Gaussian head can say.

A network reads the features; what it makes of them is the context of a flow over the
target, and `tfpf.LogProb` makes the two one Keras model, trained end to end. With a
conditional shift and scale alone the flow is the usual Gaussian head, a mean and a
standard deviation from the network; a conditional spline before them adds the shape.
Both are trained the same way and compared on rows that neither has seen. Writes
predictions.png.

The default table comes with scikit-learn: diabetes, 442 rows. A CSV of numbers, its
last column the target, is given by its path.

Run: python examples/conditional_regression.py [CSV] [--out FOLDER] [--folds N]
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn import datasets, model_selection, preprocessing

import tfp_flows as tfpf

STEPS = 1500
CONTEXT_SIZE = 64


def load(path: Path | None) -> tuple[np.ndarray, np.ndarray]:
    if path is None:
        features, target = datasets.load_diabetes(return_X_y=True)
        return features, target[:, None]
    table = np.loadtxt(path, delimiter=",")
    return table[:, :-1], table[:, -1:]


def make_model(target: np.ndarray, width: int, *, shape: bool) -> keras.Model:
    """Encoder and head as one model, from {"features", "target"} to log_prob."""
    options = {"hidden": (), "context_size": CONTEXT_SIZE}
    units = tfpf.bijectors.Standardize(target.mean(), target.std())
    chain = [tfpf.bijectors.LULinear(**options), units]
    if shape:
        chain.insert(0, tfpf.bijectors.Spline(bins=8, box=4.0, **options))
    flow = tfpf.Flow(chain, event_size=1)
    encoder = keras.Sequential(
        [
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(CONTEXT_SIZE, activation="relu"),
        ],
        name="encoder",
    )
    inputs = {"features": keras.Input([width]), "target": keras.Input([1])}
    context = encoder(inputs["features"])
    log_prob = tfpf.LogProb(flow, name="head")([inputs["target"], context])
    return keras.Model(inputs, log_prob)


def fit(features: np.ndarray, target: np.ndarray, *, shape: bool) -> keras.Model:
    model = make_model(target, features.shape[1], shape=shape)
    batch_size = int(np.clip(len(target) // 10, 32, 256))
    model.compile(keras.optimizers.Adam(1e-3), loss=tfpf.NegativeLogLikelihood())
    model.fit(
        {"features": features, "target": target},
        target,  # Keras wants a y; it is not read
        batch_size=batch_size,
        epochs=STEPS * batch_size // len(target),
        validation_split=0.2,
        callbacks=[
            keras.callbacks.EarlyStopping(patience=10, restore_best_weights=True)
        ],
        verbose=0,
    )
    return model


def predicted(model: keras.Model, features: np.ndarray):
    """The distribution of the target given one row of features, or each of many."""
    context = model.get_layer("encoder")(np.atleast_2d(features))
    flow = model.get_layer("head").flow
    return flow.given(context if features.ndim > 1 else context[0])


def compare(features: np.ndarray, target: np.ndarray, folds: int) -> dict:
    """Log-densities of held-out rows under both heads, and the last fold's models."""
    scores = {"Gaussian": [], "flow": []}
    parts = model_selection.KFold(folds, shuffle=True, random_state=0)
    for train, test in parts.split(features):
        scaler = preprocessing.StandardScaler().fit(features[train])
        rows = scaler.transform(features).astype("float32")
        models = {}
        for i, name in enumerate(scores):
            keras.utils.set_random_seed(i)
            models[name] = fit(rows[train], target[train], shape=name == "flow")
            log_prob = predicted(models[name], rows[test]).log_prob(target[test])
            scores[name].append(log_prob.numpy())
    scores = {name: np.concatenate(parts) for name, parts in scores.items()}
    return {"scores": scores, "models": models, "rows": rows[test], "y": target[test]}


def draw(result: dict, path: Path, count: int = 6) -> None:
    """Both predicted densities of some held-out rows, and what was measured there."""
    figure = Figure((9, 5), layout="constrained", dpi=150)
    rows, y = result["rows"][:count], result["y"]
    limits = tuple(np.quantile(y, [0, 1]) + np.array([-0.3, 0.3]) * y.std())
    for i, ax in enumerate(figure.subplots(2, count // 2).ravel()):
        one = {name: predicted(m, rows[i]) for name, m in result["models"].items()}
        tfpf.plotting.plot_density(one["flow"], limits=limits, ax=ax)
        grid = np.linspace(*limits, 300, dtype="float32")[:, None]
        ax.plot(grid, one["Gaussian"].prob(grid), color="0.4", linestyle="--")
        ax.axvline(y[i, 0], color="#d55e00")
        ax.set(xlabel="target", ylabel="", yticks=[])
    figure.suptitle("p(target | features): flow (blue), Gaussian (dashed), measured")
    figure.savefig(path)


def main(out: Path, csv: Path | None = None, folds: int = 3) -> dict[str, float]:
    features, target = load(csv)
    result = compare(features, target.astype("float32"), folds)
    scores = result["scores"]
    gain = scores["flow"] - scores["Gaussian"]
    error = gain.std() / np.sqrt(len(gain))
    for name, log_prob in scores.items():
        print(f"{name:>8}: {log_prob.mean():.3f} nats a held-out row")
    print(f"the flow gains {gain.mean():.3f} ± {error:.3f} nats ({len(gain)} rows)")
    out.mkdir(parents=True, exist_ok=True)
    draw(result, out / "predictions.png")
    return {"gain": float(gain.mean()), "error": float(error)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("csv", type=Path, nargs="?")
    parser.add_argument("--out", type=Path, default=Path("conditional_regression"))
    parser.add_argument("--folds", type=int, default=3)
    options = parser.parse_args()
    main(options.out, options.csv, options.folds)
