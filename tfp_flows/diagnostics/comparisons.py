"""The flow's log-density compared with that of a Gaussian and of a mixture."""

import dataclasses
import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfp_flows._core.statistics import mean_and_error
from tfp_flows.diagnostics.held_out import HeldOut

__all__ = ["Comparison", "comparisons_of", "likelihood_ratio"]

_FITTED = 5_000  # rows that the simpler densities are fitted to, at most
_ROWS_PER_PARAMETER = 5  # rows that a mixture needs for each of its parameters
_COMPONENTS = (2, 4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A simpler density, fitted to other rows and evaluated at the same rows.

    Attributes:
      name: "Gaussian" or "mixture".
      components: the number of components, chosen by the Bayesian information
        criterion; one number for each half of the rows if these were cross-fitted.
      log_prob, error: its mean log_prob and the standard error, in nats.
      difference, difference_error: the mean of the flow's log_prob minus its own, and
        the standard error of the paired difference; negative if the simpler density
        is better.
      p_value: p-value of a perfect flow, by the likelihood ratio. Against a perfect
        flow the chance that another density is better by log(1/p) nats in total is at
        most p.
    """

    name: str
    components: tuple[int, ...]
    log_prob: float
    error: float
    difference: float
    difference_error: float
    p_value: float


def comparisons_of(
    held_out: HeldOut, train: np.ndarray | None, keep: np.ndarray
) -> tuple[Comparison, ...]:
    """Returns the comparisons with a Gaussian and a mixture.

    For a conditional flow these are fitted to rows and contexts together, and their
    conditional densities are compared: a linear regression, and a mixture of such.

    Args:
      held_out: the rows and their flow.
      train: the rows to fit to, `(m, event_size + context_size)`. If None, the
        densities are fitted to each half of the rows and compared on the other half.
      keep: which rows to compare at, `(n,)` bool.

    Returns:
      Two comparisons, or none if there are fewer rows to fit to than a Gaussian needs.
    """
    x = held_out.x.astype(np.float64)[keep]
    if held_out.context is not None:
        x = np.append(x, held_out.context.astype(np.float64)[keep], axis=1)
    own = held_out.log_prob_of_x[keep]
    half = len(x) // 2
    if train is None:
        parts = [(x[half:], slice(half)), (x[:half], slice(half, None))]
    else:
        parts = [(train.astype(np.float64), slice(None))]
    size, width = held_out.x.shape[1], x.shape[1]
    if min(len(fitted) for fitted, _ in parts) < 2 * _ROWS_PER_PARAMETER * width:
        return ()
    found = []
    for name, candidates in (("Gaussian", (1,)), ("mixture", _COMPONENTS)):
        theirs, components = np.empty(len(x)), []
        for fitted, rows in parts:
            density = _Simple(fitted[:_FITTED], size, candidates)
            theirs[rows] = density.log_prob(x[rows])
            components.append(density.components)
        difference = own - theirs
        found.append(
            Comparison(
                name,
                tuple(components),
                *mean_and_error(theirs),
                *mean_and_error(difference),
                likelihood_ratio([difference[rows] for _, rows in parts]),
            )
        )
    return tuple(found)


def likelihood_ratio(differences: list[np.ndarray]) -> float:
    """Returns the p-value of rows coming from a density p, against densities q.

    If they do, the expectation of Π q(x)/p(x) is at most 1, so that the product
    exceeds 1/α with a chance of at most α.

    Args:
      differences: for each q, log p - log q at rows that q was not fitted to.

    Source: Wasserman, Ramdas and Balakrishnan (2020), "Universal inference", eq. 7, 8.
    """
    gains = [-float(np.sum(part)) for part in differences]
    return float(np.exp(min(0.0, np.log(len(gains)) - logsumexp(gains))))


class _Simple:
    """A Gaussian mixture, conditional on the last columns if these are contexts.

    Args:
      rows: the rows to fit to, `(m, width)`.
      size: the number of columns of the density; the columns after them are contexts.
      candidates: the numbers of components to choose from, increasing.
    """

    def __init__(
        self, rows: np.ndarray, size: int, candidates: tuple[int, ...]
    ) -> None:
        self._size = size
        self._location = rows.mean(axis=0)
        spread = rows.std(axis=0)
        self._scale = np.where(spread > 0, spread, 1.0)
        rows = (rows - self._location) / self._scale
        width = rows.shape[1]
        parameters = width + width * (width + 1) / 2 + 1  # of one component
        most = max(candidates[0], len(rows) / (_ROWS_PER_PARAMETER * parameters))
        best = np.inf
        for k in candidates:
            if k > most:
                break
            mixture = GaussianMixture(k, random_state=0, init_params="k-means++")
            with warnings.catch_warnings():
                warnings.simplefilter("ignore", ConvergenceWarning)
                mixture.fit(rows)
            criterion = mixture.bic(rows) if len(candidates) > 1 else 0.0
            if criterion >= best:
                break
            best, self._joint = criterion, mixture
        self.components = self._joint.n_components

    def log_prob(self, rows: np.ndarray) -> np.ndarray:
        rows = (rows - self._location) / self._scale
        result = self._joint.score_samples(rows)
        if self._size < rows.shape[1]:
            result -= self._contexts().score_samples(rows[:, self._size :])
        return result - np.log(self._scale[: self._size]).sum()

    def _contexts(self) -> GaussianMixture:
        """Returns the marginal mixture of the contexts."""
        joint, last = self._joint, slice(self._size, None)
        marginal = GaussianMixture(joint.n_components)
        marginal.weights_, marginal.means_ = joint.weights_, joint.means_[:, last]
        covariances = joint.covariances_[:, last, last]
        choleskys = np.linalg.cholesky(np.linalg.inv(covariances))
        marginal.covariances_, marginal.precisions_cholesky_ = covariances, choleskys
        return marginal
