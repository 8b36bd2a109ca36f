"""Writes the flows that later versions must load and score the same.

    python tests/saved/make.py

writes `tests/saved/VERSION/`: a `.keras` file for each flow, and `expected.npz` with
points, contexts, log-densities and samples. Run it once for each release; the files of
older releases are never written again.
"""

import math
import os
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")

import importlib.metadata

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows import bijectors as b

tfb = tfp.bijectors
tfd = tfp.distributions

RECIPES = (
    "continuous",
    "gaussian",
    "gaussianization",
    "iaf",
    "maf",
    "neural_spline",
    "neural_spline_autoregressive",
    "nice",
    "planar",
    "real_nvp",
    "residual",
)
SMALL = {"hidden": (8,), "seed": 1}
START = {**SMALL, "identity_start": False}


def positive(value, bijector=None):
    value = tf.constant(value, tf.float32)
    return tfp.util.TransformedVariable(value, bijector or tfb.Softplus())


def variable(value):
    return tf.Variable(value, dtype=tf.float32)


def couplings(context_size=0):
    start = {**START, "context_size": context_size}
    return tfpf.Flow(
        [
            b.AffineCoupling(flip=True, activation="tanh", **start),
            b.AffineCoupling("halves", **start),
            b.AffineCoupling([0, 1, 1], **start),
            b.AdditiveCoupling(**start),
            b.SplineCoupling(box=3.0, **start),
            b.SplineCoupling("halves", bins=5, affine=True, **start),
            b.MixtureCDFCoupling("halves", flip=True, components=3, **start),
        ],
        event_size=3,
    )


def autoregressive(context_size=0):
    start = {**START, "context_size": context_size}
    return tfpf.Flow(
        [
            b.MaskedAutoregressive([2, 0, 1], **start),
            b.MaskedAutoregressive(**{**start, "hidden": (8, 8)}, residual=True),
            b.IAF("reversed", **start),
            b.AutoregressiveSpline(bins=5, box=3.0, affine=True, **start),
            b.AutoregressiveSpline("reversed", **start),
        ],
        event_size=3,
    )


def circular():
    return tfpf.Flow(
        [
            b.Spline(bins=4, circular=True),
            b.SplineCoupling("halves", circular=True, bins=5, **START),
            b.AutoregressiveSpline("reversed", circular=True, bins=4, **START),
        ],
        base=tfd.Uniform(-math.pi, math.pi),
        event_size=3,
    )


def linear():
    return tfpf.Flow(
        [
            b.LULinear(identity_start=False, seed=1),
            b.Householder(seed=1),
            b.Rotation(identity_start=False, seed=1),
            b.Permute([2, 0, 1]),
            b.Shuffle(seed=1),
            b.ActNorm(),
            b.Standardize([1.0, -2.0, 0.0], 3.0),
        ],
        event_size=3,
    )


def elementwise():
    return tfpf.Flow(
        [
            b.ShiftAndCube(0.5),
            b.LeakyReLU([0.3, 1.0, 2.5]),
            b.Spline(bins=4, box=3.0),
            b.MixtureCDF(3),
            tfb.Invert(b.MixtureCDF(2)),
            b.Gaussianize(3),
            b.Bounded([0.0, -math.inf, -3.0], [1.0, math.inf, 5.0], scale=2.0),
        ],
        event_size=3,
    )


def blocks():
    return tfpf.Flow(
        [
            tfb.Invert(b.Planar(identity_start=False, seed=1)),
            tfb.Invert(b.Radial(identity_start=False, seed=1)),
            tfb.Invert(b.Sylvester(2, identity_start=False, seed=1)),
            tfb.Invert(b.ResidualBlock(**START)),
            b.ContinuousFlow(**START),
            b.NumericalInverse(b.AffineCoupling(**START)),
            b.AffineCoupling(network=tfpf.networks.ResidualMLP((8, 8), seed=1)),
        ],
        event_size=3,
    )


def two_dimensional():
    return tfpf.Flow(
        [b.Rotation2D(0.7), b.ShiftAndCube(1.5, 1, 0), b.LeakyReLU(0.3)], event_size=2
    )


def mixture():
    base = tfpf.bases.Mixture(3, 4, tails="student", seed=1)
    return tfpf.Flow([b.Rotation(seed=1)], base=base)


def of_tfp():
    """TFP's bijectors and distributions, nested, shared, with every kind of weight."""
    shared = b.AffineCoupling(**START)
    shift = variable([0.3, -0.2])
    return tfpf.Flow(
        [
            tfb.Shift(shift),
            tfb.Scale(positive([1.0, 2.0])),
            shared,
            tfb.ScaleMatvecTriL(positive(np.eye(2), tfb.FillScaleTriL())),
            tfb.SinhArcsinh(variable([0.1, 0.2]), positive(1.2)),
            tfb.Permute([1, 0]),
            tfb.Chain(
                [tfb.Shift(shift), tfb.Invert(b.Rotation2D(0.3)), b.LeakyReLU(0.7)]
            ),
            shared,
            tfb.RationalQuadraticSpline(
                bin_widths=variable(np.full([2, 4], 2.0)),
                bin_heights=variable(np.full([2, 4], 2.0)),
                knot_slopes=positive(np.ones([2, 3])),
                range_min=-4.0,
            ),
            tfb.Softsign(),
            tfb.Sigmoid(low=-3.0, high=3.0),
        ],
        base=tfd.MixtureSameFamily(
            tfd.Categorical(logits=variable([0.0, 1.0])),
            tfd.MultivariateNormalDiag(
                variable([[0.0, 1.0], [-1.0, 0.5]]), positive(np.ones([2, 2]))
            ),
        ),
    )


def cases():
    """Yields name, flow, and points to adapt it to, or None."""
    yield "couplings", couplings(), None
    yield "couplings_given", couplings(2), None
    yield "autoregressive", autoregressive(), None
    yield "autoregressive_given", autoregressive(2), None
    yield "circular", circular(), None
    yield "linear", linear(), None
    yield "elementwise", elementwise(), None
    yield "blocks", blocks(), None
    yield "two_dimensional", two_dimensional(), None
    yield "mixture", mixture(), "data"
    yield "of_tfp", of_tfp(), None
    yield (
        "float64",
        tfpf.Flow([b.SplineCoupling(**START, dtype="float64")], event_size=3),
        None,
    )
    for name in RECIPES:
        recipe = getattr(tfpf.recipes, name)
        layers = {} if name == "gaussian" else {"layers": 2}
        yield f"recipe_{name}", recipe(3, **layers, **SMALL), "data"
        if name in ("real_nvp", "neural_spline", "gaussianization", "maf"):
            flow = recipe(3, context_size=2, **layers, **SMALL)
            yield f"recipe_{name}_given", flow, "data"


def perturb(flow, rng):
    """Moves every trainable weight a little, so that no value is a default."""
    for weight in flow.trainable_variables:
        value = weight.numpy()
        weight.assign(value + 0.1 * rng.normal(size=value.shape))


def main():
    folder = Path(__file__).parent / importlib.metadata.version("tfp_flows")
    folder.mkdir()
    expected = {}
    for number, (name, flow, data) in enumerate(cases()):
        rng = np.random.default_rng(number)
        context = rng.normal(size=(5, flow.context_size)).astype(flow.dtype)
        data = rng.normal(size=(300, flow.event_size)) if data is not None else None
        if data is not None:
            given = rng.normal(size=(300, flow.context_size))
            flow.adapt({"x": data, "context": given} if flow.context_size else data)
        perturb(flow, rng)
        if name == "recipe_neural_spline":  # with an optimizer and its state
            flow.compile(keras.optimizers.Adam(1e-3), jit_compile=False)
            flow.fit(data, batch_size=100, epochs=2, verbose=0)
        given = flow.given(context) if flow.context_size else flow.distribution
        count = 1 if flow.context_size else 5
        x = np.reshape(given.sample(count, seed=[0, number]), [5, flow.event_size])
        log_prob = given.log_prob(x)
        assert np.isfinite(log_prob).all(), name
        flow.save(folder / f"{name}.keras")
        expected |= {
            f"{name}/x": x,
            f"{name}/context": context,
            f"{name}/log_prob": log_prob,
        }
    x = keras.Input([2])
    hidden = keras.layers.Dense(4, "tanh", name="features")(x)
    flow = tfpf.recipes.real_nvp(2, context_size=4, layers=2, **SMALL)
    points = keras.Input([2], name="x")
    output = tfpf.LogProb(flow)([points, hidden])
    model = keras.Model([x, points], output)
    rng = np.random.default_rng(99)
    perturb(model, rng)
    inputs = [rng.normal(size=(5, 2)).astype("float32") for _ in range(2)]
    model.save(folder / "log_prob_layer.keras")
    expected |= {
        "log_prob_layer/x": inputs[1],
        "log_prob_layer/context": inputs[0],
        "log_prob_layer/log_prob": model.predict(inputs, verbose=0),
    }
    np.savez_compressed(folder / "expected.npz", **expected)


if __name__ == "__main__":
    main()
