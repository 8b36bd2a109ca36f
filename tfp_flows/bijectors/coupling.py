"""Coupling: some coordinates stay, and a network of them chooses maps of the others."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.base import ElementwiseMap
from tfp_flows.bijectors.mapped import Mapped, network_features
from tfp_flows.bijectors.permute import permuted

__all__ = ["Coupling", "as_mask"]


@register
class Coupling(Mapped):
    """Maps some coordinates, with parameters from a network of the others.

    Forward, base to data, for a binary mask b and an elementwise map f::

        y[b] = x[b]
        y[i] = f(x[i]; parameters_i)    for the others
        parameters = network(x[b])
        log|det ∂y/∂x| = Σ log f'(x[i])

    Both directions take one pass of the network. `AffineCoupling`, `AdditiveCoupling`,
    `SplineCoupling` and `MixtureCDFCoupling` are couplings of one map each.

    Args:
      map: an `elementwise.ElementwiseMap`, such as `elementwise.AffineMap()`.
      mask: which coordinates stay: "alternating" (1, 0, 1, 0, …), "halves" (the
        first half stays), or an array of `event_size` zeros and ones.
      flip: whether to exchange the coordinates that stay with those that are mapped.
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`. If the map is of angles,
        the network sees a cosine and a sine of each. A dense layer from the features
        to the parameters follows in either case.
      identity_start: whether to begin with y = x, by zeros in that last dense layer;
        otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside x[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to be mapped.
      TypeError: `map` is not an `ElementwiseMap`, or `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> from tfp_flows.bijectors.elementwise import RationalQuadraticMap
      >>> map = RationalQuadraticMap(bins=5, box=3.0)
      >>> coupling = Coupling(map, "halves", identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0, 2.0]], "float32")
      >>> y = coupling.forward(x).numpy()
      >>> (y == x).tolist()
      [[True, True, False]]

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real
    NVP", section 3.2; with any map, Papamakarios et al. (2021), "Normalizing flows for
    probabilistic modeling and inference", section 3.1.2.
    """

    def __init__(
        self,
        map: ElementwiseMap,
        mask: str | Sequence[int] = "alternating",
        *,
        flip: bool = False,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        network: keras.Layer | None = None,
        identity_start: bool = True,
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        arguments = networks.as_options(locals())
        as_mask(mask, flip)
        super().__init__(
            map, arguments, dtype=networks.dtype_of_points(dtype), name=name
        )
        self._weights: list[tf.Variable] = []

    @property
    def required_event_size(self) -> int | None:
        """The length of a mask given as an array, or None for one given by name."""
        mask = self.parameters["mask"]
        return self.event_size if isinstance(mask, str) else len(mask)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        mask = as_mask(given["mask"], given["flip"], event_size)
        kept, mapped = np.flatnonzero(mask), np.flatnonzero(~mask)
        if not kept.size or not mapped.size:
            raise ValueError(
                f"{type(self).__name__} needs at least one coordinate that stays and "
                f"one that moves. Received mask {mask.astype(int).tolist()} for points "
                f"of width {event_size}."
            )
        self._sizes = (kept.size, mapped.size)
        self._order = np.concatenate([kept, mapped])
        policy = networks.dtype_of_networks(given["dtype"]) or dtype.name
        self._network = given["network"]
        if self._network is None:
            self._network = networks.MLP(
                given["hidden"],
                given["activation"],
                seed=given["seed"],
                dtype=policy,
            )
        self._head = keras.layers.Dense(
            mapped.size * self._map.parameter_count,
            kernel_initializer="zeros"
            if given["identity_start"]
            else keras.initializers.GlorotUniform(given["seed"] + 2**31),
            dtype=policy,
            name="head",
        )
        features = network_features(self._map, tf.zeros([1, kept.size]))
        # Keras weights are invisible to tf.Module, and so to TFP, without this.
        self._weights = networks.create_weights(
            [self._network, self._head],
            features.shape[-1] + self.context_size,
            trainable=given["trainable"],
        )
        self._build_map(mapped.size, dtype)

    def _parameters_of(self, kept: tf.Tensor) -> tf.Tensor:
        """Returns the parameters of the map, `(..., mapped, parameter_count)`."""
        context, features = self._context_at(kept), network_features(self._map, kept)
        if context is not None:
            features = tf.concat([features, context], -1)
        if features.shape.rank != 2:  # a user's network may require a matrix
            features = tf.reshape(features, [-1, features.shape[-1]])
        parameters = tf.cast(self._head(self._network(features)), kept.dtype)
        shape = [self._sizes[1], self._map.parameter_count]
        if kept.shape.rank == 2:
            parameters = tf.reshape(parameters, [-1, *shape])
        else:
            batch = tf.shape(kept)[:-1]
            parameters = tf.reshape(parameters, tf.concat([batch, shape], 0))
            parameters = tf.ensure_shape(parameters, [*kept.shape[:-1], *shape])
        if self._map.divides_by_width:
            parameters /= math.sqrt(self._head.kernel.shape[0])
        return parameters

    def _mapped(self, points: tf.Tensor) -> tf.Tensor:
        return tf.gather(points, self._order[self._sizes[0] :], axis=-1)

    def _apply(
        self, function: Callable, points: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Applies one direction of the map to the coordinates that do not stay."""
        arranged = permuted(points, self._order)
        kept, mapped = tf.split(arranged, self._sizes, axis=-1)
        mapped, log_slopes = function(
            mapped, self._parameters_of(kept), *self._map_weights()
        )
        result = permuted(tf.concat([kept, mapped], -1), self._order, inverse=True)
        return result, tf.reduce_sum(log_slopes, -1)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self._map.forward, x)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._apply(self._map.inverse, y)


def as_mask(mask: Any, flip: bool = False, event_size: int | None = None) -> np.ndarray:
    """Returns the mask as booleans `(event_size,)`, True for coordinates that stay.

    Args:
      mask: "alternating", "halves", or zeros and ones.
      flip: whether to negate it.
      event_size: width of the points; with None the mask is only checked.

    Raises:
      ValueError: `mask` is none of these, or not of width `event_size`.
    """
    if isinstance(mask, str):
        if mask not in ("alternating", "halves"):
            raise ValueError(
                "`mask` must be 'alternating', 'halves', or an array of zeros and "
                f"ones. Received: {mask!r}."
            )
        index = np.arange(event_size or 2)
        stays = (
            index % 2 == 0 if mask == "alternating" else index < (len(index) + 1) // 2
        )
    else:
        values = np.asarray(mask)
        if values.ndim != 1 or not np.isin(values, (0, 1)).all():
            raise ValueError(
                "`mask` must be a vector of zeros and ones, or 'alternating' or "
                f"'halves'. Received: {mask!r}."
            )
        stays = values.astype(bool)
        if event_size is not None and len(stays) != event_size:
            raise ValueError(
                f"`mask` must have one entry a coordinate, {event_size}. "
                f"Received {len(stays)}."
            )
    return ~stays if flip else stays
