"""What notebooks show for an object that is drawn by modules above its own.

A flow shows itself as a picture, but the modules that draw are built on flows. So the
package, which knows both, registers here how a flow is drawn.
"""

from collections.abc import Callable
from typing import Any

__all__ = ["as_html", "draw_by"]

_DRAW: dict[str, Callable[..., str]] = {}


def draw_by(kind: str, draw: Callable[..., str]) -> None:
    """Registers how a kind of object is drawn, as a part of a page.

    Args:
      kind: name of the kind.
      draw: from the object, and what else `as_html` passes on, to HTML.
    """
    _DRAW[kind] = draw


def as_html(kind: str, *parts: Any) -> str:
    """Returns an object of a registered kind as a part of a page."""
    return _DRAW[kind](*parts)
