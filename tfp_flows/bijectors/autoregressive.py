"""Autoregressive: a network of the coordinates before chooses the map of each one."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.elementwise.base import ElementwiseMap
from tfp_flows.bijectors.mapped import Mapped, network_features

__all__ = ["Autoregressive"]

# From this number of passes of the network in a row on, users are warned.
_MANY_PASSES = 128

_MASKED = (networks.MaskedMLP, networks.MaskedResidualMLP)


@register
class Autoregressive(Mapped):
    """Maps each coordinate, with parameters from a network of those before it.

    With f an elementwise map and the natural order; inverse, data to base::

        x_i = f⁻¹(y_i; parameters_i)
        parameters_i = network(y_1, …, y_{i-1})
        log|det ∂x/∂y| = -Σ log f'(x_i)

    The density takes one pass of the network; forward, which sampling uses, takes one
    after the other for each of the d coordinates. `tfb.Invert` of one is the other way
    round. `MaskedAutoregressive` and `AutoregressiveSpline` are of one map each, and
    `IAF` is the inverse of the former.

    Args:
      map: an `elementwise.ElementwiseMap`, such as `elementwise.MixtureCDFMap()`.
      order: of the coordinates: "natural", "reversed", or a permutation of 0, …, d-1
        that names the first coordinate first.
      hidden: widths of the network's hidden layers; from d - 1 on, or d with a
        context, each coordinate sees all those before it.
      activation: of the hidden layers, a Keras name or function.
      residual: whether the hidden layers are residual blocks, of one width, such as
        (64, 64) for two.
      network: any Keras layer from `(n, d + context_size)` to
        `(n, d, map.parameter_count)`, where the parameters of a coordinate depend on
        the coordinates before it alone, in place of `hidden`, `activation`, `residual`
        and `identity_start`: such as `networks.MaskedMLP` with this order. If the map
        is of angles, the network sees all cosines and then all sines.
      identity_start: whether to begin with y = x, by zeros in the network's last
        layer; otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside the coordinates;
        0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None. "mixed_bfloat16" is
        float32 with bfloat16 in the matrix products of the networks.
      name: as in TFP.

    Raises:
      ValueError: an order that is not a permutation, or not of the points' width; a
        network with outputs of another shape, or that sees later coordinates.
      TypeError: `map` is not an `ElementwiseMap`, or `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> from tfp_flows.bijectors.elementwise import MixtureCDFMap
      >>> bijector = Autoregressive(MixtureCDFMap(3), identity_start=False, seed=0)
      >>> y = np.array([[0.5, -1.0, 2.0], [0.5, -1.0, 9.0]], "float32")
      >>> x = bijector.inverse(y).numpy()
      >>> (x[0] == x[1]).tolist()  # no other depends on the third
      [True, True, False]
      >>> np.allclose(bijector.forward(x), y, atol=1e-4)
      True

    Source: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for
    density estimation", section 3.1; with any map, Papamakarios et al. (2021),
    "Normalizing flows for probabilistic modeling and inference", section 3.1.
    """

    # Whether forward evaluates the map of all coordinates at once, and not the inverse.
    _samples_in_one_pass = False

    def __init__(
        self,
        map: ElementwiseMap,
        order: str | Sequence[int] = "natural",
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        residual: bool = False,
        network: keras.Layer | None = None,
        identity_start: bool = True,
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        arguments = networks.as_options(locals())
        networks.as_order(order)
        if residual:
            networks.as_width(hidden)
        super().__init__(
            map, arguments, dtype=networks.dtype_of_points(dtype), name=name
        )
        self._weights: list[tf.Variable] = []
        self._has_warned = False

    @property
    def required_event_size(self) -> int | None:
        """The length of an order given as a permutation, or None for one by name."""
        order = self.parameters["order"]
        return self.event_size if isinstance(order, str) else len(order)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        self._order = networks.as_order(given["order"], event_size)
        self._network = given["network"]
        features = 2 if self._map.periodic else 1
        if self._network is None:
            masked = (
                networks.MaskedResidualMLP if given["residual"] else networks.MaskedMLP
            )
            self._network = masked(
                event_size,
                self._map.parameter_count,
                given["hidden"],
                given["activation"],
                order=self._order,
                features=features,
                zero_start=given["identity_start"],
                seed=given["seed"],
                dtype=networks.dtype_of_networks(given["dtype"]) or dtype.name,
            )
        # Keras weights are invisible to tf.Module, and so to TFP, without this.
        self._weights = networks.create_weights(
            [self._network],
            features * event_size + self.context_size,
            trainable=given["trainable"],
        )
        if given["network"] is not None:
            self._check_network(event_size, dtype)
        self._build_map(event_size, dtype)
        if self._box is not None:
            # tf.Module lists variables by attribute, and files hold them in its order.
            self._box_ends = (self._box.low, self._box.width)

    def _check_network(self, event_size: int, dtype: tf.DType) -> None:
        """Raises where a user's network looks at what comes later in the order."""
        order = self._order.tolist()
        if isinstance(self._network, _MASKED) and self._network.order != order:
            raise ValueError(
                "`network` and the bijector must have one order. Received: "
                f"{self._network.order} and {order}."
            )
        rng = np.random.default_rng(0)
        point, other = rng.standard_normal((2, event_size))
        context = np.zeros([event_size + 1, self.context_size])
        # Row k has what is before place k in the order in common with the last row.
        is_later = np.argsort(self._order) >= np.arange(event_size + 1)[:, None]
        rows = tf.constant(np.where(is_later, other, point), dtype)
        rows = tf.concat(
            [network_features(self._map, rows), tf.constant(context, dtype)], -1
        )
        outputs = np.asarray(self._network(rows))
        expected = (event_size + 1, event_size, self._map.parameter_count)
        if outputs.shape != expected:
            raise ValueError(
                f"`network` must map {event_size + 1} rows of width {rows.shape[1]} to "
                f"shape {expected}. Received shape {outputs.shape}."
            )
        mine, all_known = outputs[np.arange(event_size), self._order], outputs[-1]
        wrong = ~np.isclose(mine, all_known[self._order], rtol=1e-3, atol=1e-4)
        if wrong.any():
            place = int(np.argmax(wrong.any(-1)))
            raise ValueError(
                "`network` must give each variable outputs that depend on those before "
                f"it in the order, {order}, alone. Those of variable "
                f"{self._order[place]} depend on more. Remedy: networks.MaskedMLP with "
                "this order."
            )

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        one_pass = self._samples_in_one_pass
        return self._by_rows(self._evaluate if one_pass else self._solve, x)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        one_pass = not self._samples_in_one_pass
        return self._by_rows(self._evaluate if one_pass else self._solve, y)

    def _by_rows(
        self, function: Callable, points: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Calls `function(points, context)` with matrices."""
        context = self._context_at(points)
        rows = _flat(points)
        values, log_det = function(rows, None if context is None else _flat(context))
        values = tf.reshape(values, tf.shape(points))
        log_det = tf.reshape(log_det, tf.shape(points)[:-1])
        return (
            tf.ensure_shape(values, points.shape),
            tf.ensure_shape(log_det, points.shape[:-1]),
        )

    def _evaluate(
        self, u: tf.Tensor, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns v and its log-det, in one pass."""
        parameters = tf.cast(self._network(self._inputs(u, context)), u.dtype)
        v, log_slopes = self._map.inverse(u, parameters, *self._map_weights())
        return v, tf.reduce_sum(log_slopes, -1)

    def _solve(
        self, v: tf.Tensor, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u and its log-det, one coordinate in each of d passes."""
        if tf.executing_eagerly():
            self.warn_of_cost(forward=not self._samples_in_one_pass)
        order, size = tf.constant(self._order), len(self._order)
        own = self._map_weights()

        def find_next(
            place: tf.Tensor, u: tf.Tensor, log_det: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            i = tf.gather(order, place)
            found, log_slope = self._map.forward(
                tf.gather(v, i, axis=1)[:, tf.newaxis],
                self._parameters_of(i, u, context),
                # Along axis 1, since along axis 0 the gradients would be sparse.
                *(tf.gather(weight[tf.newaxis], i, axis=1) for weight in own),
            )
            u = tf.where(tf.range(size, dtype=i.dtype) == i, found, u)
            return place + 1, u, log_det + log_slope[:, 0]

        _, u, log_det = tf.while_loop(
            lambda place, *_: place < size,
            find_next,
            (tf.constant(0), tf.zeros_like(v), tf.zeros_like(v[:, 0])),
            parallel_iterations=1,
            maximum_iterations=size,  # which XLA's gradient needs
        )
        return u, log_det

    def _parameters_of(
        self, i: tf.Tensor, u: tf.Tensor, context: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns the parameters of coordinate i, `(n, 1, parameter_count)`."""
        inputs = self._inputs(u, context)
        if isinstance(self._network, _MASKED):  # can leave out the other outputs
            parameters = self._network(inputs, variable=i)
        else:
            parameters = tf.gather(self._network(inputs), i, axis=1)
        return tf.cast(parameters, u.dtype)[:, tf.newaxis]

    def _inputs(self, u: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        features = network_features(self._map, u)
        return features if context is None else tf.concat([features, context], -1)

    def warn_of_cost(self, *, forward: bool) -> None:
        """Warns once where forward, or else the inverse, takes many passes in a row."""
        original = self
        while original._unbound is not None:
            original = original._unbound
        passes = len(self._order)
        in_one = forward == self._samples_in_one_pass
        if in_one or passes < _MANY_PASSES or original._has_warned:
            return
        original._has_warned = True
        slow, fast = "sampling (forward)", "density (inverse)"
        if not forward:
            slow, fast = fast, slow
        warnings.warn(
            f"{type(self).__name__}: {slow} takes {passes} network passes, one a "
            f"coordinate, where {fast} takes one. Where this is too slow, a coupling "
            "takes one pass in both directions.",
            stacklevel=3,
        )


def _flat(points: tf.Tensor) -> tf.Tensor:
    if points.shape.rank == 2:
        return points
    return tf.reshape(points, [-1, points.shape[-1]])
