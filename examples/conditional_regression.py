"""p(target | features) of a table, by a Gaussian head and by one with a spline.

A network reads the features, and its output is the context of a flow over the target.
`tfpf.LogProb` joins the two to one Keras model, trained end to end. With a conditional
shift and scale alone the flow is the usual Gaussian head, whose mean and standard
deviation come from the network; a conditional spline before them changes the shape.
Both are trained in the same way and compared on held-out rows. Writes predictions.png.

The default table comes with scikit-learn: diabetes, whose 442 rows are too few to show
a difference. Give the path of a CSV of numbers, whose last column is the target, to
use that instead.

Run: python examples/conditional_regression.py [CSV] [--out FOLDER]
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
        table = np.column_stack([features, target])
    else:
        table = np.loadtxt(path, delimiter=",")
    return table[:, :-1].astype("float32"), table[:, -1:].astype("float32")


def make_model(target: np.ndarray, width: int, *, shape: bool) -> keras.Model:
    """Returns one model of encoder and head, {"features", "target"} to log_prob."""
    options = {"hidden": (), "context_size": CONTEXT_SIZE}
    units = tfpf.bijectors.Standardize(target.mean(), target.std())
    chain = [tfpf.bijectors.LULinear(**options), units]
    if shape:
        # Few rows cannot show a strong bend: it would follow their noise.
        bins = int(np.clip(len(target) // 100, 4, 16))
        chain.insert(0, tfpf.bijectors.Spline(bins, box=4.0, **options))
    flow = tfpf.Flow(chain, event_size=1)
    encoder = keras.Sequential(
        [
            keras.layers.Dense(64, activation="relu"),
            keras.layers.Dropout(0.2),
            keras.layers.Dense(CONTEXT_SIZE, activation="relu"),
        ],
        name="encoder",
    )
    x, y = keras.Input([width], name="features"), keras.Input([1], name="target")
    log_prob = tfpf.LogProb(flow, name="head")([y, encoder(x)])
    return keras.Model({"features": x, "target": y}, log_prob)


def fit(features: np.ndarray, target: np.ndarray, *, shape: bool) -> keras.Model:
    model = make_model(target, features.shape[1], shape=shape)
    batch_size = int(np.clip(len(target) // 10, 32, 256))
    model.compile(keras.optimizers.Adam(1e-3), loss=tfpf.NegativeLogLikelihood())
    model.fit(
        {"features": features, "target": target},
        target,  # Keras requires a y, which is not used
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
    """Returns the distribution of the target for each row of features."""
    context = model.get_layer("encoder")(np.atleast_2d(features))
    flow = model.get_layer("head").flow
    return flow.given(context if features.ndim > 1 else context[0])


def compare(features: np.ndarray, target: np.ndarray) -> dict:
    """Returns both models, and their log-densities of a held-out third of rows."""
    rows, held_out, y, y_held_out = model_selection.train_test_split(
        features, target, test_size=1 / 3, random_state=0
    )
    scaler = preprocessing.StandardScaler().fit(rows)
    rows, held_out = scaler.transform(rows), scaler.transform(held_out)
    models, scores = {}, {}
    for name in ("Gaussian", "flow"):
        keras.utils.set_random_seed(0)
        models[name] = fit(rows, y, shape=name == "flow")
        scores[name] = predicted(models[name], held_out).log_prob(y_held_out).numpy()
    return {"models": models, "scores": scores, "rows": held_out, "y": y_held_out}


def draw(result: dict, path: Path, count: int = 6) -> None:
    """Draws both predicted densities of some held-out rows, and their targets."""
    figure = Figure((9, 5), layout="constrained", dpi=150)
    rows, y = result["rows"][:count], result["y"]
    limits = tuple(np.quantile(y, [0, 1]) + np.array([-0.3, 0.3]) * y.std())
    for i, ax in enumerate(figure.subplots(2, count // 2).ravel()):
        one = {name: predicted(m, rows[i]) for name, m in result["models"].items()}
        tfpf.plotting.plot_density(one["flow"], limits=limits, ax=ax)
        grid = np.linspace(*limits, 300, dtype="float32")[:, None]
        gaussian = one["Gaussian"].prob(grid).numpy()
        ax.plot(grid, gaussian, color="0.4", linestyle="--")
        ax.set_ylim(0, max(ax.get_ylim()[1], 1.05 * gaussian.max()))
        ax.axvline(y[i, 0], color="#d55e00")
        ax.set(xlabel="target" if i >= count // 2 else "", ylabel="", yticks=[])
    figure.suptitle("held-out rows: flow (blue), Gaussian (dashed), measured (orange)")
    figure.savefig(path)


def main(out: Path, csv: Path | None = None) -> dict[str, float]:
    result = compare(*load(csv))
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
    options = parser.parse_args()
    main(options.out, options.csv)
