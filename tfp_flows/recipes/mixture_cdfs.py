"""The recipe that makes data normal, one coordinate and one rotation at a time."""

from collections.abc import Sequence
from typing import Any

import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.bijectors import Gaussianize, Rotation
from tfp_flows.flow import Flow
from tfp_flows.recipes.shared import in_units_of_data, seeds_from

__all__ = ["gaussianization"]

tfd = tfp.distributions


def gaussianization(
    event_size: int,
    *,
    context_size: int = 0,
    layers: int = 6,
    hidden: Sequence[int] = (64, 64),
    components: int = 8,
    base: tfd.Distribution | None = None,
    seed: int | None = None,
    dtype: Any = None,
    name: str = "gaussianization",
) -> Flow:
    """Returns mixture CDFs of each coordinate, with rotations between them.

    From data to base, each layer makes every coordinate normal, with F_i the CDF of a
    mixture and Φ that of the standard normal distribution, and a rotation R mixes the
    coordinates for the next layer::

        z_i = Φ⁻¹(F_i(x_i)),   x' = R z

    `Flow.adapt`, which `fit` calls, starts one layer after the other from the data.
    That alone is a density estimate, the better the more layers there are. `fit` then
    trains all of it, the rotations too.

    Args:
      event_size: d, the width of the points.
      context_size: width of the context that the density is conditional on; 0, the
        default, for none.
      layers: number of times that all coordinates are made normal.
      hidden: widths of the hidden layers of the networks that read the context; not
        used without a context.
      components: number of components of each coordinate's mixture, at least 1.
      base: distribution of z, in the units of the data. When None, a standard normal
        one; the last bijector is then `Standardize`, which takes the units from the
        data in `fit`.
      seed: of the rotations and of those networks; drawn when None.
      dtype: "float32" or "float64"; the base's, or Keras's `floatx`, when None.
      name: of the model.

    Returns:
      A `Flow` with all its weights, ready for `compile` and `fit`.

    Raises:
      ValueError: `event_size`, `layers` or `components` is less than 1.

    Example:
      >>> import numpy as np
      >>> ring = np.random.default_rng(0).normal(size=(1000, 2))
      >>> ring /= np.linalg.norm(ring, axis=1, keepdims=True)
      >>> flow = gaussianization(2, layers=2, seed=0)
      >>> flow.adapt(ring)
      >>> bool(np.mean(flow.log_prob(ring)) > -1.5)  # of a normal distribution: -2.14
      True

    Source: Laparra, Camps-Valls and Malo (2011), "Iterative Gaussianization: from ICA
    to random rotations"; trained, with mixtures: Meng, Song, Song and Ermon (2020),
    "Gaussianization flows", section 3.
    """
    seeds = seeds_from(seed)
    bijectors = []
    for i in range(checks.positive_int(layers, "layers")):
        if i > 0:
            bijectors.append(Rotation(identity_start=False, seed=next(seeds)))
        bijectors.append(
            Gaussianize(
                components, hidden=hidden, context_size=context_size, seed=next(seeds)
            )
        )
    return in_units_of_data(bijectors, base, event_size, dtype=dtype, name=name)
