"""A step on several replicas: each differentiates its part of a batch.

A replica may branch, as on a step that is not finite, only where no other waits for it.
So the replicas meet once a step, in `joint`; what follows, each does to its own copies
of the variables, and they remain the same.
"""

import contextlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._core import compat

__all__ = [
    "OnReplicas",
    "check_scope",
    "joint",
    "on_each",
    "own",
    "part_of",
]


def own(variable: tf.Variable) -> tf.Variable:
    """Returns this replica's own copy of a variable; without a strategy, itself."""
    copies = tf.distribute.get_strategy().experimental_local_results(variable)
    if len(copies) == 1:
        return copies[0]
    number = tf.distribute.get_replica_context().replica_id_in_sync_group
    return copies[int(tf.get_static_value(number)) % len(copies)]


def part_of(rows: tf.Tensor) -> tf.Tensor:
    """Returns this replica's part of the rows of a batch; the parts make it up."""
    context = tf.distribute.get_replica_context()
    number, replicas = context.replica_id_in_sync_group, context.num_replicas_in_sync
    count = tf.shape(rows)[0]
    return rows[number * count // replicas : (number + 1) * count // replicas]


def joint(
    loss: tf.Tensor, gradients: Sequence[Any], rows: tf.Tensor, *, is_mean: bool
) -> tuple[tf.Tensor, list[tf.Tensor | None], tf.Tensor]:
    """Returns loss and gradients of all parts of a batch together, and its rows.

    Args:
      loss: of this replica's part; Keras has divided a mean by the number of replicas.
      gradients: of that loss; None for weights that it does not depend on.
      rows: of the part; it may have none.
      is_mean: whether the loss is a mean over rows, not a sum.
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
    """Returns the means over the replicas of what `step` logs on each."""

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
    """Refuses a model and an optimizer that were not made for the same replicas."""
    chosen = tf.distribute.get_strategy() if tf.distribute.has_strategy() else None
    if chosen not in (None, strategy):
        what = "A flow is fitted on the replicas that it was made for"
    elif strategy not in (None, compat.strategy_of_optimizer(optimizer, strategy)):
        what = "`optimizer` must be made for the flow's replicas"
    else:
        return
    raise ValueError(f"{what}. Remedy: make it, too, within `with strategy.scope():`.")


class OnReplicas(compat.TrainerHooks):
    """A Keras model that is fitted on replicas, of one process or of several.

    For batches that come from a dataset; Keras's own way needs parts of them that are
    equally long, takes one step a call, and fails on several workers.
    """

    def _make_steps(self, step: Callable) -> Callable:
        """Makes what `fit` and `evaluate` call."""
        strategy, at_once = compat.strategy_of(self), self.steps_per_execution
        if strategy is None:
            return super()._make_steps(step)

        def one_step(batches: Iterator) -> dict[str, tf.Tensor]:
            return on_each(strategy, step, next(batches))

        compiled = tf.function(one_step, autograph=False, reduce_retracing=True)

        def steps(batches: Iterator) -> dict[str, tf.Tensor]:
            in_graph = isinstance(batches, tf.distribute.DistributedIterator)
            take = compiled if in_graph and not self.run_eagerly else one_step
            logs = None
            with contextlib.suppress(StopIteration, tf.errors.OutOfRangeError):
                for _ in range(at_once):
                    logs = take(batches)
            if logs is None:
                raise StopIteration
            return logs

        return steps

    def _build_metrics(self, iterator: Any = None, data_batch: Any = None) -> None:
        """Builds the metrics, from one replica's part of a batch."""
        strategy = compat.strategy_of(self)
        if not strategy or not compat.compiled_metrics_wait(self):
            return
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            data_batch = tf.nest.map_structure(
                lambda part: strategy.experimental_local_results(part)[0], next(batches)
            )
        super()._build_metrics(data_batch=data_batch)
