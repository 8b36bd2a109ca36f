"""The second step of a fit: flows from several starts race, one is trained to the end.

The mixture that is best by itself is not always the best start: a flow removes what a
mixture lacks, but not what a mixture has overfitted. So flows are trained from mixtures
of fewer components too, for a while, and the selection rows choose the one that is
trained for the rest of the time.
"""

import dataclasses
import math
from collections.abc import Sequence
from typing import Self

import numpy as np
import tensorflow_probability as tfp

from tfp_flows._core.statistics import is_better
from tfp_flows.bases import Mixture
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.mixtures import Start
from tfp_flows.estimator.shared_flow import History, SharedFlow, State

__all__ = ["Budget", "Trained", "race"]

tfb = tfp.bijectors

# Fewer validation rows than this cannot tell when to end training.
_ENOUGH_VALIDATION = 2_500

# Steps of all training without a time limit: one for each row, but at most these.
_MOST_STEPS = 6_000

# The share of training in which the learning rate rises, when there is no race. The
# first steps of Adam are as long as any, and would undo in all layers at once what the
# mixture got right.
_WARM_UP = 0.1

# A flow is trained only if there is time for this many of the shortest trainings.
_WORTHWHILE = 2


@dataclasses.dataclass(frozen=True)
class _Round:
    """A round of the race.

    Args:
      entrants: how many flows take part, at most.
      steps: of each flow, at most.
      share: of all training, at most, for all of them together.
      warm_up: share of the round in which the learning rate rises.
    """

    entrants: int
    steps: int
    share: float
    warm_up: float


_ROUNDS = (
    _Round(entrants=99, steps=160, share=0.2, warm_up=0.5),
    _Round(entrants=3, steps=400, share=0.35, warm_up=0.0),
)


@dataclasses.dataclass(frozen=True)
class Budget:
    """How long a flow may be trained.

    Args:
      clock: the time until the end of the fit.
      steps: the most steps of all training; infinite under a time limit.
      seconds_after: kept back for what follows training.
      least_seconds: that any training takes, however short it is; 0 without a limit.
    """

    clock: Clock
    steps: float
    seconds_after: float
    least_seconds: float

    @classmethod
    def measured(cls, flow: SharedFlow, clock: Clock) -> Self:
        """Compiles the flow's graphs by using each one, and measures how long it takes.

        Args:
          flow: the flow to train; its states stay as they are.
          clock: the time until the end of the fit.
        """
        timed = math.isfinite(clock.seconds)
        rows = flow.rows
        before = clock.spent
        flow.scores(flow.initial, rows.validation)
        # A graph like this one is compiled once more after training.
        seconds_after = 1.0 + 1.5 * (clock.spent - before)
        flow.train(flow.initial, steps=1, seconds=math.inf)  # compiles
        before = clock.spent
        if timed:
            flow.train(flow.initial, steps=1, seconds=math.inf)
        return cls(
            clock,
            math.inf if timed else min(_MOST_STEPS, len(rows.selection_and_train)),
            seconds_after,
            clock.spent - before if timed else 0.0,
        )

    @property
    def seconds(self) -> float:
        """Seconds that are left for training."""
        return self.clock.left - self.seconds_after

    @property
    def is_worthwhile(self) -> bool:
        """Whether there is time for more than the shortest training."""
        return self.seconds > _WORTHWHILE * self.least_seconds


@dataclasses.dataclass(frozen=True)
class Trained:
    """The flow that the second step hands on.

    Args:
      bijectors: in sampling order.
      base: the mixture.
      history: metric to its value after each epoch of the last training.
      validation_scores: log-density of the validation rows, `(n,)`, in nats.
      held_out_scores: the same of the validation and selection rows together, from
        before the flow was trained on the latter; None if they took part all along.
    """

    bijectors: list[tfb.Bijector]
    base: Mixture
    history: History
    validation_scores: np.ndarray
    held_out_scores: np.ndarray | None


@dataclasses.dataclass(frozen=True)
class _Entrant:
    """A start in the race.

    Args:
      start: the mixture.
      state: of the flow that started from it.
      scores: log-density of the selection rows, `(n,)`, in nats; empty before a race.
    """

    start: Start
    state: State
    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.empty(0))

    @property
    def has_raced(self) -> bool:
        """Whether the flow was trained for a while."""
        return len(self.scores) > 0

    @property
    def mean_score(self) -> float:
        """The mean score; -inf where a score is not finite."""
        mean = float(self.scores.mean())
        return mean if math.isfinite(mean) else -math.inf


def race(flow: SharedFlow, starts: Sequence[Start], budget: Budget) -> Trained:
    """Trains flows from all starts for a while, and one of them to the end.

    Args:
      flow: the flow that all starts share.
      starts: mixtures to start from.
      budget: how long it may be trained.
    """
    winner = _winner(flow, starts, budget)
    warm_up = 0.0 if winner.has_raced else _WARM_UP
    finish = (
        _finish
        if len(flow.rows.validation) >= _ENOUGH_VALIDATION
        else _finish_in_two_parts
    )
    state, history, held_out_scores = finish(flow, winner.state, budget, warm_up)
    scores = flow.scores(state, flow.rows.validation)
    bijectors, base = flow.parts(state, winner.start.components)
    return Trained(bijectors, base, history, scores, held_out_scores)


def _winner(flow: SharedFlow, starts: Sequence[Start], budget: Budget) -> _Entrant:
    """Trains each start for a while, the best few for longer, and returns one.

    There is no race if there is only one start, or time for only one.
    """
    seconds = budget.seconds
    entrants = [_Entrant(start, flow.state_of(start)) for start in starts]
    entrants.sort(key=lambda entrant: entrant.start.score, reverse=True)
    for each in _ROUNDS:
        most = each.entrants
        if each.share * seconds < most * budget.least_seconds:
            most = max(int(each.share * seconds / budget.least_seconds), 1)
        entrants = entrants[:most]
        if len(entrants) == 1:
            return entrants[0]
        entrants = [
            _after_round(flow, entrant, each, len(entrants), budget.steps, seconds)
            for entrant in entrants
        ]
        if flow.settings.verbose:
            found = ", ".join(
                f"{entrant.start.components}: {entrant.mean_score:.3f}"
                for entrant in entrants
            )
            print("Log-density of selection rows, by components at the start:", found)
        entrants.sort(key=lambda entrant: entrant.mean_score, reverse=True)
    best = entrants[0]
    # Among flows within a standard error, the fewest components have most to gain.
    near = [each for each in entrants if not is_better(best.scores, each.scores, 1)]
    return min(near or [best], key=lambda entrant: entrant.start.components)


def _after_round(
    flow: SharedFlow,
    entrant: _Entrant,
    round_: _Round,
    entrants: int,
    steps: float,
    seconds: float,
) -> _Entrant:
    """Returns an entrant after its share of a round.

    Args:
      flow: the flow that all entrants share.
      entrant: as it was before.
      round_: the round.
      entrants: how many share it.
      steps: of all training.
      seconds: of all training.
    """
    share = round_.share / entrants
    # The rate does not fall: averages are compared, and training goes on from them.
    state, _ = flow.train(
        entrant.state,
        steps=min(round_.steps, share * steps),
        seconds=share * seconds,
        warm_up=round_.warm_up,
        alpha=1.0,
    )
    scores = flow.scores(state, flow.rows.selection)
    return dataclasses.replace(entrant, state=state, scores=scores)


def _finish(
    flow: SharedFlow, state: State, budget: Budget, warm_up: float
) -> tuple[State, History, None]:
    """Trains to the end on all rows but the validation rows, which choose an average.

    Returns the state, the history, and None, as the selection rows took part.
    """
    state, history = flow.train(
        state,
        steps=budget.steps,
        seconds=budget.seconds,
        with_selection=True,
        warm_up=warm_up,
        verbose=flow.settings.verbose,
    )
    return state, history, None


def _finish_in_two_parts(
    flow: SharedFlow, fresh: State, budget: Budget, warm_up: float
) -> tuple[State, History, np.ndarray]:
    """Trains without the selection rows, and then from the same state with them.

    A few validation rows would end training by chance. So the selection rows tell
    after how many epochs the flow is best; with them it is then trained for as many
    epochs, and on from there while the validation rows like it better.

    Returns the state, the history, and the scores of validation and selection rows
    between the two parts.

    Source: Goodfellow, Bengio and Courville (2016), "Deep learning", algorithm 7.2.
    """
    rows, verbose = flow.rows, flow.settings.verbose
    fewer, more = len(rows.train), len(rows.selection_and_train)
    share = fewer / (fewer + more)  # as many passes over the rows in both parts
    first, history = flow.train(
        fresh,
        steps=share * budget.steps,
        seconds=share * budget.seconds,
        warm_up=warm_up,
        verbose=verbose,
    )
    held_out_scores = flow.scores(first, rows.held_out)
    if budget.seconds < budget.least_seconds:
        return first, history, held_out_scores
    losses = np.nan_to_num(history["val_loss"], nan=math.inf)
    second, history = flow.train(
        fresh,
        steps=(1 - share) * budget.steps,
        seconds=budget.seconds,
        with_selection=True,
        least_epochs=1 + int(np.argmin(losses)),
        warm_up=warm_up,
        verbose=verbose,
    )
    before = held_out_scores[: len(rows.validation)]
    is_worse = is_better(before, flow.scores(second, rows.validation), 2)
    return first if is_worse else second, history, held_out_scores
