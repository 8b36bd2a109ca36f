"""Recipes of bijectors that add to the points: sampling has to solve for it."""

from collections.abc import Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import ActNorm, Planar, ResidualBlock, Standardize
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import seeds_from

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

    They stand inverted: `log_prob` is analytic, and `sample` finds a root in each.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on.
      layers: number of steps.
      hidden: widths of the hidden layers of the context's networks; without a context
        there are none.
      base: distribution of z, in the units of the data; standard normal when None, and
        then the last bijector, `Standardize`, takes the units from the data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
      name: of the model.

    Raises:
      ValueError: `event_size` or `layers` is less than 1.

    Example:
      >>> flow = planar(2, layers=4, seed=0)
      >>> flow.count_params()  # two vectors and a number each, 5 of Standardize
      25

    Source: Rezende and Mohamed (2015), "Variational inference with normalizing
    flows", section 4.1, there from base to data.
    """
    seeds = seeds_from(seed)
    bijectors = [
        tfb.Invert(Planar(hidden=hidden, context_size=context_size, seed=next(seeds)))
        for _ in range(checks.positive_int(layers, "layers"))
    ]
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)


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

    The blocks stand inverted: `log_prob` is analytic, and `sample` iterates. The
    scalings, `ActNorm`, start from data. Args and errors are those of `planar`, with
    `hidden` for the widths of each block's network, which is there without a context,
    too.

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
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)
