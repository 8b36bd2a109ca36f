"""The stages of a flow in the given order of its bijectors and in others."""

from collections.abc import Sequence

from matplotlib.figure import Figure
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows.flow.composition import random_orders
from tfp_flows.flow.flow import Flow
from tfp_flows.plotting import style
from tfp_flows.plotting.stages import checked_options, draw_row, with_note
from tfp_flows.plotting.titles import order_label

__all__ = ["plot_orders"]


def plot_orders(
    flow: Flow,
    *,
    context: ArrayLike | None = None,
    orders: Sequence[Sequence[int]] | None = None,
    n: int = 3,
    seed: int = 0,
    samples: int = 1000,
    show: str = "samples",
    share_limits: bool = False,
    coordinates: Sequence[int] = (0, 1),
    resolution: int = 100,
    axes: style.AxesLike = None,
) -> Figure:
    """Draws the stages in the given order and, row by row, in other orders.

    The same bijectors in another order make another density. They keep their names
    and numbers in every order.

    Args:
      flow: a Flow of at least two bijectors.
      context: as for `plot_stages`.
      orders: permutations of 0..K-1, as for `Flow.reordered`, one for each row. None
        takes the given order and `n` random others, all different.
      n: the number of random orders; there are fewer if not as many exist.
      seed: the seed of the orders and of the points of the base.
      samples: the number of points.
      show, share_limits, coordinates, resolution: as for `plot_stages`.
      axes: rows × (K + 1) Axes; None makes a new figure.

    Returns:
      The figure that was drawn on.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: the flow has fewer than two bijectors, an order is not a
        permutation, or as for `plot_stages`.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> tfb = tfp.bijectors
      >>> flow = tfpf.Flow([tfb.Shift([0.0, -2.0]), tfb.Scale([2.0, 1.5])])
      >>> figure = plot_orders(flow, n=1, samples=100)
      >>> [ax.get_ylabel() for ax in figure.axes[::3]]
      ['given order', 'order 1, 0']
      >>> figure.axes[4].get_title()
      'f₂(z)\\nScale'
    """
    coordinates = checked_options(flow, show, coordinates, resolution)
    count = len(flow.bijectors)
    if orders is None:
        orders = random_orders(count, checks.positive_int(n, "n"), seed=seed)
    if not len(orders) or not all(isinstance(order, Sequence) for order in orders):
        raise ValueError(
            "`orders` must hold one order or more, each a permutation of "
            f"0..{count - 1}. Received: {orders!r}."
        )
    flows = [flow.reordered(order) for order in orders]
    panel, title_size = (1.9, 9) if count < 8 else (1.6, 8)
    cells = style.new_grid(axes, len(flows), count + 1, panel, len(flows) * (count + 1))
    for row, (order, other) in enumerate(zip(orders, flows, strict=True)):
        start = row * (count + 1)
        row_cells = cells[start : start + count + 1]
        stages = other.stages(samples, seed=seed, context=context)
        draw_row(
            row_cells,
            stages,
            order,
            show,
            share_limits,
            coordinates,
            resolution,
            title_size,
        )
        style.label(row_cells[0], y=order_label(order), size=9)
    return with_note(cells, flow, coordinates, axes)
