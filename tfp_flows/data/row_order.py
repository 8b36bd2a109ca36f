"""The order in which the rows of each epoch are read."""

from typing import Any

import keras
import numpy as np

__all__ = ["RowOrder"]


class RowOrder(keras.callbacks.Callback):
    """The order of the rows in each epoch, given by a seed and the epoch's number.

    It depends on nothing else, so a fit that goes on from its fifth epoch reads the
    rows as a fit that was never interrupted does. It is a callback because only Keras's
    `fit` knows which epoch it is.

    Args:
      rows: how many there are.
      seed: of the orders.
      shuffle: whether each epoch has an order of its own; otherwise all have that of
        the data.
    """

    def __init__(self, rows: int, seed: int, *, shuffle: bool = True) -> None:
        super().__init__()
        self.rows, self.seed, self.shuffle = rows, seed, shuffle
        self.epoch = 0

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Starts an epoch; Keras calls this before it reads the first batch."""
        self.epoch = epoch
        self._numbers, self._position = self(), 0

    def __call__(self) -> np.ndarray:
        """Returns the row numbers in the order of this epoch."""
        if not self.shuffle:
            return np.arange(self.rows)
        return np.random.default_rng([self.seed, self.epoch]).permutation(self.rows)

    def next(self, count: int) -> np.ndarray:
        """Returns the numbers of the epoch's next rows, at most `count` of them."""
        found = self._numbers[self._position : self._position + count]
        self._position += count
        return found
