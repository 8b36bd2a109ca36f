"""The recipe of a vector field."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import ContinuousFlow
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import in_units_of_data, seeds_from

__all__ = ["continuous"]

tfd = tfp.distributions


def continuous(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 1,
    hidden: Sequence[int] = (64, 64),
    activation: str | Callable = "tanh",
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "continuous",
) -> Flow:
    """Returns a learned vector field that points drift along (a neural ODE).

    From base to data, a point follows the field v for one unit of time::

        dx/dt = v(x, t),   x(0) = z,   x = x(1)

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of fields, one after the other.
      hidden: widths of the hidden layers of each field's network. With one or two
        layers the log-det costs no more than the field itself.
      activation: of those layers; it should be smooth.
      base: distribution of z, in the units of the data. When None, a standard normal
        one; the last bijector is then `Standardize`, which takes the units from the
        data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; the base's, or Keras's `floatx`, when None.
      name: of the model.

    Returns:
      A `Flow` with all its weights, ready for `compile` and `fit`.

    Raises:
      ValueError: `event_size` or `layers` is less than 1.

    Example:
      >>> flow = continuous(2, hidden=(16,), seed=0)
      >>> flow.count_params()  # a network of x and t, and 5 of Standardize
      103

    Source: Chen, Rubanova, Bettencourt and Duvenaud (2018), "Neural ordinary
    differential equations", section 4; Grathwohl et al. (2019), "FFJORD".
    """
    seeds = seeds_from(seed)
    bijectors = [
        ContinuousFlow(
            hidden=hidden,
            activation=activation,
            context_size=context_size,
            seed=next(seeds),
        )
        for _ in range(checks.positive_int(layers, "layers"))
    ]
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)
