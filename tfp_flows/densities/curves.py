"""Densities of blurred curves, whose log_prob is an integral along the curve."""

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from typing import Any

import numpy as np

from tfp_flows.densities.density import Density, positive
from tfp_flows.densities.plane import (
    log_sum_exp,
    normal_plane,
    outer_sum,
    to_complex,
    to_points,
    unit,
)


def two_moons(noise: float = 0.05) -> Density:
    """Two interleaved half circles, blurred.

    Half of the points lie on e^{iθ}, half on 1 + i/2 - e^{iθ}, θ uniform on [0, π],
    plus `noise` times a standard normal.

    Args:
      noise: the standard deviation, > 0; default 0.05.

    Returns:
      A Density on the plane.

    Raises:
      ValueError: `noise` is out of range.

    Example:
      >>> round(two_moons().entropy, 3)
      0.289

    Source: `sklearn.datasets.make_moons`, with θ uniform instead of equally spaced.
    """
    noise = positive(noise, "noise")
    outer = _Curve(
        point=lambda s: unit(np.pi * s),
        velocity=lambda s: 1j * np.pi * unit(np.pi * s),
        speed=np.pi,
        acceleration=np.pi**2,
    )
    return _blurred_curves("two_moons", {"noise": noise}, outer, 1 + 0.5j, _Blur(noise))


def swiss_roll(noise: float = 1.0) -> Density:
    """A spiral of a turn and a half, blurred.

    x = (θ e^{iθ} + noise · ε)/5 with θ uniform on [1.5π, 4.5π].

    Args:
      noise: the standard deviation before the division by 5, > 0; default 1.

    Returns:
      A Density on the plane.

    Raises:
      ValueError: `noise` is out of range.

    Example:
      >>> round(swiss_roll().entropy, 3)
      2.67

    Source: Grathwohl et al. (2019), "FFJORD", the toy data of its code, after
    `sklearn.datasets.make_swiss_roll`.
    """
    noise = positive(noise, "noise")

    def angle(s: Any) -> Any:
        return np.pi * (1.5 + 3 * s)

    spiral = _Curve(
        point=lambda s: angle(s) * unit(angle(s)) / 5,
        velocity=lambda s: 0.6 * np.pi * (1 + 1j * angle(s)) * unit(angle(s)),
        speed=0.6 * np.pi * np.hypot(1, angle(1)),
        acceleration=1.8 * np.pi**2 * np.hypot(2, angle(1)),
    )
    blur = _Blur(noise / 5)
    return _blurred_curves("swiss_roll", {"noise": noise}, spiral, None, blur)


def two_spirals() -> Density:
    """Two spirals of a turn and a half, jittered and blurred.

    x = ±(-θ e^{-iθ} + j)/3 + 0.1 ε with θ = 3π√u for a uniform u, the jitter j
    uniform on the square [0, 0.5)², ε standard normal, and either sign equally often.

    Returns:
      A Density on the plane.

    Example:
      >>> round(two_spirals().entropy, 3)
      2.645

    Source: Grathwohl et al. (2019), "FFJORD", the toy data of its code.
    """
    turn = 3 * np.pi
    jitter = 0.25 / 3
    spiral = _Curve(
        point=lambda s: -np.pi * s * unit(-turn * s) + jitter * (1 + 1j),
        velocity=lambda s: -np.pi * (1 - 1j * turn * s) * unit(-turn * s),
        speed=np.pi * np.hypot(1, turn),
        acceleration=np.pi * turn * np.hypot(2, turn),
        weight=lambda s: 2 * s,
        quantile=np.sqrt,
    )
    return _blurred_curves("two_spirals", {}, spiral, 0.0, _Blur(0.1, jitter))


@dataclass(frozen=True)
class _Curve:
    """A curve s ↦ c(s) in the complex plane, s in [0, 1], and the density of s.

    Attributes:
      point: the function c(s).
      velocity: its derivative c'(s).
      speed: an upper bound of |c'|.
      acceleration: an upper bound of |c''|.
      weight: the density of s.
      quantile: the quantile function of that density.
    """

    point: Callable[[np.ndarray], np.ndarray]
    velocity: Callable[[np.ndarray], np.ndarray]
    speed: float
    acceleration: float
    weight: Callable[[np.ndarray], np.ndarray] = np.ones_like
    quantile: Callable[[np.ndarray], np.ndarray] = np.asarray

    def turned(self, center: complex) -> "_Curve":
        """Returns the curve rotated by half a turn, center - c(s)."""
        return _Curve(
            lambda s: center - self.point(s),
            lambda s: -self.velocity(s),
            self.speed,
            self.acceleration,
            self.weight,
            self.quantile,
        )


@dataclass(frozen=True)
class _Blur:
    """Noise in the plane: a Gaussian plus a uniform jitter in both coordinates.

    Attributes:
      noise: the standard deviation σ of the Gaussian.
      jitter: half the width j of the uniform distribution; 0 for no jitter.
    """

    noise: float
    jitter: float = 0.0

    def draw(self, rng: np.random.Generator, n: int) -> np.ndarray:
        """Returns n complex offsets."""
        uniform = rng.uniform(-self.jitter, self.jitter, (n, 2))
        return to_complex(uniform) + self.noise * normal_plane(rng, n)

    def log_prob(self, offset: np.ndarray) -> np.ndarray:
        """Returns the log density of complex offsets."""
        return self._log_axis(offset.real) + self._log_axis(offset.imag)

    def _log_axis(self, v: np.ndarray) -> np.ndarray:
        """Returns the log density of one coordinate.

        Without jitter it is log N(v; 0, σ²). With jitter it is
        log[(Φ((j + v)/σ) - Φ((v - j)/σ))/2j]. This is even in v, and for |v| both terms
        Φ((j - |v|)/σ) and Φ((-j - |v|)/σ) lie in the lower tail, where Φ is accurate.
        """
        if not self.jitter:
            return -((v / self.noise) ** 2) / 2 - np.log(2 * np.pi * self.noise**2) / 2
        from scipy.special import log_ndtr, ndtr  # importing it takes 0.2 s

        near = (self.jitter - np.abs(v)) / self.noise
        tail = near < -30  # the first Φ nearly underflows, and the second is negligible
        log_prob = np.empty_like(v)
        log_prob[tail] = log_ndtr(near[tail])
        near = near[~tail]
        log_prob[~tail] = np.log(ndtr(near) - ndtr(near - 2 * self.jitter / self.noise))
        return log_prob - np.log(2 * self.jitter)

    def grid(self) -> tuple[np.ndarray, np.ndarray]:
        """Returns complex offsets and weights for means over the noise."""
        step = self.noise
        reach = np.ceil(6 + self.jitter / step)
        axis = step * np.arange(-reach, reach + 1)
        offsets = outer_sum(axis, 1j * axis)
        weights = np.exp(self.log_prob(offsets)) * step**2
        matter = weights > 1e-9 * weights.max()
        return offsets[matter], weights[matter]


def _blurred_curves(
    name: str,
    parameters: dict[str, float],
    curve: _Curve,
    center: complex | None,
    blur: _Blur,
) -> Density:
    """Returns the density of points on a curve plus noise.

    With a `center`, half of the points lie on the rotated curve center - c(s). The
    density is the mean over curves of ∫₀¹ k(x - c(s)) w(s) ds, where k is the density
    of the noise.
    """
    curves = [curve] if center is None else [curve, curve.turned(center)]

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        on_curve = curve.point(curve.quantile(rng.random(n)))
        if center is not None:
            on_curve = np.where(rng.random(n) < 0.5, on_curve, center - on_curve)
        return to_points(on_curve + blur.draw(rng, n))

    def log_density(x: np.ndarray) -> np.ndarray:
        z, best = to_complex(x), np.full(len(x), -np.inf)
        terms = [_log_blurred(z, curve, blur, best) for curve in curves]
        return log_sum_exp(np.stack(terms)) - np.log(len(curves))

    def quadrature() -> tuple[np.ndarray, np.ndarray]:
        # By symmetry, one curve is enough
        s, along = _graded(curve.speed / blur.noise)
        offsets, across = blur.grid()
        weights = np.outer(along * curve.weight(s), across).ravel()
        return to_points(outer_sum(curve.point(s), offsets)), weights

    return Density(
        name, parameters, draw=draw, log_density=log_density, quadrature=quadrature
    )


def _graded(finest: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns Gauss-Legendre nodes and weights on panels that shrink to 0 and to 1.

    Near the ends of a blurred curve its density changes over the width of the noise,
    1/finest. Between them it changes as slowly as the curve bends.
    """
    levels = max(2, int(np.ceil(np.log2(finest))) - 1)
    edges = np.concatenate([[0], 0.5 ** np.arange(levels, 0, -1)])
    edges = np.concatenate([edges, 1 - edges[-2::-1]])
    nodes, weights = _gauss_legendre(8)
    half = np.diff(edges)[:, None] / 2
    return (edges[:-1, None] + half * (1 + nodes)).ravel(), (half * weights).ravel()


def _log_blurred(
    z: np.ndarray, curve: _Curve, blur: _Blur, best: np.ndarray
) -> np.ndarray:
    """Returns log ∫₀¹ k(z - c(s)) w(s) ds to about twelve digits.

    For every point by itself, [0, 1] is split into panels. On a panel of half length h
    around s, |log k(z - c(s ± t)) - log k(z - c(s))| is at most |g|h + bh²/2, where g
    is the first derivative of log k in s and b a bound of the second. By this bound, a
    panel that is negligible beside the best one is dropped; a panel on which log k is
    flat enough is integrated by Gauss-Legendre quadrature; any other panel is halved.

    Args:
      z: complex points, shape `(n,)`.
      curve: c and w.
      blur: k.
      best: the largest log k found for each point, shape `(n,)`. It is updated in
        place, so that a second curve is not integrated where the first one outweighs
        it.

    Returns:
      An array of shape `(n,)`, in nats.
    """
    nodes, node_weights = _gauss_legendre(16)
    panels, variance = 16, blur.noise**2
    total = np.full(z.shape, -np.inf)
    half = 0.5 / panels
    # Beyond 1e140 squared distances overflow, and the density is zero.
    row = np.repeat(np.flatnonzero(np.abs(z) < 1e140), panels)
    middle = np.tile(half * np.arange(1, 2 * panels, 2), row.size // panels)
    while row.size:
        offset, velocity = z[row] - curve.point(middle), curve.velocity(middle)
        level = blur.log_prob(offset)
        np.maximum.at(best, row, level)

        # The jitter shifts the mean of the Gaussian by at most its own size.
        slope = np.abs((offset.conj() * velocity).real)
        slope += blur.jitter * (np.abs(velocity.real) + np.abs(velocity.imag))
        slope *= half / variance
        speed = np.abs(velocity) + curve.acceleration * half
        reach = np.abs(offset) + speed * half + np.sqrt(2) * blur.jitter
        bend = (speed**2 + curve.acceleration * reach) * half**2 / (2 * variance)

        # A panel 32 nats below the best one does not change the last digit, and 16
        # nodes resolve a slope of 12 nats or a bend of 6 nats. Far from the curve the
        # rounding error of the level is larger.
        rounding = 2.0**-50 * np.abs(level)
        matters = level + slope + bend > best[row] - 32 - 4 * rounding
        done = matters & (slope + 2 * bend <= 12 + rounding)
        s = middle[done] + half * nodes[:, None]
        terms = blur.log_prob(z[row[done]] - curve.point(s))
        weights = half * node_weights[:, None] * curve.weight(s)
        np.logaddexp.at(total, row[done], log_sum_exp(terms, weights))

        split = matters & ~done
        half /= 2
        row = np.repeat(row[split], 2)
        middle = (middle[split, None] + half * np.array([-1, 1])).ravel()
    return total


@cache
def _gauss_legendre(n: int) -> tuple[np.ndarray, np.ndarray]:
    return np.polynomial.legendre.leggauss(n)
