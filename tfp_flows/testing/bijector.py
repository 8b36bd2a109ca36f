"""`check_bijector`: all the checks of one bijector, in every dtype it has."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.checks import as_points
from tfp_flows._core.conditioning import context_size_of
from tfp_flows.testing import bijector_checks
from tfp_flows.testing.bijector_case import Subject, weights_of
from tfp_flows.testing.bijector_context import check_context
from tfp_flows.testing.failures import (
    CheckFailure,
    Failure,
    run_checks,
    skipped,
    tolerance_for,
)

__all__ = ["BIJECTOR_CHECKS", "as_context", "check_bijector"]

tfb = tfp.bijectors

_CHECKS = {**bijector_checks.CHECKS, "context": check_context}

BIJECTOR_CHECKS = tuple(_CHECKS)
"""The names of the checks of `check_bijector`."""


def check_bijector(
    bijector: tfb.Bijector | Callable[[], tfb.Bijector],
    x: np.ndarray,
    *,
    context: np.ndarray | None = None,
    tolerance: float | Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
) -> tuple[str, ...]:
    """Checks that a bijector is what it claims to be, or reports all that is wrong.

    A bijector is f with y = f(x), x = f⁻¹(y) and log|det ∂f/∂x|. The checks, whose
    names are in `BIJECTOR_CHECKS`:

    - `runs`: f, f⁻¹ and both log-dets return finite numbers of the right width.
    - `dtypes`: they do in float32 and float64, and keep the dtype they are given.
    - `round_trip`: f⁻¹(f(x)) = x and f(f⁻¹(y)) = y, without TFP's cache.
    - `forward_log_det`, `inverse_log_det`: they are those of the Jacobian matrix of f
      found by automatic differentiation.
    - `log_dets_cancel`: they add up to zero.
    - `batch_shapes`: 0, 1 and 2 batch axes give one log-det a point.
    - `rows_independent`: a point's answer does not depend on its neighbours.
    - `graph`, `xla`: `tf.function` and XLA give what eager mode gives.
    - `weights_visible`: every weight in use can be found from the bijector.
    - `weights_used`: a gradient reaches every weight, in both directions.
    - `gradients_finite`: it is finite, as are those with respect to the points.
    - `constant_jacobian`: where `is_constant_jacobian` claims so, it is.
    - `wrong_width`: points of another width raise, or are treated elementwise.
    - `config`: `from_config(get_config())` is the same bijector.
    - `keras_file`: so is the one a Flow loads from a `.keras` file.
    - `context`: a point's answer depends on its own context and on no other; contexts
      broadcast against points; without one, and with one of another width, there is
      no answer; `given(context)` shares the weights.

    The last three are left out where they do not apply: a bijector without
    `get_config`, one that no Flow takes, or one that is not conditional. A conditional
    bijector is put through all the others with its context bound.

    Args:
      bijector: a `tfb.Bijector`, or a function without arguments that returns a new
        one. A function allows a bijector that takes its dtype from its first input to
        be checked in float64 and in float32; others are checked in their own dtype.
      x: points inside the domain of f, of shape `(n, event_size)`, at least two
        different ones. Best ten or more that reach all of its branches.
      context: for a conditional bijector, and for no other: `(n, context_size)`, one
        row for each point, at least two different ones.
      tolerance: the error that is accepted, times 1 + |expected|; a number, or one a
        dtype: `{"float32": 1e-3}`. By default 1e-8 in float64, 1e-4 in float32.
      skip: names of checks to leave out.

    Returns:
      The names of the checks that passed.

    Raises:
      CheckFailure: with all that is wrong, in its message and in `.failures`.
      ValueError: `x` or `context` is not such an array, the context is missing or not
        asked for, or `skip` names an unknown check.
      TypeError: `bijector` is neither a bijector nor a function that returns one.

    Example:
      >>> import numpy as np
      >>> import tensorflow_probability as tfp
      >>> from tfp_flows.testing import check_bijector
      >>> x = np.linspace(-2.0, 2.0, 14).reshape(7, 2)
      >>> passed = check_bijector(tfp.bijectors.Softplus, x, skip=["xla"])
      >>> "round_trip" in passed
      True

      One that forgets the power of two in its log-det:

      >>> class Double(tfp.bijectors.Bijector):
      ...     def __init__(self):
      ...         super().__init__(forward_min_event_ndims=0)
      ...     def _forward(self, x):
      ...         return 2 * x
      ...     def _inverse(self, y):
      ...         return y / 2
      ...     def _forward_log_det_jacobian(self, x):
      ...         return 0 * x
      >>> check_bijector(Double(), x)  # doctest: +ELLIPSIS, +NORMALIZE_WHITESPACE
      Traceback (most recent call last):
      ...
      tfp_flows.testing.CheckFailure: check_bijector: 2 of ... failed for Double
        forward_log_det: log-det is too small by 1.38629 at every point: expected
          1.38629, got 0
          worst at point 0: x = [-2, -1.69231], expected 1.38629, got 0, error ...
        inverse_log_det: ...
    """
    checks = {
        name: check
        for name, check in _CHECKS.items()
        if name not in skipped(skip, _CHECKS)
    }
    points = as_points(x)
    if points.ndim != 2 or np.ptp(points, axis=0).max() == 0:
        raise ValueError(
            "`x` must have shape (n, event_size), with at least two different points. "
            f"Received shape {points.shape}."
        )
    make, dtypes = _maker(bijector, points)
    size = context_size_of(make())
    contexts = as_context(context, size, len(points), "the bijector")

    passed: set[str] = set()
    failures: list[Failure] = []
    for dtype in dtypes:
        # What is wrong in float64 needs no second report; but it must run to be asked.
        known = {failure.check for failure in failures}
        todo = {k: v for k, v in checks.items() if k == "runs" or k not in known}
        subject = Subject(
            make,
            points.astype(dtype),
            tolerance_for(dtype, tolerance),
            None if contexts is None else contexts.astype(dtype),
        )
        good, bad = _examine(todo, subject)
        passed.update(good)
        where = dtype if len(dtypes) > 1 else ""
        failures += [replace(f, where=where) for f in bad if f.check not in known]
    if "runs" in passed:
        # A bijector that runs in one dtype only has trouble with dtypes.
        failures = [
            replace(f, check="dtypes") if f.check == "runs" else f for f in failures
        ]
        failures = [f for f in failures if f.check in checks]
    if failures:
        failed = {failure.check for failure in failures}
        name = type(subject.unbound).__name__
        raise CheckFailure("check_bijector", name, failures, failed, passed)
    return tuple(name for name in _CHECKS if name in passed)


def as_context(
    context: np.ndarray | None, size: int, count: int, whose: str
) -> np.ndarray | None:
    """Returns the context as an array `(count, size)`, or None where there is none.

    Raises:
      ValueError: it is missing, not asked for, or not of that shape; or all of its
        rows are the same.
    """
    if not size:
        if context is not None:
            raise ValueError(f"`context` must be None: {whose} takes none.")
        return None
    if context is None:
        raise ValueError(
            f"`context` is needed: {whose} is conditional. Expected an array of shape "
            f"({count}, {size}), one row for each point."
        )
    rows = as_points(context, size, name="context")
    if rows.shape != (count, size) or np.ptp(rows, axis=0).max() == 0:
        raise ValueError(
            f"`context` must have shape ({count}, {size}), one row for each point, at "
            f"least two of them different. Received shape {rows.shape}."
        )
    return rows


def _maker(
    bijector: tfb.Bijector | Callable[[], tfb.Bijector], points: np.ndarray
) -> tuple[Callable[[], tfb.Bijector], list[str]]:
    """Returns a function that makes the bijector, and the dtypes to check it in."""
    # A bijector is itself callable: asking for that would tell nothing.
    if isinstance(bijector, tfb.Bijector):
        return lambda: bijector, [_own_dtype(bijector) or points.dtype.name]
    if not callable(bijector):
        raise TypeError(
            "`bijector` must be a tfb.Bijector or a function that returns one. "
            f"Received: {bijector!r}."
        )
    made = bijector()
    if not isinstance(made, tfb.Bijector):
        raise TypeError(
            "`bijector` must return a tfb.Bijector when called. "
            f"Received: {made!r} from {bijector!r}."
        )
    own = _own_dtype(made)
    return bijector, [own] if own else ["float64", "float32"]


def _own_dtype(bijector: tfb.Bijector) -> str | None:
    parts = [m for m in (bijector, *bijector.submodules) if isinstance(m, tfb.Bijector)]
    for dtype in [part.dtype for part in parts] + [
        weight.dtype for weight in weights_of(bijector)
    ]:
        if isinstance(dtype, tf.DType) and dtype.is_floating:
            return dtype.name
    return None


def _examine(
    checks: Mapping[str, Callable], subject: Subject
) -> tuple[list[str], list[Failure]]:
    """Runs the checks, or only `runs` where that leaves nothing to go on with."""
    first = {name: check for name, check in checks.items() if name == "runs"}
    passed, failures = run_checks(first, subject)
    if failures:
        return passed, failures
    rest = {name: check for name, check in checks.items() if name != "runs"}
    more, failures = run_checks(rest, subject)
    return passed + more, failures
