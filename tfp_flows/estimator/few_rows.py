"""The mixture of few rows: cross-validation chooses its size and its shrinkage."""

from collections.abc import Callable
from typing import Any

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from tfp_flows._core.statistics import is_better
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.mixtures import Start, scores_of, sizes_of_few

__all__ = ["mixture_of_few"]

# Ridges: variances that are added to those of the components, for points of unit
# variance.
_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)

# The first ridge tried for one component is the one nearest to this many times the
# number of columns over the number of rows.
_FIRST_RIDGE = 0.1

# Cross-validation needs at least this many rows.
_FEWEST = 3

# Folds, and iterations of each fit, in cross-validation.
_FOLDS, _ITERATIONS = 5, 20

# Restarts and iterations of the mixture that is returned.
_RESTARTS, _LAST_ITERATIONS = 3, 100

# So many sizes in a row that are not better than the best end the search.
_WORSE_SIZES = 2


# The matrices are small: threads would wait for each other longer than they compute.
@threadpool_limits.wrap(limits=1, user_api="blas")
def mixture_of_few(z: np.ndarray, seed: int, clock: Clock) -> Start:
    """Returns the mixture that is best in cross-validation.

    Few rows are too precious to be held out, so that each row is scored by a mixture
    of the other four folds. A mixture of more components must be better by a standard
    error.

    Args:
      z: points `(n, d)`, of about unit variance, in random order, with equal rows next
        to each other.
      seed: of the initial centers.
      clock: the time for all fits.
    """
    n = len(z)
    if n < _FEWEST:
        return Start.scored(_fitted(np.repeat(z, 2, axis=0), 1, _RIDGES[-1], seed), z)
    varies = z.min(axis=0) < z.max(axis=0)
    compared = z[:, varies] if varies.any() else z  # constants favor small ridges
    scores = _cross_validated(compared, seed)
    size, ridge = 1, _ridge_of_one(scores, _FIRST_RIDGE * z.shape[1] / n, clock)
    best, at, worse = scores(size, ridge), ridge, 0
    for larger in sizes_of_few(*z.shape)[1:]:
        if worse == _WORSE_SIZES or clock.left < 0:
            break
        at = _climbed(scores, larger, at, clock)
        found = scores(larger, at)
        worse = worse + 1 if found.mean() <= best.mean() else 0
        if is_better(found, best, 1):
            size, ridge, best = larger, at, found
    last = {"n_init": _RESTARTS, "max_iter": _LAST_ITERATIONS}
    mixture = _fitted(z, size, _RIDGES[ridge], seed, **last)
    return Start(mixture, float(best.mean()))


def _cross_validated(z: np.ndarray, seed: int) -> Callable[[int, int], np.ndarray]:
    """Returns a function that scores all rows, for a size and the index of a ridge."""
    folds = KFold(min(_FOLDS, len(z)))  # unshuffled: equal rows share a fold
    known: dict[tuple[int, int], np.ndarray] = {}

    def scores(size: int, ridge: int) -> np.ndarray:
        if (size, ridge) not in known:
            found = np.empty(len(z))
            for train, rest in folds.split(z):
                mixture = _fitted(z[train], size, _RIDGES[ridge], seed)
                found[rest] = scores_of(mixture, z[rest])
            known[size, ridge] = found
        return known[size, ridge]

    return scores


def _ridge_of_one(
    scores: Callable[[int, int], np.ndarray], near: float, clock: Clock
) -> int:
    """Returns the index of the best ridge for one component, of all if time allows.

    A search that climbs would not find it: ridges far too small are all equally bad.
    """
    away = np.abs(np.log(np.divide(_RIDGES, near)))
    best, *others = np.argsort(away)
    for ridge in others:
        if clock.left < 0:
            break
        best = max(best, ridge, key=lambda i: scores(1, i).mean())
    return int(best)


def _climbed(
    scores: Callable[[int, int], np.ndarray], size: int, ridge: int, clock: Clock
) -> int:
    """Returns the index of the best ridge for a size, climbing from a likely one."""
    while clock.left > 0:
        around = [i for i in (ridge, ridge - 1, ridge + 1) if 0 <= i < len(_RIDGES)]
        top = max(around, key=lambda i: scores(size, i).mean())
        if top == ridge:
            break
        ridge = top
    return ridge


def _fitted(
    z: np.ndarray, size: int, ridge: float, seed: int, **options: Any
) -> GaussianMixture:
    options = {"init_params": "k-means++", "max_iter": _ITERATIONS, **options}
    return GaussianMixture(size, reg_covar=ridge, random_state=seed, **options).fit(z)
