"""Means with their errors, comparisons of scores, and units robust to outliers."""

import math

import numpy as np

__all__ = ["is_better", "mean_and_error", "median_and_spread", "standard_error"]

# The interquartile range of a standard normal distribution.
_NORMAL_INTERQUARTILE_RANGE = 1.349


def standard_error(values: np.ndarray) -> float:
    """Returns the standard error of a mean, √(Σᵢ (vᵢ - v̄)² / (n (n - 1))).

    Args:
      values: `(n,)` independent values, n at least 2.

    Example:
      >>> standard_error(np.array([1.0, 2.0, 3.0]))  # 1 / √3
      0.5773502691896258
    """
    return float(values.std(ddof=1, dtype=np.float64) / math.sqrt(len(values)))


def mean_and_error(values: np.ndarray) -> tuple[float, float]:
    """Returns the mean of values `(n,)` and its standard error."""
    return float(values.mean(dtype=np.float64)), standard_error(values)


def is_better(scores: np.ndarray, others: np.ndarray, errors: float) -> bool:
    """Returns whether scores are better than others by some standard errors.

    Anything is better than scores that are not all finite. The error is that of the
    mean difference, so that what makes a point easy or hard for both does not count.

    Args:
      scores, others: `(n,)`, of the same n points.
      errors: by how many standard errors of the mean difference.

    Example:
      >>> others = np.array([0.0, 5.0, 9.0])
      >>> is_better(others + [1.0, 2.0, 3.0], others, errors=2)
      True
      >>> is_better(others + [-2.0, 2.0, 3.0], others, errors=2)
      False
    """
    if not np.isfinite(others).all():
        return True
    gains = scores - others
    # Unlike `standard_error`, this is defined for a single point, too.
    error = gains.std() / math.sqrt(len(gains))
    return bool(gains.mean() > errors * error)


def median_and_spread(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns median and spread of each column, which outliers hardly move.

    The spread is the interquartile range over that of a standard normal distribution:
    the standard deviation, if the column is normal. It is 0 where at least half of the
    column is constant.

    Args:
      x: `(n, d)`.

    Returns:
      Two arrays `(d,)`.

    Example:
      >>> middle, spread = median_and_spread(np.array([[0.0], [1.0], [2.0], [1e9]]))
      >>> float(middle[0])
      1.5
    """
    low, middle, high = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    return middle, (high - low) / _NORMAL_INTERQUARTILE_RANGE
