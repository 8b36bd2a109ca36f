"""The class behind every named density, and what its makers share."""

from collections.abc import Callable
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np

from tfp_flows._core.checks import as_points, positive_int

CHUNK = 4096  # points at a time, so that the work arrays of log_prob stay small


class Density:
    """A probability density that can be sampled and evaluated exactly.

    Args:
      name: what the density is called.
      parameters: the keyword arguments that made it.
      event_size: the number of columns of a point.
      draw: from a NumPy Generator and n to points, `(n, event_size)`.
      log_density: from points, `(n, event_size)` float64, to log p, `(n,)` nats.
      entropy: in nats, where there is a closed form.
      quadrature: else, returns points `(m, event_size)` and weights `(m,)` whose
        weighted mean of a function is its mean over the density.

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
        draw: Callable[[np.random.Generator, int], np.ndarray],
        log_density: Callable[[np.ndarray], np.ndarray],
        entropy: float | None = None,
        quadrature: Callable[[], tuple[np.ndarray, np.ndarray]] | None = None,
    ):
        self.name = name
        self.parameters = dict(parameters or {})
        self.event_size = event_size
        self._draw = draw
        self._log_density = log_density
        self._closed_form_entropy = entropy
        self._quadrature = quadrature

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
        return self._draw(np.random.default_rng(seed), positive_int(n, "n"))

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

        In closed form where there is one, else by quadrature on first use, with an
        error of about 1e-5.
        """
        if self._closed_form_entropy is not None:
            return float(self._closed_form_entropy)
        points, weights = self._quadrature()
        return float(-weights @ self.log_prob(points) / weights.sum())


def normal_grid(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns nodes and weights for means over a standard normal.

    The trapezoidal rule, which converges faster than any power of the step on smooth
    integrands that vanish at both ends.
    """
    reach = np.ceil(7 / step)
    nodes = step * np.arange(-reach, reach + 1)
    weights = np.exp(-(nodes**2) / 2)
    return nodes, weights / weights.sum()


def normal_plane_grid(step: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the same for two independent normals, as complex nodes."""
    nodes, weights = normal_grid(step)
    return outer_sum(nodes, 1j * nodes), np.outer(weights, weights).ravel()


def outer_sum(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns every sum of an entry of a and an entry of b, in one row."""
    return np.add.outer(a, b).ravel()


def normal_plane(rng: np.random.Generator, n: int) -> np.ndarray:
    """Returns n pairs of independent standard normals, as complex numbers."""
    return to_complex(rng.standard_normal((n, 2)))


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


def to_complex(x: np.ndarray) -> np.ndarray:
    """Returns points of the plane, shape `(n, 2)`, as complex numbers `(n,)`."""
    return x[:, 0] + 1j * x[:, 1]


def to_points(z: np.ndarray) -> np.ndarray:
    """Returns complex numbers, shape `(n,)`, as points of the plane `(n, 2)`."""
    return np.stack([z.real, z.imag], axis=-1)


def positive(value: Any, name: str) -> float:
    """Returns `value` as a float within 1e-9..1e9.

    Beyond, float64 no longer tells points of a density apart.

    Raises:
      ValueError: it is not a number, not > 0, or out of that range.
    """
    if not isinstance(value, Real) or not value > 0:
        raise ValueError(f"`{name}` must be > 0. Received: {value!r}.")
    if not 1e-9 <= value <= 1e9:
        raise ValueError(f"`{name}` must be within 1e-9..1e9. Received: {value!r}.")
    return float(value)


def fraction(value: Any, name: str) -> float:
    """Returns `value` as a float strictly between 0 and 1.

    Raises:
      ValueError: it is not such a number.
    """
    if not isinstance(value, Real) or not 0 < value < 1:
        raise ValueError(f"`{name}` must be > 0 and < 1. Received: {value!r}.")
    return float(value)
