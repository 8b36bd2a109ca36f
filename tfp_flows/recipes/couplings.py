"""Recipes of couplings, each of which moves the coordinates that the last one kept."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors import (
    AdditiveCoupling,
    AffineCoupling,
    LULinear,
    SplineCoupling,
)
from tfp_flows.flow import Flow
from tfp_flows.flow.composition import infer_dtype
from tfp_flows.recipes.shared import (
    check_for_couplings,
    dtypes,
    in_units_of_data,
    seeds_from,
)

__all__ = ["neural_spline", "nice", "real_nvp"]

tfb = tfp.bijectors
tfd = tfp.distributions


def real_nvp(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 6,
    hidden: Sequence[int] = (128, 128),
    activation: str | Callable = "relu",
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "real_nvp",
) -> Flow:
    """Returns affine couplings whose alternating masks swap roles from layer to layer.

    Each coupling keeps half of the coordinates, x_a, and moves the others from base to
    data by what its conditioner makes of them::

        y_a = x_a,   y_b = x_b · exp(s(x_a)) + t(x_a)

    Args:
      event_size: d ≥ 2, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of couplings, at least 2, so that every coordinate moves.
      hidden: widths of the hidden layers of each coupling's conditioner.
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
      ValueError: `event_size` or `layers` is less than 2.

    Example:
      >>> flow = real_nvp(2, layers=4, hidden=(32,), seed=0)
      >>> len(flow.bijectors), flow.count_params()
      (5, 529)

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real
    NVP", section 3.
    """
    check_for_couplings(event_size, layers)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = _alternating(
        AffineCoupling,
        layers,
        seed,
        hidden=hidden,
        activation=activation,
        context_size=context_size,
        dtype=of_bijectors,
    )
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


def nice(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 6,
    hidden: Sequence[int] = (128, 128),
    activation: str | Callable = "relu",
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "nice",
) -> Flow:
    """Returns additive couplings with alternating masks, then one learned scaling.

    Each coupling keeps half of the coordinates, x_a, and shifts the others, from base
    to data::

        y_a = x_a,   y_b = x_b + t(x_a)

    The couplings preserve volume. Only the scaling of each coordinate, at the data's
    end, changes it.

    Args:
      event_size: d ≥ 2, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of couplings, at least 2, so that every coordinate moves.
      hidden: widths of the hidden layers of each coupling's conditioner.
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
      ValueError: `event_size` or `layers` is less than 2.

    Example:
      >>> flow = nice(2, layers=4, hidden=(32,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][-3:]
      ['additive_coupling', 'scale', 'standardize']

    Source: Dinh, Krueger and Bengio (2014), "NICE: Non-linear independent components
    estimation", sections 3.2 and 3.3.
    """
    check_for_couplings(event_size, layers)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = _alternating(
        AdditiveCoupling,
        layers,
        seed,
        hidden=hidden,
        activation=activation,
        context_size=context_size,
        dtype=of_bijectors,
    )
    ones = tf.ones([event_size], infer_dtype(dtype, base, []))
    bijectors.append(tfb.Scale(tfp.util.TransformedVariable(ones, tfb.Exp())))
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


def neural_spline(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 6,
    hidden: Sequence[int] = (64, 64),
    activation: str | Callable = "relu",
    bins: int = 8,
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "neural_spline",
) -> Flow:
    """Returns spline couplings in pairs, with learned matrices between the pairs.

    Each coupling keeps half of the coordinates, x_a, and moves the others from base to
    data by a rational-quadratic spline r, a scaling and a shift, whose parameters its
    conditioner makes of x_a::

        y_a = x_a,   y_b = r(x_b; x_a) · exp(s(x_a)) + t(x_a)

    `fit` adapts the splines' boxes to the data that reach them.

    Args:
      event_size: d ≥ 2, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of couplings, at least 2, so that every coordinate moves.
      hidden: widths of the hidden layers of each coupling's conditioner.
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
      ValueError: `event_size` or `layers` is less than 2, or `bins` is.

    Example:
      >>> flow = neural_spline(3, layers=4, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][1:4]
      ['spline_coupling', 'lu_linear', 'spline_coupling']

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows",
    sections 3.2 and 5, RQ-NSF (C); scale and shift are this project's.
    """
    check_for_couplings(event_size, layers)
    dtype, of_bijectors = dtypes(dtype)
    couplings = _alternating(
        SplineCoupling,
        layers,
        seed,
        bins=bins,
        affine=True,
        hidden=hidden,
        activation=activation,
        context_size=context_size,
        dtype=of_bijectors,
    )
    bijectors = couplings[:2]
    for i in range(2, layers, 2):
        bijectors += [LULinear(), *couplings[i : i + 2]]
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)


def _alternating(
    kind: type[tfb.Bijector], layers: int, seed: int | None, **options: Any
) -> list[tfb.Bijector]:
    """Returns couplings, every second one with the other half of the coordinates."""
    seeds = seeds_from(seed)
    return [kind(flip=i % 2 == 1, seed=next(seeds), **options) for i in range(layers)]
