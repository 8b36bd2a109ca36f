"""Densities for benchmarks only: nothing in the package was tuned on them by name.

Each is a `tfpf.densities.Density`, with samples, exact log_prob and entropy.
"""

import math
from collections.abc import Sequence

import numpy as np

from tfp_flows import densities
from tfp_flows.densities import Density

LOG_2PI = math.log(2 * math.pi)


def crescent(bend: float = 1.0, noise: float = 0.25) -> Density:
    """A sickle: x₁ = ε₁ and x₂ = bend · x₁² + noise · ε₂, with normal ε."""

    def draw(rng, n):
        first, second = rng.standard_normal((2, n))
        return np.stack([first, bend * first**2 + noise * second], axis=-1)

    def log_density(x):
        first, second = x.T
        across = (second - bend * first**2) / noise
        return -(first**2 + across**2) / 2 - LOG_2PI - math.log(noise)

    return Density(
        "crescent",
        {"bend": bend, "noise": noise},
        draw=draw,
        log_density=log_density,
        entropy=LOG_2PI + 1 + math.log(noise),
    )


def thin_rings(
    radii: Sequence[float] = (0.6, 1.2, 1.8),
    centers: Sequence[complex] = (0, 0, 0),
    noise: float = 0.05,
) -> Density:
    """Circles of equal weight: a uniform angle, a normal radius.

    p(x) is the mean over the circles of N(r; radius, noise²)/(2πr), r = |x - center|.
    """
    circles = np.asarray(radii, float), np.asarray(centers, complex)

    def draw(rng, n):
        i = rng.integers(len(circles[0]), size=n)
        radius, center = (of[i] for of in circles)
        r = radius + noise * rng.standard_normal(n)
        return _points(center + r * np.exp(2j * np.pi * rng.random(n)))

    def log_density(x):
        radius, center = (of[:, None] for of in circles)
        r = np.maximum(np.abs(x[:, 0] + 1j * x[:, 1] - center), 1e-300)
        terms = -(((r - radius) / noise) ** 2) / 2 - np.log(r)
        log_scale = LOG_2PI * 1.5 + math.log(noise * len(radius))
        return np.logaddexp.reduce(terms) - log_scale

    def quadrature():
        nodes, weights = _normal_grid()
        turns = np.exp(2j * np.pi * np.arange(256) / 256)
        radius, center = (of[:, None, None] for of in circles)
        points = center + (radius + noise * nodes[:, None]) * turns
        weights = np.broadcast_to(weights[:, None], points.shape)
        return _points(points.ravel()), weights.ravel()

    return Density(
        "thin_rings",
        {"radii": tuple(radii), "centers": tuple(centers), "noise": noise},
        draw=draw,
        log_density=log_density,
        quadrature=quadrature,
    )


def heavy_cross(freedom: float = 3.0, width: float = 0.2) -> Density:
    """Two bars at right angles: Student's t along the bar, a normal across it."""
    log_t = (
        math.lgamma((freedom + 1) / 2)
        - math.lgamma(freedom / 2)
        - math.log(freedom * math.pi) / 2
    )

    def log_student(t):
        return log_t - (freedom + 1) / 2 * np.log1p(t**2 / freedom)

    def draw(rng, n):
        x = np.stack([rng.standard_t(freedom, n), width * rng.standard_normal(n)], -1)
        return np.where(rng.random((n, 1)) < 0.5, x, x[:, ::-1])

    def log_density(x):
        across = -((x / width) ** 2) / 2 - LOG_2PI / 2 - math.log(width)
        return np.logaddexp(*(log_student(x) + across[:, ::-1]).T) - math.log(2)

    def quadrature():  # by symmetry, one bar stands for both
        s = np.arange(-25, 25, 0.01)  # t = sinh s: its tails end where e^{-νs} does
        t, (nodes, normal) = np.sinh(s), _normal_grid()
        weights = np.outer(np.exp(log_student(t)) * np.cosh(s), normal)
        points = np.stack(np.broadcast_arrays(t[:, None], width * nodes), axis=-1)
        return points.reshape(-1, 2), weights.ravel()

    return Density(
        "heavy_cross",
        {"freedom": freedom, "width": width},
        draw=draw,
        log_density=log_density,
        quadrature=quadrature,
    )


def funnel(event_size: int = 5, spread: float = 1.5) -> Density:
    """Neal's funnel: v = spread · ε₁, and every other coordinate e^{v/2} · ε.

    Source: Neal (2003), "Slice sampling", section 8, where spread is 3.
    """

    def draw(rng, n):
        x = rng.standard_normal((n, event_size))
        x[:, 0] *= spread
        x[:, 1:] *= np.exp(x[:, :1] / 2)
        return x

    def log_density(x):
        v, rest = x[:, 0], x[:, 1:]
        squares = (v / spread) ** 2 + np.exp(-v) * (rest**2).sum(axis=1)
        log_scale = math.log(spread) + (event_size - 1) * v / 2
        return -squares / 2 - event_size * LOG_2PI / 2 - log_scale

    return Density(
        "funnel",
        {"event_size": event_size, "spread": spread},
        event_size=event_size,
        draw=draw,
        log_density=log_density,
        entropy=event_size * (LOG_2PI + 1) / 2 + math.log(spread),
    )


def twisted_mixture(
    event_size: int = 10, components: int = 6, twist: float = 1.0, seed: int = 0
) -> Density:
    """A random Gaussian mixture, sheared by two layers of waves.

    With the halves (a, b) of a mixture's point, b += twist · sin(A a), then
    a += twist · sin(B b), with random A and B. Shears keep volumes, so the entropy is
    the mixture's: H(k) + Σ w_k H_k - H(k | x), the last by Monte Carlo.
    """
    rng = np.random.default_rng(seed)
    half = event_size // 2
    log_weights = np.log(rng.dirichlet(np.full(components, 5.0)))
    centers = 2 * rng.standard_normal((components, event_size))
    factors = rng.standard_normal((components, event_size, event_size))
    factors = 0.5 * factors / math.sqrt(event_size) + 0.5 * np.eye(event_size)
    whiteners = np.linalg.inv(factors)
    log_dets = np.linalg.slogdet(factors)[1]
    waves = rng.standard_normal((event_size - half, half)) / math.sqrt(4 * half)
    first, second = waves.T, rng.permutation(waves)

    def draw_plain(rng, n):
        i = rng.choice(components, n, p=np.exp(log_weights))
        noise = rng.standard_normal((n, event_size))
        return centers[i] + np.einsum("nij,nj->ni", factors[i], noise), i

    def log_joint(z):
        whitened = np.einsum("kij,nkj->kni", whiteners, z[:, None] - centers)
        log_normal = -(whitened**2).sum(axis=-1) / 2 - event_size * LOG_2PI / 2
        return log_normal + (log_weights - log_dets)[:, None]

    def draw(rng, n):
        a, b = np.split(draw_plain(rng, n)[0], [half], axis=1)
        b = b + twist * np.sin(a @ first)
        return np.concatenate([a + twist * np.sin(b @ second), b], axis=1)

    def log_density(x):
        a, b = np.split(x, [half], axis=1)
        a = a - twist * np.sin(b @ second)
        z = np.concatenate([a, b - twist * np.sin(a @ first)], axis=1)
        return np.logaddexp.reduce(log_joint(z))

    z, i = draw_plain(np.random.default_rng(seed), 20_000)
    joint = log_joint(z)
    log_posterior = joint[i, np.arange(len(z))] - np.logaddexp.reduce(joint)
    weights = np.exp(log_weights)
    entropy = weights @ (event_size * (LOG_2PI + 1) / 2 + log_dets - log_weights)
    return Density(
        "twisted_mixture",
        {
            "event_size": event_size,
            "components": components,
            "twist": twist,
            "seed": seed,
        },
        event_size=event_size,
        draw=draw,
        log_density=log_density,
        entropy=entropy + log_posterior.mean(),
    )


TARGETS = {
    maker.__name__: maker
    for maker in (crescent, thin_rings, heavy_cross, funnel, twisted_mixture)
}


def names() -> list[str]:
    """Returns the names that `make` knows: the package's, and these."""
    return [*densities.names(), *TARGETS]


def make(name: str) -> Density:
    """Returns the density of that name, the package's or one of these."""
    return TARGETS[name]() if name in TARGETS else densities.make(name)


def _normal_grid() -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes and weights for means over a standard normal."""
    nodes = np.arange(-80, 81) / 10
    weights = np.exp(-(nodes**2) / 2)
    return nodes, weights / weights.sum()


def _points(z: np.ndarray) -> np.ndarray:
    return np.stack([z.real, z.imag], axis=-1)
