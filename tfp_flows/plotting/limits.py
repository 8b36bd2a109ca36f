"""Limits of axes that show most of the points, and grids between limits."""

from collections.abc import Sequence
from typing import Any

import numpy as np

__all__ = [
    "Limits",
    "as_limits",
    "centers",
    "finite_rows",
    "grid",
    "limits_of_each",
    "robust_limits",
]

Limits = tuple[float, float]

# Ranges that differ by less than this factor are drawn to one scale.
_EQUAL_WITHIN = 3.0


def finite_rows(x: np.ndarray) -> np.ndarray:
    """Returns which rows hold finite numbers only, `(n,)`."""
    return np.isfinite(x).all(-1)


def robust_limits(x: np.ndarray) -> list[Limits]:
    """Returns limits that show nearly all of the points, one pair per coordinate.

    Args:
      x: the points, `(n, d)`; rows that are not finite are ignored.

    Returns:
      The range of the middle 99%, with a margin. All ranges have the same width if
      they are of similar size.
    """
    x = np.asarray(x, np.float64)
    x = x[finite_rows(x)]
    if not len(x):
        return [(-1.0, 1.0)] * x.shape[1]
    # Interpolated quantiles would let a single outlier widen the limits.
    low = np.quantile(x, 0.005, axis=0, method="higher")
    high = np.quantile(x, 0.995, axis=0, method="lower")
    middle, half = low / 2 + high / 2, 0.58 * (high - low)
    half = np.maximum(half, 1e-3 * np.maximum(np.abs(middle), 1e-3))
    if half.max() <= _EQUAL_WITHIN * half.min():
        half = np.full_like(half, half.max())
    return [(m - h, m + h) for m, h in zip(middle.tolist(), half.tolist(), strict=True)]


def limits_of_each(clouds: Sequence[np.ndarray], share: bool) -> list[list[Limits]]:
    """Returns the robust limits of each cloud, or the same ones for all if `share`."""
    if share:
        return [robust_limits(np.concatenate(clouds))] * len(clouds)
    return [robust_limits(cloud) for cloud in clouds]


def as_limits(limits: Any, event_size: int) -> list[Limits]:
    """Returns the user's `limits` as one (low, high) per coordinate.

    Raises:
      ValueError: they are not such pairs with low < high.
    """
    try:
        pairs = np.asarray(limits, np.float64)
        pairs = np.broadcast_to(pairs, (event_size, 2))
    except (TypeError, ValueError):
        pairs = np.full((1, 2), np.nan)
    if not np.isfinite(pairs).all() or not (pairs[:, 0] < pairs[:, 1]).all():
        raise ValueError(
            "`limits` must be (low, high) with low < high, or one such pair for each "
            f"of {event_size} coordinates. Received: {limits!r}."
        )
    return [(low, high) for low, high in pairs.tolist()]


def centers(limits: Limits, count: int) -> np.ndarray:
    """Returns the centers of `count` equal cells between the limits."""
    low, high = limits
    return low + (np.arange(count) + 0.5) * (high - low) / count


def grid(limits: list[Limits], resolution: int) -> np.ndarray:
    """Returns the centers of a grid of cells between limits, `(resolution**d, d)`.

    The last coordinate changes slowest, as the rows of an image do.
    """
    x = np.meshgrid(*(centers(pair, resolution) for pair in limits))
    return np.stack(x, -1).reshape(-1, len(limits))
