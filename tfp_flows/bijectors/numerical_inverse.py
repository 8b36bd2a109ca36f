"""NumericalInverse: the inverse of any bijector, found by Newton's method."""

import math
from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows._core.conditioning import bind, context_size_of
from tfp_flows.bijectors.base import Bijector, create_inner_weights, register

__all__ = ["NumericalInverse", "find_root", "value_and_jacobian"]

tfb = tfp.bijectors

TOLERANCES = {"float64": 1e-10, "float32": 1e-4}

# Fractions of Newton's step that are tried side by side. Where none is an improvement,
# the next step is shorter still.
_FRACTIONS = (1.0, 1 / 4, 1 / 16, 1 / 64)


@register
class NumericalInverse(Bijector):
    """Gives a bijector the inverse that it lacks, by solving forward(x) = y.

    Forward, base to data, is that of the bijector within, and so is its log-det. The
    inverse is the root of f(x) - y, by Newton's method with the Jacobian matrix J of
    f, damped so that no step makes the residual larger::

        x ← x - a · J(x)⁻¹ (f(x) - y),    0 < a ≤ 1
        log|det ∂x/∂y| = -log|det J(x)|  at the root

    The iteration starts at y, 0 or 1, whichever is nearest, ends at rounding, and is
    differentiated implicitly, dx = J⁻¹ (dy - ∂f/∂θ dθ): first derivatives with
    respect to y and to the weights are exact at the root. Second derivatives are not.

    A point is returned when the last step, an estimate of its error, is within
    `tolerance` · (1 + |x|), or when f(x) is y but for rounding. Otherwise the point
    and its log-det are NaN, and never a wrong answer: f is flat there, folds over, or
    does not reach y.

    One iteration evaluates f at 4 points and differentiates it at d, the width of
    the points; commonly there are 4 to 8. The conditioning of f limits
    the accuracy, as that of any inverse.

    Args:
      bijector: any `tfb.Bijector` of vectors or numbers that keeps their shape and
        has `forward` and `forward_log_det_jacobian`; for one that has the inverse
        alone, take `tfb.Invert(NumericalInverse(tfb.Invert(bijector)))`. Weights,
        dtype and context are its own.
      tolerance: the largest error of x, relative to 1 + |x| (both as the largest
        coordinate), that is not NaN; 1e-10 in float64, 1e-4 in float32 when None.
      max_iterations: of Newton's method.
      name: as in TFP.

    Raises:
      TypeError: `bijector` is not a bijector.
      ValueError: `tolerance` is not positive, `max_iterations` not a whole number ≥ 1.

    Example:
      >>> import numpy as np
      >>> import tensorflow as tf
      >>> import tensorflow_probability as tfp
      >>> class Wave(tfp.bijectors.Bijector):
      ...     def __init__(self):
      ...         super().__init__(forward_min_event_ndims=0)
      ...     def _forward(self, x):
      ...         return x + 0.5 * tf.sin(x)
      ...     def _forward_log_det_jacobian(self, x):
      ...         return tf.math.log(1 + 0.5 * tf.cos(x))
      >>> wave = NumericalInverse(Wave())
      >>> x = np.array([[0.5, -3.0]])
      >>> bool(np.abs(wave.inverse(wave.forward(x).numpy()) - x).max() < 1e-14)
      True

    Source: damped Newton, Deuflhard (2011), "Newton methods for nonlinear problems",
    section 3.2; implicit gradients, Figurnov, Mohamed and Mnih (2018), "Implicit
    reparameterization gradients", eq. 4.
    """

    def __init__(
        self,
        bijector: tfb.Bijector,
        *,
        tolerance: float | None = None,
        max_iterations: int = 100,
        name: str | None = None,
    ) -> None:
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(
                f"`bijector` must be a tfb.Bijector. Received: {bijector!r}."
            )
        if tolerance is not None and not tolerance > 0:
            raise ValueError(f"`tolerance` must be positive. Received: {tolerance!r}.")
        max_iterations = checks.positive_int(max_iterations, "max_iterations")
        own = bijector.dtype
        super().__init__(
            locals(),
            is_constant_jacobian=bijector.is_constant_jacobian,
            dtype=own if isinstance(own, tf.DType) and own.is_floating else None,
            name=name,
        )
        self._bijector = bijector
        self._context_size = context_size_of(bijector)

    @property
    def bijector(self) -> tfb.Bijector:
        """The bijector that is inverted."""
        return self._bijector

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        create_inner_weights(self._bijector, event_size, self.context_size, dtype)

    def _inner(self, points: tf.Tensor) -> tfb.Bijector:
        return bind(self._bijector, self._context_at(points))

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inner = self._inner(x)
        return inner.forward(x), inner.forward_log_det_jacobian(x, event_ndims=1)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        inner = self._inner(y)
        options = {k: self.parameters[k] for k in ("tolerance", "max_iterations")}
        if inner.forward_min_event_ndims == 0:  # one equation for each coordinate
            x = find_root(
                lambda x: inner.forward(x[..., 0])[..., tf.newaxis],
                y[..., tf.newaxis],
                **options,
            )[..., 0]
        else:
            x = find_root(inner.forward, y, **options)
        log_det = -inner.forward_log_det_jacobian(x, event_ndims=1)
        found = tf.reduce_all(tf.math.is_finite(x), -1)
        return x, tf.where(found, log_det, tf.constant(math.nan, x.dtype))


def find_root(
    function: Callable[[tf.Tensor], tf.Tensor],
    y: tf.Tensor,
    *,
    start: tf.Tensor | None = None,
    tolerance: float | None = None,
    max_iterations: int = 100,
) -> tf.Tensor:
    """Returns the x with function(x) = y, or NaN where none was found.

    The first derivatives of x, with respect to y and to whatever `function` depends
    on, are those of the implicit function theorem.

    Args:
      function: maps points `(..., d)` one by one to points, for any leading axes.
      y: `(..., d)`.
      start: of the iteration; the nearest of y, 0 and 1 when None.
      tolerance: as in `NumericalInverse`.
      max_iterations: as in `NumericalInverse`.
    """
    if tolerance is None:
        tolerance = TOLERANCES[y.dtype.name]
    y += tf.zeros_like(function(y))  # the leading axes of weights, too
    root, found = _newton(
        function, tf.stop_gradient(y), start, tolerance, max_iterations
    )
    root = tf.stop_gradient(root)
    _, jacobian = value_and_jacobian(function, root)
    step, regular = _solve(tf.stop_gradient(jacobian), function(root) - y)
    # The step is zero but for rounding; its derivatives are those of x.
    x = root - (step - tf.stop_gradient(step))
    found = (found & regular)[..., tf.newaxis]
    return tf.where(found, x, tf.constant(math.nan, x.dtype))


def value_and_jacobian(
    function: Callable[[tf.Tensor], tf.Tensor], x: tf.Tensor
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns function(x), `(..., d)`, and ∂function_i/∂x_j, `(..., d, d)`.

    Args:
      function: maps points `(..., d)` one by one to points, for any leading axes.
      x: `(..., d)`, d known.
    """
    size, rank = x.shape[-1], x.shape.rank
    # Copy i of the points gives row i, in one pass for any function.
    copies = tf.tile(x[tf.newaxis], [size] + [1] * rank)
    with tf.GradientTape() as tape:
        tape.watch(copies)
        y = function(copies)
    one_hot = tf.reshape(tf.eye(size, dtype=x.dtype), [size] + [1] * (rank - 1) + [-1])
    rows = tape.gradient(
        y,
        copies,
        output_gradients=one_hot + tf.zeros_like(y),
        unconnected_gradients=tf.UnconnectedGradients.ZERO,
    )
    return y[0], tf.transpose(rows, [*range(1, rank), 0, rank])


def _newton(
    function: Callable[[tf.Tensor], tf.Tensor],
    y: tf.Tensor,
    start: tf.Tensor | None,
    tolerance: float,
    max_iterations: int,
) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns roots, and which of them are within the tolerance."""
    eps = np.finfo(y.dtype.as_numpy_dtype).eps
    fractions = tf.constant(_FRACTIONS, y.dtype)
    infinity = tf.constant(math.inf, y.dtype)

    def size(residual: tf.Tensor) -> tf.Tensor:
        largest = tf.reduce_max(tf.abs(residual), -1)
        return tf.where(tf.math.is_finite(largest), largest, infinity)

    def step(
        i: tf.Tensor, x: tf.Tensor, error: tf.Tensor, scale: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        active = _is_active(error, scale, eps)
        value, jacobian = value_and_jacobian(function, x)
        residual = value - y
        full, regular = _solve(jacobian, residual)
        relative = tf.reduce_max(tf.abs(full), -1) / (1 + tf.reduce_max(tf.abs(x), -1))
        exact = tf.reduce_all(tf.abs(residual) <= 4 * eps * tf.abs(y), -1)
        estimate = tf.where(exact, tf.zeros_like(relative), relative)
        estimate = tf.where(regular, estimate, infinity)
        # All fractions are tried at once, without a loop within the loop.
        full *= scale[..., tf.newaxis]
        tried = x - tf.tensordot(fractions, full, 0)
        sizes = size(function(tried) - y)
        fraction = tf.gather(fractions, tf.argmin(sizes, 0))
        improved = tf.reduce_min(sizes, 0) < size(residual)
        # Near the root, only rounding can prevent an improvement.
        go_on = regular & (estimate > tolerance)
        shorter = tf.where(go_on, scale * _FRACTIONS[-1] / 4, tf.zeros_like(scale))
        rescaled = tf.where(improved, tf.ones_like(scale), shorter)
        accepted = (active & improved)[..., tf.newaxis]
        return (
            i + 1,
            tf.where(accepted, x - fraction[..., tf.newaxis] * full, x),
            tf.where(active, estimate, error),
            tf.where(active, rescaled, scale),
        )

    if start is None:
        starts = tf.stack([y, tf.zeros_like(y), tf.ones_like(y)])
        nearest = tf.argmin(size(function(starts) - y), 0)[..., tf.newaxis]
        start = tf.where(nearest == 0, y, tf.cast(nearest == 2, y.dtype))
    error = tf.fill(tf.shape(y)[:-1], infinity)
    _, x, error, _ = tf.while_loop(
        lambda i, x, error, scale: tf.reduce_any(_is_active(error, scale, eps)),
        step,
        (tf.constant(0), start, error, tf.ones_like(error)),
        maximum_iterations=max_iterations,
    )
    return x, error <= tolerance


def _is_active(error: tf.Tensor, scale: tf.Tensor, eps: float) -> tf.Tensor:
    return (error > 4 * eps) & (error * scale > eps)


def _solve(matrix: tf.Tensor, vector: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
    """Returns matrix⁻¹ vector, and where that exists; zero where it does not."""
    finite = tf.reduce_all(tf.math.is_finite(matrix), [-2, -1])
    matrix = tf.where(finite[..., tf.newaxis, tf.newaxis], matrix, 0.0)
    # By QR: other solvers raise for the whole batch if one matrix is singular.
    q, r = tf.linalg.qr(matrix) if matrix.shape[-1] > 1 else (None, matrix)
    diagonal = tf.linalg.diag_part(r)
    regular = tf.reduce_all(diagonal != 0, -1)
    diagonal = tf.where(regular[..., tf.newaxis], diagonal, tf.ones_like(diagonal))
    if q is None:
        x = vector / diagonal
    else:
        rotated = tf.matmul(q, vector[..., tf.newaxis], transpose_a=True)
        r = tf.linalg.set_diag(r, diagonal)
        x = tf.linalg.triangular_solve(r, rotated, lower=False)[..., 0]
    return tf.where(regular[..., tf.newaxis], x, tf.zeros_like(x)), regular
