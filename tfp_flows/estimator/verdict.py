"""The third step of a fit: the flow is kept if it is better than the mixture."""

import dataclasses

import numpy as np
import tensorflow_probability as tfp

from tfp_flows._core.statistics import is_better
from tfp_flows.bases import Mixture
from tfp_flows.estimator.mixtures import Mixtures, Start, scores_of
from tfp_flows.estimator.race import Trained
from tfp_flows.estimator.rows import Rows
from tfp_flows.estimator.shared_flow import History

__all__ = ["Result", "mixture_alone", "verdict"]

tfb = tfp.bijectors

# Standard errors by which the flow must be better than the best mixture before it is
# trained on the selection rows, and by which it must not be worse at the end.
_GAIN, _LOSS = 1, 2


@dataclasses.dataclass(frozen=True)
class Result:
    """A fitted density of standardized points.

    Args:
      bijectors: in sampling order; none where the mixture is all.
      base: the mixture.
      history: metric to its value after each epoch of training.
      start: mean held-out log-density of the best mixture, in nats.
      held_out: mean held-out log-density of the result, in nats.
    """

    bijectors: list[tfb.Bijector]
    base: Mixture
    history: History
    start: float
    held_out: float


def mixture_alone(
    start: Start,
    points: np.ndarray | None = None,
    history: History | None = None,
) -> Result:
    """Returns a mixture as the result.

    Args:
      start: the mixture.
      points: `(n, d)`; they choose the tails of Student's t components. The components
        are normal when None.
      history: of a flow that was trained and is not kept.
    """
    base = start.as_base(points)
    return Result([], base, history or {}, start.score, start.score)


def verdict(mixtures: Mixtures, trained: Trained, rows: Rows) -> Result:
    """Returns the flow if it is better than the best mixture, or that mixture.

    The two are compared on rows that neither was fitted to, by their mean log-density:
    the flow must be better by a standard error. Where it was trained on the selection
    rows afterwards, it must not have become worse than the mixture by two.

    Args:
      mixtures: what the first step found.
      trained: what the second step trained.
      rows: the points, float64.
    """
    alone = mixtures.alone
    alone_scores = scores_of(alone.mixture, rows.validation)
    if trained.held_out_scores is None:
        scores, rival = trained.validation_scores, alone_scores
    else:
        scores = trained.held_out_scores
        rival = scores_of(mixtures.best.mixture, rows.held_out)
    is_gain = is_better(scores, rival, _GAIN)
    is_loss = is_better(alone_scores, trained.validation_scores, _LOSS)
    if not is_gain or is_loss:
        return mixture_alone(alone, rows.selection_and_train, trained.history)
    return Result(
        trained.bijectors,
        trained.base,
        trained.history,
        alone.score,
        float(trained.validation_scores.mean()),
    )
