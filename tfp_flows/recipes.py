"""Named architectures: plain functions that return a Flow, to use, copy and change."""

import random
from collections.abc import Callable, Sequence
from typing import Any

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import _checks
from tfp_flows.bijectors import AdditiveCoupling, AffineCoupling
from tfp_flows.composition import infer_dtype
from tfp_flows.flow import Flow

__all__ = ["nice", "real_nvp"]

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
      base: distribution of z; standard normal when None.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
      name: of the model.

    Raises:
      ValueError: `event_size` or `layers` is less than 2.

    Example:
      >>> flow = real_nvp(2, layers=4, hidden=(32,), seed=0)
      >>> len(flow.bijectors), flow.count_params()
      (4, 524)

    Source: Dinh, Sohl-Dickstein and Bengio (2017), "Density estimation using Real
    NVP", section 3.
    """
    bijectors = _alternating(
        AffineCoupling, event_size, context_size, layers, hidden, activation, seed
    )
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
    is all that changes it.

    Args:
      event_size: d ≥ 2, the width of the points.
      context_size: width of the context that the density is conditional on.
      layers: number of couplings; at least 2, so that every coordinate moves.
      hidden: widths of the hidden layers of each coupling's network.
      activation: of those layers.
      base: distribution of z; standard normal when None.
      seed: of the initial weights; drawn when None.
      dtype: "float32" or "float64"; that of the base, or Keras's `floatx`, when None.
      name: of the model.

    Raises:
      ValueError: `event_size` or `layers` is less than 2.

    Example:
      >>> flow = nice(2, layers=4, hidden=(32,), seed=0)
      >>> [stage.name for stage in flow.stages()][-2:]
      ['AdditiveCoupling 4', 'Scale']

    Source: Dinh, Krueger and Bengio (2014), "NICE: Non-linear independent components
    estimation", sections 3.2 and 3.3.
    """
    bijectors = _alternating(
        AdditiveCoupling, event_size, context_size, layers, hidden, activation, seed
    )
    ones = tf.ones([event_size], infer_dtype(dtype, base, []))
    bijectors.append(tfb.Scale(tfp.util.TransformedVariable(ones, tfb.Exp())))
    return Flow(bijectors, base, event_size, dtype=dtype, name=name)


def _alternating(
    coupling: Callable[..., tfb.Bijector],
    event_size: int,
    context_size: int,
    layers: int,
    hidden: Sequence[int],
    activation: str | Callable,
    seed: int | None,
) -> list[tfb.Bijector]:
    """Returns couplings, each of which moves what the one before left alone."""
    for name, value in (("event_size", event_size), ("layers", layers)):
        if _checks.positive_int(value, name) < 2:
            raise ValueError(
                f"`{name}` must be at least 2: a coupling moves some coordinates by "
                f"others. Received: {value}."
            )
    seeds = random.Random(_checks.as_seed(seed))
    return [
        coupling(
            flip=i % 2 == 1,
            hidden=hidden,
            activation=activation,
            context_size=context_size,
            seed=seeds.randrange(2**31),
        )
        for i in range(layers)
    ]
