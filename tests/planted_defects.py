"""Flows whose density is exact, and rows that were not drawn from them.

`EXACT` has for each name a factory of a flow, whose own samples are perfect rows;
`DEFECTS` for each kind of defect a function from a seed and a number of rows to the
arguments of `diagnostics.evaluate`, and the check that must find it.
"""

import functools

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf

tfb, tfd = tfp.bijectors, tfp.distributions


@functools.cache
def curved():
    """Two coordinates, normal at the base."""
    return tfpf.Flow(
        [
            tfb.Scale([2.0, 1.5]),
            tfpf.bijectors.ShiftAndCube(0.3),
            tfpf.bijectors.Rotation2D(1.0),
            tfb.Shift([10.0, -2.0]),
        ]
    )


def one_dimension():
    bijectors = [tfb.Invert(tfb.NormalCDF()), tfb.Scale(2.0)]
    return tfpf.Flow(bijectors, base=tfd.Beta(2.0, 5.0), event_size=1)


def heavy():
    """Five coordinates, Student's tails, in float64."""
    base = tfd.Sample(tfd.StudentT(np.float64(3.0), np.float64(0), np.float64(1)), [5])
    return tfpf.Flow([tfb.Scale(np.full(5, 2.0)), tfb.Sinh()], base=base)


def uniform():
    return tfpf.Flow([tfb.Scale([2.0, 3.0])], base=tfd.Uniform(0.0, 1.0))


def wide():
    return tfpf.Flow([tfpf.bijectors.LULinear(seed=0)], event_size=64)


def mixture(means, scales, weights=None):
    """A flow that is a mixture of round normal components."""
    means = np.asarray(means, np.float64)
    k, d = means.shape
    base = tfpf.bases.Mixture(d, components=k, dtype="float64", seed=0)
    weights = np.full(k, 1 / k) if weights is None else np.asarray(weights)
    units = np.eye(d) / np.reshape(scales, (-1, 1, 1))
    base.start(weights, means, np.broadcast_to(units, (k, d, d)))
    return tfpf.Flow([], base=base)


def dependent():
    """A base whose coordinates depend on each other, without distribution functions."""
    return mixture([[-2.0, -2.0], [2.0, 2.0]], [1.0, 0.5])


def conditional():
    """One whose shift, scale and base follow the context."""
    base = tfpf.bases.Mixture(
        2, components=2, context_size=1, hidden=(8,), seed=0, tails="student"
    )
    coupling = tfpf.bijectors.AffineCoupling(context_size=1, hidden=(8,), seed=1)
    flow = tfpf.Flow([coupling], base=base)
    rng = np.random.default_rng(0)
    for weight in flow.trainable_variables:
        weight.assign(weight + 0.3 * rng.normal(size=weight.shape))
    return flow


EXACT = {
    "curved": curved,
    "one_dimension": one_dimension,
    "heavy": heavy,
    "uniform": uniform,
    "wide": wide,
    "dependent": dependent,
    "conditional": conditional,
}


def perfect(flow, seed, n):
    """Arguments of `evaluate` for rows from the flow itself."""
    if not flow.context_size:
        rows = flow.sample(n, seed=seed).numpy()
        # Tails as heavy as these overflow once in some hundred thousand rows.
        return {"flow": flow, "x_test": rows[np.isfinite(rows).all(1)]}
    context = np.random.default_rng(seed).normal(size=(n, flow.context_size))
    rows = flow.given(context).sample(seed=(seed, 0)).numpy()
    return {"flow": flow, "x_test": rows, "context": context}


def through(flow, z):
    """Rows that a flow takes to z."""
    bijector = flow.distribution.bijector
    return bijector.forward(tf.constant(z, flow.dtype)).numpy()


def shifted_mean(seed, n):
    """A tenth of a standard deviation."""
    z = np.random.default_rng(seed).normal(size=(n, 2))
    flow = curved()
    return {"flow": flow, "x_test": through(flow, z + np.array([0.1, 0.0]))}


def missing_mode(seed, n):
    """A twentieth of the rows stand apart."""
    rng = np.random.default_rng(seed)
    z = rng.normal(size=(n, 2))
    apart = rng.uniform(size=n) < 0.05
    z[apart] = [3.0, 0.0] + 0.5 * z[apart]
    flow = curved()
    return {"flow": flow, "x_test": through(flow, z)}


def spare_mode(seed, n):
    """A twentieth of the flow is where no rows are."""
    flow = mixture([[0.0, 0.0], [3.0, 0.0]], [1.0, 0.5], [0.95, 0.05])
    return {"flow": flow, "x_test": np.random.default_rng(seed).normal(size=(n, 2))}


def heavy_tail(seed, n):
    """Student's t with 4 degrees of freedom, of unit variance, in a normal flow."""
    z = np.random.default_rng(seed).standard_t(4, size=(n, 2)) / np.sqrt(2)
    flow = curved()
    return {"flow": flow, "x_test": through(flow, z)}


def light_tail(seed, n):
    """Normal rows in a flow with Student's tails, of the same variance."""
    base = tfd.StudentT(4.0, 0.0, float(np.sqrt(0.5)))
    flow = tfpf.Flow([tfb.Shift([10.0, -2.0])], base=base)
    z = np.random.default_rng(seed).normal(size=(n, 2))
    return {"flow": flow, "x_test": through(flow, z)}


def repeated_rows(seed, n):
    """One row in a hundred is another once more."""
    given = perfect(curved(), seed, n)
    rng = np.random.default_rng(seed)
    x = given["x_test"].copy()
    x[: n // 100] = x[rng.integers(n // 100, n, size=n // 100)]
    return {**given, "x_test": rng.permutation(x)}


def training_rows(seed, n):
    """One row in a hundred is a training row."""
    given = perfect(curved(), seed, n)
    train = perfect(curved(), 1000 + seed, n)["x_test"]
    x = given["x_test"].copy()
    x[: n // 100] = train[: n // 100]
    return {**given, "x_test": x, "x_train": train}


def learned_by_heart(seed, n):
    """A narrow kernel about each of 300 training rows."""
    rng = np.random.default_rng(seed)
    train = rng.normal(size=(300, 2))
    flow = mixture(train, np.full(300, 0.05))
    return {"flow": flow, "x_test": rng.normal(size=(n, 2)), "x_train": train}


def learned_by_heart_unseen(seed, n):
    """The same without the training rows."""
    given = learned_by_heart(seed, n)
    del given["x_train"]
    return given


# Name → the arguments of `evaluate`, and a check that must not pass.
DEFECTS = {
    "shifted_mean": (shifted_mean, "coordinates"),
    "missing_mode": (missing_mode, "coordinates"),
    "spare_mode": (spare_mode, "log_density"),
    "heavy_tail": (heavy_tail, "coordinates"),
    "light_tail": (light_tail, "coordinates"),
    "repeated_rows": (repeated_rows, "copies"),
    "training_rows": (training_rows, "copies"),
    "learned_by_heart": (learned_by_heart, "copies"),
    "learned_by_heart_unseen": (learned_by_heart_unseen, "likelihood"),
}
