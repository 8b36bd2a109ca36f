"""ContinuousFlow: points that drift along a learned vector field."""

import math
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core import checks, compat
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.numerical_inverse import value_and_jacobian

__all__ = ["ContinuousFlow"]

_TOLERANCES = {"float64": 1e-10, "float32": 1e-5}
_FIRST_STEP = 0.1
_MAX_STEPS = 1000
# TFP would round Python's numbers to float32.
_TABLEAU = tf.nest.map_structure(np.float64, compat.dormand_prince_tableau)


@register
class ContinuousFlow(Bijector):
    """Moves points along a vector field for one unit of time (a neural ODE).

    Forward, base to data, with a field v made by a network::

        dx/dt = v(x, t),    x(0) = x,    y = x(1)
        log|det ∂y/∂x| = ∫₀¹ tr(∂v/∂x) dt

    and the inverse goes back from t = 1 to 0. Both are solved by TFP's Dormand-Prince
    method with steps of adaptive size, which all points of a batch share. Gradients
    are those of the adjoint equation, solved backwards in time with the same
    tolerance, in memory that does not grow with the number of steps.

    The trace is exact. For the network that `hidden` describes, with one or two
    layers, it costs as much as the field itself; for others, d derivatives. With
    `trace="hutchinson"`, Keras's `fit` trains on ε·(∂v/∂x)ε in its place, with signs ε
    drawn anew at each step: an unbiased estimate at the cost of one derivative. Every
    evaluation remains exact. Fixed ε would not do: a field can learn to deceive them.

    If the solver does not reach the end within 1,000 steps, or if a point becomes
    infinite, the result is NaN for all points of the batch.

    Args:
      hidden: widths of the network's hidden layers.
      activation: of the hidden layers, a Keras name or function; a smooth one.
      network: any Keras layer from `(n, event_size + 1 + context_size)`, the points,
        the time and the context, to `(n, features)`, in place of `hidden` and
        `activation`; one that does not draw at random. A dense layer from its
        features to v follows in either case.
      trace: "exact" or "hutchinson".
      tolerance: relative and absolute error of each step, of points and log-det; 1e-5
        in float32, 1e-10 in float64 when None. The error of the results is commonly
        within ten times this.
      identity_start: whether to begin with v = 0, by zeros in that last dense layer;
        otherwise it begins at random.
      seed: of the initial weights; drawn when None.
      context_size: width of a context that the network sees beside x and t; 0 for
        none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: an unknown `trace`; a `tolerance` that is not positive; `hidden`,
        `seed` or `context_size` not whole numbers in range.
      TypeError: `network` is not a Keras layer.

    Example:
      >>> import numpy as np
      >>> flow = ContinuousFlow(hidden=(8,), identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0]])
      >>> y = flow.forward(x).numpy()
      >>> bool(np.abs(flow.inverse(y) - x).max() < 1e-7)
      True

    Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), "Neural ordinary
    differential equations", eq. 3-5 and 8; Hutchinson's trace, Grathwohl et al.
    (2019), "FFJORD", eq. 7-8.
    """

    def __init__(
        self,
        *,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "tanh",
        network: keras.Layer | None = None,
        trace: str = "exact",
        tolerance: float | None = None,
        identity_start: bool = True,
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        checks.pick(trace, ("exact", "hutchinson"), "trace")
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"`tolerance` must be positive. Received: {tolerance!r}.")
        given = networks.as_options(locals())
        super().__init__(given, dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        self._network = given["network"]
        if self._network is None:
            self._network = networks.MLP(
                given["hidden"],
                given["activation"],
                seed=given["seed"],
                dtype=dtype.name,
            )
        self._head = keras.layers.Dense(
            event_size,
            kernel_initializer="zeros"
            if given["identity_start"]
            else keras.initializers.GlorotUniform(given["seed"] + 2**31),
            dtype=dtype.name,
            name="head",
        )
        # Keras weights are invisible to tf.Module, and so to TFP, without this.
        self._weights = networks.create_weights(
            [self._network, self._head],
            event_size + 1 + self.context_size,
            trainable=given["trainable"],
        )
        self._signs = _Signs(given["seed"], dtype=dtype.name)
        # Run eagerly, the solver would take seconds.
        self._compiled_solve = tf.function(self._solve, autograph=False)
        self._compiled_adjoint = tf.function(self._solve_adjoint, autograph=False)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._transported(x, inverse=False)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        return self._transported(y, inverse=True)

    def _transported(
        self, x: tf.Tensor, *, inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        context = self._context_at(x)
        context = x[..., :0] if context is None else context
        rows, context = (tf.reshape(a, [-1, a.shape[-1]]) for a in (x, context))
        finite = tf.reduce_all(tf.math.is_finite(rows), -1)
        # All points share the solver's steps, which a point that is NaN would stop.
        rows = tf.where(finite[:, tf.newaxis], rows, tf.zeros_like(rows))
        signs = None
        if self.parameters["trace"] == "hutchinson":
            signs = self._signs(rows)
            signs = None if signs.shape[0] == 0 else signs
        y, log_det = self._solution(rows, context, signs, inverse)
        nan = tf.constant(math.nan, x.dtype)
        y = tf.where(finite[:, tf.newaxis], y, nan)
        log_det = tf.where(finite, log_det, nan)
        y = tf.ensure_shape(tf.reshape(y, tf.shape(x)), x.shape)
        log_det = tf.reshape(log_det, tf.shape(x)[:-1])
        return y, tf.ensure_shape(log_det, x.shape[:-1])

    def _solution(
        self, x: tf.Tensor, context: tf.Tensor, signs: tf.Tensor | None, inverse: bool
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns where the rows of x arrive, and their log-det, `(n,)`."""
        solve, adjoint = self._solve, self._solve_adjoint
        if tf.executing_eagerly():
            solve, adjoint = self._compiled_solve, self._compiled_adjoint

        @tf.custom_gradient
        def solution(*inputs: tf.Tensor) -> tuple[tuple, Callable]:
            # Gradients are stopped for every outer tape: for a persistent one
            # TensorFlow would trace second derivatives of the solver for minutes.
            x, *beside = map(tf.stop_gradient, inputs)
            y, log_det = solve(x, beside, signs, inverse)

            def gradient(*by_outputs: tf.Tensor) -> list[tf.Tensor]:
                by_y, by_log_det = map(tf.stop_gradient, by_outputs)
                return adjoint(y, beside, by_y, by_log_det, signs, inverse)

            return (y, log_det), gradient

        own = self._network.weights
        if self.parameters["network"] is not None:
            own = self._network.trainable_variables
        weights = (*own, self._head.kernel, self._head.bias)
        return solution(x, context, *map(tf.convert_to_tensor, weights))

    def _solve(
        self,
        x: tf.Tensor,
        beside: list[tf.Tensor],
        signs: tf.Tensor | None,
        inverse: bool,
    ) -> tuple[tf.Tensor, ...]:
        def rate(time: tf.Tensor, state: tuple) -> tuple[tf.Tensor, ...]:
            return self._rates(time, state[0], beside, signs, inverse)

        return self._integral(rate, (x, tf.zeros_like(x[:, 0])))

    def _solve_adjoint(
        self,
        y: tf.Tensor,
        beside: list[tf.Tensor],
        by_y: tf.Tensor,
        by_log_det: tf.Tensor,
        signs: tf.Tensor | None,
        inverse: bool,
    ) -> list[tf.Tensor]:
        """Returns the gradients by x, context and weights, solving back from y."""

        def rate(time: tf.Tensor, state: tuple) -> tuple[tf.Tensor, ...]:
            x, by_x, *_ = state
            with tf.GradientTape() as tape:
                tape.watch([x, *beside])
                velocity, trace = self._rates(1 - time, x, beside, signs, inverse)
                total = tf.reduce_sum(by_x * velocity)
                total += tf.reduce_sum(by_log_det * trace)
            zero = tf.UnconnectedGradients.ZERO
            gradients = tape.gradient(total, [x, *beside], unconnected_gradients=zero)
            return (-velocity, *gradients)

        state = (y, by_y, *map(tf.zeros_like, beside))
        return list(self._integral(rate, state)[1:])

    def _integral(self, rate: Callable, state: tuple) -> tuple[tf.Tensor, ...]:
        """Returns the state at time 1 that begins with this one at time 0."""
        dtype = state[0].dtype
        tolerance = self.parameters["tolerance"] or _TOLERANCES[dtype.name]
        # Rounding makes smaller errors impossible.
        tolerance = max(tolerance, 10 * np.finfo(dtype.as_numpy_dtype).eps)
        return _Solver(tolerance).end(rate, state)

    def _rates(
        self,
        time: tf.Tensor,
        x: tf.Tensor,
        beside: list[tf.Tensor],
        signs: tf.Tensor | None,
        inverse: bool,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns the time derivatives of the points and of the log-det."""
        if inverse:
            time = 1 - time
        context, *weights = beside
        conditions = tf.concat([tf.fill([tf.shape(x)[0], 1], time), context], -1)

        def velocity(x: tf.Tensor) -> tf.Tensor:
            inputs = tf.concat([x, tf.zeros_like(x[..., :1]) + conditions], -1)
            rows = tf.reshape(inputs, [-1, inputs.shape[-1]])
            return tf.reshape(self._velocity(rows, weights), tf.shape(x))

        if signs is not None:
            with tf.GradientTape() as tape:
                tape.watch(x)
                v = velocity(x)
            trace = tf.reduce_sum(signs * tape.gradient(v, x, signs), -1)
        elif self.parameters["network"] is None and len(weights) <= 6:
            v, trace = self._in_closed_form(tf.concat([x, conditions], -1), weights)
        else:
            v, jacobian = value_and_jacobian(velocity, x)
            trace = tf.linalg.trace(jacobian)
        return (-v, -trace) if inverse else (v, trace)

    def _velocity(self, rows: tf.Tensor, weights: list[tf.Tensor]) -> tf.Tensor:
        """Returns v, `(n, d)`, of points, time and context, with these weights."""
        *own, kernel, bias = weights
        if self.parameters["network"] is None:
            features = self._features_and_slopes(rows, own)[0]
        else:
            fixed = self._network.non_trainable_variables
            features, _ = self._network.stateless_call(own, fixed, rows)
        return tf.matmul(features, kernel) + bias

    def _in_closed_form(
        self, inputs: tf.Tensor, weights: list[tf.Tensor]
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns v and its trace, for up to two hidden layers.

        With kernels A (the rows of x), B and C of two layers and their slopes a, b,
        tr(A diag(a) B diag(b) C) = a·(B ∘ (C A)ᵀ)b: one product for all points.
        """
        *own, kernel, bias = weights
        features, slopes = self._features_and_slopes(inputs, own)
        first = (own[0] if own else kernel)[: self.event_size]
        if not slopes:
            trace = tf.linalg.trace(first) + tf.zeros_like(inputs[:, 0])
        elif len(slopes) == 1:
            around = tf.reduce_sum(first * tf.transpose(kernel), 0)
            trace = tf.reduce_sum(slopes[0] * around, -1)
        else:
            around = own[2] * tf.transpose(tf.matmul(kernel, first))
            trace = tf.reduce_sum(tf.matmul(slopes[0], around) * slopes[1], -1)
        return tf.matmul(features, kernel) + bias, trace

    def _features_and_slopes(
        self, inputs: tf.Tensor, weights: list[tf.Tensor]
    ) -> tuple[tf.Tensor, list[tf.Tensor]]:
        """Returns the last hidden layer, and the activations' slopes in each."""
        slopes = []
        for kernel, bias in zip(weights[::2], weights[1::2], strict=True):
            linear = tf.matmul(inputs, kernel) + bias
            with tf.GradientTape() as tape:
                tape.watch(linear)
                inputs = self._network.activation(linear)
            slopes.append(tape.gradient(inputs, linear))
        return inputs, slopes


class _Signs(keras.layers.Layer):
    """Draws ±1 in the shape of its input while training, and no rows otherwise."""

    def __init__(self, seed: int, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.generator = keras.random.SeedGenerator(seed)

    def call(self, x: Any, training: bool | None = None) -> Any:
        """Returns signs, `(n, d)` or `(0, d)`."""
        if not training:
            return tf.zeros([0, x.shape[-1]], x.dtype)
        uniform = keras.random.uniform(
            tf.shape(x), -1.0, 1.0, dtype=x.dtype, seed=self.generator
        )
        return tf.where(uniform < 0, -tf.ones_like(x), tf.ones_like(x))


class _Solver(compat.OdeSolver):
    """TFP's solver from time 0 to 1, with an exact end and a limit on its steps.

    TFP itself rounds the coefficients of its steps to float32, so that in float64 no
    tolerance gives errors below 1e-7. It steps beyond the end and interpolates, which
    is less accurate than its steps. And it never ends if no step is short enough.

    Args:
      tolerance: relative and absolute error of a step.
    """

    def __init__(self, tolerance: float) -> None:
        super().__init__(rtol=tolerance, atol=tolerance, first_step_size=_FIRST_STEP)

    def end(self, rate: Callable, state: tuple) -> tuple[tf.Tensor, ...]:
        """Returns the state at time 1 that begins with this one at time 0.

        Args:
          rate: function of time and state that returns the state's time derivative.
          state: tensors of one dtype.
        """
        results = self.solve(
            rate, initial_time=0.0, initial_state=state, solution_times=[1.0]
        )
        return results.solver_internal_state.current_state

    def _one_step(  # type: ignore[override]  # all options are given by name
        self,
        solver_state: Any,
        diagnostics: Any,
        *,
        ode_fn: Callable,
        rtol: tf.Tensor,
        **_: Any,
    ) -> tuple:
        old, time = solver_state.current_state, solver_state.current_time
        size = tf.minimum(solver_state.step_size, 1 - time)
        new, rates, errors, _ = compat.runge_kutta_step(
            ode_fn, old, solver_state.current_derivative, time, size, _TABLEAU
        )

        def relative(error: tf.Tensor, a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
            return error / (rtol * (1 + tf.maximum(tf.abs(a), tf.abs(b))))

        ratios = tf.nest.map_structure(relative, errors, old, new)
        ratio = compat.nest_rms_norm(ratios)
        infinity = tf.constant(math.inf, ratio.dtype)
        ratio = tf.where(tf.math.is_finite(ratio), ratio, infinity)
        good = ratio <= 1
        evaluations = diagnostics.num_ode_fn_evaluations + self.ODE_FN_EVALS_PER_STEP
        failed = evaluations >= _MAX_STEPS * self.ODE_FN_EVALS_PER_STEP

        def next_state(a: tf.Tensor, b: tf.Tensor) -> tf.Tensor:
            nan = tf.constant(math.nan, a.dtype)
            return tf.where(failed, nan, tf.where(good, b, a))

        time = tf.where(good, time + size, time)
        # TFP's loop ends when the time is beyond the last one.
        beyond = tf.constant(2, time.dtype)
        state = solver_state._replace(
            current_state=tf.nest.map_structure(next_state, old, new),
            current_derivative=compat.nest_where(
                good, rates, solver_state.current_derivative
            ),
            current_time=tf.where(failed | (time >= 1), beyond, time),
            step_size=size * tf.clip_by_value(0.9 * ratio**-0.2, 0.1, 10.0),
        )
        return state, diagnostics._replace(num_ode_fn_evaluations=evaluations)
