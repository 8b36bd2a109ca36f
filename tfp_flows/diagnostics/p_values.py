"""P-values of many tests at once, adjusted for their number."""

from collections.abc import Sequence

import numpy as np

__all__ = ["holm", "shown", "smallest"]


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Returns p-values adjusted for their number by Holm's method.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎ the i-th becomes max_{j ≤ i} min(1, (m - j + 1) p₍ⱼ₎). The
    chance that any true hypothesis has an adjusted p-value at or below a level is at
    most that level, however the tests depend on each other.

    Args:
      p_values: the p-values of m tests, `(m,)`.

    Returns:
      The adjusted p-values, `(m,)`.

    Example:
      >>> holm([0.01, 0.04, 0.03]).round(3)
      array([0.03, 0.06, 0.06])

    Source: Holm (1979), "A simple sequentially rejective multiple test procedure".
    """
    p = np.asarray(p_values, np.float64)
    order = np.argsort(p)
    steps = np.maximum.accumulate(p[order] * np.arange(len(p), 0, -1))
    adjusted = np.empty_like(p)
    adjusted[order] = np.minimum(steps, 1.0)
    return adjusted


def smallest(*p_values: float) -> float:
    """Returns the smallest p-value times their number, a p-value for all together."""
    return float(min(1.0, len(p_values) * min(p_values)))


def shown(p_value: float) -> str:
    """Returns a p-value as text, such as "0.012", "3e-05" or "< 1e-99"."""
    if p_value < 1e-99:
        return "< 1e-99"
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.0e}"
