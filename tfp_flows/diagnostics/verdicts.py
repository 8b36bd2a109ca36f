"""The verdicts of a FitReport, in plain language."""

from collections.abc import Callable, Iterator, Sequence

from scipy import stats

from tfp_flows.diagnostics.calibration import TAIL, Calibration
from tfp_flows.diagnostics.findings import FitReport
from tfp_flows.diagnostics.p_values import shown

__all__ = ["verdicts_of"]

# Kolmogorov-Smirnov distances from which on a misfit is called clear, and strong.
_CLEAR, _STRONG = 0.03, 0.1

_END = stats.norm.isf(TAIL)  # where the upper tail begins, in normal scores
_NO_SURPRISE = 0.01  # a distance with a larger p-value says nothing by itself

# A spline is mentioned if more than this share of the rows lies outside of its box.
_MOST_OUTSIDE = 0.01

_VERDICTS: dict[str, Callable[[FitReport], str]] = {}


def _verdict(function: Callable) -> Callable:
    """Enters the function `_name` as the verdict of a failed check `name`."""
    _VERDICTS[function.__name__.removeprefix("_")] = function
    return function


def verdicts_of(report: FitReport) -> tuple[str, ...]:
    """Returns a summary, then what is wrong, then remarks.

    Failures that make the other checks doubtful come first, then those that say where
    the flow does not fit, in the order of this file.
    """
    names = {check.name for check in report.checks if not check.passed}
    failed = [name for name in _VERDICTS if name in names]
    # The radius adds nothing where single coordinates are off.
    shown = [n for n in failed if n != "radius" or "coordinates" not in names]
    verdicts = [_VERDICTS[name](report) for name in shown]
    return (_summary(report, failed), *verdicts, *_remarks(report))


def _summary(report: FitReport, failed: Sequence[str]) -> str:
    count = len(report.checks)
    if not failed:
        return (
            f"Good: {report.used:,} rows could have come from this flow; all {count} "
            f"checks pass at a level of {report.level:g}."
        )
    return (
        f"Not good: {len(failed)} of {count} checks fail at a level of "
        f"{report.level:g} ({', '.join(failed)})."
    )


@_verdict
def _finite(report: FitReport) -> str:
    numbers = report.numerics
    if numbers.rows_without_density:
        return (
            f"{numbers.rows_without_density:,} rows have no density under the flow; "
            f"the first is row {numbers.first_without_density}. The other checks leave "
            "them out."
        )
    return (
        f"{numbers.samples_not_finite:,} of {report.drawn:,} points of the flow are "
        "not finite, or have no density."
    )


@_verdict
def _round_trip(report: FitReport) -> str:
    numbers = report.numerics
    return (
        f"The flow does not invert itself: x → z → x is off for "
        f"{numbers.round_trip_off:.1%} of the rows, by up to {numbers.round_trip:.2g} "
        f"standard deviations of `{numbers.round_trip_column}`."
    )


@_verdict
def _log_det(report: FitReport) -> str:
    return (
        "log_prob is wrong: the log-det is off by up to "
        f"{report.numerics.log_det:.2g} nats. Remedy: "
        "`tfp_flows.testing.check_flow` names the stage."
    )


@_verdict
def _copies(report: FitReport) -> str:
    copies = report.copies
    by_p = {
        copies.repeated_p_value: f"{copies.repeated:,} of {copies.rows:,} rows repeat "
        f"another exactly, and {copies.repeated_by_flow:,} of as many points of the "
        "flow: copied or rounded data, which no test can take for independent rows",
        copies.in_train_p_value: f"{copies.in_train or 0:,} of {copies.rows:,} rows "
        "are training rows: these rows are not held out",
        copies.nearer_p_value: "the flow has memorized its training rows: its points "
        "are nearer to them than held-out rows are, with a chance of "
        f"{copies.nearer or 0:.2f} where 0.5 is right",
    }
    p_value = min(by_p)
    text = by_p[p_value]
    return f"{text[0].upper()}{text[1:]} ({_p(p_value)})."


@_verdict
def _coordinates(report: FitReport) -> str:
    *coordinates, _, _ = report.calibrations
    worst = min(coordinates, key=lambda one: (one.p_value, -one.distance))
    bad = sum(one.adjusted <= report.level for one in coordinates)
    others = "" if bad < 2 else f"; {bad - 1} more of {len(coordinates)} are off"
    column = f" (`{worst.column}`)" if worst.column else ""
    return (
        f"{worst.name}{column} is {_degree(worst.distance)} off: "
        f"{_misfit(worst)} ({_p(worst.adjusted)}){others}."
    )


@_verdict
def _columns(report: FitReport) -> str:
    worst = min(report.marginals, key=lambda one: (one.p_value, -one.distance))
    bad = sum(one.adjusted <= report.level for one in report.marginals)
    others = "" if bad < 2 else f"; {bad - 1} more of {len(report.names)} are off"
    return (
        f"Column `{worst.column}` is {_degree(worst.distance)} off: the data have "
        f"{worst.data[0]:.3g} ± {worst.data[1]:.3g}, the flow {worst.flow[0]:.3g} ± "
        f"{worst.flow[1]:.3g} ({_p(worst.adjusted)}){others}."
    )


@_verdict
def _dependence(report: FitReport) -> str:
    worst = report.dependences[0]
    what = {
        "values": f"z[{worst.first}] and z[{worst.second}] depend on each other",
        "sizes": f"the sizes of z[{worst.first}] and z[{worst.second}] depend on each "
        "other",
        "value and size": f"z[{worst.first}] depends on the size of z[{worst.second}]",
    }[worst.kind]
    expected = f" where {worst.expected:+.2f} is right" if worst.expected else ""
    return (
        f"Dependence is left at the base: {what}, with a correlation of "
        f"{worst.correlation:+.2f}{expected} ({_p(worst.adjusted)})."
    )


@_verdict
def _radius(report: FitReport) -> str:
    radius = report.calibrations[-2]
    return (
        f"The distance from the middle of the base is {_degree(radius.distance)} off: "
        f"{_misfit(radius)} ({_p(radius.p_value)})."
    )


@_verdict
def _log_density(report: FitReport) -> str:
    density = report.calibrations[-1]
    return (
        "log_prob of the data, compared with that of the flow's points, is "
        f"{_degree(density.distance)} off: {_misfit(density)} ({_p(density.p_value)})."
    )


@_verdict
def _likelihood(report: FitReport) -> str:
    better = min(report.comparisons, key=lambda one: one.p_value)
    if better.difference < -better.difference_error:
        how = f"by {_nats(better.difference, better.difference_error)} nats a row"
    else:
        how = "on half of the rows"
    return f"A {better.name} fits the data better than the flow, {how}."


@_verdict
def _classifier(report: FitReport) -> str:
    classifier = report.classifier
    return (
        f"A classifier tells data from the flow's points with an AUC of "
        f"{classifier.auc:.3f}, where 0.5 is a guess (95% interval "
        f"{classifier.low:.3f} to {classifier.high:.3f})."
    )


@_verdict
def _kernel_means(report: FitReport) -> str:
    return (
        "Data and the flow's points differ in their kernel means: MMD² "
        f"{report.discrepancy.squared:.2e} ({_p(report.discrepancy.p_value)})."
    )


def _remarks(report: FitReport) -> Iterator[str]:
    if any(c.name == "likelihood" and c.passed for c in report.checks):
        best = max(report.comparisons, key=lambda one: one.log_prob)
        word = "better" if best.difference >= 0 else "worse"
        yield (
            f"The flow is {_nats(best.difference, best.difference_error)} nats a row "
            f"{word} than a {best.name}."
        )
    elif not report.comparisons:
        yield (
            "No Gaussian or mixture was compared: that needs more rows for so many "
            "columns."
        )
    lost = report.numerics.samples_not_finite
    if lost and all(c.name != "finite" or c.passed for c in report.checks):
        yield f"{lost:,} of {report.drawn:,} points of the flow are not finite."
    for name, share in report.numerics.outside.items():
        if share > _MOST_OUTSIDE:
            yield (
                f"{share:.1%} of the rows lie outside the box of {name}, where it is "
                "the identity."
            )
    if report.numerics.log_det is None:
        yield "The log-det was not checked: a stage cannot be differentiated."


def _misfit(one: Calibration) -> str:
    """Returns in words what is off most: a tail, the shape, the mean or the width."""
    wider = one.spread - 1
    if one.tails_p_value < one.distance_p_value:
        # Shares of the tails that mean and width do not explain.
        middle = stats.norm(one.shift, one.spread)
        expected = middle.cdf(-_END), middle.sf(_END)
        excess, share, end = max(
            (abs(one.below - expected[0]) - expected[0] / 2, one.below, "lowest"),
            (abs(one.above - expected[1]) - expected[1] / 2, one.above, "highest"),
        )
        if excess > TAIL / 4 and abs(share - TAIL) > TAIL / 2:
            return f"{share:.2%} of the rows are in its {end} {TAIL:.1%}"
        if one.distance_p_value > _NO_SURPRISE:
            furthest = max(-one.lowest, one.highest)
            return f"the extreme rows end {furthest:.1f} standard deviations out"
    if max(abs(one.shift), abs(wider)) < one.distance:
        return f"of another shape, by a distance of {one.distance:.3f}"
    if abs(one.shift) >= abs(wider):
        return f"shifted by {one.shift:+.2f} standard deviations"
    return f"{abs(wider):.0%} too {'wide' if wider > 0 else 'narrow'}"


def _nats(difference: float, error: float) -> str:
    digits = 3 if error > 1e-3 else 5
    return f"{abs(difference):.{digits}f} ± {error:.{digits}f}"


def _degree(distance: float) -> str:
    if distance < _CLEAR:
        return "slightly"
    return "clearly" if distance < _STRONG else "strongly"


def _p(p_value: float) -> str:
    text = shown(p_value)
    return f"p {text}" if text.startswith("<") else f"p = {text}"
