"""How FlowDensity fits: mixtures first, a race of starts, then the winner's flow.

A Gaussian mixture is hard to beat in a minute, so that the flow begins as one: its
base is a mixture, and its couplings begin as the identity. The mixture that is best by
itself is not always the best start: a flow removes what a mixture lacks, but not what
it has learned by heart. So a Gaussian and a mixture of fewer components are trained
beside it for a while, and one of the flows is trained on for the rest of the time.
"""

import dataclasses
import math
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._clock import Clock
from tfp_flows._devices import on_cpu
from tfp_flows._mixture_starts import (
    THINNING,
    Start,
    mixture_of_few,
    mixtures,
    most_components,
    quiet,
)
from tfp_flows.bases import Mixture
from tfp_flows.bijectors import Spline, SplineCoupling
from tfp_flows.callbacks import CosineToDeadline, WeightAverage
from tfp_flows.flow import Flow

__all__ = ["Plan", "Result", "warm_fit"]

tfb = tfp.bijectors

_LEAST_HELD_OUT, _MOST_HELD_OUT = 500, 20_000

# Fewer rows than this times the width: a mixture is all they can tell; and fewer than
# this: none of them can be spared to choose it by.
_FEWEST_ROWS_A_COLUMN, _FEWEST_ROWS = 40, 500

_LEAST_SECONDS = 15.0  # to compile the flow's graphs and to train it
_XLA_SECONDS = 35.0  # from which on XLA wins back what it takes to compile
# Share of the time for mixtures: without a flow; of short limits, but no more than
# these seconds, while the flow's graphs compile; and of long ones.
_MIXTURES_ALONE, _MIXTURES, _MIXTURES_SECONDS, _MIXTURES_LONG = 0.7, 0.25, 15.0, 0.15
# Rounds of the race: steps for each entrant, the share of all training at most, and the
# nats a coordinate that it may then be behind: at first a thin start has most to learn.
_ROUNDS = ((160, 0.2, 0.1), (400, 0.35, 0.03))
_STEPS, _STEPS_A_ROW = 6_000, 1  # where no time limit is given, at most
_PATIENCE = 20  # epochs
_STEPS_AT_ONCE = 32
# Share of the first round, or of all training without one, in which the rate rises:
# Adam's first steps are as long as any, and would undo in all layers at once what the
# mixture knows.
_WARM_UP = 0.5, 0.1
# Decay of the heads' weights, towards the identity, as 1 / rows as a prior has it.
_DECAY_BY_ROWS, _MOST_DECAY = 36_000.0, 10.0


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
    if n < _FEWEST_ROWS:
        with quiet():
            return _alone(mixture_of_few(z, plan.seed))
    rows = rng.permutation(n)
    least = min(_LEAST_HELD_OUT, n // 10)
    count = min(_MOST_HELD_OUT, max(least, round(plan.validation_fraction * n)))
    held_out, train = z[rows[:count]], z[rows[count:]]
    with quiet():
        if clock.left < _LEAST_SECONDS or n < _FEWEST_ROWS_A_COLUMN * d:
            allowance = Clock(_MIXTURES_ALONE * clock.left)
            starts = mixtures(train, held_out, plan.seed, allowance)
            return _alone(max(starts, key=lambda start: start.score), train)
    seconds = min(_MIXTURES_SECONDS, _MIXTURES * clock.left)
    allowance = Clock(max(seconds, _MIXTURES_LONG * clock.left))
    with quiet(), ThreadPoolExecutor(1) as aside:
        task = aside.submit(mixtures, train, held_out, plan.seed, allowance)
        try:
            components = most_components(*train.shape, allowance.seconds)
            # Compiles meanwhile.
            trainer = _Trainer(train, held_out, components, plan, clock)
        except BaseException:
            allowance.stop()
            raise
    return trainer.result(task.result())


def _alone(start: Start, train: np.ndarray | None = None) -> Result:
    """Returns a mixture as all there is; with heavier tails where `train` has them."""
    return Result([], start.as_base(train), {}, start.score, start.score)


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


@on_cpu
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

    # Without threads of its own: tf.data now and then waits half a minute for them
    # when an iterator ends.
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        tf.data.Dataset.counter()
        .flat_map(epoch)
        .map(lambda rows: tf.ensure_shape(tf.gather(points, rows), [size, width]))
        .with_options(options)
    )


def _entrants(starts: Sequence[Start]) -> list[Start]:
    """Returns a Gaussian, the best mixture, and one of a size between the two."""
    best = max(range(len(starts)), key=lambda i: starts[i].score)
    sizes = np.log([start.components for start in starts[: best + 1]])
    thinner = int(np.argmin(np.abs(sizes - sizes[best] + math.log(THINNING))))
    return [starts[i] for i in sorted({0, thinner, best})]


def _is_better(scores: np.ndarray, others: np.ndarray) -> bool:
    """Returns whether scores of the same points are better by two standard errors."""
    gain = scores - others
    return bool(gain.mean() > 2 * gain.std() / math.sqrt(len(gain)))


class _Trainer:
    """One compiled flow, whose weights are those of one start or of another."""

    def __init__(
        self,
        train: np.ndarray,
        held_out: np.ndarray,
        components: int,
        plan: Plan,
        clock: Clock,
    ) -> None:
        self._plan, self._clock = plan, clock
        self._train = train.astype(np.float32)
        self._held_out = held_out.astype(np.float32)
        rows, d = train.shape
        # Spare components cost little: the graphs do not wait for the mixtures.
        base = Mixture(d, components, tails="student", seed=plan.seed)
        base.start(np.ones(1), np.zeros([1, d]), np.eye(d)[np.newaxis])
        bijectors = _bijectors(d, plan)
        for bijector in bijectors:  # identities: the same points reach them all
            bijector.adapt(self._train)
        self._flow = Flow(bijectors, base=base)
        weights = self._flow.trainable_variables
        decay = min(_MOST_DECAY, _DECAY_BY_ROWS / rows)
        optimizer = keras.optimizers.Adam(
            plan.learning_rate, global_clipnorm=1.0, weight_decay=decay
        )
        optimizer.exclude_from_weight_decay(
            [weight for weight in weights if "/head/" not in weight.path]
        )
        self._flow.compile(
            optimizer,
            steps_per_execution=_STEPS_AT_ONCE,
            jit_compile=clock.left > _XLA_SECONDS,
        )
        optimizer.build(weights)
        self._variables = [
            variable.value for variable in (*self._flow.variables, *optimizer.variables)
        ]
        self._average = WeightAverage(self._held_out, patience=_PATIENCE)
        self._batches = _batches(self._train, plan.batch_size, plan.seed)
        self._fresh = self._state()
        before = clock.spent
        self._flow.log_prob(self._held_out)
        # What comes after training compiles that once more.
        self._seconds_after = 1.0 + 1.5 * (clock.spent - before)
        self._fit(1, math.inf)  # compiles

    def result(self, starts: Sequence[Start]) -> Result:
        """Races some starts, trains the winner on, and returns it if it is better."""
        winner, history = self._race(_entrants(starts))
        best = max(starts, key=lambda start: start.score)
        scores = self._scores()
        others = best.mixture.score_samples(self._held_out)
        if _is_better(others, scores) or not np.isfinite(scores).all():
            return dataclasses.replace(_alone(best, self._train), history=history)
        return Result(
            list(self._flow.bijectors),
            self._flow.base.cut(winner.components),
            history,
            best.score,
            float(scores.mean()),
        )

    def _race(self, entrants: Sequence[Start]) -> tuple[Start, dict[str, list[float]]]:
        """Trains each start for a while, and one of them to the end.

        Returns:
          That one, and the history of its end; the flow is left with its weights.
        """
        plan, clock = self._plan, self._clock
        timed = math.isfinite(clock.seconds)
        steps = min(_STEPS, _STEPS_A_ROW * len(self._train))
        seconds = clock.left - self._seconds_after
        states = []
        for start in entrants:
            self._restore(self._fresh)
            start.put_into(self._flow.base, self._train)
            states.append(self._state())
        racing = list(range(len(entrants)))
        scores: dict[int, np.ndarray] = {}
        for turn, (most, share, lag) in enumerate(_ROUNDS):
            if len(racing) == 1:
                break
            share /= len(racing)
            for i in racing:
                self._restore(states[i])
                # At a rate that stays: the averages are compared, and go on.
                self._fit(
                    most if timed else math.ceil(min(most, share * steps)),
                    share * seconds,
                    warm_up=0.0 if turn else _WARM_UP[0],
                    alpha=1.0,
                )
                states[i], scores[i] = self._state(), self._scores()
            best = max(racing, key=lambda i: scores[i].mean())
            if plan.verbose:
                told = (
                    f"{entrants[i].components}: {scores[i].mean():.3f}" for i in racing
                )
                print("Held-out nats by components at the start:", ", ".join(told))
            least = scores[best].mean() - lag * self._train.shape[1]
            racing = [i for i in racing if i == best or scores[i].mean() >= least]
        # The thinnest one that no other is clearly better than: it has more to gain.
        chosen = next(
            i
            for i in racing
            if not any(_is_better(scores[j], scores[i]) for j in racing if j != i)
        )
        self._restore(states[chosen])
        if timed:
            steps, seconds = None, clock.left - self._seconds_after
        else:
            seconds = math.inf
        history = self._fit(
            steps,
            seconds,
            warm_up=0.0 if len(entrants) > 1 else _WARM_UP[1],
            verbose=plan.verbose,
        )
        return entrants[chosen], history

    def _fit(
        self, steps: int | None, seconds: float, *, verbose: int = 0, **rate: float
    ) -> dict[str, list[float]]:
        """Trains for a while, and returns the history.

        Args:
          steps: after which training ends; None for as many as there is time for.
          seconds: after which it ends at the latest.
          verbose: as for Keras.
          **rate: as for `CosineToDeadline`.
        """
        plan = self._plan
        end = CosineToDeadline(
            plan.learning_rate, steps=steps, seconds=max(seconds, 0.1), **rate
        )
        passes = len(self._train) // (plan.batch_size * _STEPS_AT_ONCE)
        history = self._flow.fit(
            self._batches,
            steps_per_epoch=_STEPS_AT_ONCE * min(max(passes, 4), 32),
            epochs=1_000_000,  # the end comes before
            callbacks=[self._average, end],
            verbose=verbose,
        )
        return history.history

    def _scores(self) -> np.ndarray:
        return self._flow.log_prob(self._held_out).numpy().astype(np.float64)

    # The state of an entrant: all weights, and what the optimizer remembers.

    def _state(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables]

    def _restore(self, state: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)
