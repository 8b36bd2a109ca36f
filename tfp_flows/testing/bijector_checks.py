"""The checks of a bijector: each a small function that yields what it finds."""

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.testing.bijector_case import (
    METHODS,
    BijectorCase,
    Values,
    evaluate,
    name_of,
    trainable_weights,
    weights_of,
)
from tfp_flows.testing.failures import (
    Failure,
    brief,
    mismatch,
    show,
)

__all__ = ["CHECKS"]

tfb = tfp.bijectors

CHECKS: dict[str, Callable[[BijectorCase], Iterable[Failure]]] = {}


def _check(function: Callable) -> Callable:
    """Enters the function `_name` into `CHECKS` as `name`."""
    CHECKS[function.__name__.removeprefix("_")] = function
    return function


@_check
def _runs(case: BijectorCase) -> Iterator[Failure]:
    try:
        y = case.y
    except Exception as error:
        yield Failure(f"forward(x) raised {brief(error)}")
        return
    if y.shape != case.x.shape:
        yield Failure(
            f"forward(x) has shape {y.shape} for x of shape {case.x.shape}: only "
            "bijectors that keep the number of coordinates can be checked"
        )
        return
    b, x = case.bijector, case.x
    for name, call in zip(
        METHODS,
        (
            lambda: y,
            lambda: b.forward_log_det_jacobian(tf.constant(x), event_ndims=1),
            lambda: b.inverse(tf.constant(y)),
            lambda: b.inverse_log_det_jacobian(tf.constant(y), event_ndims=1),
        ),
        strict=True,
    ):
        try:
            value = np.asarray(call())
        except Exception as error:
            yield Failure(f"{name} raised {brief(error)}")
            continue
        finite = np.isfinite(value)
        finite = finite.all(axis=tuple(range(1, finite.ndim)))
        if finite.shape not in ((), x.shape[:1]):
            continue  # `batch_shapes` reports this
        bad = ~np.broadcast_to(finite, len(x))
        if bad.any():
            first = int(np.argmax(bad))
            where = f"x = {show(x[first])}" + f", y = {show(y[first])}" * ("y" in name)
            yield Failure(
                f"{name} is not finite at {bad.sum()} of {len(x)} points, the first of "
                f"them point {first}: {where}. Are the points inside the domain?"
            )
            if name == METHODS[0]:
                return  # the other methods would only show the consequences


@_check
def _dtypes(case: BijectorCase) -> Iterator[Failure]:
    for method, value in zip(METHODS, case.values, strict=True):
        if value.dtype != case.x.dtype:
            yield Failure(
                f"{method} is {value.dtype.name} for {case.x.dtype.name} points"
            )


@_check
def _round_trip(case: BijectorCase) -> Iterator[Failure]:
    there, back = case.values.forward, case.values.inverse
    slack = case.rounding(case.inverse_jacobian(), there)
    about = {"points": case.x, "tolerance": case.tolerance}
    message = "inverse(forward(x)) is not x" + _why_no_inverse(case)
    yield from mismatch(message, back, case.x, slack=slack, **about)
    again = case.bijector.forward(tf.constant(back)).numpy()
    slack = case.rounding(np.abs(case.jacobian), case.x)
    message = "forward(inverse(y)) is not y = forward(x)"
    yield from mismatch(message, again, there, slack=slack, **about)


def _why_no_inverse(case: BijectorCase) -> str:
    """Returns a hint at a common mistake in an inverse, or no text."""
    off = case.values.inverse - case.x
    near: dict[str, Any] = {"rtol": 0, "atol": case.tolerance}
    if np.allclose(case.values.inverse, case.evaluate(case.y, case.y).forward, **near):
        return ": inverse(y) is forward(y)"
    if np.allclose(off, off[0], **near):
        return f": it is off by {show(off[0])} at every point"
    products = case.jacobian @ np.swapaxes(case.jacobian, -1, -2)
    orthogonal = np.allclose(products, np.eye(case.x.shape[1]), **near)
    if orthogonal and (np.linalg.det(case.jacobian) < 0).all():
        return (
            ": the determinant of forward is -1, so that it is a reflection, "
            "not a rotation"
        )
    return ""


@_check
def _forward_log_det(case: BijectorCase) -> Iterator[Failure]:
    yield from _compare_log_det(case, "forward", np.linalg.slogdet(case.jacobian)[1])


@_check
def _inverse_log_det(case: BijectorCase) -> Iterator[Failure]:
    # By the inverse function theorem, the inverse Jacobian follows from the forward
    # one. The bijector's own inverse may be wrong.
    yield from _compare_log_det(case, "inverse", -np.linalg.slogdet(case.jacobian)[1])


def _compare_log_det(
    case: BijectorCase, direction: str, expected: np.ndarray
) -> Iterator[Failure]:
    got = case.log_det(direction)
    message = "log-det " + _what_log_det(case, got, expected)
    yield from mismatch(message, got, expected, points=case.x, tolerance=case.tolerance)


def _what_log_det(case: BijectorCase, got: np.ndarray, expected: np.ndarray) -> str:
    """Returns what is wrong with a log-det, with a hint at common mistakes."""

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return np.allclose(a, b, rtol=case.tolerance, atol=case.tolerance)

    off = got - expected
    if not np.isfinite(off).all():
        return "is not that of the Jacobian matrix"
    with np.errstate(over="ignore"):
        determinant = np.exp(expected)
    if same(got, -expected):
        return "has the wrong sign"
    hint = ""
    if same(got, determinant):
        hint = "; this is the determinant, its logarithm was not taken"
    if same(off, off[0]):
        size = "large" if off[0] > 0 else "small"
        if same(expected, expected[0]):
            values = f": expected {show(expected[0])}, got {show(got[0])}"
        else:
            values = ""
        return f"is too {size} by {show(abs(off[0]))} at every point{values}{hint}"
    if same(got * case.x.shape[1], expected):
        hint = "; this is its mean over the coordinates, not the sum"
    return f"is not that of the Jacobian matrix{hint}"


@_check
def _log_dets_cancel(case: BijectorCase) -> Iterator[Failure]:
    forward, inverse = case.log_det("forward"), case.log_det("inverse")
    yield from mismatch(
        "the inverse log-det at y = forward(x) is not minus the forward one at x",
        inverse,
        -forward,
        points=case.x,
        tolerance=case.tolerance,
    )


@_check
def _batch_shapes(case: BijectorCase) -> Iterator[Failure]:
    event = case.x.shape[1:]
    for batch, _, values in case.batches:
        if isinstance(values, Exception):
            yield Failure(f"points of shape {batch + event} raised {brief(values)}")
            continue
        expected = Values(batch + event, batch, batch + event, batch)
        for method, value, shape in zip(METHODS, values, expected, strict=True):
            # TFP returns a constant log-det as a scalar, one for all points.
            if value.shape == shape or (value.shape == () and "log_det" in method):
                continue
            hint = ""
            if "log_det" in method and value.shape in (batch + event, event):
                hint = ": it is not summed over the coordinates"
            yield Failure(
                f"{method} has shape {value.shape} instead of {shape} for points of "
                f"shape {batch + event}{hint}"
            )


@_check
def _rows_independent(case: BijectorCase) -> Iterator[Failure]:
    for k, method in enumerate(METHODS):
        for batch, rows, values in case.batches:
            whole = case.values[k]
            expected = whole if whole.shape == () else whole[rows]
            if isinstance(values, Exception) or values[k].shape != expected.shape:
                continue  # `batch_shapes` reports this
            axes = len(batch) if whole.shape else 0
            found = list(
                mismatch(
                    f"{method} changes with the other points of the batch: a batch of "
                    f"{len(case.x)} against one of shape {batch}",
                    values[k].reshape(-1, *expected.shape[axes:]),
                    expected.reshape(-1, *expected.shape[axes:]),
                    points=case.x[rows.ravel()],
                    tolerance=case.tolerance,
                )
            )
            yield from found
            if found:
                break  # other batches would repeat the message


@_check
def _graph(case: BijectorCase) -> Iterator[Failure]:
    yield from _compare_traced(case, "in tf.function", jit_compile=False)


@_check
def _xla(case: BijectorCase) -> Iterator[Failure]:
    yield from _compare_traced(case, "under XLA", jit_compile=True)


def _compare_traced(
    case: BijectorCase, how: str, jit_compile: bool
) -> Iterator[Failure]:
    arrays = (
        [case.x, case.y] if case.context is None else [case.x, case.y, case.context]
    )
    arguments = [tf.constant(array) for array in arrays]
    # Keras traces a training step without autograph, too.
    traced = tf.function(
        lambda x, y, context=None: evaluate(case.bound(case.unbound, context), x, y),
        jit_compile=jit_compile,
        autograph=False,
    )
    values = traced.get_concrete_function(*arguments)(*arguments)
    for method, got, expected in zip(METHODS, values, case.values, strict=True):
        message = f"{method} {how} is not what it is in eager mode"
        if got.shape != expected.shape:
            yield Failure(f"{message}: shape {got.shape}, not {expected.shape}")
            continue
        yield from mismatch(
            message, got.numpy(), expected, points=case.x, tolerance=case.tolerance
        )


@_check
def _weights_visible(case: BijectorCase) -> Iterator[Failure]:
    seen = {weight.ref() for weight in weights_of(case.bijector)}
    used = dict.fromkeys(
        w.ref() for gradients in case.gradients for w in gradients.used
    )
    for hidden in (weight for weight in used if weight not in seen):
        yield Failure(
            f"the weight {name_of(hidden.deref())} is used, but cannot be found "
            "from the bijector, for training or for saving. Remedy: keep it, or the "
            "Keras layer that holds it, as an attribute, or in a list that is one"
        )


@_check
def _weights_used(case: BijectorCase) -> Iterator[Failure]:
    missed: dict[Any, dict[str, bool]] = {}
    for found in case.gradients:
        weights = trainable_weights(case.bijector)
        for weight, gradient in zip(weights, found.by_weights, strict=True):
            if gradient is None:
                missed.setdefault(weight.ref(), {})[found.direction] = True
    for weight, directions in missed.items():
        yield Failure(
            f"no gradient reaches the weight {name_of(weight.deref())} from "
            f"{' or '.join(directions)} and its log-det: it is not used there, "
            "or became a constant in the constructor"
        )


@_check
def _gradients_finite(case: BijectorCase) -> Iterator[Failure]:
    bad: dict[Any, Any] = {}
    for found in case.gradients:
        names = [f"the weight {name_of(w)}" for w in trainable_weights(case.bijector)]
        pairs = [
            ("the points", found.by_points),
            ("the context", found.by_context),
            *zip(names, found.by_weights, strict=True),
        ]
        for name, gradient in pairs:
            if gradient is not None and not np.isfinite(gradient).all():
                wrong = gradient[~np.isfinite(gradient)]
                bad.setdefault((name, found.direction), wrong)
    for (name, direction), wrong in bad.items():
        yield Failure(
            f"the gradient of {direction} and its log-det with respect to {name} has "
            f"{wrong.size} entries that are not finite, such as {wrong[0]}"
        )


@_check
def _constant_jacobian(case: BijectorCase) -> Iterator[Failure]:
    if case.bijector.is_constant_jacobian:
        flat = case.jacobian.reshape(len(case.x), -1)
        yield from mismatch(
            "`is_constant_jacobian` is True, but the Jacobian matrix at this point "
            "(row by row) is not that at point 0",
            flat,
            flat[:1],
            points=case.x,
            tolerance=case.tolerance,
        )


@_check
def _wrong_width(case: BijectorCase) -> Iterator[Failure]:
    size = case.x.shape[1]
    for width in (size - 1, size + 1) if size > 1 else (size + 1,):
        # The last column is repeated or dropped, so that all points stay in the domain.
        columns = np.minimum(np.arange(width), size - 1)
        shape = (len(case.x), width)
        for name, method, points in (
            ("forward", case.bijector.forward, case.x),
            ("inverse", case.bijector.inverse, case.y),
        ):
            try:
                got = method(tf.constant(points[:, columns])).shape
            except (ValueError, TypeError, tf.errors.InvalidArgumentError):
                continue
            except Exception as error:
                yield Failure(
                    f"{name} of points of width {width} instead of {size} must raise "
                    f"a ValueError; it raised {brief(error)}"
                )
            else:
                if got != shape:
                    yield Failure(
                        f"{name} of points of width {width} instead of {size} must "
                        f"raise; it returned shape {tuple(got)} for shape {shape}"
                    )
