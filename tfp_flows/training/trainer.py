"""The trainer of a flow: it plans a fit, and takes its steps."""

import contextlib
import os
import random
import sys
from collections.abc import Callable, Iterator
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._core import compat
from tfp_flows.data.arguments import FitData, Form, as_callbacks, check_no_targets
from tfp_flows.data.row_order import RowOrder
from tfp_flows.training.adam import fuse
from tfp_flows.training.checkpoint import Checkpoint
from tfp_flows.training.gradients import Gradients
from tfp_flows.training.guard import Guard
from tfp_flows.training.loss import NegativeLogLikelihood
from tfp_flows.training.plan import Plan, Settings, make_plan
from tfp_flows.training.replicas import (
    check_scope,
    first_part,
    function_of_batches,
    joint,
)
from tfp_flows.training.steps import RowsInMemory, many_steps
from tfp_flows.training.workers import Workers

__all__ = ["Trainer", "check_compiled", "one_step_per_call"]


class Trainer:
    """Fits a model whose output is log_prob, by steps of its own within Keras's `fit`.

    `fit` makes a plan and calls Keras's `fit`, which runs epochs and callbacks. For the
    steps, Keras calls the function that `make_train_function` has made. For rows in
    memory this gathers the batches by itself, and takes many steps in one call. For
    datasets it is Keras's own, which calls the model's `train_step`. Both use `step`.

    Args:
      model: its weights exist.
      form: of the data.
      settings: what `compile` was asked for.
      explain: as for `Guard`.
      has_own_step: whether a subclass of the model has a `train_step` of its own.

    Attributes:
      plan: of the fit that runs, or of the last one; None before the first.
      gradients: what differentiates the loss.
      guard: what leaves out steps that are not finite.
    """

    def __init__(
        self,
        model: keras.Model,
        form: Form,
        settings: Settings,
        explain: Callable[..., tuple[int | None, str | None]],
        *,
        has_own_step: bool,
    ) -> None:
        self._model, self._settings = model, settings
        self._strategy = compat.strategy_of(model)
        self._has_own_step = has_own_step
        with model.distribute_strategy.scope():
            self.guard = Guard(explain, form.widths, form.dtype)
        if self._strategy is not None:
            compat.build_metrics_from(
                model, lambda batch: first_part(self._strategy, batch)
            )
        self.gradients = Gradients(model, jit_compile=bool(settings.jit_compile))
        self.plan: Plan | Any = None
        # The rows of the fit that runs, where they are in memory.
        self._rows: RowsInMemory | None = None
        # The compiled function for rows in memory, after the `kind` of rows it is for.
        self._steps: tuple[Any, Callable] | None = None

    def compile(
        self,
        keras_compile: Callable[..., None],
        optimizer: str | keras.optimizers.Optimizer,
        loss: keras.losses.Loss | None,
        **options: Any,
    ) -> None:
        """Compiles the model, with an optimizer that updates all weights at once.

        Args:
          keras_compile: `compile` of `keras.Model`, bound to the model.
          optimizer: as for `keras.Model.compile`.
          loss: None for the mean of -log_prob.
          **options: as for `keras.Model.compile`.

        Raises:
          ValueError: another loss is asked for, or model and optimizer were made under
            different strategies.
        """
        loss = NegativeLogLikelihood() if loss is None else loss
        if not isinstance(loss, NegativeLogLikelihood):
            raise ValueError(
                "`loss` must be None: a Flow is fitted by -log_prob. "
                f"Received: {loss!r}."
            )
        check_scope(self._strategy, optimizer)
        with self._model.distribute_strategy.scope():
            keras_compile(
                optimizer=optimizer,
                loss=loss,
                steps_per_execution=self._settings.steps_per_execution or 1,
                jit_compile=False,  # XLA compiles loss and gradients alone
                **options,
            )
        fuse(self._model.optimizer)

    def fit(
        self,
        keras_fit: Callable[..., keras.callbacks.History],
        points: FitData,
        held_out: Any = None,
        checkpoint_dir: str | os.PathLike | None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        callbacks: Any = None,
        shuffle: bool = True,
        steps_per_epoch: int | None = None,
        initial_epoch: int = 0,
        **options: Any,
    ) -> keras.callbacks.History:
        """Fits the model's weights; returns Keras's History.

        Args:
          keras_fit: `fit` of `keras.Model`, bound to the model.
          points: checked.
          held_out: batches for validation, or None.
          checkpoint_dir: where the state of the fit is kept, or None.
          batch_size: as the user gave it, or None.
          epochs: how many, as for `keras.Model.fit`.
          callbacks: the user's own, as for `keras.Model.fit`.
          shuffle: whether each epoch has an order of its own.
          steps_per_epoch: as the user gave it, or None.
          initial_epoch: as for `keras.Model.fit`.
          **options: as for `keras.Model.fit`.

        Raises:
          ValueError: `checkpoint_dir` is of another fit, or damaged.
          OSError: `checkpoint_dir` cannot be written.
          ConnectionError: another worker of the strategy has died.
          FloatingPointError: the steps do not stay finite.
        """
        model, callbacks, order = self._model, as_callbacks(callbacks), None
        if points.length is not None:
            order = points.order(_drawn_seed(), shuffle=shuffle)
        with model.distribute_strategy.scope():
            # If Keras built the optimizer, it would trace the first step twice.
            model.optimizer.build(model.trainable_variables)
        plan = make_plan(
            model,
            self._settings,
            points,
            batch_size=batch_size,
            epochs=epochs,
            steps_per_epoch=steps_per_epoch,
            callbacks=callbacks,
            is_replicated=self._strategy is not None,
            has_own_step=self._has_own_step,
            is_compiled_by_xla=self.gradients.jit_compile,
        )
        self._follow(plan, points)

        workers, checkpoint, identity = Workers(model.distribute_strategy), None, None
        if workers.count > 1 or checkpoint_dir is not None:
            identity = points.identity
        if checkpoint_dir is not None:
            others = [*callbacks, self.guard]
            checkpoint = Checkpoint(checkpoint_dir, order, others, identity, workers)
        self.guard.watch(points.points if points.in_memory else None)
        watched = [self.guard, order, *callbacks, checkpoint]
        try:
            batches, steps = self._source(points, order, steps_per_epoch)
            with workers.together():
                workers.start_alike(model, identity, order)
                if checkpoint is not None:
                    initial_epoch = checkpoint.read() or initial_epoch
                return keras_fit(
                    batches,
                    epochs=epochs,
                    validation_data=held_out,
                    callbacks=[each for each in watched if each is not None],
                    shuffle=False,  # `order` has done it
                    steps_per_epoch=steps,
                    initial_epoch=initial_epoch,
                    **options,
                )
        except KeyboardInterrupt:
            if checkpoint is not None and workers.is_chief:
                self.guard.leave_best()
                print(checkpoint.leave_best(), file=sys.stderr)
            raise
        except Exception:
            self._forget_functions()  # a graph that failed half-made fails again
            raise
        finally:
            compat.forget_first_epoch(model)
            if self._rows is not None:
                self._rows = model.train_function = None

    def _follow(self, plan: Plan, points: FitData) -> None:
        """Makes a plan that of the fit, and drops what was compiled for another one."""
        model, before = self._model, self.plan
        if plan.jit_compile != self.gradients.jit_compile:
            self.gradients = Gradients(model, jit_compile=plan.jit_compile)
            self._forget_functions()
        if (plan.parts > 1 or plan.fills_up) and not self._can_cut(plan, points):
            plan = plan.with_whole_batches()
        if before is not None and before.parts != plan.parts:
            self._forget_functions()
        if plan.steps_per_call != model.steps_per_execution:
            model.steps_per_execution = plan.steps_per_call
            model.train_function = model.test_function = None
        self.plan = plan

    def _source(
        self, points: FitData, order: RowOrder | Any, steps_per_epoch: int | None
    ) -> tuple[Any, int | None]:
        """Returns the batches that Keras is given, and its `steps_per_epoch`."""
        plan = self.plan
        if not plan.rows_in_memory:
            return points.batches(plan.batch_size, order), steps_per_epoch
        self._rows = RowsInMemory(points.parts, order, plan, self._strategy)
        self._model.train_function = None
        # Keras looks at one batch, and then only counts the steps.
        return self._rows.example(), plan.steps_per_epoch

    def _can_cut(self, plan: Plan, points: FitData) -> bool:
        """Returns whether the parts of a batch may be differentiated separately."""
        rows = plan.width // plan.parts
        x, _, weight = points.batch_spec(rows)
        if plan.has_weighted_rows(points.length):
            weight = tf.TensorSpec([rows], self._model.dtype)
        return self.gradients.can_split(x, weight)

    def _forget_functions(self) -> None:
        self._steps = None
        self._model.train_function = self._model.test_function = None

    # What Keras calls within `fit`, `evaluate` and `train_on_batch`

    def make_train_function(
        self, keras_makes: Callable[[bool], None], force: bool = False
    ) -> None:
        """Makes what Keras calls for the next steps of training.

        Args:
          keras_makes: `make_train_function` of `keras.Model`, bound to the model.
          force: whether to make it anew.
        """
        model = self._model
        if model.train_function is not None and not force:
            return
        if self._rows is not None:
            model.train_function = self._function_of_rows(self._rows, force)
        elif self._strategy is not None:
            model.train_function = self._function_of_batches(model.train_step)
        else:
            keras_makes(force)

    def make_test_function(
        self, keras_makes: Callable[[bool], None], force: bool = False
    ) -> None:
        """Makes what Keras calls to evaluate; see `make_train_function`."""
        model = self._model
        if self._strategy is None:
            keras_makes(force)
        elif model.test_function is None or force:
            model.test_function = self._function_of_batches(model.test_step)

    def step(self, batch: Any, fill: tf.Tensor | None = None) -> dict[str, Any]:
        """Takes one step, unless its loss or gradients are not finite.

        Args:
          batch: x, or x, a placeholder and the weights of the rows.
          fill: weights of the rows where some of them only fill up the batch: 0 for
            these, which come last.

        Returns:
          The metrics by name.
        """
        model = self._model
        x, y, sample_weight = keras.utils.unpack_x_y_sample_weight(batch)
        check_no_targets(y, sample_weight)
        parts = x if isinstance(x, dict) else {"x": x}
        rows, weight = tf.shape(parts["x"])[0], sample_weight
        if fill is not None:
            rows = tf.math.count_nonzero(fill, dtype=rows.dtype)
            fill = tf.cast(fill, model.dtype)
            weight = fill if weight is None else fill * tf.reshape(weight, [-1])
        is_planned = self.plan is not None and self.plan.width == parts["x"].shape[0]
        loss, gradients, log_prob = self.gradients(
            x, weight, parts=self.plan.parts if is_planned else 1
        )
        if tf.distribute.has_strategy():
            is_mean = model.loss.reduction == "sum_over_batch_size"
            loss, gradients, rows = joint(loss, gradients, rows, is_mean=is_mean)
        taken = self.guard.apply(
            model.optimizer, gradients, model.trainable_weights, loss, parts
        )
        compat.loss_tracker(model).update_state(
            tf.where(taken, loss, tf.zeros_like(loss)),
            sample_weight=tf.where(taken, tf.cast(rows, loss.dtype), 0),
        )
        if fill is not None:  # the metrics see only real rows
            x, y, log_prob, sample_weight = tf.nest.map_structure(
                lambda part: part if part is None else part[:rows],
                (x, y, log_prob, sample_weight),
            )
        return model.compute_metrics(x, y, log_prob, sample_weight)

    def _function_of_batches(self, step: Callable) -> Callable:
        model = self._model
        return function_of_batches(
            self._strategy,
            step,
            steps=model.steps_per_execution,
            run_eagerly=model.run_eagerly,
        )

    def _function_of_rows(self, rows: RowsInMemory, force: bool) -> Callable:
        if self._steps is None or self._steps[0] != rows.kind or force:
            self._steps = rows.kind, self._compiled_steps(rows)
        take, steps = self._steps[1], self.plan.steps_per_call

        def train(_: Any) -> dict[str, tf.Tensor]:
            for numbers in rows.numbers.next(steps):
                logs = take(rows.arrays, *numbers)
            return logs

        return train

    def _compiled_steps(self, rows: RowsInMemory) -> Callable:
        """Returns what takes steps, without XLA where that lacks an operation.

        XLA raises an error then at the first call, before a step is taken.
        """

        def compiled() -> Callable:
            return many_steps(
                self.step,
                self._model.get_metrics_result,
                rows.arrays,
                width=rows.width,
                has_weights=rows.has_weights,
                strategy=self._strategy,
            )

        take, is_first = compiled(), True
        if self._settings.jit_compile is not None or not self.gradients.jit_compile:
            return take

        def take_or_fall_back(*args: Any) -> dict[str, tf.Tensor]:
            nonlocal take, is_first
            try:
                return take(*args)
            except (tf.errors.InvalidArgumentError, tf.errors.UnimplementedError):
                if not is_first:
                    raise
                self.gradients = Gradients(self._model, jit_compile=False)
                take = compiled()
                return take(*args)
            finally:
                is_first = False

        return take_or_fall_back


def check_compiled(model: keras.Model, method: str) -> None:
    """Raises, in Keras's words, where a method needs a model that is compiled."""
    if not model.compiled:
        raise ValueError(f"You must call `compile()` before calling `{method}()`.")


@contextlib.contextmanager
def one_step_per_call(model: keras.Model) -> Iterator[None]:
    """Sets `steps_per_execution` to 1, for `predict`: Keras unrolls its steps there."""
    steps, model.steps_per_execution = model.steps_per_execution, 1
    try:
        yield
    finally:
        model.steps_per_execution = steps


def _drawn_seed() -> int:
    """Returns a seed that follows `keras.utils.set_random_seed`, as Keras's own do."""
    return random.randint(0, 2**31 - 1)
