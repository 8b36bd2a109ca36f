"""Mapped: what bijectors that apply an elementwise map have in common."""

from typing import Any

import tensorflow as tf

from tfp_flows.bijectors.base import Bijector
from tfp_flows.bijectors.elementwise.base import ElementwiseMap, as_map
from tfp_flows.bijectors.elementwise.box import Box, as_box

__all__ = ["Mapped", "network_features"]


class Mapped(Bijector):
    """Base of bijectors that apply an elementwise map to some of their coordinates.

    It keeps the map, its own weights and its boxes, which it fits to data. A subclass
    computes the parameters, and may select the coordinates that are mapped (`_mapped`).

    Args:
      map: the `ElementwiseMap`.
      arguments: those of the subclass's constructor, by name. Where a subclass builds
        the map itself, the map's own arguments complete them.
      **options: as for `Bijector`.

    Raises:
      TypeError: `map` is not an `ElementwiseMap`.
    """

    def __init__(
        self, map: ElementwiseMap, arguments: dict[str, Any], **options: Any
    ) -> None:
        self._map = as_map(map)
        super().__init__({**map.get_config(), **arguments}, **options)

    @property
    def map(self) -> ElementwiseMap:
        """The elementwise map."""
        return self._map

    def _build_map(self, size: int, dtype: tf.DType) -> None:
        """Creates the weights of the map for `size` coordinates."""
        self._own_weights = tuple(
            self._map.own_weights(size, dtype, trainable=self.parameters["trainable"])
        )
        self._box = None
        if self._map.interval is not None:
            self._box = Box(as_box(self._map.interval), size, dtype)

    def _map_weights(self) -> list[tf.Tensor]:
        """Returns what the map takes after its parameters."""
        ends = () if self._box is None else (self._box.low, self._box.width)
        return [tf.convert_to_tensor(v) for v in (*self._own_weights, *ends)]

    def _mapped(self, points: tf.Tensor) -> tf.Tensor:
        """Returns the coordinates that are mapped; by default, all of them."""
        return points

    @property
    def needs_adaptation(self) -> bool:
        """Whether the box is to be fitted to data, and was not yet."""
        if self.event_size is None:
            return self._map.interval == "data"
        return self._box is not None and self._box.needs_adaptation

    def adapt(self, y: Any) -> None:
        """Fits the box, if it is to be fitted, to points on the data's side.

        Args:
          y: `(n, event_size)`.
        """
        if self._map.interval != "data":
            return
        y = tf.convert_to_tensor(y)
        self.build(y.shape[-1], y.dtype)
        if self._box is not None:
            self._box.adapt(self._mapped(y))

    def adapt_inverted(self, x: Any) -> None:
        """Does what `adapt` does, for points on the base's side.

        Args:
          x: `(n, event_size)`.
        """
        if self._map.interval == "data":
            super().adapt_inverted(x)

    def outside(self, y: tf.Tensor) -> tf.Tensor | None:
        """Returns, for points on the data's side, whether the map does not reach them.

        Args:
          y: `(..., event_size)`.

        Returns:
          Booleans `(...)`, True where some coordinate lies outside; None for a map
          that reaches every number.
        """
        y = tf.convert_to_tensor(y)
        self.build(y.shape[-1], y.dtype)
        outside = self._map.outside(self._mapped(y), *self._map_weights())
        return None if outside is None else tf.reduce_any(outside, -1)


def network_features(map: ElementwiseMap, points: tf.Tensor) -> tf.Tensor:
    """Returns what a network sees of coordinates: cosines and sines of angles."""
    if not map.periodic:
        return points
    return tf.concat([tf.cos(points), tf.sin(points)], -1)
