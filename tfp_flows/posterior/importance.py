"""Importance weights: they correct the samples of a fitted flow for its target."""

import dataclasses
import random
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.flow import Flow
from tfp_flows.flow.chunks import chunks
from tfp_flows.posterior.target import check, raise_where, target_values

__all__ = ["Estimate", "ImportanceSample", "importance"]


class Estimate(NamedTuple):
    """An estimate from samples, and its standard error.

    Attributes:
      value: the estimate, a float or an array.
      standard_error: its standard error, of the same shape.
    """

    value: float | np.ndarray
    standard_error: float | np.ndarray


@dataclasses.dataclass(frozen=True)
class ImportanceSample:
    """Samples of a flow q, with weights under which they represent a target p.

    The weights of the n samples are w = exp(target_log_prob(x)) / q(x). Below,
    w̄ = w / Σ w.

    Attributes:
      x: the samples of the flow, `(n, event_size)`.
      log_weights: log w in nats, `(n,)`; -inf where the target is zero.
    """

    x: tf.Tensor
    log_weights: tf.Tensor

    @property
    def ess(self) -> float:
        """The effective sample size 1 / Σ w̄², from 1 to n.

        It measures how much precision is lost by unequal weights. It cannot show parts
        of the target that the flow never samples.

        Source: Kish (1965), "Survey sampling".
        """
        return float(1 / np.sum(self._shares**2))

    @property
    def ess_fraction(self) -> float:
        """The effective sample size as a fraction of n, in (0, 1]."""
        return self.ess / len(self._shares)

    @property
    def log_z(self) -> Estimate:
        """The log of the target's normalizer, log(Σ w / n), in nats.

        Its standard error is that of Σ w / n divided by Σ w / n (delta method).
        """
        log_weights = self.log_weights.numpy().astype(np.float64)
        peak, n = log_weights.max(), len(log_weights)
        value = peak + np.log(np.exp(log_weights - peak).mean())
        variance = max(1 / self.ess_fraction - 1, 0.0) / (n - 1)
        return Estimate(float(value), float(np.sqrt(variance)))

    def expectation(self, function: Callable[[tf.Tensor], Any]) -> Estimate:
        """Returns the self-normalized estimate Σ w̄ · function(x) of E_p[function(x)].

        Args:
          function: maps points `(n, event_size)` to values `(n, ...)`.

        Returns:
          The value and its standard error, `(...)` each. The standard error is
          √(Σ w̄² (function(x) - value)²), by the delta method.

        Raises:
          ValueError: `function` does not return one value for each point.
        """
        values = np.asarray(function(self.x), np.float64)
        shares = self._shares
        if values.shape[:1] != shares.shape:
            raise ValueError(
                f"`function` must return a value for each of {len(shares)} points. "
                f"Received shape {values.shape}."
            )
        mean = np.tensordot(shares, values, 1)
        variance = np.tensordot(shares**2, (values - mean) ** 2, 1)
        return Estimate(mean, np.sqrt(variance))

    def resample(self, n: int, *, seed: int | None = None) -> tf.Tensor:
        """Returns points of approximately the target, `(n, event_size)`.

        They are drawn from x with replacement with probabilities w̄. They are nearly
        independent if `n` is well below `ess`.

        Args:
          n: the number of points, at least 1.
          seed: the seed of the draw; None draws one.

        Raises:
          ValueError: `n` is not a whole number ≥ 1.

        Source: Rubin (1988), "Using the SIR algorithm to simulate posterior
        distributions".
        """
        n = checks.positive_int(n, "n")
        rng = np.random.default_rng(checks.as_seed(seed))
        rows = rng.choice(len(self._shares), size=n, p=self._shares)
        return tf.gather(self.x, rows)

    @property
    def _shares(self) -> np.ndarray:
        log_weights = self.log_weights.numpy().astype(np.float64)
        weights = np.exp(log_weights - log_weights.max())
        return weights / weights.sum()


def importance(
    flow: Flow,
    target_log_prob: Callable[[tf.Tensor], tf.Tensor],
    n: int,
    *,
    seed: int | None = None,
    batch_size: int | None = None,
) -> ImportanceSample:
    """Returns samples of a flow with importance weights for a target.

    Expectations under these weights, and their log Z, converge to those of the target,
    however the flow was fitted, if the flow covers the target.

    Args:
      flow: the Flow to sample, which must not be conditional.
      target_log_prob: the log-density, as for `ReverseKL`; -inf where it is zero.
      n: the number of samples, at least 2.
      seed: the seed of the samples; None draws one.
      batch_size: the number of points in one call; None takes 65,536.

    Returns:
      An ImportanceSample.

    Raises:
      TypeError: `flow` is not a Flow, or `target_log_prob` does not return numbers of
        its dtype.
      ValueError: the flow is conditional; or `target_log_prob` does not return one
        number for each point, is NaN or +inf at a point, or -inf at all of them.

    Example:
      >>> import tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> flow = tfpf.Flow([tfp.bijectors.Scale([1.2, 1.2])])
      >>> def energy(x):
      ...     return -tf.reduce_sum(x**2, -1) / 2  # log Z = log 2π = 1.838
      >>> sample = importance(flow, energy, 10_000, seed=0)
      >>> log_z, standard_error = sample.log_z
      >>> abs(log_z - 1.838) < 3 * standard_error < 0.02
      True
      >>> round(sample.ess_fraction, 2)
      0.91
    """
    check(flow, target_log_prob)
    n = checks.positive_int(n, "n")
    if n < 2:
        raise ValueError("`n` must be at least 2, for a standard error. Received: 1.")
    seeds = random.Random(checks.as_seed(seed))
    points, log_weights = [], []
    for start, stop in chunks(n, batch_size):
        # The last stage knows the density of its samples, so that no inverse is needed.
        drawn = flow.stages(stop - start, seed=seeds.randrange(2**31))[-1]
        target = target_values(target_log_prob, drawn.samples)
        points.append(drawn.samples)
        log_weights.append(target - drawn.log_prob)
    x, log_weights = tf.concat(points, 0), tf.concat(log_weights, 0)
    values = log_weights.numpy()
    raise_where(np.isnan(values) | (values == np.inf), x, "NaN or +inf weights")
    if (values == -np.inf).all():
        raise ValueError(
            f"`target_log_prob` is -inf at all {n} samples of the flow: they are "
            "outside of the target's support."
        )
    return ImportanceSample(x, log_weights)
