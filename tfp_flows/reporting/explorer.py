"""The data of the stage explorer of a report, for its script."""

import base64
from collections.abc import Sequence
from typing import Any

import numpy as np

from tfp_flows.flow.flow import Flow, Stage
from tfp_flows.plotting import drawables, panels, style
from tfp_flows.plotting.limits import Limits, grid, robust_limits
from tfp_flows.plotting.titles import composed

__all__ = ["explorer_data"]

_MOST_COORDINATES = 8  # coordinates to choose from
_BYTES = 1_200_000  # size of the points of all orders and stages together
_MOST_POINTS = 1500
_RESOLUTION = 96  # cells of a density along each of two axes
_LINE_RESOLUTION = 400  # cells of a density of one coordinate
_GRID_LINES, _GRID_POINTS = 17, 65


def explorer_data(
    flow: Flow,
    orders: Sequence[Sequence[int]],
    names: Sequence[str],
    *,
    seed: int,
    context: Any = None,
) -> dict[str, Any]:
    """Returns the data for JSON; arrays of numbers are base64 of little-endian bytes.

    Args:
      flow: a Flow of any event size; at most eight coordinates are included.
      orders: permutations of its bijectors; the page starts with the first one.
      names: the names of the coordinates.
      seed: the seed of the points.
      context: the context to show a conditional flow for, `(context_size,)`.
    """
    shown = min(flow.event_size, _MOST_COORDINATES)
    stages = 1 + len(flow.bijectors)
    n = _BYTES // (4 * shown * stages * len(orders))
    n = int(np.clip(n, 100, _MOST_POINTS))
    flows = [flow.reordered(order) for order in orders]
    walks = [each.stages(n, seed=seed, context=context) for each in flows]
    base = np.asarray(walks[0][0].samples)
    colors = style.base_colors(base[:, : min(2, shown)])
    return {
        "names": list(names)[:shown],
        "left_out": flow.event_size - shown,
        "points": n,
        "grid_points": _GRID_POINTS,
        "colors": _bytes(np.round(255 * colors).astype(np.uint8)),
        "orders": [
            {"order": [int(i) for i in order], "stages": _stages(walk, order, shown)}
            for order, walk in zip(orders, walks, strict=True)
        ],
    }


def _stages(
    stages: Sequence[Stage], order: Sequence[int], shown: int
) -> list[dict[str, Any]]:
    d = stages[0].samples.shape[1]
    clouds = [np.asarray(stage.samples, np.float32)[:, :shown] for stage in stages]
    limits = [robust_limits(cloud) for cloud in clouds]
    extras: list[dict[str, Any]] = [{} for _ in stages]
    if d <= 2:
        cells = _RESOLUTION if d == 2 else _LINE_RESOLUTION
        grids = [grid(pairs, cells) for pairs in limits]
        densities = drawables.stage_densities(stages, grids)
        for extra, density in zip(extras, densities, strict=True):
            extra["density"] = _shares(density) if d == 2 else _heights(density)
    if d == 2:
        for extra, lines in zip(extras, _warped(stages, limits[0]), strict=True):
            extra["grid"] = _bytes(lines)
    return [
        {
            "name": stage.name,
            "composed": composed(order[:k]),
            "limits": np.round(limits[k], 5).tolist(),
            "x": _bytes(clouds[k]),
            "log_prob": _bytes(np.asarray(stage.log_prob, np.float32)),
            "log_det": _bytes(np.asarray(stage.log_det, np.float32)),
            **extras[k],
        }
        for k, stage in enumerate(stages)
    ]


def _shares(density: np.ndarray) -> str:
    """Returns the share of the mass that has a lower density than each cell."""
    shares = panels.MassNorm(density)(np.ma.masked_invalid(density))
    return _bytes(np.round(255 * shares.filled(0.0)).astype(np.uint8))


def _heights(density: np.ndarray) -> str:
    return _bytes(np.nan_to_num(density, posinf=0.0).astype(np.float32))


def _warped(stages: Sequence[Stage], limits: list[Limits]) -> list[np.ndarray]:
    """Returns the lines of a grid of the base at each stage, `(lines, points, 2)`."""
    along = [np.linspace(*pair, _GRID_POINTS) for pair in limits]
    across = [np.linspace(*pair, _GRID_LINES) for pair in limits]
    upright = np.stack(np.meshgrid(across[0], along[1], indexing="ij"), -1)
    level = np.stack(np.meshgrid(along[0], across[1], indexing="ij"), -1)
    lines = np.concatenate([upright, level.transpose(1, 0, 2)])
    z = np.reshape(lines, (-1, 2)).astype(stages[0].samples.dtype.as_numpy_dtype)
    warped = [lines.astype(np.float32)]
    for bijector in (stage.bijector for stage in stages if stage.bijector is not None):
        z = bijector.forward(z)
        warped.append(np.reshape(z, lines.shape).astype(np.float32))
    return warped


def _bytes(values: np.ndarray) -> str:
    """Returns the bytes of an array, row by row, as base64."""
    little = values.astype(values.dtype.newbyteorder("<"))
    return base64.b64encode(little.tobytes()).decode("ascii")
