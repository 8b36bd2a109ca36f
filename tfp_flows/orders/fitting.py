"""compare_orders: fits copies of a flow in different orders to the same rows."""

import contextlib
import logging
import math
import warnings
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow import Flow
from tfp_flows.flow.composition import random_orders
from tfp_flows.orders.comparison import OrderComparison, order_words, ranked

__all__ = ["compare_orders"]

# Of flows that were not compiled. With a rate that ends at 0, the results depend less
# on chance.
_LEARNING_RATE = 5e-3
_STEPS_PER_EXECUTION = 16


def compare_orders(
    flow: Flow,
    x: ArrayLike | Mapping[str, ArrayLike],
    *,
    n: int = 6,
    orders: Sequence[Sequence[int]] | None = None,
    epochs: int = 50,
    batch_size: int = 256,
    validation_split: float = 0.2,
    seed: int | None = None,
    verbose: int = 1,
) -> OrderComparison:
    """Fits copies of a flow in different orders, and says whether the order matters.

    Each copy is `flow.reordered(order)`. It has its own weights, which start at the
    present values, so the flow should not be fitted yet. All copies are trained on the
    same rows in the same batches and compared on the same held-out rows. Bijectors
    that start from data do so in each copy.

    If the flow was compiled, each copy gets a new optimizer of the same type and
    settings. Otherwise it gets Adam with a rate that falls from 0.005 to 0 along a
    cosine.

    Args:
      flow: a Flow of at least two bijectors, which is not changed.
      x: rows `(m, event_size)`, or {"x": rows, "context": `(m, context_size)`} for a
        conditional flow.
      n: the number of random orders besides the given one; there are fewer if not as
        many exist.
      orders: permutations of 0..K-1, as for `Flow.reordered`, in place of random ones.
        The given order is always added.
      epochs: the number of passes over the rows.
      batch_size: the number of rows in a step.
      validation_split: the share of rows, chosen at random, that is held out.
      seed: the seed of the orders, the held-out rows and the batches; None draws one.
      verbose: 0 is silent, 1 shows a progress bar for each order, and 2 shows the
        lines of Keras's own `fit`.

    Returns:
      An OrderComparison with the best fit first: print it, use its `best.flow`, or
      call its `plot()`.

    Raises:
      TypeError: `flow` is not a Flow, or the rows are not numbers.
      ValueError: the flow has fewer than two bijectors or nothing to learn, an order
        is not a permutation, or `Flow.fit` refuses the rows.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("quadratic").sample(400, seed=0)
      >>> chain = [tfpf.bijectors.ShiftAndCube(1.0), tfpf.bijectors.Rotation2D(0.5)]
      >>> flow = tfpf.Flow(chain)
      >>> comparison = tfpf.compare_orders(flow, x, epochs=1, seed=0, verbose=0)
      >>> sorted(fit.order for fit in comparison.fits)
      [(0, 1), (1, 0)]
      >>> comparison.best.behind
      0.0
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"`flow` must be a Flow. Received: {type(flow).__name__}.")
    epochs = checks.positive_int(epochs, "epochs")
    batch_size = checks.positive_int(batch_size, "batch_size")
    seed = checks.as_seed(seed)
    if verbose not in (0, 1, 2):
        raise ValueError(f"`verbose` must be 0, 1 or 2. Received: {verbose!r}.")
    orders = _as_orders(flow, orders, n, seed)
    training, held_out = _split(flow, x, validation_split, seed)
    steps = epochs * int(_batches(training, batch_size).cardinality())

    fitted = []
    for i, order in enumerate(orders):
        if verbose:
            print(f"order {order_words(order)} ({i + 1} of {len(orders)})")
        copy = flow.reordered(order)
        _compile_as(copy, flow, steps)
        with _many_graphs(), warnings.catch_warnings():
            # The result says which held-out rows have no density in an order.
            warnings.filterwarnings(
                "ignore", ".*The step was not taken", RuntimeWarning
            )
            with contextlib.suppress(FloatingPointError):
                copy.fit(
                    _batches(training, batch_size, seed),
                    epochs=epochs,
                    validation_data=_batches(held_out, batch_size),
                    verbose=2 if verbose == 2 else 0,
                    callbacks=[_Progress(verbose == 1)],
                )
        fitted.append((order, _log_prob(copy, held_out), copy, copy.history))
    return OrderComparison(ranked(fitted), held_out)


def _as_orders(flow: Flow, orders: Any, n: int, seed: int) -> list[tuple[int, ...]]:
    """Returns different orders, the given one first."""
    count = len(flow.bijectors)
    given = list(range(count))
    if orders is None:
        orders = random_orders(count, checks.positive_int(n, "n"), seed=seed)
    checked = [tuple(given)]
    for order in orders:
        try:
            order = tuple(int(i) for i in order)
        except (TypeError, ValueError):
            order = (order,)
        if sorted(map(str, order)) != sorted(map(str, given)):
            raise ValueError(
                f"`orders` must hold permutations of 0..{count - 1}. "
                f"Received: {orders!r}."
            )
        if order not in checked:
            checked.append(order)
    if len(checked) < 2:
        raise ValueError(
            "`orders` must hold another order than the given one. "
            f"Received: {orders!r}."
        )
    return checked


def _split(flow: Flow, x: Any, fraction: float, seed: int) -> tuple[Any, Any]:
    """Returns training and held-out rows, split at random, in the flow's dtype.

    Raises:
      TypeError, ValueError: as `Flow.fit`.
    """
    named = x if isinstance(x, dict) else {"x": x}
    widths = {"x": flow.event_size}
    if flow.context_size:
        widths["context"] = flow.context_size
    if sorted(named) != sorted(widths):
        raise ValueError(
            f"`x` must be points, with the keys {sorted(widths)} if it is a dict. "
            f"Received: {sorted(named)}."
        )
    rows = {
        name: checks.as_points(part, widths[name], dtype=flow.dtype, name=name)
        for name, part in named.items()
    }
    shapes = {part.shape[:-1] for part in rows.values()}
    m = len(rows["x"])
    if len(shapes) > 1 or rows["x"].ndim != 2:
        raise ValueError(
            "`x`, and `context` with it, must have shape (m, width). Received: "
            f"{', '.join(str(part.shape) for part in rows.values())}."
        )
    count = int(m * fraction) if 0 < fraction < 1 else 0
    if not 2 <= count < m:
        raise ValueError(
            "`validation_split` must be in (0, 1), and leave points on one side and "
            f"two or more on the other. Received: {fraction!r} of {m} points."
        )
    mixed = np.random.default_rng(seed).permutation(m)
    train, validation = (
        {name: part[which] for name, part in rows.items()}
        for which in (mixed[count:], mixed[:count])
    )
    if flow.context_size:
        return train, validation
    return train["x"], validation["x"]


def _batches(points: Any, batch_size: int, seed: int | None = None) -> tf.data.Dataset:
    """Returns batches; with a seed they are shuffled in each pass."""
    dataset = tf.data.Dataset.from_tensor_slices(points)
    if seed is not None:
        count = int(dataset.cardinality())
        dataset = dataset.shuffle(count, seed=seed, reshuffle_each_iteration=True)
    return dataset.batch(batch_size).prefetch(1)


def _compile_as(copy: Flow, flow: Flow, steps: int) -> None:
    """Compiles the copy as the flow is compiled, with a new optimizer."""
    if flow.compiled:
        optimizer = type(flow.optimizer).from_config(flow.optimizer.get_config())
        steps_per_call, jit_compile = flow.steps_per_execution, flow.jit_compile
    else:
        rate = keras.optimizers.schedules.CosineDecay(_LEARNING_RATE, steps)
        optimizer = keras.optimizers.Adam(rate)
        steps_per_call, jit_compile = _STEPS_PER_EXECUTION, False
    copy.compile(optimizer, steps_per_execution=steps_per_call, jit_compile=jit_compile)


@contextlib.contextmanager
def _many_graphs() -> Iterator[None]:
    """Silences TensorFlow's warnings of retracing, as each copy has its own graphs."""

    def is_other(record: logging.LogRecord) -> bool:
        return "retracing" not in record.getMessage()

    logger = tf.get_logger()
    logger.addFilter(is_other)
    try:
        yield
    finally:
        logger.removeFilter(is_other)


def _log_prob(flow: Flow, points: Any) -> np.ndarray:
    """Returns log_prob of rows, `(m,)` float64, in nats."""
    if flow.context_size:
        values = flow.given(points["context"]).log_prob(points["x"])
    else:
        values = flow.log_prob(points)
    return np.asarray(values, np.float64)


class _Progress(keras.callbacks.Callback):
    """Shows a progress bar over the epochs, and ends fits whose loss is not finite."""

    def __init__(self, shown: bool) -> None:
        super().__init__()
        self._shown = shown

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        self._bar = keras.utils.Progbar(
            self.params["epochs"],
            verbose=int(self._shown),
            unit_name="epoch",
            stateful_metrics=["loss", "val_loss"],
        )

    def on_epoch_end(self, epoch: int, logs: Any = None) -> None:
        loss, held_out = logs["loss"], logs["val_loss"]
        done = epoch + 1 == self.params["epochs"]
        if not math.isfinite(loss):  # it would not recover
            self.model.stop_training = done = True
        values = [("loss", loss), ("val_loss", held_out)]
        self._bar.update(epoch + 1, values, finalize=done)
