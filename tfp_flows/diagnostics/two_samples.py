"""Rows compared with the flow's points: columns, a classifier, and kernel means."""

import dataclasses

import numpy as np
from scipy import stats
from scipy.spatial.distance import cdist
from sklearn.ensemble import HistGradientBoostingClassifier

from tfp_flows.diagnostics.held_out import HeldOut
from tfp_flows.diagnostics.p_values import holm

__all__ = [
    "Classifier",
    "Discrepancy",
    "Marginal",
    "classifier_of",
    "discrepancy_of",
    "marginals_of",
]

_CLASSIFIED, _FOLDS = 10_000, 5  # rows and folds of the classifier
_COMPARED, _PERMUTATIONS = 1_000, 999  # rows and permutations of the kernel means
_WIDTHS = (0.25, 0.5, 1.0)  # widths of the kernels, in medians of the distances


@dataclasses.dataclass(frozen=True)
class Marginal:
    """One column of the data compared with the same column of the flow's points.

    Attributes:
      column: the name of the column.
      distance: the Kolmogorov-Smirnov distance between the two, in [0, 1].
      data, flow: the mean and standard deviation of the column in both.
      p_value: p-value of both having the same distribution.
      adjusted: `p_value`, adjusted by Holm's method among the columns.
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
      auc: the area under the ROC curve, the mean over four folds, each scored by trees
        that were trained on the folds before it. It is the chance that the trees tell
        a row from a point of the flow: 1/2 for a perfect flow.
      low, high: the 95% interval of `auc`.
      p_value: p-value of a perfect flow.
      n: the number of rows, and of points, that were used.
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
      squared: its unbiased estimate, at most 2. For a perfect flow it is near 0, and
        negative half of the time.
      p_value: the share of random exchanges of rows with points, of 999, whose
        estimate is at least as large.
      n: the number of rows, and of points, that were used.
    """

    squared: float
    p_value: float
    n: int


def marginals_of(held_out: HeldOut) -> tuple[Marginal, ...]:
    """Returns the Marginal of each column."""
    x, drawn = (part.astype(np.float64) for part in (held_out.x, held_out.drawn))
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
            held_out.names, tests, x.T, drawn.T, adjusted, strict=True
        )
    )


def pairs_of(held_out: HeldOut, most: int, *others: np.ndarray) -> list[np.ndarray]:
    """Returns rows and as many points of the flow, each column scaled.

    For a conditional flow, row i and point i have the same context, which is appended
    to both. If the flow is right, the two of each pair can be exchanged, and only
    these.

    Args:
      held_out: the rows and their flow.
      most: the largest number of pairs.
      *others: arrays `(m, event_size + context_size)` that are scaled alike.
    """
    n = min(len(held_out.x), len(held_out.drawn), most)
    sides = [part[:n].astype(np.float64) for part in (held_out.x, held_out.drawn)]
    if held_out.context is not None:
        context = held_out.context[:n].astype(np.float64)
        sides = [np.concatenate([side, context], axis=1) for side in sides]
    finite = np.isfinite(sides[1]).all(axis=-1)
    a, b = (side[finite] for side in sides)
    both = np.concatenate([a, b])
    # The middle 80% sets the scale, so that neither tails nor outliers do.
    location = np.median(both, axis=0)
    low, high = np.quantile(both, [0.1, 0.9], axis=0)
    scale = np.where(high > low, high - low, np.maximum(both.std(axis=0), 1e-12))
    return [(part - location) / scale for part in (a, b, *others)]


def classifier_of(held_out: HeldOut) -> Classifier:
    """Returns the classifier two-sample test.

    Each fold is scored by trees that were trained on the folds before it. In ordinary
    cross-validation every fold trains the trees of the others; their AUCs are then
    correlated, and two to five times too many are significant.

    Source: Lopez-Paz and Oquab (2017), "Revisiting classifier two-sample tests"; the
    interval: DeLong, DeLong and Clarke-Pearson (1988).
    """
    a, b = pairs_of(held_out, _CLASSIFIED)
    rng = held_out.generator(2)
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
    """Returns the chance that a score of a exceeds one of b, and its variance."""
    above, below = _places(a, b), _places(-b, -a)
    return above.mean(), above.var() / len(a) + below.var() / len(b)


def _places(a: np.ndarray, b: np.ndarray) -> np.ndarray:
    """Returns the share of b below each entry of a; ties count half."""
    b = np.sort(b)
    sides = [np.searchsorted(b, a, side) for side in ("left", "right")]
    return (sides[0] + sides[1]) / (2 * len(b))


def discrepancy_of(held_out: HeldOut) -> Discrepancy:
    """Returns the MMD for the mean of three Gaussian kernels.

    The p-value comes from exchanging the two of each pair at random.

    Source: Gretton et al. (2012), "A kernel two-sample test", eq. 4.
    """
    a, b = pairs_of(held_out, _COMPARED)
    n = len(a)
    rng = held_out.generator(3)
    squares = [cdist(*pair, "sqeuclidean") for pair in ((a, a), (b, b), (a, b))]
    # The median over all points together does not change when pairs are exchanged.
    median = np.median([*squares, squares[2]]) or 1.0
    same, other, across = (
        sum(np.exp(-s / (2 * width**2 * median)) for width in _WIDTHS) / len(_WIDTHS)
        for s in squares
    )
    # Exchanging pair i only changes the sign of row i and of column i.
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
