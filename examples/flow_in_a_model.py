"""Half a digit is hidden: a convolutional network whose head is a flow.

The network reads the upper half of an image of scikit-learn's digits, 8 by 8 pixels.
The lower half is described by two numbers, its first principal components. The same
strokes above can continue in several ways. A flow whose context is the output of the
network can represent that; a Gaussian head, which is the same flow without its
couplings, covers all of them by one ellipse. Both are trained end to end by
`model.fit`, through `tfpf.LogProb`, and compared in nats on a held-out third of the
images. Writes halves.png, where crosses mark the hidden halves.

Run: python examples/flow_in_a_model.py [--out FOLDER] [--epochs N]
"""

import argparse
from pathlib import Path

import keras
import numpy as np
from matplotlib.figure import Figure
from sklearn import datasets, decomposition, model_selection

import tfp_flows as tfpf

COMPONENTS, CONTEXT_SIZE = 2, 32
SHOWN = (1, 4, 5, 7, 9)  # the first held-out image of each of these digits


def load() -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Returns the images to fit to, and the held-out ones, as dicts."""
    digits = datasets.load_digits()
    images = digits.images.astype("float32")[..., np.newaxis] / 16
    parts = model_selection.train_test_split(
        images, digits.target, test_size=1 / 3, random_state=0
    )
    train, test = ({"image": im, "label": y} for im, y in (parts[::2], parts[1::2]))
    pca = decomposition.PCA(COMPONENTS, random_state=0)
    pca.fit(train["image"][:, 4:].reshape(len(train["image"]), -1))
    for part in (train, test):
        part["upper"] = part["image"][:, :4]
        part["x"] = pca.transform(part["image"][:, 4:].reshape(len(part["image"]), -1))
    return train, test


def make_encoder() -> keras.Model:
    layers = keras.layers
    return keras.Sequential(
        [
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.Flatten(),
            layers.Dropout(0.5),
            layers.Dense(CONTEXT_SIZE, activation="relu"),
        ],
        name="encoder",
    )


def make_head(*, couplings: int) -> tfpf.Flow:
    """Returns a conditional Gaussian, or with couplings one of another shape."""
    bijectors, options = tfpf.bijectors, {"context_size": CONTEXT_SIZE, "seed": 0}
    chain = [bijectors.LULinear(hidden=(), **options)]
    for mask in ([0, 1], [1, 0])[:couplings]:
        coupling = bijectors.MixtureCDFCoupling
        chain.append(coupling(mask, components=4, hidden=(32,), **options))
    return tfpf.Flow([*chain, bijectors.Standardize()], event_size=COMPONENTS)


def fit(head: tfpf.Flow, data: dict[str, np.ndarray], epochs: int) -> keras.Model:
    """Returns a fitted model from {"upper", "x"} to log_prob."""
    data, encoder = {name: data[name] for name in ("upper", "x")}, make_encoder()
    upper, x = keras.Input([4, 8, 1], name="upper"), keras.Input([COMPONENTS], name="x")
    head.adapt({"x": data["x"], "context": encoder(data["upper"])})  # units of the data
    log_prob = tfpf.LogProb(head, name="head")([x, encoder(upper)])
    model = keras.Model({"upper": upper, "x": x}, log_prob)
    model.compile(keras.optimizers.Adam(1e-3), loss=tfpf.NegativeLogLikelihood())
    best = keras.callbacks.EarlyStopping(patience=15, restore_best_weights=True)
    model.fit(
        data,
        data["x"],  # Keras requires a y, which is not used
        batch_size=64,
        epochs=epochs,
        validation_split=0.2,
        callbacks=[best],
        verbose=0,
    )
    return model


def given(model: keras.Model, upper: np.ndarray):
    """Returns the distribution of the lower half for each upper half."""
    context = model.get_layer("encoder")(upper.reshape(-1, 4, 8, 1))
    return model.get_layer("head").flow.given(context if upper.ndim > 3 else context[0])


def draw(models: dict[str, keras.Model], data: dict[str, np.ndarray], path: Path):
    """Draws images with hidden lower halves, what each head expects, and the truth."""
    figure = Figure((10, 5.8), layout="constrained", dpi=100)
    limits = [tuple(1.1 * np.quantile(x, [0, 1])) for x in data["x"].T]
    for digit, column in zip(SHOWN, figure.subplots(3, len(SHOWN)).T, strict=True):
        i = int(np.argmax(data["label"] == digit))
        image = data["image"][i, ..., 0].copy()
        column[0].imshow(image, cmap="Greys", vmin=0, vmax=1)
        column[0].axhspan(3.5, 7.5, color="#56b4e9", alpha=0.45, linewidth=0)
        column[0].set(title=f"a {digit}", xticks=[], yticks=[])
        for ax, (name, model) in zip(column[1:], models.items(), strict=True):
            one = given(model, data["upper"][i])
            tfpf.plotting.plot_density(one, limits=limits, ax=ax)
            ax.plot(*data["x"][i], "x", color="#d55e00", markersize=9, mew=2)
            ax.set(xlabel="", ylabel=name if digit == SHOWN[0] else "")
            ax.set(xticks=[], yticks=[])
    figure.savefig(path)


def main(out: Path, epochs: int = 200) -> dict[str, float]:
    train, test = load()
    heads = {"flow": make_head(couplings=2), "Gaussian": make_head(couplings=0)}
    models, scores = {}, {}
    for name, head in heads.items():
        keras.utils.set_random_seed(0)
        models[name] = fit(head, train, epochs)
        scores[name] = given(models[name], test["upper"]).log_prob(test["x"]).numpy()
        print(f"{name:>8} head: {scores[name].mean():.3f} nats a held-out image")
    gain = scores["flow"] - scores["Gaussian"]
    error = gain.std() / np.sqrt(len(gain))
    print(f"the flow gains {gain.mean():.3f} ± {error:.3f} nats ({len(gain)} images)")
    out.mkdir(parents=True, exist_ok=True)
    draw(models, test, out / "halves.png")
    return {"gain": float(gain.mean()), "error": float(error)}


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=Path, default=Path("flow_in_a_model"))
    parser.add_argument("--epochs", type=int, default=200)
    options = parser.parse_args()
    main(options.out, options.epochs)
