"""How fast do flows train, score and sample? Beside zuko, normflows and flowjax.

Every library has a process of its own, which is set up and compiled first; then they
take turns, round by round, so that what disturbs the machine disturbs them all. Rates
are medians over the rounds. Ours is `flow.compile("adam")` and `flow.fit(x,
batch_size=...)` with nothing else set; `keras` is the same flow in a Keras model of its
own, by Keras's plain `fit`; the peers' loops are those of their documentation, with
the rows on hand as one tensor. `products` does the matrix products of a step and
nothing else. `--write` writes docs/speed.md and docs/speed.json.

Run: python tests/benchmarks/speed.py [--cases real_nvp_2d ...] [--rounds 5]
    [--methods ours zuko ...] [--write]
"""

import argparse
import dataclasses
import itertools
import multiprocessing
import os
import statistics
import time
from collections.abc import Callable, Sequence
from typing import Any

import _harness
import numpy as np

RATE = 1e-3


@dataclasses.dataclass(frozen=True)
class Case:
    """One flow, and what it is trained on.

    Attributes:
      title: in the table.
      width: of the points.
      layers: couplings.
      hidden: widths of each coupling's network.
      batch_size: rows a step.
      bins: of its splines; 0 for affine couplings.
      steps: of a round.
      points: that are scored and sampled in a round.
    """

    title: str
    width: int
    layers: int
    hidden: tuple[int, ...]
    batch_size: int
    bins: int
    steps: int
    points: int

    @property
    def outputs(self) -> int:
        """Numbers of a network for each coordinate that it moves."""
        return 3 * self.bins - 1 if self.bins else 2


CASES = {
    "real_nvp_2d": Case(
        "RealNVP, 2-d, 6 couplings of 128×128, batch 256",
        *(2, 6, (128, 128), 256, 0, 1000, 1_000_000),
    ),
    "real_nvp_43d": Case(
        "RealNVP, 43-d, 10 couplings of 128×128, batch 512",
        *(43, 10, (128, 128), 512, 0, 300, 100_000),
    ),
    "spline_43d": Case(
        "Spline couplings, 43-d, 10 of 64×64, 8 bins, batch 512",
        *(43, 10, (64, 64), 512, 8, 60, 20_000),
    ),
}


def points_of(case: Case, rows: int, seed: int = 0) -> np.ndarray:
    """Returns correlated normal points."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(case.width, case.width)) / np.sqrt(case.width)
    return (rng.normal(size=(rows, case.width)) @ mix).astype(np.float32)


# Contenders: from a case to train(steps), log_prob(x) and sample(n)

Contender = tuple[Callable, Callable | None, Callable | None]


def _our_flow(case: Case) -> Any:
    import tfp_flows as tfpf

    options = {"layers": case.layers, "hidden": case.hidden, "seed": 0}
    if case.bins:
        return tfpf.recipes.neural_spline(case.width, bins=case.bins, **options)
    return tfpf.recipes.real_nvp(case.width, **options)


def ours(case: Case) -> Contender:
    """tfp_flows with default settings."""
    flow = _our_flow(case)
    flow.compile("adam")
    x = points_of(case, case.batch_size * case.steps // 4)

    def train(steps: int) -> None:
        epochs = max(steps * case.batch_size // len(x), 1)
        flow.fit(x, batch_size=case.batch_size, epochs=epochs, verbose=0)

    return train, flow.log_prob, lambda n: flow.sample(n, seed=0)


def plain(case: Case) -> Contender:
    """The same flow, by Keras's plain fit."""
    import keras

    import tfp_flows as tfpf

    class Plain(keras.optimizers.Adam):
        """Keras's Adam as it is: ours lets only that class itself be faster."""

    inputs = keras.Input((case.width,))
    flow = _our_flow(case)
    x = points_of(case, case.batch_size * case.steps // 4)
    flow.adapt(x)
    model = keras.Model(inputs, tfpf.LogProb(flow)(inputs))
    model.compile(Plain(RATE), tfpf.NegativeLogLikelihood(), jit_compile=False)

    def train(steps: int) -> None:
        epochs = max(steps * case.batch_size // len(x), 1)
        model.fit(x, x, batch_size=case.batch_size, epochs=epochs, verbose=0)

    return train, None, None


def _torch_training(case: Case, parameters: Any, loss: Callable) -> Callable:
    import torch

    x = torch.from_numpy(points_of(case, case.batch_size * case.steps // 4))
    optimizer = torch.optim.Adam(parameters, lr=RATE)

    def train(steps: int) -> None:
        taken = 0
        while taken < steps:
            for rows in torch.randperm(len(x)).split(case.batch_size):
                optimizer.zero_grad()
                loss(x[rows]).backward()
                optimizer.step()
                taken += 1

    return train


def _in_chunks(function: Callable, chunk: int = 2**16) -> Callable:
    return lambda x: [
        function(x[start : start + chunk]) for start in range(0, len(x), chunk)
    ]


def zuko(case: Case) -> Contender:
    """zuko: NICE, which is affine there, or NSF with coupling masks."""
    import torch
    from zuko.flows import NICE, NSF

    torch.manual_seed(0)
    options = {"transforms": case.layers, "hidden_features": case.hidden}
    if case.bins:
        flow = NSF(case.width, bins=case.bins, passes=2, **options)
    else:
        flow = NICE(case.width, **options)

    @torch.no_grad()
    def log_prob(x):
        return flow().log_prob(torch.from_numpy(x))

    @torch.no_grad()
    def sample(n):
        return [flow().sample((min(2**16, n - i),)) for i in range(0, n, 2**16)]

    train = _torch_training(
        case, flow.parameters(), lambda x: -flow().log_prob(x).mean()
    )
    return train, _in_chunks(log_prob), sample


def normflows(case: Case) -> Contender:
    """normflows: affine coupling blocks, or coupled rational-quadratic splines."""
    import normflows as nf
    import torch

    torch.manual_seed(0)
    width, flows = case.width, []
    for i in range(case.layers):
        if case.bins:
            flows.append(
                nf.flows.CoupledRationalQuadraticSpline(
                    width,
                    num_blocks=1,  # of two layers
                    num_hidden_channels=case.hidden[0],
                    num_bins=case.bins,
                    reverse_mask=i % 2 == 1,
                )
            )
            continue
        kept = (width + 1) // 2
        sizes = [kept, *case.hidden, 2 * (width - kept)]
        network = nf.nets.MLP(sizes, init_zeros=True)
        flows.append(nf.flows.AffineCouplingBlock(network))
        flows.append(nf.flows.Permute(width, mode="swap"))
    flow = nf.NormalizingFlow(nf.distributions.base.DiagGaussian(width), flows)

    @torch.no_grad()
    def log_prob(x):
        return flow.log_prob(torch.from_numpy(x))

    @torch.no_grad()
    def sample(n):
        return [flow.sample(min(2**16, n - i)) for i in range(0, n, 2**16)]

    train = _torch_training(case, flow.parameters(), flow.forward_kld)
    return train, _in_chunks(log_prob), sample


def flowjax(case: Case) -> Contender:
    """flowjax: coupling_flow, trained by the step of its fit_to_data."""
    import equinox as eqx
    import jax
    import jax.numpy as jnp
    import optax
    import paramax
    from flowjax.bijections import Affine, RationalQuadraticSpline
    from flowjax.distributions import Normal
    from flowjax.flows import coupling_flow
    from flowjax.train import step
    from flowjax.train.losses import MaximumLikelihoodLoss

    flow = coupling_flow(
        jax.random.key(0),
        base_dist=Normal(jnp.zeros(case.width)),
        transformer=RationalQuadraticSpline(knots=case.bins, interval=4)
        if case.bins
        else Affine(),
        flow_layers=case.layers,
        nn_width=case.hidden[0],
        nn_depth=len(case.hidden),
    )
    x = jnp.asarray(points_of(case, case.batch_size * case.steps // 4))
    params, static = eqx.partition(
        flow,
        eqx.is_inexact_array,
        is_leaf=lambda leaf: isinstance(leaf, paramax.NonTrainable),
    )
    optimizer = optax.adam(RATE)
    loss = MaximumLikelihoodLoss()
    state = {"params": params, "optimizer": optimizer.init(params)}
    rng = np.random.default_rng(0)

    def train(steps: int) -> None:
        taken = 0
        while taken < steps:
            order = rng.permutation(len(x))
            for start in range(0, len(x), case.batch_size):
                state["params"], state["optimizer"], value = step(
                    state["params"],
                    static,
                    x[order[start : start + case.batch_size]],
                    optimizer=optimizer,
                    opt_state=state["optimizer"],
                    loss_fn=loss,
                )
                taken += 1
        value.block_until_ready()

    @eqx.filter_jit
    def scored(flow, x):
        return flow.log_prob(x)

    @eqx.filter_jit
    def sampled(flow, key, n):
        return flow.sample(key, (n,))

    def log_prob(x):
        return scored(flow, x).block_until_ready()

    def sample(n):
        keys = jax.random.split(jax.random.key(1), -(-n // 2**16))
        drawn = [
            sampled(flow, key, min(2**16, n - i * 2**16)) for i, key in enumerate(keys)
        ]
        return jax.block_until_ready(drawn)

    return train, _in_chunks(log_prob), sample


def products(case: Case) -> Contender:
    """The matrix products of a step, forward and back, in TensorFlow."""
    import tensorflow as tf

    kept = case.width // 2
    sizes = [kept, *case.hidden, case.outputs * (case.width - kept)]
    pairs = list(itertools.pairwise(sizes))
    # Variables: of constants a product could be taken out of the loop.
    inputs = [tf.Variable(tf.random.normal([case.batch_size, size])) for size in sizes]
    weights = [
        [tf.Variable(tf.random.normal(pair)) for pair in pairs]
        for _ in range(case.layers)
    ]

    @tf.function
    def run(steps):
        total = 0.0
        for _ in tf.range(steps):
            for layer in weights:
                for (x, y), w in zip(itertools.pairwise(inputs), layer, strict=True):
                    total += (x @ w)[0, 0]
                    total += tf.matmul(y, w, transpose_b=True)[0, 0]
                    total += tf.matmul(x, y, transpose_a=True)[0, 0]
        return total

    return lambda steps: run(tf.constant(steps)).numpy(), None, None


METHODS = {
    "ours": ours,
    "keras": plain,
    "zuko": zuko,
    "normflows": normflows,
    "flowjax": flowjax,
    "products": products,
}
PEERS = ("zuko", "normflows", "flowjax")


# Rounds


def serve(method: str, case: Case, pipe: Any) -> None:
    """Answers requests with seconds, in a process of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    train, log_prob, sample = METHODS[method](case)
    x = points_of(case, case.points, seed=1)
    tasks = {
        "train": lambda: train(case.steps),
        "log_prob": log_prob and (lambda: log_prob(x)),
        "sample": sample and (lambda: sample(case.points)),
    }
    while (task := pipe.recv()) is not None:
        if tasks[task] is None:
            pipe.send(None)
            continue
        start = time.perf_counter()
        tasks[task]()
        pipe.send(time.perf_counter() - start)


def measure(case: Case, methods: Sequence[str], rounds: int) -> dict[str, dict]:
    """Returns rates a second, by method and task: each a list over the rounds."""
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for method in methods:
        pipes[method], theirs = context.Pipe()
        process = context.Process(target=serve, args=(method, case, theirs))
        process.start()
        processes.append(process)
    done = {"train": case.steps, "log_prob": case.points, "sample": case.points}
    rates: dict[str, dict] = {method: {} for method in methods}
    try:
        for task, count in done.items():
            for i in range(rounds + 1):
                for method in methods:
                    pipes[method].send(task)
                    seconds = pipes[method].recv()
                    if i and seconds is not None:  # the first compiles
                        rates[method].setdefault(task, []).append(count / seconds)
    finally:
        for pipe in pipes.values():
            pipe.send(None)
        for process in processes:
            process.join()
    return rates


def table(case: Case, rates: dict[str, dict]) -> str:
    """Returns medians, and how many times the fastest peer each is."""
    lines = [
        f"## {case.title}",
        "",
        f"Steps a second, and thousands of points a second ({case.points:,} of them).",
        "",
        "| | training | × | log_prob | × | sample | × |",
        "|---|---|---|---|---|---|---|",
    ]
    medians = {
        method: {task: statistics.median(values) for task, values in tasks.items()}
        for method, tasks in rates.items()
    }
    for method, found in medians.items():
        cells = []
        for task, unit in (("train", 1), ("log_prob", 1000), ("sample", 1000)):
            peers = [m[task] for p, m in medians.items() if p in PEERS and task in m]
            if task not in found:
                cells += ["", ""]
                continue
            cells.append(f"{found[task] / unit:,.0f}")
            cells.append(f"{found[task] / max(peers):.2f}" if peers else "")
        lines.append(f"| {method} | {' | '.join(cells)} |")
    return "\n".join([*lines, ""])


def page(results: list[dict]) -> str:
    """Returns docs/speed.md."""
    tables = "\n".join(table(CASES[r["case"]], r["rates"]) for r in results)
    return f"""# How fast

Medians over rounds in which the libraries take turns; × is the ratio to the fastest of
zuko, normflows and flowjax in the same rounds. `ours` is `flow.compile("adam")` and
`flow.fit(x, batch_size=...)` with nothing else set, data feeding, shuffling and history
included; `keras` is the same flow trained by Keras's plain `fit`; `products` does the
matrix products of a step and nothing else: no flow can train faster with them.

{tables}
{_harness.made_by(__file__)}
"""


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--cases", nargs="+", choices=CASES, default=list(CASES))
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--write", action="store_true", help="the page in docs/")
    options = parser.parse_args()
    results = []
    for name in options.cases:
        rates = measure(CASES[name], options.methods, options.rounds)
        results.append({"case": name, "rates": rates})
        print(table(CASES[name], rates), flush=True)
    if options.write:
        _harness.write("speed", page(results), results)
