"""The arithmetic of a flow at held-out rows: inverses, log-dets, finite numbers."""

import dataclasses

import numpy as np
import tensorflow as tf

from tfp_flows.bijectors.adaptation import shares_outside
from tfp_flows.diagnostics.held_out import HeldOut

__all__ = ["Numerics", "numerics_of"]

_ROUND_TRIPS = 2_000  # rows whose round trip is checked
_BOXED = 4_096  # rows that are compared with the boxes of splines
_DIFFERENTIATED = 256  # entries, over all rows, of the points of the log-det check

# Errors that count as wrong: in standard deviations of a column, and in nats. A few
# rows may be wrong, as some lie at kinks or where the dtype has too few digits.
_OFF, MOST_OFF = 0.01, 0.01
_LOG_DET_OFF, MOST_LOG_DETS_OFF = 0.01, 0.1
MOST_NOT_FINITE = 0.001


@dataclasses.dataclass(frozen=True)
class Numerics:
    """How accurately the flow computes at the held-out rows.

    Attributes:
      rows_without_density: the number of rows whose log_prob, or whose point of the
        base, is not finite.
      first_without_density: the first such row of `x_test`; None if there is none.
      samples_not_finite: the number of points drawn from the flow that are not finite
        or have no finite log_prob.
      round_trip: the largest |f(f⁻¹(x)) - x|, in standard deviations of the column.
      round_trip_off: the share of rows where it is more than 0.01.
      round_trip_column: the column where it is largest.
      log_det: the largest difference between the flow's log-det and that of the
        Jacobian by automatic differentiation, in nats; None if a stage cannot be
        differentiated.
      log_det_off: the share of points where it is more than 0.01, or None.
      log_det_points: the number of points it was computed at.
      outside: for each stage with a spline, the share of rows outside of its box,
        where the spline is the identity.
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


def numerics_of(held_out: HeldOut, keep: np.ndarray) -> Numerics:
    """Returns the Numerics at held-out rows, of which those in `keep` are finite."""
    lost = np.sort(held_out.original_row[~keep])
    off = _round_trip(held_out, keep)
    log_det = _log_dets(held_out, keep)
    worst = np.unravel_index(np.argmax(off), off.shape)
    drawn_lost = ~np.isfinite(held_out.log_prob_of_drawn)
    return Numerics(
        rows_without_density=len(lost),
        first_without_density=int(lost[0]) if len(lost) else None,
        samples_not_finite=int(drawn_lost.sum()),
        round_trip=float(off[worst]),
        round_trip_off=float(np.mean(off.max(axis=1) > _OFF)),
        round_trip_column=held_out.names[worst[1]],
        log_det=None if log_det is None else float(log_det.max()),
        log_det_off=None if log_det is None else float(np.mean(log_det > _LOG_DET_OFF)),
        log_det_points=0 if log_det is None else len(log_det),
        outside=_outside(held_out, keep),
    )


def _first(held_out: HeldOut, keep: np.ndarray, n: int) -> tuple:
    """Returns the first n rows of those kept, and their contexts."""
    rows = np.flatnonzero(keep)[:n]
    return held_out.x[rows], None if held_out.context is None else held_out.context[
        rows
    ]


def _round_trip(held_out: HeldOut, keep: np.ndarray) -> np.ndarray:
    """Returns |f(f⁻¹(x)) - x| in standard deviations, `(n, event_size)`."""
    x, context = _first(held_out, keep, _ROUND_TRIPS)
    back = held_out.to_data(held_out.to_base(x, context), context).astype(np.float64)
    spread = held_out.x[keep].astype(np.float64).std(axis=0)
    # The standard deviation of a constant column is only rounding.
    least = 1e3 * np.finfo(x.dtype).eps * np.maximum(np.abs(x).max(axis=0), 1e-30)
    off = np.abs(back - x) / np.maximum(spread, least)
    return np.where(np.isfinite(off), off, np.inf)


def _log_dets(held_out: HeldOut, keep: np.ndarray) -> np.ndarray | None:
    """Returns |log-det of the flow - that of its Jacobian|, `(m,)`, in nats."""
    d = held_out.x.shape[1]
    x, context = _first(held_out, keep, max(8, _DIFFERENTIATED // d))
    # Each row is repeated for each coordinate of z, so that one pass of automatic
    # differentiation gives all Jacobians.
    wide = tf.constant(np.repeat(x, d, axis=0))
    contexts = None if context is None else np.repeat(context, d, axis=0)
    places = np.tile(np.eye(d, dtype=x.dtype), (len(x), 1))
    try:
        with tf.GradientTape() as tape:
            tape.watch(wide)
            z = held_out.distribution(contexts).bijector.inverse(wide)
            total = tf.reduce_sum(z * places)
        rows = tape.gradient(total, wide)
    except (LookupError, NotImplementedError, tf.errors.UnimplementedError):
        return None  # a user's bijector may use an operation without a gradient
    if rows is None:
        return None
    jacobians = rows.numpy().astype(np.float64).reshape(len(x), d, d)
    distribution = held_out.distribution(context)
    z = held_out.to_base(x, context)
    claimed = held_out.log_prob(x, context) - np.asarray(
        distribution.distribution.log_prob(tf.constant(z)), np.float64
    )
    off = np.abs(claimed - np.linalg.slogdet(jacobians)[1])
    return np.where(np.isfinite(off), off, np.inf)


def _outside(held_out: HeldOut, keep: np.ndarray) -> dict[str, float]:
    """Returns the share of rows outside the box of each stage that has one."""
    x, context = _first(held_out, keep, _BOXED)
    parts = {"x": tf.constant(x)}
    if context is not None:
        parts["context"] = tf.constant(context)
    shares = shares_outside(held_out.flow.bijectors, **parts)
    if not shares:
        return {}
    one = None if context is None else context[0]
    stages = held_out.flow.stages(1, context=one)[1:]
    found: dict[str, float] = {}
    for part, share in shares.items():
        pairs = zip(stages, held_out.flow.bijectors, strict=True)
        name = next(s.name for s, b in pairs if part is b or part in b.submodules)
        found[name] = max(found.get(name, 0.0), share)
    return found
