"""Box: the interval of each coordinate that a map bends."""

import math
from typing import Any

import numpy as np
import tensorflow as tf

__all__ = ["CIRCLE", "Box", "as_box"]

CIRCLE = (-math.pi, math.pi)

# A box that is fitted to data covers this share of them, and is then widened by this
# share of its width. A few outliers must not stretch it: they belong to the tails.
_COVERED, _MARGIN = 0.999, 0.1

# Half the width of a box that waits for data.
_DEFAULT = 5.0


def as_box(box: Any) -> str | tuple[float, float]:
    """Returns "data", or the ends of the box.

    Raises:
      ValueError: `box` is not "data", a positive number, or two increasing ones.
    """
    if isinstance(box, str):
        if box == "data":
            return box
    elif np.ndim(box) == 0 and np.isfinite(box) and box > 0:
        return -float(box), float(box)
    elif np.shape(box) == (2,) and np.isfinite(box).all() and box[0] < box[1]:
        return float(box[0]), float(box[1])
    raise ValueError(
        "`box` must be 'data', a number b > 0 for [-b, b], or (low, high). "
        f"Received: {box!r}."
    )


class Box(tf.Module):
    """The intervals `[low, low + width]` of some coordinates, given or fitted to data.

    Args:
      box: from `as_box`.
      size: number of coordinates.
      dtype: of the points.
    """

    def __init__(
        self, box: str | tuple[float, float], size: int, dtype: tf.DType
    ) -> None:
        super().__init__()
        low, high = (-_DEFAULT, _DEFAULT) if isinstance(box, str) else box

        def variable(value: float, shape: list[int], name: str) -> tf.Variable:
            return tf.Variable(
                tf.fill(shape, tf.cast(value, dtype)), trainable=False, name=name
            )

        self.low = variable(low, [size], "box_low")
        self.width = variable(high - low, [size], "box_width")
        self._waits = variable(box == "data", [], "box_waits_for_data")

    @property
    def needs_adaptation(self) -> bool:
        """Whether the box is to be fitted to data, and was not yet."""
        return bool(tf.convert_to_tensor(self._waits) > 0)

    def adapt(self, values: Any) -> None:
        """Fits the box to points `(n, size)`."""
        values = np.asarray(values)
        rest = (1 - _COVERED) / 2
        low, high = np.quantile(values, [rest, 1 - rest], axis=0)
        # A constant column has no width.
        width = np.maximum(high - low, 1e-3 * (1 + np.abs(low)))
        self.low.assign(low - _MARGIN * width)
        self.width.assign((1 + 2 * _MARGIN) * width)
        self._waits.assign(0.0)
