"""Recipes of couplings, each of which moves what the one before left alone."""

from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors import (
    AdditiveCoupling,
    AffineCoupling,
    LULinear,
    SplineCoupling,
    Standardize,
)
from tfp_flows.flow import Flow
from tfp_flows.flow.composition import infer_dtype
from tfp_flows.recipes.shared import check_for_couplings, dtypes, seeds_from

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

    Args:
      event_size: d ≥ 2, the width of the points.
      context_size: width of the context that the density is conditional on.
      layers: number of couplings; at least 2, so that every coordinate moves.
      hidden: widths of the hidden layers of each coupling's network.
      activation: of those layers.
      base: distribution of z, in the units of the data; standard normal when None, and
        then the last bijector, `Standardize`, takes the units from the data in `fit`.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
        "mixed_bfloat16" is float32 with bfloat16 in the matrix products of the
        networks.
      name: of the model.

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
    seeds = seeds_from(seed)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = [
        AffineCoupling(
            flip=i % 2 == 1,
            hidden=hidden,
            activation=activation,
            context_size=context_size,
            seed=next(seeds),
            dtype=of_bijectors,
        )
        for i in range(layers)
    ]
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)


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

    The couplings preserve volume; the scaling of each coordinate at the data's end
    is all that changes it. Args and errors are those of `real_nvp`.

    Example:
      >>> flow = nice(2, layers=4, hidden=(32,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][-3:]
      ['additive_coupling', 'scale', 'standardize']

    Source: Dinh, Krueger and Bengio (2014), "NICE: Non-linear independent components
    estimation", sections 3.2 and 3.3.
    """
    check_for_couplings(event_size, layers)
    seeds = seeds_from(seed)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = [
        AdditiveCoupling(
            flip=i % 2 == 1,
            hidden=hidden,
            activation=activation,
            context_size=context_size,
            seed=next(seeds),
            dtype=of_bijectors,
        )
        for i in range(layers)
    ]
    ones = tf.ones([event_size], infer_dtype(dtype, base, []))
    bijectors.append(tfb.Scale(tfp.util.TransformedVariable(ones, tfb.Exp())))
    if base is None:
        bijectors.append(Standardize())
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)


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

    Each coupling also scales and shifts, and bends the box of the data that reach it.
    Args and errors are those of `real_nvp`, with `bins` for the number of bins of each
    spline, at least 2.

    Example:
      >>> flow = neural_spline(3, layers=4, hidden=(16,), seed=0)
      >>> [bijector.name for bijector in flow.bijectors][1:4]
      ['spline_coupling', 'lu_linear', 'spline_coupling']

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows",
    sections 3.2 and 5, RQ-NSF (C); scale and shift are ours.
    """
    check_for_couplings(event_size, layers)
    seeds = seeds_from(seed)
    dtype, of_bijectors = dtypes(dtype)
    bijectors = []
    for i in range(layers):
        if i > 0 and i % 2 == 0:
            bijectors.append(LULinear())
        bijectors.append(
            SplineCoupling(
                flip=i % 2 == 1,
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
