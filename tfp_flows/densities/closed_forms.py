"""Densities whose logarithm is elementary or a Bessel function."""

import numpy as np

from tfp_flows.densities.density import Density, fraction, positive
from tfp_flows.densities.plane import (
    log_sum_exp,
    normal_grid,
    normal_plane,
    normal_plane_grid,
    outer_sum,
    to_complex,
    to_points,
    unit,
)


def quadratic() -> Density:
    """A banana: a Gaussian along a parabola.

    x₂ = 4 ε₂ and x₁ = x₂²/4 + ε₁ with standard normal ε₁, ε₂, so that
    log p(x) = -(x₁ - x₂²/4)²/2 - x₂²/32 - log(8π). The entropy is
    log(2πe) + log 4, since the shear keeps volumes.

    Returns:
      A Density on the plane.

    Example:
      >>> round(quadratic().entropy, 3)
      4.224

    Source: Jang (2018), "Normalizing flows tutorial, part 2".
    """

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        noise = rng.standard_normal((n, 2))
        x2 = 4 * noise[:, 1]
        return np.stack([x2**2 / 4 + noise[:, 0], x2], axis=-1)

    def log_density(x: np.ndarray) -> np.ndarray:
        x1, x2 = x.T
        return -((x1 - x2**2 / 4) ** 2) / 2 - x2**2 / 32 - np.log(8 * np.pi)

    return Density(
        "quadratic",
        draw=draw,
        log_density=log_density,
        entropy=np.log(2 * np.pi * np.e) + np.log(4),
    )


def bimodal_1d(weight: float = 0.3, noise: float = 0.5) -> Density:
    """Two well separated Gaussians on the line.

    p(x) = weight · N(x; -2, noise²) + (1 - weight) · N(x; 2, noise²).

    Args:
      weight: the weight of the left mode, in (0, 1); default 0.3.
      noise: the standard deviation of either mode, > 0; default 0.5.

    Returns:
      A Density with `event_size=1`.

    Raises:
      ValueError: `weight` or `noise` is out of range.

    Example:
      >>> bimodal_1d().log_prob([[-2.0], [2.0]]).round(3)
      array([-1.43 , -0.582])
    """
    weight, noise = fraction(weight, "weight"), positive(noise, "noise")

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        center = np.where(rng.random(n) < weight, -2.0, 2.0)
        return (center + noise * rng.standard_normal(n))[:, None]

    def log_density(x: np.ndarray) -> np.ndarray:
        left, right = (-(((x[:, 0] - center) / noise) ** 2) / 2 for center in (-2, 2))
        mixture = np.logaddexp(left + np.log(weight), right + np.log1p(-weight))
        return mixture - np.log(2 * np.pi * noise**2) / 2

    def quadrature() -> tuple[np.ndarray, np.ndarray]:
        nodes, weights = normal_grid(0.1)
        points = outer_sum(np.array([-2.0, 2.0]), noise * nodes)
        return points[:, None], np.outer([weight, 1 - weight], weights).ravel()

    return Density(
        "bimodal_1d",
        {"weight": weight, "noise": noise},
        event_size=1,
        draw=draw,
        log_density=log_density,
        quadrature=quadrature,
    )


def eight_gaussians(noise: float = 0.5) -> Density:
    """Eight equal Gaussians, their centers on a circle.

    x = (4 e^{iπk/4} + noise · ε)/1.414 with k uniform on 0..7.

    Args:
      noise: the standard deviation before the division by 1.414, > 0; default 0.5.

    Returns:
      A Density on the plane.

    Raises:
      ValueError: `noise` is out of range.

    Example:
      >>> round(eight_gaussians().entropy, 3)
      2.832

    Source: Grathwohl et al. (2019), "FFJORD", the toy data of its code.
    """
    noise = positive(noise, "noise")
    scale = noise / 1.414
    centers = 4 * np.exp(0.25j * np.pi * np.arange(8)) / 1.414

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        return to_points(rng.choice(centers, n) + scale * normal_plane(rng, n))

    def log_density(x: np.ndarray) -> np.ndarray:
        distance = np.abs(to_complex(x) - centers[:, None]) / scale
        terms = -(distance**2) / 2
        return log_sum_exp(terms) - np.log(16 * np.pi * scale**2)

    def quadrature() -> tuple[np.ndarray, np.ndarray]:
        # By symmetry, one Gaussian is enough
        nodes, weights = normal_plane_grid(0.1)
        return to_points(centers[0] + scale * nodes), weights

    return Density(
        "eight_gaussians",
        {"noise": noise},
        draw=draw,
        log_density=log_density,
        quadrature=quadrature,
    )


def circles(factor: float = 0.5, noise: float = 0.08) -> Density:
    """Two concentric circles, blurred.

    x = 3 (r e^{iθ} + noise · ε) with r = 1 or `factor`, equally often, and θ uniform.

    Args:
      factor: the inner radius over the outer, in (0, 1); default 0.5.
      noise: the standard deviation before the scaling by 3, > 0; default 0.08.

    Returns:
      A Density on the plane.

    Raises:
      ValueError: `factor` or `noise` is out of range.

    Example:
      >>> round(circles().entropy, 3)
      3.268

    Source: Grathwohl et al. (2019), "FFJORD", the toy data of its code, after
    `sklearn.datasets.make_circles`.
    """
    factor, noise = fraction(factor, "factor"), positive(noise, "noise")
    parameters = {"factor": factor, "noise": noise}
    return _blurred_circles("circles", parameters, [3.0, 3 * factor], 3 * noise)


def rings(noise: float = 0.08) -> Density:
    """Four concentric circles of equal weight, blurred.

    x = r e^{iθ} + noise · ε with r uniform on {0.75, 1.5, 2.25, 3} and θ uniform.

    Args:
      noise: the standard deviation, > 0; default 0.08.

    Returns:
      A Density on the plane.

    Raises:
      ValueError: `noise` is out of range.

    Example:
      >>> round(rings().entropy, 3)
      2.623

    Source: Grathwohl et al. (2019), "FFJORD", the toy data of its code.
    """
    noise = positive(noise, "noise")
    return _blurred_circles("rings", {"noise": noise}, [0.75, 1.5, 2.25, 3.0], noise)


def _blurred_circles(
    name: str, parameters: dict[str, float], radii: list[float], noise: float
) -> Density:
    """Returns the density of circles around the origin plus Gaussian noise.

    The integral over the angle is a Bessel function. For one circle of radius r,
    p(x) = exp(-(|x|² + r²)/2σ²) I₀(r|x|/σ²)/(2πσ²), with σ the noise.
    """
    all_radii = np.asarray(radii)

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        circle = rng.choice(all_radii, n) * unit(rng.uniform(0, 2 * np.pi, n))
        return to_points(circle + noise * normal_plane(rng, n))

    def log_density(x: np.ndarray) -> np.ndarray:
        from scipy.special import i0e  # importing it takes 0.2 s

        distance, radius = np.hypot(*x.T), all_radii[:, None]
        terms = -(((distance - radius) / noise) ** 2) / 2
        terms += np.log(i0e(distance / noise * (radius / noise)))
        return log_sum_exp(terms) - np.log(2 * np.pi * noise**2 * len(radii))

    def quadrature() -> tuple[np.ndarray, np.ndarray]:
        # By symmetry, one angle is enough
        nodes, weights = normal_plane_grid(0.1)
        points = outer_sum(all_radii, noise * nodes)
        return to_points(points), np.tile(weights, len(radii))

    return Density(
        name, parameters, draw=draw, log_density=log_density, quadrature=quadrature
    )


def checkerboard() -> Density:
    """Eight squares of a board, in the pattern of chess.

    Uniform on the squares of side 2 in [-4, 4)² with ⌊x₁/2⌋ + ⌊x₂/2⌋ even, zero
    elsewhere: log p(x) is -log 32 or -inf.

    Returns:
      A Density on the plane.

    Example:
      >>> checkerboard().log_prob([[1.0, 1.0], [3.0, 1.0]]).round(3)
      array([-3.466,   -inf])

    Source: Grathwohl et al. (2019), "FFJORD", the toy data of its code.
    """

    def draw(rng: np.random.Generator, n: int) -> np.ndarray:
        column = rng.integers(-2, 2, n)
        row = 2 * rng.integers(-1, 1, n) + column % 2
        return 2 * (np.stack([column, row], axis=-1) + rng.random((n, 2)))

    def log_density(x: np.ndarray) -> np.ndarray:
        square = np.floor(x / 2)
        inside = ((-2 <= square) & (square < 2)).all(axis=1)
        return np.where(inside & (square.sum(axis=1) % 2 == 0), -np.log(32), -np.inf)

    return Density(
        "checkerboard",
        draw=draw,
        log_density=log_density,
        entropy=np.log(32),
    )
