"""Log-densities of circles and whole numbers, from one on the line.

A circle takes a sum over turns, a whole number an integral over a cell. A log-density
here is a function of points `(m, d)` and of the row numbers `(m,)` of the caller's data
that they belong to; it returns `(m,)`, float64. The row numbers let it find what else
depends on the row, such as a context.
"""

import warnings
from collections.abc import Callable, Iterator

import numpy as np
import tensorflow as tf

__all__ = ["LogDensity", "over_cells", "over_turns"]

LogDensity = Callable[[np.ndarray, np.ndarray], np.ndarray]

# The most points in memory at once.
_AT_ONCE = 2**16

# The sum goes on to further turns as long as one of them adds this share of it.
_LEAST_PART = 1e-6

# Farther turns than this are refused.
_MOST_TURNS = 1000

# The most turns on one side of the middle that are taken to be within the samples'
# range; farther ones are reached only through turns that count.
_MOST_TURNS_NEAR = 50

# All turns within the samples' range are summed if there are no more than this.
_ALL_TURNS = 81

# The most nodes of a rule for a cell.
_MOST_NODES = 2**13

# The most columns that are integrated by a tensor product of rules.
_TENSOR_AXES = 3


def over_turns(
    log_density: LogDensity, columns: np.ndarray, periods: np.ndarray, drawn: np.ndarray
) -> LogDensity:
    """Returns the log-density on circles of a log-density on the line.

    With P the periods, on all circular columns at once::

        p(θ) = Σ_{k ∈ ℤ^m} p_line(θ + k · P)

    The sum begins with the turn of each point nearest to the middle of the samples.
    Column by column it goes on to all turns within the samples' range, and from there
    outwards, in steps that double, until no term adds 1e-6 of the sum. The next column
    starts from the terms that add more, or from all terms if the samples' range is at
    most 81 turns in all columns together.

    Args:
      log_density: that on the line.
      columns: m indices of circular columns.
      periods: P, `(m,)`.
      drawn: samples of the density on the line, `(n, d)`.
    """
    middle = np.median(drawn[:, columns], axis=0)
    ends = np.stack([drawn[:, columns].min(0), drawn[:, columns].max(0)])
    reach = np.abs(np.round((ends - middle) / periods))
    reach = np.clip(reach, 1, _MOST_TURNS_NEAR).astype(int)
    turns_near = np.prod(1.0 + reach.sum(0))
    takes_all = turns_near <= _ALL_TURNS

    def wrapped(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        points = points.copy()
        turns = np.round((points[:, columns] - middle) / periods)
        points[:, columns] -= turns * periods
        terms = log_density(points, rows)
        total = terms.copy()
        of = np.arange(len(points))  # the point that each term belongs to
        for i, column in enumerate(columns):
            found = [(points, of, terms, np.ones(len(of), bool))]
            for sign, near in zip((-1, 1), reach[:, i], strict=True):
                step = np.zeros(points.shape[1])
                step[column] = sign * periods[i]
                found += _outwards(log_density, points, of, rows, step, near, total)
            points, of, terms, is_near = (
                np.concatenate(part) for part in zip(*found, strict=True)
            )
            counts = _count(terms, total[of]) | (takes_all & is_near)
            points, of, terms = points[counts], of[counts], terms[counts]
        return total

    return _in_blocks(wrapped, _AT_ONCE // int(min(turns_near, _ALL_TURNS)))


def _count(terms: np.ndarray, total: np.ndarray) -> np.ndarray:
    return terms > total + np.log(_LEAST_PART)


def _outwards(
    log_density: LogDensity,
    points: np.ndarray,
    of: np.ndarray,
    rows: np.ndarray,
    step: np.ndarray,
    near: int,
    total: np.ndarray,
) -> Iterator[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]]:
    """Adds the terms of the turns on one side to `total`, in place.

    The first `near` turns of all points come first, then twice as many for the points
    of which a term counted, and so on. Each time this yields the points, the points of
    the sum that they belong to, their log-terms, and whether they are near.
    """
    first, last = 1, near
    while len(points):
        if first > _MOST_TURNS:
            raise ValueError(
                f"The flow spreads over more than {_MOST_TURNS} turns of a circular "
                "column. Remedy: fit it to what `dequantize` returns, which is within "
                "two turns."
            )
        turns = np.arange(first, last + 1)
        moved = (points[:, np.newaxis] + turns[:, np.newaxis] * step).reshape(
            -1, points.shape[1]
        )
        to = np.repeat(of, len(turns))
        terms = log_density(moved, rows[to])
        np.logaddexp.at(total, to, terms)
        yield moved, to, terms, np.full(len(to), first == 1)
        counts = _count(terms, total[to]).reshape(-1, len(turns)).any(axis=1)
        points, of = points[counts], of[counts]
        first, last = last + 1, 2 * last


def over_cells(
    log_density: LogDensity, columns: np.ndarray, tolerance: float
) -> LogDensity:
    """Returns the log-mass of unit cells of a log-density.

    With n in the m whole-numbered columns and all others fixed::

        P(n) = ∫_{[0, 1]^m} p(n + u) du

    Up to three columns: tensor products of Gauss-Legendre rules of 4, 8, 16, … nodes
    in s, where u = s³ (10 - 15 s + 6 s²), which tames a density that is infinite at an
    end of its support. More columns: 128, 512, … points of a shifted and folded Sobol
    sequence. Each cell gets the first rule that agrees with the one before.

    Args:
      log_density: a density in those columns, too.
      columns: m indices of whole-numbered columns.
      tolerance: how closely rules must agree, in nats; for a log-mass beyond ±1000, a
        thousandth of this times the log-mass.

    Warns:
      UserWarning: the largest rule still differs by more.
    """

    def mass(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        result = np.full(len(points), np.nan)
        change = np.full(len(points), np.inf)
        open_ = np.arange(len(points))
        for nodes, log_weights in _rules(len(columns)):
            average = _in_blocks(
                _average(log_density, columns, nodes, log_weights),
                _AT_ONCE // len(nodes),
            )
            found = average(points[open_], rows[open_])
            before = result[open_]
            same = found == before  # two infinities have no difference
            with np.errstate(invalid="ignore"):
                change[open_] = np.where(same, 0.0, np.abs(found - before))
            result[open_] = found
            # A large log-density in float32 has no more digits.
            enough = tolerance * np.maximum(1.0, 1e-3 * np.abs(found))
            open_ = open_[~(change[open_] <= enough)]
            if not len(open_):
                return result
        warnings.warn(
            f"The mass of {len(open_)} of {len(points)} cells is not known to "
            f"{tolerance:g} nats: the two largest rules differ by up to "
            f"{change[open_].max():.2g}.",
            stacklevel=3,
        )
        return result

    return mass


def _average(
    log_density: LogDensity,
    columns: np.ndarray,
    nodes: np.ndarray,
    log_weights: np.ndarray,
) -> LogDensity:
    def average(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        moved = np.repeat(points, len(nodes), axis=0)
        moved[:, columns] += np.tile(nodes, (len(points), 1))
        terms = log_density(moved, np.repeat(rows, len(nodes)))
        terms = terms.reshape(len(points), len(nodes)) + log_weights
        return np.logaddexp.reduce(terms, axis=1)

    return average


def _rules(axes: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yields nodes `(n, axes)` in the unit cube and their log-weights, n growing."""
    if axes <= _TENSOR_AXES:
        order = 4
        while order**axes <= _MOST_NODES and order <= 2**9:
            nodes, weights = np.polynomial.legendre.leggauss(order)
            s, weights = (nodes + 1) / 2, weights / 2
            nodes = s**3 * (10 - 15 * s + 6 * s**2)
            log_weights = np.log(weights * 30 * (s * (1 - s)) ** 2)
            grid = np.meshgrid(*[nodes] * axes, indexing="ij")
            products = np.meshgrid(*[log_weights] * axes, indexing="ij")
            yield np.stack(grid, -1).reshape(-1, axes), np.sum(products, 0).ravel()
            order *= 2
        return
    shift = np.random.default_rng(0).uniform(size=axes)
    for count in (2**7, 2**9, 2**11, _MOST_NODES):
        nodes = tf.math.sobol_sample(axes, count, dtype=tf.float64).numpy()
        # Folded, the nodes see a periodic density: a third of the error.
        nodes = 1.0 - np.abs(2.0 * ((nodes + shift) % 1.0) - 1.0)
        yield nodes, np.full(count, -np.log(count))


def _in_blocks(function: LogDensity, size: int) -> LogDensity:
    """Returns `function`, called with at most `size` points at once."""
    size = max(1, size)

    def blocks(points: np.ndarray, rows: np.ndarray) -> np.ndarray:
        found = [
            function(points[i : i + size], rows[i : i + size])
            for i in range(0, len(points), size)
        ]
        return np.concatenate(found) if found else np.empty(0)

    return blocks
