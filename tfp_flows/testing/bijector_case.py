"""A bijector at some points, and its results, computed without its cache."""

import contextlib
from collections.abc import Callable, Iterator
from functools import cached_property
from typing import Any, NamedTuple

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.conditioning import bind
from tfp_flows.testing.failures import NotApplicableError

__all__ = [
    "METHODS",
    "BijectorCase",
    "Gradients",
    "Values",
    "evaluate",
    "jacobian",
    "name_of",
    "trainable_weights",
    "weights_of",
]

tfb = tfp.bijectors

# The names used in messages, in the order of `Values`.
METHODS = (
    "forward(x)",
    "forward_log_det_jacobian(x)",
    "inverse(y)",
    "inverse_log_det_jacobian(y)",
)


class Values(NamedTuple):
    """The results of a bijector's four methods for x and y = forward(x)."""

    forward: Any
    forward_log_det: Any
    inverse: Any
    inverse_log_det: Any


class Gradients(NamedTuple):
    """Gradients through one direction of a bijector and its log-det."""

    direction: str
    by_points: np.ndarray
    by_context: np.ndarray | None
    by_weights: list[np.ndarray | None]
    used: list[tf.Variable]
    finite_values: bool


def evaluate(bijector: tfb.Bijector, x: tf.Tensor, y: tf.Tensor) -> Values:
    """Calls the four methods; `y` must not be the same tensor object as `forward(x)`.

    A bijector's cache remembers which tensor was computed from which, so that
    `inverse(forward(x))` returns `x` without computing anything. A new tensor of the
    same numbers is not in the cache.
    """
    return Values(
        bijector.forward(x),
        bijector.forward_log_det_jacobian(x, event_ndims=1),
        bijector.inverse(y),
        bijector.inverse_log_det_jacobian(y, event_ndims=1),
    )


def jacobian(
    function: Callable[[tf.Tensor], tf.Tensor], points: np.ndarray
) -> np.ndarray:
    """Returns d function_i / d x_j at every point, by automatic differentiation.

    Args:
      function: maps `(n, event_size)` to the same shape, row by row.
      points: array of shape `(n, event_size)`.

    Returns:
      Array of shape `(n, event_size, event_size)`.
    """
    x = tf.constant(points)
    with tf.GradientTape(persistent=True) as tape:
        tape.watch(x)
        outputs = tf.unstack(function(x), axis=-1)
    zero = tf.UnconnectedGradients.ZERO
    rows = [tape.gradient(output, x, unconnected_gradients=zero) for output in outputs]
    return tf.stack(rows, axis=-2).numpy()


def weights_of(bijector: tfb.Bijector) -> list[tf.Variable]:
    """Returns the variables that TFP finds, then those of Keras layers inside."""
    weights = [weight for layer in _layers_of(bijector) for weight in layer.weights]
    found = [*bijector.variables, *(weight.value for weight in weights)]
    return list({weight.ref(): weight for weight in found}.values())


def trainable_weights(bijector: tfb.Bijector) -> list[tf.Variable]:
    """Returns the weights in `weights_of` that training would change."""
    frozen = {
        weight.value.ref()
        for layer in _layers_of(bijector)
        for weight in layer.non_trainable_weights
    }
    return [w for w in weights_of(bijector) if w.trainable and w.ref() not in frozen]


def name_of(weight: tf.Variable) -> str:
    """Returns the name and shape of a weight as text."""
    return f"{weight.name!r} of shape {tuple(weight.shape)}"


def _layers_of(bijector: tfb.Bijector) -> Iterator[keras.layers.Layer]:
    def layers_in(value: Any) -> Iterator[keras.layers.Layer]:
        if isinstance(value, keras.layers.Layer):
            yield value
        elif isinstance(value, dict):
            yield from layers_in(list(value.values()))
        elif isinstance(value, list | tuple):
            for entry in value:
                yield from layers_in(entry)

    for module in (bijector, *bijector.submodules):
        yield from layers_in(vars(module))


class BijectorCase:
    """One bijector at some points in one dtype; results are computed once.

    A conditional bijector has its context bound, one row for each point.

    Args:
      make: returns a new bijector, or the same one at every call.
      points: array of shape `(n, event_size)` in the dtype to check.
      tolerance: see `mismatch`.
      context: array of shape `(n, context_size)` in that dtype, or None.
    """

    def __init__(
        self,
        make: Callable[[], tfb.Bijector],
        points: np.ndarray,
        tolerance: float,
        context: np.ndarray | None = None,
    ):
        self.make = make
        self.unbound = make()
        # With n = event_size a log-det that was not summed would have the right shape.
        n, width = points.shape
        rows = np.arange(n + (n == width)) % n
        self.x = points[rows]
        self.context: np.ndarray | Any = None if context is None else context[rows]
        self.bijector = self.bound(self.unbound, self.context)
        self.tolerance = tolerance

    @staticmethod
    def bound(bijector: tfb.Bijector, context: Any) -> tfb.Bijector:
        """Returns the bijector with the context bound, if there is a context."""
        if context is not None:
            context = tf.convert_to_tensor(context)
        return bind(bijector, context)

    @cached_property
    def y(self) -> np.ndarray:
        """The array `forward(x)`."""
        return self.bijector.forward(tf.constant(self.x)).numpy()

    @cached_property
    def values(self) -> Values:
        """The results of all four methods in eager mode, as arrays."""
        return self.evaluate(self.x, self.y)

    @cached_property
    def jacobian(self) -> np.ndarray:
        """The Jacobian matrices of forward at x, `(n, event_size, event_size)`."""
        return jacobian(self.bijector.forward, self.x)

    def evaluate(
        self, x: np.ndarray, y: np.ndarray, context: np.ndarray | None = None
    ) -> Values:
        """Returns the results of the four methods, computed without the cache.

        Args:
          x: points before the bijector.
          y: points after it.
          context: the context of these points; that of `self.x` when None.
        """
        b = self.bijector if context is None else self.bound(self.unbound, context)
        values = evaluate(b, tf.constant(x), tf.constant(y))
        return Values(*(value.numpy() for value in values))

    def rows_of_context(self, rows: np.ndarray) -> np.ndarray | None:
        """Returns the context of the points `x[rows]`."""
        return None if self.context is None else self.context[rows]

    def log_det(self, direction: str) -> np.ndarray:
        """Returns the "forward" or the "inverse" log-det of each point, `(n,)`."""
        value = getattr(self.values, f"{direction}_log_det")
        if value.shape not in ((), (len(self.x),)):
            raise NotApplicableError("`batch_shapes` reports this.")
        return np.broadcast_to(value, len(self.x))

    @cached_property
    def batches(self) -> list[tuple[tuple[int, ...], np.ndarray, Values | Exception]]:
        """Batch shapes with 0 to 2 axes, the rows of x in each, and the results."""
        a, b = [size for size in (2, 3, 4) if size != self.x.shape[1]][:2]
        batches: tuple[tuple[int, ...], ...] = ((), (a,), (b, a))
        found = []
        for batch in batches:
            answer: Values | Exception
            rows = np.arange(int(np.prod(batch))).reshape(batch) % len(self.x)
            try:
                context = self.rows_of_context(rows)
                answer = self.evaluate(self.x[rows], self.y[rows], context)
            except Exception as error:
                answer = error
            found.append((batch, rows, answer))
        return found

    def rounding(self, matrices: np.ndarray, values: np.ndarray) -> np.ndarray:
        """Returns bounds on how `matrices` enlarge the rounding errors of `values`.

        Where a function is steep, such as the inverse of the sigmoid near 1, even a
        perfect implementation enlarges the error in the last bit of its input.
        """
        steps = 4 * np.finfo(self.x.dtype).eps * np.abs(values)
        slack = np.einsum("nij,nj->ni", np.abs(matrices), steps)
        return np.where(np.isfinite(slack), slack, 0.0)

    def inverse_jacobian(self) -> np.ndarray:
        """Returns the inverses of `jacobian`, or zeros if one of them is singular."""
        try:
            return np.linalg.inv(self.jacobian)
        except np.linalg.LinAlgError:
            return np.zeros_like(self.jacobian)

    @cached_property
    def gradients(self) -> list[Gradients]:
        """Gradients in both directions, with the weights as they are and moved."""
        found = self._gradients()
        with self.moved_weights():
            # Moved weights that give infinite values are outside of the domain.
            return found + [g for g in self._gradients() if g.finite_values]

    @contextlib.contextmanager
    def moved_weights(self) -> Iterator[None]:
        """Moves the weights by small fixed amounts, and restores them at the end.

        A last layer whose weights start at zero hides what the layers before it do.
        """
        weights = [w for w in weights_of(self.bijector) if w.dtype.is_floating]
        before = [weight.numpy() for weight in weights]
        noise = np.random.default_rng(0)
        try:
            for weight, value in zip(weights, before, strict=True):
                step = 0.1 * noise.standard_normal(value.shape)
                # A relative step keeps positive weights positive.
                moved = np.where(value == 0, step, value * (1 + step))
                weight.assign(moved.astype(value.dtype))
            yield
        finally:
            for weight, value in zip(weights, before, strict=True):
                weight.assign(value)

    def _gradients(self) -> list[Gradients]:
        y = self.bijector.forward(tf.constant(self.x)).numpy()
        return [self._gradient("forward", self.x), self._gradient("inverse", y)]

    def _gradient(self, direction: str, points: np.ndarray) -> Gradients:
        points = tf.constant(points)
        context = None if self.context is None else tf.constant(self.context)
        weights = trainable_weights(self.bijector)
        with tf.GradientTape() as tape:
            tape.watch([points] if context is None else [points, context])
            b = self.bound(self.unbound, context)
            values = getattr(b, direction)(points)
            log_dets = getattr(b, f"{direction}_log_det_jacobian")(
                points, event_ndims=1
            )
            total = tf.reduce_sum(values) + tf.reduce_sum(log_dets)
        given = [] if context is None else [context]
        by_points, given, by_weights = tape.gradient(total, [points, given, weights])
        by_context = given[0] if given else None
        return Gradients(
            direction,
            np.zeros(points.shape) if by_points is None else by_points.numpy(),
            None if by_context is None else by_context.numpy(),
            [
                None if g is None else tf.convert_to_tensor(g).numpy()
                for g in by_weights
            ],
            list(tape.watched_variables()),
            bool(np.isfinite(total.numpy())),
        )
