"""Autoregressive bijectors: each coordinate is moved as those before it say."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows.bijectors.base import Bijector, register

__all__ = ["IAF", "MaskedAutoregressive"]

# From here on, passes of the network in a row are told of.
_MANY_PASSES = 128

_MASKED = (networks.MaskedMLP, networks.MaskedResidualMLP)


class Autoregressive(Bijector):
    """Base of autoregressive bijectors: the order, the masked network, both passes.

    With g an elementwise bijection and o the order, one direction computes v from u::

        v[o_k] = g(u[o_k]; network(u[o_0], …, u[o_{k-1}]))

    for all k in one pass of the network. The other solves this for u, one coordinate
    after the other, in d passes. A subclass says which one sampling takes
    (`_samples_in_one_pass`), how many numbers steer each coordinate
    (`_steering_size`), and transforms (`_transform`).
    """

    _samples_in_one_pass = False
    _steering_size: int  # or a property
    _features_each = 1  # numbers by which the network sees a coordinate

    def __init__(self, parameters: dict[str, Any]) -> None:
        """Checks what all of these take; `parameters` are the `locals()` of one."""
        given = networks.as_options(parameters)
        networks.as_order(given["order"])
        if given["residual"]:
            networks.as_width(given["hidden"])
        dtype = networks.dtype_of_points(given["dtype"])
        super().__init__(given, dtype=dtype, name=given["name"])
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
        if self._network is None:
            masked = (
                networks.MaskedResidualMLP if given["residual"] else networks.MaskedMLP
            )
            self._network = masked(
                event_size,
                self._steering_size,
                given["hidden"],
                given["activation"],
                order=self._order,
                features=self._features_each,
                zero_start=given["identity_start"],
                seed=given["seed"],
                dtype=networks.dtype_of_networks(given["dtype"]) or dtype.name,
            )
        # Keras weights are invisible to tf.Module, and so to TFP, without this.
        self._weights = networks.create_weights(
            [self._network],
            self._features_each * event_size + self.context_size,
            trainable=given["trainable"],
        )
        if given["network"] is not None:
            self._check_network(event_size, dtype)
        self._own_weights = self._create_own_weights(event_size, dtype)

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
        rows = tf.concat([self._features(rows), tf.constant(context, dtype)], -1)
        outputs = np.asarray(self._network(rows))
        expected = (event_size + 1, event_size, self._steering_size)
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

    def _create_own_weights(
        self, event_size: int, dtype: tf.DType
    ) -> tuple[tf.Variable, ...]:
        """Returns weights of the transformation itself, each `(event_size,)`."""
        return ()

    def _features(self, points: tf.Tensor) -> tf.Tensor:
        """Returns what the network sees of points `(n, event_size)`."""
        return points

    def _transform(
        self,
        u: tf.Tensor,
        steering: tf.Tensor,
        own_weights: Sequence[tf.Tensor],
        solve: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns v = g(u) and log|dv/du|, elementwise; or u from v, to `solve`.

        Args:
          u: `(n, size)`, where size is `event_size`, or 1 for one coordinate.
          steering: `(n, size, _steering_size)`.
          own_weights: of these coordinates, each `(size,)`.
          solve: whether to invert g.
        """
        raise NotImplementedError

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
        steering = tf.cast(self._network(self._inputs(u, context)), u.dtype)
        own = [tf.convert_to_tensor(weight) for weight in self._own_weights]
        v, log_slopes = self._transform(u, steering, own, solve=False)
        return v, tf.reduce_sum(log_slopes, -1)

    def _solve(
        self, v: tf.Tensor, context: tf.Tensor | None
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns u and its log-det, in d passes, each of which finds a coordinate."""
        if tf.executing_eagerly():
            self.warn_of_cost(forward=not self._samples_in_one_pass)
        order, size = tf.constant(self._order), len(self._order)
        own = [tf.convert_to_tensor(weight) for weight in self._own_weights]

        def find_next(
            place: tf.Tensor, u: tf.Tensor, log_det: tf.Tensor
        ) -> tuple[tf.Tensor, ...]:
            i = tf.gather(order, place)
            found, log_slope = self._transform(
                tf.gather(v, i, axis=1)[:, tf.newaxis],
                self._steering_of(i, u, context),
                # Along axis 1, since along axis 0 the gradients would be sparse.
                [tf.gather(weight[tf.newaxis], i, axis=1) for weight in own],
                solve=True,
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

    def _steering_of(
        self, i: tf.Tensor, u: tf.Tensor, context: tf.Tensor | None
    ) -> tf.Tensor:
        """Returns what steers coordinate i, `(n, 1, _steering_size)`."""
        inputs = self._inputs(u, context)
        if isinstance(self._network, _MASKED):  # can leave out the other outputs
            steering = self._network(inputs, variable=i)
        else:
            steering = tf.gather(self._network(inputs), i, axis=1)
        return tf.cast(steering, u.dtype)[:, tf.newaxis]

    def _inputs(self, u: tf.Tensor, context: tf.Tensor | None) -> tf.Tensor:
        features = self._features(u)
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


class _Affine(Autoregressive):
    """Autoregressive bijectors that scale and shift."""

    _steering_size = 2

    def __init__(
        self,
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
        super().__init__(locals())

    def _create_own_weights(
        self, event_size: int, dtype: tf.DType
    ) -> tuple[tf.Variable, ...]:
        return (
            tf.Variable(
                tf.zeros([event_size], dtype),
                trainable=self.parameters["trainable"],
                name="log_bound",
            ),
        )

    def _transform(
        self,
        u: tf.Tensor,
        steering: tf.Tensor,
        own_weights: Sequence[tf.Tensor],
        solve: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        raw, shift = tf.unstack(steering, axis=-1)
        bound = tf.exp(own_weights[0])
        log_scale = bound * tf.tanh(raw / bound)
        if solve:
            return u * tf.exp(log_scale) + shift, log_scale
        return (u - shift) * tf.exp(-log_scale), -log_scale


@register
class MaskedAutoregressive(_Affine):
    """Scales and shifts each coordinate by a network of those before it (MAF).

    Inverse, data to base, for the natural order::

        x_i = (y_i - t_i) · exp(-s_i),    s_i = c_i · tanh(s_i' / c_i)
        (s_i', t_i) = network(y_1, …, y_{i-1})
        log|det ∂x/∂y| = -Σ s

    with a learned c_i > 0 for each coordinate, 1 at the start: it bounds how far one
    layer may stretch. The density takes one pass of the network; forward, which
    sampling uses, takes one after the other for each of the d coordinates. `IAF` is
    the other way round.

    Args:
      order: of the coordinates: "natural", "reversed", or a permutation of 0, …, d-1
        that names the first coordinate first.
      hidden: widths of the network's hidden layers; from d - 1 on, or d with a
        context, each coordinate sees all those before it.
      activation: of the hidden layers, a Keras name or function.
      residual: whether the hidden layers are residual blocks, of one width, such as
        (64, 64) for two.
      network: any Keras layer from `(n, d + context_size)` to `(n, d, 2)`, (s', t)
        of each coordinate from those before it alone, in place of `hidden`,
        `activation`, `residual` and `identity_start`: such as `networks.MaskedMLP`
        with this order.
      identity_start: begin with y = x, by zeros in the network's last layer; else it
        begins at random.
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
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> bijector = MaskedAutoregressive(identity_start=False, seed=0)
      >>> y = np.array([[0.5, -1.0, 2.0], [0.5, -1.0, 9.0]], "float32")
      >>> x = bijector.inverse(y).numpy()
      >>> (x[0] == x[1]).tolist()  # the third says nothing about the others
      [True, True, False]
      >>> np.allclose(bijector.forward(x), y, atol=1e-5)
      True

    Source: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for
    density estimation", section 3.1.
    """


@register
class IAF(_Affine):
    """Scales and shifts each coordinate by a network of the base's before it.

    Forward, base to data, for the natural order::

        y_i = (x_i - t_i) · exp(-s_i),    s_i = c_i · tanh(s_i' / c_i)
        (s_i', t_i) = network(x_1, …, x_{i-1})
        log|det ∂y/∂x| = -Σ s

    This is the inverse of `MaskedAutoregressive` on the same weights: sampling takes
    one pass of the network, and the density of points that are not its own samples
    takes d, one after the other. So it serves where a flow is fitted by its own
    samples, as in variational inference. Args and errors are those of
    `MaskedAutoregressive`.

    Example:
      >>> import numpy as np
      >>> bijector = IAF(identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0, 2.0]], "float32")
      >>> maf = MaskedAutoregressive(identity_start=False, seed=0)
      >>> np.array_equal(bijector.forward(x), maf.inverse(x))
      True

    Source: Kingma et al. (2016), "Improved variational inference with inverse
    autoregressive flow"; in this form, Papamakarios, Pavlakou and Murray (2017),
    "Masked autoregressive flow for density estimation", section 3.2.
    """

    _samples_in_one_pass = True


def _flat(points: tf.Tensor) -> tf.Tensor:
    if points.shape.rank == 2:
        return points
    return tf.reshape(points, [-1, points.shape[-1]])
