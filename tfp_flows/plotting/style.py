"""How every picture looks: passed to each artist, never set globally."""

from collections.abc import Iterable
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

INK = "#2b2b2b"
MUTED = "#8a8a8a"

# Okabe and Ito (2008): told apart with every kind of colour vision.
BLUE, VERMILION = "#0072b2", "#d55e00"

# Ships with matplotlib and has ∘, ⋯ and the subscripts, which the user's may lack.
FONT = "DejaVu Sans"


def _shades() -> ListedColormap:
    """Returns greys, none so dark that points on it could not be told apart."""
    grey = 1.0 - 0.45 * np.linspace(0.0, 1.0, 256) ** 0.7
    return ListedColormap(np.stack([grey] * 3, -1), "tfpf_shades")


def _heat() -> LinearSegmentedColormap:
    """Returns white to dark violet; its lightness falls evenly, as magma's."""
    stops = [
        "#ffffff",
        "#fde3bf",
        "#fcaf7c",
        "#ee6a5b",
        "#b63679",
        "#6a1c81",
        "#1d1147",
    ]
    return LinearSegmentedColormap.from_list("tfpf_heat", stops)


def _diverging() -> LinearSegmentedColormap:
    """Returns dark blue over white to dark orange, which everybody tells apart."""
    stops = ["#00305a", BLUE, "#8fc3e3", "#ffffff", "#f6b48f", VERMILION, "#6b2c00"]
    return LinearSegmentedColormap.from_list("tfpf_diverging", stops)


SHADES, HEAT, DIVERGING = _shades(), _heat(), _diverging()

# Corners of the map from a base position to a colour: blue to yellow across, dark to
# light upwards, which every kind of colour vision keeps apart.
_CORNERS = np.array(
    [[[0.05, 0.12, 0.45], [0.60, 0.08, 0.12]], [[0.20, 0.70, 0.95], [0.98, 0.78, 0.10]]]
)


def base_colors(z: np.ndarray) -> np.ndarray:
    """Returns a colour for each point of the base, by the ranks of its coordinates.

    Args:
      z: `(n, 1)` or `(n, 2)`.

    Returns:
      RGB colours, `(n, 3)`. Ranks spread the colours evenly for any base.
    """
    ranks = z.argsort(0).argsort(0) / max(len(z) - 1, 1)
    u = ranks[:, :1]
    v = ranks[:, 1:] if z.shape[1] == 2 else u
    low = (1 - u) * _CORNERS[0, 0] + u * _CORNERS[0, 1]
    high = (1 - u) * _CORNERS[1, 0] + u * _CORNERS[1, 1]
    if z.shape[1] == 1:  # along the diagonal through a middle that is not grey
        middle = np.array([0.25, 0.62, 0.55])
        low, high = _CORNERS[0, 0], _CORNERS[1, 1]
        return np.where(
            u < 0.5,
            low + 2 * u * (middle - low),
            middle + (2 * u - 1) * (high - middle),
        )
    return (1 - v) * low + v * high


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure of this size in inches that pyplot does not know about."""
    return Figure((width, height), dpi=120, layout="constrained", facecolor="white")


def new_axes(ax: Axes | None, width: float = 5.0, height: float = 4.0) -> Axes:
    """Returns `ax` as it is, or fresh axes on a figure of their own.

    Raises:
      TypeError: `ax` is not matplotlib axes.
    """
    if ax is None:
        return dress(new_figure(width, height).add_subplot(), ticks=6)
    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be matplotlib Axes. Received: {type(ax).__name__}.")
    return ax


def new_grid(
    axes: Any, rows: int, columns: int, panel: float, count: int
) -> list[Axes]:
    """Returns `count` axes, row by row: the given ones, or those of a new figure.

    Args:
      axes: None, one Axes, or any nesting of at least `count` of them.
      rows, columns: of the new figure; places beyond `count` stay empty.
      panel: width of a panel in inches.
      count: how many are drawn on.

    Raises:
      TypeError: `axes` holds something else.
      ValueError: `axes` are too few.
    """
    if axes is None:
        figure = new_figure(panel * columns, (panel + 0.3) * rows)
        cells = figure.subplots(rows, columns, squeeze=False).ravel()
        for ax in cells[count:]:
            ax.remove()
        return [dress(ax) for ax in cells[:count]]
    cells = list(np.asarray(axes, dtype=object).ravel())
    for ax in cells:
        if not isinstance(ax, Axes):
            raise TypeError(
                f"`axes` must be matplotlib Axes. Received: {type(ax).__name__}."
            )
    if len(cells) < count:
        raise ValueError(
            f"`axes` must be at least {count} Axes. Received: {len(cells)}."
        )
    return cells[:count]


def dress(ax: Axes, ticks: int = 4) -> Axes:
    """Returns `ax` with light lines and few ticks."""
    ax.set_facecolor("white")
    for side, spine in ax.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(MUTED)
        spine.set_linewidth(0.8)
    ax.tick_params(color=MUTED, labelcolor=INK, labelsize=7, length=2.5, width=0.8)
    ax.tick_params(labelfontfamily=FONT)
    for axis in (ax.xaxis, ax.yaxis):
        axis.set_major_locator(MaxNLocator(ticks, steps=[1, 2, 5, 10], min_n_ticks=2))
        axis.offsetText.set(fontsize=6, color=INK, fontfamily=FONT)
    return ax


def title(ax: Axes, text: str, size: float = 9) -> None:
    """Writes above the axes."""
    ax.set_title(text, fontsize=size, color=INK, fontfamily=FONT, fontweight="normal")


def label(ax: Axes, x: str = "", y: str = "", size: float = 9) -> None:
    """Writes along the axes."""
    look = {"fontsize": size, "color": INK, "fontfamily": FONT}
    ax.set_xlabel(x, **look)
    ax.set_ylabel(y, **look)


def legend(ax: Axes) -> None:
    """Explains the labelled artists inside the axes."""
    font = {"family": FONT, "size": 8}
    ax.legend(frameon=False, prop=font, labelcolor=INK, handlelength=1.4)


def label_lines(ax: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
    """Writes at the right end of lines, moved apart where they would overlap.

    Args:
      ax: with its final limits.
      labels: of `(y, text, color)`.
    """
    low, high = ax.get_ylim()
    inches = ax.get_window_extent().height / ax.figure.dpi
    at = -np.inf
    for y, text, color in sorted(labels):
        lines = text.count("\n") + 1
        half = 0.5 * lines * 11 / 72 / inches
        at = max(at + half, np.clip((y - low) / (high - low), 0, 1))
        ax.text(
            1.015,
            at,
            text,
            transform=ax.transAxes,
            va="center",
            fontsize=8.5,
            color=color,
            fontfamily=FONT,
        )
        at += half
