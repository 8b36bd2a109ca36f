"""evaluate: tests whether a flow fits held-out rows."""

import dataclasses
from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike
from threadpoolctl import threadpool_limits

from tfp_flows._core.statistics import mean_and_error
from tfp_flows.diagnostics.calibration import calibrations_of, usable
from tfp_flows.diagnostics.comparisons import comparisons_of
from tfp_flows.diagnostics.copies import copies_of
from tfp_flows.diagnostics.dependence import dependence_of
from tfp_flows.diagnostics.findings import Check, FitReport
from tfp_flows.diagnostics.held_out import (
    FittedDensity,
    HeldOut,
    as_context,
    as_points,
    held_out_of,
)
from tfp_flows.diagnostics.numerics import (
    MOST_LOG_DETS_OFF,
    MOST_NOT_FINITE,
    MOST_OFF,
    Numerics,
    numerics_of,
)
from tfp_flows.diagnostics.p_values import holm, smallest
from tfp_flows.diagnostics.scores import scores_of
from tfp_flows.diagnostics.two_samples import (
    classifier_of,
    discrepancy_of,
    marginals_of,
)
from tfp_flows.diagnostics.verdicts import verdicts_of
from tfp_flows.flow import Flow

__all__ = ["evaluate"]

_LOWEST = 5  # rows of lowest density that are listed


def evaluate(
    flow: Flow | FittedDensity,
    x_test: ArrayLike,
    *,
    context: ArrayLike | None = None,
    x_train: ArrayLike | None = None,
    context_train: ArrayLike | None = None,
    names: Sequence[str] | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> FitReport:
    """Tests whether held-out rows could have come from a flow.

    Each `Check` of the result answers one question:

    - `coordinates`: is each coordinate of z = f⁻¹(x) distributed as in the base? The
      tests are Kolmogorov and Smirnov's, and those of the shares and extremes of both
      tails.
    - `radius`, `log_density`: the same for the length of z's normal scores, and for
      log_prob of the rows compared with log_prob of points drawn from the flow.
    - `dependence`: do any two coordinates of z depend on each other in a way that
      those of the base do not?
    - `columns`, `classifier`, `kernel_means`: do rows and points drawn from the flow
      agree in each column, to boosted trees (cross-validated), and in their maximum
      mean discrepancy?
    - `likelihood`: does the flow fit at least as well as a Gaussian and as a Gaussian
      mixture, up to chance?
    - `copies`: are the rows free of repetitions and of training rows, and are points
      drawn from the flow no nearer to training rows than held-out rows are?
    - `finite`, `round_trip`, `log_det`: are log_prob, inverses and log-dets right at
      the rows?

    A perfect flow passes with a probability of at least 1 - `level`: p-values are
    adjusted by Holm's method within and among the questions. With many rows even
    harmless differences are found; the verdicts say how large they are.

    Args:
      flow: a Flow, or a fitted FlowDensity, which adds noise to whole numbers and
        angles as it does when it is fitted.
      x_test: held-out rows, `(n, event_size)`, n ≥ 50, independent of each other. Of
        more than 100,000 rows a random part is tested.
      context: the contexts of these rows, `(n, context_size)`, for a conditional flow.
      x_train: the rows that the flow was fitted to, `(m, event_size)`. Copies of them
        are searched for, and the Gaussian and the mixture are fitted to them. If None,
        these are fitted to each half of `x_test` and compared on the other half.
      context_train: the contexts of these rows, `(m, context_size)`.
      names: the names of the columns. None takes those of a DataFrame, or else
        x[0], x[1], ….
      level: the chance of a false alarm over all checks, in (0, 1).
      seed: the seed of everything that is drawn.

    Returns:
      A FitReport: print it, or read its `passed` and `verdicts`.

    Raises:
      TypeError: `flow` is neither a Flow nor a FlowDensity, or the rows are not
        numbers.
      ValueError: the rows have the wrong width, NaN or infinite entries, or no density
        under the flow, or are too few; a context is missing or not needed.

    Example:
      >>> import numpy as np, tfp_flows as tfpf
      >>> flow = tfpf.Flow([], event_size=2)
      >>> x = np.random.default_rng(0).normal(size=(500, 2))
      >>> evaluate(flow, x).passed
      True
      >>> report = evaluate(flow, x + [0.0, 0.5], names=["width", "height"])
      >>> print(report.verdicts[1])
      z[1] (`height`) is strongly off: shifted by +0.49 standard deviations (p = 3e-19).
    """
    if not 0 < level < 1:
        raise ValueError(f"`level` must be in (0, 1). Received: {level!r}.")
    held_out = held_out_of(flow, x_test, context, names, seed)
    train = _train(flow, held_out, x_train, context_train)
    # On shared cores several threads of BLAS are slower than one.
    with threadpool_limits(1):
        return _evaluated(held_out, train, level, seed)


def _train(
    flow: Flow | FittedDensity,
    held_out: HeldOut,
    x_train: ArrayLike | None,
    context_train: ArrayLike | None,
) -> np.ndarray | None:
    """Returns the training rows, in random order, with their contexts appended."""
    if x_train is None:
        if context_train is not None:
            raise ValueError("`context_train` must be None without `x_train`.")
        return None
    inner, points, _ = as_points(flow, x_train, "x_train", held_out.seed)
    context = as_context(inner, context_train, len(points), "context_train")
    if context is not None:
        points = np.append(points, context, axis=1)
    return held_out.generator(4).permutation(points)


def _evaluated(
    held_out: HeldOut, train: np.ndarray | None, level: float, seed: int
) -> FitReport:
    keep = usable(held_out)
    scores = scores_of(held_out, keep)
    calibrations = calibrations_of(held_out, scores, keep)
    dependences, pairs = dependence_of(scores)
    marginals = marginals_of(held_out)
    classifier, discrepancy = classifier_of(held_out), discrepancy_of(held_out)
    comparisons = comparisons_of(held_out, train, keep)
    copies = copies_of(held_out, train)
    numerics = numerics_of(held_out, keep)
    p_values = {
        "coordinates": min(one.adjusted for one in calibrations[:-2]),
        "radius": calibrations[-2].p_value,
        "log_density": calibrations[-1].p_value,
        "columns": min(one.adjusted for one in marginals),
        "classifier": classifier.p_value,
        "kernel_means": discrepancy.p_value,
        "copies": smallest(
            copies.repeated_p_value, copies.in_train_p_value, copies.nearer_p_value
        ),
    }
    if pairs:
        p_values["dependence"] = dependences[0].adjusted
    if comparisons:
        p_values["likelihood"] = smallest(*(one.p_value for one in comparisons))
    adjusted = holm(list(p_values.values())).tolist()
    checks = [
        Check(name, q > level, p, q)
        for (name, p), q in zip(p_values.items(), adjusted, strict=True)
    ]
    checks += _arithmetic(numerics, len(held_out.drawn))
    values = held_out.log_prob_of_x
    lowest = np.argsort(np.where(np.isnan(values), -np.inf, values))[:_LOWEST]
    found = {
        "passed": all(check.passed for check in checks),
        "checks": tuple(checks),
        "level": level,
        "flow": held_out.flow.name,
        "rows": held_out.rows,
        "used": len(held_out.x),
        "drawn": len(held_out.drawn),
        "names": held_out.names,
        "comparisons": comparisons,
        "calibrations": calibrations,
        "dependences": dependences,
        "pairs": pairs,
        "marginals": marginals,
        "classifier": classifier,
        "discrepancy": discrepancy,
        "copies": copies,
        "numerics": numerics,
        "least": tuple(
            (int(held_out.original_row[i]), float(values[i])) for i in lowest
        ),
        "seed": seed,
    }
    mean, error = mean_and_error(values[keep])
    report = FitReport((), log_prob=mean, error=error, **found)
    return dataclasses.replace(report, verdicts=verdicts_of(report))


def _arithmetic(numerics: Numerics, drawn: int) -> list[Check]:
    lost = numerics.samples_not_finite > MOST_NOT_FINITE * drawn
    log_det_off = numerics.log_det_off or 0.0
    return [
        Check("finite", not (numerics.rows_without_density or lost)),
        Check("round_trip", numerics.round_trip_off <= MOST_OFF),
        Check("log_det", log_det_off <= MOST_LOG_DETS_OFF),
    ]
