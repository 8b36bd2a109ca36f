"""The checks of a bijector: each a small function that yields what it finds."""

import json
import tempfile
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.testing.bijector_case import (
    METHODS,
    Subject,
    Values,
    evaluate,
    name_of,
    trainable_weights,
    weights_of,
)
from tfp_flows.testing.failures import (
    Failure,
    NotApplicableError,
    brief,
    mismatch,
    show,
)

__all__ = ["CHECKS"]

tfb = tfp.bijectors

CHECKS: dict[str, Callable[[Subject], Iterable[Failure]]] = {}


def _check(function: Callable) -> Callable:
    """Enters `_name` among the checks as `name`."""
    CHECKS[function.__name__.removeprefix("_")] = function
    return function


@_check
def _runs(s: Subject) -> Iterator[Failure]:
    try:
        y = s.y
    except Exception as error:
        yield Failure(f"forward(x) raised {brief(error)}")
        return
    if y.shape != s.x.shape:
        yield Failure(
            f"forward(x) has shape {y.shape} for x of shape {s.x.shape}: only "
            "bijectors that keep the number of coordinates can be checked"
        )
        return
    b, x = s.bijector, s.x
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
                return  # the others would only see the consequences


@_check
def _dtypes(s: Subject) -> Iterator[Failure]:
    for method, value in zip(METHODS, s.values, strict=True):
        if value.dtype != s.x.dtype:
            yield Failure(f"{method} is {value.dtype.name} for {s.x.dtype.name} points")


@_check
def _round_trip(s: Subject) -> Iterator[Failure]:
    there, back = s.values.forward, s.values.inverse
    slack = s.rounding(s.inverse_jacobian(), there)
    about = {"points": s.x, "tolerance": s.tolerance}
    message = "inverse(forward(x)) is not x" + _why_no_inverse(s)
    yield from mismatch(message, back, s.x, slack=slack, **about)
    again = s.bijector.forward(tf.constant(back)).numpy()
    slack = s.rounding(np.abs(s.jacobian), s.x)
    message = "forward(inverse(y)) is not y = forward(x)"
    yield from mismatch(message, again, there, slack=slack, **about)


def _why_no_inverse(s: Subject) -> str:
    """Recognizes the mistakes in an inverse that have a name."""
    off = s.values.inverse - s.x
    near = {"rtol": 0, "atol": s.tolerance}
    if np.allclose(s.values.inverse, s.evaluate(s.y, s.y).forward, **near):
        return ": inverse(y) is forward(y)"
    if np.allclose(off, off[0], **near):
        return f": it is off by {show(off[0])} at every point"
    products = s.jacobian @ np.swapaxes(s.jacobian, -1, -2)
    orthogonal = np.allclose(products, np.eye(s.x.shape[1]), **near)
    if orthogonal and (np.linalg.det(s.jacobian) < 0).all():
        return (
            ": the determinant of forward is -1, so that it is a reflection, "
            "not a rotation"
        )
    return ""


@_check
def _forward_log_det(s: Subject) -> Iterator[Failure]:
    yield from _compare_log_det(s, "forward", np.linalg.slogdet(s.jacobian)[1])


@_check
def _inverse_log_det(s: Subject) -> Iterator[Failure]:
    # By the inverse function theorem; the bijector's own inverse may be wrong.
    yield from _compare_log_det(s, "inverse", -np.linalg.slogdet(s.jacobian)[1])


def _compare_log_det(
    s: Subject, direction: str, expected: np.ndarray
) -> Iterator[Failure]:
    got = s.log_det(direction)
    message = "log-det " + _what_log_det(s, got, expected)
    yield from mismatch(message, got, expected, points=s.x, tolerance=s.tolerance)


def _what_log_det(s: Subject, got: np.ndarray, expected: np.ndarray) -> str:
    """Recognizes the mistakes in a log-det that have a name."""

    def same(a: np.ndarray, b: np.ndarray) -> bool:
        return np.allclose(a, b, rtol=s.tolerance, atol=s.tolerance)

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
    if same(got * s.x.shape[1], expected):
        hint = "; this is its mean over the coordinates, not the sum"
    return f"is not that of the Jacobian matrix{hint}"


@_check
def _log_dets_cancel(s: Subject) -> Iterator[Failure]:
    forward, inverse = s.log_det("forward"), s.log_det("inverse")
    yield from mismatch(
        "the inverse log-det at y = forward(x) is not minus the forward one at x",
        inverse,
        -forward,
        points=s.x,
        tolerance=s.tolerance,
    )


@_check
def _batch_shapes(s: Subject) -> Iterator[Failure]:
    event = s.x.shape[1:]
    for batch, _, values in s.batches:
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
def _rows_independent(s: Subject) -> Iterator[Failure]:
    for k, method in enumerate(METHODS):
        for batch, rows, values in s.batches:
            whole = s.values[k]
            expected = whole if whole.shape == () else whole[rows]
            if isinstance(values, Exception) or values[k].shape != expected.shape:
                continue  # `batch_shapes` reports this
            axes = len(batch) if whole.shape else 0
            found = list(
                mismatch(
                    f"{method} changes with the other points of the batch: a batch of "
                    f"{len(s.x)} against one of shape {batch}",
                    values[k].reshape(-1, *expected.shape[axes:]),
                    expected.reshape(-1, *expected.shape[axes:]),
                    points=s.x[rows.ravel()],
                    tolerance=s.tolerance,
                )
            )
            yield from found
            if found:
                break  # other batches would tell the same


@_check
def _graph(s: Subject) -> Iterator[Failure]:
    yield from _compare_traced(s, "in tf.function", jit_compile=False)


@_check
def _xla(s: Subject) -> Iterator[Failure]:
    yield from _compare_traced(s, "under XLA", jit_compile=True)


def _compare_traced(s: Subject, how: str, jit_compile: bool) -> Iterator[Failure]:
    arrays = [s.x, s.y] if s.context is None else [s.x, s.y, s.context]
    arguments = [tf.constant(array) for array in arrays]
    # Keras traces a training step without autograph, and so do we.
    traced = tf.function(
        lambda x, y, context=None: evaluate(s.bound(s.unbound, context), x, y),
        jit_compile=jit_compile,
        autograph=False,
    )
    values = traced.get_concrete_function(*arguments)(*arguments)
    for method, got, expected in zip(METHODS, values, s.values, strict=True):
        message = f"{method} {how} is not what it is in eager mode"
        if got.shape != expected.shape:
            yield Failure(f"{message}: shape {got.shape}, not {expected.shape}")
            continue
        yield from mismatch(
            message, got.numpy(), expected, points=s.x, tolerance=s.tolerance
        )


@_check
def _weights_visible(s: Subject) -> Iterator[Failure]:
    seen = {weight.ref() for weight in weights_of(s.bijector)}
    used = dict.fromkeys(w.ref() for gradients in s.gradients for w in gradients.used)
    for hidden in (weight for weight in used if weight not in seen):
        yield Failure(
            f"the weight {name_of(hidden.deref())} is used, but cannot be found "
            "from the bijector, for training or for saving. Remedy: keep it, or the "
            "Keras layer that holds it, as an attribute, or in a list that is one"
        )


@_check
def _weights_used(s: Subject) -> Iterator[Failure]:
    missed = {}
    for found in s.gradients:
        weights = trainable_weights(s.bijector)
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
def _gradients_finite(s: Subject) -> Iterator[Failure]:
    bad = {}
    for found in s.gradients:
        names = [f"the weight {name_of(w)}" for w in trainable_weights(s.bijector)]
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
def _constant_jacobian(s: Subject) -> Iterator[Failure]:
    if s.bijector.is_constant_jacobian:
        flat = s.jacobian.reshape(len(s.x), -1)
        yield from mismatch(
            "`is_constant_jacobian` is True, but the Jacobian matrix at this point "
            "(row by row) is not that at point 0",
            flat,
            flat[:1],
            points=s.x,
            tolerance=s.tolerance,
        )


@_check
def _wrong_width(s: Subject) -> Iterator[Failure]:
    size = s.x.shape[1]
    for width in (size - 1, size + 1) if size > 1 else (size + 1,):
        # The last coordinate again, or none: the numbers remain in the domain.
        columns = np.minimum(np.arange(width), size - 1)
        shape = (len(s.x), width)
        for name, method, points in (
            ("forward", s.bijector.forward, s.x),
            ("inverse", s.bijector.inverse, s.y),
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


@_check
def _config(s: Subject) -> Iterator[Failure]:
    bijector = s.unbound
    if not (hasattr(bijector, "get_config") and hasattr(bijector, "from_config")):
        raise NotApplicableError
    config = bijector.get_config()
    try:
        json.dumps(config)
    except (TypeError, ValueError) as error:
        yield Failure(f"get_config() cannot be written as JSON: {brief(error)}")
        return
    twin = s.bound(type(bijector).from_config(config), s.context)
    twin.forward(tf.constant(s.x))  # one that is built by its first input is built now
    old, new = weights_of(bijector), weights_of(twin)
    if [w.shape for w in old] != [w.shape for w in new]:
        yield Failure(
            "from_config(get_config()) has other weights: expected shapes "
            f"{[tuple(w.shape) for w in old]}, got {[tuple(w.shape) for w in new]}"
        )
        return
    for source, target in zip(old, new, strict=True):
        target.assign(source)
    message = "from_config(get_config()), with the same weights, is another bijector"
    yield from _compare_twins(s, message, s.values, twin)


@_check
def _keras_file(s: Subject) -> Iterator[Failure]:
    from tfp_flows import Flow  # here only: what tests a Flow is no part of one

    bijector = s.make()
    by_tfp = type(bijector).__module__.startswith("tensorflow_probability.")
    if not by_tfp and not hasattr(bijector, "get_config"):
        raise NotApplicableError
    try:
        flow = Flow([bijector], event_size=s.x.shape[1], dtype=s.x.dtype.name)
    except (TypeError, ValueError) as error:
        raise NotApplicableError("no Flow takes this bijector") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.keras"
        flow.save(path)
        loaded = keras.models.load_model(path)
    saved, twin = (s.bound(f.bijectors[0], s.context) for f in (flow, loaded))
    y = saved.forward(tf.constant(s.x)).numpy()
    values = evaluate(saved, tf.constant(s.x), tf.constant(y))
    values = Values(*(value.numpy() for value in values))
    message = "the bijector loaded from a .keras file is not the one that was saved"
    yield from _compare_twins(s, message, values, twin, y)


def _compare_twins(
    s: Subject,
    message: str,
    values: Values,
    twin: tfb.Bijector,
    y: np.ndarray | None = None,
) -> Iterator[Failure]:
    y = s.y if y is None else y
    theirs = evaluate(twin, tf.constant(s.x), tf.constant(y))
    for method, got, expected in zip(METHODS, theirs, values, strict=True):
        yield from mismatch(
            f"{message}: {method} differs",
            got.numpy(),
            expected,
            points=s.x,
            tolerance=s.tolerance,
        )
