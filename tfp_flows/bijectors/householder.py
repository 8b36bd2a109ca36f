"""Householder: a product of learned reflections."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows._core.checks import as_seed
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.matrices import transformed
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["Householder"]

# Of the default: more reflections cost more, and turn more directions.
_MAX_REFLECTIONS = 8


@register
class Householder(Bijector):
    """Multiplies by a product of K learned reflections, an orthogonal matrix.

    Forward, base to data, with vectors v_1, …, v_K::

        y = H_1 H_2 … H_K x,    H_k = I - 2 v_k v_kᵀ / |v_k|²
        log|det ∂y/∂x| = 0,  the determinant being (-1)^K

    The product is applied as I - Vᵀ T V, V with the normalized vectors as rows and T
    triangular, which takes two products of a matrix with all the points; so does its
    inverse, I - Vᵀ Tᵀ V. With as many reflections as coordinates, the product can be
    any orthogonal matrix whose determinant has their sign; fewer turn fewer directions.

    Args:
      reflections: K ≥ 1. An even number makes a rotation. When None, the largest even
        number up to 8 and the width of the points, and at least 2.
      identity_start: whether to begin with y = x, where each vector occurs twice, so
        that K must be even; otherwise the vectors begin at random.
      hidden: widths of the hidden layers of the network that maps a context to the
        vectors.
      seed: of the vectors and of that network; drawn when None.
      context_size: width of a context that the vectors depend on; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `reflections` is not a whole number ≥ 1, or is odd with
        `identity_start`.

    Example:
      >>> import numpy as np
      >>> turn = Householder(2, identity_start=False, seed=0)
      >>> x = np.array([[3.0, 4.0]], "float32")
      >>> round(float(np.linalg.norm(turn.forward(x))), 5)
      5.0

    Source: Tomczak and Welling (2016), "Improving variational auto-encoders using
    Householder flow", sec. 3.2; the triangular form is that of Joffrain et al. (2006),
    "Accumulating Householder transformations, revisited".
    """

    def __init__(
        self,
        reflections: int | None = None,
        *,
        identity_start: bool = True,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if reflections is not None:
            reflections = checks.positive_size(reflections, "reflections")
            if identity_start and reflections % 2:
                raise ValueError(
                    "`reflections` must be even to start as the identity. Received: "
                    f"{reflections}. Remedy: identity_start=False."
                )
        hidden = networks.as_hidden(hidden)
        seed = as_seed(seed)
        super().__init__(locals(), is_constant_jacobian=True, dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        count = given["reflections"]
        if count is None:
            count = min(_MAX_REFLECTIONS, max(2, event_size - event_size % 2))
        generator = np.random.default_rng(given["seed"])
        vectors = generator.standard_normal((count, event_size))
        if given["identity_start"]:
            vectors = np.repeat(vectors[::2], 2, axis=0)
        self._learned = Parameters(
            {"vectors": vectors},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _factors(self, points: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns V and T V, with H_1 … H_K = I - Vᵀ T V, each `(..., K, d)`."""
        vectors = self._learned(self._context_at(points))["vectors"]
        vectors = tf.linalg.l2_normalize(
            vectors, axis=-1, epsilon=np.finfo(vectors.dtype.as_numpy_dtype).tiny
        )
        products = tf.matmul(vectors, vectors, transpose_b=True)
        # T⁻¹ has the products above its diagonal, and 1/2 on it.
        halves = tf.fill(tf.shape(products)[:-1], tf.constant(0.5, products.dtype))
        triangle = tf.linalg.set_diag(products, halves)
        return vectors, tf.linalg.triangular_solve(triangle, vectors, lower=False)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors, steps = self._factors(x)
        y = x - transformed(transformed(x, steps), vectors, transpose=True)
        return y, tf.zeros_like(x[..., 0])

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors, steps = self._factors(y)
        x = y - transformed(transformed(y, vectors), steps, transpose=True)
        return x, tf.zeros_like(y[..., 0])
