"""Density estimators side by side, each fitted within the same wall-clock budget.

A method takes training points, selection points, a clock and a seed, and returns a
function from points to log-densities in nats. It starts the clock once its libraries
are imported, so that compiling counts. The peers get standardized columns.
"""

import functools
import math
import time
import warnings
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

Score = Callable[[np.ndarray], np.ndarray]

CHUNK = 10_000  # rows that are scored at a time
COMPONENTS = (1, 2, 3, 4, 5, 6, 8, 10, 12, 15, 20, 25, 30, 35, 40, 45, 50, 55, 60)


class Clock:
    """A budget of seconds, counted from `start`."""

    def __init__(self, seconds: float):
        self.seconds = seconds
        self.start()

    def start(self) -> None:
        self._begin = time.monotonic()

    @property
    def spent(self) -> float:
        return time.monotonic() - self._begin

    @property
    def left(self) -> float:
        return self.seconds - self.spent


def standardized(method: Callable[..., Score]) -> Callable[..., Score]:
    """Returns a method that gets columns of mean 0 and standard deviation 1."""

    @functools.wraps(method)
    def fit(train, validation, clock, seed, **options):
        shift, scale = train.mean(axis=0), train.std(axis=0)
        score = method(
            (train - shift) / scale,
            (validation - shift) / scale,
            clock,
            seed,
            **options,
        )
        return lambda x: score((x - shift) / scale) - np.log(scale).sum()

    return fit


def flow_density(
    train: np.ndarray, validation: np.ndarray, clock: Clock, seed: int
) -> Score:
    """Fits ours with a time limit only; it holds out rows by itself."""
    import tfp_flows as tfpf

    clock.start()
    model = tfpf.FlowDensity(time_limit=clock.seconds, verbose=0, random_state=seed)
    return model.fit(np.concatenate([train, validation])).score_samples


@standardized
def mixture(
    train: np.ndarray,
    validation: np.ndarray,
    clock: Clock,
    seed: int,
    components: Sequence[int] = COMPONENTS,
) -> Score:
    """scikit-learn's GaussianMixture: components by validation, refitted to all."""
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.mixture import GaussianMixture

    warnings.simplefilter("ignore", ConvergenceWarning)
    clock.start()
    best, best_score, best_seconds = None, -np.inf, 0.0
    pace = 0.0
    for k in components:
        # This fit, and that of the winner to all points.
        if k > len(train) // 2 or clock.left < pace * k + max(pace * k, best_seconds):
            break
        begin = clock.spent
        model = GaussianMixture(k, random_state=seed).fit(train)
        score = model.score(validation)
        seconds = clock.spent - begin
        pace = 1.2 * seconds / k
        if score > best_score:
            best, best_score, best_seconds = k, score, seconds
    model = GaussianMixture(best, random_state=seed)
    return model.fit(np.concatenate([train, validation])).score_samples


@standardized
def kernels(
    train: np.ndarray, validation: np.ndarray, clock: Clock, seed: int
) -> Score:
    """scikit-learn's KernelDensity: Gaussian, one bandwidth, by validation."""
    from sklearn.neighbors import KernelDensity

    clock.start()
    some = validation[:2000]
    scott = len(train) ** (-1 / (train.shape[1] + 4))
    best, best_score, seconds = scott, -np.inf, 0.0
    for factor in 2.0 ** np.array([0, -1, -2, 1, -3, -0.5, -1.5, -2.5, 0.5, -4]):
        begin = clock.spent
        if clock.left < 1.5 * seconds:
            break
        model = KernelDensity(bandwidth=scott * factor, rtol=1e-4).fit(train)
        score = model.score_samples(some).mean()
        seconds = max(seconds, clock.spent - begin)
        if score > best_score:
            best, best_score = scott * factor, score
    model = KernelDensity(bandwidth=best, rtol=1e-4)
    return model.fit(np.concatenate([train, validation])).score_samples


@standardized
def zuko_spline(
    train: np.ndarray,
    validation: np.ndarray,
    clock: Clock,
    seed: int,
    **options: Any,
) -> Score:
    """zuko's neural spline flow: autoregressive, 3 transforms."""
    import zuko

    return _fit_zuko(zuko.flows.NSF, train, validation, clock, seed, **options)


@standardized
def zuko_maf(
    train: np.ndarray,
    validation: np.ndarray,
    clock: Clock,
    seed: int,
    **options: Any,
) -> Score:
    """zuko's masked autoregressive flow: affine, 3 transforms."""
    import zuko

    return _fit_zuko(zuko.flows.MAF, train, validation, clock, seed, **options)


def _fit_zuko(
    family: Callable[..., Any],
    train: np.ndarray,
    validation: np.ndarray,
    clock: Clock,
    seed: int,
    transforms: int = 3,
    hidden: Sequence[int] = (64, 64),
    batch_size: int = 256,
    decay: bool = False,
) -> Score:
    import torch

    torch.manual_seed(seed)
    torch.optim.Adam([torch.zeros(1)])  # the first one imports torch's compiler
    clock.start()
    flow = family(
        train.shape[1], transforms=transforms, hidden_features=hidden, randperm=True
    )
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flow.to(device)
    optimizer = torch.optim.Adam(flow.parameters(), lr=1e-3)
    best = {}

    def step(batch, rate):
        optimizer.param_groups[0]["lr"] = rate
        loss = -flow().log_prob(torch.from_numpy(batch).to(device)).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    @torch.no_grad()
    def score(x):
        return flow().log_prob(torch.from_numpy(x).to(device)).cpu().numpy()

    def keep():
        best.update((k, v.clone()) for k, v in flow.state_dict().items())

    _train(train, validation, clock, seed, step, score, keep, batch_size, decay=decay)
    flow.load_state_dict(best)
    return functools.partial(_in_chunks, score)


@standardized
def flowjax_spline(
    train: np.ndarray,
    validation: np.ndarray,
    clock: Clock,
    seed: int,
    layers: int = 8,
    width: int = 50,
    batch_size: int = 256,
    decay: bool = False,
) -> Score:
    """flowjax's masked autoregressive flow with rational-quadratic splines."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    import paramax
    from flowjax.bijections import RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import masked_autoregressive_flow
    from flowjax.train import step as train_step
    from flowjax.train.losses import MaximumLikelihoodLoss

    clock.start()
    flow = masked_autoregressive_flow(
        jax.random.key(seed),
        base_dist=Normal(jnp.zeros(train.shape[1])),
        transformer=RationalQuadraticSpline(knots=8, interval=4),
        flow_layers=layers,
        nn_width=width,
    )
    params, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    optimizer = optax.inject_hyperparams(optax.adam)(learning_rate=1e-3)
    state = {"params": params, "optimizer": optimizer.init(params), "best": params}
    loss = MaximumLikelihoodLoss()

    def step(batch, rate):
        state["optimizer"].hyperparams["learning_rate"] = jnp.asarray(rate)
        state["params"], state["optimizer"], value = train_step(
            state["params"],
            static,
            batch,
            optimizer=optimizer,
            opt_state=state["optimizer"],
            loss_fn=loss,
        )
        value.block_until_ready()  # otherwise steps queue up beyond the clock

    log_prob = eqx.filter_jit(
        lambda params, x: paramax.unwrap(eqx.combine(params, static)).log_prob(x)
    )

    def score(x, which="params"):
        return np.asarray(log_prob(state[which], x))

    def keep():
        state["best"] = state["params"]

    _train(train, validation, clock, seed, step, score, keep, batch_size, decay=decay)
    return functools.partial(_in_chunks, functools.partial(score, which="best"))


def _train(
    train: np.ndarray,
    validation: np.ndarray,
    clock: Clock,
    seed: int,
    step: Callable[[np.ndarray, float], None],
    score: Score,
    keep: Callable[[], None],
    batch_size: int,
    *,
    decay: bool,
    rate: float = 1e-3,
    validate_every: int = 2000,
) -> None:
    """Takes steps until the clock stops, and keeps the weights that validate best.

    Args:
      step: takes a batch and a learning rate.
      score: returns nats of points, with the current weights.
      keep: called when the current weights are the best so far.
      decay: whether the rate falls to zero with the clock, on a cosine.
      validate_every: steps, where an epoch is longer than that.
    """
    rng = np.random.default_rng(seed)
    batch_size = min(batch_size, len(train))
    best, seconds, steps = -np.inf, 0.0, 0

    def validate():
        nonlocal best, seconds
        begin = clock.spent
        value = _in_chunks(score, validation).mean()
        if value > best or steps == 0:
            best = value
            keep()
        seconds = clock.spent - begin

    validate()  # which may compile
    validate()  # which is timed
    while clock.left > seconds:
        order = rng.permutation(len(train))
        for start in range(0, len(train) - batch_size + 1, batch_size):
            batch = train[order[start : start + batch_size]].astype(np.float32)
            done = min(clock.spent / clock.seconds, 1)
            step(batch, rate * (1 + math.cos(math.pi * done)) / 2 if decay else rate)
            steps += 1
            if clock.left < seconds:
                break
            if steps % validate_every == 0:
                validate()
        validate()


def _in_chunks(score: Score, x: np.ndarray) -> np.ndarray:
    x = x.astype(np.float32)
    parts = [score(x[i : i + CHUNK]) for i in range(0, len(x), CHUNK)]
    return np.concatenate(parts).astype(np.float64)


METHODS = {
    "ours": flow_density,
    "mixture": mixture,
    "kernels": kernels,
    "zuko": zuko_spline,
    "flowjax": flowjax_spline,
}
TITLES = {
    "ours": "FlowDensity",
    "mixture": "GaussianMixture",
    "kernels": "KernelDensity",
    "zuko": "zuko NSF",
    "flowjax": "flowjax MAF-RQS",
}
