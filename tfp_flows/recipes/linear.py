"""The recipe of one matrix."""

from collections.abc import Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows.bijectors import LULinear
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import in_units_of_data, seeds_from

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

    From base to data, with an invertible matrix A::

        x = A z + b

    With a context, a network gives the matrix and b.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      hidden: widths of the hidden layers of the network that reads the context; not
        used without a context.
      base: distribution of z, in the units of the data. When None, a standard normal
        one; the last bijector is then `Standardize`, which takes the units from the
        data in `fit`.
      seed: of that network's initial weights; drawn when None.
      dtype: "float32" or "float64"; the base's, or Keras's `floatx`, when None.
      name: of the model.

    Returns:
      A `Flow` with all its weights, ready for `compile` and `fit`.

    Raises:
      ValueError: `event_size` is less than 1.

    Example:
      >>> flow = gaussian(3)
      >>> flow.count_params()  # a matrix and a bias, and 7 of Standardize
      19

    Source: the factors of the matrix are those of Kingma and Dhariwal (2018), "Glow",
    eq. 10-11.
    """
    linear = LULinear(
        hidden=hidden, context_size=context_size, seed=next(seeds_from(seed))
    )
    return in_units_of_data([linear], base, event_size, dtype=dtype, name=name)
