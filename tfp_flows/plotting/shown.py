"""Figures and axes that a notebook shows by themselves.

IPython knows how to show matplotlib's figures only after pyplot was imported, which
pictures of this package never do.
"""

import io

from matplotlib.axes import Axes
from matplotlib.figure import Figure

__all__ = ["ShownAxes", "ShownFigure"]


class ShownFigure(Figure):
    """A figure that a notebook shows as a picture."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.savefig(file, format="png")
        return file.getvalue()


class ShownAxes(Axes):
    """Axes that a notebook shows as the figure they are on."""

    def _repr_png_(self) -> bytes:
        file = io.BytesIO()
        self.get_figure(root=True).savefig(file, format="png")
        return file.getvalue()
