"""Rows against points drawn from the flow: columns, a classifier, and kernel means."""

import dataclasses

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.ensemble import HistGradientBoostingClassifier

from tfp_flows.diagnostics.held_out import Subject
from tfp_flows.diagnostics.p_values import holm

__all__ = [
    "Classifier",
    "Discrepancy",
    "Marginal",
    "classifier_of",
    "discrepancy_of",
    "marginals_of",
]

# Rows that a classifier is trained on and judged by; rows whose distances are compared.
_CLASSIFIED, _COMPARED = 10_000, 1_000
_FOLDS = 5
_PERMUTATIONS = 999
# Widths of the kernels, in medians of the distances.
_WIDTHS = (0.25, 0.5, 1.0)


@dataclasses.dataclass(frozen=True)
class Marginal:
    """One column of the data against the same column of the flow's points.

    Attributes:
      column: its name.
      distance: Kolmogorov and Smirnov's, between the two.
      data, flow: mean and standard deviation of the column.
      p_value: that both have one distribution.
      adjusted: the same by Holm's method among the columns.
    """

    column: str
    distance: float
    data: tuple[float, float]
    flow: tuple[float, float]
    p_value: float
    adjusted: float


@dataclasses.dataclass(frozen=True)
class Classifier:
    """How well boosted trees tell rows of the data from points of the flow.

    Attributes:
      auc: area under the ROC curve, the mean over four folds, each by trees that were
        trained on the folds before it: the chance that of a row and a point they know
        which is which; 1/2 for a perfect flow.
      low, high: 95% interval of `auc`.
      p_value: that the flow is perfect.
      n: rows, and as many points, that were used.
    """

    auc: float
    low: float
    high: float
    p_value: float
    n: int


@dataclasses.dataclass(frozen=True)
class Discrepancy:
    """Squared maximum mean discrepancy (MMD) between rows and points of the flow.

    Attributes:
      squared: its unbiased estimate, near 0 (and below it half of the time) for a
        perfect flow; at most 2.
      p_value: share of 999 exchanges of rows with points that have a larger one.
      n: rows, and as many points, that were used.
    """

    squared: float
    p_value: float
    n: int


def marginals_of(subject: Subject) -> tuple[Marginal, ...]:
    """Returns the comparison of each column."""
    x, drawn = (part.astype(np.float64) for part in (subject.x, subject.drawn))
    drawn = drawn[np.isfinite(drawn).all(axis=-1)]
    tests = [
        stats.ks_2samp(a, b, method="asymp") for a, b in zip(x.T, drawn.T, strict=True)
    ]
    adjusted = holm([test.pvalue for test in tests])
    return tuple(
        Marginal(
            name,
            float(test.statistic),
            (float(a.mean()), float(a.std())),
            (float(b.mean()), float(b.std())),
            float(test.pvalue),
            float(p),
        )
        for name, test, a, b, p in zip(
            subject.names, tests, x.T, drawn.T, adjusted, strict=True
        )
    )


def pairs_of(subject: Subject, most: int, *others: np.ndarray) -> list[np.ndarray]:
    """Returns rows and as many points of the flow, in units of the columns.

    For a conditional flow row i and point i have one context, which is appended to
    both: they can then be exchanged if the flow is right, and in no other way.

    Args:
      subject: the flow and its rows.
      most: pairs, at most.
      *others: `(m, event_size + context_size)`, brought to the same units.
    """
    n = min(len(subject.x), len(subject.drawn), most)
    sides = [part[:n].astype(np.float64) for part in (subject.x, subject.drawn)]
    if subject.context is not None:
        context = subject.context[:n].astype(np.float64)
        sides = [np.concatenate([side, context], axis=1) for side in sides]
    finite = np.isfinite(sides[1]).all(axis=-1)
    a, b = (side[finite] for side in sides)
    both = np.concatenate([a, b])
    # A scale that neither tails nor outliers set.
    location = np.median(both, axis=0)
    low, high = np.quantile(both, [0.1, 0.9], axis=0)
    scale = np.where(high > low, high - low, np.maximum(both.std(axis=0), 1e-12))
    return [(part - location) / scale for part in (a, b, *others)]


def classifier_of(subject: Subject) -> Classifier:
    """Returns the classifier two-sample test.

    Each fold is judged by trees that were trained on the folds before it. Where every
    fold trains the others, as is more usual, their AUCs go up and down together, and
    two or five times too many are taken for significant.

    Source: Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests"; the
    interval: DeLong, DeLong and Clarke-Pearson (1988).
    """
    a, b = pairs_of(subject, _CLASSIFIED)
    rng = subject.generator(2)
    folds = np.array_split(rng.permutation(len(a)), _FOLDS)
    aucs, variances, null_variances = [], [], []
    for k, fold in enumerate(folds[1:], 1):
        past = np.concatenate(folds[:k])
        trees = HistGradientBoostingClassifier(
            max_iter=60,
            max_leaf_nodes=8,
            early_stopping=False,
            random_state=int(rng.integers(2**31)),
        )
        trees.fit(
            np.concatenate([a[past], b[past]]), np.repeat([1, 0], [len(past)] * 2)
        )
        scores = [trees.decision_function(side[fold]) for side in (a, b)]
        auc, variance = _auc(*scores)
        aucs.append(auc)
        variances.append(variance)
        null_variances.append((2 * len(fold) + 1) / (12 * len(fold) ** 2))
    auc = float(np.mean(aucs))
    half = 1.96 * np.sqrt(np.sum(variances)) / len(aucs)
    deviation = np.sqrt(np.sum(null_variances)) / len(aucs)
    return Classifier(
        auc,
        float(max(auc - half, 0.0)),
        float(min(auc + half, 1.0)),
        float(stats.norm.sf((auc - 0.5) / deviation)),
        len(a),
    )


def _auc(a: np.ndarray, b: np.ndarray) -> tuple[float, float]:
    """Returns the chance that a's score is above b's, and its variance."""
    above, below = _places(a, b), _places(-b, -a)
    return above.mean(), above.var() / len(a) + below.var() / len(b)


def _places(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns for each of a the share of b below it, ties by half."""
    b = np.sort(b)
    sides = [np.searchsorted(b, a, side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / (2 * len(b))


def discrepancy_of(subject: Subject) -> Discrepancy:
    """Returns the MMD with the mean of three Gaussian kernels.

    Source: Gretton et al. (2012), "A kernel two-sample test", eq. 4; p by exchanging
    the two of each pair at random.
    """
    a, b = pairs_of(subject, _COMPARED)
    n = len(a)
    rng = subject.generator(3)
    squares = [cdist(*pair, "sqeuclidean") for pair in ((a, a), (b, b), (a, b))]
    # Of all points together: an exchange must not change the kernels.
    median = np.median([*squares, squares[2]]) or 1.0
    same, other, across = (
        sum(np.exp(-s / (2 * width**2 * median)) for width in _WIDTHS) / len(_WIDTHS)
        for s in squares
    )
    # An exchange of pair i changes the sign of row and column i, and no more.
    h = same + other - across - across.T
    np.fill_diagonal(h, 0.0)
    signs = rng.choice([-1.0, 1.0], size=(n, _PERMUTATIONS))
    exchanged = np.einsum("ib,ib->b", signs, h @ signs)
    observed = h.sum()
    larger = np.sum(exchanged >= observed * (1 - 1e-12))
    return Discrepancy(
        float(observed / (n * (n - 1))),
        float((1 + larger) / (1 + _PERMUTATIONS)),
        n,
    )
