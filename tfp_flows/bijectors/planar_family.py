"""Planar, Radial and Sylvester: the identity plus one hidden layer of a network."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["Planar", "Radial", "Sylvester"]

# Lower bound on a unit's slope: the closer to 0, the worse the inverse is conditioned.
_MIN_SLOPE = 1e-3

# Bound of the log-scale of a unit of Sylvester, since the inverse divides by the scale.
_MAX_LOG_SCALE = 3.0

# Limit on the steps towards a planar root. Bisection alone would need fewer.
_MAX_STEPS = 200


class _Units(Bijector):
    """Base of the family: it checks the options and creates the parameters."""

    def __init__(
        self,
        *,
        identity_start: bool = True,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        hidden = networks.as_hidden(hidden)
        seed = checks.as_seed(seed)
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        self._learned = Parameters(
            self._initial(event_size, np.random.default_rng(given["seed"])),
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

    def _initial(
        self, event_size: int, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        raise NotImplementedError


@register
class Planar(_Units):
    """Moves points along one direction, by a smooth step across a hyperplane.

    Forward, base to data, with learned vectors u and w and a scalar b::

        y = x + û · tanh(wᵀx + b)
        log|det ∂y/∂x| = log(1 + m · (1 - tanh²(wᵀx + b))),    m = wᵀû
        û = u + (m - wᵀu) · w / |w|²,    m = (1 - c) · (softplus(wᵀu + k) - 1)

    where k = log(e - 1), so that u = 0 is the identity, and c = 1e-3: the slope 1 + m
    across the hyperplane stays above c, which makes the map invertible, for any u
    and w.

    The inverse needs one scalar, α = wᵀx: the root of α + m · tanh(α + b) = wᵀy,
    which lies within |m| of wᵀy and is found to rounding by Newton's method, with
    bisection where that leaves the bracket or is slow. Then x = y - û · tanh(α + b).
    Gradients are implicit: first derivatives are exact, second ones are not.

    Args:
      identity_start: whether to begin with y = x; otherwise u begins at random.
      hidden: widths of the hidden layers of the network that maps a context to u, w
        and b.
      seed: of the initial values; drawn when None.
      context_size: width of a context that u, w and b depend on; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `seed`, `hidden` or `context_size` are not whole numbers in range.

    Example:
      >>> import numpy as np
      >>> planar = Planar(identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0]])
      >>> y = planar.forward(x).numpy()
      >>> bool(np.abs(planar.inverse(y) - x).max() < 1e-14)
      True

    Source: Rezende and Mohamed (2015), "Variational inference with normalizing
    flows", eq. 10-12 and appendix A.1, with the shift by k and the bound c added.
    """

    def _initial(
        self, event_size: int, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        u = np.zeros(event_size)
        w = generator.normal(size=event_size) / math.sqrt(event_size)
        if not self.parameters["identity_start"]:
            u = generator.normal(size=event_size)
        return {"u": u, "w": w, "b": np.zeros(())}

    def _current(self, points: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns û and w, `(..., d)`, and m and b, `(..., 1)`."""
        p = self._learned(self._context_at(points))
        u, w, b = p["u"], p["w"], p["b"][..., tf.newaxis]
        product = tf.reduce_sum(w * u, -1, keepdims=True)
        m = _excess_slope(product)
        square = tf.reduce_sum(w**2, -1, keepdims=True) + np.finfo(np.float32).tiny
        return u + (m - product) * w / square, w, m, b

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        u, w, m, b = self._current(x)
        t = tf.tanh(tf.reduce_sum(w * x, -1, keepdims=True) + b)
        return x + u * t, _log_slope(m, t)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        u, w, m, b = self._current(y)
        t = tf.tanh(_unit_root(m, b, tf.reduce_sum(w * y, -1, keepdims=True)) + b)
        return y - u * t, -_log_slope(m, t)


@register
class Radial(_Units):
    """Moves points towards or away from a centre, the more the nearer they are.

    Forward, base to data, with a learned centre c, radius α > 0 and scalar m > -1::

        y = x + h · (x - c),    h = m · α / (α + r),    r = |x - c|
        log|det ∂y/∂x| = (d - 1) · log(1 + h) + log(1 + m · α² / (α + r)²)

    m + 1 is the slope at the centre: points leave it where m > 0 and gather there
    where m < 0. It is computed as in `Planar`, from a free scalar in place of wᵀu, so
    that m + 1 stays above 1e-3. The paper's β is m · α.

    The inverse is exact: r is the root of a quadratic equation.

    c begins at a draw from the standard normal distribution, and α at 1.

    Args:
      identity_start: whether to begin with y = x; otherwise m begins at random.
      hidden: widths of the hidden layers of the network that maps a context to c, α
        and m.
      seed: of the initial values; drawn when None.
      context_size: width of a context that c, α and m depend on; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `seed`, `hidden` or `context_size` are not whole numbers in range.

    Example:
      >>> import numpy as np
      >>> radial = Radial(identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0]])
      >>> y = radial.forward(x).numpy()
      >>> bool(np.abs(radial.inverse(y) - x).max() < 1e-14)
      True

    Source: Rezende and Mohamed (2015), "Variational inference with normalizing
    flows", eq. 13-14 and appendix A.2.
    """

    def _initial(
        self, event_size: int, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        center = generator.normal(size=event_size)
        free = 0.0 if self.parameters["identity_start"] else generator.normal()
        return {"center": center, "log_radius": np.zeros(()), "free": np.array(free)}

    def _current(self, points: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the centre, `(..., d)`, and the radius and m, `(..., 1)`."""
        p = self._learned(self._context_at(points))
        radius = tf.exp(p["log_radius"])[..., tf.newaxis]
        return p["center"], radius, _excess_slope(p["free"][..., tf.newaxis])

    def _log_det(self, radius: tf.Tensor, m: tf.Tensor, r: tf.Tensor) -> tf.Tensor:
        share = radius / (radius + r)
        log_det = (self.event_size - 1) * tf.math.log1p(m * share)
        return (log_det + tf.math.log1p(m * share**2))[..., 0]

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        center, radius, m = self._current(x)
        off = x - center
        r = _norm(off)
        return x + m * radius / (radius + r) * off, self._log_det(radius, m, r)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        center, radius, m = self._current(y)
        off = y - center
        distance = _norm(off)
        # r² + b·r - α·|y - c| = 0, whose positive root is written without cancellation.
        b = radius * (1 + m) - distance
        product = radius * distance
        larger = tf.abs(b) + tf.sqrt(b**2 + 4 * product)
        r = tf.where(b > 0, 2 * product / larger, larger / 2)
        h = m * radius / (radius + r)
        return y - h / (1 + h) * off, -self._log_det(radius, m, r)


@register
class Sylvester(_Units):
    """Planar with many units at once, in orthogonal directions.

    Forward, base to data, with M units, Q of M orthonormal columns and upper
    triangular matrices R and S of order M::

        y = x + Q R tanh(S Qᵀx + b)
        log|det ∂y/∂x| = Σ_i log(1 + m_i · (1 - t_i²)),    t = tanh(S Qᵀx + b)

    with m_i = R_ii · S_ii kept above -1 as in `Planar`: S_ii = exp(3 tanh(s_i/3)), and
    R_ii = m_i / S_ii. Q is the first M columns of a product of M
    Householder reflections. Every Q has this form, up to signs that R and S can absorb.

    The inverse solves v + R tanh(S v + b) = Qᵀy for v = Qᵀx from the last component to
    the first, each like the scalar of `Planar`. If forward does not map the result back
    to y, as can happen between units that are all steep, the result is NaN.

    Args:
      units: M, from 1 to d; d when None.
      identity_start: whether to begin with y = x; otherwise R begins at random.
      hidden: widths of the hidden layers of the network that maps a context to Q, R,
        S and b.
      seed: of the initial values; drawn when None.
      context_size: width of a context that Q, R, S and b depend on; 0 for none.
      trainable: False freezes all weights.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: more units than coordinates; `units`, `seed`, `hidden` or
        `context_size` are not whole numbers in range.

    Example:
      >>> import numpy as np
      >>> sylvester = Sylvester(units=2, identity_start=False, seed=0)
      >>> x = np.array([[0.5, -1.0, 2.0]])
      >>> y = sylvester.forward(x).numpy()
      >>> bool(np.abs(sylvester.inverse(y) - x).max() < 1e-14)
      True

    Source: van den Berg, Hasenclever, Tomczak and Welling (2018), "Sylvester
    normalizing flows for variational inference", eq. 8-13, with Q as in section 3.2
    (H-SNF).
    """

    def __init__(
        self,
        units: int | None = None,
        *,
        identity_start: bool = True,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if units is not None:
            units = checks.positive_size(units, "units")
        hidden = networks.as_hidden(hidden)
        seed = checks.as_seed(seed)
        Bijector.__init__(self, locals(), dtype=dtype, name=name)

    def _initial(
        self, event_size: int, generator: np.random.Generator
    ) -> dict[str, np.ndarray]:
        units = self.parameters["units"] or event_size
        if units > event_size:
            raise ValueError(
                f"`units` must be at most {event_size} for points of width "
                f"{event_size}. Received: {units}."
            )
        self._units = units
        count = units * (units + 1) // 2
        r = np.zeros(count)
        vectors = generator.normal(size=(units, event_size))
        if not self.parameters["identity_start"]:
            r = generator.normal(size=count)
        return {"vectors": vectors, "r": r, "s": np.zeros(count), "b": np.zeros(units)}

    def _current(self, points: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Returns the reflections' vectors, R, S, m and b."""
        p = self._learned(self._context_at(points))
        r, s = (tfp.math.fill_triangular(p[name], upper=True) for name in "rs")
        m = _excess_slope(tf.linalg.diag_part(r))
        log_diagonal = tf.linalg.diag_part(s)
        diagonal = tf.exp(_MAX_LOG_SCALE * tf.tanh(log_diagonal / _MAX_LOG_SCALE))
        r = tf.linalg.set_diag(r, m / diagonal)
        return p["vectors"], r, tf.linalg.set_diag(s, diagonal), m, p["b"]

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors, r, s, m, b = self._current(x)
        y, t = self._value_and_units(x, vectors, r, s, b)
        return y, _log_slope(m, t)

    def _value_and_units(
        self,
        x: tf.Tensor,
        vectors: tf.Tensor,
        r: tf.Tensor,
        s: tf.Tensor,
        b: tf.Tensor,
    ) -> tuple[tf.Tensor, tf.Tensor]:
        """Returns y, and t of the units."""
        t = tf.tanh(tf.linalg.matvec(s, self._project(vectors, x)) + b)
        return x + self._embed(vectors, tf.linalg.matvec(r, t)), t

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        vectors, r, s, m, b = self._current(y)
        target = self._project(vectors, y)
        # From the last unit to the first: each planar root depends on the later ones.
        v: list[tf.Tensor] = []
        t: Any = []
        for i in reversed(range(self._units)):
            off, shift = target[..., i], b[..., i]
            for j, (v_j, t_j) in enumerate(zip(v, t, strict=True), start=i + 1):
                off -= r[..., i, j] * t_j
                shift += s[..., i, j] * v_j
            alpha = _unit_root(m[..., i], shift, s[..., i, i] * off)
            v.insert(0, alpha / s[..., i, i])
            t.insert(0, tf.tanh(alpha + shift))
        t = tf.stack(t, -1)
        x = y - self._embed(vectors, tf.linalg.matvec(r, t))
        off = tf.abs(self._value_and_units(x, vectors, r, s, b)[0] - y)
        scale = 1 + tf.reduce_max(tf.abs(y), -1, keepdims=True)
        near = np.finfo(y.dtype.as_numpy_dtype).eps ** 0.5
        is_found = tf.reduce_all(off <= near * scale, -1, keepdims=True)
        x = tf.where(is_found, x, np.nan)
        return x, tf.where(is_found[..., 0], -_log_slope(m, t), np.nan)

    def _project(self, vectors: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
        """Returns Qᵀx."""
        for i in range(self._units):
            x = _reflect(vectors[..., i, :], x)
        return x[..., : self._units]

    def _embed(self, vectors: tf.Tensor, v: tf.Tensor) -> tf.Tensor:
        """Returns Q v."""
        padding = [[0, 0]] * (v.shape.rank - 1) + [[0, self.event_size - self._units]]
        v = tf.pad(v, padding)
        for i in reversed(range(self._units)):
            v = _reflect(vectors[..., i, :], v)
        return v


def _excess_slope(free: tf.Tensor) -> tf.Tensor:
    """Returns m > -1 for any real input, and 0 for 0."""
    shift = tf.constant(math.log(math.e - 1), free.dtype)
    softplus = tf.math.softplus
    return (1 - _MIN_SLOPE) * (softplus(free + shift) - softplus(shift))


def _log_slope(m: tf.Tensor, t: tf.Tensor) -> tf.Tensor:
    """Returns the log-det of units whose slope at their steepest is 1 + m."""
    return tf.reduce_sum(tf.math.log1p(m * (1 - t**2)), -1)


def _unit_root(m: tf.Tensor, b: tf.Tensor, y: tf.Tensor) -> tf.Tensor:
    """Returns the root of α + m · tanh(α + b) = y, m > -1, differentiable."""

    def off_and_slope(alpha: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        t = tf.tanh(alpha + b)
        return alpha + m * t - y, 1 + m * (1 - t**2)

    def step(
        alpha: tf.Tensor, low: tf.Tensor, high: tf.Tensor, width: tf.Tensor
    ) -> tuple[tf.Tensor, ...]:
        off, slope = off_and_slope(alpha)
        low, high = tf.where(off < 0, alpha, low), tf.where(off > 0, alpha, high)
        newton = alpha - off / slope
        is_good = (newton >= low) & (newton <= high)
        is_good &= tf.abs(newton - alpha) <= width / 2
        following = tf.where(is_good, newton, (low + high) / 2)
        is_found = (tf.abs(off) <= rounding) | ~is_active(alpha, width)
        following = tf.where(is_found, alpha, following)
        return following, low, high, tf.abs(following - alpha)

    def is_active(alpha: tf.Tensor, width: tf.Tensor) -> tf.Tensor:
        return width > eps * (1 + tf.abs(alpha))

    eps = np.finfo(y.dtype.as_numpy_dtype).eps
    start, reach = tf.stop_gradient(y), tf.stop_gradient(tf.abs(m))
    rounding = 2 * eps * (tf.abs(start) + reach)
    start += tf.zeros_like(rounding)
    root, *_ = tf.while_loop(
        lambda alpha, low, high, width: tf.reduce_any(is_active(alpha, width)),
        step,
        (start, start - reach, start + reach, 2 * reach + tf.zeros_like(start)),
        maximum_iterations=_MAX_STEPS,
    )
    root = tf.stop_gradient(root)
    off, slope = off_and_slope(root)
    last = off / tf.stop_gradient(slope)  # zero but for rounding
    return root - (last - tf.stop_gradient(last))


def _norm(x: tf.Tensor) -> tf.Tensor:
    """Returns |x|, `(..., 1)`, with the derivative 0 at 0."""
    square = tf.reduce_sum(x**2, -1, keepdims=True)
    is_zero = square == 0
    norm = tf.sqrt(tf.where(is_zero, tf.ones_like(square), square))
    return tf.where(is_zero, tf.zeros_like(square), norm)


def _reflect(vector: tf.Tensor, x: tf.Tensor) -> tf.Tensor:
    """Returns x mirrored at the hyperplane that `vector` is normal to."""
    square = tf.reduce_sum(vector**2, -1, keepdims=True)
    product = tf.reduce_sum(vector * x, -1, keepdims=True)
    return x - 2 * product / square * vector
