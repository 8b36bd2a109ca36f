"""Recipes of autoregressive bijectors, in one order of coordinates and its reverse."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import (
    IAF,
    AutoregressiveSpline,
    LULinear,
    MaskedAutoregressive,
)
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import dtypes, in_units_of_data, seeds_from

__all__ = ["iaf", "maf", "neural_spline_autoregressive"]

tfb = tfp.bijectors
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

    Each layer takes z from the base's side to x on the data's side, in which a
    coordinate is conditioned on those before it. The next layer reverses the order::

        x_i = z_i · exp(s_i(x_{<i})) + t_i(x_{<i})

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of autoregressive bijectors.
      hidden: widths of the hidden layers of each one's masked network. A coordinate is
        conditioned on all those before it only if the layers are at least d - 1 wide,
        or d with a context.
      activation: of those layers.
      base: distribution of z, in the units of the data. When None, a standard normal
        one; the last bijector is then `Standardize`, which takes the units from the
        data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; the base's, or Keras's `floatx`, when None.
        "mixed_bfloat16" is float32 with bfloat16 in the matrix products of the
        conditioners.
      name: of the model.

    Returns:
      A `Flow` with all its weights, ready for `compile` and `fit`.

    Raises:
      ValueError: `event_size` or `layers` is less than 1.

    Example:
      >>> flow = maf(3, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors]
      ['masked_autoregressive', 'masked_autoregressive', 'standardize']

    Source: Papamakarios, Pavlakou and Murray (2017), "Masked autoregressive flow for
    density estimation", sections 3.1 and 4.1.
    """
    dtype, of_bijectors = dtypes(dtype)
    bijectors = _alternating(
        MaskedAutoregressive,
        layers,
        seed,
        hidden=hidden,
        activation=activation,
        context_size=context_size,
        dtype=of_bijectors,
    )
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


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

    Each layer takes z from the base's side to x on the data's side, with z as the
    condition. The next layer reverses the order::

        x_i = z_i · exp(s_i(z_{<i})) + t_i(z_{<i})

    It suits flows that are fitted to a target by their own samples, as in variational
    inference. The density of given data takes d passes through each network.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of autoregressive bijectors.
      hidden: widths of the hidden layers of each one's masked network. A coordinate is
        conditioned on all those before it only if the layers are at least d - 1 wide,
        or d with a context.
      activation: of those layers.
      base: distribution of z, in the units of the data. When None, a standard normal
        one; the last bijector is then `Standardize`, which takes the units from the
        data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; the base's, or Keras's `floatx`, when None.
        "mixed_bfloat16" is float32 with bfloat16 in the matrix products of the
        conditioners.
      name: of the model.

    Returns:
      A `Flow` with all its weights, ready for `compile` and `fit`.

    Raises:
      ValueError: `event_size` or `layers` is less than 1.

    Example:
      >>> flow = iaf(3, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors]
      ['iaf', 'iaf', 'standardize']

    Source: Kingma et al. (2016), "Improved variational inference with inverse
    autoregressive flow", section 3.
    """
    dtype, of_bijectors = dtypes(dtype)
    bijectors = _alternating(
        IAF,
        layers,
        seed,
        hidden=hidden,
        activation=activation,
        context_size=context_size,
        dtype=of_bijectors,
    )
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


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

    Each layer takes z from the base's side to x on the data's side by a
    rational-quadratic spline r, a scaling and a shift, whose parameters depend on the
    coordinates before. The next layer reverses the order::

        x_i = r_i(z_i; x_{<i}) · exp(s_i(x_{<i})) + t_i(x_{<i})

    `fit` adapts the splines' boxes to the data that reach them.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of autoregressive bijectors.
      hidden: widths of the hidden layers of each one's masked network. A coordinate is
        conditioned on all those before it only if the layers are at least d - 1 wide,
        or d with a context.
      activation: of those layers.
      bins: number of bins of each spline, at least 2.
      base: distribution of z, in the units of the data. When None, a standard normal
        one; the last bijector is then `Standardize`, which takes the units from the
        data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; the base's, or Keras's `floatx`, when None.
        "mixed_bfloat16" is float32 with bfloat16 in the matrix products of the
        conditioners.
      name: of the model.

    Returns:
      A `Flow` with all its weights, ready for `compile` and `fit`.

    Raises:
      ValueError: `event_size` or `layers` is less than 1, or `bins` less
        than 2.

    Example:
      >>> flow = neural_spline_autoregressive(3, layers=2, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][:3]
      ['autoregressive_spline', 'lu_linear', 'autoregressive_spline']

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows",
    sections 3.2 and 5, RQ-NSF (AR); scale and shift are this project's.
    """
    dtype, of_bijectors = dtypes(dtype)
    splines = _alternating(
        AutoregressiveSpline,
        layers,
        seed,
        bins=bins,
        affine=True,
        hidden=hidden,
        activation=activation,
        context_size=context_size,
        dtype=of_bijectors,
    )
    bijectors = splines[:1]
    for spline in splines[1:]:
        bijectors += [LULinear(), spline]
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


def _alternating(
    kind: type[tfb.Bijector], layers: int, seed: int | None, **options: Any
) -> list[tfb.Bijector]:
    """Returns autoregressive bijectors, every second one in the reverse order."""
    seeds = seeds_from(seed)
    return [
        kind("reversed" if i % 2 == 1 else "natural", seed=next(seeds), **options)
        for i in range(checks.positive_int(layers, "layers"))
    ]
