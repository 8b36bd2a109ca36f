"""check_bijector: runs all the checks of one bijector, in each dtype it supports."""

from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from tfp_flows._core.checks import as_points
from tfp_flows._core.conditioning import context_size_of
from tfp_flows.testing import bijector_checks
from tfp_flows.testing.bijector_case import BijectorCase, weights_of
from tfp_flows.testing.bijector_context import check_context
from tfp_flows.testing.bijector_files import check_config, check_keras_file
from tfp_flows.testing.failures import (
    CheckFailure,
    Failure,
    run_checks,
    skipped,
    tolerance_for,
)

__all__ = ["BIJECTOR_CHECKS", "as_context", "check_bijector"]

tfb = tfp.bijectors

_CHECKS = {
    **bijector_checks.CHECKS,
    "config": check_config,
    "keras_file": check_keras_file,
    "context": check_context,
}

BIJECTOR_CHECKS = tuple(_CHECKS)
"""The names of the checks of `check_bijector`."""


def check_bijector(
    bijector: tfb.Bijector | Callable[[], tfb.Bijector],
    x: ArrayLike,
    *,
    context: ArrayLike | None = None,
    tolerance: float | Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
) -> tuple[str, ...]:
    """Checks that a bijector is what it claims to be, or raises with all that is wrong.

    A bijector is a function f with y = f(x), its inverse x = f⁻¹(y), and the log-dets
    log|det ∂f/∂x| and log|det ∂f⁻¹/∂y|. `BIJECTOR_CHECKS` holds the names of its
    checks:

    - `runs`: f, f⁻¹ and both log-dets return finite numbers of the right width.
    - `dtypes`: they run in float32 and float64, and return the dtype they are given.
    - `round_trip`: f⁻¹(f(x)) = x and f(f⁻¹(y)) = y, computed without TFP's cache.
    - `forward_log_det`, `inverse_log_det`: the log-dets equal those of the Jacobian
      matrix of f, computed by automatic differentiation.
    - `log_dets_cancel`: the log-dets at x and at y = f(x) add up to zero.
    - `batch_shapes`: points with 0, 1 and 2 batch axes get one log-det each.
    - `rows_independent`: the results for a point do not depend on the other points.
    - `graph`, `xla`: the results under `tf.function` and XLA equal those of eager mode.
    - `weights_visible`: every weight in use can be found from the bijector.
    - `weights_used`: a gradient reaches every weight, in both directions.
    - `gradients_finite`: gradients by weights and by points are finite.
    - `constant_jacobian`: the Jacobian is constant if `is_constant_jacobian` is True.
    - `wrong_width`: points of another width raise, or are treated elementwise.
    - `config`: `from_config(get_config())` is the same bijector.
    - `keras_file`: a Flow saved to a `.keras` file loads the same bijector.
    - `context`: the results for a point depend on its own context and on no other;
      contexts broadcast against points; a missing context, or one of another width,
      raises; `given(context)` shares the weights.

    The last three are skipped where they do not apply: to a bijector without
    `get_config`, one that no Flow takes, or one that is not conditional. All other
    checks of a conditional bijector run with its context bound.

    Args:
      bijector: a `tfb.Bijector`, or a function without arguments that returns a new
        one. With a function, a bijector that takes its dtype from its first input is
        checked in float64 and in float32; any other is checked in its own dtype.
      x: points inside the domain of f, `(n, event_size)`, at least two of them
        different. Ten or more points that reach all branches of f are best.
      context: contexts for a conditional bijector, and for no other:
        `(n, context_size)`, one row for each point, at least two of them different.
      tolerance: the accepted error is this times 1 + |expected|. A number, or a number
        for each dtype, such as `{"float32": 1e-3}`. By default 1e-8 in float64 and
        1e-4 in float32.
      skip: names of checks to skip.

    Returns:
      The names of the checks that passed.

    Raises:
      CheckFailure: any check failed; its message and `.failures` list all of them.
      ValueError: `x` or `context` has the wrong shape, the context is missing or not
        needed, or `skip` names an unknown check.
      TypeError: `bijector` is neither a bijector nor a function that returns one.

    Example:
      >>> import numpy as np
      >>> import tensorflow_probability as tfp
      >>> from tfp_flows.testing import check_bijector
      >>> x = np.linspace(-2.0, 2.0, 14).reshape(7, 2)
      >>> passed = check_bijector(tfp.bijectors.Softplus, x, skip=["xla"])
      >>> "round_trip" in passed
      True

      A bijector whose log-det is 0 where log 4 is right:

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
        # A check that failed in float64 is not repeated in float32, except `runs`,
        # which the other checks build on.
        known = {failure.check for failure in failures}
        todo = {k: v for k, v in checks.items() if k == "runs" or k not in known}
        case = BijectorCase(
            make,
            points.astype(dtype),
            tolerance_for(dtype, tolerance),
            None if contexts is None else contexts.astype(dtype),
        )
        good, bad = _examine(todo, case)
        passed.update(good)
        where = dtype if len(dtypes) > 1 else ""
        failures += [replace(f, where=where) for f in bad if f.check not in known]
    if "runs" in passed:
        # A bijector that runs in one of the dtypes fails `dtypes`, not `runs`.
        failures = [
            replace(f, check="dtypes") if f.check == "runs" else f for f in failures
        ]
        failures = [f for f in failures if f.check in checks]
    if failures:
        failed = {failure.check for failure in failures}
        name = type(case.unbound).__name__
        raise CheckFailure("check_bijector", name, failures, failed, passed)
    return tuple(name for name in _CHECKS if name in passed)


def as_context(
    context: ArrayLike | None, size: int, count: int, whose: str
) -> np.ndarray | None:
    """Returns the context as an array `(count, size)`, or None if `size` is 0.

    Raises:
      ValueError: the context is missing, not needed, or of another shape, or all of
        its rows are the same.
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
    # Bijectors are callable too, so they must be recognized first.
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
    checks: Mapping[str, Callable], case: BijectorCase
) -> tuple[list[str], list[Failure]]:
    """Runs the check `runs`, and the others only if it passes."""
    first = {name: check for name, check in checks.items() if name == "runs"}
    passed, failures = run_checks(first, case)
    if failures:
        return passed, failures
    rest = {name: check for name, check in checks.items() if name != "runs"}
    more, failures = run_checks(rest, case)
    return passed + more, failures
