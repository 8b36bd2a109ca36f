"""What a pass of points through weights costs."""

import math
from collections.abc import Sequence

import keras

__all__ = ["operations", "operations_of_step"]


def operations(weights: Sequence[keras.Variable], rows: int) -> int:
    """Returns about how many operations it takes to score or draw so many points."""
    numbers = sum(math.prod(weight.shape) for weight in weights)
    return 2 * max(numbers, 1) * rows


def operations_of_step(weights: Sequence[keras.Variable], rows: int) -> int:
    """Returns about how many a training step is: one pass forward, and twice that back.

    Args:
      weights: those that are trained.
      rows: of a batch.
    """
    return 3 * operations(weights, rows)
