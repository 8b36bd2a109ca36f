"""Stages: what a base distribution becomes after each bijector in turn."""

import dataclasses
from collections.abc import Sequence

import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.caches import chain

__all__ = ["Stage", "stage_distributions", "walk"]

tfb = tfp.bijectors
tfd = tfp.distributions


@dataclasses.dataclass(frozen=True)
class Stage:
    """What the base distribution has become after one more bijector.

    Attributes:
      name: of the bijector; of the base distribution at stage 0.
      bijector: the bijector that led here; None at stage 0.
      samples: `(n, event_size)`, the same n points at every stage, row by row.
      log_prob: `(n,)`, log-density of this stage at its samples, in nats.
      log_det: `(n,)`, log|det| of this stage's bijector, forward, at the samples
        of the stage before; 0 at stage 0.
      distribution: of this stage, for densities elsewhere; shares the weights.
    """

    name: str
    bijector: tfb.Bijector | None
    samples: tf.Tensor
    log_prob: tf.Tensor
    log_det: tf.Tensor
    distribution: tfd.Distribution


def walk(
    base: tfd.Distribution, bijectors: Sequence[tfb.Bijector], z: tf.Tensor
) -> list[tuple[tf.Tensor, tf.Tensor, tf.Tensor]]:
    """Returns samples, log_prob and log_det of every stage, from points of the base."""
    log_prob = base.log_prob(z)
    steps = [(z, log_prob, tf.zeros_like(log_prob))]
    for bijector in bijectors:
        log_det = bijector.forward_log_det_jacobian(z, event_ndims=1)
        log_det += tf.zeros_like(log_prob)  # constant log-dets of TFP are scalars
        z, log_prob = bijector.forward(z), log_prob - log_det
        steps.append((z, log_prob, log_det))
    return steps


def stage_distributions(
    base: tfd.Distribution, bijectors: Sequence[tfb.Bijector]
) -> list[tfd.Distribution]:
    """Returns the distribution of every stage, sharing the weights."""
    return [base] + [
        tfd.TransformedDistribution(base, chain(bijectors[:k][::-1]))
        for k in range(1, len(bijectors) + 1)
    ]
