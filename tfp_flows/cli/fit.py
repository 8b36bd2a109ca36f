"""What `tfp-flows fit` does: one fit, from its source to its files."""

import argparse
import contextlib
import dataclasses
import json
import math
import os
import platform
import shutil
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from tfp_flows._core import checks, files
from tfp_flows._core.statistics import standard_error
from tfp_flows.cli import words
from tfp_flows.data import tables

if TYPE_CHECKING:
    import tensorflow as tf

    from tfp_flows import Flow
    from tfp_flows.data.streams import Stream

__all__ = ["fit"]

_MOST_EPOCHS = 400

# The name of the folder with the state of a fit that has not ended, within `--out`.
_CHECKPOINT = "checkpoint"

_VALIDATION_ROWS, _TEST_ROWS = 10_000, 100_000  # of a named density
_FEWEST_ROWS = 20  # of a file, so that a tenth of them has a standard error
_FEWEST_ROWS_FOR_REPORT = 50  # held-out rows from which a report can conclude anything


def fit(options: argparse.Namespace) -> None:
    """Fits a flow and leaves its files in `options.out`, all of them or none.

    Args:
      options: as the command line reads them.

    Raises:
      OSError: a file cannot be read or written.
      TypeError: the source holds something other than numbers.
      ValueError: the source or an option cannot be used.
      FloatingPointError: the fit diverged.
    """
    from tfp_flows._core import devices
    from tfp_flows.training.workers import Workers

    # TensorFlow refuses to create a strategy after its runtime has started.
    strategy = _strategy(options.strategy)
    data = _data(options)
    if not Workers(strategy).is_chief:  # only the chief writes files
        options.quiet = True
        _fitted(data, options, strategy)
        return
    with _staged(options.out) as folder, _resumable(options):
        start = time.perf_counter()
        flow, history = _fitted(data, options, strategy)
        metrics = {
            **_evaluate(flow, data),
            "training_points": len(data.train),
            "epochs": len(history["val_loss"]),
            "best_epoch": int(np.nanargmin(history["val_loss"])) + 1,
            "seconds": round(time.perf_counter() - start, 2),
            "device": devices.describe(w.value for w in flow.weights),
            "replicas": strategy.num_replicas_in_sync,
            "source": options.source,
            "columns": data.columns,
            "seed": options.seed,
            "options": _result_options(options),
            "versions": _versions(),
        }
        _write_files(folder, flow, data, history, metrics, options.typed)
        written = sorted(file.name for file in folder.iterdir())
    if not options.quiet:
        print(_summary(metrics))
        print(f"{options.out}: {', '.join(written)}")


@contextlib.contextmanager
def _staged(folder: Path) -> Iterator[Path]:
    """Yields a hidden folder inside `folder`; on success its files move to `folder`."""
    is_new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    for leftover in folder.glob(f"{files.STAGING}*"):  # of a fit that was killed
        shutil.rmtree(leftover, ignore_errors=True)
    try:
        with tempfile.TemporaryDirectory(prefix=files.STAGING, dir=folder) as hidden:
            yield Path(hidden)
            for file in sorted(Path(hidden).iterdir()):
                os.replace(file, folder / file.name)
    except BaseException:
        if is_new:
            with contextlib.suppress(OSError):
                folder.rmdir()
        raise


@contextlib.contextmanager
def _resumable(options: argparse.Namespace) -> Iterator[None]:
    """Keeps a checkpoint until the fit is done, for the same command to resume from.

    Raises:
      ValueError: the folder holds the checkpoint of another command.
    """
    folder = options.out / _CHECKPOINT
    state, record = folder / files.CHECKPOINT, folder / "options.json"
    mine = json.dumps(
        [options.source, options.seed, _result_options(options)], default=str
    )
    is_resumed = state.exists() and record.exists()
    if is_resumed and record.read_text(encoding="utf-8") != mine:
        raise ValueError(
            f"{options.out} holds a fit that was interrupted, with other options. "
            f"Remedy: the same command, which goes on with it; or delete {folder}."
        )
    with files.beside(record) as temporary:
        temporary.write_text(mine, encoding="utf-8")
    try:
        yield
    except BaseException as error:
        if isinstance(error, ArithmeticError) or not state.exists():
            shutil.rmtree(folder)  # resuming would end the same way, or has no state
        raise
    shutil.rmtree(folder)


# Data


@dataclasses.dataclass(frozen=True)
class _Data:
    """The rows that a flow is fitted to and the two sets that are held out.

    Attributes:
      train: rows that the weights are fitted to.
      validation: held-out rows that choose the epoch to keep.
      test: held-out rows for the metrics and the report.
      columns: names of the columns.
      entropy: of a named density, in nats.
    """

    train: "np.ndarray | Stream"
    validation: np.ndarray
    test: np.ndarray
    columns: list[str]
    entropy: float | None = None


def _data(options: argparse.Namespace) -> _Data:
    seeds = np.random.SeedSequence(options.seed).spawn(3)
    path = Path(options.source)
    if path.suffix.lower() in tables.READABLE or (
        path.is_dir() and not _is_density(options.source)
    ):
        return _data_of_file(options, seeds[0])
    return _data_of_density(options, seeds)


def _is_density(name: str) -> bool:
    from tfp_flows import densities

    return name in densities.names()


def _data_of_file(options: argparse.Namespace, seed: Any) -> _Data:
    """Returns the rows of a file, a random tenth each for validation and test."""
    if options.samples is not None or options.parameter:
        raise ValueError("--samples and --parameter are for densities, not for files.")
    path = Path(options.source)
    if options.stream or (options.key is None and tables.is_large(path)):
        return _data_of_stream(options)
    table = tables.read(path, key=options.key)
    n = len(table.points)
    _check_count(n, options.source)
    points = checks.as_points(
        table.points, dtype=options.dtype, name=str(options.source)
    )
    rows = np.random.default_rng(seed).permutation(n)
    tenth = n // 10
    test, validation, train = np.split(points[rows], [tenth, 2 * tenth])
    _check_vary(train.min(axis=0), train.max(axis=0), table.columns, options.source)
    return _Data(train, validation, test, table.columns)


def _data_of_stream(options: argparse.Namespace) -> _Data:
    """Returns rows that stay in their files, and held-out rows of bounded number."""
    from tfp_flows.data.streams import Stream

    if options.key is not None or Path(options.source).suffix.lower() == ".npz":
        raise ValueError(
            "--stream is not for .npz files. Remedy: save the array as .npy."
        )
    stream = Stream(options.source, dtype=options.dtype, seed=options.seed)
    _check_count(len(stream), options.source)
    columns = stream.columns or tables.names(len(stream.summary.mean))
    _check_vary(stream.summary.low, stream.summary.high, columns, options.source)
    few = min(len(stream) // 10, len(stream.summary.sample) // 4)
    test, stream = stream.split(few)
    validation, stream = stream.split(few)
    return _Data(stream, validation, test, columns)


def _check_count(rows: int, source: str) -> None:
    if rows < _FEWEST_ROWS:
        raise ValueError(
            f"{source} must hold at least {_FEWEST_ROWS} rows. Received: {rows}."
        )


def _check_vary(
    low: np.ndarray, high: np.ndarray, columns: Sequence[str], source: str
) -> None:
    for column, least, most in zip(columns, low, high, strict=True):
        if least == most:
            raise ValueError(
                f"{source}: column {column!r} is constant in {low.dtype} "
                f"({least}), so it has no density. Remedy: drop it."
            )


def _data_of_density(options: argparse.Namespace, seeds: Sequence[Any]) -> _Data:
    from tfp_flows import densities

    if options.key is not None:
        raise ValueError("--key is for .npz files, not for densities.")
    if options.stream:
        raise ValueError("--stream is for files, not for densities.")
    known = _is_density(options.source)
    if Path(options.source).suffix or (Path(options.source).exists() and not known):
        raise ValueError(
            "SOURCE must be a density's name, a folder or a file that ends in "
            f"{', '.join(tables.READABLE)}. Received: {options.source!r}."
        )
    density = densities.make(options.source, **dict(options.parameter))
    sizes = (options.samples or words.DENSITY_ROWS, _VALIDATION_ROWS, _TEST_ROWS)
    train, validation, test = (
        density.sample(n, seed=seed).astype(options.dtype)
        for n, seed in zip(sizes, seeds, strict=True)
    )
    columns = tables.names(density.event_size)
    return _Data(train, validation, test, columns, density.entropy)


# Training


def _strategy(name: str | None) -> "tf.distribute.Strategy":
    """Returns the strategy that `--strategy` names, or TensorFlow's default."""
    import tensorflow as tf

    if name is None:
        return tf.distribute.get_strategy()
    if name == "mirrored":
        return tf.distribute.MirroredStrategy()
    received = os.environ.get("TF_CONFIG", "")
    try:
        config = json.loads(received)
        config["cluster"]["worker"], config["task"]["type"], config["task"]["index"]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(
            "--strategy multiworker needs TF_CONFIG in the environment of every "
            'worker, such as {"cluster": {"worker": ["host0:2222", "host1:2222"]}, '
            f'"task": {{"type": "worker", "index": 0}}}}. Received: {received!r}.'
        ) from error
    try:
        return tf.distribute.MultiWorkerMirroredStrategy()
    except (RuntimeError, tf.errors.OpError) as error:
        raise ValueError(f"--strategy multiworker cannot start: {error}") from error


def _fitted(
    data: _Data, options: argparse.Namespace, strategy: "tf.distribute.Strategy"
) -> tuple["Flow", dict[str, list[float]]]:
    """Returns the fitted flow and its history."""
    import keras

    from tfp_flows.training.workers import Workers

    keras.utils.set_random_seed(options.seed)
    with strategy.scope(), Workers(strategy).together():
        flow = _flow(data, options)
        history = _train(flow, data, options)
    return flow, history


def _flow(data: _Data, options: argparse.Namespace) -> "Flow":
    """Returns the flow that `--flow` names, not yet fitted."""
    from tfp_flows import recipes

    recipe = getattr(recipes, checks.pick(options.flow, recipes.__all__, "flow"))
    chosen = {"layers": options.layers, "hidden": options.hidden}
    chosen = {name: value for name, value in chosen.items() if value is not None}
    width = len(data.columns)
    try:
        return recipe(width, seed=options.seed, dtype=options.dtype, **chosen)
    except ValueError as error:
        if width > 1:
            raise
        raise ValueError(
            f"{error} Remedy: {options.source} has one column; give it at least two, "
            "or fit it in Python: tfb.Invert(MixtureCDF(4)) on a uniform base."
        ) from error


def _train(
    flow: "Flow", data: _Data, options: argparse.Namespace
) -> dict[str, list[float]]:
    """Fits the flow, keeps the weights of its best epoch, and returns the history."""
    import keras

    steps = math.ceil(len(data.train) / options.batch_size)  # of an epoch
    epochs = options.epochs or min(math.ceil(words.STEPS / steps), _MOST_EPOCHS)
    rate = keras.optimizers.schedules.CosineDecay(options.learning_rate, epochs * steps)
    flow.compile(keras.optimizers.Adam(rate, global_clipnorm=0.3))
    best = keras.callbacks.EarlyStopping(patience=epochs, restore_best_weights=True)
    history = flow.fit(
        data.train,
        batch_size=options.batch_size,
        epochs=epochs,
        validation_data=data.validation,
        callbacks=[best],
        checkpoint_dir=options.out / _CHECKPOINT,
        verbose=0 if options.quiet else "auto",
    )
    return history.history


def _evaluate(flow: "Flow", data: _Data) -> dict[str, Any]:
    """Returns the log_prob of the test rows and what it is compared with, in nats."""
    log_prob = flow.log_prob(data.test).numpy().astype(np.float64)
    if not np.isfinite(log_prob).all():
        raise FloatingPointError(
            "The fit diverged: held-out points have no finite log_prob. Remedy: a "
            "lower --learning-rate."
        )
    mean = float(log_prob.mean())
    metrics: dict[str, Any] = {
        "held_out_log_prob": mean,
        "standard_error": standard_error(log_prob),
        "held_out_points": len(log_prob),
    }
    if data.entropy is not None:
        metrics |= {"entropy": data.entropy, "gap_to_entropy": -mean - data.entropy}
    return metrics


# Records


def _result_options(options: argparse.Namespace) -> dict[str, Any]:
    """Returns the options that the result depends on, but the source and the seed."""
    others = ("command", "source", "seed", "out", "quiet", "strategy", "typed")
    return {name: v for name, v in vars(options).items() if name not in others}


def _versions() -> dict[str, str]:
    packages = ("tensorflow", "keras", "tensorflow_probability", "tfp_flows")
    return {
        "python": platform.python_version(),
        **{package: words.version(package) for package in packages},
    }


def _write_files(
    folder: Path,
    flow: "Flow",
    data: _Data,
    history: dict[str, list[float]],
    metrics: dict[str, Any],
    command: str,
) -> None:
    from tfp_flows import plotting
    from tfp_flows.reporting import report

    seed = metrics["seed"]
    flow.save(folder / "model.keras")
    plotting.plot_stages(flow).savefig(folder / "stages.png")
    plotting.plot_orders(flow, seed=seed).savefig(folder / "orders.png")
    samples = flow.sample(words.SAMPLES, seed=seed).numpy()
    tables.write(folder / "samples.csv", samples, data.columns)
    epochs = np.arange(1, 1 + metrics["epochs"])
    tables.write(
        folder / "history.csv",
        np.stack([epochs, *history.values()], axis=-1),
        ["epoch", *history],
    )
    if len(data.test) >= _FEWEST_ROWS_FOR_REPORT:
        train = data.train
        x_train = train if isinstance(train, np.ndarray) else train.summary.sample
        metrics["verdicts"] = report(
            flow,
            data.test,
            folder / "report.html",
            x_train=x_train,
            names=data.columns,
            history=history,
            entropy=data.entropy,
            title=Path(metrics["source"]).stem,
            command=command,
            seed=seed,
        ).verdicts
    text = json.dumps(metrics, indent=2) + "\n"
    (folder / "metrics.json").write_text(text, encoding="utf-8")


def _summary(metrics: dict[str, Any]) -> str:
    summary = (
        f"log_prob of {metrics['held_out_points']:,} held-out points: "
        f"{metrics['held_out_log_prob']:.4f} ± {metrics['standard_error']:.4f} nats"
    )
    if "entropy" in metrics:
        summary += (
            f"; exact entropy {metrics['entropy']:.4f}, gap "
            f"{metrics['gap_to_entropy']:.4f}"
        )
    if "verdicts" in metrics:
        return f"{summary}\n{metrics['verdicts'][0]}"
    return f"{summary}\nNo report: it takes {_FEWEST_ROWS_FOR_REPORT} held-out rows."
