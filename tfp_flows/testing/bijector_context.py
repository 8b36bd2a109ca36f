"""The check of a conditional bijector: what its context does, and does not."""

from collections.abc import Iterator

import numpy as np
import tensorflow as tf

from tfp_flows.testing.bijector_case import METHODS, Subject, weights_of
from tfp_flows.testing.failures import Failure, NotApplicableError, brief, mismatch

__all__ = ["check_context"]


def check_context(s: Subject) -> Iterator[Failure]:
    """Yields what is wrong with the context of a conditional bijector."""
    if s.context is None:
        raise NotApplicableError
    yield from _refusals(s)
    yield from _shared_weights(s)
    # Where the weights are as they start, the context may make no difference yet.
    with s.moved_weights():
        y = s.bijector.forward(tf.constant(s.x)).numpy()
        if np.isfinite(y).all():
            yield from _answers(s, y)
            return
    yield from _answers(s, s.y)


def _refusals(s: Subject) -> Iterator[Failure]:
    try:
        s.unbound.forward(tf.constant(s.x))
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
    size = s.context.shape[-1]
    wide = np.concatenate([s.context, s.context[:, :1]], axis=1)
    try:
        s.bound(s.unbound, wide).forward(tf.constant(s.x))
    except (ValueError, TypeError, tf.errors.InvalidArgumentError):
        pass
    else:
        yield Failure(f"a context of width {size + 1} instead of {size} must raise")


def _shared_weights(s: Subject) -> Iterator[Failure]:
    s.values  # noqa: B018  (weights that wait for the first points exist after it)
    bound, unbound = (
        {weight.ref() for weight in weights_of(b)} for b in (s.bijector, s.unbound)
    )
    if bound != unbound:
        yield Failure(
            f"given(context) has {len(bound - unbound)} weights that the bijector "
            f"itself has not, and lacks {len(unbound - bound)} of its weights: they "
            "must be the same"
        )


def _answers(s: Subject, y: np.ndarray) -> Iterator[Failure]:
    whole = s.evaluate(s.x, y)
    middle = len(s.x) // 2
    for half in (slice(middle), slice(middle, None)):
        alone = s.evaluate(s.x[half], y[half], s.context[half])
        for method, got, among in zip(METHODS, alone, whole, strict=True):
            yield from mismatch(
                f"{method} at a point changes with the contexts of the other points: "
                f"half of {len(s.x)} points against all of them",
                got,
                among[half] if among.shape else among,
                points=s.x[half],
                tolerance=s.tolerance,
            )
    other = s.evaluate(s.x, y, s.context[::-1])
    if all(np.array_equal(*pair) for pair in zip(whole, other, strict=True)):
        yield Failure("the context makes no difference")
    yield from _broadcast(s)


def _broadcast(s: Subject) -> Iterator[Failure]:
    """Compares batches of contexts against points with the same pairs, one by one."""
    d = s.x.shape[1]
    n, m = [size for size in (5, 4, 3) if size != d][:2]
    i, j = np.indices((n, m)).reshape(2, -1) % len(s.x)
    x, context = s.x[j], s.context[i]
    y = s.bound(s.unbound, context).forward(tf.constant(x)).numpy()
    pairs = s.evaluate(x, y, context)
    for batch, values in (
        ((n, m), (s.x[j[:m]], y.reshape(n, m, d), s.context[i[::m], np.newaxis])),
        ((m,), (s.x[j[:m]], y[:m], s.context[0])),
    ):
        shape = f"a context of shape {values[-1].shape} with points of shape {(m, d)}"
        try:
            answers = s.evaluate(*values)
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
                tolerance=s.tolerance,
            )
