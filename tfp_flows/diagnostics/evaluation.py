"""evaluate: does a flow fit rows that it has not seen?"""

import dataclasses
from collections.abc import Sequence
from typing import Any

import numpy as np
from threadpoolctl import threadpool_limits

from tfp_flows._core.statistics import mean_and_error
from tfp_flows.diagnostics.calibration import calibrations_of, usable
from tfp_flows.diagnostics.comparisons import comparisons_of
from tfp_flows.diagnostics.copies import copies_of
from tfp_flows.diagnostics.dependence import dependence_of
from tfp_flows.diagnostics.findings import Check, FitReport
from tfp_flows.diagnostics.held_out import Subject, as_context, as_points, subject_of
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

__all__ = ["evaluate"]

_LEAST = 5


def evaluate(
    flow: Any,
    x_test: Any,
    *,
    context: Any = None,
    x_train: Any = None,
    context_train: Any = None,
    names: Sequence[str] | None = None,
    level: float = 0.05,
    seed: int = 0,
) -> FitReport:
    """Tests whether rows that a flow was not fitted to could have come from it.

    Its questions, each answered by a `Check` of this name:

    - `coordinates`: is each coordinate of z = f⁻¹(x) distributed as in the base
      (Kolmogorov-Smirnov, and the shares and extremes of both tails)?
    - `radius`, `log_density`: the same for the length of z's normal scores, and for
      log_prob of the data among log_prob of the flow's own points.
    - `dependence`: is there dependence between two coordinates that the base lacks?
    - `columns`, `classifier`, `kernel_means`: are data and the flow's points alike,
      each column by itself, to boosted trees (cross-validated), and by their maximum
      mean discrepancy?
    - `likelihood`: is no Gaussian and no Gaussian mixture better than chance allows?
    - `copies`: do rows not repeat each other or training rows, and does the flow not
      know its training rows by heart?
    - `finite`, `round_trip`, `log_det`: does it compute what it claims, at the data?

    A perfect flow passes with a probability of at least 1 - `level`: p-values are
    adjusted by Holm's method within and among the questions. With many rows harmless
    differences are found, too: the verdicts tell how large they are.

    Args:
      flow: a Flow, or a fitted FlowDensity (whole numbers and angles get the noise
        that it fits them with).
      x_test: rows that it was not fitted to, `(n, event_size)`, n ≥ 50, independent
        of each other. Of more than 100,000 a random part is tested.
      context: `(n, context_size)`, for a conditional flow.
      x_train: rows that it was fitted to, `(m, event_size)`: finds copies of them, and
        the Gaussian and the mixture are fitted to them; without them each half of
        `x_test` is compared with what was fitted to the other half.
      context_train: `(m, context_size)`, for a conditional flow.
      names: of the columns; those of a DataFrame, else x[0], x[1], … when None.
      level: chance of a false alarm over all checks, in (0, 1).
      seed: of all that is drawn.

    Returns:
      A FitReport: print it, or ask for `.passed` and `.verdicts`.

    Raises:
      TypeError: `flow` is neither, or the rows are not numbers.
      ValueError: rows of the wrong width, too few, or NaN or infinite ones; a context
        that is missing or not asked for; no row with a density.

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
    subject = subject_of(flow, x_test, context, names, seed)
    train = _train(flow, subject, x_train, context_train)
    # Threads that wait for each other cost more than they do where cores are shared.
    with threadpool_limits(1):
        return _evaluated(subject, train, level, seed)


def _train(
    flow: Any, subject: Subject, x_train: Any, context_train: Any
) -> np.ndarray | None:
    """Returns the training rows, in random order, with their contexts appended."""
    if x_train is None:
        if context_train is not None:
            raise ValueError("`context_train` must be None without `x_train`.")
        return None
    inner, points, _ = as_points(flow, x_train, "x_train", subject.seed)
    context = as_context(inner, context_train, len(points), "context_train")
    if context is not None:
        points = np.append(points, context, axis=1)
    return subject.generator(4).permutation(points)


def _evaluated(
    subject: Subject, train: np.ndarray | None, level: float, seed: int
) -> FitReport:
    keep = usable(subject)
    scores = scores_of(subject, keep)
    calibrations = calibrations_of(subject, scores, keep)
    dependences, pairs = dependence_of(scores)
    marginals = marginals_of(subject)
    classifier, discrepancy = classifier_of(subject), discrepancy_of(subject)
    comparisons = comparisons_of(subject, train, keep)
    copies = copies_of(subject, train)
    numerics = numerics_of(subject, keep)
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
    checks += _arithmetic(numerics, len(subject.drawn))
    values = subject.of_flow
    lowest = np.argsort(np.where(np.isnan(values), -np.inf, values))[:_LEAST]
    found = {
        "passed": all(check.passed for check in checks),
        "checks": tuple(checks),
        "level": level,
        "flow": subject.flow.name,
        "rows": subject.rows,
        "used": len(subject.x),
        "drawn": len(subject.drawn),
        "names": subject.names,
        "comparisons": comparisons,
        "calibrations": calibrations,
        "dependences": dependences,
        "pairs": pairs,
        "marginals": marginals,
        "classifier": classifier,
        "discrepancy": discrepancy,
        "copies": copies,
        "numerics": numerics,
        "least": tuple((int(subject.row[i]), float(values[i])) for i in lowest),
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
