"""The flow's arithmetic at the data: inverses, log-dets, reach, finite numbers."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfp_flows.bijectors.adaptation import shares_outside
from tfp_flows.diagnostics.held_out import Subject

__all__ = ["Numerics", "numerics_of"]

_ROUND_TRIPS, _REACHED = 2_000, 4_096
# Numbers that the points of the log-det check have together.
_DIFFERENTIATED = 256

# What counts as off: in spreads of a column, and in nats; and the shares of rows that
# may be, since a few stand at kinks or where a dtype has no more digits.
OFF, MOST_OFF = 0.01, 0.01
LOG_DET_OFF, MOST_LOG_DETS_OFF = 0.01, 0.1
MOST_NOT_FINITE = 0.001


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How well the flow computes at the data.

    Attributes:
      rows_without_density: rows whose log_prob, or place at the base, is not finite.
      first_without_density: the first such row of `x_test`; None if there is none.
      samples_not_finite: of the points drawn from the flow, those that are not finite
        or have no finite log_prob.
      round_trip: largest |f(f⁻¹(x)) - x|, in standard deviations of the column.
      round_trip_off: share of rows where it is more than 0.01.
      round_trip_column: the column where it is largest.
      log_det: largest difference of the flow's log-det from that of the Jacobian by
        automatic differentiation, in nats; None where it cannot be differentiated.
      log_det_off: share of points where it is more than 0.01; None likewise.
      log_det_points: number of points it was differentiated at.
      outside: for each stage with a spline, the share of rows outside of its box,
        where it is the identity.
    """

    rows_without_density: int
    first_without_density: int | None
    samples_not_finite: int
    round_trip: float
    round_trip_off: float
    round_trip_column: str
    log_det: float | None
    log_det_off: float | None
    log_det_points: int
    outside: dict[str, float]


def numerics_of(subject: Subject, keep: np.ndarray) -> Numerics:
    """Returns the Numerics of a subject, whose rows `keep` are finite."""
    lost = np.sort(subject.row[~keep])
    off = _round_trip(subject, keep)
    log_det = _log_dets(subject, keep)
    worst = np.unravel_index(np.argmax(off), off.shape)
    drawn_lost = ~np.isfinite(subject.log_prob_of_drawn)
    return Numerics(
        rows_without_density=len(lost),
        first_without_density=int(lost[0]) if len(lost) else None,
        samples_not_finite=int(drawn_lost.sum()),
        round_trip=float(off[worst]),
        round_trip_off=float(np.mean(off.max(axis=1) > OFF)),
        round_trip_column=subject.names[worst[1]],
        log_det=None if log_det is None else float(log_det.max()),
        log_det_off=None if log_det is None else float(np.mean(log_det > LOG_DET_OFF)),
        log_det_points=0 if log_det is None else len(log_det),
        outside=_outside(subject, keep),
    )


def _first(subject: Subject, keep: np.ndarray, n: int) -> tuple:
    """Returns the first n rows of those kept, and their contexts."""
    rows = np.flatnonzero(keep)[:n]
    return subject.x[rows], None if subject.context is None else subject.context[rows]


def _round_trip(subject: Subject, keep: np.ndarray) -> np.ndarray:
    """Returns what is missing in x → z → x, `(n, event_size)`, in spreads."""
    x, context = _first(subject, keep, _ROUND_TRIPS)
    back = subject.to_data(subject.to_base(x, context), context).astype(np.float64)
    spread = subject.x[keep].astype(np.float64).std(axis=0)
    # A constant column has rounding for its spread.
    least = 1e3 * np.finfo(x.dtype).eps * np.maximum(np.abs(x).max(axis=0), 1e-30)
    off = np.abs(back - x) / np.maximum(spread, least)
    return np.where(np.isfinite(off), off, np.inf)


def _log_dets(subject: Subject, keep: np.ndarray) -> np.ndarray | None:
    """Returns |log-det of the flow - that of its Jacobian|, `(m,)`, in nats."""
    d = subject.x.shape[1]
    x, context = _first(subject, keep, max(8, _DIFFERENTIATED // d))
    # One row for each coordinate of z: all Jacobians in one pass.
    wide = tf.constant(np.repeat(x, d, axis=0))
    contexts = None if context is None else np.repeat(context, d, axis=0)
    places = np.tile(np.eye(d, dtype=x.dtype), (len(x), 1))
    try:
        with tf.GradientTape() as tape:
            tape.watch(wide)
            z = subject.distribution(contexts).bijector.inverse(wide)
            total = tf.reduce_sum(z * places)
        rows = tape.gradient(total, wide)
    except (LookupError, NotImplementedError, tf.errors.UnimplementedError):
        return None  # an operation of a user's bijector without a gradient
    if rows is None:
        return None
    jacobians = rows.numpy().astype(np.float64).reshape(len(x), d, d)
    distribution = subject.distribution(context)
    z = subject.to_base(x, context)
    claimed = subject.log_prob(x, context) - np.asarray(
        distribution.distribution.log_prob(tf.constant(z)), np.float64
    )
    off = np.abs(claimed - np.linalg.slogdet(jacobians)[1])
    return np.where(np.isfinite(off), off, np.inf)


def _outside(subject: Subject, keep: np.ndarray) -> dict[str, float]:
    """Returns the share of rows outside the box of each stage that has one."""
    x, context = _first(subject, keep, _REACHED)
    parts = {"x": tf.constant(x)}
    if context is not None:
        parts["context"] = tf.constant(context)
    shares = shares_outside(subject.flow.bijectors, **parts)
    if not shares:
        return {}
    one = None if context is None else context[0]
    stages = subject.flow.stages(1, context=one)[1:]
    found: dict[str, float] = {}
    for part, share in shares.items():
        pairs = zip(stages, subject.flow.bijectors, strict=True)
        name = next(s.name for s, b in pairs if part is b or part in b.submodules)
        found[name] = max(found.get(name, 0.0), share)
    return found
