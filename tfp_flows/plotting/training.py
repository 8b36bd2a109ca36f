"""The loss of every epoch of a fit."""

from collections.abc import Mapping, Sequence
from typing import Any

import keras
import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from tfp_flows.plotting import style

__all__ = ["plot_history"]


def plot_history(
    history: keras.callbacks.History | Mapping[str, Sequence[float]],
    *,
    entropy: float | None = None,
    ax: Axes | None = None,
) -> Axes:
    """Draws the loss of every epoch in nats, and that of the validation data.

    The limits leave out the first epochs if their loss is so high that the others
    would look flat.

    Args:
      history: the result of `fit`, or a dict with "loss" and optionally "val_loss".
      entropy: the entropy of the true density in nats, if it is known. No density has
        a lower loss on average. It is drawn dashed.
      ax: the Axes to draw on; None makes new ones.

    Returns:
      The Axes that were drawn on.

    Raises:
      TypeError: `history` is neither a History nor a dict.
      ValueError: `history` has no "loss", or no epoch; or `entropy` is not a finite
        number.

    Example:
      >>> history = {"loss": [3.0, 2.1, 1.8], "val_loss": [2.9, 2.2, 2.0]}
      >>> ax = plot_history(history, entropy=1.75)
      >>> [text.get_text() for text in ax.texts]
      ['entropy\\n1.75', 'loss\\n1.8', 'val_loss\\n2']
    """
    lines = _lines_of(history)
    if entropy is not None and not np.isfinite(entropy):
        raise ValueError(f"`entropy` must be a finite number. Received: {entropy!r}.")
    ax = style.new_axes(ax, 6.0, 3.6)
    labels = []
    for (name, values), color in zip(
        lines.items(), (style.BLUE, style.VERMILION), strict=False
    ):
        epochs = np.arange(1, len(values) + 1)
        marker = "o" if len(values) == 1 else None  # a single epoch would make no line
        ax.plot(epochs, values, color=color, linewidth=1.4, marker=marker, label=name)
        finite = values[np.isfinite(values)]
        if len(finite):
            labels.append((finite[-1], f"{name}\n{finite[-1]:.4g}", color))
    if entropy is not None:
        ax.axhline(entropy, color=style.INK, linewidth=1.0, linestyle=(0, (5, 3)))
        labels.append((float(entropy), f"entropy\n{entropy:.4g}", style.INK))
    longest = max(map(len, lines.values()))
    ax.set_xlim(1 if longest > 1 else 0.5, max(longest, 1.5))
    ax.set_ylim(_limits(lines, entropy))
    ax.xaxis.set_major_locator(MaxNLocator(6, integer=True, min_n_ticks=1))
    style.label(ax, "epoch", "mean of -log_prob (nats)")
    style.label_lines(ax, labels)
    return ax


def _lines_of(history: Any) -> dict[str, np.ndarray]:
    logs = getattr(history, "history", history)
    if not isinstance(logs, Mapping):
        raise TypeError(
            "`history` must be what `fit` returned, or a dict. "
            f"Received: {type(history).__name__}."
        )
    if "loss" not in logs or not len(logs["loss"]):
        raise ValueError(
            '`history` must hold the "loss" of at least one epoch. Received keys: '
            f"{sorted(logs)}. Remedy: fit for one epoch or more."
        )
    return {
        name: np.asarray(logs[name], np.float64)
        for name in ("loss", "val_loss")
        if name in logs and len(logs[name])
    }


def _limits(lines: dict[str, np.ndarray], entropy: float | None) -> tuple[float, float]:
    """Returns limits that show all epochs, or all but first ones of very high loss."""
    finite = [values[np.isfinite(values)] for values in lines.values()]
    finite = [values for values in finite if len(values)]
    if not finite:
        finite = [np.zeros(1)]
    lowest = min(values.min() for values in finite)
    highest = max(values.max() for values in finite)
    usual = max(np.quantile(values, 0.95, method="lower") for values in finite)
    if entropy is not None:
        lowest = min(lowest, entropy)
    if max(map(len, finite)) > 2 and highest - lowest > 4 * (usual - lowest) > 0:
        highest = usual
    highest = max(highest, lowest + 1e-6 * max(abs(lowest), 1.0))
    margin = 0.06 * (highest - lowest)
    return lowest - margin, highest + margin
