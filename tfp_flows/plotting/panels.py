"""The parts of a picture: limits, exact densities as shading or curve, points."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.collections import LineCollection, PathCollection
from matplotlib.colors import Colormap, Normalize
from matplotlib.image import AxesImage

from tfp_flows.plotting import style

Limits = tuple[float, float]

# Axes whose ranges differ less than this are drawn to one scale.
_EQUAL_WITHIN = 3.0


def finite_rows(x: np.ndarray) -> np.ndarray:
    """Returns which rows hold finite numbers only, `(n,)`."""
    return np.isfinite(x).all(-1)


def robust_limits(x: np.ndarray) -> list[Limits]:
    """Returns limits that show nearly all of the points, one pair a coordinate.

    Args:
      x: `(n, d)`; rows that are not finite are left out.

    Returns:
      The range of the middle 99%, with a margin; of the same width for both
      coordinates where these are of similar size.
    """
    x = np.asarray(x, np.float64)
    x = x[finite_rows(x)]
    if not len(x):
        return [(-1.0, 1.0)] * x.shape[1]
    # A quantile between two samples must not borrow from the outlier.
    low = np.quantile(x, 0.005, axis=0, method="higher")
    high = np.quantile(x, 0.995, axis=0, method="lower")
    middle, half = low / 2 + high / 2, 0.58 * (high - low)
    half = np.maximum(half, 1e-3 * np.maximum(np.abs(middle), 1e-3))
    if half.max() <= _EQUAL_WITHIN * half.min():
        half = np.full_like(half, half.max())
    return [(m - h, m + h) for m, h in zip(middle.tolist(), half.tolist(), strict=True)]


def limits_of_each(clouds: Sequence[np.ndarray], share: bool) -> list[list[Limits]]:
    """Returns the robust limits of each cloud, or of all together for each."""
    if share:
        return [robust_limits(np.concatenate(clouds))] * len(clouds)
    return [robust_limits(cloud) for cloud in clouds]


def as_limits(limits: Any, event_size: int) -> list[Limits]:
    """Returns the user's `limits` as one (low, high) for each coordinate.

    Raises:
      ValueError: they are not.
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


def set_limits(ax: Axes, limits: list[Limits]) -> None:
    """Sets the limits of a 2-d panel, to one scale where both ranges are equal."""
    ax.set_xlim(limits[0])
    ax.set_ylim(limits[1])
    spans = [high - low for low, high in limits]
    if np.isclose(*spans):
        ax.set_aspect("equal", adjustable="box")
    else:
        ax.set_box_aspect(1)


def centers(limits: Limits, count: int) -> np.ndarray:
    """Returns the middles of `count` equal cells between the limits."""
    low, high = limits
    return low + (np.arange(count) + 0.5) * (high - low) / count


class MassNorm(Normalize):
    """Turns a density into the share of the mass that lies where it is lower.

    0 at no density, 1 at the peak, and even in between for any density: a pole or a
    thin ridge does not fade everything else. For a Gaussian in the plane this is the
    density divided by its peak.
    """

    def __init__(self, density: np.ndarray) -> None:
        self._levels = np.sort(density[np.isfinite(density)])
        mass = np.cumsum(self._levels)
        self._mass = mass / mass[-1] if len(mass) and mass[-1] > 0 else mass
        super().__init__(0.0, self._levels[-1] if len(mass) else 1.0)

    def __call__(self, value: Any, clip: bool | None = None) -> np.ma.MaskedArray:
        """Returns the shares, in [0, 1], masked where `value` is."""
        value = np.ma.asarray(value)
        at = np.searchsorted(self._levels, value.filled(0.0), "right")
        shares = np.concatenate([[0.0], self._mass])[at]
        return np.ma.array(shares, mask=value.mask)


def readable_peak(density: np.ndarray) -> float:
    """Returns the density above which lies only a twentieth of the mass.

    Where a density is smooth this is nearly its peak; a pole or a thin ridge must not
    fade everything else.
    """
    values = np.sort(density[np.isfinite(density)])[::-1]
    mass = np.cumsum(values)
    if not len(mass) or not 0 < mass[-1] < np.inf:
        return 1.0
    return float(values[np.searchsorted(mass, 0.05 * mass[-1])])


def grid(limits: list[Limits], resolution: int) -> np.ndarray:
    """Returns the middles of cells between limits, `(resolution**d, d)`.

    The last coordinate changes slowest, as rows of an image do.
    """
    x = np.meshgrid(*(centers(pair, resolution) for pair in limits))
    return np.stack(x, -1).reshape(-1, len(limits))


def shade(
    ax: Axes,
    values: np.ndarray,
    limits: list[Limits],
    cmap: Colormap,
    norm: Normalize | None = None,
) -> AxesImage:
    """Draws a density, or with a `norm` other values, over a plane; NaN stays blank."""
    return ax.imshow(
        np.ma.masked_invalid(values),
        origin="lower",
        extent=(*limits[0], *limits[1]),
        aspect="auto",
        cmap=cmap,
        norm=norm or MassNorm(values),
        interpolation="bilinear",
        interpolation_stage="rgba",  # a blank cell must not eat its neighbours
        zorder=0,
    )


def scatter(
    ax: Axes, x: np.ndarray, color: Any, size: float | None = None
) -> PathCollection:
    """Draws points `(n, 2)`: smaller the more there are. Leaves the limits alone."""
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
    """Draws a density over a line and returns the height that shows it well."""
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
        alpha=float(np.clip(150 / max(len(x), 1), 0.05, 0.7)),  # many run together
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
