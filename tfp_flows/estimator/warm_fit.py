"""How `FlowDensity` fits: mixtures, a race of flows that start from them, a verdict.

A Gaussian mixture is hard to beat in a minute, so that the flow begins as one: its
base is a mixture, and its couplings begin as the identity.
"""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np

from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.few_rows import mixture_of_few
from tfp_flows.estimator.mixtures import (
    Mixtures,
    best_of,
    fit_mixtures,
    mixtures_of_all_sizes,
    most_components,
    quiet,
)
from tfp_flows.estimator.race import Budget, race
from tfp_flows.estimator.rows import Rows, in_random_order
from tfp_flows.estimator.settings import Settings
from tfp_flows.estimator.shared_flow import SharedFlow
from tfp_flows.estimator.verdict import Result, mixture_alone, verdict

__all__ = ["warm_fit"]

# Fewer rows than this, or than this many per column, get a mixture alone, chosen by
# cross-validation. Its tails are normal below the first number.
_FEWEST_ROWS, _FEWEST_ROWS_PER_COLUMN = 500, 40

# A time limit below this, plus so much per column, leaves no time to compile and train
# a flow.
_LEAST_SECONDS, _LEAST_SECONDS_PER_COLUMN = 15.0, 0.1

# Share of the time for mixtures when there is no flow.
_MIXTURES_ALONE = 0.7

# Share of the time for mixtures when there is one. Under a short limit it is the first
# number, as the flow compiles meanwhile, but no more than these seconds; under a long
# limit it is the last.
_MIXTURES_SHORT, _MIXTURES_SHORT_SECONDS, _MIXTURES_LONG = 0.25, 15.0, 0.15

# XLA wins back the time that it takes to compile if more than this is left.
_XLA_SECONDS = 35.0


def warm_fit(
    z: np.ndarray, weights: np.ndarray | None, settings: Settings, clock: Clock
) -> Result:
    """Fits a density to standardized points.

    Args:
      z: points `(n, d)`, float64, of about unit variance.
      weights: `(n,)` numbers ≥ 0, or None for equal weights.
      settings: what to fit.
      clock: the time until the end of the fit.
    """
    n, d = z.shape
    z = z[in_random_order(n, weights, settings.seed)]
    if n < max(_FEWEST_ROWS, _FEWEST_ROWS_PER_COLUMN * d):
        with quiet():
            found = mixture_of_few(z, settings.seed, _for_mixtures_alone(clock))
        return mixture_alone(found, z if n >= _FEWEST_ROWS else None)
    rows = Rows.split(z, settings.validation_fraction)
    if clock.left < _LEAST_SECONDS + _LEAST_SECONDS_PER_COLUMN * d:
        points = rows.selection_and_train
        with quiet():
            starts = mixtures_of_all_sizes(
                points, rows.validation, settings.seed, _for_mixtures_alone(clock)
            )
        return mixture_alone(best_of(starts), points)
    mixtures, flow, budget = _mixtures_while_compiling(rows, settings, clock)
    if not budget.is_worthwhile:
        return mixture_alone(mixtures.alone, rows.selection_and_train)
    trained = race(flow, mixtures.starts, budget)
    return verdict(mixtures, trained, rows)


def _for_mixtures_alone(clock: Clock) -> Clock:
    return Clock(_MIXTURES_ALONE * clock.left)


def _mixtures_while_compiling(
    rows: Rows, settings: Settings, clock: Clock
) -> tuple[Mixtures, SharedFlow, Budget]:
    """Fits mixtures in a thread while the flow's graphs are compiled in this one."""
    n, d = rows.train.shape
    left = clock.left
    short = min(_MIXTURES_SHORT_SECONDS, _MIXTURES_SHORT * left)
    cancelled = threading.Event()
    allowance = Clock(max(short, _MIXTURES_LONG * left), cancelled)
    with quiet(), ThreadPoolExecutor(1) as thread:
        task = thread.submit(fit_mixtures, rows, settings.seed, allowance)
        try:
            components = most_components(n, d, allowance.seconds)
            flow = SharedFlow(
                rows, components, settings, jit_compile=clock.left > _XLA_SECONDS
            )
            budget = Budget.measured(flow, clock)
        except BaseException:
            cancelled.set()  # the thread need not finish for the error to surface
            raise
    return task.result(), flow, budget
