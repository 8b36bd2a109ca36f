"""Many coordinates of data and samples: in pairs, and each by itself."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows._core.statistics import median_and_spread
from tfp_flows.plotting import arguments, drawables, panels, style
from tfp_flows.plotting.limits import Limits, finite_rows, robust_limits

__all__ = ["plot_marginals", "plot_pairs"]

_LONGEST_NAME = 20
_MOST_PAIRED = 6  # coordinates in `plot_pairs`
_MOST_HISTOGRAMS = 12  # coordinates with a histogram each; more get bands
_MOST_BANDS = 128
_BANDS_PER_ROW = 32

_QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

# Colours of the middle nine tenths and of the middle half.
_GREYS, _BLUES = ("#c9c9c9", "#7d7d7d"), ("#a9d0ea", style.BLUE)


def plot_pairs(
    flow: Any,
    data: ArrayLike | None = None,
    *,
    names: str | Sequence[str] | None = None,
    coordinates: int | Sequence[int] | None = None,
    n: int = 2000,
    seed: int = 0,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws each pair of coordinates: data below the diagonal, samples above it.

    If the flow fits, two panels that are mirror images of each other in the diagonal
    look mirrored. The diagonal has histograms of unit area: grey for data, a blue line
    for samples. Without data, samples are drawn below the diagonal only.

    Args:
      flow: a Flow; a tfd.Distribution, such as `flow.given(context)` of a
        conditional one; or anything with `sample(n, seed=)` and `event_size`.
      data: the data, `(m, event_size)`. At most `n` points are drawn; the histograms
        count all.
      names: the names of all coordinates; None takes a DataFrame's columns.
      coordinates: at most six coordinates, whose pairs are drawn; None takes the
        first ones.
      n: the number of samples.
      seed: the seed of the samples.
      axes: k × k Axes for k coordinates; None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` cannot be sampled, or the data are not numbers.
      ValueError: the data have another width, coordinates do not exist, or there is
        not one name for each coordinate.

    Example:
      >>> import tensorflow_probability as tfp
      >>> normal = tfp.distributions.MultivariateNormalDiag([0.0, 1.0, 2.0])
      >>> figure = plot_pairs(normal, normal.sample(50, seed=1), n=100)
      >>> len(figure.axes), figure.axes[3].get_ylabel()
      (9, 'coordinate 1')
    """
    event_size, sample = drawables.as_sampler(flow)
    labels = _labels(data, names, event_size)
    picked = arguments.choose(coordinates, event_size, _MOST_PAIRED)
    samples, points = _clouds(flow, event_size, sample, data, n, seed)
    samples = samples[:, picked]
    points = None if points is None else points[:, picked]
    limits = robust_limits(samples if points is None else points)
    k = len(picked)
    panel = max(1.7, 4.0 / k)
    cells = np.array(style.new_grid(axes, k, k, panel, k * k), object).reshape(k, k)
    below, above = (samples, None) if points is None else (points, samples)
    for i in range(k):
        for j in range(k):
            ax, pair = cells[i, j], [j, i]
            if i == j:
                _draw_histograms(ax, samples[:, i], points, i, limits[i])
            elif (cloud := below if i > j else above) is not None:
                color = style.INK if cloud is points else style.BLUE
                panels.scatter(ax, cloud[:n, pair], color, 3.0)
                ax.set_xlim(limits[j])
                ax.set_ylim(limits[i])
            elif axes is None:
                ax.remove()
            ax.set_box_aspect(1)
            is_left, is_foot = j == 0, i == k - 1
            ax.tick_params(labelleft=is_left and i > 0, labelbottom=is_foot)
            style.label(
                ax,
                labels[picked[j]] if is_foot else "",
                labels[picked[i]] if is_left else "",
                size=8,
            )
    if axes is None:
        figure = cells[0, 0].figure
        figure.set_figheight(panel * k + 0.2)
        texts = _counts(samples, points)
        if points is not None and k > 1:
            some = f", {n:,} of them drawn" if n < len(points) else ""
            texts = [f"{texts[0]} below the diagonal{some}", f"{texts[1]} above it"]
        _explain(figure, "\n".join(texts), k, event_size)
    return cells[0, 0].figure


def plot_marginals(
    flow: Any,
    data: ArrayLike | None = None,
    *,
    names: str | Sequence[str] | None = None,
    coordinates: int | Sequence[int] | None = None,
    n: int = 5000,
    seed: int = 0,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws the marginal of every coordinate, of the data and of samples.

    Up to 12 coordinates get a histogram each, grey for data and a blue line for
    samples, above a band for each: light in the middle nine tenths, dark in the middle
    half, and white at the median.

    More coordinates get two upright bands each, data left and samples right, in one
    scale: the distance from the data's median in spreads of the data. The spread is
    the distance between the quartiles divided by 1.349, which for a normal
    distribution is the standard deviation.

    Args:
      flow, data, names, seed: as for `plot_pairs`.
      coordinates: at most 128 coordinates; None takes the first ones.
      n: the number of samples.
      axes: one Axes for each of up to 12 coordinates, or else one for each 32 of them;
        None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError, ValueError: as `plot_pairs`.

    Example:
      >>> import tensorflow_probability as tfp
      >>> normal = tfp.distributions.MultivariateNormalDiag([0.0] * 64)
      >>> figure = plot_marginals(normal, normal.sample(50, seed=1), n=100)
      >>> len(figure.axes)  # 32 coordinates in each
      2
    """
    event_size, sample = drawables.as_sampler(flow)
    named = _names(data, names, event_size)
    picked = arguments.choose(coordinates, event_size, _MOST_BANDS)
    samples, points = _clouds(flow, event_size, sample, data, n, seed)
    samples = samples[:, picked]
    points = None if points is None else points[:, picked]
    count = len(picked)
    if count <= _MOST_HISTOGRAMS:
        labels = named or _labels(data, names, event_size)
        columns = min(count, 4)
        rows, panel = math.ceil(count / columns), max(2.2, 4.0 / columns)
        cells = style.new_grid(axes, rows, columns, panel, count)
        limits = robust_limits(samples if points is None else points)
        for i, ax in enumerate(cells):
            top = _draw_histograms(ax, samples[:, i], points, i, limits[i])
            _draw_lying_bands(ax, samples[:, i], points, i, top)
            ax.set_box_aspect(0.8)
            style.label(ax, labels[picked[i]], size=8)
    else:
        labels = named or [str(i) for i in range(event_size)]
        rows = math.ceil(count / _BANDS_PER_ROW)
        cells = _band_rows(axes, rows)
        _draw_standing_bands(cells, samples, points, [labels[i] for i in picked])
    if axes is None:
        figure = style.figure_of(cells[0])
        if count <= _MOST_HISTOGRAMS:
            figure.set_figheight((0.9 * panel + 0.45) * rows)
        _explain(figure, ", ".join(_counts(samples, points)), count, event_size)
    return style.figure_of(cells[0])


def _labels(data: ArrayLike | None, names: Any, event_size: int) -> list[str]:
    named = _names(data, names, event_size)
    return named or [f"coordinate {i}" for i in range(event_size)]


def _names(data: ArrayLike | None, names: Any, event_size: int) -> list[str] | None:
    """Returns the user's names of the coordinates, shortened, or None."""
    names = arguments.coordinate_names(data, names, event_size)
    return names and [
        name if len(name) <= _LONGEST_NAME else f"{name[: _LONGEST_NAME - 1]}…"
        for name in names
    ]


def _clouds(
    flow: Any, event_size: int, sample: Any, data: ArrayLike | None, n: int, seed: int
) -> tuple[np.ndarray, np.ndarray | None]:
    """Returns the finite samples, and the data in random order if there are any."""
    n = checks.positive_int(n, "n")
    points = None
    if data is not None:
        points = np.asarray(arguments.as_data(data, flow, event_size), np.float64)
        # The table may be sorted, and only its first rows are drawn.
        points = np.random.default_rng(seed).permutation(points)
    samples = np.asarray(sample(n, seed=seed), np.float64).reshape(n, event_size)
    samples = samples[finite_rows(samples)]
    if not len(samples):
        raise ValueError(
            f"`flow` must have finite samples. Received none among {n:,}. Remedy: "
            "plot_stages(flow) shows at which stage they are lost."
        )
    return samples, points


def _draw_histograms(
    ax: Axes,
    samples: np.ndarray,
    points: np.ndarray | None,
    i: int,
    limits: Limits,
) -> float:
    """Draws both histograms of one coordinate and returns the top of the axes."""
    tops = []
    if points is not None:
        heights, edges = panels.histogram(points[:, i], limits)
        ax.stairs(heights, edges, fill=True, color=_GREYS[0], label="data", zorder=1)
        tops.append(heights.max())
    heights, edges = panels.histogram(samples, limits)
    ax.stairs(
        heights, edges, color=style.BLUE, linewidth=1.2, label="samples", zorder=2
    )
    tops.append(heights.max())
    top = 1.1 * max(tops) or 1.0
    ax.set_xlim(limits)
    ax.set_ylim(0.0, top)
    ax.set_yticks([])
    return top


def _draw_lying_bands(
    ax: Axes, samples: np.ndarray, points: np.ndarray | None, i: int, top: float
) -> None:
    """Draws bands of quantiles below the histograms."""
    bands = [(samples, _BLUES)]
    if points is not None:
        bands.insert(0, (points[:, i], _GREYS))
    for row, (values, colors) in enumerate(bands):
        q = np.quantile(values, _QUANTILES)
        height, at = 0.07 * top, -0.1 * top * (row + 1)
        ax.barh(at, q[4] - q[0], height, q[0], color=colors[0], zorder=2)
        ax.barh(at, q[3] - q[1], height, q[1], color=colors[1], zorder=2)
        ax.plot([q[2]] * 2, [at - height / 2, at + height / 2], color="white", zorder=3)
    ax.set_ylim(-0.1 * top * (len(bands) + 0.6), top)


def _band_rows(axes: Any, rows: int) -> list[Axes]:
    if axes is not None:
        return style.new_grid(axes, rows, 1, 0.0, rows)
    figure = style.new_figure(9.0, 2.1 * rows + 0.4)
    return [style.dress(ax) for ax in figure.subplots(rows, 1, squeeze=False).ravel()]


def _draw_standing_bands(
    cells: list[Axes], samples: np.ndarray, points: np.ndarray | None, labels: list[str]
) -> None:
    bands = [(samples, _BLUES, "samples")]
    if points is not None:
        bands.insert(0, (points, _GREYS, "data"))
    middle, unit = _units(bands[0][0])
    all_quantiles = [
        (np.quantile(values, _QUANTILES, axis=0) - middle) / unit
        for values, *_ in bands
    ]
    low, high = all_quantiles[0].min(), all_quantiles[0].max()
    margin = 0.35 * (high - low)  # distant samples do not make the data small
    low = max(min(low, all_quantiles[-1].min()), low - margin) - 0.1
    high = min(max(high, all_quantiles[-1].max()), high + margin) + 0.1
    width = 0.8 / len(bands)
    per_row = math.ceil(len(labels) / len(cells))
    for row, ax in enumerate(cells):
        which = slice(row * per_row, (row + 1) * per_row)
        at = np.arange(len(labels[which]))
        for b, (q, (_, colors, text)) in enumerate(
            zip(all_quantiles, bands, strict=True)
        ):
            q, x = q[:, which], at + (b - (len(bands) - 1) / 2) * width
            ax.bar(x, q[4] - q[0], 0.9 * width, q[0], color=colors[0], zorder=2)
            ax.bar(
                x, q[3] - q[1], 0.9 * width, q[1], color=colors[1], label=text, zorder=2
            )
            ax.hlines(q[2], x - 0.45 * width, x + 0.45 * width, color="white", zorder=3)
        ax.set_xlim(-0.6, per_row - 0.4)
        ax.set_ylim(low, high)
        ax.axhline(0.0, color=style.MUTED, linewidth=0.6, zorder=1)
        is_long = max(map(len, labels)) > 3
        ax.set_xticks(at, labels[which], rotation=90 if is_long else 0)
        style.label(ax, y="from the median, in spreads", size=8)


def _units(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns the median and spread of each coordinate; a constant has spread 1."""
    middle, spread = median_and_spread(x)
    spread = np.where(spread > 0, spread, x.std(0))
    return middle, np.where(spread > 0, spread, 1.0)


def _counts(samples: np.ndarray, points: np.ndarray | None) -> list[str]:
    if points is None:
        return [f"{len(samples):,} samples"]
    return [f"{len(points):,} data points (grey)", f"{len(samples):,} samples (blue)"]


def _explain(figure: Figure, text: str, count: int, event_size: int) -> None:
    """Writes what the colours mean, and how many coordinates are left out."""
    look = {"fontsize": 8, "color": style.INK, "fontfamily": style.FONT}
    lines = text.count("\n") + 1 + (count < event_size)
    figure.set_figheight(figure.get_figheight() + 0.2 * lines)
    figure.suptitle(text, **look)
    if count < event_size:
        figure.supxlabel(
            f"{count} of {event_size} coordinates; {event_size - count} are left out",
            **look,
        )
