"""The checks of a flow: each a small function that yields what it finds."""

import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core.conditioning import context_size_of
from tfp_flows.testing.bijector import BIJECTOR_CHECKS, check_bijector
from tfp_flows.testing.bijector_case import name_of
from tfp_flows.testing.failures import (
    CheckFailure,
    Failure,
    NotApplicableError,
    brief,
    mismatch,
    show,
)
from tfp_flows.testing.flow_case import FlowCase

__all__ = ["CHECKS"]

# A stage is checked for its mathematics. Its width, files and graphs are checked once,
# with the whole flow.
_NOT_OF_A_STAGE = ("graph", "xla", "wrong_width", "config", "keras_file")

CHECKS: dict[str, Callable[[FlowCase], Iterable[Failure]]] = {}


def _check(function: Callable) -> Callable:
    """Enters the function `_name` into `CHECKS` as `name`."""
    CHECKS[function.__name__.removeprefix("_")] = function
    return function


@_check
def _stages(case: FlowCase) -> Iterator[Failure]:
    skip = {*case.skip.intersection(BIJECTOR_CHECKS), *_NOT_OF_A_STAGE}
    y = case.x
    stages = zip(case.flow.bijectors, case.bijectors, strict=True)
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
        context = case.context if context_size_of(bijector) else None
        about: dict[str, Any] = {
            "context": context,
            "tolerance": case.tolerance,
            "skip": skip,
        }
        try:
            check_bijector(bijector, z, **about)
        except CheckFailure as failure:
            yield from (replace(found, where=where) for found in failure.failures)
        y = z


@_check
def _finite_log_prob(case: FlowCase) -> Iterator[Failure]:
    bad = ~np.isfinite(case.log_prob)
    if bad.any():
        first = int(np.argmax(bad))
        yield Failure(
            f"log_prob is not finite at {bad.sum()} of {len(case.x)} points, the first "
            f"of them point {first}: x = {show(case.x[first])}, log_prob "
            f"{show(case.log_prob[first])}"
        )


@_check
def _log_prob(case: FlowCase) -> Iterator[Failure]:
    expected = case.distribution().distribution.log_prob(tf.constant(case.path[0]))
    expected = expected.numpy()
    for bijector, y in zip(case.bijectors, case.path[1:], strict=True):
        log_det = bijector.inverse_log_det_jacobian(tf.constant(y), event_ndims=1)
        expected = expected + log_det.numpy()
    if expected.shape != case.log_prob.shape:
        yield Failure(
            f"log_prob has shape {case.log_prob.shape} for {len(case.x)} points; the "
            f"base's log-density plus the inverse log-dets {expected.shape}"
        )
        return
    yield from mismatch(
        "log_prob is not the base's log-density plus the stages' inverse log-dets",
        case.log_prob,
        expected,
        points=case.x,
        tolerance=case.tolerance,
    )


@_check
def _round_trip(case: FlowCase) -> Iterator[Failure]:
    bijector = case.distribution().bijector
    z = bijector.inverse(tf.constant(case.x)).numpy()
    back = bijector.forward(tf.constant(z)).numpy()
    message = "x → z → x does not come back"
    yield from mismatch(message, back, case.x, points=case.x, tolerance=case.tolerance)


@_check
def _graph(case: FlowCase) -> Iterator[Failure]:
    yield from _compare_traced(case, "in tf.function", jit_compile=False)


@_check
def _xla(case: FlowCase) -> Iterator[Failure]:
    yield from _compare_traced(case, "under XLA", jit_compile=True)


def _compare_traced(case: FlowCase, how: str, jit_compile: bool) -> Iterator[Failure]:
    arrays = [case.x] if case.context is None else [case.x, case.context]
    arguments = [tf.constant(array) for array in arrays]

    def log_prob(x: tf.Tensor, context: tf.Tensor | None = None) -> tf.Tensor:
        return case.distribution(context).log_prob(x)

    traced = tf.function(log_prob, jit_compile=jit_compile, autograph=False)
    yield from mismatch(
        f"log_prob {how} is not what it is in eager mode",
        traced.get_concrete_function(*arguments)(*arguments).numpy(),
        log_prob(*arguments).numpy(),
        points=case.x,
        tolerance=case.tolerance,
    )


@_check
def _weights(case: FlowCase) -> Iterator[Failure]:
    weights = [weight.value for weight in case.flow.trainable_variables]
    with tf.GradientTape() as tape:
        total = tf.reduce_sum(case.distribution().log_prob(tf.constant(case.x)))
    known = {weight.value.ref() for weight in case.flow.variables}
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
def _samples(case: FlowCase) -> Iterator[Failure]:
    draw = {seed: case.samples_of(case.flow, 7, seed) for seed in (0, 1)}
    shape = (7, case.x.shape[1]) if case.context is None else (7, *case.x.shape)
    if draw[0].shape != shape:
        yield Failure(f"sample(7) has shape {draw[0].shape} instead of {shape}")
    if not np.isfinite(draw[0]).all():
        yield Failure("samples are not finite")
    if not np.array_equal(draw[0], case.samples_of(case.flow, 7, 0)):
        yield Failure("sample(7, seed=0) differs from one call to the next")
    if np.array_equal(draw[0], draw[1]):
        yield Failure("sample(7) is the same for seeds 0 and 1")


@_check
def _wrong_width(case: FlowCase) -> Iterator[Failure]:
    points = np.concatenate([case.x, case.x[:, :1]], axis=1)
    try:
        got = case.log_prob_of(case.flow, points).shape
    except (ValueError, tf.errors.InvalidArgumentError):
        return
    yield Failure(
        f"log_prob of points of width {points.shape[1]} instead of {case.x.shape[1]} "
        f"must raise; it returned shape {got}"
    )


@_check
def _keras_file(case: FlowCase) -> Iterator[Failure]:
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.keras"
        case.flow.save(path)
        loaded = keras.models.load_model(path)
    for what, mine, theirs in (
        ("log_prob", case.log_prob, case.log_prob_of(loaded, case.x)),
        ("samples", case.samples_of(case.flow, 7, 0), case.samples_of(loaded, 7, 0)),
    ):
        if not np.array_equal(mine, theirs):
            yield Failure(
                f"{what} of the flow loaded from a .keras file differ by up to "
                f"{show(np.max(np.abs(mine - theirs)))}"
            )


@_check
def _integral(case: FlowCase) -> Iterator[Failure]:
    size = case.x.shape[1]
    if size > 2:
        raise NotApplicableError
    # A box in the middle of the samples avoids the tails and the edges of the support.
    one = case.flow if case.context is None else case.flow.given(case.context[0])
    seed = 0 if case.context is None else (0, 0)
    samples = np.asarray(one.sample(20_000, seed=seed), np.float64)
    # Cells of equal probability along each axis are small where the density is high.
    cells = 200 if size == 2 else 2000
    edges = np.quantile(samples, np.linspace(0.1, 0.9, cells + 1), axis=0)
    low, high = edges[0], edges[-1]
    fraction = np.mean(((samples > low) & (samples < high)).all(axis=-1))
    points = np.meshgrid(*((edges[1:] + edges[:-1]) / 2).T)
    volumes = np.prod(np.meshgrid(*np.diff(edges, axis=0).T), axis=0)
    grid = np.stack(points, axis=-1).reshape(-1, size).astype(case.x.dtype)
    log_prob = np.asarray(one.log_prob(grid), np.float64)
    total = (np.exp(log_prob) * volumes.ravel()).sum()
    if not abs(total - fraction) <= 0.02:
        yield Failure(
            f"the density integrates to {total:.4g} over the box from {show(low)} to "
            f"{show(high)}, into which {fraction:.4g} of the samples fall "
            "(tolerance 0.02)"
        )


@_check
def _context(case: FlowCase) -> Iterator[Failure]:
    if case.context is None:
        raise NotApplicableError
    about: dict[str, Any] = {"points": case.x, "tolerance": case.tolerance}
    alone = [
        case.distribution(row).log_prob(tf.constant(x)).numpy()
        for row, x in zip(case.context, case.x, strict=True)
    ]
    message = "log_prob at a point changes with the contexts of the other points"
    yield from mismatch(message, case.log_prob, np.stack(alone), **about)
    called = case.flow({"x": case.x, "context": case.context}).numpy()
    message = 'the model called on {"x": x, "context": context} does not give log_prob'
    yield from mismatch(message, called, case.log_prob, **about)
    yield from _broadcast(case)
    wide = np.concatenate([case.context, case.context[:, :1]], axis=1)
    for what, call in (
        ("without a context", lambda: case.flow.log_prob(case.x)),
        (f"given a context of width {wide.shape[1]}", lambda: case.flow.given(wide)),
    ):
        try:
            call()
        except ValueError:
            continue
        yield Failure(f"log_prob {what} must raise a ValueError; there was an answer")


def _broadcast(case: FlowCase) -> Iterator[Failure]:
    rows = np.arange(3) % len(case.x)
    given = case.distribution(case.context[rows, np.newaxis])
    log_prob = given.log_prob(tf.constant(case.x)).numpy()
    shape = f"contexts of shape {(3, 1, case.context.shape[1])}"
    if log_prob.shape != (3, len(case.x)):
        yield Failure(
            f"log_prob has shape {log_prob.shape} instead of {(3, len(case.x))} for "
            f"points of shape {case.x.shape} given {shape}"
        )
        return
    for row, got in zip(rows, log_prob, strict=True):
        expected = (
            case.distribution(case.context[row]).log_prob(tf.constant(case.x)).numpy()
        )
        message = f"log_prob given {shape} is not that given each of them"
        about: dict[str, Any] = {"points": case.x, "tolerance": case.tolerance}
        yield from mismatch(message, got, expected, **about)
    drawn = given.sample(2, seed=(0, 0)).shape
    if drawn != (2, 3, 1, case.x.shape[1]):
        yield Failure(f"sample(2) given {shape} has shape {tuple(drawn)}")
