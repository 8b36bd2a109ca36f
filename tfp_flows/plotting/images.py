"""Points that are images, side by side on one sheet."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.colors import to_rgb

from tfp_flows._core import checks
from tfp_flows.plotting import drawables, style
from tfp_flows.plotting.limits import Limits, as_limits

__all__ = ["plot_images"]

_LEAST_SIDE = 32  # the least size of an image on the sheet, in pixels
_GAP = to_rgb("#dbe6ee")


def plot_images(
    flow_or_array: Any,
    shape: Sequence[int],
    *,
    n: int = 36,
    columns: int | None = None,
    limits: tuple[float, float] | None = None,
    seed: int = 0,
    ax: Axes | None = None,
) -> Axes:
    """Draws points as images, side by side on one sheet, all in one scale of grey.

    Args:
      flow_or_array: a Flow, or anything else that `plot_samples` takes, whose samples
        are drawn; or images, `(m, H·W)` or `(m, *shape)`, of which the first `n` are
        drawn. Pixels are in row-major order.
      shape: (H, W), or (H, W, 3) for red, green and blue.
      n: the number of images.
      columns: the number of images in a row; None makes a nearly square sheet.
      limits: the values drawn black and white. None takes those between which 99.5% of
        the pixels lie. Values beyond are black or white, and values that are not
        finite are orange.
      seed: the seed of the samples.
      ax: the Axes to draw on; None makes new ones.

    Returns:
      The Axes that were drawn on.

    Raises:
      TypeError: `flow_or_array` can neither be sampled nor holds numbers.
      ValueError: `shape` is not that of the points, or an option is out of range.

    Example:
      >>> import numpy as np
      >>> x = np.random.default_rng(0).uniform(size=(5, 64))
      >>> plot_images(x, (8, 8)).get_title()
      '5 images of 8×8'
    """
    shape = _as_shape(shape)
    n = checks.positive_int(n, "n")
    images, text = _as_images(flow_or_array, shape, n, seed)
    count = len(images)
    if columns is not None:
        columns = checks.positive_int(columns, "columns")
    # This many columns make the sheet nearly square in pixels.
    columns = columns or math.ceil(math.sqrt(count * shape[0] / shape[1]))
    columns = min(columns, count)
    rows = math.ceil(count / columns)
    low, high = _limits_of(images) if limits is None else as_limits(limits, 1)[0]

    # Small images are enlarged, so that the gaps between them can be narrow.
    scale = math.ceil(_LEAST_SIDE / max(shape[:2]))
    size = np.multiply(shape[:2], scale)
    gap = math.ceil(0.06 * size.max())
    sheet = np.full((*((rows, columns) * (size + gap) - gap), 3), _GAP)
    for i, image in enumerate(images):
        top, left = np.array(divmod(i, columns)) * (size + gap)
        shares = np.clip((image - low) / (high - low), 0.0, 1.0)
        colors = np.broadcast_to(shares.reshape(*shape[:2], -1), (*shape[:2], 3))
        is_finite = np.isfinite(colors).all(-1, keepdims=True)
        colors = np.where(is_finite, colors, to_rgb(style.VERMILION))
        colors = colors.repeat(scale, 0).repeat(scale, 1)
        sheet[top : top + size[0], left : left + size[1]] = colors

    ax = style.new_axes(ax, 5.0, 0.4 + 5.0 * sheet.shape[0] / sheet.shape[1])
    ax.imshow(sheet, interpolation="nearest", aspect="equal")
    ax.axis("off")
    style.title(ax, text)
    return ax


def _as_shape(shape: Any) -> tuple[int, ...]:
    sizes = tuple(np.ravel(shape).tolist())
    is_whole = all(isinstance(size, int) and size >= 1 for size in sizes)
    if not is_whole or len(sizes) not in (2, 3) or sizes[2:] not in ((), (3,)):
        raise ValueError(f"`shape` must be (H, W) or (H, W, 3). Received: {shape!r}.")
    return sizes


def _as_images(
    source: Any, shape: tuple[int, ...], n: int, seed: int
) -> tuple[np.ndarray, str]:
    """Returns images `(n, *shape)`, float64, and the title."""
    pixels = math.prod(shape)
    kind = "×".join(map(str, shape))
    if hasattr(source, "__array__") or isinstance(source, (list, tuple)):
        try:
            points = np.asarray(source, np.float64)
        except (TypeError, ValueError) as error:
            raise TypeError("`flow_or_array` must hold numbers.") from error
        width = math.prod(points.shape[1:]) if points.ndim > 1 else 0
        total = len(points) if points.ndim else 0
        if width != pixels or not total:
            raise ValueError(
                f"`flow_or_array` must have shape (m, {pixels}) or (m, "
                f"{', '.join(map(str, shape))}). Received shape {points.shape}."
            )
        points = points[:n]
        of = f" of {total:,}" if len(points) < total else ""
        text = f"{len(points)}{of} images of {kind}"
    else:
        event_size, sample = drawables.as_sampler(source)
        if event_size != pixels:
            raise ValueError(
                f"`shape` must have as many pixels as a point has coordinates, "
                f"{event_size}. Received: {shape}, {pixels} of them."
            )
        points = np.asarray(sample(n, seed=seed), np.float64)
        text = f"{n} samples of {kind}"
    return points.reshape(-1, *shape), text


def _limits_of(images: np.ndarray) -> Limits:
    finite = images[np.isfinite(images)]
    if not finite.size:
        return 0.0, 1.0
    low, high = np.quantile(finite, [0.0025, 0.9975])
    return (low, high) if low < high else (low - 0.5, low + 0.5)
