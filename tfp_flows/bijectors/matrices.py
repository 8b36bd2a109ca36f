"""Matrices that linear bijectors draw, fill and apply to points."""

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["random_rotation", "strictly_lower", "transformed"]


def transformed(
    points: tf.Tensor, matrix: tf.Tensor, *, transpose: bool = False
) -> tf.Tensor:
    """Returns the matrix times each point, `(..., rows)`.

    Args:
      points: `(..., columns)`.
      matrix: `(rows, columns)`, which multiplies all the points at once, or one for
        each point, `(..., rows, columns)`.
      transpose: whether to multiply by the transposed matrix instead.
    """
    if matrix.shape.rank == 2:
        return tf.tensordot(points, matrix, [[-1], [0 if transpose else 1]])
    return tf.linalg.matvec(matrix, points, transpose_a=transpose)


def strictly_lower(entries: tf.Tensor) -> tf.Tensor:
    """Returns matrices `(..., d, d)` with the entries below their diagonals, else 0.

    Args:
      entries: `(..., d * (d - 1) / 2)`, d > 1.
    """
    triangle = tfp.math.fill_triangular(entries)
    return tf.pad(triangle, [[0, 0]] * (entries.shape.rank - 1) + [[1, 0], [0, 1]])


def random_rotation(size: int, seed: int) -> np.ndarray:
    """Returns a matrix `(size, size)` drawn uniformly among all rotations.

    Source: Mezzadri (2007), "How to generate random matrices from the classical
    compact groups", sec. 5.
    """
    normal = np.random.default_rng(seed).standard_normal((size, size))
    orthogonal, triangle = np.linalg.qr(normal)
    # Without these signs the distribution would depend on the QR algorithm.
    orthogonal *= np.where(np.diag(triangle) < 0, -1.0, 1.0)
    if np.linalg.det(orthogonal) < 0:
        orthogonal[:, 0] *= -1
    return orthogonal
