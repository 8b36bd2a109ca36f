"""The mixtures that `FlowDensity` fits: how many, in the time that there is."""

import math
import threading
import types

import numpy as np
import pytest

from tfp_flows.estimator import mixtures as starts
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.rows import Rows

SIZES = [1, 2, 3, 5, 8, 12, 20, 30, 40, 60, 80]


class Watch:
    """A clock that only moves when a test moves it."""

    def __init__(self, seconds):
        self.seconds, self.spent = seconds, 0.0

    @property
    def left(self):
        return self.seconds - self.spent


def tried(monkeypatch, seconds, rows=20_000, d=2):
    """Returns the sizes that are tried when a component takes a second.

    Mixtures are the better, the more components they have.
    """
    watch, sizes = Watch(seconds), []
    z = np.zeros((rows, d))

    def fitted(z, components, seed, least_variance, clock):
        watch.spent += components * (components > 1)
        sizes.append(components)
        mixture = types.SimpleNamespace(
            score_samples=lambda x: np.full(len(x), float(components))
        )
        return mixture, components / starts._USUAL_ITERATIONS

    monkeypatch.setattr(starts, "_fitted", fitted)
    found = starts.mixtures_of_all_sizes(z, z[:100], 0, watch)
    scores = [start.score for start in found]
    assert scores == pytest.approx(sorted(sizes), abs=0.01)
    return sizes


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        (math.inf, SIZES),
        (300.0, SIZES),
        # There is no time for all 261 components: fits beyond the quick ones try every
        # other size, and the last one has about a third of the best one's components.
        (195.0, [1, 2, 3, 5, 8, 20, 40, 80, 30]),
        (90.0, [1, 2, 3, 80]),
        (60.0, [1, 2, 8, 40]),
        (40.0, [1, 2, 5, 30]),
        (1.0, [1, 2]),
        (0.0, [1]),
    ],
)
def test_sizes_are_left_out_where_time_is_short(monkeypatch, seconds, sizes):
    assert tried(monkeypatch, seconds) == sizes


def test_few_rows_allow_few_components(monkeypatch):
    # A component of 10 columns has 66 parameters, with 10 rows for each; up to 20
    # components are tried if each has 50 rows, which distant clusters need.
    assert starts.most_components(20_000, 10, math.inf) == 30
    assert starts.most_components(6_000, 10, math.inf) == 20
    assert tried(monkeypatch, math.inf, rows=600, d=10) == [1, 2, 3, 5, 8, 12]
    # Wide rows carry more information: 2,080 parameters, 100 / 63 rows for each. A long
    # time limit allows more rows to be used.
    assert starts.most_components(1_000_000, 63, 60.0) == 20
    assert starts.most_components(1_000_000, 63, 300.0) == 60


def test_iterations_end_with_the_time():
    z = np.random.default_rng(0).normal(size=(2_000, 2))
    with starts.quiet():
        hurried = starts._fitted(z, 8, 0, 1e-6, Clock(0.0))[0]
        patient = starts._fitted(z, 8, 0, 1e-6)[0]
    assert hurried.n_iter_ == starts._ITERATIONS_AT_ONCE and not hurried.converged_
    assert patient.lower_bound_ > hurried.lower_bound_


def test_a_start_is_refitted_to_more_rows():
    rng = np.random.default_rng(0)
    z = np.concatenate([rng.normal(size=(100, 1)), rng.normal(3.0, 1, (1_900, 1))])
    held_out = rng.normal(3.0, 1, (500, 1))
    with starts.quiet():
        mixture = starts._fitted(z[:100], 1, 0, 1e-6)[0]
        start = starts.Start.scored(mixture, held_out)
        again = starts.refitted(start, z, held_out, Clock(None))
    assert again.mixture.means_[0] == pytest.approx(z.mean(axis=0))
    assert again.score == starts.scores_of(again.mixture, held_out).mean()
    assert again.score > start.score + 1
    assert start.mixture.means_[0] == pytest.approx(z[:100].mean(axis=0))  # unchanged


def test_a_start_stays_where_refitting_makes_it_worse():
    rng = np.random.default_rng(0)
    z, held_out = rng.normal(size=(400, 2)), rng.normal(size=(400, 2))
    with starts.quiet():
        start = starts.Start.scored(starts._fitted(z, 1, 0, 1e-6)[0], held_out)
        far = np.concatenate([z, [[1e6, 0.0]]])
        again = starts.refitted(start, far, held_out, Clock(None))
    assert again.score == start.score


def test_a_far_point_does_not_decide():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(500, 2))
    with starts.quiet():
        narrow = starts._fitted(z, 1, 0, 1e-6)[0]
        wide = starts._fitted(100.0 * z, 1, 0, 1e-6)[0]
    points = np.concatenate([z, [[1e6, 1e6]]])
    assert narrow.score(points) < wide.score(points)
    narrow, wide = (starts.scores_of(mixture, points) for mixture in (narrow, wide))
    assert narrow.mean() > wide.mean() + 5


def test_a_cancelled_clock_has_nothing_left():
    cancelled = threading.Event()
    clock = Clock(None, cancelled)
    assert clock.left == math.inf
    cancelled.set()
    assert clock.left == -math.inf


def test_the_first_step_hands_on_starts_up_to_the_best_one():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(900, 1)) + rng.choice([-6.0, 6.0], size=(900, 1))
    rows = Rows(z, 100, 700)
    with starts.quiet():
        found = starts.fit_mixtures(rows, 0, Clock(None))
    counts = [start.components for start in found.starts]
    assert counts == SIZES[: len(counts)] and counts[-1] >= 2
    assert found.best.score == max(start.score for start in found.starts)
    # It is fitted to many more rows in the end.
    assert found.alone.score == pytest.approx(
        starts.scores_of(found.alone.mixture, rows.validation).mean()
    )
    best = starts.scores_of(found.best.mixture, rows.validation).mean()
    assert found.alone.score > best
