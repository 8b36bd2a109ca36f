"""The mixture of few rows: its size and its shrinkage, by cross-validation."""

from collections.abc import Callable

import numpy as np
from sklearn.mixture import GaussianMixture
from sklearn.model_selection import KFold
from threadpoolctl import threadpool_limits

from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.mixtures import Start, is_better, scores_of, sizes_of_few

__all__ = ["mixture_of_few"]

# Variances that are added to those of the components, of points of unit variance.
_RIDGES = (1e-6, 1e-5, 1e-4, 1e-3, 1e-2, 0.03, 0.1, 0.3, 1.0)
_FIRST_RIDGE = 0.1  # times columns over rows: of one component, tried before others
_FEWEST = 3  # rows, of which one can be judged by the others
_FOLDS, _PASSES = 5, 20
_RESTARTS, _MORE_PASSES = 3, 100  # of the one that is returned
_WORSE_SIZES = 2  # in a row, after which larger ones are not tried


# Matrices are small: threads would wait for each other more than they compute.
@threadpool_limits.wrap(limits=1, user_api="blas")
def mixture_of_few(z: np.ndarray, seed: int, clock: Clock) -> Start:
    """Returns the mixture that tells most of rows that it has not seen.

    Few rows cannot spare any to be judged by, so that each is judged by a mixture of
    four fifths of the others. More components are taken if they are better by a
    standard error.

    Args:
      z: `(n, d)`, of about unit scale, in random order, but equal ones together.
      seed: of the centers to begin with.
      clock: when to be done.
    """
    n = len(z)
    if n < _FEWEST:
        return Start.judged(_fitted(np.repeat(z, 2, axis=0), 1, _RIDGES[-1], seed), z)
    varies = z.min(axis=0) < z.max(axis=0)
    judged = z[:, varies] if varies.any() else z  # a constant tells nothing of ridges
    scores = _cross_validated(judged, seed)
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
    last = {"n_init": _RESTARTS, "max_iter": _MORE_PASSES}
    mixture = _fitted(z, size, _RIDGES[ridge], seed, **last)
    return Start(mixture, float(best.mean()))


def _cross_validated(z: np.ndarray, seed: int) -> Callable[[int, int], np.ndarray]:
    """Returns what gives scores of all rows, for a size and the number of a ridge."""
    folds = KFold(min(_FOLDS, len(z)))  # as equal rows are together, in one fold
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
    """Returns the number of the best ridge for one component, of all if time allows.

    It cannot climb: where ridges are far too small, all are equally bad.
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
    """Returns the number of the best ridge for a size, from one that may be near."""
    while clock.left > 0:
        around = [i for i in (ridge, ridge - 1, ridge + 1) if 0 <= i < len(_RIDGES)]
        top = max(around, key=lambda i: scores(size, i).mean())
        if top == ridge:
            break
        ridge = top
    return ridge


def _fitted(
    z: np.ndarray, size: int, ridge: float, seed: int, **options: int
) -> GaussianMixture:
    options = {"init_params": "k-means++", "max_iter": _PASSES, **options}
    return GaussianMixture(size, reg_covar=ridge, random_state=seed, **options).fit(z)
