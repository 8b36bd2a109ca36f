"""SharedFlow: one compiled flow that can be trained from the state of any start."""

import math

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.devices import on_cpu
from tfp_flows.bases import Mixture
from tfp_flows.bijectors import Spline, SplineCoupling
from tfp_flows.callbacks import CosineToDeadline, WeightAverage
from tfp_flows.estimator.mixtures import Start
from tfp_flows.estimator.rows import Rows
from tfp_flows.estimator.settings import Settings
from tfp_flows.flow import Flow

__all__ = ["History", "SharedFlow", "State"]

tfb = tfp.bijectors

# The values of all weights and of all variables of the optimizer.
State = tuple[np.ndarray, ...]

# Metric to its value after each epoch.
History = dict[str, list[float]]

# Epochs without a better average of the weights after which training ends.
_PATIENCE = 10

# Steps of one compiled call: fewer for wide rows, as the clock is read between calls.
_STEPS_AT_ONCE, _STEPS_AT_ONCE_TIMES_WIDTH = 32, 512

# Bounds on the number of steps of an epoch.
_LEAST_STEPS_OF_EPOCH, _MOST_STEPS_OF_EPOCH = 128, 1024

# The weight decay of the conditioners' last layers, towards the identity, is the first
# number divided by the number of rows, like the weight of a prior; at most the second.
_DECAY_TIMES_ROWS, _MOST_DECAY = 36_000.0, 10.0

# What the paths of the weights of those layers contain.
_HEAD = "/head/"


class SharedFlow:
    """One flow on a mixture, trained from the state of any start.

    All starts share the flow, so that its graphs are compiled once. Its mixture has
    room for the largest start; spare components have no weight and cost little, so
    that the flow can be compiled before any mixture is fitted. A state is a value:
    each method takes the state to begin with, and `train` returns the one at its end.

    Args:
      rows: the points that the flow is trained and scored on.
      components: the most components of any start.
      settings: of the flow and its training.
      jit_compile: whether XLA compiles the training step.

    Attributes:
      rows: the points, in float32.
      settings: as given.
      initial: the state in which couplings are the identity, and the base has a single
        component of unit scale.
    """

    def __init__(
        self, rows: Rows, components: int, settings: Settings, *, jit_compile: bool
    ) -> None:
        self.rows = rows = rows.astype(np.float32)
        self.settings = settings
        d = rows.points.shape[1]
        base = Mixture(d, components, tails="student", seed=settings.seed)
        base.start(np.ones(1), np.zeros([1, d]), np.eye(d)[np.newaxis])
        bijectors = _bijectors(d, settings)
        for bijector in bijectors:  # identities: the same points reach them all
            bijector.adapt(rows.train)
        self._flow = Flow(bijectors, base=base)
        weights = self._flow.trainable_variables
        decay = min(_MOST_DECAY, _DECAY_TIMES_ROWS / len(rows.selection_and_train))
        optimizer = keras.optimizers.Adam(
            settings.learning_rate, global_clipnorm=1.0, weight_decay=decay
        )
        optimizer.exclude_from_weight_decay(
            [weight for weight in weights if _HEAD not in weight.path]
        )
        self._at_once = min(_STEPS_AT_ONCE, max(_STEPS_AT_ONCE_TIMES_WIDTH // d, 1))
        self._flow.compile(
            optimizer, steps_per_execution=self._at_once, jit_compile=jit_compile
        )
        optimizer.build(weights)
        self._variables = [
            variable.value for variable in (*self._flow.variables, *optimizer.variables)
        ]
        # One callback for all training, as it compiles graphs of its own.
        self._average = WeightAverage(rows.selection, patience=_PATIENCE)
        with tf.device("CPU:0"):
            points = tf.constant(rows.selection_and_train)
        size = min(settings.batch_size, len(rows.train))
        self._batches = {
            with_selection: _batches(points, first, size, settings.seed)
            for with_selection, first in ((True, 0), (False, len(rows.selection)))
        }
        self.initial = self._state()

    def state_of(self, start: Start) -> State:
        """Returns the state in which the flow is the mixture of a start.

        Args:
          start: the mixture; the training rows choose the tails of its components.
        """
        self._load(self.initial)
        self._flow.base.start(*start.parameters, points=self.rows.train)
        return self._state()

    def scores(self, state: State, points: np.ndarray) -> np.ndarray:
        """Returns the log-density of points `(n, d)` in a state, `(n,)`, in nats."""
        self._load(state)
        return self._flow.log_prob(points).numpy().astype(np.float64)

    def train(
        self,
        state: State,
        *,
        steps: float,
        seconds: float,
        with_selection: bool = False,
        least_epochs: int = 0,
        warm_up: float = 0.0,
        alpha: float = 0.0,
        verbose: int = 0,
    ) -> tuple[State, History]:
        """Trains the flow for a while; its weights are then the best average of them.

        Averages are compared on the selection rows.

        Args:
          state: to begin with.
          steps: after which training ends; may be infinite.
          seconds: after which it ends at the latest.
          with_selection: whether to train on the selection rows too. The validation
            rows then compare the averages.
          least_epochs: epochs that are known to improve the flow: averages are
            compared from the last of them on.
          warm_up: as for `CosineToDeadline`.
          alpha: as for `CosineToDeadline`.
          verbose: as for Keras.

        Returns:
          The state at the end, and the history of metrics.
        """
        self._load(state)
        rows, settings = self.rows, self.settings
        self._average.x = rows.validation if with_selection else rows.selection
        self._average.start_from_epoch = least_epochs
        end = CosineToDeadline(
            settings.learning_rate,
            steps=math.ceil(steps) if math.isfinite(steps) else None,
            seconds=max(seconds, 0.1),
            warm_up=warm_up,
            alpha=alpha,
        )
        steps_of_epoch = min(
            max(len(rows.train) // settings.batch_size, _LEAST_STEPS_OF_EPOCH),
            _MOST_STEPS_OF_EPOCH,
        )
        history = self._flow.fit(
            self._batches[with_selection],
            steps_per_epoch=steps_of_epoch // self._at_once * self._at_once,
            epochs=1_000_000,  # the callbacks end training
            callbacks=[self._average, end],
            verbose=verbose,
        )
        return self._state(), history.history

    def parts(
        self, state: State, components: int
    ) -> tuple[list[tfb.Bijector], Mixture]:
        """Returns the bijectors, and the first components of the base, in a state.

        The bijectors are the flow's own: nothing may be trained after this.
        """
        self._load(state)
        return list(self._flow.bijectors), self._flow.base.cut(components)

    def _state(self) -> State:
        return tuple(variable.numpy() for variable in self._variables)

    def _load(self, state: State) -> None:
        for variable, value in zip(self._variables, state, strict=True):
            variable.assign(value)


def _bijectors(d: int, settings: Settings) -> list[tfb.Bijector]:
    """Returns pairs of couplings; each pair splits the columns at random in halves."""
    if d == 1:
        return [Spline(2 * settings.bins, seed=settings.seed)]
    rng = np.random.default_rng(settings.seed)
    bijectors = []
    for i in range(settings.layers):
        if i % 2 == 0:
            mask = np.zeros(d, int)
            mask[rng.permutation(d)[: d // 2]] = 1
        bijectors.append(
            SplineCoupling(
                mask.tolist(),
                flip=i % 2 == 1,
                bins=settings.bins,
                affine=True,
                hidden=settings.hidden,
                seed=int(rng.integers(2**31)),
            )
        )
    return bijectors


@on_cpu
def _batches(
    points: tf.Tensor, first: int, batch_size: int, seed: int
) -> tf.data.Dataset:
    """Returns an endless data set of batches of the rows from the first one on.

    Each pass over the rows has an order of its own.
    """
    rows, width = points.shape
    size = min(batch_size, rows - first)
    count = (rows - first) // size

    def one_pass(i: tf.Tensor) -> tf.data.Dataset:
        order = tf.random.experimental.stateless_shuffle(
            tf.range(first, rows), tf.stack([tf.constant(seed, tf.int64), i])
        )
        return tf.data.Dataset.from_tensor_slices(
            tf.reshape(order[: count * size], [count, size])
        )

    # No tuning threads: tf.data sometimes waits half a minute for them when an
    # iterator ends.
    options = tf.data.Options()
    options.autotune.enabled = False
    return (
        tf.data.Dataset.counter()
        .flat_map(one_pass)
        .map(lambda rows: tf.ensure_shape(tf.gather(points, rows), [size, width]))
        .with_options(options)
    )
