"""`check_flow` and its checks, with what a Flow shows to everybody."""

import tempfile
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core.checks import as_points
from tfp_flows._core.conditioning import bind, context_size_of
from tfp_flows.testing.bijector import BIJECTOR_CHECKS, as_context, check_bijector
from tfp_flows.testing.bijector_case import name_of
from tfp_flows.testing.failures import (
    CheckFailure,
    Failure,
    NotApplicableError,
    brief,
    mismatch,
    run_checks,
    show,
    skipped,
    tolerance_for,
)

__all__ = ["FLOW_CHECKS", "check_flow"]

# A stage is looked at for its mathematics; what concerns the whole (width, files,
# graphs) is asked of the whole, once.
_NOT_OF_A_STAGE = ("graph", "xla", "wrong_width", "config", "keras_file")

_CHECKS: dict[str, Callable[["_FlowSubject"], Iterable[Failure]]] = {}


def _check(function: Callable) -> Callable:
    """Enters `_name` among the checks as `name`."""
    _CHECKS[function.__name__.removeprefix("_")] = function
    return function


def check_flow(
    flow: Any,
    x: np.ndarray,
    *,
    context: np.ndarray | None = None,
    tolerance: float | Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
) -> tuple[str, ...]:
    """Checks that a flow is what it claims to be, or reports all that is wrong.

    The flow maps z to x = f_K(… f_1(z)), and log p(x) = log p(z) + Σ log|det ∂f_k⁻¹|.
    The checks, whose names are in `FLOW_CHECKS`:

    - `stages`: every bijector passes the checks of `check_bijector` that concern one
      stage, at the points that it sees when x goes through the flow.
    - `finite_log_prob`: log p is finite at x.
    - `log_prob`: it is the base's log-density plus the stages' inverse log-dets.
    - `round_trip`: x → z → x comes back.
    - `graph`, `xla`: `tf.function` and XLA give the log p of eager mode.
    - `weights`: every weight in use is one of the flow's, and a gradient of log p
      reaches each of them.
    - `samples`: they have the right shape, are finite, and follow the seed.
    - `wrong_width`: points of another width raise.
    - `keras_file`: the flow loaded from a file has the same log p and samples, to the
      last bit.
    - `integral`: in one and two dimensions, the density integrates, over the box
      from the 10th to the 90th percentile of 20,000 samples, to the fraction of them
      that falls into it, ± 0.02. Leave it out for a density too fine for a grid of
      200 × 200.
    - `context`: of a conditional flow, log p of a point depends on its own context and
      on no other; contexts broadcast against points; a context of another width, or
      none, raises; the model called on {"x": x, "context": context} gives log p.

    All that is asked of a conditional flow is asked of `flow.given(context)`; the
    integral is that of the first row of the context.

    Args:
      flow: a `tfp_flows.Flow`.
      x: points on the data side, of shape `(n, event_size)`, at least two different
        ones. Best ten or more, such as a few rows of the data.
      context: for a conditional flow, and for no other: `(n, context_size)`, one row
        for each point, at least two different ones.
      tolerance: the error that is accepted, times 1 + |expected|; a number, or one a
        dtype: `{"float32": 1e-3}`. By default 1e-8 in float64, 1e-4 in float32.
      skip: names of checks to leave out, of the flow or of its stages.

    Returns:
      The names of the checks that passed.

    Raises:
      CheckFailure: with all that is wrong, in its message and in `.failures`; what is
        wrong with one stage names it, where the base is stage 0.
      ValueError: `x` or `context` is not such an array, the context is missing or not
        asked for, or `skip` names an unknown check.

    Example:
      >>> import numpy as np
      >>> import tensorflow_probability as tfp
      >>> import tfp_flows as tfpf
      >>> flow = tfpf.Flow([tfp.bijectors.Shift([1.0, 2.0])], event_size=2)
      >>> x = np.linspace(-2.0, 2.0, 14).reshape(7, 2)
      >>> passed = tfpf.testing.check_flow(flow, x, skip=["xla"])
      >>> "integral" in passed
      True
    """
    leave_out = skipped(skip, {*_CHECKS, *BIJECTOR_CHECKS})
    points = as_points(x, flow.event_size)
    if points.ndim != 2 or np.ptp(points, axis=0).max() == 0:
        raise ValueError(
            "`x` must have shape (n, event_size), with at least two different points. "
            f"Received shape {points.shape}."
        )
    contexts = as_context(context, flow.context_size, len(points), "the flow")
    dtype = tf.as_dtype(flow.dtype).name
    subject = _FlowSubject(
        flow,
        points.astype(dtype),
        None if contexts is None else contexts.astype(dtype),
        tolerance_for(dtype, tolerance),
        leave_out,
    )
    checks = {name: check for name, check in _CHECKS.items() if name not in leave_out}
    first = {k: v for k, v in checks.items() if k in ("stages", "finite_log_prob")}
    rest = {k: v for k, v in checks.items() if k not in first}
    passed, failures = run_checks(first, subject)
    # Where log p has no value, the rest would only see the consequences.
    if not any(failure.check == "finite_log_prob" for failure in failures):
        more, found = run_checks(rest, subject)
        passed, failures = passed + more, failures + found
    if failures:
        failed = {"stages" if f.where else f.check for f in failures}
        raise CheckFailure("check_flow", repr(flow.name), failures, failed, passed)
    return tuple(passed)


class _FlowSubject:
    """A flow and what it says about x; answers are computed once, from numbers."""

    def __init__(
        self,
        flow: Any,
        x: np.ndarray,
        context: np.ndarray | None,
        tolerance: float,
        skip: set[str],
    ):
        self.flow, self.x, self.context = flow, x, context
        self.tolerance, self.skip = tolerance, skip

    def distribution(self, context: Any = None) -> Any:
        """The distribution of the flow, given that of x where none is told."""
        if self.context is None:
            return self.flow.distribution
        return self.flow.given(self.context if context is None else context)

    @property
    def bijectors(self) -> list[Any]:
        """The bijectors in sampling order, with the context of x bound."""
        context = None if self.context is None else tf.constant(self.context)
        return [bind(bijector, context) for bijector in self.flow.bijectors]

    def log_prob_of(self, flow: Any, x: np.ndarray) -> np.ndarray:
        """log p at points, `(n,)`, given the context of x."""
        if self.context is None:
            return np.asarray(flow.log_prob(x))
        return flow.given(self.context).log_prob(tf.constant(x)).numpy()

    def samples_of(self, flow: Any, n: int, seed: int) -> np.ndarray:
        """`(n, event_size)`; given the context of x, `(n, len(x), event_size)`."""
        if self.context is None:
            return np.asarray(flow.sample(n, seed=seed))
        return flow.given(self.context).sample(n, seed=(seed, 0)).numpy()

    @cached_property
    def log_prob(self) -> np.ndarray:
        """log p at x, `(n,)`."""
        return self.log_prob_of(self.flow, self.x)

    @cached_property
    def path(self) -> list[np.ndarray]:
        """The points x takes to the base: z first, x last, each `(n, event_size)`."""
        path = [self.x]
        for bijector in reversed(self.bijectors):
            path.insert(0, bijector.inverse(tf.constant(path[0])).numpy())
        return path


@_check
def _stages(s: _FlowSubject) -> Iterator[Failure]:
    skip = {*s.skip.intersection(BIJECTOR_CHECKS), *_NOT_OF_A_STAGE}
    y = s.x
    stages = zip(s.flow.bijectors, s.bijectors, strict=True)
    for number, (bijector, bound) in reversed(list(enumerate(stages, 1))):
        where = f"stage {number}, {type(bijector).__name__}"
        try:
            z = bound.inverse(tf.constant(y)).numpy()
        except Exception as error:
            yield Failure(f"inverse raised {brief(error)}", "runs", where)
            return
        bad = ~np.isfinite(z).all(axis=-1)
        if bad.any():
            first = int(np.argmax(bad))
            yield Failure(
                f"inverse(y) is not finite at {bad.sum()} of {len(y)} points, the "
                f"first of them point {first}: y = {show(y[first])}. Are the points "
                "inside the range of this stage?",
                "runs",
                where,
            )
            return
        context = s.context if context_size_of(bijector) else None
        about = {"context": context, "tolerance": s.tolerance, "skip": skip}
        try:
            check_bijector(bijector, z, **about)
        except CheckFailure as failure:
            yield from (replace(found, where=where) for found in failure.failures)
        y = z


@_check
def _finite_log_prob(s: _FlowSubject) -> Iterator[Failure]:
    bad = ~np.isfinite(s.log_prob)
    if bad.any():
        first = int(np.argmax(bad))
        yield Failure(
            f"log_prob is not finite at {bad.sum()} of {len(s.x)} points, the first of "
            f"them point {first}: x = {show(s.x[first])}, log_prob "
            f"{show(s.log_prob[first])}"
        )


@_check
def _log_prob(s: _FlowSubject) -> Iterator[Failure]:
    expected = s.distribution().distribution.log_prob(tf.constant(s.path[0]))
    expected = expected.numpy()
    for bijector, y in zip(s.bijectors, s.path[1:], strict=True):
        log_det = bijector.inverse_log_det_jacobian(tf.constant(y), event_ndims=1)
        expected = expected + log_det.numpy()
    if expected.shape != s.log_prob.shape:
        yield Failure(
            f"log_prob has shape {s.log_prob.shape} for {len(s.x)} points; the base's "
            f"log-density plus the inverse log-dets {expected.shape}"
        )
        return
    yield from mismatch(
        "log_prob is not the base's log-density plus the stages' inverse log-dets",
        s.log_prob,
        expected,
        points=s.x,
        tolerance=s.tolerance,
    )


@_check
def _round_trip(s: _FlowSubject) -> Iterator[Failure]:
    bijector = s.distribution().bijector
    z = bijector.inverse(tf.constant(s.x)).numpy()
    back = bijector.forward(tf.constant(z)).numpy()
    message = "x → z → x does not come back"
    yield from mismatch(message, back, s.x, points=s.x, tolerance=s.tolerance)


@_check
def _graph(s: _FlowSubject) -> Iterator[Failure]:
    yield from _compare_traced(s, "in tf.function", jit_compile=False)


@_check
def _xla(s: _FlowSubject) -> Iterator[Failure]:
    yield from _compare_traced(s, "under XLA", jit_compile=True)


def _compare_traced(s: _FlowSubject, how: str, jit_compile: bool) -> Iterator[Failure]:
    arrays = [s.x] if s.context is None else [s.x, s.context]
    arguments = [tf.constant(array) for array in arrays]

    def log_prob(x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        return s.distribution(context).log_prob(x)

    traced = tf.function(log_prob, jit_compile=jit_compile, autograph=False)
    yield from mismatch(
        f"log_prob {how} is not what it is in eager mode",
        traced.get_concrete_function(*arguments)(*arguments).numpy(),
        log_prob(*arguments).numpy(),
        points=s.x,
        tolerance=s.tolerance,
    )


@_check
def _weights(s: _FlowSubject) -> Iterator[Failure]:
    weights = [weight.value for weight in s.flow.trainable_variables]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(s.distribution().log_prob(tf.constant(s.x)))
    known = {weight.value.ref() for weight in s.flow.variables}
    for weight in tape.watched_variables():
        if weight.ref() not in known:
            yield Failure(
                f"the weight {name_of(weight)} is used, but is not one of the flow's, "
                "so that it is neither trained nor saved. Remedy: keep it, or the "
                "Keras layer that holds it, as an attribute of its bijector"
            )
    for weight, gradient in zip(weights, tape.gradient(total, weights), strict=True):
        if gradient is None:
            yield Failure(f"no gradient of log_prob reaches {name_of(weight)}")
        elif not np.isfinite(tf.convert_to_tensor(gradient).numpy()).all():
            yield Failure(
                f"the gradient of log_prob with respect to {name_of(weight)} is not "
                "finite"
            )


@_check
def _samples(s: _FlowSubject) -> Iterator[Failure]:
    draw = {seed: s.samples_of(s.flow, 7, seed) for seed in (0, 1)}
    shape = (7, s.x.shape[1]) if s.context is None else (7, *s.x.shape)
    if draw[0].shape != shape:
        yield Failure(f"sample(7) has shape {draw[0].shape} instead of {shape}")
    if not np.isfinite(draw[0]).all():
        yield Failure("samples are not finite")
    if not np.array_equal(draw[0], s.samples_of(s.flow, 7, 0)):
        yield Failure("sample(7, seed=0) differs from one call to the next")
    if np.array_equal(draw[0], draw[1]):
        yield Failure("sample(7) is the same for seeds 0 and 1")


@_check
def _wrong_width(s: _FlowSubject) -> Iterator[Failure]:
    points = np.concatenate([s.x, s.x[:, :1]], axis=1)
    try:
        got = s.log_prob_of(s.flow, points).shape
    except (ValueError, tf.errors.InvalidArgumentError):
        return
    yield Failure(
        f"log_prob of points of width {points.shape[1]} instead of {s.x.shape[1]} must "
        f"raise; it returned shape {got}"
    )


@_check
def _keras_file(s: _FlowSubject) -> Iterator[Failure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.keras"
        s.flow.save(path)
        loaded = keras.models.load_model(path)
    for what, mine, theirs in (
        ("log_prob", s.log_prob, s.log_prob_of(loaded, s.x)),
        ("samples", s.samples_of(s.flow, 7, 0), s.samples_of(loaded, 7, 0)),
    ):
        if not np.array_equal(mine, theirs):
            yield Failure(
                f"{what} of the flow loaded from a .keras file differ by up to "
                f"{show(np.max(np.abs(mine - theirs)))}"
            )


@_check
def _integral(s: _FlowSubject) -> Iterator[Failure]:
    size = s.x.shape[1]
    if size > 2:
        raise NotApplicableError
    # In the middle of the samples neither tails nor the edges of a support matter.
    one = s.flow if s.context is None else s.flow.given(s.context[0])
    seed = 0 if s.context is None else (0, 0)
    samples = np.asarray(one.sample(20_000, seed=seed), np.float64)
    # Cells of equal probability along each axis are fine where the density is.
    cells = 200 if size == 2 else 2000
    edges = np.quantile(samples, np.linspace(0.1, 0.9, cells + 1), axis=0)
    low, high = edges[0], edges[-1]
    fraction = np.mean(((samples > low) & (samples < high)).all(axis=-1))
    points = np.meshgrid(*((edges[1:] + edges[:-1]) / 2).T)
    volumes = np.prod(np.meshgrid(*np.diff(edges, axis=0).T), axis=0)
    grid = np.stack(points, axis=-1).reshape(-1, size).astype(s.x.dtype)
    log_prob = np.asarray(one.log_prob(grid), np.float64)
    total = (np.exp(log_prob) * volumes.ravel()).sum()
    if not abs(total - fraction) <= 0.02:
        yield Failure(
            f"the density integrates to {total:.4g} over the box from {show(low)} to "
            f"{show(high)}, into which {fraction:.4g} of the samples fall "
            "(tolerance 0.02)"
        )


@_check
def _context(s: _FlowSubject) -> Iterator[Failure]:
    if s.context is None:
        raise NotApplicableError
    about = {"points": s.x, "tolerance": s.tolerance}
    alone = [
        s.distribution(row).log_prob(tf.constant(x)).numpy()
        for row, x in zip(s.context, s.x, strict=True)
    ]
    message = "log_prob at a point changes with the contexts of the other points"
    yield from mismatch(message, s.log_prob, np.stack(alone), **about)
    called = s.flow({"x": s.x, "context": s.context}).numpy()
    message = 'the model called on {"x": x, "context": context} does not give log_prob'
    yield from mismatch(message, called, s.log_prob, **about)
    yield from _broadcast(s)
    wide = np.concatenate([s.context, s.context[:, :1]], axis=1)
    for what, call in (
        ("without a context", lambda: s.flow.log_prob(s.x)),
        (f"given a context of width {wide.shape[1]}", lambda: s.flow.given(wide)),
    ):
        try:
            call()
        except ValueError:
            continue
        yield Failure(f"log_prob {what} must raise a ValueError; there was an answer")


def _broadcast(s: _FlowSubject) -> Iterator[Failure]:
    rows = np.arange(3) % len(s.x)
    given = s.distribution(s.context[rows, np.newaxis])
    log_prob = given.log_prob(tf.constant(s.x)).numpy()
    shape = f"contexts of shape {(3, 1, s.context.shape[1])}"
    if log_prob.shape != (3, len(s.x)):
        yield Failure(
            f"log_prob has shape {log_prob.shape} instead of {(3, len(s.x))} for "
            f"points of shape {s.x.shape} given {shape}"
        )
        return
    for row, got in zip(rows, log_prob, strict=True):
        expected = s.distribution(s.context[row]).log_prob(tf.constant(s.x)).numpy()
        message = f"log_prob given {shape} is not that given each of them"
        about = {"points": s.x, "tolerance": s.tolerance}
        yield from mismatch(message, got, expected, **about)
    drawn = given.sample(2, seed=(0, 0)).shape
    if drawn != (2, 3, 1, s.x.shape[1]):
        yield Failure(f"sample(2) given {shape} has shape {tuple(drawn)}")


FLOW_CHECKS = tuple(_CHECKS)
"""The names of the checks of `check_flow`, besides those of `BIJECTOR_CHECKS`."""
