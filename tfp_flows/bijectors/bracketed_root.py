"""bracketed_root: the inverse of an increasing function, with implicit gradients."""

from collections.abc import Callable

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["bracketed_root"]

# This is enough for a bracket of 1e9 widths to shrink below one float64 spacing. The
# iteration ends when every point has converged, commonly after about ten steps.
_MAX_ITERATIONS = 100

# Where a function is flatter than this, as F is between components far apart, rounding
# alone decides where the root lies, and the reciprocal of the slope would overflow.
_MIN_LOG_SLOPE = -60.0


def bracketed_root(
    function: Callable[[tf.Tensor], tf.Tensor],
    log_slope: Callable[[tf.Tensor], tf.Tensor],
    y: tf.Tensor,
    low: tf.Tensor,
    high: tf.Tensor,
) -> tf.Tensor:
    """Returns the x with function(x) = y, differentiable in y and the parameters.

    Args:
      function: elementwise and increasing.
      log_slope: the logarithm of its derivative.
      y: `(...)`.
      low: a lower bound of x.
      high: an upper bound of x.
    """
    target, low, high = (tf.stop_gradient(t) for t in (y, low, high))
    margin = 1e-3 * (1 + tf.abs(low) + tf.abs(high))
    scale = 1 + tf.abs(target)
    root = tfp.math.find_root_chandrupatla(
        lambda x: (function(x) - target) / scale,
        low - margin,
        high + margin,
        position_tolerance=0.0,
        value_tolerance=np.finfo(y.dtype.as_numpy_dtype).eps,  # what rounding leaves
        max_iterations=_MAX_ITERATIONS,
    ).estimated_root
    root = tf.ensure_shape(tf.stop_gradient(root), y.shape)
    # This adds zero to the root, and its gradient by the implicit function theorem:
    # dx = (dy - ∂function/∂θ dθ) / (∂function/∂x).
    error = y - function(root)
    steepness = tf.exp(-tf.maximum(log_slope(root), _MIN_LOG_SLOPE))
    return root + (error - tf.stop_gradient(error)) * tf.stop_gradient(steepness)
