"""Gaussian mixtures of more and more components, for a flow to start from."""

import contextlib
import copy
import dataclasses
import math
import warnings
from collections.abc import Iterator
from typing import Self

import numpy as np
from scipy.stats import multivariate_t
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfp_flows.bases import Mixture
from tfp_flows.estimator.clock import Clock

__all__ = [
    "Start",
    "is_better",
    "mixtures",
    "most_components",
    "quiet",
    "refitted",
    "scores_of",
    "sizes_of_few",
]

_SIZES = (1, 2, 3, 5, 8, 12, 20, 30, 40, 60, 80)
# Rows at least for each number of a mixture: as a start, there this over the width as
# rows that are wide tell more; and as all there is.
_ROWS_A_NUMBER, _ROWS_A_NUMBER_OVER_WIDTH, _ROWS_A_NUMBER_ALONE = 10, 100, 5
# So many components are tried with fewer rows too, so many times the width for each:
# clusters that are far apart need no more, and rows that are not seen tell.
_FEW, _ROWS_A_COLUMN = 20, 5

# Mixtures are judged with such a share of a Cauchy distribution in them: where a point
# is far out it is the same for all, and does not decide between them.
_SHARE_OF_FAR = 1e-3
# Rows that mixtures are fitted to, at least and at most, where there are so many; a
# flow goes on from there with all rows.
_ROWS, _MOST_ROWS, _ROWS_A_SECOND = 50_000, 200_000, 750

# The least variance of a component, of points that have about unit variance.
_LEAST_VARIANCE = 1e-6

# Passes of expectation and maximization: at most, as a rule, and between looks at the
# clock.
_PASSES, _USUAL_PASSES, _PASSES_AT_ONCE = 60, 20, 5
_QUICK = 0.03  # of the time that is left
_WORSE = 0.05  # nats by which a size is too large to try larger ones
_THINNING = 3.0  # components of the best size and of a good thinner one


@dataclasses.dataclass(frozen=True)
class Start:
    """A fitted mixture, and the mean of its `scores_of` held-out points."""

    mixture: GaussianMixture
    score: float

    @classmethod
    def judged(cls, mixture: GaussianMixture, held_out: np.ndarray) -> Self:
        """Returns it with its score."""
        return cls(mixture, float(scores_of(mixture, held_out).mean()))

    @property
    def components(self) -> int:
        """How many."""
        return len(self.mixture.weights_)

    def put_into(self, base: Mixture, points: np.ndarray | None = None) -> None:
        """Starts a base from it, with the tails that `points` have."""
        found = self.mixture
        base.start(
            found.weights_, found.means_, found.precisions_cholesky_, points=points
        )

    def as_base(self, points: np.ndarray | None = None) -> Mixture:
        """Returns it as a float64 base; with the tails that `points` have."""
        count, d = self.mixture.means_.shape
        tails = "normal" if points is None else "student"
        base = Mixture(d, count, tails=tails, seed=0, dtype="float64")
        self.put_into(base, points)
        return base


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences what scikit-learn's mixtures say of fits that end early."""
    with warnings.catch_warnings():
        # Training goes on from there; few distinct points make empty components.
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def most_components(n: int, d: int, seconds: float) -> int:
    """Returns the most components of a start for n rows of d columns."""
    return _start_sizes(_rows(n, seconds), d)[-1]


def scores_of(mixture: GaussianMixture, z: np.ndarray) -> np.ndarray:
    """Returns what a mixture is judged by, log_prob of points `(n,)` with a floor."""
    d = z.shape[1]
    cauchy = multivariate_t(np.zeros(d), df=1).logpdf(z).reshape(-1)
    return np.logaddexp(
        math.log1p(-_SHARE_OF_FAR) + mixture.score_samples(z),
        math.log(_SHARE_OF_FAR) + cauchy,
    )


def is_better(scores: np.ndarray, others: np.ndarray, errors: float) -> bool:
    """Returns whether scores of the same points are better by some standard errors.

    Anything is better than scores that are not finite.
    """
    if not np.isfinite(others).all():
        return True
    gain = scores - others
    return bool(gain.mean() > errors * gain.std() / math.sqrt(len(gain)))


def mixtures(
    train: np.ndarray, held_out: np.ndarray, seed: int, clock: Clock
) -> list[Start]:
    """Returns mixtures of more and more components, the first with one.

    Where the time does not allow all sizes, some are left out, but the largest last;
    where there is time after all, those that make good thinner starts are made up for.

    Args:
      train: `(n, d)`, of about unit scale.
      held_out: points that their scores are means of.
      seed: of the centers to begin with.
      clock: when to be done.
    """
    train = train[: _rows(len(train), clock.seconds)]
    sizes = _start_sizes(*train.shape)
    starts: dict[int, Start] = {}
    k, pace = 1, math.inf
    while k:
        before = clock.spent
        mixture, seconds = _fitted(train, k, seed, _LEAST_VARIANCE, clock)
        starts[k] = Start.judged(mixture, held_out)
        best = max(starts, key=lambda k: starts[k].score)
        if len(starts) > 3 and starts[k].score < starts[best].score - _WORSE:
            sizes = [size for size in sizes if size <= k]
        # Of a fit that took no time to speak of, most was not for passes.
        pace = min(pace, seconds / k)
        was_quick = clock.spent - before < _QUICK * clock.left
        larger = [size for size in sizes if size > max(starts)]
        k = _next_size(larger, 0.0 if was_quick else pace, clock.left)
        if k is None:
            thinner = [size for size in sizes if size < best and size not in starts]
            thinner.sort(key=lambda size: abs(math.log(size * _THINNING / best)))
            k = _next_size(thinner[:1], pace, clock.left)
    return [starts[k] for k in sorted(starts)]


def refitted(
    start: Start, points: np.ndarray, held_out: np.ndarray, clock: Clock
) -> Start:
    """Returns a start after a few more passes, over points that it has not seen too.

    If that is worse, as where one of these is far out, it stays as it is.

    Args:
      start: what to begin with.
      points: `(n, d)`, to fit it to.
      held_out: points that its score is a mean of.
      clock: of the mixtures; tells how many of the points.
    """
    mixture = copy.deepcopy(start.mixture)
    mixture.fit(points[: _rows(len(points), clock.seconds)])
    found = [Start.judged(each, held_out) for each in (mixture, start.mixture)]
    return max(found, key=lambda start: start.score)


def _next_size(sizes: list[int], pace: float, left: float) -> int | None:
    """Returns the size to try next: the first of those that there is time for.

    Args:
      sizes: increasing.
      pace: seconds that a pass takes for each component.
      left: seconds until the end.
    """
    pace *= _USUAL_PASSES
    while sizes and pace * sizes[-1] >= left:
        sizes = sizes[:-1]
    while len(sizes) > 1 and pace * sum(sizes) > left:
        sizes = sizes[::-2][::-1]
    return sizes[0] if sizes else None


def _fitted(
    z: np.ndarray,
    components: int,
    seed: int,
    least: float,
    clock: Clock | None = None,
) -> tuple[GaussianMixture, float]:
    """Returns a mixture, and the seconds that its last passes took each."""
    mixture = GaussianMixture(
        components,
        reg_covar=least,
        init_params="k-means++",
        max_iter=_PASSES_AT_ONCE,
        warm_start=True,
        random_state=seed,
    )
    watch, passes = Clock(None), 0
    while passes < _PASSES:
        before = watch.spent
        passes += mixture.fit(z).n_iter_
        seconds = (watch.spent - before) / mixture.n_iter_
        if mixture.converged_ or (clock and clock.left < 0):
            break
    return mixture, seconds


def _rows(n: int, seconds: float) -> int:
    """Returns how many of n rows mixtures are fitted to."""
    if math.isinf(seconds):
        return min(n, _ROWS)
    return min(n, _MOST_ROWS, max(_ROWS, int(_ROWS_A_SECOND * seconds)))


def _start_sizes(n: int, d: int) -> list[int]:
    """Returns how many components a start may have."""
    return _sizes(n, d, min(_ROWS_A_NUMBER, _ROWS_A_NUMBER_OVER_WIDTH / d))


def sizes_of_few(n: int, d: int) -> list[int]:
    """Returns how many components a mixture of few rows may have."""
    return _sizes(n, d, _ROWS_A_NUMBER_ALONE)


def _sizes(n: int, d: int, rows_a_number: float) -> list[int]:
    """Returns how many components are tried, as many as the rows can tell apart."""
    numbers = 1 + d + d * (d + 1) // 2  # of a component
    most = max(n / (rows_a_number * numbers), min(_FEW, n / (_ROWS_A_COLUMN * d)), 1)
    return [k for k in _SIZES if k <= most]
