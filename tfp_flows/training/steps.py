"""Steps over rows in memory: which rows make which batch, and many steps a call."""

import contextlib
import math
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows.data.batches import Order
from tfp_flows.training.replicas import on_each, part_of

__all__ = ["Feed", "flops", "many_steps", "steps_at_once"]

# One call of the compiled step does many steps, but keeps the progress bar and Ctrl-C
# alive: about half a second at a rate that any machine reaches.
_MOST_STEPS, _FLOPS_A_CALL, _FLOPS_A_CALL_OF_GPU = 64, 1e10, 1e12

_OF_BATCHES = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)


class Feed:
    """Which rows make which batch, for steps over rows in memory.

    Args:
      order: of the rows in an epoch.
      batch_size: rows a step.
      parts: of a batch, which must be equal: batches are filled up with rows of
        weight 0, the last one of an epoch, too. None to leave it as short as it is.
    """

    def __init__(self, order: Order, batch_size: int, parts: int | None) -> None:
        self._order, self._batch_size, self.fills = order, batch_size, parts is not None
        self.width = -(-batch_size // (parts or 1)) * (parts or 1)
        self._is_even = self.width == batch_size and order.rows % batch_size == 0

    @property
    def has_weights(self) -> bool:
        """Whether some rows only fill up."""
        return self.fills and not self._is_even

    def next(self, steps: int) -> Iterator[tuple[np.ndarray, ...]]:
        """Yields row numbers and, where rows fill up, weights, of the next batches."""
        size = self._batch_size
        numbers = self._order.next(steps * size)
        rest = len(numbers) % size
        if not self.has_weights:
            whole = numbers[: len(numbers) - rest]
            if len(whole):
                yield (whole.reshape(-1, size),)
            if rest:
                yield (numbers[-rest:][np.newaxis],)
            return
        count = -(-len(numbers) // size)
        rows = np.full(count, size)
        rows[-1] = rest or size
        padded = np.resize(numbers, [count, size])
        padded = np.concatenate(
            [padded, np.repeat(padded[:, :1], self.width - size, axis=1)], axis=1
        )
        is_real = np.arange(self.width) < rows[:, np.newaxis]
        padded = np.where(is_real, padded, padded[:, :1])
        # Keras divides by all rows of the batch.
        yield padded, is_real * (self.width / rows[:, np.newaxis])


def many_steps(
    step: Callable,
    results: Callable,
    parts: Any,
    width: int | None,
    weights: bool,
    strategy: tf.distribute.Strategy | None = None,
) -> Callable:
    """Returns a compiled function that takes many steps over rows in memory.

    It does without tf.data: on a CPU, a pipeline costs a small step a third of its
    time.

    Args:
      step: from a batch and the weights of its rows, or None, to anything.
      results: of all steps, once they are done.
      parts: the arrays, or others of their kind.
      width: rows of a batch, or None where that varies.
      weights: whether rows have weights.
      strategy: whose replicas each take their part of a batch, of rows without weights.

    Returns:
      A function of the arrays, and of row numbers and weights as `Feed.next` has them.
    """
    # Said beforehand: it is traced once, whatever comes.
    signature = [
        tf.nest.map_structure(
            lambda part: tf.TensorSpec([None, *part.shape[1:]], part.dtype), parts
        ),
        tf.TensorSpec([None, width], tf.int64),
    ]
    if weights:
        signature.append(tf.TensorSpec([None, width], tf.float64))

    def steps(parts: Any, numbers: tf.Tensor, weights: Any = None) -> Any:
        def one(these: tf.Tensor, weight: tf.Tensor | None = None) -> None:
            # Rows may be many, and stay where they are.
            with tf.device("CPU:0") if strategy else contextlib.nullcontext():
                these = part_of(these) if strategy else these
                batch = tf.nest.map_structure(lambda p: tf.gather(p, these), parts)
            step(batch, weight)

        def body(i: tf.Tensor) -> tf.Tensor:
            if strategy:
                strategy.run(one, args=(numbers[i],))
            else:
                one(numbers[i], None if weights is None else weights[i])
            return i + 1

        tf.while_loop(lambda i: i < tf.shape(numbers)[0], body, [tf.constant(0)])
        return on_each(strategy, results) if strategy else results()

    return tf.function(steps, autograph=False, input_signature=signature)


def steps_at_once(
    of_a_step: int,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    on_gpu: bool = False,
) -> int:
    """Returns how many steps one call of the compiled step should do.

    Args:
      of_a_step: its operations, as `flops` has them.
      callbacks: one of the user's own that looks at batches sees each of them.
      on_gpu: whether a GPU takes the steps.
    """
    if any(map(_looks_at_batches, callbacks)):
        return 1
    most = _FLOPS_A_CALL_OF_GPU if on_gpu else _FLOPS_A_CALL
    return max(1, min(_MOST_STEPS, int(most / of_a_step)))


def flops(weights: Sequence[keras.Variable], batch_size: int) -> int:
    """Returns about how many operations a step is: forward, and twice that back."""
    numbers = sum(math.prod(weight.shape) for weight in weights)
    return 6 * max(numbers, 1) * batch_size


def _looks_at_batches(callback: keras.callbacks.Callback) -> bool:
    """Returns whether somebody's own method waits for each batch."""
    methods = (getattr(callback, name) for name in _OF_BATCHES)
    homes = (getattr(method, "__module__", "") for method in methods)
    return any(not home.startswith(("keras.", "tfp_flows.")) for home in homes)
