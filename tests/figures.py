"""What the tests of several kinds of pictures ask of a figure."""

import io
import itertools

from matplotlib.figure import Figure


def save(figure: Figure, kind: str = "png") -> bytes:
    """Returns the figure as a file's content."""
    file = io.BytesIO()
    figure.savefig(file, format=kind)
    return file.getvalue()


def assert_apart(figure: Figure) -> None:
    """Checks that Axes and texts overlap nowhere, and that the figure holds them."""
    figure.draw_without_rendering()
    boxes = [ax.get_tightbbox() for ax in figure.axes]
    boxes += [text.get_window_extent() for text in figure.texts]
    for a, b in itertools.combinations(boxes, 2):
        width = min(a.x1, b.x1) - max(a.x0, b.x0)
        height = min(a.y1, b.y1) - max(a.y0, b.y0)
        assert min(width, height) <= 1, (a, b)
    for box in boxes:
        assert box.x0 >= -1 and box.y0 >= -1
        assert box.x1 <= figure.bbox.x1 + 1 and box.y1 <= figure.bbox.y1 + 1
