"""A flow as a notebook shows it: its stages as thumbnails, or as a table."""

import base64
import html
import io
from collections.abc import Sequence
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.backends.backend_agg import FigureCanvasAgg
from PIL import Image

from tfp_flows.flow import Flow, Stage
from tfp_flows.plotting import panels, style
from tfp_flows.plotting.limits import robust_limits

__all__ = ["flow_as_html", "trainable_parameters"]

_POINTS = 400
_SIZE = 0.9  # inches
_COLORS = 64  # colours in the palette; with these a file is a third as large
_MOST_STAGES = 30  # stages that are drawn; a longer flow is shown as a table


def flow_as_html(flow: Flow, names: Sequence[str]) -> str:
    """Returns a flow as a part of a page.

    A flow of one or two coordinates is shown as one thumbnail for each stage: points in
    the colours of their places in the base, or the density over a line. A conditional
    flow, a wider one or a very long one is shown as a table of its stages.

    Args:
      flow: a Flow, which is drawn as it is now.
      names: the names of the base and of each bijector.
    """
    is_drawn = (
        flow.event_size <= 2 and not flow.context_size and len(names) <= _MOST_STAGES
    )
    content = _thumbnails(flow.stages(_POINTS)) if is_drawn else _table(flow, names)
    return f"<div>{_headline(flow)}{content}</div>"


def _headline(flow: Flow) -> str:
    parts = [
        _count(flow.event_size, "coordinate"),
        _count(len(flow.bijectors), "bijector"),
        _count(trainable_parameters(flow), "trainable parameter"),
    ]
    if flow.context_size:
        parts.insert(1, f"context of {_count(flow.context_size, 'coordinate')}")
    return f"<p><b>{html.escape(flow.name)}</b>: {', '.join(parts)}</p>"


def _count(n: int, noun: str) -> str:
    return f"{n:,} {noun}{'s' * (n != 1)}"


def trainable_parameters(part: Any) -> int:
    """Returns how many trainable parameters a flow or a part of it has."""
    return sum(int(np.prod(weight.shape)) for weight in part.trainable_variables)


def _table(flow: Flow, names: Sequence[str]) -> str:
    rows = [
        f"<tr><td>{i}</td><td>{html.escape(name)}</td><td>{trainable_parameters(part):,}</td></tr>"
        for i, (name, part) in enumerate(
            zip(names, (flow.base, *flow.bijectors), strict=True)
        )
    ]
    return (
        "<table><thead><tr><th>stage</th><th>from base to data</th>"
        "<th>trainable parameters</th></tr></thead>"
        f"<tbody>{''.join(rows)}</tbody></table>"
    )


def _thumbnails(stages: Sequence[Stage]) -> str:
    figure = style.new_figure(_SIZE, _SIZE)
    figure.set_layout_engine("none")  # the axes fill the figure
    ax = figure.add_axes((0.04, 0.04, 0.92, 0.92))
    colors = style.base_colors(np.asarray(stages[0].samples))
    cells = []
    for stage in stages:
        ax.clear()
        _draw(ax, stage, colors)
        name = html.escape(stage.name)
        cells.append(
            '<div style="width: 112px; text-align: center; font-size: 10px">'
            f'<img alt="{name}" src="data:image/png;base64,{_png(ax)}">'
            f"<div>{name}</div></div>"
        )
    return (
        f'<div style="display: flex; flex-wrap: wrap; gap: 6px">{"".join(cells)}</div>'
    )


def _draw(ax: Axes, stage: Stage, colors: np.ndarray) -> None:
    ax.set_xticks([])
    ax.set_yticks([])
    for spine in ax.spines.values():
        spine.set_color("#d9d9d9")
    x = np.asarray(stage.samples, np.float64)
    limits = robust_limits(x)
    if x.shape[1] == 2:
        panels.scatter(ax, x, colors, 3.0)
        panels.set_limits(ax, limits)
        return
    along = np.argsort(x[:, 0])
    density = np.exp(np.asarray(stage.log_prob, np.float64))[along]
    top = panels.curve(ax, x[along, 0], density)
    ax.set_xlim(limits[0])
    ax.set_ylim(0.0, top)


def _png(ax: Axes) -> str:
    canvas = FigureCanvasAgg(ax.get_figure(root=True))
    canvas.draw()
    image = Image.fromarray(np.asarray(canvas.buffer_rgba())).convert("RGB")
    file = io.BytesIO()
    image.quantize(_COLORS).save(file, "png", optimize=True)
    return base64.b64encode(file.getvalue()).decode("ascii")
