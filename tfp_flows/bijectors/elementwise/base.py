"""ElementwiseMap: an increasing function whose parameters come from outside."""

from collections.abc import Sequence
from typing import Any

import tensorflow as tf

from tfp_flows._core.described import Described

__all__ = ["ElementwiseMap", "as_map", "bounded"]


class ElementwiseMap(Described):
    """Base of maps: increasing functions of one number, with parameters from outside.

    A map moves each coordinate by itself. `Coupling` and `Autoregressive` decide which
    coordinates its parameters depend on: they compute them by a network, call the map,
    and add up the log-derivatives. Forward is from the base to the data::

        y_i = f(x_i; parameters_i)

    A subclass sets `parameter_count`, as a class attribute or in its constructor, and
    gives `forward` and `inverse`. It keeps the arguments of its constructor as
    attributes of the same names, which lets a flow copy and save it; register it with
    `keras.saving.register_keras_serializable`. A map holds no weights itself, so that
    one map may serve several bijectors.

    Attributes:
      parameter_count: number of parameters of each coordinate. They may be any real
        numbers, and the map must be the identity where they are all zero: this is how
        bijectors with `identity_start` begin.
      interval: the interval that the map bends: None for the whole line, (low, high),
        or "data" for one that is fitted to the data of each coordinate. `forward` and
        `inverse` receive its low end and its width.
      periodic: whether the coordinates are angles in [-π, π). The network then sees
        their cosines and sines.
      divides_by_width: whether `Coupling` divides the parameters by the square root of
        the number of features that they are computed from. The first steps of Adam
        change the weights of all features at once, and would otherwise bend the map
        more, the wider the network is.
    """

    parameter_count: int
    interval: str | tuple[float, float] | None = None
    periodic: bool = False
    divides_by_width: bool = False

    def own_weights(
        self, size: int, dtype: tf.DType, *, trainable: bool
    ) -> Sequence[tf.Variable]:
        """Returns weights that no network computes, each `(size,)`; none by default.

        Args:
          size: number of coordinates.
          dtype: of the points.
          trainable: whether training may change them.
        """
        return ()

    def forward(
        self, x: tf.Tensor, parameters: tf.Tensor, *own: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx), both elementwise.

        Args:
          x: `(..., size)`.
          parameters: `(..., size, parameter_count)`.
          *own: the values of `own_weights`, and then the low ends and the widths of
            the intervals if the map has an `interval`; each `(size,)`.
        """
        raise NotImplementedError

    def inverse(
        self, y: tf.Tensor, parameters: tf.Tensor, *own: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x and log(dx/dy), from arguments like those of `forward`."""
        raise NotImplementedError

    def outside(self, y: tf.Tensor, *own: tf.Tensor) -> tf.Tensor | None:
        """Returns, elementwise, which numbers the map always leaves as they are.

        The default is None, for a map that reaches every number.

        Args:
          y: `(..., size)`, on the data's side.
          *own: as in `forward`.
        """
        return None


def as_map(map: Any) -> ElementwiseMap:
    """Returns the map.

    Raises:
      TypeError: it is not an `ElementwiseMap`.
    """
    if not isinstance(map, ElementwiseMap):
        raise TypeError(
            "`map` must be an ElementwiseMap, such as "
            f"tfp_flows.bijectors.elementwise.AffineMap(). Received: {map!r}."
        )
    return map


def bounded(raw: tf.Tensor, most: float | tf.Tensor) -> tf.Tensor:
    """Returns numbers close to `raw` where that is small, and within ±`most`."""
    return most * tf.tanh(raw / most)
