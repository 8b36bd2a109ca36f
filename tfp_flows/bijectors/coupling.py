"""Couplings: some coordinates pass unchanged and say how to move the others."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.permute import permuted

__all__ = ["AdditiveCoupling", "AffineCoupling"]


class Coupling(Bijector):
    """Base of couplings: the mask, the network, and nothing of the transformation.

    A subclass says how many numbers steer each transformed coordinate
    (`_steering_size`), and transforms (`_transform`) those coordinates alone: the
    masked ones are neither computed on nor written again.
    """

    _steering_size: int  # or a property

    def __init__(self, parameters: dict[str, Any]) -> None:
        """Checks what all couplings take; `parameters` are the `locals()` of one."""
        given = networks.as_options(parameters)
        as_mask(given["mask"], given["flip"])
        dtype = networks.dtype_of_points(given["dtype"])
        super().__init__(given, dtype=dtype, name=given["name"])
        self._weights: list[tf.Variable] = []

    @property
    def required_event_size(self) -> int | None:
        """The length of a mask given as an array, or None for one given by name."""
        mask = self.parameters["mask"]
        return self.event_size if isinstance(mask, str) else len(mask)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        mask = as_mask(given["mask"], given["flip"], event_size)
        kept, moved = np.flatnonzero(mask), np.flatnonzero(~mask)
        if not kept.size or not moved.size:
            raise ValueError(
                f"{type(self).__name__} needs at least one coordinate that stays and "
                f"one that moves. Received mask {mask.astype(int).tolist()} for points "
                f"of width {event_size}."
            )
        self._sizes = (kept.size, moved.size)
        self._order = np.concatenate([kept, moved])
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
            moved.size * self._steering_size,
            kernel_initializer="zeros"
            if given["identity_start"]
            else keras.initializers.GlorotUniform(given["seed"] + 2**31),
            dtype=policy,
            name="head",
        )
        # Keras weights are invisible to tf.Module, and so to TFP, without this.
        self._weights = networks.create_weights(
            [self._network, self._head],
            self._features(tf.zeros([1, kept.size])).shape[-1] + self.context_size,
            trainable=given["trainable"],
        )
        self._build_transform(moved.size, dtype)

    def _build_transform(self, size: int, dtype: tf.DType) -> None:
        """Creates weights of the transformation itself, where it has any."""

    def _features(self, kept: tf.Tensor) -> tf.Tensor:
        """Returns what the network sees of the coordinates that stay."""
        return kept

    def _steer(self, kept: tf.Tensor) -> tf.Tensor:
        """Returns what steers the moved coordinates, `(..., moved, _steering_size)`."""
        context, given = self._context_at(kept), self._features(kept)
        given = given if context is None else tf.concat([given, context], -1)
        # As a matrix, which a user's network may require.
        rows = given if given.shape.rank == 2 else _flat(given)
        steering = tf.cast(self._head(self._network(rows)), kept.dtype)
        shape = [self._sizes[1], self._steering_size]
        if kept.shape.rank == 2:
            return tf.reshape(steering, [-1, *shape])
        steering = tf.reshape(steering, tf.concat([tf.shape(kept)[:-1], shape], 0))
        return tf.ensure_shape(steering, [*kept.shape[:-1], *shape])

    def _coupled(self, x: tf.Tensor, *, inverse: bool) -> tuple[tf.Tensor, tf.Tensor]:
        arranged = permuted(x, self._order)
        kept, moved = tf.split(arranged, self._sizes, axis=-1)
        moved, log_det = self._transform(moved, self._steer(kept), inverse)
        y = permuted(tf.concat([kept, moved], -1), self._order, inverse=True)
        return y, log_det

    def _transform(
        self, moved: tf.Tensor, steering: tf.Tensor, inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._coupled(x, inverse=False)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._coupled(y, inverse=True)


class _PlainCoupling(Coupling):
    """Couplings with no options beyond those of all couplings."""

    def __init__(
        self,
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
        super().__init__(locals())


@register
class AffineCoupling(_PlainCoupling):
    """Scales and shifts some coordinates by a network of the others (RealNVP).

    Forward, base to data, for a binary mask b::

        y[b] = x[b]
        y[~b] = x[~b] · exp(s) + t,    s = c · tanh(s' / c),    (s', t) = network(x[b])
        log|det ∂y/∂x| = Σ s

    with a learned c > 0 for each moved coordinate, 1 at the start: it bounds how far
    one layer may stretch, which keeps training stable.

    Args:
      mask: which coordinates stay: "alternating" (1, 0, 1, 0, …), "halves" (the
        first half stays), or an array of `event_size` zeros and ones.
      flip: exchange the coordinates that stay with those that move.
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function.
      network: any Keras layer from `(n, number that stay + context_size)` to
        `(n, features)`, in place of `hidden` and `activation`. A dense layer from
        its features to (s', t) follows in either case.
      identity_start: begin with y = x, by zeros in that last dense layer; else it
        begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside x[b]; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: a mask that is not binary, not of the points' width, or that leaves
        no coordinate to stay or to move.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> coupling = AffineCoupling(hidden=(16,), identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0, 2.0]], "float32")
      >>> y = coupling.forward(x).numpy()
      >>> (y == x).tolist()
      [[True, False, True]]

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real
    NVP", eq. 7-9; the bounded scale is that of its reference implementation.
    """

    _steering_size = 2

    def _build_transform(self, size: int, dtype: tf.DType) -> None:
        self._log_bound = tf.Variable(
            tf.zeros([size], dtype),
            trainable=self.parameters["trainable"],
            name="log_bound",
        )

    def _transform(
        self, moved: tf.Tensor, steering: tf.Tensor, inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raw, shift = tf.unstack(steering, axis=-1)
        bound = tf.exp(self._log_bound)
        log_scale = bound * tf.tanh(raw / bound)
        log_det = tf.reduce_sum(log_scale, -1)
        if inverse:
            return (moved - shift) * tf.exp(-log_scale), -log_det
        return moved * tf.exp(log_scale) + shift, log_det


@register
class AdditiveCoupling(_PlainCoupling):
    """Shifts some coordinates by a network of the others (NICE).

    Forward, base to data, for a binary mask b::

        y[b] = x[b]
        y[~b] = x[~b] + t,    t = network(x[b])
        log|det ∂y/∂x| = 0

    Args and errors are those of `AffineCoupling`, with t alone where it has (s', t).

    Example:
      >>> coupling = AdditiveCoupling("halves", hidden=(16,), identity_start=False)
      >>> coupling.forward_log_det_jacobian([[0.5, -1.0], [3.0, 2.0]]).numpy().tolist()
      [0.0, 0.0]

    Source: Dinh, Krueger and Bengio (2014), "NICE: Non-linear independent components
    estimation", eq. 9.
    """

    _steering_size = 1

    def _transform(
        self, moved: tf.Tensor, steering: tf.Tensor, inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        shift = steering[..., 0]
        return moved - shift if inverse else moved + shift, tf.zeros_like(moved[..., 0])


def _flat(points: tf.Tensor) -> tf.Tensor:
    return tf.reshape(points, [-1, points.shape[-1]])


def as_mask(mask: Any, flip: bool = False, event_size: int | None = None) -> np.ndarray:
    """Returns the mask as booleans of shape `(event_size,)`, True where x stays.

    Args:
      mask: "alternating", "halves", or zeros and ones.
      flip: whether to negate it.
      event_size: None only checks that `mask` is a mask.

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
