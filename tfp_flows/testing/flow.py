"""`check_flow`: all the checks of one flow, and of each of its stages."""

from collections.abc import Iterable, Mapping

import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfp_flows._core.checks import as_points
from tfp_flows.flow import Flow
from tfp_flows.testing.bijector import BIJECTOR_CHECKS, as_context
from tfp_flows.testing.failures import (
    CheckFailure,
    run_checks,
    skipped,
    tolerance_for,
)
from tfp_flows.testing.flow_case import FlowCase
from tfp_flows.testing.flow_checks import CHECKS

__all__ = ["FLOW_CHECKS", "check_flow"]

FLOW_CHECKS = tuple(CHECKS)
"""The names of the checks of `check_flow`, besides those of `BIJECTOR_CHECKS`."""


def check_flow(
    flow: Flow,
    x: ArrayLike,
    *,
    context: ArrayLike | None = None,
    tolerance: float | Mapping[str, float] | None = None,
    skip: Iterable[str] = (),
) -> tuple[str, ...]:
    """Checks that a flow is what it claims to be, or raises with all that is wrong.

    The flow maps z to x = f_K(… f_1(z)), and log p(x) = log p(z) + Σ log|det ∂f_k⁻¹|.
    `FLOW_CHECKS` holds the names of the checks:

    - `stages`: every bijector passes the checks of `check_bijector` that concern a
      single stage, at the points that reach it when x goes through the flow.
    - `finite_log_prob`: log p is finite at x.
    - `log_prob`: log p is the base's log-density plus the stages' inverse log-dets.
    - `round_trip`: mapping x to the base and back gives x.
    - `graph`, `xla`: log p under `tf.function` and XLA equals that of eager mode.
    - `weights`: every weight in use belongs to the flow, and a gradient of log p
      reaches each of them.
    - `samples`: samples have the right shape, are finite, and depend on the seed alone.
    - `wrong_width`: points of another width raise.
    - `keras_file`: the flow loaded from a file has the same log p and samples, to the
      last bit.
    - `integral`: in one and two dimensions, the integral of the density over the box
      from the 10th to the 90th percentile of 20,000 samples is the fraction of these
      samples in the box, ± 0.02. Skip it for a density that is too fine for a grid of
      200 × 200.
    - `context`: log p of a point depends on its own context and on no other; contexts
      broadcast against points; a context of another width, or none, raises; the model
      called on {"x": x, "context": context} returns log p.

    All checks of a conditional flow use `flow.given(context)`; `integral` uses the
    first row of the context.

    Args:
      flow: a `tfp_flows.Flow`.
      x: points on the data side, `(n, event_size)`, at least two of them different.
        Ten or more, such as a few rows of the data, are best.
      context: contexts for a conditional flow, and for no other: `(n, context_size)`,
        one row for each point, at least two of them different.
      tolerance: the accepted error is this times 1 + |expected|. A number, or a number
        for each dtype, such as `{"float32": 1e-3}`. By default 1e-8 in float64 and
        1e-4 in float32.
      skip: names of checks to skip, of the flow or of its stages.

    Returns:
      The names of the checks that passed.

    Raises:
      CheckFailure: any check failed; its message and `.failures` list all of them. A
        failure of one stage names the stage; the base is stage 0.
      ValueError: `x` or `context` has the wrong shape, the context is missing or not
        needed, or `skip` names an unknown check.

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
    skipped_checks = skipped(skip, {*CHECKS, *BIJECTOR_CHECKS})
    points = as_points(x, flow.event_size)
    if points.ndim != 2 or np.ptp(points, axis=0).max() == 0:
        raise ValueError(
            "`x` must have shape (n, event_size), with at least two different points. "
            f"Received shape {points.shape}."
        )
    contexts = as_context(context, flow.context_size, len(points), "the flow")
    dtype = tf.as_dtype(flow.dtype).name
    case = FlowCase(
        flow,
        points.astype(dtype),
        None if contexts is None else contexts.astype(dtype),
        tolerance_for(dtype, tolerance),
        skipped_checks,
    )
    checks = {
        name: check for name, check in CHECKS.items() if name not in skipped_checks
    }
    first = {k: v for k, v in checks.items() if k in ("stages", "finite_log_prob")}
    rest = {k: v for k, v in checks.items() if k not in first}
    passed, failures = run_checks(first, case)
    # If log p is not finite, the other checks would only show the consequences.
    if not any(failure.check == "finite_log_prob" for failure in failures):
        more, found = run_checks(rest, case)
        passed, failures = passed + more, failures + found
    if failures:
        failed = {"stages" if f.where else f.check for f in failures}
        raise CheckFailure("check_flow", repr(flow.name), failures, failed, passed)
    return tuple(passed)
