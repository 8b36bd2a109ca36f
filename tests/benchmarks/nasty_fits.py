"""Do short fits stay finite, whatever the data and the options?

Fits random recipes with random options, and now and then FlowDensity, for a few steps
to data with outliers at 1e6, constant and duplicated columns, whole numbers, tiny
scales, huge offsets, five rows, and several of these at once. Each fit is drawn from
its own seed. What is not finite (losses, weights, log_prob of the data, samples), and
every error, is printed with that seed: `--seed SEED --count 1` repeats it alone.

Run: python tests/benchmarks/nasty_fits.py [--count 1000] [--seed 0]
"""

import argparse
import collections
import dataclasses
import gc
import multiprocessing
import traceback
import warnings
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import keras
import numpy as np

import tfp_flows as tfpf
from tfp_flows import recipes

SHARE_OF_ESTIMATORS = 0.1
COUPLINGS = ("neural_spline", "nice", "real_nvp")


# Data


def _outliers(x: np.ndarray, rng: np.random.Generator) -> None:
    rows = rng.integers(len(x), size=rng.integers(1, 3))
    x[rows, rng.integers(x.shape[1])] = rng.choice([-1e6, 1e6])


def _constant(x: np.ndarray, rng: np.random.Generator) -> None:
    x[:, rng.integers(x.shape[1])] = rng.choice([0.0, 1.0, -3.7, 1e6])


def _duplicated(x: np.ndarray, rng: np.random.Generator) -> None:
    to, source = rng.integers(x.shape[1], size=2)
    x[:, to] = x[:, source]


def _integers(x: np.ndarray, rng: np.random.Generator) -> None:
    column = rng.integers(x.shape[1])
    x[:, column] = np.round(rng.choice([1.0, 30.0]) * x[:, column])


def _tiny(x: np.ndarray, rng: np.random.Generator) -> None:
    x[:, rng.integers(x.shape[1])] *= 1e-8


def _huge(x: np.ndarray, rng: np.random.Generator) -> None:
    x[:, rng.integers(x.shape[1])] *= 1e6


def _offset(x: np.ndarray, rng: np.random.Generator) -> None:
    x[:, rng.integers(x.shape[1])] += rng.choice([-1.0, 1.0]) * 10 ** rng.uniform(3, 8)


def _few_values(x: np.ndarray, rng: np.random.Generator) -> None:
    x[:] = x[rng.integers(min(3, len(x)), size=len(x))]


NASTY: dict[str, Callable[[np.ndarray, np.random.Generator], None]] = {
    "outliers": _outliers,
    "constant": _constant,
    "duplicated": _duplicated,
    "integers": _integers,
    "tiny": _tiny,
    "huge": _huge,
    "offset": _offset,
    "few values": _few_values,
}


def draw_data(rng: np.random.Generator) -> tuple[np.ndarray, list[str]]:
    """Returns points `(n, d)`, and what is nasty about them, in the order done."""
    n, d = rng.choice([5, 30, 120]), rng.choice([1, 2, 3, 6])
    tails = rng.choice([1.0, 3.0, 100.0])  # degrees of freedom
    x = rng.standard_t(tails, size=(n, d))
    kinds = list(rng.permutation(list(NASTY))[: rng.integers(1, 4)])
    for kind in kinds:
        NASTY[kind](x, rng)
    return x, kinds


# Fits


@dataclasses.dataclass
class Fit:
    """One fit: what is fitted, with which options, to which points."""

    name: str
    options: dict[str, Any]
    x: np.ndarray
    kinds: list[str]
    learning_rate: float
    batch_size: int
    steps: int
    seed: int

    def __str__(self) -> str:
        words = ", ".join(f"{key}={value!r}" for key, value in self.options.items())
        return (
            f"seed {self.seed}: {self.name}({words}) on {self.x.shape}, "
            f"{' and '.join(self.kinds)}; rate {self.learning_rate:.1e}, "
            f"{self.steps} steps of {self.batch_size}"
        )


def draw_fit(seed: int) -> Fit:
    """Returns the fit of this seed."""
    rng = np.random.default_rng(seed)
    x, kinds = draw_data(rng)
    if rng.random() < SHARE_OF_ESTIMATORS:
        name = "FlowDensity"
        if rng.random() < 0.2:  # enough for a flow
            x = np.repeat(x, -(-600 // len(x)), axis=0)
        options = {"layers": 2, "hidden": (8,), "time_limit": 3.0}
    else:
        d = x.shape[1]
        name = str(
            rng.choice([n for n in recipes.__all__ if d > 1 or n not in COUPLINGS])
        )
        options = _options(name, rng)
    return Fit(
        name,
        options,
        x,
        kinds,
        learning_rate=10 ** rng.uniform(-4, -1.5),
        # Batches of two sizes would compile two graphs.
        batch_size=len(x) // int(rng.choice([1, 5])),
        steps=int(rng.integers(2, 7)),
        seed=seed,
    )


def _options(name: str, rng: np.random.Generator) -> dict[str, Any]:
    options: dict[str, Any] = {
        "hidden": ((8,), (16,), (8, 8))[rng.integers(3)],
        "dtype": str(rng.choice(["float32", "float32", "float64"])),
        "context_size": int(rng.choice([0, 0, 0, 2])),
    }
    if name != "gaussian":
        fewest = 2 if name in COUPLINGS else 1
        most = 1 if name == "continuous" else 4
        options["layers"] = int(rng.integers(fewest, max(most, fewest) + 1))
    if "spline" in name:
        options["bins"] = int(rng.choice([2, 4, 8, 16]))
    if name == "gaussianization":
        options["components"] = int(rng.choice([1, 3, 8]))
    if name in (*COUPLINGS, "maf", "iaf", "neural_spline_autoregressive"):
        options["activation"] = str(rng.choice(["relu", "tanh", "swish"]))
    return options


def problems(fit: Fit) -> Iterator[str]:
    """Yields what is not finite after the fit, or the error it ended with."""
    keras.utils.set_random_seed(fit.seed)
    run = _estimator_parts if fit.name == "FlowDensity" else _recipe_parts
    try:
        with warnings.catch_warnings():
            # Points outside of a spline's box, constant columns: said, and no failure.
            warnings.simplefilter("ignore")
            parts = run(fit)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        line = str(error).strip().split("\n")[0]
        yield f"{type(error).__name__} in {where.name}: {line}"
        return
    for what, values in parts.items():
        bad = sum(int((~np.isfinite(value)).sum()) for value in values)
        if bad:
            yield f"{bad} of {sum(map(np.size, values))} {what} are not finite"


def _recipe_parts(fit: Fit) -> dict[str, list[np.ndarray]]:
    """Fits a recipe; returns the numbers that must be finite."""
    options = {**fit.options, "seed": fit.seed}
    flow = getattr(recipes, fit.name)(fit.x.shape[1], **options)
    flow.compile(keras.optimizers.Adam(fit.learning_rate))
    data, density = fit.x, flow.distribution if not flow.context_size else None
    if flow.context_size:
        rng = np.random.default_rng(fit.seed)
        context = rng.normal(size=(len(fit.x), flow.context_size))
        data, density = {"x": fit.x, "context": context}, flow.given(context)
    epochs = -(-fit.steps * fit.batch_size // len(fit.x))
    losses = flow.fit(data, batch_size=fit.batch_size, epochs=epochs, verbose=0)
    return {
        "losses": [np.array(losses.history["loss"])],
        "weights": [np.asarray(weight) for weight in flow.get_weights()],
        "log_prob": [density.log_prob(fit.x.astype(flow.dtype)).numpy()],
        "samples": [density.sample(3, seed=fit.seed).numpy()],
    }


def _estimator_parts(fit: Fit) -> dict[str, list[np.ndarray]]:
    """Fits a FlowDensity; returns the numbers that must be finite."""
    density = tfpf.FlowDensity(**fit.options, verbose=0, random_state=fit.seed)
    density.fit(fit.x)
    return {
        "losses": [np.array(values) for values in density.history_.values()],
        "weights": [np.asarray(weight) for weight in density.flow_.get_weights()],
        "log_prob": [density.score_samples(fit.x)],
        "samples": [density.sample(20, random_state=fit.seed)],
    }


def outcome(seed: int) -> tuple[Fit, list[str]]:
    """Returns the fit of this seed, and what is wrong with it."""
    fit = draw_fit(seed)
    found = list(problems(fit))
    keras.backend.clear_session()
    gc.collect()
    return fit, found


def report(outcomes: Iterable[tuple[Fit, list[str]]]) -> int:
    """Prints each failure, and how many there were; returns their number."""
    fits, failed = collections.Counter(), collections.Counter()
    for fit, found in outcomes:
        fits[fit.name] += 1
        if found:
            failed[fit.name] += 1
            print(fit, *found, sep="\n    ", flush=True)
    for name in sorted(fits):
        print(f"{name:30} {fits[name]:5} fits, {failed[name]} failed")
    print(f"{fits.total()} fits, {failed.total()} failed")
    return failed.total()


def main(count: int, seed: int) -> int:
    """Makes the fits, in processes that end before their graphs fill the memory."""
    context = multiprocessing.get_context("spawn")
    with context.Pool(1, maxtasksperchild=50) as pool:
        return report(pool.imap(outcome, range(seed, seed + count)))


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=1000)
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    raise SystemExit(main(arguments.count, arguments.seed) > 0)
