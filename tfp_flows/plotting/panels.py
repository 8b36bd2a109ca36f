"""The parts of a panel: densities as shading or curves, points, histograms, notes."""

import math
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage

from tfp_flows.plotting import style
from tfp_flows.plotting.limits import Limits, centers, finite_rows


def set_limits(ax: Axes, limits: list[Limits]) -> None:
    """Sets the limits of a 2-d panel; equal ranges are drawn to one scale."""
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    width, height = (high - low for low, high in limits)
    if np.isclose(width, height):
        ax.set_aspect("equal", adjustable="box")
    else:
        ax.set_box_aspect(1)


class MassNorm(Normalize):
    """Maps a density to the share of the mass that lies where the density is lower.

    The share is 0 where the density is 0, and 1 at the peak. Shares spread evenly
    between these for any density, so that a pole or a thin ridge does not make
    everything else pale. For a Gaussian in the plane the share is the density divided
    by its peak.
    """

    def __init__(self, density: np.ndarray) -> None:
        self._levels = np.sort(density[np.isfinite(density)])
        mass = np.cumsum(self._levels)
        self._mass = mass / mass[-1] if len(mass) and mass[-1] > 0 else mass
        super().__init__(0.0, self._levels[-1] if len(mass) else 1.0)

    def __call__(self, value: Any, clip: bool | None = None) -> Any:
        """Returns the shares, in [0, 1], with the mask of `value`."""
        value = np.ma.asarray(value)
        at = np.searchsorted(self._levels, value.filled(0.0), "right")
        shares = np.concatenate([[0.0], self._mass])[at]
        return np.ma.array(shares, mask=value.mask)


def readable_peak(density: np.ndarray) -> float:
    """Returns the density that only a twentieth of the mass exceeds.

    For a smooth density this is nearly the peak. A pole or a thin ridge does not
    change it.
    """
    values = np.sort(density[np.isfinite(density)])[::-1]
    mass = np.cumsum(values)
    if not len(mass) or not 0 < mass[-1] < np.inf:
        return 1.0
    return float(values[np.searchsorted(mass, 0.05 * mass[-1])])


def shade(
    ax: Axes,
    values: np.ndarray,
    limits: list[Limits],
    cmap: Colormap,
    norm: Normalize | None = None,
) -> AxesImage:
    """Draws a density over a plane, or other values with a `norm`; NaN stays blank."""
    return ax.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        extent=(*limits[0], *limits[1]),
        aspect="auto",
        cmap=cmap,
        norm=norm or MassNorm(values),
        interpolation="bilinear",
        interpolation_stage="rgba",  # a blank cell does not blank its neighbours
        zorder=0,
    )


def scatter(
    ax: Axes, x: np.ndarray, color: Any, size: float | None = None
) -> PathCollection:
    """Draws points `(n, 2)`, the smaller the more there are, and keeps the limits."""
    size = size or float(np.clip(5000 / max(len(x), 1), 1.0, 12.0))
    return ax.scatter(
        x[:, 0],
        x[:, 1],
        s=size,
        c=color,
        alpha=0.8,
        linewidths=0,
        rasterized=True,  # thousands of points make vector files slow
        zorder=2,
    )


def curve(
    ax: Axes,
    x: np.ndarray,
    density: np.ndarray,
    color: str = style.INK,
    fill: str | None = "#d9d9d9",
    label: str | None = None,
) -> float:
    """Draws a density over a line and returns a good upper limit for its axis."""
    ax.plot(x, density, color=color, linewidth=1.2, zorder=3, label=label)
    if fill:
        ax.fill_between(x, 0, density, color=fill, linewidth=0, zorder=1)
    peak = readable_peak(density)
    top = np.nanmax(density) if np.isfinite(density).any() else 1.0
    return 1.1 * (top if top <= 1.5 * peak else 1.5 * peak)


def rug(ax: Axes, x: np.ndarray, color: str = style.INK) -> LineCollection:
    """Draws a short line at the foot of the axes for each number, `(n,)`."""
    return ax.vlines(
        x,
        0.0,
        0.03,
        transform=ax.get_xaxis_transform(),
        color=color,
        alpha=float(np.clip(150 / max(len(x), 1), 0.05, 0.7)),  # many lines overlap
        linewidth=0.6,
        rasterized=True,
        zorder=3.5,
    )


def remark(ax: Axes, text: str) -> None:
    """Writes a small note inside the axes."""
    ax.text(
        0.5,
        0.02,
        text,
        transform=ax.transAxes,
        ha="center",
        va="bottom",
        fontsize=6.5,
        color=style.INK,
        fontfamily=style.FONT,
        bbox={"facecolor": "white", "edgecolor": "none", "alpha": 0.8, "pad": 1},
        zorder=4,
    )


def histogram(x: np.ndarray, limits: Limits) -> tuple[np.ndarray, np.ndarray]:
    """Returns the heights and edges of a histogram between limits.

    The area is the share of all points that lies between the limits.
    """
    bins = int(np.clip(2 * len(x) ** (1 / 3), 10, 80))
    counts, edges = np.histogram(x, bins, limits)
    return counts / (len(x) * np.diff(edges)), edges


def draw_plane(
    ax: Axes,
    cloud: np.ndarray,
    colors: np.ndarray | None,
    density: np.ndarray | None,
    limits: list[Limits],
) -> None:
    """Draws a stage over a plane: its density and its points, if they are given."""
    if density is not None:
        cmap = style.HEAT if colors is None else style.SHADES
        side = math.isqrt(len(density))
        shade(ax, density.reshape(side, side), limits, cmap)
    if colors is not None:
        finite = finite_rows(cloud)
        scatter(ax, cloud[finite], colors[finite])
    set_limits(ax, limits)


def draw_line(
    ax: Axes,
    cloud: np.ndarray,
    colors: np.ndarray | None,
    density: np.ndarray | None,
    limits: list[Limits],
) -> None:
    """Draws a stage over a line: its density and its points, if they are given."""
    bottom, top = 0.0, 1.0
    if density is not None:
        top = curve(ax, centers(limits[0], len(density)), density)
    if colors is not None:
        finite = finite_rows(cloud)
        bottom = -0.14 * top
        ax.scatter(
            cloud[finite, 0],
            np.full(finite.sum(), bottom / 2),
            s=60,
            marker="|",
            c=colors[finite],
            linewidths=0.6,
            alpha=0.8,
            rasterized=True,
            zorder=2,
        )
    ax.set_xlim(limits[0])
    ax.set_ylim(bottom, top)
    heights = [] if density is None else [y for y in ax.get_yticks() if 0 <= y <= top]
    ax.set_yticks(heights)
    ax.set_box_aspect(0.8)
