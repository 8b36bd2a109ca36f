"""How FlowDensity fits: mixtures first, a race of starts, then the flow of the winner.

A Gaussian mixture is hard to beat in a minute, so that the flow begins as one: its
base is a mixture, and its couplings begin as the identity. The mixture that is best by
itself is not the best start, so that a few are trained for a little while, and the
better half of them for a little longer. What is left of the time goes to the winner.
"""

import dataclasses
import math
import time
import warnings
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfp_flows.bases import Mixture
from tfp_flows.bijectors import Spline, SplineCoupling
from tfp_flows.callbacks import CosineToDeadline, WeightAverage
from tfp_flows.flow import Flow
from tfp_flows.optimizers import FusedAdam

__all__ = ["Clock", "Plan", "Result", "warm_fit"]

tfb = tfp.bijectors

# Components of the mixtures that are tried as starts.
_LADDER = (1, 2, 3, 5, 8, 12, 20, 30, 45)
_ROWS_A_NUMBER = 5  # at least, for each number of a mixture

# The least variance of a component, of points that have about unit variance.
_LEAST_VARIANCE = 1e-6

# Fewer rows than this and this times the width: a mixture is all they can tell.
_FEWEST_ROWS, _FEWEST_ROWS_A_COLUMN = 500, 40

_LEAST_SECONDS = 12.0  # a flow's graphs alone take about half of this
_MIXTURE_SHARE, _RACE_SHARE = 0.12, 0.25  # of the time
_ENTRANTS = 3
_THINNING = 3.0  # components of one entrant and of the next
_STEPS, _STEPS_A_ROW = 12_000, 4  # where no time limit is given, at most
_SECONDS_AFTER = 2.0  # for what comes after training
_EPOCHS = 60
# Share of training in which the rate rises: Adam's first steps are as long as any, and
# would undo in all layers at once what the mixture knows.
_WARM_UP = 0.1
_STEPS_AT_ONCE = 32


@dataclasses.dataclass(frozen=True)
class Plan:
    """What is fitted, and how; see `FlowDensity` for the meaning of each."""

    layers: int
    hidden: tuple[int, ...]
    bins: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    seed: int
    verbose: int


class Clock:
    """The time since the start, and the end of it.

    Args:
      seconds: until the end; None for no end.
    """

    def __init__(self, seconds: float | None) -> None:
        self.seconds = seconds
        self._start = time.perf_counter()

    @property
    def spent(self) -> float:
        """Seconds since the start."""
        return time.perf_counter() - self._start

    @property
    def left(self) -> float:
        """Seconds until the end."""
        return math.inf if self.seconds is None else self.seconds - self.spent


@dataclasses.dataclass(frozen=True)
class Result:
    """A fitted density of the points that it was fitted to.

    Attributes:
      bijectors: in sampling order; none where a mixture is all.
      base: the mixture.
      history: metric to its value after each epoch of training.
      start: held-out log_prob of the mixture that training started from, in nats.
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
    rng = np.random.default_rng(plan.seed)
    if weights is not None and (weights != weights[0]).any():
        # Rows drawn by their weights stand for them.
        z = z[rng.choice(len(z), len(z), p=weights / weights.sum())]
    n, d = z.shape
    if n < max(_FEWEST_ROWS, _FEWEST_ROWS_A_COLUMN * d):
        return _mixture_alone(z, plan)
    rows = rng.permutation(n)
    held_out = z[rows[: max(1, round(plan.validation_fraction * n))]]
    train = z[rows[len(held_out) :]]
    starts = _mixtures(train, held_out, plan, clock)
    if clock.left < _LEAST_SECONDS:
        best = max(starts, key=lambda start: start.score)
        return best.alone()
    return _Trainer(train, held_out, plan, clock).result(starts)


# Mixtures


@dataclasses.dataclass(frozen=True)
class _Start:
    """A fitted mixture, and its mean log_prob of held-out points."""

    mixture: GaussianMixture
    score: float

    def alone(self) -> Result:
        """Returns it as all there is."""
        count, d = self.mixture.means_.shape
        base = Mixture(d, count, seed=0, dtype="float64")
        base.start(*_numbers(self.mixture))
        return Result([], base, {}, self.score, self.score)


def _numbers(mixture: GaussianMixture) -> tuple[np.ndarray, ...]:
    return mixture.weights_, mixture.means_, mixture.precisions_cholesky_


def _fitted(z: np.ndarray, components: int, seed: int, least: float) -> GaussianMixture:
    mixture = GaussianMixture(
        components,
        reg_covar=least,
        init_params="k-means++",
        max_iter=60,
        random_state=seed,
    )
    with warnings.catch_warnings():
        # Training goes on from here; few distinct points make empty components.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        return mixture.fit(z)


def _size(components: int, d: int) -> int:
    """Returns how many numbers a mixture has."""
    return components * (1 + d + d * (d + 1) // 2)


def _mixture_alone(z: np.ndarray, plan: Plan) -> Result:
    """Returns the mixture of few points that the Bayesian criterion prefers."""
    n, d = z.shape
    # As much of a round shape as few points leave undecided.
    least = max(_LEAST_VARIANCE, min(0.1, 0.1 * d / n))
    if n == 1:
        z, least = np.repeat(z, 2, axis=0), 1.0
    fits = [
        _fitted(z, k, plan.seed, least)
        for k in _LADDER
        if k == 1 or _ROWS_A_NUMBER * _size(k, d) <= n
    ]
    best = min(fits, key=lambda mixture: mixture.bic(z))
    return _Start(best, float(best.score(z))).alone()


def _mixtures(
    train: np.ndarray, held_out: np.ndarray, plan: Plan, clock: Clock
) -> list[_Start]:
    """Returns mixtures of more and more components, while rows and time allow."""
    starts: list[_Start] = []
    until = _MIXTURE_SHARE * clock.seconds if clock.seconds else math.inf
    for k in _LADDER:
        if k > 1 and _ROWS_A_NUMBER * _size(k, train.shape[1]) > len(train):
            break
        before = clock.spent
        mixture = _fitted(train, k, plan.seed, _LEAST_VARIANCE)
        starts.append(_Start(mixture, float(mixture.score(held_out))))
        if clock.spent + 1.5 * (clock.spent - before) > until:
            break
        if len(starts) > 3 and starts[-1].score < max(s.score for s in starts) - 0.05:
            break
    return starts


# The flow


def _bijectors(d: int, plan: Plan) -> list[tfb.Bijector]:
    """Returns couplings in pairs that split the coordinates in two, one each way."""
    if d == 1:
        return [Spline(2 * plan.bins, seed=plan.seed)]
    rng = np.random.default_rng(plan.seed)
    bijectors = []
    for i in range(plan.layers):
        if i % 2 == 0:
            mask = np.zeros(d, int)
            mask[rng.permutation(d)[: d // 2]] = 1
        bijectors.append(
            SplineCoupling(
                mask.tolist(),
                flip=i % 2 == 1,
                bins=plan.bins,
                affine=True,
                hidden=plan.hidden,
                seed=int(rng.integers(2**31)),
            )
        )
    return bijectors


def _batches(points: np.ndarray, batch_size: int, seed: int) -> tf.data.Dataset:
    """Returns batches without end: every row once, then all in another order."""
    rows, width = points.shape
    size = min(batch_size, rows)
    points = tf.constant(points)
    count = rows // size

    def epoch(i: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(rows), tf.stack([tf.constant(seed, tf.int64), i])
        )
        return tf.data.Dataset.from_tensor_slices(
            tf.reshape(order[: count * size], [count, size])
        )

    return (
        tf.data.Dataset.counter()
        .flat_map(epoch)
        .map(lambda rows: tf.ensure_shape(tf.gather(points, rows), [size, width]))
        .prefetch(8)
    )


def _entrants(starts: Sequence[_Start]) -> list[_Start]:
    """Returns the best mixture, and some of fewer and fewer components."""
    best = max(range(len(starts)), key=lambda i: starts[i].score)
    sizes = np.log([len(start.mixture.weights_) for start in starts])
    wanted = sizes[best] - math.log(_THINNING) * np.arange(_ENTRANTS)
    chosen = {int(np.argmin(np.abs(sizes[: best + 1] - size))) for size in wanted}
    return [starts[i] for i in sorted(chosen, reverse=True)]


class _Trainer:
    """One compiled flow, whose weights are those of one start or of another."""

    def __init__(
        self, train: np.ndarray, held_out: np.ndarray, plan: Plan, clock: Clock
    ) -> None:
        self._plan, self._clock = plan, clock
        self._train = train.astype(np.float32)
        self._held_out = held_out.astype(np.float32)

    @property
    def _all_steps(self) -> int:
        """Steps of a fit without a time limit."""
        return min(_STEPS, _STEPS_A_ROW * len(self._train))

    def result(self, starts: Sequence[_Start]) -> Result:
        """Races the starts, trains the winner, and returns it if it is better."""
        entrants = _entrants(starts)
        self._compile(entrants)
        winner = self._race(entrants)
        history = self._finish()
        best = max(starts, key=lambda start: start.score)
        after = self._flow.log_prob(self._held_out).numpy().astype(np.float64)
        gain = after - best.mixture.score_samples(self._held_out)
        # A gain that chance explains is none, and the mixture is the simpler one.
        if not gain.mean() > gain.std() / math.sqrt(len(gain)):
            return dataclasses.replace(best.alone(), history=history)
        return Result(
            list(self._flow.bijectors),
            self._flow.base.cut(len(winner.mixture.weights_)),
            history,
            best.score,
            float(after.mean()),
        )

    def _compile(self, entrants: Sequence[_Start]) -> None:
        plan, d = self._plan, self._train.shape[1]
        most = max(len(start.mixture.weights_) for start in entrants)
        base = Mixture(d, most, tails="student", seed=plan.seed)
        base.start(*_numbers(entrants[0].mixture), points=self._train)
        bijectors = _bijectors(d, plan)
        for bijector in bijectors:  # identities: the same points reach them all
            bijector.adapt(self._train)
        self._flow = Flow(bijectors, base=base)
        optimizer = FusedAdam(plan.learning_rate, global_clipnorm=1.0)
        self._flow.compile(optimizer, steps_per_execution=_STEPS_AT_ONCE)
        optimizer.build(self._flow.trainable_variables)
        self._variables = [
            variable.value for variable in (*self._flow.variables, *optimizer.variables)
        ]
        self._average = WeightAverage(self._held_out)
        self._batches = _batches(self._train, plan.batch_size, plan.seed)

    # The state of an entrant: all weights, and what the optimizer remembers.

    def _state(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables]

    def _restore(self, state: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)

    def _steps(self, count: int, **kwargs: Any) -> keras.callbacks.History:
        """Trains for about `count` steps an epoch, a multiple of those of one call."""
        return self._flow.fit(
            self._batches,
            steps_per_epoch=_whole(count),
            **{"epochs": 1, "verbose": 0, "callbacks": [self._average], **kwargs},
        )

    def _race(self, entrants: Sequence[_Start]) -> _Start:
        """Trains each start for a while, and again the better half; returns the best.

        The flow is left with the winner's state.
        """
        clock, plan = self._clock, self._plan
        fresh = self._state()
        states: dict[int, list[np.ndarray]] = {}
        for i, start in enumerate(entrants):
            self._restore(fresh)
            self._flow.base.start(*_numbers(start.mixture), points=self._train)
            states[i] = self._state()
        self._steps(1)  # compiles
        before = clock.spent
        self._steps(3 * _STEPS_AT_ONCE)
        self._rate = 3 * _STEPS_AT_ONCE / (clock.spent - before)  # steps a second
        self._restore(states[0])
        rounds = math.ceil(math.log2(len(entrants))) if len(entrants) > 1 else 0
        seconds = (
            _RACE_SHARE * clock.left
            if clock.seconds
            else _RACE_SHARE * self._all_steps / self._rate
        )
        losses: dict[int, float] = {}
        for _ in range(rounds):
            count = self._rate * seconds / (rounds * len(states))
            for i, state in states.items():
                self._restore(state)
                # Down to a small rate each time: noise must not decide the race.
                end = CosineToDeadline(
                    plan.learning_rate, steps=_whole(count), warm_up=_WARM_UP
                )
                self._steps(count, callbacks=[self._average, end])
                states[i], losses[i] = self._state(), self._average.best
            order = sorted(states, key=losses.get)
            states = {i: states[i] for i in order[: math.ceil(len(order) / 2)]}
            if plan.verbose:
                told = ", ".join(
                    f"{len(entrants[i].mixture.weights_)}: {losses[i]:.3f}"
                    for i in order
                )
                print(
                    f"Held-out nats by components of the mixture at the start: {told}"
                )
        (winner,) = states
        self._restore(states[winner])
        return entrants[winner]

    def _finish(self) -> dict[str, list[float]]:
        """Trains the flow from its present state to the end; returns the history."""
        if self._clock.seconds is None:
            total = self._all_steps
            end = CosineToDeadline(
                self._plan.learning_rate, steps=total, warm_up=_WARM_UP
            )
        else:
            seconds = max(0.1, self._clock.left - _SECONDS_AFTER)
            total = max(_STEPS_AT_ONCE, int(self._rate * seconds))
            end = CosineToDeadline(
                self._plan.learning_rate, seconds=seconds, warm_up=_WARM_UP
            )
        steps = max(_STEPS_AT_ONCE, total // _EPOCHS)
        history = self._steps(
            steps,
            epochs=math.ceil(2 * total / steps),
            callbacks=[self._average, end],
            verbose=self._plan.verbose,
        )
        return history.history


def _whole(count: float) -> int:
    """Returns about `count` steps, a multiple of those of one call."""
    return max(1, round(count / _STEPS_AT_ONCE)) * _STEPS_AT_ONCE
