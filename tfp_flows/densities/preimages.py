"""The pinwheel: a density whose log_prob is a sum over several preimages."""

from collections.abc import Callable

import numpy as np

from tfp_flows.densities.density import Density
from tfp_flows.densities.plane import (
    log_sum_exp,
    normal_plane,
    normal_plane_grid,
    to_complex,
    to_points,
    unit,
)

ARMS, RATE = 5, 0.25
RADIAL, TANGENTIAL = 0.3, 0.1
STEP = 2 * np.pi / ARMS
FAR = 10.0  # beyond, there are hundreds of preimages and p is below e^-450


def pinwheel() -> Density:
    """Five arms, each a Gaussian wound around the origin.

    x = 2 f e^{-i(2πk/5 + a(r))} with the feature f = r + it, r ~ N(1, 0.3²),
    t ~ N(0, 0.1²), the winding a(r) = e^r/4, and k uniform on 0..4.

    The winding depends on r, not on |f|, so that this function is neither volume
    preserving nor injective: dx = 4 |1 + t a(r)| df, and p(x) is the sum of
    N(r) N(t)/(20 |1 + t a(r)|) over the features f of all arms that give x, which are
    found with full accuracy. At 1 + t a(r) = 0 the function folds, and the density is
    infinite on a curve; fewer than 1 in 10⁷ samples come close to it. From |x| = 20 on,
    where p < e^-450, there are too many such features, and p is its mean over the
    circle through x.

    Returns:
      A Density on the plane.

    Example:
      >>> round(pinwheel().entropy, 3)
      2.318

    Source: Johnson et al. (2016), "Composing graphical models with neural networks",
    as in the toy data of Grathwohl et al. (2019), "FFJORD".
    """

    def wind(noise: np.ndarray, arm: np.ndarray | int) -> np.ndarray:
        feature = 1 + RADIAL * noise.real + 1j * TANGENTIAL * noise.imag
        angle = STEP * arm + RATE * np.exp(feature.real)
        return to_points(2 * feature * unit(-angle))

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return wind(normal_plane(rng, n), rng.integers(ARMS, size=n))

    def quadrature() -> tuple[np.ndarray, np.ndarray]:  # by symmetry, one arm is enough
        nodes, weights = normal_plane_grid(0.2)
        return wind(nodes, 0), weights

    def log_density(x: np.ndarray) -> np.ndarray:
        z = to_complex(x) / 2
        radius, angle = np.abs(z), np.angle(z)
        near = radius < FAR
        log_prob = np.empty(len(x))
        log_prob[near] = _sum_over_preimages(radius[near], angle[near])
        log_prob[~near] = _circle_mean(radius[~near])
        return log_prob

    return Density(
        "pinwheel", draw=draw, log_density=log_density, quadrature=quadrature
    )


def _sum_over_preimages(radius: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Returns log p of points 2 · radius · e^{i angle}.

    A feature |f| e^{iψ} of arm k gives a point at the angle ψ - a(|f| cos ψ) - 2πk/5.
    The features of all arms together are thus the solutions ψ, within one turn, of
    _turned(ψ) = angle + 2πj/5 for all integers j.
    """
    log_prob = np.full(radius.shape, -np.inf)
    left, right = _folds(radius)
    window = _window(radius)
    edges = np.clip([-window, left, right, window], -window, window)
    for start, end in ((0, 1), (2, 1), (2, 3)):  # `_turned` rises on each
        low, high = edges[start], edges[end]
        first = np.ceil((_turned(low, radius) - angle) / STEP).astype(int)
        last = np.ceil((_turned(high, radius) - angle) / STEP).astype(int)
        count = last - first
        row = np.repeat(np.arange(radius.size), count)
        j = np.arange(row.size) - np.repeat(np.cumsum(count) - count - first, count)
        rho = radius[row]
        psi = _unturned(angle[row] + STEP * j, rho, low[row], high[row])
        terms = _log_feature(rho * np.cos(psi), rho * np.sin(psi))
        with np.errstate(divide="ignore"):  # the density is infinite on a fold
            terms -= np.log(4 * ARMS * np.abs(_turned_slope(psi, rho)))
        np.logaddexp.at(log_prob, row, terms)
    return log_prob


def _turned(psi: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return psi - RATE * np.exp(radius * np.cos(psi))


def _turned_slope(psi: np.ndarray, radius: np.ndarray) -> np.ndarray:
    return 1 + RATE * radius * np.sin(psi) * np.exp(radius * np.cos(psi))


def _unturned(
    turned: np.ndarray, radius: np.ndarray, low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    return _bisect(lambda psi: _turned(psi, radius) - turned, low, high)


def _log_feature(r: np.ndarray, t: np.ndarray) -> np.ndarray:
    square = ((r - 1) / RADIAL) ** 2 + (t / TANGENTIAL) ** 2
    return -square / 2 - np.log(2 * np.pi * RADIAL * TANGENTIAL)


def _folds(radius: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the two ψ between which `_turned` falls; they are equal if it never does.

    Its slope is smallest where cos ψ = |f| sin² ψ with -π/2 < ψ < 0.
    """
    steepest = -np.arccos(2 * radius / (1 + np.sqrt(1 + 4 * radius**2)))
    falls = _turned_slope(steepest, radius) < 0
    rho, bottom = radius[falls], steepest[falls]
    left, right = steepest.copy(), steepest.copy()
    left[falls] = _bisect(
        lambda psi: -_turned_slope(psi, rho), np.full_like(rho, -np.pi), bottom
    )
    right[falls] = _bisect(
        lambda psi: _turned_slope(psi, rho), bottom, np.zeros_like(rho)
    )
    return left, right


def _window(radius: np.ndarray) -> np.ndarray:
    """Returns the |ψ| beyond which preimages have no weight.

    It is π at small radii. At larger ones, log N(r) N(t) is there 40 below its value at
    ψ = 0, which is a quadratic equation in q = 1 - cos ψ.
    """
    rho = np.maximum(radius, 5)
    square = rho**2 * (1 / RADIAL**2 - 1 / TANGENTIAL**2) / 2
    linear = rho**2 / TANGENTIAL**2 - rho * (rho - 1) / RADIAL**2
    q = 80 / (linear + np.sqrt(linear**2 + 160 * square))
    return np.where(radius > 5, 2 * np.arcsin(np.sqrt(q / 2)), np.pi)


def _bisect(
    function: Callable[[np.ndarray], np.ndarray], low: np.ndarray, high: np.ndarray
) -> np.ndarray:
    """Returns the zero of a function that is negative at low and positive at high."""
    low, high = low.copy(), high.copy()
    for _ in range(52):
        middle = (low + high) / 2
        below = function(middle) < 0
        low, high = np.where(below, middle, low), np.where(below, high, middle)
    return (low + high) / 2


def _circle_mean(radius: np.ndarray) -> np.ndarray:
    """Returns the log of the mean of p over circles, (1/8π) ∮ N(r) N(t) dψ.

    Only the half with r > 0 has weight. There dψ = dt/r, and the integrand is nearly
    Gaussian in t, which suits Gauss-Hermite quadrature.
    """
    nodes, weights = (column[:, None] for column in np.polynomial.hermite.hermgauss(24))
    width = np.sqrt(2 / (1 / TANGENTIAL**2 - (1 - 1 / radius) / RADIAL**2))
    t = width * nodes
    r = np.sqrt((radius - t) * (radius + t))
    terms = _log_feature(r, t) + nodes**2
    return log_sum_exp(terms, weights * width / (8 * np.pi * r))
