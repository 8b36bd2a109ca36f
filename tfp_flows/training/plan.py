"""The plan of a fit: how its steps are taken, decided before the first one."""

import dataclasses
import math
from collections.abc import Sequence
from typing import Any

import keras

from tfp_flows._core import devices
from tfp_flows._core.cost import operations_of_step
from tfp_flows.data.arguments import FitData
from tfp_flows.training.gradients import parts_of

__all__ = ["Plan", "Settings", "make_plan", "steps_at_once"]

_BATCH_SIZE = 32  # rows of a step where the user names none, as in Keras

# The size of a batch that is assumed of a dataset, which makes its own batches.
_ASSUMED_BATCH_SIZE = 256

# One call of the compiled function takes many steps, but must return often enough for
# the progress bar and Ctrl-C: after about half a second on a slow machine.
_MOST_STEPS, _OPERATIONS_A_CALL, _OPERATIONS_A_CALL_ON_GPU = 64, 1e10, 1e12

# On a CPU, XLA gains nothing in steps of fewer operations than the first number, and
# wins back the ten seconds or so of its compilation in fits of more than the second. On
# a GPU the time of a step goes into launching operations, whatever their size, so there
# the steps are counted. Their number is a guess that tests/benchmarks/gpu.py can check.
_STEP_OPERATIONS_FOR_XLA, _FIT_OPERATIONS_FOR_XLA = 4e8, 3e11
_STEPS_FOR_XLA_ON_GPU = 2_000

_BATCH_METHODS = (
    "on_batch_begin",
    "on_batch_end",
    "on_train_batch_begin",
    "on_train_batch_end",
)


@dataclasses.dataclass(frozen=True)
class Settings:
    """What `compile` was asked for; None leaves the choice to each fit.

    Attributes:
      steps_per_execution: steps in one call of the compiled function.
      jit_compile: whether XLA compiles loss and gradients.
    """

    steps_per_execution: int | None = None
    jit_compile: bool | None = None


@dataclasses.dataclass(frozen=True)
class Plan:
    """How a fit takes its steps.

    Everything is decided by counts and never by a clock, so that a fit that is resumed
    is planned as it was the first time. `tests/benchmarks/speed.py --without` measures
    what a decision brings: it replaces `trainer.make_plan` by a function that changes
    one field of the plan.

    Attributes:
      device: where the weights are and the steps are taken, such as "CPU:0".
      rows_in_memory: whether the compiled function gathers its batches from arrays by
        itself. Otherwise Keras reads them from a dataset.
      batch_size: rows of a step, of all replicas together; None where a dataset has
        batches of varying or unknown size.
      steps_per_epoch: None where only the end of a dataset tells.
      steps_per_call: steps that one call of the compiled function takes.
      jit_compile: whether XLA compiles loss and gradients.
      parts: into how many equal parts a batch is cut, which are differentiated side by
        side.
      fills_up: whether a batch is filled up with rows of weight 0 where it is too short
        or cannot be cut into equal parts.
    """

    device: str
    rows_in_memory: bool
    batch_size: int | Any
    steps_per_epoch: int | Any
    steps_per_call: int
    jit_compile: bool
    parts: int
    fills_up: bool

    @property
    def width(self) -> int | Any:
        """Rows of a batch, with those that only fill it up; None where it varies."""
        if self.fills_up:
            return math.ceil(self.batch_size / self.parts) * self.parts
        return None if self.rows_in_memory else self.batch_size

    def has_weighted_rows(self, rows: int | Any) -> bool:
        """Returns whether some batch of an epoch of so many rows is filled up."""
        if not self.fills_up:
            return False
        return self.width != self.batch_size or rows % self.batch_size != 0

    def with_whole_batches(self) -> "Plan":
        """Returns the plan for a model that must see each batch whole and as it is."""
        return dataclasses.replace(self, parts=1, fills_up=False)


def make_plan(
    model: keras.Model,
    settings: Settings,
    points: FitData,
    *,
    batch_size: int | Any,
    epochs: int,
    steps_per_epoch: int | None,
    callbacks: Sequence[keras.callbacks.Callback],
    is_replicated: bool,
    has_own_step: bool,
    is_compiled_by_xla: bool,
) -> Plan:
    """Decides how the steps of a fit are taken.

    Args:
      model: compiled; it computes on the device of its weights.
      settings: what `compile` was asked for.
      points: what is fitted.
      batch_size: as the user gave it, or None.
      epochs: how many.
      steps_per_epoch: as the user gave it, or None.
      callbacks: the user's own.
      is_replicated: whether the model was made within a distribution strategy.
      has_own_step: whether a subclass takes steps by a `train_step` of its own.
      is_compiled_by_xla: whether an earlier fit has already paid for XLA.
    """
    tensors = [weight.value for weight in model.weights]
    on_gpu = devices.is_gpu(tensors)
    steps: int | Any  # None where only the end of a dataset tells
    if points.length is None:
        rows_in_memory, batch_size = False, points.rows_per_batch
        steps = steps_per_epoch or points.batches_per_epoch
        typical_size = _ASSUMED_BATCH_SIZE
    else:
        keras_reads = steps_per_epoch or has_own_step or model.run_eagerly
        rows_in_memory = points.in_memory and not keras_reads
        if batch_size is None and steps_per_epoch:
            batch_size = math.ceil(points.length / steps_per_epoch)
        batch_size = typical_size = batch_size or _BATCH_SIZE
        steps = steps_per_epoch or math.ceil(points.length / batch_size)
    step = operations_of_step(model.trainable_weights, typical_size)

    if settings.steps_per_execution is not None:
        steps_per_call = settings.steps_per_execution
    elif is_replicated and not rows_in_memory:
        steps_per_call = 1
    else:
        steps_per_call = steps_at_once(step, callbacks, on_gpu=on_gpu)
        steps_per_call = min(steps_per_call, steps or steps_per_call)
        if steps_per_epoch:  # or Keras would run past the end of the epoch
            steps_per_call = _largest_divisor(steps_per_epoch, steps_per_call)

    if settings.jit_compile is not None:
        jit_compile = settings.jit_compile
    else:
        jit_compile = is_compiled_by_xla or (
            rows_in_memory
            and not is_replicated
            and _is_worth_xla(step, epochs * steps, on_gpu=on_gpu)
        )

    parts, fills_up = 1, False
    mean_of_rows = model.loss.reduction == "sum_over_batch_size"
    if mean_of_rows and not is_replicated and not model.run_eagerly:
        most = parts_of(batch_size) if batch_size and not on_gpu else 1
        if rows_in_memory:
            # XLA compiles for each size of a batch, so it needs a full last one, too.
            parts, fills_up = most, most > 1 or jit_compile
        elif points.rows_per_batch and batch_size % most == 0:
            parts = most
    return Plan(
        device=devices.describe(tensors),
        rows_in_memory=rows_in_memory,
        batch_size=batch_size,
        steps_per_epoch=steps,
        steps_per_call=steps_per_call,
        jit_compile=jit_compile,
        parts=parts,
        fills_up=fills_up,
    )


def steps_at_once(
    step: int,
    callbacks: Sequence[keras.callbacks.Callback],
    *,
    on_gpu: bool = False,
) -> int:
    """Returns how many steps one call of the compiled function should take.

    Args:
      step: the operations of one step.
      callbacks: the user's own; one that looks at batches sees each of them.
      on_gpu: whether a GPU takes the steps.
    """
    if any(map(_looks_at_batches, callbacks)):
        return 1
    most = _OPERATIONS_A_CALL_ON_GPU if on_gpu else _OPERATIONS_A_CALL
    return max(1, min(_MOST_STEPS, int(most / step)))


def _looks_at_batches(callback: keras.callbacks.Callback) -> bool:
    """Returns whether a method that is called at each batch is the user's own."""
    methods = (getattr(callback, name) for name in _BATCH_METHODS)
    modules = (getattr(method, "__module__", "") for method in methods)
    return any(not module.startswith(("keras.", "tfp_flows.")) for module in modules)


def _largest_divisor(number: int, most: int) -> int:
    return next(k for k in range(most, 0, -1) if number % k == 0)


def _is_worth_xla(step: int, steps: int, *, on_gpu: bool) -> bool:
    """Returns whether so many steps win back the time that XLA takes to compile one."""
    if on_gpu:
        return steps > _STEPS_FOR_XLA_ON_GPU
    is_long = step * steps > _FIT_OPERATIONS_FOR_XLA
    return is_long and step > _STEP_OPERATIONS_FOR_XLA
