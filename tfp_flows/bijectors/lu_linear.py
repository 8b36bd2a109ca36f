"""LULinear: an invertible matrix, learned as its triangular factors."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.matrices import random_rotation, transformed
from tfp_flows.bijectors.parameters import Parameters
from tfp_flows.bijectors.permute import permuted

__all__ = ["LULinear"]


@register
class LULinear(Bijector):
    """Multiplies by an invertible matrix and adds a bias, both learned.

    Forward, base to data, with P a fixed permutation, L lower triangular with ones
    on the diagonal, and U upper triangular with exp(s) on the diagonal::

        y = P L U x + b
        log|det ∂y/∂x| = Σ s

    The matrix can become any whose determinant has the sign of P's. The inverse,
    which training uses, inverts the two factors once for all the points.

    Args:
      identity_start: whether to begin with y = x, and P the identity; otherwise with
        the factors P, L and U of a random orthogonal matrix.
      bias: whether there is a b.
      hidden: widths of the hidden layers of the network that maps a context to the
        entries of L, U and b.
      seed: of the random matrix and of that network; drawn when None.
      context_size: width of a context that L, U and b depend on; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `hidden` or `seed` is not what it must be.

    Example:
      >>> import numpy as np
      >>> linear = LULinear(identity_start=False, seed=0)
      >>> x = np.eye(3, dtype="float32")
      >>> matrix = linear.forward(x).numpy().T
      >>> np.allclose(matrix @ matrix.T, np.eye(3), atol=1e-6)
      True

    Source: Kingma and Dhariwal (2018), "Glow: Generative flow with invertible 1×1
    convolutions", eq. 10-11, there with a fixed sign on the diagonal, which P and L
    take up here; Oliva et al. (2018), "Transformation autoregressive networks".
    """

    def __init__(
        self,
        *,
        identity_start: bool = True,
        bias: bool = True,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        hidden = networks.as_hidden(hidden)
        seed = as_seed(seed)
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        factors, self._order = np.zeros([event_size] * 2), np.arange(event_size)
        if not given["identity_start"]:
            factors, order = _factorized(random_rotation(event_size, given["seed"]))
            self._order = tf.Variable(order, trainable=False, name="order")
        initial = {"factors": factors}
        if given["bias"]:
            initial["bias"] = np.zeros(event_size)
        self._learned = Parameters(
            initial,
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _parts(
        self, points: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor | float, tf.Tensor]:
        """Returns L, U, b and the log-det at each point."""
        learned = self._learned(self._context_at(points))
        factors = learned["factors"]
        log_diagonal = tf.linalg.diag_part(factors)
        lower = tf.linalg.set_diag(
            tf.linalg.band_part(factors, -1, 0), tf.ones_like(log_diagonal)
        )
        upper = tf.linalg.set_diag(
            tf.linalg.band_part(factors, 0, -1), tf.exp(log_diagonal)
        )
        log_det = tf.reduce_sum(log_diagonal, -1) + tf.zeros_like(points[..., 0])
        return lower, upper, learned.get("bias", 0.0), log_det

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lower, upper, bias, log_det = self._parts(x)
        product = transformed(transformed(x, upper), lower)
        return permuted(product, self._order) + bias, log_det

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        lower, upper, bias, log_det = self._parts(y)
        product = permuted(y - bias, self._order, inverse=True)
        if lower.shape.rank == 2:
            # Except for a few points, multiplying by one inverse is two to three times
            # faster than solving for each point.
            identity = tf.eye(lower.shape[-1], dtype=lower.dtype)
            x = transformed(product, _solved(lower, upper, identity))
        else:
            x = _solved(lower, upper, product[..., tf.newaxis])[..., 0]
        return x, -log_det


def _solved(lower: tf.Tensor, upper: tf.Tensor, right: tf.Tensor) -> tf.Tensor:
    """Returns (L U)⁻¹ times the columns of `right`."""
    middle = tf.linalg.triangular_solve(lower, right)
    return tf.linalg.triangular_solve(upper, middle, lower=False)


def _factorized(matrix: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the factors of a matrix, but for the signs of some of its rows.

    The signs are chosen so that the diagonal of U is positive.

    Returns:
      Both factors in one matrix, as `LULinear` keeps them: L below the diagonal, U
      above it, and the logarithms of U's diagonal on it; and the order that P puts
      the coordinates into.
    """
    factors, rows = (part.numpy() for part in tf.linalg.lu(matrix))
    diagonal = np.diag(factors)
    signs = np.where(diagonal < 0, -1.0, 1.0)
    # D L D and D U, with D = diag(signs).
    factors = signs[:, np.newaxis] * np.where(
        np.tri(len(matrix), k=-1, dtype=bool), factors * signs, factors
    )
    np.fill_diagonal(factors, np.log(np.abs(diagonal)))
    return factors, np.argsort(rows)
