"""What recipes have in common: seeds, dtypes, checks, and the last bijector."""

import random
from collections.abc import Iterator
from typing import Any

import tensorflow_probability as tfp

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows.bijectors import Standardize
from tfp_flows.flow import Flow

__all__ = ["check_for_couplings", "dtypes", "in_units_of_data", "seeds_from"]

tfb = tfp.bijectors
tfd = tfp.distributions


def seeds_from(seed: int | None) -> Iterator[int]:
    """Yields a seed for each bijector, from the seed of the flow."""
    generator = random.Random(checks.as_seed(seed))
    while True:
        yield generator.randrange(2**31)


def dtypes(dtype: Any) -> tuple[Any, str | None]:
    """Returns the dtype of a flow, and that of its bijectors if it is a mixed one."""
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


def in_units_of_data(
    bijectors: list[tfb.Bijector],
    base: tfd.Distribution | None,
    event_size: int,
    *,
    dtype: Any,
    name: str,
) -> Flow:
    """Returns a flow whose base is given in the units of the data, or standardized.

    Args:
      bijectors: in sampling order.
      base: as the recipes take it; `Standardize` is the last bijector when None.
      event_size: the width of the points.
      dtype: of the flow.
      name: of the model.
    """
    if base is None:
        bijectors = [*bijectors, Standardize()]
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)
