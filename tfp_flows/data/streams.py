"""Rows of files as batches, for data that are larger than memory."""

import copy
import itertools
import math
import os
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any, Self

import numpy as np
import tensorflow as tf

from tfp_flows.data.batches import dataset_options
from tfp_flows.data.row_files import RowFile, open_table
from tfp_flows.data.row_order import RowOrder
from tfp_flows.data.summaries import Summary

__all__ = ["Stream", "by_name"]

# A pool has at most so many rows and bytes, and is filled from about so many places.
_POOL_ROWS, _POOL_BYTES, _PLACES = 2**19, 2**25, 128


class Stream:
    """Rows of files, which are read anew in each epoch, a pool at a time.

    The files are cut into stretches. An epoch takes the stretches in random order,
    fills a pool with about 128 of them, shuffles it and returns it as batches. A pool
    has 524,288 rows, or as many as fit into 32 MiB, so about 200 MB of memory are used
    whatever the number of rows. The stretches of a Parquet file are its row groups,
    each of which must fit into memory.

    The constructor reads all rows once, to count, check and summarize them.

    Args:
      path: a `.npy`, `.csv` or `.parquet` file, or a folder of files of one of these
        kinds, which are read in the order of their names.
      widths: how many columns the parts of a batch have, by name, in the order of the
        columns. All columns are "x" when None.
      dtype: of the batches.
      seed: of the sample.

    Attributes:
      summary: of all rows.
      columns: names of the columns, or an empty list.

    Raises:
      OSError: a file does not exist, or cannot be read.
      ImportError: a file is a Parquet file, and pyarrow is not installed.
      TypeError: a column holds something other than numbers.
      ValueError: a file is damaged, the files have different columns or not the
        expected ones, an entry is NaN or infinite, or there are no rows.

    Example:
      >>> import pathlib, tempfile, numpy as np
      >>> folder = pathlib.Path(tempfile.mkdtemp())
      >>> for i in range(3):
      ...     np.save(folder / f"{i}.npy", np.full([4, 2], i))
      >>> stream = Stream(folder, {"x": 2}, "float32")
      >>> len(stream), stream.summary.mean.tolist()
      (12, [1.0, 1.0])
      >>> [batch.shape[0] for batch in stream.batches(5)]
      [5, 5, 2]
    """

    def __init__(
        self,
        path: str | os.PathLike,
        widths: Mapping[str, int] | None = None,
        dtype: Any = "float32",
        *,
        seed: int = 0,
    ) -> None:
        files = open_table(path)
        width, file = files[0].width, files[0]
        self.widths = {"x": width} if widths is None else dict(widths)
        self.dtype, self.columns = np.dtype(dtype), file.columns
        if sum(self.widths.values()) != width:
            parts = " and ".join(f"{n} for {name}" for name, n in self.widths.items())
            raise ValueError(
                f"{file.path} must have {sum(self.widths.values())} columns ({parts}). "
                f"Received: {width}."
            )
        rows = max(_pool_rows(width, self.dtype) // _PLACES, 1)
        self._stretches: list[tuple[RowFile, Any]] = [
            (file, stretch) for file in files for stretch in file.stretches(rows)
        ]
        self._seed, self._least = seed, -1.0
        self.summary = self._summarized()
        if not self.summary.rows:
            raise ValueError(f"{path} holds no rows of numbers.")

    def __len__(self) -> int:
        return self.summary.rows

    def _summarized(self) -> Summary:
        summary, path, before = Summary(), None, 0
        for number, (file, stretch) in enumerate(self._stretches):
            before = before if path == file.path else 0
            path = file.path
            values = file.read(stretch)
            with np.errstate(over="ignore"):
                rows = values.astype(self.dtype)
            bad = ~np.isfinite(rows).all(axis=1)
            if bad.any():
                i = int(np.argmax(bad))
                raise ValueError(
                    f"{path}: row {before + i + 1} has missing, NaN or infinite "
                    f"entries in {self.dtype}: {values[i]}. Remedy: drop or fill such "
                    "rows."
                )
            summary.add(rows, self._keys(number, len(rows)))
            before += len(rows)
        return summary

    def _keys(self, number: int, rows: int) -> np.ndarray:
        """Returns random keys of the rows of a stretch, the same each time."""
        return np.random.default_rng([self._seed, number]).random(rows)

    def _read(self, number: int) -> np.ndarray:
        file, stretch = self._stretches[number]
        rows = file.read(stretch).astype(self.dtype, copy=False)
        if self._least < 0:
            return rows
        return rows[self._keys(number, len(rows)) > self._least]

    def split(self, count: int) -> tuple[np.ndarray, Self]:
        """Returns random rows from the sample, and a stream of all other rows.

        The choice depends on the seed and the numbers of the rows alone.

        Args:
          count: number of rows; at most as many as the sample of the summary has, and
            fewer than there are rows.
        """
        rest = copy.copy(self)
        rest._least = self.summary.key(count - 1)
        rest.summary = self.summary.without(count)
        return self.summary.sample[:count], rest

    def order(self, seed: int, *, shuffle: bool = True) -> RowOrder:
        """Returns the order of the stretches, for `batches`."""
        return RowOrder(len(self._stretches), seed, shuffle=shuffle)

    def batches(
        self, batch_size: int, order: RowOrder | None = None
    ) -> tf.data.Dataset:
        """Returns one epoch as a dataset.

        Args:
          batch_size: rows a batch; the last has what is left.
          order: of the stretches, asked anew each time the dataset is read; that of
            the files when None.
        """
        width = sum(self.widths.values())
        size = max(_pool_rows(width, self.dtype) // batch_size, 1) * batch_size
        pools = tf.data.Dataset.from_generator(
            lambda: self._pools(size, order),
            output_signature=tf.TensorSpec([None, width], self.dtype),
        )

        def cut(pool: tf.Tensor) -> tf.data.Dataset:
            count = -(-tf.shape(pool, tf.int64)[0] // batch_size)
            return tf.data.Dataset.range(count).map(
                lambda i: by_name(
                    pool[i * batch_size : (i + 1) * batch_size], self.widths
                )
            )

        count = math.ceil(len(self) / batch_size)
        return (
            pools.prefetch(1)
            .flat_map(cut)
            .apply(tf.data.experimental.assert_cardinality(count))
            .prefetch(2)
            .with_options(dataset_options())
        )

    def _pools(self, size: int, order: RowOrder | None) -> Iterator[np.ndarray]:
        """Yields an epoch's rows, `size` at a time."""
        numbers: Iterable[int] = range(len(self._stretches))
        mixed: Callable[[np.ndarray], np.ndarray] = np.asarray
        if order is not None and order.shuffle:
            numbers = order()
            mixed = np.random.default_rng([order.seed, order.epoch, 1]).permutation
        held, waiting = [], 0
        for number in numbers:
            held.append(self._read(number))
            waiting += len(held[-1])
            if waiting < size:
                continue
            rows = mixed(np.concatenate(held))
            whole = waiting // size * size
            held, waiting = [rows[whole:].copy()], waiting - whole
            for start in range(0, whole, size):
                yield rows[start : start + size]
        if waiting:
            yield mixed(np.concatenate(held))


def by_name(rows: Any, widths: Mapping[str, int]) -> Any:
    """Returns rows of one part as they are, and other rows as a dict of their parts."""
    if len(widths) == 1:
        return rows
    ends = itertools.accumulate(widths.values())
    return {
        name: rows[:, end - width : end]
        for (name, width), end in zip(widths.items(), ends, strict=True)
    }


def _pool_rows(width: int, dtype: np.dtype) -> int:
    return min(_POOL_ROWS, _POOL_BYTES // (width * dtype.itemsize))
