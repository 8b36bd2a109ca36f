"""The three steps of a fit: which of them are taken, and what they hand on."""

import math
import time
import types

import numpy as np
import pytest

from tfp_flows.estimator import warm_fit as module
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.settings import Settings
from tfp_flows.estimator.warm_fit import warm_fit

SETTINGS = Settings(
    layers=2,
    hidden=(4,),
    bins=2,
    batch_size=20,
    learning_rate=0.01,
    validation_fraction=0.1,
    seed=0,
    verbose=0,
)


def points(n, d=1):
    return np.random.default_rng(0).normal(size=(n, d))


@pytest.fixture
def steps(monkeypatch):
    """Replaces the three steps by made-up ones, and returns what they were called with.

    The flow is worth training while `steps.is_worthwhile` is true.
    """
    steps = types.SimpleNamespace(is_worthwhile=True)

    def fit_mixtures(rows, seed, clock):
        steps.rows, steps.seconds = rows, clock.seconds
        return types.SimpleNamespace(starts="starts", alone="alone")

    def shared_flow(rows, components, settings, *, jit_compile):
        steps.components, steps.jit_compile = components, jit_compile
        return "flow"

    def measured(flow, clock):
        return types.SimpleNamespace(is_worthwhile=steps.is_worthwhile, flow=flow)

    def race(flow, starts, budget):
        steps.raced = (flow, starts, budget.flow)
        return "trained"

    def verdict(mixtures, trained, rows):
        return (mixtures.alone, trained, rows)

    monkeypatch.setattr(module, "fit_mixtures", fit_mixtures)
    monkeypatch.setattr(module, "SharedFlow", shared_flow)
    monkeypatch.setattr(module.Budget, "measured", measured)
    monkeypatch.setattr(module, "race", race)
    monkeypatch.setattr(module, "verdict", verdict)
    monkeypatch.setattr(module, "mixture_alone", lambda *args: args)
    return steps


def test_each_step_hands_on_to_the_next(steps):
    alone, trained, rows = warm_fit(points(600), None, SETTINGS, Clock(None))
    assert (alone, trained) == ("alone", "trained")
    assert rows is steps.rows and steps.raced == ("flow", "starts", "flow")
    sizes = [len(part) for part in (rows.validation, rows.selection, rows.train)]
    assert sizes == [60, 162, 378]
    assert sorted(rows.points[:, 0]) == sorted(points(600)[:, 0])
    assert steps.components == 20 and steps.jit_compile


@pytest.mark.parametrize(
    ("limit", "seconds", "jit_compile"),
    [(20.0, 5.0, False), (60.0, 15.0, True), (200.0, 30.0, True)],
)
def test_mixtures_get_a_share_of_the_time(steps, limit, seconds, jit_compile):
    warm_fit(points(600), None, SETTINGS, Clock(limit))
    assert steps.seconds == pytest.approx(seconds, rel=0.05)
    assert steps.jit_compile is jit_compile


def test_without_time_for_training_the_mixture_is_all(steps):
    steps.is_worthwhile = False
    start, rows = warm_fit(points(600), None, SETTINGS, Clock(None))
    assert start == "alone" and len(rows) == 540


@pytest.mark.parametrize(("n", "d"), [(499, 1), (799, 20)])
def test_few_rows_get_a_mixture_by_cross_validation(steps, monkeypatch, n, d):
    monkeypatch.setattr(module, "mixture_of_few", lambda z, seed, clock: len(z))
    found, tails = warm_fit(points(n, d), None, SETTINGS, Clock(None))
    assert found == n
    # Below 500 rows the tails are normal: no points choose them.
    assert (tails is None) == (n < 500)


def test_a_short_limit_gets_the_best_mixture(steps, monkeypatch):
    def sizes(z, held_out, seed, clock):
        return [
            types.SimpleNamespace(score=score, left=clock.left)
            for score in (1.0, 3.0, 2.0)
        ]

    monkeypatch.setattr(module, "mixtures_of_all_sizes", sizes)
    start, rows = warm_fit(points(600), None, SETTINGS, Clock(15.0))
    assert start.score == 3.0 and len(rows) == 540
    assert start.left == pytest.approx(0.7 * 15.0, rel=0.05)


def test_an_error_while_compiling_ends_the_mixtures(steps, monkeypatch):
    left = []

    def fit_mixtures(rows, seed, clock):
        while clock.left > 0:
            time.sleep(0.01)
        left.append(clock.left)

    def shared_flow(*args, **options):
        raise MemoryError("too wide")

    monkeypatch.setattr(module, "fit_mixtures", fit_mixtures)
    monkeypatch.setattr(module, "SharedFlow", shared_flow)
    with pytest.raises(MemoryError, match="too wide"):
        warm_fit(points(600), None, SETTINGS, Clock(None))
    assert left == [-math.inf]
