"""Recipes whose bijectors are inverted: sampling solves for the points."""

from collections.abc import Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import ActNorm, Planar, ResidualBlock
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import in_units_of_data, seeds_from

__all__ = ["planar", "residual"]

tfb = tfp.bijectors
tfd = tfp.distributions


def planar(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 16,
    hidden: Sequence[int] = (64, 64),
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "planar",
) -> Flow:
    """Returns smooth steps across hyperplanes, each a single hidden unit.

    The steps are inverted: `log_prob` is analytic, and `sample` finds a root in each.
    From data to base a step is, with a vector û(u, w) that keeps it invertible::

        z = x + û · tanh(wᵀx + b)

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of steps.
      hidden: widths of the hidden layers of the networks that read the context; not
        used without a context.
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
      >>> flow = planar(2, layers=4, seed=0)
      >>> flow.count_params()  # two vectors and a number each, 5 of Standardize
      25

    Source: Rezende and Mohamed (2015), "Variational inference with normalizing
    flows", section 4.1, where the steps go from base to data.
    """
    seeds = seeds_from(seed)
    bijectors = [
        tfb.Invert(Planar(hidden=hidden, context_size=context_size, seed=next(seeds)))
        for _ in range(checks.positive_int(layers, "layers"))
    ]
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


def residual(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 8,
    hidden: Sequence[int] = (64, 64),
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "residual",
) -> Flow:
    """Returns contractive networks that are added to the points, each after a scaling.

    The blocks are inverted: `log_prob` is analytic, and `sample` iterates. The
    scalings, `ActNorm`, start from data. From data to base, a block is, with a network
    g whose Lipschitz constant is less than 1::

        z = x + g(x)

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of blocks.
      hidden: widths of the hidden layers of each block's network.
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
      >>> flow = residual(2, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][:2]
      ['invert_residual_block', 'act_norm']

    Source: Behrmann et al. (2019), "Invertible residual networks", section 2; Chen et
    al. (2019), "Residual flows for invertible generative modeling", section 2.
    """
    seeds = seeds_from(seed)
    bijectors = []
    for _ in range(checks.positive_int(layers, "layers")):
        block = ResidualBlock(
            hidden=hidden, context_size=context_size, seed=next(seeds)
        )
        bijectors += [tfb.Invert(block), ActNorm()]
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)
