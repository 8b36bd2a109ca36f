"""The class behind every named density, and what its makers share."""

from collections.abc import Callable
from functools import cached_property
from typing import Any

import numpy as np

from .._checks import as_points, positive_int

CHUNK = 4096  # points at a time, so that the work arrays of log_prob stay small
LATTICE_BITS = 16


class Density:
    """A probability density that can be sampled and evaluated exactly.

    Every density is written as a map from independent uniforms to a point,
    x = T(u). Pseudo-random u give the samples; a lattice of u gives the entropy
    -∫ p(x) log p(x) dx = -∫ log p(T(u)) du wherever it has no closed form.

    Args:
      name: what the density is called.
      parameters: the keyword arguments that made it.
      event_size: the number of columns of a point.
      uniforms: the number of uniforms that one point takes.
      transport: T, from `(n, uniforms)` in [0, 1) to `(n, event_size)`.
      log_density: log p, from `(n, event_size)` float64 to `(n,)` nats.
      entropy: in nats, where there is a closed form.

    Example:
      >>> from tfp_flows import densities
      >>> density = densities.two_moons(noise=0.1)
      >>> density
      two_moons(noise=0.1)
      >>> x = density.sample(5, seed=0)
      >>> x.shape, density.log_prob(x).shape
      ((5, 2), (5,))
    """

    def __init__(
        self,
        name: str,
        parameters: dict[str, Any] | None = None,
        *,
        event_size: int = 2,
        uniforms: int = 3,
        transport: Callable[[np.ndarray], np.ndarray],
        log_density: Callable[[np.ndarray], np.ndarray],
        entropy: float | None = None,
    ):
        self.name = name
        self.parameters = dict(parameters or {})
        self.event_size = event_size
        self._uniforms = uniforms
        self._transport = transport
        self._log_density = log_density
        self._closed_form_entropy = entropy

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.parameters.items())
        return f"{self.name}({arguments})"

    def sample(self, n: int, *, seed: Any = None) -> np.ndarray:
        """Draws independent points.

        Args:
          n: how many, at least 1.
          seed: whatever `np.random.default_rng` takes: an int for the same points
            every time, a Generator to draw on, None (default) for fresh points.

        Returns:
          A float64 array of shape `(n, event_size)`.

        Raises:
          ValueError: `n` is not a whole number ≥ 1.
        """
        n = positive_int(n, "n")
        rng = np.random.default_rng(seed)
        return self._transport(rng.random((n, self._uniforms)))

    def log_prob(self, x: Any) -> np.ndarray:
        """Returns the log density log p(x).

        Args:
          x: array-like of finite points, shape `(..., event_size)`; computed in
            float64.

        Returns:
          A float64 array of shape `(...)`, in nats. -inf where the density is zero
          or its logarithm lies beyond the range of float64.

        Raises:
          TypeError: `x` holds something other than real numbers.
          ValueError: `x` has the wrong width, no rows, or NaN or infinite entries.
        """
        x = as_points(x, self.event_size, dtype=np.float64)
        rows = x.reshape(-1, self.event_size)
        log_prob = np.empty(len(rows))
        with np.errstate(over="ignore"):  # (1e200)² is inf, and its log density -inf
            for start in range(0, len(rows), CHUNK):
                chunk = slice(start, start + CHUNK)
                log_prob[chunk] = self._log_density(rows[chunk])
        return log_prob.reshape(x.shape[:-1])

    @cached_property
    def entropy(self) -> float:
        """The differential entropy -E[log p(x)], in nats.

        In closed form where there is one, else by a deterministic lattice rule with
        an error of about 1e-5, computed on first use.
        """
        if self._closed_form_entropy is not None:
            return float(self._closed_form_entropy)
        u = lattice(2**LATTICE_BITS, self._uniforms)
        return float(-self.log_prob(self._transport(u)).mean())


def lattice(n: int, dimension: int) -> np.ndarray:
    """Returns points of equal weight that integrate smooth functions on a cube.

    A rank-1 lattice folded by the tent map, u ↦ 1 - |2u - 1|, so that functions need
    not be periodic for the error to fall nearly as 1/n².

    Args:
      n: the number of points, a power of two up to 2²⁰.
      dimension: of the cube, at most 6.

    Returns:
      An array of shape `(n, dimension)`, in (0, 1).

    Source: Cools, Kuo, Nuyens (2006), "Constructing embedded lattice rules for
    multivariate integration"; Hickernell (2002) for the tent map.
    """
    generator = np.array([1, 182667, 469891, 498753, 110745, 446247])[:dimension]
    steps = np.arange(n)[:, None] * generator % n
    return 1 - np.abs(2 * (steps + 0.5) / n - 1)


def normal_plane(u: np.ndarray, v: np.ndarray) -> np.ndarray:
    """Returns two standard normals for each two uniforms, as one complex number.

    Source: Box, Muller (1958), "A note on the generation of random normal deviates".
    """
    return np.sqrt(-2 * np.log1p(-u)) * unit(2 * np.pi * v)


def unit(angle: np.ndarray) -> np.ndarray:
    """Returns e^{i angle}, four times as fast as NumPy's complex exponential."""
    z = np.empty(np.shape(angle), np.complex128)
    z.real, z.imag = np.cos(angle), np.sin(angle)
    return z


def log_sum_exp(terms: np.ndarray, weights: np.ndarray | float = 1.0) -> np.ndarray:
    """Returns log Σ weights · exp(terms), summed over the first axis."""
    top = terms.max(axis=0)
    top = np.where(np.isfinite(top), top, 0.0)
    with np.errstate(divide="ignore"):
        return top + np.log((weights * np.exp(terms - top)).sum(axis=0))


def choose(u: np.ndarray, n: int) -> tuple[np.ndarray, np.ndarray]:
    """Splits a uniform into a choice among 0..n-1 and another uniform."""
    index = (u * n).astype(int)
    return index, u * n - index


def to_complex(x: np.ndarray) -> np.ndarray:
    """Returns points of the plane, shape `(n, 2)`, as complex numbers `(n,)`."""
    return x[:, 0] + 1j * x[:, 1]


def to_points(z: np.ndarray) -> np.ndarray:
    """Returns complex numbers, shape `(n,)`, as points of the plane `(n, 2)`."""
    return np.stack([z.real, z.imag], axis=-1)


def positive(value: Any, name: str) -> float:
    """Returns `value` as a float that is positive and not absurdly small or large.

    Raises:
      ValueError: it is not a number > 0, or not within 1e-9..1e9, where float64
        still tells points one noise apart.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not number > 0:
        raise ValueError(f"`{name}` must be > 0. Received: {value!r}.")
    if not 1e-9 <= number <= 1e9:
        raise ValueError(f"`{name}` must lie in 1e-9..1e9. Received: {value!r}.")
    return number


def fraction(value: Any, name: str) -> float:
    """Returns `value` as a float strictly between 0 and 1.

    Raises:
      ValueError: it is not.
    """
    try:
        number = float(value)
    except (TypeError, ValueError):
        number = np.nan
    if not 0 < number < 1:
        raise ValueError(f"`{name}` must lie in (0, 1). Received: {value!r}.")
    return number
