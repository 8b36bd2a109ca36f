"""Functions of points, evaluated a chunk at a time so that memory stays bounded."""

import functools
from collections.abc import Callable, Iterator

import tensorflow as tf

from tfp_flows._core import checks, devices

__all__ = ["CHUNK", "Chunked", "chunks", "graph"]

CHUNK = 2**16

# XLA computes a chunk on a CPU in parts of so many points, which fit into its caches.
_PART = 2**12


class Chunked:
    """Evaluates a function `(n, event_size)` → `(n, ...)` in chunks.

    The function is traced once for chunks of any size. XLA compiles it for chunks of
    the default size; on a CPU for small parts of them, which run side by side.

    Args:
      function: its value at a point depends on no other point.
      points: `tf.TensorSpec` of the points.
    """

    def __init__(self, function: Callable, points: tf.TensorSpec) -> None:
        self._function, self._points = function, points
        self._of_any = graph(function, points)
        self._of_whole: Callable | None = None

    def __call__(
        self,
        chunk_of: Callable[[int, int, int], tf.Tensor],
        n: int,
        batch_size: int | None,
        *,
        by_xla: bool,
    ) -> tf.Tensor:
        """Returns the values at n points.

        Args:
          chunk_of: returns the points of a chunk, from its number, start and stop.
          n: number of points.
          batch_size: points of a chunk; `CHUNK` when None.
          by_xla: whether XLA compiles chunks of the default size.
        """
        by_xla = by_xla and batch_size is None
        values = []
        for i, (start, stop) in enumerate(chunks(n, batch_size)):
            is_whole = stop - start == CHUNK
            evaluate = self._whole if by_xla and is_whole else self._of_any
            values.append(evaluate(chunk_of(i, start, stop)))
        return tf.concat(values, 0) if len(values) > 1 else values[0]

    def _whole(self, points: tf.Tensor) -> tf.Tensor:
        if self._of_whole is None:
            parts = 1 if devices.is_gpu([points]) else CHUNK // _PART
            self._of_whole = self._compiled(parts)
        try:
            return self._of_whole(points)
        except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
            self._of_whole = self._of_any  # XLA lacks an operation
            return self._of_any(points)

    def _compiled(self, parts: int) -> Callable:
        part = tf.function(
            functools.partial(self._function), jit_compile=True, autograph=False
        )

        def in_parts(points: tf.Tensor) -> tf.Tensor:
            return tf.concat([part(p) for p in tf.split(points, parts)], 0)

        whole = tf.TensorSpec([CHUNK, *self._points.shape[1:]], self._points.dtype)
        return graph(in_parts, whole)


def chunks(n: int, batch_size: int | None = None) -> Iterator[tuple[int, int]]:
    """Yields start and stop of each chunk of n points.

    Raises:
      ValueError: `batch_size` is not a whole number ≥ 1.
    """
    size = (
        CHUNK if batch_size is None else checks.positive_int(batch_size, "batch_size")
    )
    for start in range(0, n, size):
        yield start, min(start + size, n)


def graph(function: Callable, *signature: tf.TensorSpec) -> Callable:
    """Returns the function compiled once, for this signature."""
    # TensorFlow counts retraces by source line, for which a partial has none.
    apart = functools.partial(function)
    return tf.function(apart, input_signature=signature, autograph=False)
