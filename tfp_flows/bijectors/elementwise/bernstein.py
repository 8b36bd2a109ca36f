"""BernsteinMap: bends an interval by a monotone Bernstein polynomial."""

import math

import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.bijectors.base import register
from tfp_flows.bijectors.bracketed_root import bracketed_root
from tfp_flows.bijectors.elementwise.base import ElementwiseMap
from tfp_flows.bijectors.elementwise.box import as_box

__all__ = ["BernsteinMap"]

# Lower bound on the slope, as for splines: it keeps the inverse well conditioned.
_MIN_SLOPE = 1e-3

# The binomial coefficients of higher degrees are too large for float32.
_MAX_DEGREE = 100


@register
class BernsteinMap(ElementwiseMap):
    """Bends an interval by an increasing polynomial, with straight tails outside.

    With n the degree, [l, l + w] the box, u = (y - l) / w, and increasing coefficients
    θ from the n + 1 parameters of each coordinate. Inverse, data to base::

        x = l + w · B(u),    B(u) = Σ_k θ_k · C(n, k) · u^k · (1 - u)^(n - k)
        log(dx/dy) = log B'(u),    B'(u) = n Σ_k (θ_{k+1} - θ_k) · C(n-1, k) · …

    on the box, and the tangents of B at its ends outside of it. B increases because the
    coefficients do: their differences are 1e-3 / n + softplus(…) / n. The inverse is
    computed by sums of positive terms, without cancellation; forward is found by a
    bracketing root finder, and differentiated implicitly. Unlike a spline, the
    polynomial has derivatives of every order within the box, and it scales and shifts
    the tails.

    Args:
      degree: n ≥ 1, at most 100. A higher degree bends more sharply.
      box: the interval that is bent: "data" for one that is fitted to the data of each
        coordinate (it covers 99.9% of them, and a tenth more on either side; [-5, 5]
        before that); or b for [-b, b], or (low, high).

    Raises:
      ValueError: a degree out of its range, or a box without width.

    Example:
      >>> import numpy as np
      >>> from tfp_flows.bijectors import Coupling
      >>> coupling = Coupling(BernsteinMap(8, box=3.0), identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0], [0.5, 100.0]], "float32")
      >>> y = coupling.forward(x).numpy()
      >>> np.allclose(coupling.inverse(y.copy()), x, rtol=1e-4)
      True

    Source: Sick, Hothorn and Dürr (2020), "Deep transformation models: Tackling complex
    regression problems with neural network based transformation models", eq. 5;
    Ramasinghe, Fernando, Khan and Barnes (2021), "Robust normalizing flows using
    Bernstein-type polynomials", section 3.
    """

    divides_by_width = True

    def __init__(
        self, degree: int = 16, *, box: str | float | tuple[float, float] = "data"
    ) -> None:
        self.degree = checks.positive_size(degree, "degree")
        if self.degree > _MAX_DEGREE:
            raise ValueError(
                f"`degree` must be at most {_MAX_DEGREE}. Received: {degree}."
            )
        self.box = self.interval = as_box(box)
        self.parameter_count = self.degree + 1

    def forward(
        self, x: tf.Tensor, parameters: tf.Tensor, low: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y and log(dy/dx)."""
        polynomial = _Polynomial(parameters)
        u = polynomial.inverse((x - low) / width)
        return low + width * u, -polynomial.log_slope(u)

    def inverse(
        self, y: tf.Tensor, parameters: tf.Tensor, low: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns x and log(dx/dy)."""
        polynomial = _Polynomial(parameters)
        u = (y - low) / width
        return low + width * polynomial(u), polynomial.log_slope(u)


class _Polynomial:
    """B on [0, 1], and its tangents outside.

    Args:
      raw: θ_0 and what makes the n differences, `(..., n + 1)`; zeros give B(u) = u.
    """

    def __init__(self, raw: tf.Tensor) -> None:
        self._first = raw[..., 0]
        self._degree = raw.shape[-1] - 1
        # A parameter of zero gives a slope of 1.
        start = math.log(math.expm1(1 - _MIN_SLOPE))
        self._slopes = _MIN_SLOPE + tf.math.softplus(raw[..., 1:] + start)
        # Every coefficient is a sum of positive differences: θ_k - θ_0, k = 1, …, n.
        self._rises = tf.cumsum(self._slopes, -1) / self._degree

    def __call__(self, u: tf.Tensor) -> tf.Tensor:
        """Returns B(u)."""
        inside = tf.clip_by_value(u, 0.0, 1.0)
        basis = _basis(inside, self._degree)[..., 1:]
        value = self._first + tf.reduce_sum(self._rises * basis, -1)
        return value + self._slope(inside) * (u - inside)

    def log_slope(self, u: tf.Tensor) -> tf.Tensor:
        """Returns log B'(u)."""
        return tf.math.log(self._slope(tf.clip_by_value(u, 0.0, 1.0)))

    def inverse(self, value: tf.Tensor) -> tf.Tensor:
        """Returns the u with B(u) = value."""
        # The tangents outside have closed inverses; inside, the root is in [0, 1].
        left = (value - self._first) / self._slopes[..., 0]
        right = (value - self._first - self._rises[..., -1]) / self._slopes[..., -1]
        low, high = tf.minimum(left, 0.0), 1 + tf.maximum(right, 0.0)
        return bracketed_root(self, self.log_slope, value, low, high)

    def _slope(self, inside: tf.Tensor) -> tf.Tensor:
        return tf.reduce_sum(self._slopes * _basis(inside, self._degree - 1), -1)


def _basis(u: tf.Tensor, degree: int) -> tf.Tensor:
    """Returns C(n, k) · u^k · (1 - u)^(n - k) for k = 0, …, n, `(..., n + 1)`."""
    # Products, since the gradients of a power and of a cumulative product are NaN at 0.
    powers, others = [tf.ones_like(u)], [tf.ones_like(u)]
    for _ in range(degree):
        powers.append(powers[-1] * u)
        others.append(others[-1] * (1 - u))
    binomials = [float(math.comb(degree, k)) for k in range(degree + 1)]
    both = tf.stack(powers, -1) * tf.stack(others[::-1], -1)
    return both * np.array(binomials, u.dtype.as_numpy_dtype)
