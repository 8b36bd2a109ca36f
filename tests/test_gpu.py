"""On a GPU: every bijector, fits equal to a CPU's, and nothing left behind.

All of it is skipped where TensorFlow sees no GPU. Matrix products are those of float32
here, not of TF32, where nothing else is said: else a GPU and a CPU differ by what TF32
rounds, about 1e-3 of a number.
"""

import json
import subprocess
import sys

import keras
import numpy as np
import placement
import pytest
import tensorflow as tf
from zoo import CONTRACT

import tfp_flows as tfpf
from tfp_flows.testing import check_bijector

pytestmark = pytest.mark.gpu

# How far a fit of 30 steps may be from the CPU's, in nats: the loss of each epoch, and
# log_prob at any of 200 points.
LOSS, LOG_PROB = 2e-3, 2e-2


@pytest.fixture(autouse=True)
def gpu():
    if not tf.config.list_logical_devices("GPU"):
        pytest.skip("no GPU: TensorFlow sees none here, see docs/gpu.md")
    before = tf.config.experimental.tensor_float_32_execution_enabled()
    tf.config.experimental.enable_tensor_float_32_execution(False)
    yield
    tf.config.experimental.enable_tensor_float_32_execution(before)


def points(n=640, seed=0):
    return tfpf.densities.make("two_moons").sample(n, seed=seed).astype("float32")


def places(tensors):
    return {tensor.device.partition("device:")[2] for tensor in tensors}


@pytest.mark.parametrize("case", CONTRACT)
def test_contract(case):
    _, factory, x = CONTRACT[case]
    passed = check_bijector(factory, x)
    assert {"round_trip", "forward_log_det", "xla", "weights_used"} <= {*passed}
    bijector = factory()
    y = bijector.forward(x.astype("float32"))
    assert places([y, *bijector.trainable_variables]) == {"GPU:0"}


@pytest.mark.parametrize("jit_compile", [False, True])
@pytest.mark.parametrize("name", ["real_nvp", "neural_spline", "maf"])
def test_a_fit_is_that_of_a_cpu(name, jit_compile):
    losses, log_probs, weights = [], [], None
    for device in ("CPU:0", "GPU:0"):
        with tf.device(device):
            flow = getattr(tfpf.recipes, name)(2, layers=2, hidden=(16,), seed=0)
        flow.adapt(points())
        weights = weights or flow.get_weights()
        flow.set_weights(weights)
        flow.compile("adam", jit_compile=jit_compile)
        keras.utils.set_random_seed(0)
        told = flow.fit(points(), batch_size=64, epochs=3, verbose=0)
        losses.append(told.history["loss"])
        log_probs.append(flow.log_prob(points(200, seed=1)).numpy())
        assert places(weight.value for weight in flow.weights) == {device}
    assert losses[0][-1] < losses[0][0]
    np.testing.assert_allclose(*losses, atol=LOSS)
    np.testing.assert_allclose(*log_probs, atol=LOG_PROB)


def test_samples_of_a_seed_are_those_of_a_cpu():
    drawn = []
    for device in ("CPU:0", "GPU:0"):
        with tf.device(device):
            flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(16,), seed=0)
        drawn.append(flow.sample(100, seed=0).numpy())
    np.testing.assert_allclose(*drawn, atol=1e-4)


@pytest.mark.parametrize("way", ["rows", "dataset"])
def test_a_fit_leaves_nothing_on_the_cpu(way):
    flow = tfpf.recipes.neural_spline(2, layers=2, hidden=(16,), seed=0)
    flow.compile("adam")
    x = points() if way == "rows" else tf.data.Dataset.from_tensors(points())
    size = {"batch_size": 64} if way == "rows" else {}
    flow.adapt(points())
    graphs = placement.graphs_of(lambda: flow.fit(x, epochs=2, verbose=0, **size))
    assert not placement.strays(placement.training_step(graphs), "GPU:0")
    packing, guard = flow.optimizer.packing, flow._trainer.guard
    kept = [w.value for w in (*flow.weights, *flow.optimizer.variables)]
    kept += [packing._momentum, packing._velocity, packing._move]
    kept += [guard._skipped, guard._in_a_row, *guard._batch.values()]
    assert places(kept) == {"GPU:0"}


def test_a_flow_made_for_the_cpu_stays_there():
    with tf.device("CPU:0"):
        flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(16,), seed=0)
    flow.compile("adam")
    graphs = placement.graphs_of(lambda: flow.fit(points(), batch_size=64, verbose=0))
    assert not placement.strays(placement.training_step(graphs), "CPU:0")
    results = [flow.log_prob(points()), flow.sample(10, seed=0)]
    assert places([*results, *(w.value for w in flow.weights)]) == {"CPU:0"}


def test_steps_that_are_not_finite_are_left_out():
    x = points(320)
    x[7, 1] = 1e30
    flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(16,), seed=0)
    flow.adapt(points())
    flow.compile("adam")
    with pytest.warns(RuntimeWarning, match="Row 7"):
        flow.fit(x, batch_size=32, epochs=1, verbose=0)
    assert int(flow.optimizer.iterations) == 9
    assert all(np.isfinite(weight).all() for weight in flow.get_weights())


def test_flow_density_uses_the_gpu_by_itself():
    density = tfpf.FlowDensity(layers=2, hidden=(16,), verbose=0, random_state=0)
    density.fit(points(600))
    assert density.history_
    assert places(w.value for w in density.flow_.weights) == {"GPU:0"}


@pytest.mark.parametrize(("device", "expected"), [(None, "GPU:0"), ("cpu", "CPU:0")])
def test_the_command_line(tmp_path, device, expected):
    words = ["fit", "two_moons", "--out", str(tmp_path), "--quiet", "--epochs", "1"]
    words += ["--layers", "2", "--hidden", "8", "--samples", "500"]
    words += ["--device", device] if device else []
    done = subprocess.run(
        [sys.executable, "-m", "tfp_flows", *words], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert metrics["device"].startswith(expected)


@pytest.mark.parametrize(("tf32", "dtype"), [(True, None), (True, "mixed_bfloat16")])
def test_what_coarse_products_change(tf32, dtype):
    """Mean |log_prob| by TF32 and by bfloat16 beside that by float32, in nats."""
    fine = tfpf.recipes.real_nvp(2, layers=4, hidden=(32,), seed=0)
    fine.compile("adam")
    keras.utils.set_random_seed(0)
    fine.fit(points(2000), batch_size=100, epochs=5, verbose=0)
    expected = fine.log_prob(points(500, seed=1)).numpy()
    coarse = tfpf.recipes.real_nvp(2, layers=4, hidden=(32,), seed=0, dtype=dtype)
    coarse.set_weights(fine.get_weights())
    tf.config.experimental.enable_tensor_float_32_execution(tf32)
    off = np.abs(coarse.log_prob(points(500, seed=1)) - expected)
    assert off.mean() < (0.05 if dtype else 0.01)
