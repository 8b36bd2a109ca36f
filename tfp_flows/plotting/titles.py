"""Titles of stages and names of orders, in words."""

from collections.abc import Sequence

from tfp_flows.flow.flow import Stage

__all__ = ["composed", "order_label", "stage_title"]

_SUBSCRIPTS = str.maketrans("0123456789", "₀₁₂₃₄₅₆₇₈₉")
_LONGEST_NAME = 24


def composed(order: Sequence[int]) -> str:
    """Returns a composed function as text, such as f₂∘f₁(z); long ones are shortened.

    Args:
      order: the index of each function, in sampling order.
    """
    names = [f"f{i + 1}".translate(_SUBSCRIPTS) for i in reversed(order)]
    if len(names) > 3:
        names = [names[0], "⋯", names[-1]]
    return f"{'∘'.join(names)}(z)" if names else "z"


def stage_title(stage: Stage, order: Sequence[int]) -> str:
    """Returns the title of a stage: the composed function, and below it the name."""
    name = stage.name
    if len(name) > _LONGEST_NAME:
        name = f"{name[: _LONGEST_NAME - 1]}…"
    return f"{composed(order)}\n{name}"


def order_label(order: Sequence[int]) -> str:
    """Returns the label of an order; a long one is shortened."""
    order = [int(i) for i in order]
    if order == sorted(order):
        return "given order"
    shown = [str(i) for i in order]
    if len(shown) > 6:
        shown = [*shown[:3], "…", shown[-1]]
    return f"order {', '.join(shown)}"
