"""The recipe of a vector field."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import ContinuousFlow, Standardize
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import seeds_from

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
    """Returns a learned vector field that the points drift along (a neural ODE).

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on.
      layers: number of fields, one after the other.
      hidden: widths of the hidden layers of each field's network; with one or two the
        log-det costs no more than the field itself.
      activation: of those layers, a smooth one.
      base: distribution of z, in the units of the data; standard normal when None, and
        then the last bijector, `Standardize`, takes the units from the data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
      name: of the model.

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
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)
