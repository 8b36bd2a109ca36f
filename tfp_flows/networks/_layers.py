"""What the networks share: checks of their options, and how their layers start."""

from collections.abc import Sequence
from typing import Any

import keras

from tfp_flows._core import checks

__all__ = [
    "as_dropout",
    "as_hidden",
    "as_normalization",
    "as_width",
    "dropout_layer",
    "initializers",
    "norm_layers",
]


def as_hidden(hidden: Sequence[int]) -> tuple[int, ...]:
    """Returns `hidden` as a tuple of whole numbers ≥ 1.

    Raises:
      ValueError: it is not a sequence of such numbers.
    """
    if isinstance(hidden, (int, str)) or not hasattr(hidden, "__iter__"):
        raise ValueError(
            "`hidden` must be a sequence of layer widths, such as (64, 64). "
            f"Received: {hidden!r}."
        )
    return tuple(checks.positive_size(units, "hidden") for units in hidden)


def as_width(hidden: Sequence[int]) -> int:
    """Returns the one width of residual blocks.

    Raises:
      ValueError: `hidden` names none, or different ones.
    """
    widths = set(as_hidden(hidden))
    if len(widths) != 1:
        raise ValueError(
            "`hidden` must give all residual blocks one width, such as (64, 64) for "
            f"two blocks. Received: {tuple(hidden)}."
        )
    return widths.pop()


def as_dropout(dropout: float) -> float:
    """Returns the share of features to drop.

    Raises:
      ValueError: it is not in [0, 1).
    """
    if isinstance(dropout, bool) or not 0 <= dropout < 1:
        raise ValueError(
            f"`dropout` must be a number in [0, 1). Received: {dropout!r}."
        )
    return float(dropout)


def as_normalization(normalization: str | None) -> str | None:
    """Returns "layer" or None.

    Raises:
      ValueError: it is neither.
    """
    if normalization not in (None, "layer"):
        raise ValueError(
            f"`normalization` must be None or 'layer'. Received: {normalization!r}."
        )
    return normalization


def initializers(seed: int | None, i: int) -> dict[str, keras.initializers.Initializer]:
    """Returns the initializers of a network's dense layer number i."""
    return {
        "kernel_initializer": keras.initializers.GlorotUniform(
            None if seed is None else seed + i
        ),
        # With zero biases every kink would pass through the origin.
        "bias_initializer": keras.initializers.RandomUniform(
            -1.0, 1.0, None if seed is None else seed + 2**31 + i
        ),
    }


def norm_layers(
    normalization: str | None, count: int, dtype: Any
) -> list[keras.layers.LayerNormalization]:
    """Returns `count` layer normalizations, or none at all."""
    return [
        keras.layers.LayerNormalization(dtype=dtype)
        for _ in range(count if normalization else 0)
    ]


def dropout_layer(
    rate: float, seed: int | None, dtype: Any
) -> keras.layers.Dropout | None:
    """Returns the dropout of all of a network's layers, or None at rate 0."""
    return keras.layers.Dropout(rate, seed=seed, dtype=dtype) if rate else None
