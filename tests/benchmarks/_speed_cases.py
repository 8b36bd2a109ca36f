"""Flows of the same size in each library, and how they take turns at being timed.

Every library has a process of its own, which is set up and compiled first; then they
take turns, round by round, so that what disturbs the machine disturbs them all.
"""

import contextlib
import dataclasses
import functools
import itertools
import multiprocessing
import os
import statistics
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np

RATE = 1e-3
_CHUNK = 2**16  # points that are scored or drawn at once


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
      points: that are scored and sampled in a round. Of very many ours scores more a
        second.
      peers_points: that the others score and sample; as many when None.
    """

    title: str
    width: int
    layers: int
    hidden: tuple[int, ...]
    batch_size: int
    bins: int
    steps: int
    points: int
    peers_points: int | None = None

    @property
    def outputs(self) -> int:
        """Numbers of a network for each coordinate that it moves."""
        return 3 * self.bins - 1 if self.bins else 2

    @property
    def multiplications(self) -> int:
        """Those of a point's way through all networks."""
        kept = self.width // 2
        sizes = [kept, *self.hidden, self.outputs * (self.width - kept)]
        return self.layers * sum(a * b for a, b in itertools.pairwise(sizes))


CASES = {
    "real_nvp_2d": Case(
        "RealNVP, 2-d, 6 couplings of 128×128, batch 256",
        *(2, 6, (128, 128), 256, 0, 1000, 1_000_000),
    ),
    "real_nvp_43d": Case(
        "RealNVP, 43-d, 10 couplings of 128×128, batch 512",
        *(43, 10, (128, 128), 512, 0, 480, 1_000_000, 200_000),
    ),
    "spline_43d": Case(
        "Spline couplings, 43-d, 10 of 64×64, 8 bins, batch 512",
        *(43, 10, (64, 64), 512, 8, 280, 500_000, 20_000),
    ),
}


@dataclasses.dataclass(frozen=True)
class Entry:
    """Who takes part, and how.

    Attributes:
      method: one of `METHODS`.
      precision: of matrix products: "float32", "tf32", "mixed" for bfloat16, or "" as
        the library has it.
      xla: whether XLA compiles ours; None as it comes.
      without: the optimization that ours does without, one of `OPTIMIZATIONS`, or "".
    """

    method: str
    precision: str = ""
    xla: bool | None = None
    without: str = ""

    @property
    def library(self) -> str:
        """What it runs on."""
        peers = {"zuko": "torch", "normflows": "torch", "flowjax": "jax"}
        return peers.get(self.method, "tensorflow")


class Contender(NamedTuple):
    """A flow of some library, or of ours.

    Attributes:
      train: takes a number of steps.
      log_prob: of points, or None.
      sample: draws a number of points, or None.
      device: returns where its weights are.
      wait: until the device has done what it was told.
    """

    train: Callable
    log_prob: Callable | None = None
    sample: Callable | None = None
    device: Callable[[], str] = lambda: "CPU:0"
    wait: Callable[[], None] = lambda: None


def points_of(case: Case, rows: int, seed: int = 0) -> np.ndarray:
    """Returns correlated normal points."""
    rng = np.random.default_rng(seed)
    mix = rng.normal(size=(case.width, case.width)) / np.sqrt(case.width)
    return (rng.normal(size=(rows, case.width)) @ mix).astype(np.float32)


# Contenders


def our_flow(case: Case, entry: Entry) -> Any:
    """Returns our flow of a case."""
    import tfp_flows as tfpf

    options = {"layers": case.layers, "hidden": case.hidden, "seed": 0}
    if entry.precision == "mixed":
        options["dtype"] = "mixed_bfloat16"
    if case.bins:
        return tfpf.recipes.neural_spline(case.width, bins=case.bins, **options)
    return tfpf.recipes.real_nvp(case.width, **options)


# What makes ours fast, and the fields of a fit's plan that leave it out. Batches of a
# dataset have no known size, so they are not cut into parts: what rows in memory bring
# is measured against ours without parts.
OPTIMIZATIONS: dict[str, dict[str, Any]] = {
    "fused-adam": {},
    "rows-in-memory": {"rows_in_memory": False, "parts": 1, "fills_up": False},
    "parts": {"parts": 1},
    "many-steps": {"steps_per_call": 1},
    "xla": {"jit_compile": False},
}
COMPARED_WITH = {"rows-in-memory": "parts"}


@contextlib.contextmanager
def planned_without(optimization: str) -> Iterator[None]:
    """Has fits planned like long ones, for which XLA pays, and without something."""
    from tfp_flows.training import trainer

    make_plan = trainer.make_plan

    def changed(*args: Any, **options: Any) -> Any:
        plan = make_plan(*args, **{**options, "epochs": 1_000_000})
        fields = OPTIMIZATIONS[optimization] if optimization else {}
        return dataclasses.replace(plan, **fields)

    trainer.make_plan = changed
    try:
        yield
    finally:
        trainer.make_plan = make_plan


def ours_without(case: Case, entry: Entry) -> Contender:
    """tfp_flows in a long fit, without one of its optimizations."""
    import keras

    class Plain(keras.optimizers.Adam):
        """Not fused: a subclass."""

    flow = our_flow(case, entry)
    kind = Plain if entry.without == "fused-adam" else keras.optimizers.Adam
    flow.compile(kind(RATE))
    x = points_of(case, case.batch_size * case.steps // 4)

    def train(steps: int) -> None:
        epochs = max(steps * case.batch_size // len(x), 1)
        with planned_without(entry.without):
            flow.fit(x, batch_size=case.batch_size, epochs=epochs, verbose=0)

    return Contender(train)


def ours(case: Case, entry: Entry) -> Contender:
    """tfp_flows with default settings, or with and without XLA."""
    import tensorflow as tf

    from tfp_flows._core import devices

    flow = our_flow(case, entry)
    flow.compile("adam", jit_compile=entry.xla)
    x = points_of(case, case.batch_size * case.steps // 4)

    def train(steps: int) -> None:
        epochs = max(steps * case.batch_size // len(x), 1)
        flow.fit(x, batch_size=case.batch_size, epochs=epochs, verbose=0)

    def where() -> str:
        return devices.describe(weight.value for weight in flow.weights)

    log_prob, sample = flow.log_prob, lambda n: flow.sample(n, seed=0)
    if entry.xla:
        scored = tf.function(flow.distribution.log_prob, jit_compile=True)
        size = min(_CHUNK, case.points)
        drawn = tf.function(
            lambda seed: flow.distribution.sample(size, seed=seed), jit_compile=True
        )

        def log_prob(x):
            return _in_chunks(lambda part: scored(tf.constant(part)))(x)

        def sample(n):
            return [drawn(tf.constant([0, i])) for i in range(-(-n // size))]

    return Contender(train, log_prob, sample, where, tf.test.experimental.sync_devices)


def plain(case: Case, entry: Entry) -> Contender:
    """The same flow, by Keras's plain fit."""
    import keras

    import tfp_flows as tfpf

    class Plain(keras.optimizers.Adam):
        """Keras's Adam as it is: ours lets only that class itself be faster."""

    inputs = keras.Input((case.width,))
    flow = our_flow(case, entry)
    x = points_of(case, case.batch_size * case.steps // 4)
    flow.adapt(x)
    model = keras.Model(inputs, tfpf.LogProb(flow)(inputs))
    model.compile(Plain(RATE), tfpf.NegativeLogLikelihood(), jit_compile=False)

    def train(steps: int) -> None:
        epochs = max(steps * case.batch_size // len(x), 1)
        model.fit(x, x, batch_size=case.batch_size, epochs=epochs, verbose=0)

    return Contender(train)


def _torch_training(
    case: Case, parameters: Any, loss: Callable, device: str = "cpu"
) -> Callable:
    import torch

    x = torch.from_numpy(points_of(case, case.batch_size * case.steps // 4)).to(device)
    optimizer = torch.optim.Adam(parameters, lr=RATE)

    def train(steps: int) -> None:
        taken = 0
        while taken < steps:
            order = torch.randperm(len(x), device=device)
            for rows in order.split(case.batch_size):
                optimizer.zero_grad()
                loss(x[rows]).backward()
                optimizer.step()
                taken += 1

    return train


def _in_chunks(function: Callable, chunk: int = _CHUNK) -> Callable:
    return lambda x: [
        function(x[start : start + chunk]) for start in range(0, len(x), chunk)
    ]


def zuko(case: Case, entry: Entry) -> Contender:
    """zuko: NICE, which is affine there, or NSF with coupling masks."""
    import torch
    from zuko.flows import NICE, NSF

    torch.manual_seed(0)
    options = {"transforms": case.layers, "hidden_features": case.hidden}
    if case.bins:
        flow = NSF(case.width, bins=case.bins, passes=2, **options)
    else:
        flow = NICE(case.width, **options)
    device = "cuda" if torch.cuda.is_available() else "cpu"
    flow.to(device)

    @torch.no_grad()
    def log_prob(x):
        return flow().log_prob(torch.from_numpy(x).to(device))

    @torch.no_grad()
    def sample(n):
        return [flow().sample((min(_CHUNK, n - i),)) for i in range(0, n, _CHUNK)]

    def where() -> str:
        found = next(flow.parameters()).device
        name = (
            f" ({torch.cuda.get_device_name(found)})" if found.index is not None else ""
        )
        return f"{'GPU' if found.type == 'cuda' else 'CPU'}:{found.index or 0}{name}"

    train = _torch_training(
        case, flow.parameters(), lambda x: -flow().log_prob(x).mean(), device
    )
    wait = torch.cuda.synchronize if device == "cuda" else lambda: None
    return Contender(train, _in_chunks(log_prob), sample, where, wait)


def normflows(case: Case, entry: Entry) -> Contender:
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
        return [flow.sample(min(_CHUNK, n - i)) for i in range(0, n, _CHUNK)]

    train = _torch_training(case, flow.parameters(), flow.forward_kld)
    return Contender(train, _in_chunks(log_prob), sample)


def flowjax(case: Case, entry: Entry) -> Contender:
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
        keys = jax.random.split(jax.random.key(1), -(-n // _CHUNK))
        drawn = [
            sampled(flow, key, min(_CHUNK, n - i * _CHUNK))
            for i, key in enumerate(keys)
        ]
        return jax.block_until_ready(drawn)

    def where() -> str:
        (found,) = x.devices()
        name = f" ({found.device_kind})" if found.platform == "gpu" else ""
        return f"{found.platform.upper()}:{found.id}{name}"

    return Contender(train, _in_chunks(log_prob), sample, where)


def products(case: Case, entry: Entry) -> Contender:
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

    return Contender(lambda steps: run(tf.constant(steps)).numpy())


def matrices(case: Case, entry: Entry) -> Contender:
    """Products of square matrices, `case.width` wide: what the device is capable of."""
    import tensorflow as tf

    dtype = tf.bfloat16 if entry.precision == "mixed" else tf.float32
    shape = [case.width, case.width]
    start = tf.random.normal(shape) / case.width**0.5
    x, w = (tf.Variable(tf.cast(start, dtype)) for _ in range(2))

    @tf.function
    def run(steps):
        y = tf.convert_to_tensor(x)
        for _ in tf.range(steps):
            y = y @ w
        return y[0, 0]

    def train(steps: int) -> None:
        run(tf.constant(steps)).numpy()

    return Contender(train, device=lambda: x.device, wait=lambda: None)


METHODS = {
    "ours": ours,
    "ours-without": ours_without,
    "keras": plain,
    "zuko": zuko,
    "normflows": normflows,
    "flowjax": flowjax,
    "products": products,
    "matrices": matrices,
}
PEERS = ("zuko", "normflows", "flowjax")


# Rounds


def serve(pipe: Any) -> None:
    """Answers requests with seconds and a device, in a process of its own."""
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    contenders: dict[Entry, Contender] = {}
    while (request := pipe.recv()) is not None:
        entry, case, task = request
        try:
            if entry not in contenders:
                contenders[entry] = METHODS[entry.method](case, entry)
            pipe.send(timed(contenders[entry], entry, case, task))
        except Exception as error:  # of any library; the others go on
            reason = str(error).strip().partition("\n")[0]
            pipe.send(f"{type(error).__name__}: {reason}")


def timed(
    contender: Contender, entry: Entry, case: Case, task: str
) -> tuple[float | None, str]:
    """Returns seconds, None of a task that is not one of its own, and the device."""
    function = getattr(contender, task)
    if function is None:
        return None, contender.device()
    given = count = count_of(case, entry, task)
    if task == "log_prob":
        given = _scored(case)[:count]
    set_precision(entry)
    contender.wait()
    start = time.perf_counter()
    function(given)
    contender.wait()
    return time.perf_counter() - start, contender.device()


@functools.cache
def _scored(case: Case) -> np.ndarray:
    return points_of(case, case.points, seed=1)


def set_precision(entry: Entry) -> None:
    """Sets how a library multiplies matrices of float32, unless that is left to it."""
    fine = entry.precision == "float32"
    if not entry.precision:
        return
    if entry.library == "torch":
        import torch

        torch.set_float32_matmul_precision("highest" if fine else "high")
    elif entry.library == "jax":
        import jax

        chosen = "float32" if fine else "tensorfloat32"
        jax.config.update("jax_default_matmul_precision", chosen)
    else:
        import tensorflow as tf

        tf.config.experimental.enable_tensor_float_32_execution(not fine)


TASKS = ("train", "log_prob", "sample")


def count_of(case: Case, entry: Entry, task: str) -> int:
    """Returns how many steps or points a round of a task has."""
    if task == "train":
        return case.steps
    fewer = case.peers_points if entry.method in PEERS else None
    return fewer or case.points


@dataclasses.dataclass
class Measured:
    """Rates a second by task, a list over the rounds, and where they were measured."""

    rates: dict[str, list[float]] = dataclasses.field(default_factory=dict)
    device: str = ""
    error: str = ""

    @property
    def medians(self) -> dict[str, float]:
        """The median rate of each task."""
        return {task: statistics.median(rates) for task, rates in self.rates.items()}


def measure(
    case: Case,
    entries: Sequence[Entry],
    rounds: int,
    process_of: Callable[[Entry], str] = lambda entry: entry.method,
    tasks: Sequence[str] = TASKS,
) -> dict[Entry, Measured]:
    """Returns what each entry reaches, with turns taken round by round.

    Args:
      case: what all of them do.
      entries: who.
      rounds: that count; one before them compiles.
      process_of: names the process of an entry; those of one name share it.
      tasks: which.
    """
    context = multiprocessing.get_context("spawn")
    pipes, processes = {}, []
    for name in dict.fromkeys(map(process_of, entries)):
        pipes[name], theirs = context.Pipe()
        process = context.Process(target=serve, args=(theirs,))
        process.start()
        processes.append(process)
    found = {entry: Measured() for entry in entries}
    try:
        for task, i in itertools.product(tasks, range(rounds + 1)):
            for entry, measured in found.items():
                if measured.error:
                    continue
                pipe = pipes[process_of(entry)]
                pipe.send((entry, case, task))
                answer = pipe.recv()
                if isinstance(answer, str):
                    measured.error = answer
                    print(f"{entry.method} failed: {answer}", file=sys.stderr)
                    continue
                seconds, measured.device = answer
                if i and seconds is not None:
                    rate = count_of(case, entry, task) / seconds
                    measured.rates.setdefault(task, []).append(rate)
    finally:
        for pipe in pipes.values():
            pipe.send(None)
        for process in processes:
            process.join()
    return found
