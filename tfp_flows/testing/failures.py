"""Failures of checks, and how a list of checks is run."""

import dataclasses
import re
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

import numpy as np

from tfp_flows._core.checks import pick

__all__ = [
    "CheckFailure",
    "Failure",
    "NotApplicableError",
    "brief",
    "mismatch",
    "run_checks",
    "show",
    "skipped",
    "tolerance_for",
]


TOLERANCES = {"float64": 1e-8, "float32": 1e-4, "float16": 1e-2, "bfloat16": 1e-1}


class NotApplicableError(Exception):
    """A check does not apply; it counts as neither passed nor failed."""


@dataclasses.dataclass(frozen=True, eq=False)
class Failure:
    """One thing that a check found wrong.

    Attributes:
      message: what is wrong, in one sentence.
      check: the name of the check that found it.
      where: the stage or dtype it was found in; empty if there is only one.
      point: the index of the row of `x` with the largest error, or None.
      x: that row, `(event_size,)`.
      expected: the right result there.
      got: the result that was returned.
      error: the largest absolute difference between the two at that point.
      tolerance: the difference that would have been accepted.
    """

    message: str
    check: str = ""
    where: str = ""
    point: int | None = None
    x: np.ndarray | None = None
    expected: np.ndarray | None = None
    got: np.ndarray | None = None
    error: float | None = None
    tolerance: float | None = None

    def __str__(self) -> str:
        where = f"{self.where}: " if self.where else ""
        text = f"{where}{self.check}: {self.message}"
        if self.point is not None:
            text += (
                f"\n    worst at point {self.point}: x = {show(self.x)}, "
                f"expected {show(self.expected)}, got {show(self.got)}, "
                f"error {show(self.error)} (tolerance {self.tolerance:.2g})"
            )
        return text


class CheckFailure(AssertionError):  # noqa: N818  (named as users read it)
    """Everything that is wrong with one bijector or flow, in one message.

    Attributes:
      failures: list of `Failure`, in the order of the checks.
    """

    def __init__(
        self,
        caller: str,
        subject: str,
        failures: list[Failure],
        failed: Iterable[str],
        passed: Iterable[str],
    ):
        self.failures = failures
        total = len({*failed, *passed})
        lines = [
            f"{caller}: {len(set(failed))} of {total} check{'s' * (total > 1)} failed "
            f"for {subject}"
        ]
        lines += ["  " + str(failure).replace("\n", "\n  ") for failure in failures]
        super().__init__("\n".join(lines))


def run_checks(
    checks: Mapping[str, Callable[[Any], Iterable[Failure]]], case: Any
) -> tuple[list[str], list[Failure]]:
    """Runs every check on a case, also after others have failed.

    Returns:
      The names of the checks that passed, and the failures of all others.
    """
    passed, failures = [], []
    for name, check in checks.items():
        try:
            found = list(check(case))
        except NotApplicableError:
            continue
        except Exception as error:  # a user's bijector may raise anything
            found = [Failure(f"raised {brief(error)}")]
        failures += [
            dataclasses.replace(failure, check=failure.check or name)
            for failure in found
        ]
        if not found:
            passed.append(name)
    return passed, failures


def mismatch(
    message: str,
    got: np.ndarray,
    expected: np.ndarray,
    *,
    points: np.ndarray,
    tolerance: float,
    slack: np.ndarray | float = 0.0,
) -> Iterator[Failure]:
    """Yields a failure at the point where `got` differs most from `expected`, if any.

    A difference of up to `tolerance * (1 + |expected|) + slack` is accepted.

    Args:
      message: the first sentence of the failure.
      got: array of shape `(n,)` or `(n, event_size)`, or one that broadcasts to it.
      expected: array like `got`.
      points: the points that the values belong to, `(n, event_size)`.
      tolerance: relative where |expected| is large, absolute where it is small.
      slack: the error that rounding alone explains, of the shape of `expected`.

    Yields:
      At most one `Failure`.
    """
    with np.errstate(invalid="ignore", over="ignore"):
        error = np.abs(np.asarray(got, np.float64) - np.asarray(expected, np.float64))
        size = np.where(np.isfinite(expected), np.abs(expected), 0)
        allowed = tolerance * (1 + size) + slack
        excess = error / allowed
    # NaN equals nothing, and an infinite value equals no finite one.
    excess = np.where(np.isnan(excess), np.inf, excess)
    n = len(points)
    shape = (n, *excess.shape[1:])
    error, allowed, excess, got, expected = (
        np.broadcast_to(a, shape) for a in (error, allowed, excess, got, expected)
    )
    worst = int(np.argmax(excess.reshape(n, -1).max(axis=1)))
    if np.max(excess[worst]) > 1:
        entry = np.argmax(excess[worst])
        yield Failure(
            message,
            point=worst,
            x=points[worst],
            expected=expected[worst],
            got=got[worst],
            error=float(np.ravel(error[worst])[entry]),
            tolerance=float(np.ravel(allowed[worst])[entry]),
        )


def skipped(skip: Iterable[str], known: Iterable[str]) -> set[str]:
    """Returns the names in `skip`, each of which must be a known check."""
    names = [skip] if isinstance(skip, str) else skip
    return {pick(name, known, "check") for name in names}


def tolerance_for(
    dtype: str, tolerance: float | Mapping[str, float] | None = None
) -> float:
    """Returns the tolerance for a dtype, by default that of `TOLERANCES`."""
    if isinstance(tolerance, Mapping):
        return tolerance.get(dtype, TOLERANCES[dtype])
    return TOLERANCES[dtype] if tolerance is None else tolerance


def show(value: Any) -> str:
    """Returns a number or array as one short line."""
    return np.array2string(
        np.asarray(value) + 0.0,  # this turns -0 into 0
        separator=", ",
        threshold=12,
        edgeitems=3,
        max_line_width=1000,
        formatter={"float_kind": lambda v: f"{v:.6g}"},
    )


def brief(error: BaseException) -> str:
    """Returns the type and the message of an exception, as one short line."""
    # TensorFlow writes the name of the op in braces, and Keras uses escape codes.
    text = re.sub(r"\{\{.*?\}\}|\x1b\[\d*m", "", str(error))
    return f"{type(error).__name__}: {' '.join(text.split())[:300]}"
