"""How the steps of a fit are planned, by counts alone."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

import tfp_flows as tfpf
from tfp_flows.data import arguments
from tfp_flows.training import plan as plan_module
from tfp_flows.training.plan import Settings, make_plan

X = np.random.default_rng(0).normal(size=(400, 2)).astype("float32")


@pytest.fixture(scope="module")
def flow():
    flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
    flow.compile("adam")
    return flow


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(plan_module, "parts_of", lambda rows: 4)


def planned(flow, x=X, settings=None, **options):
    defaults = {
        "batch_size": None,
        "epochs": 1,
        "steps_per_epoch": None,
        "callbacks": [],
        "is_replicated": False,
        "has_own_step": False,
        "is_compiled_by_xla": False,
    }
    points = arguments.checked(x, flow._form)
    return make_plan(flow, settings or Settings(), points, **{**defaults, **options})


def test_rows_in_memory_fill_up_batches_of_equal_parts(flow):
    plan = planned(flow, batch_size=130)
    assert plan.rows_in_memory and plan.fills_up
    assert (plan.batch_size, plan.parts, plan.width) == (130, 4, 132)
    assert plan.steps_per_epoch == plan.steps_per_call == 4
    assert plan.device == "CPU:0" and not plan.jit_compile
    assert plan.has_weighted_rows(400)
    assert not planned(flow, batch_size=100).has_weighted_rows(400)
    assert planned(flow, batch_size=100).has_weighted_rows(399)
    whole = plan.with_whole_batches()
    assert (whole.parts, whole.fills_up, whole.width) == (1, False, None)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.parts = 1


def test_32_rows_are_the_default(flow):
    assert planned(flow).batch_size == 32
    assert planned(flow).steps_per_epoch == 13


@pytest.mark.parametrize(("steps", "rows", "at_once"), [(12, 34, 12), (130, 4, 26)])
def test_the_users_steps_are_read_by_keras(flow, steps, rows, at_once):
    plan = planned(flow, steps_per_epoch=steps)
    assert not plan.rows_in_memory and not plan.fills_up and plan.parts == 1
    assert plan.batch_size == rows and plan.steps_per_epoch == steps
    assert plan.steps_per_call == at_once  # divides the epoch


def test_a_step_of_ones_own_gets_its_batches_from_keras(flow):
    assert not planned(flow, has_own_step=True).rows_in_memory


def test_datasets_are_cut_where_all_batches_have_one_size(flow):
    dataset = tf.data.Dataset.from_tensor_slices(X)
    plan = planned(flow, dataset.batch(128, drop_remainder=True))
    assert (plan.batch_size, plan.parts, plan.width) == (128, 4, 128)
    assert (plan.steps_per_epoch, plan.steps_per_call) == (3, 3)
    assert not plan.rows_in_memory and not plan.fills_up
    assert planned(flow, dataset.batch(126, drop_remainder=True)).parts == 1
    plan = planned(flow, dataset.batch(128))
    assert (plan.batch_size, plan.parts, plan.steps_per_epoch) == (None, 1, 4)
    endless = planned(flow, dataset.batch(128).repeat())
    assert (endless.steps_per_epoch, endless.steps_per_call) == (None, 64)


def test_what_compile_was_asked_for_is_kept(flow):
    plan = planned(flow, settings=Settings(3, True))
    assert (plan.steps_per_call, plan.jit_compile) == (3, True)


def test_xla_is_chosen_by_the_count_of_operations(flow, monkeypatch):
    step = 6 * sum(int(np.prod(w.shape)) for w in flow.trainable_weights) * 40
    monkeypatch.setattr(plan_module, "_STEP_OPERATIONS_FOR_XLA", step - 1)
    monkeypatch.setattr(plan_module, "_FIT_OPERATIONS_FOR_XLA", 20 * step)
    assert not planned(flow, batch_size=40, epochs=2).jit_compile
    long = planned(flow, batch_size=40, epochs=3)
    assert long.jit_compile
    assert not planned(flow, batch_size=40, epochs=3, is_replicated=True).jit_compile
    forbidden = planned(flow, batch_size=40, epochs=3, settings=Settings(None, False))
    assert not forbidden.jit_compile
    assert planned(flow, batch_size=40, is_compiled_by_xla=True).jit_compile
    monkeypatch.setattr(plan_module, "_STEP_OPERATIONS_FOR_XLA", step)
    assert not planned(flow, batch_size=40, epochs=3).jit_compile


def test_replicas_take_whole_batches(flow):
    plan = planned(flow, is_replicated=True)
    assert plan.rows_in_memory and plan.parts == 1 and plan.steps_per_call == 13
    dataset = tf.data.Dataset.from_tensor_slices(X).batch(100, drop_remainder=True)
    plan = planned(flow, dataset, is_replicated=True)
    assert (plan.parts, plan.steps_per_call) == (1, 1)
