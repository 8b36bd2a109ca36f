"""The first step of a fit: Gaussian mixtures, for a flow to start from."""

import contextlib
import copy
import dataclasses
import math
import warnings
from collections.abc import Iterator, Sequence
from typing import Self

import numpy as np
from scipy.stats import multivariate_t
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfp_flows.bases import Mixture
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.rows import Rows

__all__ = [
    "Mixtures",
    "Start",
    "best_of",
    "fit_mixtures",
    "mixtures_of_all_sizes",
    "most_components",
    "quiet",
    "refitted",
    "scores_of",
    "sizes_of_few",
]

# The numbers of components that are tried.
_SIZES = (1, 2, 3, 5, 8, 12, 20, 30, 40, 60, 80)

# A starting mixture needs this many rows per parameter, or the second number divided by
# the number of columns if that is less: wide rows carry more information each.
_ROWS_PER_PARAMETER, _ROWS_PER_PARAMETER_TIMES_WIDTH = 10, 100

# A mixture that no flow starts from needs this many rows per parameter.
_ROWS_PER_PARAMETER_ALONE = 5

# Up to this many components are tried with fewer rows too, if each has so many rows
# per column: distant clusters need no more, and held-out rows reject what overfits.
_ALWAYS_TRIED, _ROWS_PER_COLUMN = 20, 5

# The share of a Cauchy density in every score. A point far out then scores the same
# under all mixtures, and does not decide between them.
_CAUCHY_SHARE = 1e-3

# Bounds on the number of rows used to fit mixtures, and how many a second of the time
# limit adds. The flow is trained on all rows afterwards.
_ROWS, _MOST_ROWS, _ROWS_PER_SECOND = 50_000, 200_000, 750

# The least variance of a component, for points of about unit variance.
_LEAST_VARIANCE = 1e-6

# Iterations of expectation-maximization: the most of a fit, the usual number, and the
# number between two looks at the clock.
_ITERATIONS, _USUAL_ITERATIONS, _ITERATIONS_AT_ONCE = 60, 20, 5

# A fit that takes less than this share of the time left says little about the pace.
_QUICK = 0.03

# A size that is worse than the best by this many nats ends the search for larger ones.
_WORSE = 0.05

# A good start has about this many times fewer components than the best mixture.
_THINNING = 3.0


@dataclasses.dataclass(frozen=True)
class Start:
    """A fitted mixture that a flow can start from.

    Args:
      mixture: the fitted mixture.
      score: mean of `scores_of` points that it was not fitted to, in nats.
    """

    mixture: GaussianMixture
    score: float

    @classmethod
    def scored(cls, mixture: GaussianMixture, held_out: np.ndarray) -> Self:
        """Returns the start of a mixture with its score on held-out points."""
        return cls(mixture, float(scores_of(mixture, held_out).mean()))

    @property
    def components(self) -> int:
        """The number of components."""
        return len(self.mixture.weights_)

    @property
    def parameters(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Weights, means and Cholesky factors of the precisions: a base's start."""
        found = self.mixture
        return found.weights_, found.means_, found.precisions_cholesky_

    def as_base(self, points: np.ndarray | None = None) -> Mixture:
        """Returns the mixture as a float64 base of a flow.

        Args:
          points: `(n, d)`; they choose the degrees of freedom of Student's t
            components. The components are normal when None.
        """
        count, d = self.mixture.means_.shape
        tails = "normal" if points is None else "student"
        base = Mixture(d, count, tails=tails, seed=0, dtype="float64")
        base.start(*self.parameters, points=points)
        return base


@dataclasses.dataclass(frozen=True)
class Mixtures:
    """The mixtures that the first step hands on.

    Args:
      starts: mixtures of the training rows, with more and more components, up to the
        one that is best on the selection rows.
      alone: the best one, refitted to the selection rows too and scored on the
        validation rows: the result if no flow is better.
    """

    starts: tuple[Start, ...]
    alone: Start

    @property
    def best(self) -> Start:
        """The mixture that is best on the selection rows."""
        return self.starts[-1]


@contextlib.contextmanager
def quiet() -> Iterator[None]:
    """Silences the warnings of mixtures that did not converge.

    The flow is trained on from there. Rows with few distinct values leave components
    empty, which divides by zero and does no harm.
    """
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ConvergenceWarning)
        warnings.simplefilter("ignore", RuntimeWarning)
        yield


def fit_mixtures(rows: Rows, seed: int, clock: Clock) -> Mixtures:
    """Fits mixtures of all sizes, and refits the best one to the selection rows too.

    Args:
      rows: points of about unit variance.
      seed: of the initial centers.
      clock: the time for all mixtures.
    """
    starts = mixtures_of_all_sizes(rows.train, rows.selection, seed, clock)
    best = best_of(starts)
    alone = refitted(best, rows.selection_and_train, rows.validation, clock)
    return Mixtures(tuple(starts[: starts.index(best) + 1]), alone)


def best_of(starts: Sequence[Start]) -> Start:
    """Returns the start with the highest score."""
    return max(starts, key=lambda start: start.score)


def most_components(n: int, d: int, seconds: float) -> int:
    """Returns the most components of a start for n rows of d columns."""
    return _start_sizes(_row_count(n, seconds), d)[-1]


def scores_of(mixture: GaussianMixture, z: np.ndarray) -> np.ndarray:
    """Returns the log-density that mixtures are compared by.

    With ε = 0.001 and d the width, it is that of the mixture with a little of a
    standard Cauchy density::

        log((1 - ε) · p(z) + ε · Cauchy_d(z))

    Args:
      mixture: a fitted mixture with density p.
      z: points `(n, d)`.

    Returns:
      `(n,)`, in nats.
    """
    d = z.shape[1]
    cauchy = multivariate_t(np.zeros(d), df=1).logpdf(z).reshape(-1)
    return np.logaddexp(
        math.log1p(-_CAUCHY_SHARE) + mixture.score_samples(z),
        math.log(_CAUCHY_SHARE) + cauchy,
    )


def mixtures_of_all_sizes(
    train: np.ndarray, held_out: np.ndarray, seed: int, clock: Clock
) -> list[Start]:
    """Fits mixtures of one component, and of more and more.

    If the time does not suffice for every size, some are left out, but not the largest
    that there is time for. Time that remains at the end goes to a size that was left
    out and has about a third of the best one's components, a likely good start.

    Args:
      train: points `(n, d)`, of about unit variance.
      held_out: points that the mixtures are scored on.
      seed: of the initial centers.
      clock: the time for all of them.

    Returns:
      The mixtures, by their number of components.
    """
    train = train[: _row_count(len(train), clock.seconds)]
    sizes = _start_sizes(*train.shape)
    starts: dict[int, Start] = {}
    k: int | None = 1
    pace = math.inf
    while k is not None:
        before = clock.spent
        mixture, seconds = _fitted(train, k, seed, _LEAST_VARIANCE, clock)
        starts[k] = Start.scored(mixture, held_out)
        best = max(starts, key=lambda k: starts[k].score)
        if len(starts) > 3 and starts[k].score < starts[best].score - _WORSE:
            sizes = [size for size in sizes if size <= k]
        # Most of a very quick fit is overhead rather than iterations.
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
    """Returns a start after a few more iterations, over more points.

    The start stays as it is where that makes it worse, as a point far out can.

    Args:
      start: the mixture to begin with.
      points: `(n, d)`, the points to fit it to.
      held_out: points that both mixtures are scored on.
      clock: the time for all mixtures; its limit bounds the number of points.
    """
    mixture = copy.deepcopy(start.mixture)
    mixture.fit(points[: _row_count(len(points), clock.seconds)])
    return best_of([Start.scored(each, held_out) for each in (mixture, start.mixture)])


def _next_size(sizes: list[int], pace: float, left: float) -> int | None:
    """Returns the next size to try, or None if there is time for none of them.

    Args:
      sizes: numbers of components, increasing.
      pace: seconds that an iteration takes for each component.
      left: seconds until the end.
    """
    pace *= _USUAL_ITERATIONS
    while sizes and pace * sizes[-1] >= left:
        sizes = sizes[:-1]
    while len(sizes) > 1 and pace * sum(sizes) > left:
        sizes = sizes[::-2][::-1]
    return sizes[0] if sizes else None


def _fitted(
    z: np.ndarray,
    components: int,
    seed: int,
    least_variance: float,
    clock: Clock | None = None,
) -> tuple[GaussianMixture, float]:
    """Returns a fitted mixture, and the seconds that each last iteration took."""
    mixture = GaussianMixture(
        components,
        reg_covar=least_variance,
        init_params="k-means++",
        max_iter=_ITERATIONS_AT_ONCE,
        warm_start=True,
        random_state=seed,
    )
    watch, iterations = Clock(None), 0
    while iterations < _ITERATIONS:
        before = watch.spent
        iterations += mixture.fit(z).n_iter_
        seconds = (watch.spent - before) / mixture.n_iter_
        if mixture.converged_ or (clock and clock.left < 0):
            break
    return mixture, seconds


def _row_count(n: int, seconds: float) -> int:
    """Returns how many of n rows mixtures are fitted to within a time limit."""
    if math.isinf(seconds):
        return min(n, _ROWS)
    return min(n, _MOST_ROWS, max(_ROWS, int(_ROWS_PER_SECOND * seconds)))


def _start_sizes(n: int, d: int) -> list[int]:
    """Returns the numbers of components to try as starts."""
    rows_per_parameter = min(_ROWS_PER_PARAMETER, _ROWS_PER_PARAMETER_TIMES_WIDTH / d)
    return _sizes(n, d, rows_per_parameter)


def sizes_of_few(n: int, d: int) -> list[int]:
    """Returns the numbers of components to try for few rows, without a flow."""
    return _sizes(n, d, _ROWS_PER_PARAMETER_ALONE)


def _sizes(n: int, d: int, rows_per_parameter: float) -> list[int]:
    """Returns the numbers of components that n rows of d columns suffice for."""
    parameters = 1 + d + d * (d + 1) // 2  # of each component
    by_parameters = n / (rows_per_parameter * parameters)
    by_columns = min(_ALWAYS_TRIED, n / (_ROWS_PER_COLUMN * d))
    most = max(by_parameters, by_columns, 1)
    return [k for k in _SIZES if k <= most]
