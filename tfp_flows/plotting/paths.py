"""The paths of points from one stage to the next in a film."""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import tensorflow_probability as tfp

from tfp_flows.bijectors import Rotation, Rotation2D

Path = Callable[[float], np.ndarray]


def path(
    bijector: tfp.bijectors.Bijector, before: np.ndarray, after: np.ndarray
) -> Path:
    """Returns the path of points: where they are at t from 0, before, to 1, after.

    A rotation turns the points. All other bijectors move them along straight lines:
    a shift slides them, a scaling stretches them, a coupling shears them.

    Args:
      bijector: the bijector between the two stages.
      before, after: points `(n, d)` before and after it, float64.
    """
    inner = bijector
    while isinstance(inner, tfp.bijectors.Invert):
        inner = inner.bijector
    if isinstance(inner, (Rotation, Rotation2D)):
        return _turning(bijector, before)
    return lambda t: (1 - t) * before + t * after


def _turning(bijector: tfp.bijectors.Bijector, before: np.ndarray) -> Path:
    """Returns t ↦ x Rᵗ for a rotation y = x R, which turns by t times each angle."""
    eye = np.eye(before.shape[1], dtype=bijector.dtype.as_numpy_dtype)
    rotation = np.asarray(bijector.forward(eye), np.float64)
    # A rotation is a normal matrix, whose Schur form is diagonal.
    triangle, basis = scipy.linalg.schur(rotation, output="complex")
    angles = np.angle(np.diag(triangle))
    inside = before @ basis
    return lambda t: ((inside * np.exp(1j * t * angles)) @ basis.conj().T).real
