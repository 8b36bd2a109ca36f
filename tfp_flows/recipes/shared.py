"""What the recipes do with their arguments alike."""

import random
from collections.abc import Iterator
from typing import Any

from tfp_flows import networks
from tfp_flows._core import checks

__all__ = ["check_for_couplings", "dtypes", "seeds_from"]


def seeds_from(seed: int | None) -> Iterator[int]:
    """Yields a seed for each bijector, from that of the flow."""
    generator = random.Random(checks.as_seed(seed))
    while True:
        yield generator.randrange(2**31)


def dtypes(dtype: Any) -> tuple[Any, str | None]:
    """Returns the dtype of a flow, and that of its bijectors where it says more."""
    return networks.dtype_of_points(dtype), networks.dtype_of_networks(dtype)


def check_for_couplings(event_size: int, layers: int) -> None:
    """Checks that couplings can move every coordinate.

    Raises:
      ValueError: one of the two numbers is less than 2.
    """
    for name, value in (("event_size", event_size), ("layers", layers)):
        if checks.positive_int(value, name) < 2:
            raise ValueError(
                f"`{name}` must be at least 2: a coupling moves some coordinates by "
                f"others. Received: {value}."
            )
