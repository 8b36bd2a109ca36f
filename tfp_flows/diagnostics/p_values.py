"""Many tests at once: how surprised to be by the smallest p-value."""

from collections.abc import Sequence

import numpy as np

__all__ = ["holm", "shown", "smallest"]


def holm(p_values: Sequence[float]) -> np.ndarray:
    """Returns p-values adjusted for their number, however they depend on each other.

    With p₍₁₎ ≤ … ≤ p₍ₘ₎ the i-th becomes max_{j ≤ i} min(1, (m - j + 1) p₍ⱼ₎): those at
    or below a level are false alarms, any of them, with at most that probability.

    Args:
      p_values: `(m,)`.

    Returns:
      Adjusted p-values, `(m,)`.

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
    """Returns the smallest p-value times their number: a p-value of all of them."""
    return float(min(1.0, len(p_values) * min(p_values)))


def shown(p_value: float) -> str:
    """Returns a p-value as text, such as "0.012", "3e-05" or "< 1e-99"."""
    if p_value < 1e-99:
        return "< 1e-99"
    return f"{p_value:.3f}" if p_value >= 0.001 else f"{p_value:.0e}"
