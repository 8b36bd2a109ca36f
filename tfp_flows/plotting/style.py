"""The look of all pictures; it is passed to each artist and never set globally."""

import textwrap
from collections.abc import Iterable, Sequence
from typing import Any, cast

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import LinearSegmentedColormap, ListedColormap
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from tfp_flows.plotting.shown import ShownAxes, ShownFigure

_LETTERS_PER_INCH, _NOTE_LINE = 14, 0.14  # of the notes below figures

AxesLike = Axes | Sequence[Any] | np.ndarray | None  # any nesting of Axes

INK = "#2b2b2b"
MUTED = "#8a8a8a"

# By Okabe and Ito (2008): distinguishable with every kind of colour vision.
BLUE, VERMILION = "#0072b2", "#d55e00"

# Ships with matplotlib and has ∘, ⋯ and subscripts, which other fonts may lack.
FONT = "DejaVu Sans"


def _shades() -> ListedColormap:
    """Returns greys, none so dark that points on it could not be seen."""
    grey = 1.0 - 0.45 * np.linspace(0.0, 1.0, 256) ** 0.7
    return ListedColormap(np.stack([grey] * 3, -1), "tfpf_shades")


def _heat() -> LinearSegmentedColormap:
    """Returns colours from white to dark violet, evenly darker, as magma."""
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
    """Returns dark blue over white to dark orange, for every kind of colour vision."""
    stops = ["#00305a", BLUE, "#8fc3e3", "#ffffff", "#f6b48f", VERMILION, "#6b2c00"]
    return LinearSegmentedColormap.from_list("tfpf_diverging", stops)


SHADES, HEAT, DIVERGING = _shades(), _heat(), _diverging()

# The colours of the corners of the base: blue to yellow across, dark to light upwards,
# which every kind of colour vision distinguishes.
_CORNERS = np.array(
    [[[0.05, 0.12, 0.45], [0.60, 0.08, 0.12]], [[0.20, 0.70, 0.95], [0.98, 0.78, 0.10]]]
)


def base_colors(z: np.ndarray) -> np.ndarray:
    """Returns a colour for each point of the base by the ranks of its coordinates.

    Args:
      z: points of the base, `(n, 1)` or `(n, 2)`.

    Returns:
      RGB colours, `(n, 3)`. Ranks spread the colours evenly for any base.
    """
    ranks = z.argsort(0).argsort(0) / max(len(z) - 1, 1)
    u = ranks[:, :1]
    v = ranks[:, 1:] if z.shape[1] == 2 else u
    low = (1 - u) * _CORNERS[0, 0] + u * _CORNERS[0, 1]
    high = (1 - u) * _CORNERS[1, 0] + u * _CORNERS[1, 1]
    if z.shape[1] == 1:  # the diagonal itself would be grey in the middle
        middle = np.array([0.25, 0.62, 0.55])
        low, high = _CORNERS[0, 0], _CORNERS[1, 1]
        return np.where(
            u < 0.5,
            low + 2 * u * (middle - low),
            middle + (2 * u - 1) * (high - middle),
        )
    return (1 - v) * low + v * high


def new_figure(width: float, height: float) -> Figure:
    """Returns a figure of this size in inches, unknown to pyplot."""
    return ShownFigure(
        (width, height), dpi=120, layout="constrained", facecolor="white"
    )


def new_axes(ax: Axes | None, width: float = 5.0, height: float = 4.0) -> Axes:
    """Returns `ax` itself, or axes on a new figure if it is None.

    Raises:
      TypeError: `ax` is not matplotlib axes.
    """
    if ax is None:
        figure = new_figure(width, height)
        return dress(figure.add_subplot(axes_class=ShownAxes), ticks=6)
    if not isinstance(ax, Axes):
        raise TypeError(f"`ax` must be matplotlib Axes. Received: {type(ax).__name__}.")
    return ax


def new_grid(
    axes: AxesLike, rows: int, columns: int, panel: float, count: int
) -> list[Axes]:
    """Returns `count` axes, row by row: the given ones, or those of a new figure.

    Args:
      axes: None, one Axes, or any nesting of at least `count` of them.
      rows, columns: the shape of the new figure; places beyond `count` stay empty.
      panel: the width of a panel in inches.
      count: the number of panels.

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
    given: list[Any] = list(np.asarray(axes, dtype=object).ravel())
    for ax in given:
        if not isinstance(ax, Axes):
            raise TypeError(
                f"`axes` must be matplotlib Axes. Received: {type(ax).__name__}."
            )
    if len(given) < count:
        raise ValueError(
            f"`axes` must be at least {count} Axes. Received: {len(given)}."
        )
    return given[:count]


def dress(ax: Axes, ticks: int = 4) -> Axes:
    """Gives `ax` light lines and few ticks, and returns it."""
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


def figure_of(ax: Axes) -> Figure:
    """Returns the figure of the axes, which may be a part of a figure."""
    return cast(Figure, ax.figure)


def title(ax: Axes, text: str, size: float = 9) -> None:
    """Writes a title above the axes."""
    ax.set_title(text, fontsize=size, color=INK, fontfamily=FONT, fontweight="normal")


def label(ax: Axes, x: str = "", y: str = "", *, size: float = 9) -> None:
    """Writes the names of both axes."""
    look: dict[str, Any] = {"fontsize": size, "color": INK, "fontfamily": FONT}
    ax.set_xlabel(x, **look)
    ax.set_ylabel(y, **look)


def note(figure: Figure, text: str, height: float = 0.4) -> None:
    """Writes below all axes, and makes the figure higher by `height` inches."""
    lines = textwrap.wrap(text, int(_LETTERS_PER_INCH * figure.get_figwidth()))
    height += _NOTE_LINE * (len(lines) - 1)
    figure.set_figheight(figure.get_figheight() + height)
    figure.supxlabel("\n".join(lines), fontsize=8, color=INK, fontfamily=FONT)


def legend(ax: Axes) -> None:
    """Draws a legend of the labelled artists inside the axes."""
    font = {"family": FONT, "size": 8}
    ax.legend(frameon=False, prop=font, labelcolor=INK, handlelength=1.4)


def label_lines(ax: Axes, labels: Iterable[tuple[float, str, str]]) -> None:
    """Writes labels at the right ends of lines, moved apart if they would overlap.

    Args:
      ax: axes with their final limits.
      labels: tuples `(y, text, color)`.
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
