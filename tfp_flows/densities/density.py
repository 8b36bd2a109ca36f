"""Density: the class of all named densities, and checks of their parameters."""

from collections.abc import Callable
from functools import cached_property
from numbers import Real
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from tfp_flows._core.checks import as_points, positive_int

_CHUNK = 4096  # points in one call, so that the work arrays of log_prob stay small


class Density:
    """A probability density that can be sampled and evaluated exactly.

    Args:
      name: the name of the density.
      parameters: the keyword arguments it was made with.
      event_size: the number of coordinates of a point.
      draw: maps a NumPy Generator and n to points, `(n, event_size)`.
      log_density: maps points `(n, event_size)`, float64, to log p, `(n,)`, in nats.
      entropy: the entropy in nats, if it has a closed form.
      quadrature: needed without `entropy`: returns points `(m, event_size)` and
        weights `(m,)`, over which the weighted mean of a function is its expectation.

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

    def sample(
        self, n: int, *, seed: int | np.random.Generator | None = None
    ) -> np.ndarray:
        """Draws independent points.

        Args:
          n: the number of points, at least 1.
          seed: an argument of `np.random.default_rng`: an int gives the same points
            every time, a Generator is drawn from, and None gives new points.

        Returns:
          A float64 array of shape `(n, event_size)`.

        Raises:
          ValueError: `n` is not a whole number ≥ 1.
        """
        return self._draw(np.random.default_rng(seed), positive_int(n, "n"))

    def log_prob(self, x: ArrayLike) -> np.ndarray:
        """Returns the log density log p(x).

        Args:
          x: finite points, array-like of shape `(..., event_size)`. All computation
            is in float64.

        Returns:
          A float64 array of shape `(...)`, in nats. It is -inf where the density is
          zero or its logarithm is beyond the range of float64.

        Raises:
          TypeError: `x` does not hold real numbers.
          ValueError: `x` has the wrong width, no rows, or NaN or infinite entries.
        """
        x = as_points(x, self.event_size, dtype=np.float64)
        rows = x.reshape(-1, self.event_size)
        log_prob = np.empty(len(rows))
        with np.errstate(over="ignore"):  # (1e200)² is inf, and its log density -inf
            for start in range(0, len(rows), _CHUNK):
                chunk = slice(start, start + _CHUNK)
                log_prob[chunk] = self._log_density(rows[chunk])
        return log_prob.reshape(x.shape[:-1])

    @cached_property
    def entropy(self) -> float:
        """The differential entropy -E[log p(x)], in nats.

        It has a closed form, or is computed by quadrature on first use, with an error
        of about 1e-5.
        """
        if self._closed_form_entropy is not None:
            return float(self._closed_form_entropy)
        if self._quadrature is None:
            raise ValueError(f"{self.name} has neither `entropy` nor `quadrature`.")
        points, weights = self._quadrature()
        return float(-weights @ self.log_prob(points) / weights.sum())


def positive(value: Any, name: str) -> float:
    """Returns `value` as a float within 1e-9..1e9.

    Outside of this range float64 cannot distinguish the points of a density.

    Raises:
      ValueError: it is not a number > 0, or out of this range.
    """
    if not isinstance(value, Real) or not float(value) > 0:
        raise ValueError(f"`{name}` must be > 0. Received: {value!r}.")
    if not 1e-9 <= float(value) <= 1e9:
        raise ValueError(f"`{name}` must be within 1e-9..1e9. Received: {value!r}.")
    return float(value)


def fraction(value: Any, name: str) -> float:
    """Returns `value` as a float strictly between 0 and 1.

    Raises:
      ValueError: it is not such a number.
    """
    if not isinstance(value, Real) or not 0 < float(value) < 1:
        raise ValueError(f"`{name}` must be > 0 and < 1. Received: {value!r}.")
    return float(value)
