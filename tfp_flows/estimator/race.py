"""A race of starts: flows that begin as mixtures are trained, and one to the end."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.devices import on_cpu
from tfp_flows.bases import Mixture
from tfp_flows.bijectors import Spline, SplineCoupling
from tfp_flows.callbacks import CosineToDeadline, WeightAverage
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.mixtures import Start, is_better
from tfp_flows.flow import Flow

__all__ = ["Plan", "Race", "Trained"]

tfb = tfp.bijectors

_XLA_SECONDS = 35.0  # from which on XLA wins back what it takes to compile
# Rounds of the race: entrants at most, steps for each, and the share of all training at
# most.
_ROUNDS = ((99, 160, 0.2), (3, 400, 0.35))
# Fewer than these cannot tell how long to train.
_FEW_HELD_OUT = 2_500
_STEPS, _STEPS_A_ROW = 6_000, 1  # where no time limit is given, at most
_PATIENCE = 10  # epochs
# So many at once, fewer of wide rows: the clock is looked at in between.
_STEPS_AT_ONCE, _COLUMNS_AT_ONCE = 32, 512
_STEPS_OF_AN_EPOCH = 128, 1024  # at least, at most
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
class Trained:
    """What a race ends with.

    Attributes:
      bijectors: in sampling order.
      base: the mixture.
      history: metric to its value after each epoch of the end of training.
      scores: log_prob of the held-out points, `(n,)`, in nats.
      judged: the same of the points that it had not seen when it was judged: of the
        judges, too, where it has learned these afterwards, and then of the held-out.
    """

    bijectors: list[tfb.Bijector]
    base: Mixture
    history: dict[str, list[float]]
    scores: np.ndarray
    judged: np.ndarray


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
def _batches(
    points: tf.Tensor, first: int, batch_size: int, seed: int
) -> tf.data.Dataset:
    """Returns batches of rows from the first on, without end.

    Every row comes once, then all in another order.
    """
    rows, width = points.shape
    size = min(batch_size, rows - first)
    count = (rows - first) // size

    def epoch(i: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(first, rows), tf.stack([tf.constant(seed, tf.int64), i])
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


@dataclasses.dataclass
class _Entrant:
    """A start in the race: the state of its flow, and what it scores."""

    start: Start
    state: list[np.ndarray]
    scores: np.ndarray = dataclasses.field(default_factory=lambda: np.zeros(1))

    def mean(self) -> float:
        """The mean score; -inf where a score is not finite."""
        mean = float(self.scores.mean())
        return mean if math.isfinite(mean) else -math.inf

    def promise(self) -> float:
        """The score of its mixture."""
        return self.start.score


class Race:
    """One compiled flow, whose weights are those of one start or of another.

    Args:
      train: points to learn in the race, and afterwards.
      judges: points to judge the race by, and to learn afterwards.
      held_out: points to judge the end by.
      components: of a start at most.
      plan: what to fit.
      clock: when to be done.
    """

    def __init__(
        self,
        train: np.ndarray,
        judges: np.ndarray,
        held_out: np.ndarray,
        components: int,
        plan: Plan,
        clock: Clock,
    ) -> None:
        self._plan, self._clock = plan, clock
        self._train = train.astype(np.float32)
        self._judges = judges.astype(np.float32)
        self._held_out = held_out.astype(np.float32)
        rows, d = len(judges) + len(train), train.shape[1]
        timed = math.isfinite(clock.seconds)
        self._steps = math.inf if timed else min(_STEPS, _STEPS_A_ROW * rows)
        self._at_once = min(_STEPS_AT_ONCE, max(_COLUMNS_AT_ONCE // d, 1))
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
            steps_per_execution=self._at_once,
            jit_compile=clock.left > _XLA_SECONDS,
        )
        optimizer.build(weights)
        self._variables = [
            variable.value for variable in (*self._flow.variables, *optimizer.variables)
        ]
        self._average = WeightAverage(self._judges, patience=_PATIENCE)
        with tf.device("CPU:0"):
            points = tf.constant(np.concatenate([self._judges, self._train]))
        size = min(plan.batch_size, len(train))
        self._racing = _batches(points, len(judges), size, plan.seed)
        self._batches = _batches(points, 0, size, plan.seed)
        self._fresh = self._state()
        before = clock.spent
        self._flow.log_prob(self._held_out)
        # What comes after training compiles that once more.
        self._seconds_after = 1.0 + 1.5 * (clock.spent - before)
        self._fit(self._racing, self._judges, 1, math.inf)  # compiles
        before = clock.spent
        if timed:
            self._fit(self._racing, self._judges, 1, math.inf)
        self._least_seconds = clock.spent - before  # of any training

    @property
    def _left(self) -> float:
        """Seconds that are left to train in."""
        return self._clock.left - self._seconds_after

    @property
    def has_time(self) -> bool:
        """Whether there is time for more than the least training."""
        return self._left > 2 * self._least_seconds

    def run(self, starts: Sequence[Start]) -> Trained:
        """Lets flows from all starts race, and trains the winner to the end."""
        winner, has_raced = self._winner(starts)
        options = {
            "warm_up": 0.0 if has_raced else _WARM_UP[1],
            "verbose": self._plan.verbose,
        }
        if len(self._held_out) < _FEW_HELD_OUT:
            history, judged = self._fit_twice(**options)
        else:
            history = self._fit(
                self._batches,
                self._held_out,
                self._steps,
                self._left,
                **options,
            )
            judged = None
        scores = self._scores(self._held_out)
        return Trained(
            list(self._flow.bijectors),
            self._flow.base.cut(winner.components),
            history,
            scores,
            scores if judged is None else judged,
        )

    def _winner(self, starts: Sequence[Start]) -> tuple[Start, bool]:
        """Trains each start for a while, the best few for longer, and returns one.

        The flow is left with its weights. Returns also whether there was time for it.
        """
        seconds = self._left
        racing = []
        for start in starts:
            self._restore(self._fresh)
            start.put_into(self._flow.base, self._train)
            racing.append(_Entrant(start, self._state()))
        has_raced = False
        for turn, (most, each, share) in enumerate(_ROUNDS):
            key = _Entrant.mean if has_raced else _Entrant.promise
            racing.sort(key=key, reverse=True)
            if share * seconds < most * self._least_seconds:
                most = max(int(share * seconds / self._least_seconds), 1)
            racing = racing[:most]
            if len(racing) == 1:
                break
            has_raced = True
            share /= len(racing)
            for entrant in racing:
                self._restore(entrant.state)
                # At a rate that stays: the averages are compared, and go on.
                self._fit(
                    self._racing,
                    self._judges,
                    min(each, share * self._steps),
                    share * seconds,
                    warm_up=0.0 if turn else _WARM_UP[0],
                    alpha=1.0,
                )
                entrant.state = self._state()
                entrant.scores = self._scores(self._judges)
            if self._plan.verbose:
                told = ", ".join(
                    f"{entrant.start.components}: {entrant.mean():.3f}"
                    for entrant in racing
                )
                print("Nats of rows not trained on, by components at the start:", told)
        best = max(racing, key=_Entrant.mean)
        # The thinnest that is within a standard error of the best: it has more to gain.
        near = [each for each in racing if not is_better(best.scores, each.scores, 1)]
        winner = min(near or [best], key=lambda each: each.start.components)
        self._restore(winner.state)
        return winner.start, has_raced

    def _fit_twice(self, **options: Any) -> tuple[dict[str, list[float]], np.ndarray]:
        """Trains without the judges, who tell for how long, and then with them.

        Returns the history, and the scores of judges and held-out rows in between.

        Held-out rows are too few to tell: they would stop training by chance. They
        only tell whether it should go on from there, as there are more rows now.

        Source: Goodfellow, Bengio and Courville (2016), "Deep learning", algorithm 7.2.
        """
        fewer, all_rows = len(self._train), len(self._train) + len(self._judges)
        share = fewer / (fewer + all_rows)  # as many passes each time
        seconds = self._left
        fresh = self._state()
        history = self._fit(
            self._racing, self._judges, share * self._steps, share * seconds, **options
        )
        scores = self._scores(self._held_out)
        judged = np.concatenate([self._scores(self._judges), scores])
        if self._left < self._least_seconds:
            return history, judged
        state = self._state()
        losses = np.nan_to_num(history["val_loss"], nan=math.inf)
        self._restore(fresh)
        self._average.start_from_epoch = 1 + int(np.argmin(losses))
        history = self._fit(
            self._batches,
            self._held_out,
            (1 - share) * self._steps,
            self._left,
            **options,
        )
        if is_better(scores, self._scores(self._held_out), 2):
            self._restore(state)
        return history, judged

    def _fit(
        self,
        batches: tf.data.Dataset,
        judges: np.ndarray,
        steps: float,
        seconds: float,
        *,
        verbose: int = 0,
        **rate: float,
    ) -> dict[str, list[float]]:
        """Trains for a while, and returns the history.

        Args:
          batches: of points.
          judges: points to judge the averages of the weights by.
          steps: after which training ends; may be infinite.
          seconds: after which it ends at the latest.
          verbose: as for Keras.
          **rate: as for `CosineToDeadline`.
        """
        plan = self._plan
        end = CosineToDeadline(
            plan.learning_rate,
            steps=math.ceil(steps) if math.isfinite(steps) else None,
            seconds=max(seconds, 0.1),
            **rate,
        )
        self._average.x = judges
        least, most = _STEPS_OF_AN_EPOCH
        of_an_epoch = min(max(len(self._train) // plan.batch_size, least), most)
        history = self._flow.fit(
            batches,
            steps_per_epoch=of_an_epoch // self._at_once * self._at_once,
            epochs=1_000_000,  # the end comes before
            callbacks=[self._average, end],
            verbose=verbose,
        )
        return history.history

    def _scores(self, points: np.ndarray) -> np.ndarray:
        return self._flow.log_prob(points).numpy().astype(np.float64)

    # The state of an entrant: all weights, and what the optimizer remembers.

    def _state(self) -> list[np.ndarray]:
        return [variable.numpy() for variable in self._variables]

    def _restore(self, state: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)
