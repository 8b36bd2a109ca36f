"""FitReport: everything that `evaluate` found, as numbers and as text."""

import dataclasses
import html
import math
import re
from typing import Any

import numpy as np

from tfp_flows.diagnostics.calibration import Calibration
from tfp_flows.diagnostics.comparisons import Comparison
from tfp_flows.diagnostics.copies import Copies
from tfp_flows.diagnostics.dependence import Dependence
from tfp_flows.diagnostics.numerics import Numerics
from tfp_flows.diagnostics.p_values import shown
from tfp_flows.diagnostics.two_samples import Classifier, Discrepancy, Marginal

__all__ = ["Check", "FitReport", "verdict_as_html"]

_SHOWN = 5  # coordinates, columns or pairs that are printed, the worst first


@dataclasses.dataclass(frozen=True)
class Check:
    """The answer to one of the questions of `evaluate`.

    Attributes:
      name: the name of the question, such as "coordinates" or "round_trip".
      passed: whether nothing wrong was found.
      p_value: the smallest p-value of its tests times their number; None for
        questions of arithmetic, where chance plays no part.
      adjusted: `p_value`, adjusted by Holm's method among the questions. The check
        fails if it is at or below the level of the report.
    """

    name: str
    passed: bool
    p_value: float | None = None
    adjusted: float | None = None


@dataclasses.dataclass(frozen=True, eq=False, repr=False)
class FitReport:
    """What `evaluate` found; `print` shows all of it, the verdicts first.

    Attributes:
      verdicts: sentences: first a summary, then what is wrong, then remarks.
      passed: whether every check passed.
      checks: each question with its p-value.
      level: the chance that a perfect flow does not pass.
      flow: the name of the flow.
      rows: the number of rows of `x_test`.
      used: the number of rows that were tested, at most 100,000.
      drawn: the number of points drawn from the flow.
      names: the names of the columns.
      log_prob, error: the mean log_prob of the rows and its standard error, in nats.
      comparisons: simpler densities at the same rows.
      calibrations: those of each coordinate of the base, then of the radius and of
        log_prob.
      dependences: the pairs of coordinates with the smallest p-values, at most ten.
      pairs: the number of pairs and kinds of dependence that were tested.
      marginals: each column of the rows compared with that of the flow's points.
      classifier, discrepancy, copies, numerics: see their classes.
      least: the five rows of lowest density, each as (row, log_prob), lowest first.
      seed: the seed of the draws.
    """

    verdicts: tuple[str, ...]
    passed: bool
    checks: tuple[Check, ...]
    level: float
    flow: str
    rows: int
    used: int
    drawn: int
    names: tuple[str, ...]
    log_prob: float
    error: float
    comparisons: tuple[Comparison, ...]
    calibrations: tuple[Calibration, ...]
    dependences: tuple[Dependence, ...]
    pairs: int
    marginals: tuple[Marginal, ...]
    classifier: Classifier
    discrepancy: Discrepancy
    copies: Copies
    numerics: Numerics
    least: tuple[tuple[int, float], ...]
    seed: int

    def to_dict(self) -> dict[str, Any]:
        """Returns everything as plain lists, dicts, numbers and text, for JSON.

        NaN and infinite numbers become None.
        """
        return _plain(dataclasses.asdict(self))

    def __repr__(self) -> str:
        return f"<FitReport of {self.flow!r}: {self.verdicts[0]}>"

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the verdicts, and all numbers on a click."""
        first, *others = map(verdict_as_html, self.verdicts)
        mark, color = ("✓", "#2e7d32") if self.passed else ("✗", "#c62828")
        items = "".join(f"<li>{verdict}</li>" for verdict in others)
        return (
            f'<div><p><b style="color: {color}">{mark}</b> <b>{first}</b></p>'
            f"<ul>{items}</ul><details><summary>All numbers</summary>"
            f"<pre>{html.escape(str(self))}</pre></details></div>"
        )

    def __str__(self) -> str:
        title = (
            f"{self.flow!r} at {self.rows:,} rows of {len(self.names)} "
            f"column{'s' * (len(self.names) > 1)}"
        )
        sections = [
            [title, "=" * len(title), *(f"- {verdict}" for verdict in self.verdicts)],
            self._checks(),
            self._log_prob(),
            self._calibration(),
            self._columns(),
            self._others(),
        ]
        return "\n\n".join("\n".join(lines) for lines in sections)

    def _checks(self) -> list[str]:
        lines = [f"Checks, at a level of {self.level:g} for all together"]
        for check in self.checks:
            p = "" if check.adjusted is None else f"adjusted p {shown(check.adjusted)}"
            word = "passed" if check.passed else "FAILED"
            lines.append(f"  {check.name:<18} {word}  {p}".rstrip())
        return lines

    def _log_prob(self) -> list[str]:
        lines = [
            "Held-out log_prob, nats a row (± standard error)",
            f"  {'flow':<18} {self.log_prob:>10.4f} ± {self.error:.4f}",
        ]
        for other in self.comparisons:
            counts = "/".join(map(str, dict.fromkeys(other.components)))
            name = other.name if other.name == "Gaussian" else f"mixture of {counts}"
            lines.append(
                f"  {name:<18} {other.log_prob:>10.4f} ± {other.error:.4f}   flow "
                f"{other.difference:+.4f} ± {other.difference_error:.4f}"
            )
        least = ", ".join(f"{row} ({value:.2f})" for row, value in self.least)
        return [*lines, f"  rows of lowest density (log_prob): {least}"]

    def _calibration(self) -> list[str]:
        *coordinates, radius, density = self.calibrations
        worst = sorted(coordinates, key=lambda one: (one.p_value, -one.distance))
        lines = [
            "Calibration: data compared with the flow's own distribution",
            f"  {'':<18} {'distance':>8} {'shift':>7} {'spread':>7} "
            f"{'lowest .5%':>10} {'highest':>8} {'adjusted p':>10}",
        ]
        for one in [*worst[:_SHOWN], radius, density]:
            column = f" ~ {one.column}" if one.column else ""
            lines.append(
                f"  {_cut(one.name + column):<18} {one.distance:>8.4f} "
                f"{one.shift:>+7.3f} {one.spread:>7.3f} {one.below:>10.2%} "
                f"{one.above:>8.2%} {shown(one.adjusted):>10}"
            )
        if len(worst) > _SHOWN:
            lines.append(f"  and {len(worst) - _SHOWN} coordinates less far off")
        if self.dependences:
            lines.append(f"Dependence left between coordinates ({self.pairs:,} tested)")
        for left in self.dependences[:_SHOWN]:
            pair = f"z[{left.first}], z[{left.second}]"
            lines.append(
                f"  {pair:<18} {left.kind:<15} correlation {left.correlation:+.3f}, "
                f"expected {left.expected:+.3f}, adjusted p {shown(left.adjusted)}"
            )
        return lines

    def _columns(self) -> list[str]:
        worst = sorted(self.marginals, key=lambda one: (one.p_value, -one.distance))
        lines = [
            "Columns: data against the flow's points",
            f"  {'':<18} {'distance':>8} {'mean ± deviation, data':>25} "
            f"{'flow':>23} {'adjusted p':>10}",
        ]
        for one in worst[:_SHOWN]:
            data, flow = (f"{mean:.4g} ± {s:.4g}" for mean, s in (one.data, one.flow))
            lines.append(
                f"  {_cut(one.column):<18} {one.distance:>8.4f} {data:>25} "
                f"{flow:>23} {shown(one.adjusted):>10}"
            )
        if len(worst) > _SHOWN:
            lines.append(f"  and {len(worst) - _SHOWN} columns less far off")
        return lines

    def _others(self) -> list[str]:
        classifier, mmd, copies = self.classifier, self.discrepancy, self.copies
        numbers = self.numerics
        lines = [
            "Data against the flow's points, all columns together",
            f"  classifier: AUC {classifier.auc:.4f}, 95% interval "
            f"{classifier.low:.4f} to {classifier.high:.4f} ({classifier.n:,} of each)",
            f"  kernel means: MMD² {mmd.squared:.2e}, p {shown(mmd.p_value)} "
            f"({mmd.n:,} of each)",
            f"  copies: {copies.repeated:,} of {copies.rows:,} rows repeat another; "
            f"{copies.repeated_by_flow:,} of the flow's points do",
        ]
        if copies.in_train is not None:
            lines.append(
                f"  copies: {copies.in_train:,} rows are training rows; the flow's "
                f"points are nearer to these than rows are with chance "
                f"{copies.nearer:.3f}"
            )
        lines += [
            "",
            "Arithmetic",
            f"  not finite: {numbers.rows_without_density:,} rows, "
            f"{numbers.samples_not_finite:,} of {self.drawn:,} points",
            f"  round trip: off by at most {numbers.round_trip:.1e} standard "
            f"deviations ({numbers.round_trip_column})",
        ]
        if numbers.log_det is not None:
            lines.append(
                f"  log-det: off by at most {numbers.log_det:.1e} nats at "
                f"{numbers.log_det_points} points"
            )
        lines += [
            f"  outside of the box of {name}: {share:.2%}"
            for name, share in numbers.outside.items()
        ]
        return lines


def verdict_as_html(verdict: str) -> str:
    """Returns a verdict as HTML, with the names between backticks as code."""
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", html.escape(verdict))


def _cut(name: str) -> str:
    return name if len(name) <= 18 else f"{name[:17]}…"


def _plain(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _plain(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple, np.ndarray)):
        return [_plain(entry) for entry in value]
    if isinstance(value, np.generic):
        value = value.item()
    if isinstance(value, float) and not math.isfinite(value):
        return None
    return value
