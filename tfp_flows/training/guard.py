"""Training steps that are not finite: they are left out, explained, recovered from."""

import warnings
from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import compat
from tfp_flows.training.replicas import own

__all__ = ["Guard", "Slower"]

# After so many steps in a row that are not finite, training returns to its last good
# weights with half the learning rate.
_IN_A_ROW = 10

# After so many returns, training gives up.
_MOST_RETURNS = 3

_UNEXPLAINED = "The loss or a gradient of a step is not finite."


@keras.saving.register_keras_serializable("tfp_flows")
class Slower(keras.optimizers.schedules.LearningRateSchedule):
    """A learning-rate schedule times a factor."""

    def __init__(self, schedule: Any, factor: float) -> None:
        self.schedule, self.factor = schedule, factor

    def __call__(self, step: Any) -> Any:
        """Returns the rate at a step."""
        return self.factor * self.schedule(step)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        schedule = keras.optimizers.schedules.serialize(self.schedule)
        return {"schedule": schedule, "factor": self.factor}

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> "Slower":
        """Returns the schedule that `get_config` described."""
        schedule = keras.optimizers.schedules.deserialize(config["schedule"])
        return cls(schedule, config["factor"])


class Guard(keras.callbacks.Callback):
    """Keeps what is not finite out of a model's weights.

    A step whose loss or gradients are NaN or infinite changes neither the weights nor
    the optimizer's state. The first such step is explained in a warning. After ten in a
    row, weights and optimizer return to the end of the last epoch that was finite, and
    the learning rate is halved. After three returns training ends with the best weights
    so far and a FloatingPointError. All replicas decide alike, because they see the
    loss and the gradients of the whole batch.

    Args:
      explain: takes the model and the parts of a batch by name, and returns the number
        of the first row that is not finite, or None, and what happens there, or None.
      widths: how many columns the parts of a batch have, by name.
      dtype: of the batches.
    """

    def __init__(
        self,
        explain: Callable[..., tuple[int | None, str | None]],
        widths: dict[str, int],
        dtype: str,
    ) -> None:
        super().__init__()
        self._explain = explain
        self._rows: np.ndarray | None = None
        # TensorFlow keeps integers of 32 bits off a GPU, but not those of 64.
        self._skipped, self._in_a_row = (
            tf.Variable(0, trainable=False, dtype=tf.int64) for _ in range(2)
        )
        # A step that is left out leaves its batch here.
        self._batch = {
            name: tf.Variable(
                np.zeros([1, width], dtype), shape=[None, width], trainable=False
            )
            for name, width in widths.items()
        }

    def watch(self, rows: np.ndarray | None) -> None:
        """Sets the points that are fitted, where they are in memory, for messages."""
        self._rows = rows

    # Called within the compiled step

    def apply(
        self,
        optimizer: keras.optimizers.Optimizer,
        gradients: Sequence[Any],
        weights: Sequence[keras.Variable],
        loss: tf.Tensor,
        parts: dict[str, tf.Tensor],
    ) -> tf.Tensor:
        """Takes a step if it is finite, and returns whether it is.

        Args:
          optimizer: of the model.
          gradients: of the weights, or the one vector of an optimizer that packs them.
          weights: those that are trained.
          loss: of the batch.
          parts: the batch, by name.
        """
        is_finite = tf.math.is_finite(loss)
        # A LossScaleOptimizer leaves out infinite gradients itself, and learns from
        # them how to scale the loss.
        if not isinstance(optimizer, keras.optimizers.LossScaleOptimizer):
            sums = [tf.reduce_sum(g) for g in map(_values, gradients) if g is not None]
            is_finite &= tf.math.is_finite(tf.add_n(sums))
        packing = getattr(optimizer, "packing", None)

        def step() -> None:
            if packing is not None:
                packing.step(*gradients)
            else:
                optimizer.apply_gradients(zip(gradients, weights, strict=True))

        def take() -> tf.Tensor:
            if may_branch:
                step()
            own(self._in_a_row).assign(0)
            return tf.constant(True)

        def skip() -> tf.Tensor:
            own(self._skipped).assign_add(1)
            own(self._in_a_row).assign_add(1)
            for name, kept in self._batch.items():
                own(kept).assign(tf.cast(parts[name], kept.dtype))
            return tf.constant(False)

        may_branch = packing is not None or not tf.distribute.has_strategy()
        if not may_branch:  # Keras's update makes the replicas wait for each other
            state = [own(v.value) for v in (*weights, *optimizer.variables)]
            before = [variable + 0 for variable in state]
            with compat.gradients_already_summed(optimizer):
                step()
            for variable, value in zip(state, before, strict=True):
                variable.assign(tf.where(is_finite, variable, value))
        return tf.cond(is_finite, take, skip)

    # Called by Keras between calls of the compiled function

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Resets all counts."""
        self._skipped.assign(0)
        self._in_a_row.assign(0)
        self._has_warned, self._returns = False, 0
        self._good: list[np.ndarray] = []
        self._best: list[np.ndarray] = []
        self._least = np.inf

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights that the first epoch starts from."""
        self._good = self._good or self._state()
        self._best = self._best or self._good
        self._first = self._steps_taken()

    def on_train_batch_end(
        self, batch: int, logs: dict[str, Any] | None = None
    ) -> None:
        """Explains the first step that was left out, and recovers after many."""
        if not int(self._skipped.numpy()):
            return
        if not self._has_warned:
            self._has_warned = True
            message = f"{self._explanation()} The step was not taken."
            warnings.warn(message, RuntimeWarning, stacklevel=2)
        if int(self._in_a_row.numpy()) >= _IN_A_ROW:
            self._recover()

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Keeps the weights of an epoch that ended well."""
        logs = {} if logs is None else logs
        if self._steps_taken() == self._first:
            logs["loss"] = np.nan  # Keras's mean of no steps is 0
        loss = logs.get("val_loss", logs.get("loss", np.nan))
        if int(self._in_a_row.numpy()) or not np.isfinite(loss):
            return
        self._good = self._state()
        if loss < self._least:
            self._best, self._least = self._good, loss

    def leave_best(self) -> None:
        """Puts the weights of the best epoch so far into the model."""
        if self._best:
            self._restore(self._best)

    def _steps_taken(self) -> int:
        return int(compat.step_counter(self._optimizer()).value.numpy())

    def _optimizer(self) -> keras.optimizers.Optimizer:
        """Returns the optimizer that counts the steps and has the learning rate."""
        optimizer = self.model.optimizer
        return getattr(optimizer, "inner_optimizer", optimizer)

    def _explanation(self) -> str:
        copies = self.model.distribute_strategy.experimental_local_results
        batch = {
            name: np.concatenate([copy.numpy() for copy in copies(kept)])
            for name, kept in self._batch.items()
        }
        row, message = self._explain(self.model, batch)
        if row is None:
            return message or _UNEXPLAINED
        point, place = batch["x"][row], f"{row} of a batch"
        if self._rows is not None:
            place = str(int(np.argmax((self._rows == point).all(-1))))
        shown = np.array2string(point, precision=4, threshold=6, separator=", ")
        return f"Row {place}, {shown}: {message}."

    def _recover(self) -> None:
        self._returns += 1
        self._in_a_row.assign(0)
        if self._returns > _MOST_RETURNS:
            self.leave_best()
            raise FloatingPointError(
                f"Training does not stay finite, at a rate that was halved "
                f"{_MOST_RETURNS} times. {self._explanation()} The flow has the best "
                "weights so far. Remedy: a lower learning rate, `global_clipnorm=1.0` "
                "in the optimizer, or data without far-out points."
            )
        optimizer = self._optimizer()
        if schedule := compat.schedule_of(optimizer):
            optimizer.learning_rate = Slower(schedule, 0.5)
            self.model.make_train_function(force=True)
            self._restore(self._good)
        else:
            slower = 0.5 * float(optimizer.learning_rate)
            self._restore(self._good)
            optimizer.learning_rate = slower

    def _variables(self) -> list[tf.Variable]:
        model = self.model
        return [v.value for v in (*model.variables, *model.optimizer.variables)]

    def _state(self) -> list[np.ndarray]:
        return [v.numpy() for v in self._variables()]

    def _restore(self, state: Sequence[np.ndarray]) -> None:
        for variable, value in zip(self._variables(), state, strict=True):
            variable.assign(value)


def _values(gradient: Any) -> tf.Tensor | None:
    return gradient.values if isinstance(gradient, tf.IndexedSlices) else gradient
