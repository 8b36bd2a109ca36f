"""Figures and axes that a notebook shows without further code.

IPython shows matplotlib's own figures only after pyplot is imported, which the pictures
of this package never do.
"""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["ShownAxes", "ShownFigure"]


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture."""

    def _repr_png_(self) -> bytes:
        return _as_png(self)


class ShownAxes(Axes):
    """Axes that a notebook shows as the figure they are on."""

    def _repr_png_(self) -> bytes | None:
        figure = self.get_figure(root=True)  # None once the axes were removed
        return None if figure is None else _as_png(figure)


def _as_png(figure: Figure) -> bytes:
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return file.getvalue()
