"""Steps on several replicas, each of which differentiates its part of a batch.

A replica may take another branch than the others, as at a step that is not finite, only
where none of them waits for it. So the replicas exchange numbers once a step, in
`joint`. After that each one updates its own copies of the variables, which stay equal.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._core import compat

__all__ = [
    "check_scope",
    "first_part",
    "function_of_batches",
    "joint",
    "on_each",
    "own",
    "part_of",
]


def own(variable: tf.Variable) -> tf.Variable:
    """Returns this replica's copy of a variable, or the only one there is."""
    copies = tf.distribute.get_strategy().experimental_local_results(variable)
    if len(copies) == 1:
        return copies[0]
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return copies[int(tf.get_static_value(number)) % len(copies)]


def part_of(rows: tf.Tensor) -> tf.Tensor:
    """Returns this replica's part of the row numbers of a batch."""
    context = tf.distribute.get_replica_context()
    number, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    count = tf.shape(rows)[0]
    return rows[number * count // replicas : (number + 1) * count // replicas]


def joint(
    loss: tf.Tensor, gradients: Sequence[Any], rows: tf.Tensor, *, is_mean: bool
) -> tuple[tf.Tensor, list[tf.Tensor | None], tf.Tensor]:
    """Returns loss, gradients and number of rows of the whole batch.

    Args:
      loss: of this replica's part; Keras has divided a mean by the number of replicas.
      gradients: of that loss; None for weights that it does not depend on.
      rows: the number of rows in the part, which may be 0.
      is_mean: whether the loss is a mean over the rows rather than a sum.
    """
    context = tf.distribute.get_replica_context()
    rows = tf.cast(rows, loss.dtype)
    share = rows * context.num_replicas_in_sync if is_mean else tf.ones_like(rows)
    found = [loss, *(tf.convert_to_tensor(g) for g in gradients if g is not None)]
    rows, *sums = context.all_reduce(
        "SUM", [rows, *(value * tf.cast(share, value.dtype) for value in found)]
    )
    if is_mean:
        sums = [value / tf.cast(rows, value.dtype) for value in sums]
    loss, *rest = sums
    rest = iter(rest)
    return loss, [g if g is None else next(rest) for g in gradients], rows


def on_each(
    strategy: tf.distribute.Strategy, step: Callable[..., dict[str, Any]], *args: Any
) -> dict[str, tf.Tensor]:
    """Runs a step on each replica, and returns the means of what they log."""

    def logged(*args: Any) -> dict[str, tf.Tensor]:
        logs = tf.nest.map_structure(tf.convert_to_tensor, step(*args))
        return tf.distribute.get_replica_context().all_reduce("MEAN", logs)

    logs = strategy.run(logged, args=args)
    return tf.nest.map_structure(
        lambda value: strategy.experimental_local_results(value)[0], logs
    )


def check_scope(
    strategy: tf.distribute.Strategy | None, optimizer: keras.optimizers.Optimizer
) -> None:
    """Checks that a model and its optimizer were made for the same replicas.

    Args:
      strategy: that the model was made within, or None.
      optimizer: of the model.

    Raises:
      ValueError: another strategy is in scope, or the optimizer was made for another.
    """
    chosen = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    if chosen not in (None, strategy):
        what = "A flow is fitted on the replicas that it was made for"
    elif strategy not in (None, compat.strategy_of_optimizer(optimizer, strategy)):
        what = "`optimizer` must be made for the flow's replicas"
    else:
        return
    raise ValueError(f"{what}. Remedy: make it, too, within `with strategy.scope():`.")


def function_of_batches(
    strategy: tf.distribute.Strategy,
    step: Callable[[Any], dict[str, Any]],
    *,
    steps: int,
    run_eagerly: bool,
) -> Callable[[Iterator], dict[str, tf.Tensor]]:
    """Returns what Keras calls with an iterator over the batches of a dataset.

    Keras's own function needs parts of a batch that are equally long, and fails on
    several workers.

    Args:
      strategy: whose replicas each take their part of a batch.
      step: of training or of evaluation; returns the metrics.
      steps: how many batches each call takes.
      run_eagerly: whether nothing is compiled.
    """

    def one_step(batches: Iterator) -> dict[str, tf.Tensor]:
        return on_each(strategy, step, next(batches))

    compiled = tf.function(one_step, autograph=False, reduce_retracing=True)

    def take(batches: Iterator) -> dict[str, tf.Tensor]:
        is_distributed = isinstance(batches, tf.distribute.DistributedIterator)
        take_one = compiled if is_distributed and not run_eagerly else one_step
        logs = None
        with contextlib.suppress(StopIteration, tf.errors.OutOfRangeError):
            for _ in range(steps):
                logs = take_one(batches)
        if logs is None:
            raise StopIteration
        return logs

    return take


def first_part(strategy: tf.distribute.Strategy, batch: Any) -> Any:
    """Returns one replica's part of a distributed batch."""
    return tf.nest.map_structure(
        lambda part: strategy.experimental_local_results(part)[0], batch
    )
