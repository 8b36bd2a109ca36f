"""How points move from one stage to the next in a film."""

from collections.abc import Callable

import numpy as np
import scipy.linalg
import tensorflow_probability as tfp

from tfp_flows.bijectors import Rotation, Rotation2D

Path = Callable[[float], np.ndarray]


def path(
    bijector: tfp.bijectors.Bijector, before: np.ndarray, after: np.ndarray
) -> Path:
    """Returns the way of points, from 0 before the bijector to 1 after it.

    A rotation turns them. All others move them straight, which is what they do: a
    shift slides them, a scaling stretches, a coupling shears.

    Args:
      bijector: that leads from one to the other.
      before, after: points `(n, d)`, float64.
    """
    inner = bijector
    while isinstance(inner, tfp.bijectors.Invert):
        inner = inner.bijector
    if isinstance(inner, (Rotation, Rotation2D)):
        return _turning(bijector, before)
    return lambda t: (1 - t) * before + t * after


def _turning(bijector: tfp.bijectors.Bijector, before: np.ndarray) -> Path:
    """Returns x Rᵗ for a rotation y = x R: a share of the angle in each plane."""
    eye = np.eye(before.shape[1], dtype=bijector.dtype.as_numpy_dtype)
    rotation = np.asarray(bijector.forward(eye), np.float64)
    # Rotations are normal matrices: these factors are unitary and diagonal.
    triangle, basis = scipy.linalg.schur(rotation, output="complex")
    angles = np.angle(np.diag(triangle))
    inside = before @ basis
    return lambda t: ((inside * np.exp(1j * t * angles)) @ basis.conj().T).real
