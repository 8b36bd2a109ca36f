"""The race of starts, on a flow whose training a test makes up, and the real one."""

import math
import types

import numpy as np
import pytest
import scipy.stats
import tensorflow as tf

from tfp_flows.estimator import race as races
from tfp_flows.estimator import shared_flow
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.mixtures import Start
from tfp_flows.estimator.race import Budget, race
from tfp_flows.estimator.rows import Rows
from tfp_flows.estimator.settings import Settings
from tfp_flows.estimator.shared_flow import SharedFlow
from tfp_flows.flow import Flow

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


def start(components, score):
    return Start(types.SimpleNamespace(weights_=np.ones(components)), score)


class MadeUpFlow:
    """A flow whose state says from where and with which options it was trained.

    Args:
      gains: components of a start to the scores of the selection rows after a round.
      validation: other scores, one after the other; the last one repeats.
      validation_size: number of validation rows.
    """

    def __init__(self, gains=None, validation=(0.0,), validation_size=12):
        points = np.zeros((validation_size + 40, 1))
        self.rows = Rows(points, validation_size, 10)
        self.settings = SETTINGS
        self.calls = []
        self._gains = gains or {}
        self._validation = list(validation)

    def state_of(self, start):
        return (start.components, "mixture")

    def train(self, state, **options):
        self.calls.append((state, options))
        return (state[0], len(self.calls)), {"val_loss": [3.0, 1.0, 2.0]}

    def scores(self, state, points):
        if len(points) == len(self.rows.selection) and state[0] in self._gains:
            return self._gains[state[0]]
        value = self._validation[0]
        self._validation = self._validation[1:] or [value]
        return np.full(len(points), value)

    def parts(self, state, components):
        return [state], components


def raced(flow, starts, steps=1000.0, clock=None, least_seconds=0.0):
    budget = Budget(clock or Clock(None), steps, 1.0, least_seconds)
    return race(flow, starts, budget)


def scores(mean, spread=0.0):
    return mean + spread * np.tile([-1.0, 1.0], 5)


def test_the_fewest_components_within_a_standard_error_win():
    # Standard errors are about 0.3: the second is near the best, the first is not.
    gains = {1: scores(0.0), 2: scores(4.9, 1.0), 3: scores(5.0), 5: scores(3.0)}
    flow = MadeUpFlow(gains)
    trained = raced(flow, [start(k, -k) for k in gains])
    assert trained.base == 2


def test_the_best_three_of_the_first_round_go_on():
    gains = {k: scores(float(k)) for k in (1, 2, 3, 5, 8)}
    flow = MadeUpFlow(gains)
    trained = raced(flow, [start(k, 0.0) for k in gains])
    first, second = flow.calls[:5], flow.calls[5:8]
    assert [state[0] for state, _ in second] == [8, 5, 3]
    # A fifth of all steps for five entrants, 0.35 of them for three.
    assert {options["steps"] for _, options in first} == {40.0}
    steps = [options["steps"] for _, options in second]
    assert steps == pytest.approx([1000 * 0.35 / 3] * 3)
    assert all(options["alpha"] == 1.0 for _, options in first + second)
    assert trained.base == 8


def test_an_entrant_whose_scores_are_not_finite_loses():
    gains = {1: scores(-9.0), 2: scores(math.nan)}
    flow = MadeUpFlow(gains)
    assert raced(flow, [start(k, 0.0) for k in gains]).base == 1


def test_without_time_the_best_mixture_is_trained_alone():
    flow = MadeUpFlow()
    trained = raced(
        flow, [start(1, -2.0), start(2, -1.0), start(3, -3.0)], math.inf, Clock(60), 9.0
    )
    assert trained.base == 2
    assert flow.calls[0][1]["warm_up"] == races._WARM_UP
    assert [state[0] for state, _ in flow.calls] == [2, 2]
    assert all("alpha" not in options for _, options in flow.calls)


def test_few_validation_rows_repeat_the_training_with_the_selection_rows():
    flow = MadeUpFlow(validation=(1.0, 1.5, 1.5))
    trained = raced(flow, [start(2, 0.0)])
    (state, first), (again, second) = flow.calls
    assert state == again == (2, "mixture")  # both from the same state
    assert not first.get("with_selection") and second["with_selection"]
    assert second["least_epochs"] == 2  # the second of three losses is the least
    # 30 rows and 40 rows: as many passes over each.
    assert first["steps"] == pytest.approx(1000 * 3 / 7)
    assert second["steps"] == pytest.approx(1000 * 4 / 7)
    assert trained.bijectors == [(2, 2)]  # the state after the second
    assert trained.held_out_scores.tolist() == [1.0] * 22


def test_the_first_part_is_kept_where_the_second_is_worse():
    flow = MadeUpFlow(validation=(1.0, 0.5, 1.0))
    trained = raced(flow, [start(2, 0.0)])
    assert trained.bijectors == [(2, 1)]


def test_many_validation_rows_need_one_training():
    flow = MadeUpFlow(validation=(1.0,), validation_size=races._ENOUGH_VALIDATION)
    trained = raced(flow, [start(2, 0.0)])
    ((_, options),) = flow.calls
    assert options["with_selection"] and options["steps"] == 1000
    assert trained.held_out_scores is None
    assert (trained.validation_scores == 1.0).all()


def test_a_budget_keeps_time_back():
    budget = Budget(Clock(10.0), math.inf, seconds_after=4.0, least_seconds=2.9)
    assert budget.seconds == pytest.approx(6.0, abs=0.1)
    assert budget.is_worthwhile
    assert not Budget(Clock(10.0), math.inf, 4.0, 3.1).is_worthwhile


def test_only_the_rows_after_the_first_are_drawn():
    points = tf.range(10.0)[:, tf.newaxis]
    batches = shared_flow._batches(points, 4, 3, seed=0)
    passes = np.concatenate(list(batches.take(4).as_numpy_iterator())).reshape(2, 6)
    np.testing.assert_array_equal(np.sort(passes), [range(4, 10)] * 2)
    assert (passes[0] != passes[1]).any()


def test_states_of_a_shared_flow_are_values():
    rng = np.random.default_rng(0)
    rows = Rows(rng.normal(3.0, 1.0, size=(100, 1)), 10, 30)
    flow = SharedFlow(rows, 2, SETTINGS, jit_compile=False)
    before = flow.scores(flow.initial, rows.validation)
    student = scipy.stats.t(16).logpdf(rows.validation[:, 0])
    np.testing.assert_allclose(before, student, rtol=1e-4)
    found = types.SimpleNamespace(
        weights_=np.ones(1),
        means_=np.full((1, 1), 3.0),
        precisions_cholesky_=np.ones((1, 1, 1)),
    )
    at_start = flow.state_of(Start(found, 0.0))
    better = flow.scores(at_start, rows.validation)
    assert better.mean() > before.mean() + 2
    trained, history = flow.train(at_start, steps=1, seconds=math.inf)
    assert len(history["val_loss"]) == 1
    assert any((a != b).any() for a, b in zip(trained, at_start, strict=True))
    # Training left the other states as they were.
    np.testing.assert_array_equal(flow.scores(at_start, rows.validation), better)
    np.testing.assert_array_equal(flow.scores(flow.initial, rows.validation), before)
    bijectors, base = flow.parts(at_start, 1)
    assert base.parameters["components"] == 1 and len(bijectors) == 1
    np.testing.assert_allclose(base.means, [[3.0]], atol=1e-6)


def test_each_coupling_has_weights_that_decay():
    flow = Flow(shared_flow._bijectors(3, SETTINGS))
    paths = [weight.path for weight in flow.trainable_variables]
    heads = [path for path in paths if shared_flow._HEAD in path]
    assert len(heads) == 2 * SETTINGS.layers  # a matrix and a bias each
    assert len(heads) < len(paths)
