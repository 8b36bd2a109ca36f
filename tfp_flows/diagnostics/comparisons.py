"""The flow's log-density beside that of simpler ones: a Gaussian and a mixture."""

import dataclasses
import warnings

import numpy as np
from scipy.special import logsumexp
from sklearn.exceptions import ConvergenceWarning
from sklearn.mixture import GaussianMixture

from tfp_flows._core.statistics import mean_and_error
from tfp_flows.diagnostics.held_out import Subject

__all__ = ["Comparison", "comparisons_of", "likelihood_ratio"]

# Rows that simpler densities are fitted to; rows for each number of theirs.
_FITTED, _ROWS_PER_NUMBER = 5_000, 5
_COMPONENTS = (2, 4, 8, 16)


@dataclasses.dataclass(frozen=True)
class Comparison:
    """A simpler density at the same rows, fitted to others.

    Attributes:
      name: "Gaussian" or "mixture".
      components: of the mixture, chosen by the Bayesian information criterion; for
        cross-fitted ones those of both halves.
      log_prob, error: its mean log_prob and the standard error, in nats.
      difference, difference_error: the flow's minus its own, paired by rows; negative
        where the simpler one is better.
      p_value: that the flow is perfect, by the likelihood ratio: no other density is
        then better by log(1/p) nats, over all rows, with a chance of more than p.
    """

    name: str
    components: tuple[int, ...]
    log_prob: float
    error: float
    difference: float
    difference_error: float
    p_value: float


def comparisons_of(
    subject: Subject, train: np.ndarray | None, keep: np.ndarray
) -> tuple[Comparison, ...]:
    """Returns the comparisons with a Gaussian and a mixture.

    Of a conditional flow with the conditional densities of a Gaussian and a mixture of
    rows and contexts together: a linear regression, and a mixture of such.

    Args:
      subject: the flow and its rows.
      train: `(m, event_size + context_size)`, to fit to; when None each half of the
        rows is compared with what was fitted to the other.
      keep: rows to compare at.

    Returns:
      Two comparisons; none where there are fewer rows to fit to than a Gaussian needs.
    """
    x = subject.x.astype(np.float64)[keep]
    if subject.context is not None:
        x = np.append(x, subject.context.astype(np.float64)[keep], axis=1)
    own = subject.of_flow[keep]
    half = len(x) // 2
    if train is None:
        parts = [(x[half:], slice(half)), (x[:half], slice(half, None))]
    else:
        parts = [(train.astype(np.float64), slice(None))]
    size, width = subject.x.shape[1], x.shape[1]
    if min(len(fitted) for fitted, _ in parts) < 2 * _ROWS_PER_NUMBER * width:
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
    """Returns a p-value that rows come from a density p, by rivals q fitted to others.

    If they do, the mean of Π q(x)/p(x) is at most 1, so that it exceeds 1/α with a
    chance of at most α.

    Args:
      differences: log p - log q at the rows that each rival was not fitted to.

    Source: Wasserman, Ramdas and Balakrishnan (2020), "Universal inference", eq. 7, 8.
    """
    gains = [-float(np.sum(part)) for part in differences]
    return float(np.exp(min(0.0, np.log(len(gains)) - logsumexp(gains))))


class _Simple:
    """A Gaussian mixture of rows, given their last columns where these are contexts.

    Args:
      rows: `(m, width)`.
      size: number of columns that the density is over; the others are given.
      candidates: numbers of components, increasing.
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
        numbers = width + width * (width + 1) / 2 + 1  # of a component
        most = max(candidates[0], len(rows) / (_ROWS_PER_NUMBER * numbers))
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
            result -= self._given().score_samples(rows[:, self._size :])
        return result - np.log(self._scale[: self._size]).sum()

    def _given(self) -> GaussianMixture:
        """Returns the same mixture of the last columns alone."""
        joint, last = self._joint, slice(self._size, None)
        marginal = GaussianMixture(joint.n_components)
        marginal.weights_, marginal.means_ = joint.weights_, joint.means_[:, last]
        covariances = joint.covariances_[:, last, last]
        choleskys = np.linalg.cholesky(np.linalg.inv(covariances))
        marginal.covariances_, marginal.precisions_cholesky_ = covariances, choleskys
        return marginal
