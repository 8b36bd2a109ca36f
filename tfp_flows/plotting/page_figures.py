"""Figures as parts of an HTML page, in the colours of the page, light or dark."""

import base64
import html
import io
import re

import matplotlib
from matplotlib.figure import Figure

from tfp_flows.plotting import style

__all__ = ["as_image", "as_svg"]

_COLORS = {
    style.INK: "var(--ink)",
    style.MUTED: "var(--muted)",
    style.BLUE: "var(--accent)",
    style.VERMILION: "var(--mark)",
    "#ffffff": "var(--paper)",
}


def as_svg(figure: Figure, name: str, caption: str, *, wide: bool = False) -> str:
    """Returns a figure as SVG that follows the colours of the page.

    Args:
      figure: a figure of lines and text.
      name: a name that no other figure of the page has.
      caption: the caption, which is also the text alternative.
      wide: whether the figure takes the full width of the page.
    """
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None, "Creator": None})
    text = file.getvalue()
    text = text[text.index("<svg") :]
    text = re.sub(r"<metadata>.*?</metadata>", "", text, flags=re.DOTALL)
    # Identifiers must be unique within a page.
    text = re.sub(r'(\bid="|url\(#|href="#)', rf"\1{name}-", text)
    for color, variable in _COLORS.items():
        text = re.sub(rf"{color}\b", variable, text, flags=re.IGNORECASE)
    text = text.replace("<svg", f'<svg role="img" aria-label="{_quoted(caption)}"', 1)
    return _figure(text, caption, wide)


def as_image(figure: Figure, caption: str, *, wide: bool = False) -> str:
    """Returns a figure as a PNG image, for figures of many points."""
    file = io.BytesIO()
    figure.savefig(file, format="png", dpi=110)
    data = base64.b64encode(file.getvalue()).decode("ascii")
    return _figure(
        f'<img alt="{_quoted(caption)}" src="data:image/png;base64,{data}">',
        caption,
        wide,
    )


def _quoted(caption: str) -> str:
    return html.escape(caption, quote=True)


def _figure(content: str, caption: str, wide: bool) -> str:
    kind = ' class="wide"' if wide else ""
    return (
        f"<figure{kind}>\n{content}\n"
        f"<figcaption>{html.escape(caption)}</figcaption>\n</figure>"
    )
