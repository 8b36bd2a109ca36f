"""The processes that fit one model together, on one machine or many."""

import contextlib
import json
import zlib
from collections.abc import Iterator
from typing import Any

import keras
import numpy as np
import tensorflow as tf

__all__ = ["Workers"]

_LOST = (
    tf.errors.AbortedError,
    tf.errors.CancelledError,
    tf.errors.DeadlineExceededError,
    tf.errors.InternalError,
    tf.errors.UnavailableError,
)


class Workers:
    """What the processes of a strategy exchange between steps.

    A process that trains alone is the chief.

    Args:
      strategy: of the model.

    Attributes:
      count: number of processes.
      is_chief: whether this process is the one that reads and writes files.
    """

    def __init__(self, strategy: tf.distribute.Strategy) -> None:
        self._strategy = strategy
        resolver: Any = getattr(strategy, "cluster_resolver", None)
        tasks = resolver.cluster_spec().as_dict() if resolver else {}
        kinds = [kind for kind in ("chief", "worker") if kind in tasks]
        self.count = sum(len(tasks[kind]) for kind in kinds) or 1
        self.is_chief = self.count == 1 or (
            (resolver.task_type, resolver.task_id) == (kinds[0], 0)
        )
        self._in_graph = tf.function(
            self._summed,
            input_signature=[tf.TensorSpec([None], tf.int64)],
            autograph=False,
        )

    def from_chief(self, content: bytes) -> bytes:
        """Returns, in every process, the bytes that the chief has passed."""
        if self.count == 1:
            return content
        size = int(self._sum(np.array([len(content) * self.is_chief], np.int64))[0])
        words = np.zeros(-(-size // 8), np.int64)
        if self.is_chief:
            words.view(np.uint8)[:size] = np.frombuffer(content, np.uint8)
        return self._sum(words).tobytes()[:size] if size else b""

    def start_alike(self, model: keras.Model, data: Any, order: Any = None) -> None:
        """Gives all processes the chief's weights and its row order.

        Args:
          model: its optimizer is built.
          data: plain data that differ for other points.
          order: its `seed` becomes that of the chief; None where there is no order.

        Raises:
          ValueError: the processes have different flows or points.
        """
        if self.count == 1:
            return
        self._compare("flow", _structure(model))
        self._compare("points", data)
        variables = [v.value for v in (*model.weights, *model.optimizer.variables)]
        values = [v.numpy() for v in variables]
        values.append(np.int64(order.seed if order else 0))
        content = self.from_chief(b"".join(value.tobytes() for value in values))
        given, at = [], 0
        for value in values:
            part = np.frombuffer(content, value.dtype, value.size, at)
            given.append(part.reshape(value.shape))
            at += value.nbytes
        for variable, value in zip(variables, given[:-1], strict=True):
            variable.assign(value)
        if order:
            order.seed = int(given[-1])

    @contextlib.contextmanager
    def together(self) -> Iterator[None]:
        """Turns the errors that TensorFlow raises when a process has died into one.

        Raises:
          ConnectionError: a process has died.
        """
        try:
            yield
        except _LOST as error:
            if self.count == 1:
                raise
            raise ConnectionError(
                "A worker has gone, and the others cannot go on. Remedy: start the "
                "same command on all workers again; with `checkpoint_dir` it goes on "
                "from the last checkpoint."
            ) from error

    def _compare(self, name: str, data: Any) -> None:
        mark = zlib.crc32(json.dumps(data, default=str).encode())
        # Where one process differs, all of them raise, and none waits for another.
        if self._sum(np.array([mark], np.int64))[0] != self.count * mark:
            raise ValueError(
                f"All workers must have the same {name}. Received: different {name}. "
                "Remedy: the same script for all, with "
                "`keras.utils.set_random_seed` before anything is drawn; each reads "
                "its own part of every batch."
            )

    def _sum(self, values: np.ndarray) -> np.ndarray:
        """Returns the sum of whole numbers over the processes."""
        return self._in_graph(values).numpy()

    def _summed(self, values: tf.Tensor) -> tf.Tensor:
        strategy = self._strategy
        replicas_of_each = strategy.num_replicas_in_sync // self.count

        def of_one() -> tf.Tensor:
            context = tf.distribute.get_replica_context()
            is_first = context.replica_id_in_sync_group % replicas_of_each == 0
            return context.all_reduce("SUM", values * tf.cast(is_first, values.dtype))

        return strategy.experimental_local_results(strategy.run(of_one))[0]


def _structure(model: keras.Model) -> Any:
    """Returns a model's structure as plain data, or None where it holds functions."""
    try:
        config = model.get_config()
    except TypeError:
        return None
    config.pop("name", None)
    return config
