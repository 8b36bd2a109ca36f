"""report: writes everything about a fitted flow to one page."""

import html
import json
import platform
from collections.abc import Mapping, Sequence
from importlib import metadata, resources
from pathlib import Path
from string import Template
from typing import Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from tfp_flows import plotting
from tfp_flows._core import checks, files
from tfp_flows.diagnostics import FitReport, evaluate
from tfp_flows.diagnostics.findings import verdict_as_html
from tfp_flows.diagnostics.held_out import FittedDensity
from tfp_flows.flow import Flow
from tfp_flows.flow.composition import random_orders
from tfp_flows.plotting.page_figures import as_image, as_svg
from tfp_flows.plotting.style import figure_of
from tfp_flows.plotting.thumbnails import trainable_parameters
from tfp_flows.reporting.explorer import explorer_data

__all__ = ["report"]

_PACKAGES = ("tfp_flows", "tensorflow", "keras", "tensorflow-probability", "numpy")
_LONGEST_SETTING = 60
_HINT = "Point at one, tap it, or type its number."


def report(
    flow: Flow | FittedDensity,
    x: ArrayLike,
    path: str | Path,
    *,
    x_train: ArrayLike | None = None,
    context: ArrayLike | None = None,
    context_train: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    history: keras.callbacks.History | Mapping[str, Sequence[float]] | None = None,
    entropy: float | None = None,
    title: str | None = None,
    command: str | None = None,
    orders: int = 3,
    level: float = 0.05,
    seed: int = 0,
) -> FitReport:
    """Writes one HTML page about a fitted flow, which needs no network and no files.

    The verdicts come first. Then follow the stages to explore (with a slider, points to
    follow, the density, a warped grid and other orders), training, calibration, the
    architecture, versions and how to reproduce the page. The page is written whole or
    not at all.

    Args:
      flow: a Flow, or a fitted FlowDensity.
      x: held-out rows, `(n, event_size)`, n ≥ 50.
      path: the path of the page, which usually ends in ".html".
      x_train, context, context_train, names, level: as for `diagnostics.evaluate`. The
        stages of a conditional flow are those for the first context.
      history: the result of `fit`, or its dict.
      entropy: the exact entropy of the data in nats, if it is known.
      title: the title of the page; None takes the flow's name.
      command: the command or code that made the flow, which is shown unchanged.
      orders: the number of shuffled orders of the bijectors to choose from.
      seed: the seed of everything that is drawn.

    Returns:
      The FitReport of `diagnostics.evaluate`.

    Raises:
      TypeError, ValueError: as `diagnostics.evaluate`.
      OSError: the page cannot be written.

    Example:
      >>> import tempfile, numpy as np, tfp_flows as tfpf
      >>> flow = tfpf.Flow([tfpf.bijectors.Rotation2D(0.5)])
      >>> x = np.random.default_rng(0).normal(size=(200, 2))
      >>> with tempfile.TemporaryDirectory() as folder:
      ...     page = Path(folder) / "report.html"
      ...     found = report(flow, x, page)
      ...     page.read_text(encoding="utf-8")[:15], found.passed
      ('<!doctype html>', True)
    """
    orders = checks.size(orders, "orders")
    found = evaluate(
        flow,
        x,
        context=context,
        x_train=x_train,
        context_train=context_train,
        names=names,
        level=level,
        seed=seed,
    )
    inner = flow if isinstance(flow, Flow) else flow.flow_
    row = None if context is None else np.asarray(context)[0]
    count = len(inner.bijectors)
    others = random_orders(count, orders, seed=seed) if orders and count > 1 else []
    data = explorer_data(
        inner, others or [range(count)], found.names, seed=seed, context=row
    )
    data["hint"] = _HINT
    title = title or inner.name
    page = Template(_read("page.html")).substitute(
        title=html.escape(title),
        style=_read("report.css"),
        summary=html.escape(_summary(inner, found)),
        verdicts=_verdicts(found),
        likelihood=_likelihood(found, entropy),
        explorer=_explorer(data, row is not None),
        figures="\n".join(_figures(inner, x, found, history, entropy, row, seed)),
        architecture=_architecture(
            inner, [stage["name"] for stage in data["orders"][0]["stages"]]
        ),
        reproduce=_reproduce(command, seed),
        numbers=html.escape(str(found)),
        data=json.dumps(data, separators=(",", ":")).replace("<", "\\u003c"),
        script=_read("explorer.js"),
    )
    with files.beside(path) as unfinished:
        unfinished.write_text(page, encoding="utf-8")
    return found


def _read(name: str) -> str:
    return (resources.files(__package__) / name).read_text(encoding="utf-8")


def _summary(flow: Flow, found: FitReport) -> str:
    columns = f"{len(found.names)} column{'s' * (len(found.names) > 1)}"
    count = len(flow.bijectors)
    return (
        f"{count} bijector{'s' * (count != 1)}, {trainable_parameters(flow):,} "
        f"trainable parameters; tested at {found.rows:,} held-out rows of {columns}"
    )


# Sections


def _verdicts(found: FitReport) -> str:
    lines = []
    failed = sum(not check.passed for check in found.checks)
    for i, verdict in enumerate(found.verdicts):
        # A summary comes first, then what is wrong, then remarks.
        kind = "good" if found.passed and i == 0 else "bad" if i <= failed else ""
        if found.passed and i > 0:
            kind = ""
        lines.append(f'<li class="{kind}">{verdict_as_html(verdict)}</li>')
    return "\n".join(lines)


def _likelihood(found: FitReport, entropy: float | None) -> str:
    rows = [("this flow", f"{found.log_prob:.4f} ± {found.error:.4f}", "")]
    for other in found.comparisons:
        counts = "/".join(map(str, dict.fromkeys(other.components)))
        name = other.name if counts == "1" else f"{other.name}, {counts} components"
        rows.append(
            (
                name,
                f"{other.log_prob:.4f} ± {other.error:.4f}",
                f"{other.difference:+.4f} ± {other.difference_error:.4f}",
            )
        )
    if entropy is not None:
        gain = f"{found.log_prob + entropy:+.4f} ± {found.error:.4f}"
        rows.append(("the truth", f"{-entropy:.4f}", gain))
    header = ("", "mean log-density, nats a row", "the flow is better by")
    return _table(header, rows, numbers=(1, 2))


def _explorer(data: dict[str, Any], is_conditional: bool) -> str:
    width = len(data["names"])
    toggles = [_toggle("show-points", "points", checked=True)]
    if width <= 2 and not data["left_out"]:
        toggles.append(_toggle("show-density", "exact density", checked=True))
    if width == 2 and not data["left_out"]:
        toggles.append(_toggle("show-grid", "warped grid of the base"))
    choices = []
    if width > 1:
        names = list(enumerate(data["names"]))
        choices += [
            _select("coordinate-x", "Across", names, 0),
            _select("coordinate-y", "Upwards", names, 1),
        ]
    if len(data["orders"]) > 1:
        labels = []
        for i, each in enumerate(data["orders"]):
            shuffled = ", ".join(str(k) for k in each["order"])
            labels.append((i, "as given" if i == 0 else f"shuffled: {shuffled}"))
        choices.append(_select("order", "Order of the bijectors", labels, 0))
    if choices:
        choices = ["<fieldset><legend>Look at</legend>", *choices, "</fieldset>"]
    note = "A point keeps its colour, given by its place in the base. "
    if width <= 2 and not data["left_out"]:
        note += "The shading is the exact density of the stage."
    else:
        note += (
            "Only points are shown, as the density of two coordinates of more has no "
            "closed form."
        )
    if data["left_out"]:
        note += f" {data['left_out']} more coordinates cannot be chosen."
    if is_conditional:
        note += " The stages are those for the first context."
    return Template(_read("explorer.html")).substitute(
        toggles="\n".join(toggles),
        choices="\n".join(choices),
        last=data["points"] - 1,
        note=html.escape(note),
    )


def _toggle(name: str, label: str, *, checked: bool = False) -> str:
    return (
        f'<label><input type="checkbox" id="{name}"{" checked" * checked}> '
        f"{label}</label>"
    )


def _select(
    name: str, label: str, options: Sequence[tuple[int, str]], chosen: int
) -> str:
    lines = "".join(
        f'<option value="{value}"{" selected" * (value == chosen)}>'
        f"{html.escape(str(text))}</option>"
        for value, text in options
    )
    return f'<label>{label} <select id="{name}">{lines}</select></label>'


def _figures(
    flow: Flow,
    x: Any,
    found: FitReport,
    history: Any,
    entropy: float | None,
    context: Any,
    seed: int,
) -> list[str]:
    figures = []
    logs = getattr(history, "history", history)
    if isinstance(logs, Mapping) and logs.get("loss"):
        curves = figure_of(plotting.plot_history(logs, entropy=entropy))
        figures.append(as_svg(curves, "history", "Training: mean of -log_prob, nats."))
    source = flow if context is None else flow.given(context)
    if context is None:
        beside = (
            plotting.plot_samples(source, x, seed=seed)
            if flow.event_size <= 2
            else plotting.plot_pairs(source, x, names=found.names, seed=seed)
        )
        figures.append(as_image(beside, "Held-out data and samples of the flow."))
    calibration = plotting.plot_calibration(found)
    figures.append(
        as_svg(
            calibration,
            "calibration",
            "Calibration: held-out rows compared with the flow's own distribution. "
            "Where bars or dots leave the band, the flow does not fit.",
            wide=True,
        )
    )
    stages = plotting.plot_stages(flow, context=context, seed=seed)
    figures.append(as_image(stages, "Every stage, from base to data.", wide=True))
    return figures


def _architecture(flow: Flow, names: Sequence[str]) -> str:
    parts = [flow.base, *flow.bijectors]
    rows = []
    for i, (part, name) in enumerate(zip(parts, names, strict=True)):
        place = str(i - 1) if i else "base"
        rows.append(
            (
                place,
                name,
                _settings(part) if i else "",
                f"{trainable_parameters(part):,}",
            )
        )
    header = ("", "bijector", "settings", "trainable parameters")
    return _table(header, rows, numbers=(3,))


def _settings(bijector: Any) -> str:
    """Returns the plain and short arguments of the constructor as text."""
    settings = []
    for name, value in (bijector.parameters or {}).items():
        is_plain = isinstance(value, (bool, int, float, str, tuple, list))
        if name in ("name", "dtype", "seed", "validate_args") or not is_plain:
            continue
        text = repr(value)
        if len(text) <= _LONGEST_SETTING:
            settings.append(f"{name}={text}")
    return ", ".join(settings)


def _reproduce(command: str | None, seed: int) -> str:
    parts = [f"<pre>{html.escape(command)}</pre>"] if command else []
    versions = [("Python", platform.python_version())]
    for package in _PACKAGES:
        try:
            versions.append((package, metadata.version(package)))
        except metadata.PackageNotFoundError:
            continue
    text = ", ".join(f"{name} {version}" for name, version in versions)
    parts.append(f"<p>Seed {seed}; {html.escape(text)}; {platform.machine()}.</p>")
    return "\n".join(parts)


def _table(
    header: Sequence[str], rows: Sequence[Sequence[str]], numbers: Sequence[int] = ()
) -> str:
    def cells(tag: str, row: Sequence[str]) -> str:
        kinds = [' class="number"' if i in numbers else "" for i in range(len(row))]
        return "".join(
            f"<{tag}{kind}>{html.escape(cell)}</{tag}>"
            for kind, cell in zip(kinds, row, strict=True)
        )

    lines = [f"<tr>{cells('th', header)}</tr>"]
    lines += [f"<tr>{cells('td', row)}</tr>" for row in rows]
    return f'<div class="scroll"><table>{"".join(lines)}</table></div>'
