"""How FlowDensity fits: mixtures first, a race of starts, then the winner's flow.

A Gaussian mixture is hard to beat in a minute, so that the flow begins as one: its
base is a mixture, and its couplings begin as the identity. The mixture that is best by
itself is not always the best start: a flow removes what a mixture lacks, but not what
it has learned by heart. So flows from mixtures of fewer components are trained beside
it for a while, rows that none of them has seen judge them, and one of the flows is
trained on with those rows too for the rest of the time.
"""

import dataclasses
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import tensorflow_probability as tfp

from tfp_flows.bases import Mixture
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.few_rows import mixture_of_few
from tfp_flows.estimator.mixtures import (
    Start,
    is_better,
    mixtures,
    most_components,
    quiet,
    refitted,
    scores_of,
)
from tfp_flows.estimator.race import Plan, Race

__all__ = ["Result", "warm_fit"]

tfb = tfp.bijectors

_LEAST_HELD_OUT, _MOST_HELD_OUT = 500, 20_000
# Of the other rows, those that mixtures and the race do not see, to be judged by them.
_JUDGES, _MOST_JUDGES = 0.3, 20_000

# Fewer rows than this times the width: a mixture is all they can tell; and fewer than
# this: none of them can be spared to choose it by.
_FEWEST_ROWS_A_COLUMN, _FEWEST_ROWS = 40, 500

_LEAST_SECONDS, _SECONDS_A_COLUMN = 15.0, 0.1  # to compile the graphs and to train
# Share of the time for mixtures: without a flow; of short limits, but no more than
# these seconds, while the flow's graphs compile; and of long ones.
_MIXTURES_ALONE, _MIXTURES, _MIXTURES_SECONDS, _MIXTURES_LONG = 0.7, 0.25, 15.0, 0.15


@dataclasses.dataclass(frozen=True)
class Result:
    """A fitted density of the points that it was fitted to.

    Attributes:
      bijectors: in sampling order; none where a mixture is all.
      base: the mixture.
      history: metric to its value after each epoch of training.
      start: held-out log_prob of the best mixture, in nats.
      held_out: held-out log_prob of the result, in nats.
    """

    bijectors: list[tfb.Bijector]
    base: Mixture
    history: dict[str, list[float]]
    start: float
    held_out: float


def warm_fit(
    z: np.ndarray, weights: np.ndarray | None, plan: Plan, clock: Clock
) -> Result:
    """Fits a density to standardized points.

    Args:
      z: points `(n, d)`, float64, of about unit scale.
      weights: `(n,)` numbers ≥ 0, or None.
      plan: what to fit.
      clock: when to be done.
    """
    n, d = z.shape
    z = z[_in_random_order(n, weights, plan.seed)]
    if n < max(_FEWEST_ROWS, _FEWEST_ROWS_A_COLUMN * d):
        with quiet():
            found = mixture_of_few(z, plan.seed, Clock(_MIXTURES_ALONE * clock.left))
        return _alone(found, z if n >= _FEWEST_ROWS else None)
    least = min(_LEAST_HELD_OUT, n // 10)
    count = min(_MOST_HELD_OUT, max(least, round(plan.validation_fraction * n)), n // 2)
    held_out, points = z[:count], z[count:]
    with quiet():
        if clock.left < _LEAST_SECONDS + _SECONDS_A_COLUMN * d:
            allowance = Clock(_MIXTURES_ALONE * clock.left)
            starts = mixtures(points, held_out, plan.seed, allowance)
            return _alone(_best(starts), points)
    seconds = min(_MIXTURES_SECONDS, _MIXTURES * clock.left)
    allowance = Clock(max(seconds, _MIXTURES_LONG * clock.left))
    count = min(_MOST_JUDGES, round(_JUDGES * len(points)))
    judges, train = points[:count], points[count:]

    def fit_mixtures() -> tuple[list[Start], Start]:
        starts = mixtures(train, judges, plan.seed, allowance)
        best = _best(starts)
        alone = refitted(best, points, held_out, allowance)
        return starts[: starts.index(best) + 1], alone

    with quiet(), ThreadPoolExecutor(1) as aside:
        task = aside.submit(fit_mixtures)
        try:
            components = most_components(*train.shape, allowance.seconds)
            # Compiles meanwhile.
            race = Race(train, judges, held_out, components, plan, clock)
        except BaseException:
            allowance.stop()
            raise
    starts, alone = task.result()
    if not race.has_time:
        return _alone(alone, points)
    trained = race.run(starts)
    mixture, unseen = alone.mixture, held_out
    if len(trained.judged) > len(held_out):  # neither has seen the judges
        mixture, unseen = _best(starts).mixture, np.concatenate([judges, held_out])
    is_gain = is_better(trained.judged, scores_of(mixture, unseen), 1)
    if not is_gain or is_better(scores_of(alone.mixture, held_out), trained.scores, 2):
        return dataclasses.replace(_alone(alone, points), history=trained.history)
    return Result(
        trained.bijectors,
        trained.base,
        trained.history,
        alone.score,
        float(trained.scores.mean()),
    )


def _in_random_order(n: int, weights: np.ndarray | None, seed: int) -> np.ndarray:
    """Returns n numbers of rows, drawn by their weights where these differ.

    Those of the same row stand together, so that parts of them share none.
    """
    rng = np.random.default_rng(seed)
    rows = np.arange(n)
    if weights is not None and (weights != weights[0]).any():
        rows = rng.choice(n, n, p=weights / weights.sum())
    place = np.argsort(rng.permutation(n))
    return rows[np.argsort(place[rows])]


def _best(starts: Sequence[Start]) -> Start:
    return max(starts, key=lambda start: start.score)


def _alone(start: Start, train: np.ndarray | None = None) -> Result:
    """Returns a mixture as all there is; with heavier tails where `train` has them."""
    return Result([], start.as_base(train), {}, start.score, start.score)
