"""The check of a conditional bijector: what its context may and may not change."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfp_flows.testing.bijector_case import METHODS, BijectorCase, weights_of
from tfp_flows.testing.failures import Failure, NotApplicableError, brief, mismatch

__all__ = ["check_context"]


def check_context(case: BijectorCase) -> Iterator[Failure]:
    """Yields what is wrong with the context of a conditional bijector."""
    if case.context is None:
        raise NotApplicableError
    yield from _refusals(case)
    yield from _shared_weights(case)
    # With the initial weights the context may make no difference yet.
    with case.moved_weights():
        y = case.bijector.forward(tf.constant(case.x)).numpy()
        if np.isfinite(y).all():
            yield from _answers(case, y)
            return
    yield from _answers(case, case.y)


def _refusals(case: BijectorCase) -> Iterator[Failure]:
    try:
        case.unbound.forward(tf.constant(case.x))
    except ValueError as error:
        if "context" not in str(error):
            yield Failure(
                "forward without a context must raise a ValueError that asks for it; "
                f"it raised {brief(error)}"
            )
    except Exception as error:
        yield Failure(
            "forward without a context must raise a ValueError; it raised "
            f"{brief(error)}"
        )
    else:
        yield Failure("forward without a context must raise; it returned an answer")
    size = case.context.shape[-1]
    wide = np.concatenate([case.context, case.context[:, :1]], axis=1)
    try:
        case.bound(case.unbound, wide).forward(tf.constant(case.x))
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):
        pass
    else:
        yield Failure(f"a context of width {size + 1} instead of {size} must raise")


def _shared_weights(case: BijectorCase) -> Iterator[Failure]:
    case.values  # noqa: B018  (this creates the weights that need a first input)
    bound, unbound = (
        {weight.ref() for weight in weights_of(b)}
        for b in (case.bijector, case.unbound)
    )
    if bound != unbound:
        yield Failure(
            f"given(context) has {len(bound - unbound)} weights that the bijector "
            f"itself does not have, and lacks {len(unbound - bound)} of its weights: "
            "they must be the same"
        )


def _answers(case: BijectorCase, y: np.ndarray) -> Iterator[Failure]:
    whole = case.evaluate(case.x, y)
    middle = len(case.x) // 2
    for half in (slice(middle), slice(middle, None)):
        alone = case.evaluate(case.x[half], y[half], case.context[half])
        for method, got, among in zip(METHODS, alone, whole, strict=True):
            yield from mismatch(
                f"{method} at a point changes with the contexts of the other points: "
                f"half of {len(case.x)} points against all of them",
                got,
                among[half] if among.shape else among,
                points=case.x[half],
                tolerance=case.tolerance,
            )
    other = case.evaluate(case.x, y, case.context[::-1])
    if all(np.array_equal(*pair) for pair in zip(whole, other, strict=True)):
        yield Failure("the context makes no difference")
    yield from _broadcast(case)


def _broadcast(case: BijectorCase) -> Iterator[Failure]:
    """Yields where broadcast contexts differ from the same pairs taken one by one."""
    d = case.x.shape[1]
    n, m = [size for size in (5, 4, 3) if size != d][:2]
    i, j = np.indices((n, m)).reshape(2, -1) % len(case.x)
    x, context = case.x[j], case.context[i]
    y = case.bound(case.unbound, context).forward(tf.constant(x)).numpy()
    pairs = case.evaluate(x, y, context)
    for batch, values in (
        ((n, m), (case.x[j[:m]], y.reshape(n, m, d), case.context[i[::m], np.newaxis])),
        ((m,), (case.x[j[:m]], y[:m], case.context[0])),
    ):
        shape = f"a context of shape {values[-1].shape} with points of shape {(m, d)}"
        try:
            answers = case.evaluate(*values)
        except Exception as error:
            yield Failure(f"{shape} raised {brief(error)}")
            continue
        for method, got, one_by_one in zip(METHODS, answers, pairs, strict=True):
            if got.shape == one_by_one.shape == ():
                continue  # TFP returns a constant log-det as a scalar
            every = np.broadcast_to(one_by_one, (len(x), *one_by_one.shape[1:]))
            expected = every[: int(np.prod(batch))]
            if got.shape != batch + expected.shape[1:]:
                yield Failure(
                    f"{method} has shape {got.shape} instead of "
                    f"{batch + expected.shape[1:]} for {shape}"
                )
                continue
            yield from mismatch(
                f"{method} is not that of the same pairs one by one for {shape}",
                got.reshape(expected.shape),
                expected,
                points=x[: len(expected)],
                tolerance=case.tolerance,
            )
