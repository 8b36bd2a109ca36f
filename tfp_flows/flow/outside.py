"""A warning of points that the splines of a flow do not reach."""

import warnings
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors.adaptation import shares_outside
from tfp_flows.data.arguments import FitData

__all__ = ["warn_of_points_outside"]

tfb = tfp.bijectors

_LOOKED_AT = 4096  # so many points are enough to estimate a share of 1 %

_MOST_OUTSIDE = 0.01


def warn_of_points_outside(
    bijectors: Sequence[tfb.Bijector], names: Sequence[str], points: FitData
) -> None:
    """Warns where a bijector leaves more than 1 % of the points outside its box.

    Args:
      bijectors: in sampling order.
      names: of the bijectors.
      points: that were fitted; nothing is known of those of a dataset.
    """
    some = points.some(_LOOKED_AT)
    if some is None:
        return
    shares = shares_outside(bijectors, **{k: tf.constant(v) for k, v in some.items()})
    worst = max(shares, key=shares.__getitem__, default=None)
    if worst is None or shares[worst] <= _MOST_OUTSIDE:
        return
    # A chain in the list is one stage, of several bijectors.
    stages = zip(names, bijectors, strict=True)
    name = next(n for n, b in stages if worst is b or worst in b.submodules)
    warnings.warn(
        f"{shares[worst]:.1%} of the points lie outside the box of {name}, where it is "
        "the identity and learns nothing. Remedy: a wider `box`, box='data', or "
        "Standardize as the last bijector.",
        stacklevel=4,
    )
