"""Recipes of autoregressive bijectors, in one order and in its reverse."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import (
    IAF,
    AutoregressiveSpline,
    LULinear,
    MaskedAutoregressive,
    Standardize,
)
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import dtypes, seeds_from

__all__ = ["iaf", "maf", "neural_spline_autoregressive"]

tfd = tfp.distributions


def maf(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str | Callable = "relu",
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "maf",
) -> Flow:
    """Returns autoregressive scalings and shifts: density in one pass, samples in d.

    Every second one has the reverse order of coordinates.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on.
      layers: number of autoregressive bijectors.
      hidden: widths of the hidden layers of each one's masked network; from d - 1 on,
        or d with a context, a coordinate sees all those before it.
      activation: of those layers.
      base: distribution of z, in the units of the data; standard normal when None, and
        then the last bijector, `Standardize`, takes the units from the data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
        "mixed_bfloat16" is float32 with bfloat16 in the matrix products of the
        networks.
      name: of the model.

    Raises:
      ValueError: `event_size` or `layers` is less than 1.

    Example:
      >>> flow = maf(3, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors]
      ['masked_autoregressive', 'masked_autoregressive', 'standardize']

    Source: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for
    density estimation", section 3.1 and 4.1.
    """
    seeds = seeds_from(seed)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = [
        MaskedAutoregressive(
            "reversed" if i % 2 == 1 else "natural",
            hidden=hidden,
            activation=activation,
            context_size=context_size,
            seed=next(seeds),
            dtype=of_bijectors,
        )
        for i in range(checks.positive_int(layers, "layers"))
    ]
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)


def iaf(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 5,
    hidden: Sequence[int] = (128, 128),
    activation: str | Callable = "relu",
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "iaf",
) -> Flow:
    """Returns autoregressive scalings and shifts: samples in one pass, density in d.

    It serves where the flow is fitted by its own samples, as in variational inference:
    data take d passes in a row through each network. Args and errors are those of
    `maf`.

    Example:
      >>> flow = iaf(3, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors]
      ['iaf', 'iaf', 'standardize']

    Source: Kingma et al. (2016), "Improved variational inference with inverse
    autoregressive flow", section 3.
    """
    seeds = seeds_from(seed)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = [
        IAF(
            "reversed" if i % 2 == 1 else "natural",
            hidden=hidden,
            activation=activation,
            context_size=context_size,
            seed=next(seeds),
            dtype=of_bijectors,
        )
        for i in range(checks.positive_int(layers, "layers"))
    ]
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)


def neural_spline_autoregressive(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 3,
    hidden: Sequence[int] = (128, 128),
    activation: str | Callable = "relu",
    bins: int = 8,
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "neural_spline_autoregressive",
) -> Flow:
    """Returns autoregressive splines with learned matrices between them.

    Each also scales and shifts, and bends the box of the data that reach it. Args and
    errors are those of `maf`, with `bins` for the number of bins of each spline, at
    least 2.

    Example:
      >>> flow = neural_spline_autoregressive(3, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][:3]
      ['autoregressive_spline', 'lu_linear', 'autoregressive_spline']

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows",
    sections 3.2 and 5, RQ-NSF (AR); scale and shift are ours.
    """
    seeds = seeds_from(seed)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = []
    for i in range(checks.positive_int(layers, "layers")):
        if i > 0:
            bijectors.append(LULinear())
        bijectors.append(
            AutoregressiveSpline(
                "reversed" if i % 2 == 1 else "natural",
                bins=bins,
                affine=True,
                hidden=hidden,
                activation=activation,
                context_size=context_size,
                seed=next(seeds),
                dtype=of_bijectors,
            )
        )
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)
