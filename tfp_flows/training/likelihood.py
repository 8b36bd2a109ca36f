"""LikelihoodModel: the loss of a density's model, and how its steps are taken."""

import contextlib
import functools
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import compat, devices
from tfp_flows.data import arguments
from tfp_flows.data.batches import Order
from tfp_flows.training.adam import fuse
from tfp_flows.training.gradients import Gradients, parts_of
from tfp_flows.training.guard import Guard
from tfp_flows.training.replicas import OnReplicas, check_scope, joint
from tfp_flows.training.steps import Feed, flops, many_steps, steps_at_once

__all__ = ["LikelihoodModel", "NegativeLogLikelihood", "at_weights"]

# Of a step on a CPU: below, XLA gains nothing.
_STEP_FLOPS_FOR_XLA = 4e8
# Of a whole fit, from which on XLA has paid for its compilation: some ten seconds on a
# CPU. On a GPU what counts are launches, of which a small step has as many as a large
# one; that number is a guess that tests/benchmarks/gpu.py lets one check.
_FLOPS_FOR_XLA, _STEPS_FOR_XLA = 3e11, 2_000

_SOME_BATCH_SIZE = 256  # of a dataset that does not tell


def at_weights(method: Callable) -> Callable:
    """Lets a model's method compute on the device that its weights are on."""

    @functools.wraps(method)
    def placed(self: "LikelihoodModel", *args: Any, **kwargs: Any) -> Any:
        if tf.distribute.has_strategy() or compat.strategy_of(self):
            return method(self, *args, **kwargs)
        with devices.at(self._tensors):
            return method(self, *args, **kwargs)

    return placed


@keras.saving.register_keras_serializable("tfp_flows")
class NegativeLogLikelihood(keras.losses.Loss):
    """The loss of every Flow: -log_prob in nats, averaged over the batch."""

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "nll",
        dtype: Any = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(self, y_true: Any, y_pred: Any, sample_weight: Any = None) -> Any:
        """Returns the reduced loss; see `call`.

        Raises:
          ValueError: `y_true` is None: then Keras has dropped the weights, if any.
        """
        if y_true is None:
            raise ValueError(
                "Keras drops `sample_weight` of data without targets, so a model with "
                "a LogProb output needs `y`, which is not read. Remedy: pass the "
                "points themselves, such as `fit(data, data['x'])`."
            )
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: Any) -> Any:
        """Returns `-y_pred`; a density has no target, so `y_true` is not read."""
        return -y_pred


class LikelihoodModel(OnReplicas):
    """A Keras model that is trained by -log_prob, which is what it returns.

    A subclass sets `_on_hand` for rows that are in memory, and chooses by
    `_choose_steps`, `_choose_compiler` and `_cut_batches` how steps are taken; Keras's
    `fit` takes them.
    """

    _steps_asked: int | None = None
    _jit_asked: bool | None = None
    _on_hand: tuple | None = None  # rows in memory, their order, size of a batch
    _many_steps: tuple | None = None
    _cut: tuple[int | None, int] = (None, 1)  # rows of a batch, and its parts

    @at_weights
    def compile(
        self,
        optimizer: Any = "adam",
        loss: Any = None,
        *,
        steps_per_execution: int | None = None,
        jit_compile: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training; the loss is the mean of -log_prob, in nats.

        Args:
          optimizer: Keras optimizer or its name. Adam and AdamW update all weights at
            once, by TensorFlow's fused kernel, to the same numbers.
          loss: None; the loss is fixed.
          steps_per_execution: steps in one call of the compiled step. Chosen by `fit`
            when None: up to 64, and 1 where a callback of yours looks at batches.
          jit_compile: whether XLA compiles loss and gradients. Chosen by `fit` when
            None: where rows in memory are fitted for long enough to win back the time
            that it takes to compile, which is sooner on a GPU.
          **kwargs: as for `keras.Model.compile`. A metric is called with the points
            and their log_prob.

        Raises:
          ValueError: another loss is asked for.
        """
        if loss is None:
            loss = NegativeLogLikelihood()
        if not isinstance(loss, NegativeLogLikelihood):
            raise ValueError(
                "`loss` must be None: a Flow is fitted by -log_prob. "
                f"Received: {loss!r}."
            )
        check_scope(compat.strategy_of(self), optimizer)
        self._steps_asked, self._jit_asked = steps_per_execution, jit_compile
        with self.distribute_strategy.scope():
            super().compile(
                optimizer=optimizer,
                loss=loss,
                steps_per_execution=steps_per_execution or 1,
                jit_compile=False,  # of the whole step
                **kwargs,
            )
            self._guard = Guard(self._explain)
        fuse(self.optimizer)
        self._compute_by(jit_compile=bool(jit_compile))

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile` as they were given."""
        config = super().get_compile_config()
        asked = {
            "steps_per_execution": self._steps_asked,
            "jit_compile": self._jit_asked,
        }
        return config and {**config, **asked}

    @at_weights
    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was; Keras calls this when it loads one."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.trainable_variables:
            self.optimizer.build(self.trainable_variables)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns -log_prob, weighted and averaged, plus the layers' own losses."""
        if y is not None and sample_weight is None:
            raise ValueError(arguments.NO_TARGETS)
        return super().compute_loss(
            x, y=y_pred, y_pred=y_pred, sample_weight=sample_weight, training=training
        )

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns the metrics; each is called with the points and their log_prob."""
        return super().compute_metrics(x, _x_of(x), y_pred, sample_weight)

    def train_step(self, batch: Any) -> dict[str, Any]:
        """Takes one step, unless its loss or gradients are not finite."""
        return self._step(batch)

    def _step(self, batch: Any, fill: tf.Tensor | None = None) -> dict[str, Any]:
        """Takes one step; `fill` is 0 for rows that only fill up the batch."""
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        if y is not None and sample_weight is None:
            raise ValueError(arguments.NO_TARGETS)
        parts = x if isinstance(x, dict) else {"x": x}
        rows, weight = tf.shape(parts["x"])[0], sample_weight
        if fill is not None:
            rows = tf.math.count_nonzero(fill, dtype=rows.dtype)
            fill = tf.cast(fill, self.dtype)
            weight = fill if weight is None else fill * tf.reshape(weight, [-1])
        cut = self._cut[1] if parts["x"].shape[0] == self._cut[0] else 1
        loss, gradients, log_prob = self._gradients(x, weight, parts=cut)
        weights = self.trainable_weights
        if tf.distribute.has_strategy():
            loss, gradients, rows = joint(
                loss, gradients, rows, is_mean=self._loss_is_mean
            )
        taken = self._guard.apply(self.optimizer, gradients, weights, loss, parts)
        compat.loss_tracker(self).update_state(
            tf.where(taken, loss, tf.zeros_like(loss)),
            sample_weight=tf.where(taken, tf.cast(rows, loss.dtype), 0),
        )
        if fill is not None:
            x, y, log_prob, sample_weight = tf.nest.map_structure(
                lambda part: part if part is None else part[:rows],
                (x, y, log_prob, sample_weight),
            )
        return self.compute_metrics(x, y, log_prob, sample_weight)

    def _cut_batches(self, batch: Any, *, has_weights: bool = False) -> bool:
        """Chooses into how many parts batches of a known size are cut.

        Returns whether rows of weight 0 should fill up those that are too short.

        Args:
          batch: of arrays, or of their `tf.TensorSpec`s.
          has_weights: whether rows have weights, even if the batch has none.
        """
        x, _, weight = keras.utils.unpack_x_y_sample_weight(batch)
        rows = tf.nest.flatten(x)[0].shape[0]
        self._cut = (rows, 1)
        one_by_one = compat.strategy_of(self) or self.run_eagerly
        if rows is None or not self._loss_is_mean or one_by_one:
            return False
        count = self._parts_of(rows)
        # XLA compiles for each size of a batch: a short last one would cost as much.
        if rows % count or (count == 1 and not self._gradients.jit_compile):
            return False

        def of_part(part: Any) -> tf.TensorSpec:
            return tf.TensorSpec([rows // count, *part.shape[1:]], part.dtype)

        if weight is not None or has_weights:
            weight = tf.TensorSpec([rows // count], self.dtype)
        if not self._gradients.can_split(tf.nest.map_structure(of_part, x), weight):
            return False
        self._cut = (rows, count)
        return True

    @property
    def _tensors(self) -> list[tf.Variable]:
        return [weight.value for weight in self.weights]

    def _parts_of(self, rows: int) -> int:
        """Returns into how many parts a batch may be cut: on a CPU, for its cores."""
        return 1 if devices.is_gpu(self._tensors) else parts_of(rows)

    @property
    def _loss_is_mean(self) -> bool:
        return self.loss.reduction == "sum_over_batch_size"

    def _compute_by(self, *, jit_compile: bool) -> None:
        self._gradients = Gradients(self, jit_compile=jit_compile)
        self.train_function = self._many_steps = None

    def make_train_function(self, force: bool = False) -> None:
        """Makes what `fit` calls; for rows in memory it does without tf.data."""
        if self._on_hand is None:
            super().make_train_function(force)
            return
        parts, order, batch_size = self._on_hand
        strategy = compat.strategy_of(self)
        with tf.device("CPU:0") if strategy else contextlib.nullcontext():
            parts = tf.nest.map_structure(tf.constant, parts)
        feed = self._feed(parts, order, batch_size)
        width = feed.width if feed.fills else None
        kind = (width, feed.has_weights, str(tf.nest.map_structure(_kind, parts)))
        if self._many_steps is None or self._many_steps[0] != kind or force:

            def compiled() -> Callable:
                of_these = (parts, width, feed.has_weights, strategy)
                return many_steps(self._step, self.get_metrics_result, *of_these)

            self._many_steps = (kind, self._with_way_back(compiled))
        steps = self._many_steps[1]

        def train(_: Any) -> dict[str, tf.Tensor]:
            for batches in feed.next(self.steps_per_execution):
                logs = steps(parts, *batches)
            return logs

        self.train_function = train

    def _feed(self, parts: Any, order: Order, batch_size: int) -> Feed:
        """Returns what makes batches of rows in memory, of equal parts if it may."""
        feed = Feed(order, batch_size, self._parts_of(batch_size))
        batch = tf.nest.map_structure(
            lambda part: tf.TensorSpec([feed.width, *part.shape[1:]], part.dtype), parts
        )
        if self._cut_batches(batch, has_weights=feed.has_weights):
            return feed
        return Feed(order, batch_size, None)

    def _with_way_back(self, compiled: Callable[[], Callable]) -> Callable:
        """Returns what takes steps, without XLA where that lacks an operation.

        XLA says so at the first call, before a step is taken.
        """
        steps, is_first = compiled(), True
        if self._jit_asked or not self._gradients.jit_compile:
            return steps

        def take(*args: Any) -> dict[str, tf.Tensor]:
            nonlocal steps, is_first
            try:
                return steps(*args)
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
                if not is_first:
                    raise
                self._gradients = Gradients(self, jit_compile=False)
                steps = compiled()
                return steps(*args)
            finally:
                is_first = False

        return take

    def _choose_steps(
        self, batch_size: int | None, batches: Any, steps: int | None, callbacks: list
    ) -> None:
        """Sets how many steps one call does, where `compile` was not told."""
        one_by_one = compat.strategy_of(self) and not self._on_hand
        if self._steps_asked is not None or one_by_one:
            return
        of_a_step = flops(self.trainable_variables, batch_size or _SOME_BATCH_SIZE)
        on_gpu = devices.is_gpu(self._tensors)
        chosen = steps_at_once(of_a_step, callbacks, on_gpu=on_gpu)
        count = steps or getattr(batches, "cardinality", lambda: -1)()
        if count > 0:
            chosen = min(chosen, int(count))
        if steps and self._on_hand is None:  # Keras would run past the epoch's end
            chosen = next(k for k in range(chosen, 0, -1) if steps % k == 0)
        if chosen != self.steps_per_execution:
            self.steps_per_execution = chosen
            self.train_function = self.test_function = None

    def _choose_compiler(self, batch_size: int, steps: int) -> None:
        """Lets XLA compile what `compile` did not ask for, if there are steps enough.

        By a count, not by a clock: a fit that is resumed must not choose otherwise.
        """
        if self._jit_asked is None and not compat.strategy_of(self):
            if devices.is_gpu(self._tensors):
                is_long = steps > _STEPS_FOR_XLA
            else:
                of_a_step = flops(self.trainable_variables, batch_size)
                is_long = (
                    of_a_step > _STEP_FLOPS_FOR_XLA
                    and of_a_step * steps > _FLOPS_FOR_XLA
                )
            if is_long and not self._gradients.jit_compile:
                self._compute_by(jit_compile=True)

    def _explain(self, batch: dict[str, np.ndarray]) -> tuple[int | None, str]:
        """Hook: the first row of a batch that is not finite, and what happens there."""
        return None, "The loss or a gradient of a step is not finite."


def _kind(part: tf.Tensor) -> tuple:
    return (*part.shape[1:], part.dtype.name)


def _x_of(inputs: Any) -> Any:
    return inputs["x"] if isinstance(inputs, dict) else inputs
