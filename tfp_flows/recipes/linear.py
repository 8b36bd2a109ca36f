"""The recipe of one matrix."""

from collections.abc import Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows.bijectors import LULinear, Standardize
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import seeds_from

__all__ = ["gaussian"]

tfd = tfp.distributions


def gaussian(
    event_size: int,
    *,
    context_size: int = 0,
    hidden: Sequence[int] = (64, 64),
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "gaussian",
) -> Flow:
    """Returns a normal distribution with a full covariance matrix: one learned matrix.

    With a context, mean and covariance are what a network makes of it.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on.
      hidden: widths of the hidden layers of the context's network; without a context
        there is none.
      base: distribution of z, in the units of the data; standard normal when None, and
        then the last bijector, `Standardize`, takes the units from the data in `fit`.
      seed: of that network's initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
      name: of the model.

    Raises:
      ValueError: `event_size` is less than 1.

    Example:
      >>> flow = gaussian(3)
      >>> flow.count_params()  # a matrix and a bias, and 7 of Standardize
      19

    Source: the matrix's factors are those of Kingma and Dhariwal (2018), "Glow", eq.
    10-11.
    """
    linear = LULinear(
        hidden=hidden, context_size=context_size, seed=next(seeds_from(seed))
    )
    bijectors = [linear] if base is not None else [linear, Standardize()]
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)
