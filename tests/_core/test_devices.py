"""Where a flow computes. A second CPU stands in for a GPU; test_gpu.py has the GPU."""

import contextlib
import subprocess
import sys
from pathlib import Path

import keras
import numpy as np
import placement
import pytest
import tensorflow as tf
from zoo import CONTRACT

import tfp_flows as tfpf
from tfp_flows._core import devices
from tfp_flows.training import plan

# TensorFlow has no kernel of it for a GPU, and takes the matrices to the host.
ON_THE_HOST = {"Qr float32"}  # of ResidualBlock and NumericalInverse


def points(n=400):
    return tfpf.densities.make("two_moons").sample(n, seed=0).astype("float32")


def small_flow():
    return tfpf.recipes.neural_spline(2, layers=4, hidden=(8,), bins=4, seed=0)


# A second CPU

STAND_IN = """
import sys
sys.path[:0] = sys.argv[1:]
import tensorflow as tf
cpu = tf.config.list_physical_devices("CPU")[0]
tf.config.set_logical_device_configuration(
    cpu, [tf.config.LogicalDeviceConfiguration()] * 2)
import placement
from test_devices import fitted
first, _, _ = fitted("CPU:0", "rows")
for way in ("rows", "dataset"):
    second, places, step = fitted("CPU:1", way)
    assert places == {"CPU:1"}, places
    strays = placement.strays(step, "CPU:1")
    assert not strays, strays
    assert len(placement.strays(step, "CPU:0")) > 100
    assert abs(first - second) < 1e-3, (first, second)
print("as one device")
"""


def fitted(device, way):
    """Returns a fit's loss, the places of all it keeps, and the nodes of its step.

    Only the constructor is called in the device's scope.
    """
    with tf.device(device):
        flow = small_flow()
    flow.adapt(points())
    flow.compile("adam")
    flow.optimizer.learning_rate = 1e-2
    x, options = points(), {"batch_size": 400}
    if way == "dataset":
        x, options = tf.data.Dataset.from_tensors(x), {}
    graphs = placement.graphs_of(lambda: flow.fit(x, epochs=2, verbose=0, **options))
    kept = [w.value for w in (*flow.weights, *flow._loss_tracker.variables)]
    kept += [flow.optimizer.packing._momentum, flow.optimizer.packing._velocity]
    kept += [flow.optimizer.packing._move, flow._trainer.guard._skipped]
    results = [flow.log_prob(points()), flow.sample(5, seed=0)]
    places = {tensor.device.partition("device:")[2] for tensor in (*kept, *results)}
    return flow.history.history["loss"][-1], places, placement.training_step(graphs)


@pytest.mark.slow
def test_a_flow_computes_where_its_weights_are():
    # Logical devices must be set before TensorFlow starts: a process of its own.
    folders = [str(Path(path).parent) for path in (placement.__file__, __file__)]
    done = subprocess.run(
        [sys.executable, "-c", STAND_IN, *folders], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "as one device" in done.stdout


# What a GPU could run


def test_the_audit_finds_what_no_gpu_can_run():
    @tf.function
    def function(x):
        return tf.math.sobol_sample(2, 3) + tf.linalg.qr(x).r[0, 0]

    graph = function.get_concrete_function(tf.TensorSpec([3, 3])).graph
    found = placement.without_gpu_kernel(graph)
    assert {op.split()[0] for op in found} == {"SobolSample", "Qr"}


@pytest.mark.parametrize(
    "name",
    [
        "real_nvp",
        pytest.param("neural_spline", marks=pytest.mark.slow),
        pytest.param("maf", marks=pytest.mark.slow),
    ],
)
def test_a_gpu_can_run_all_of_a_training_step(name):
    """By the kernels that this TensorFlow has for one, where it has any."""
    if not placement.gpu_kernels("MatMul"):
        pytest.skip("this TensorFlow was built without kernels for GPUs")
    flow = getattr(tfpf.recipes, name)(2, layers=2, hidden=(8,), seed=0)
    flow.compile("adam")
    flow.fit(points(), batch_size=64, verbose=0)
    step = flow._trainer._steps[1].get_concrete_function().graph
    assert not placement.without_gpu_kernel(step)
    found = flow._evaluator
    chunked = (found._log_prob, found._forward)
    for graph in (found._draw_base, *(each._of_any for each in chunked)):
        assert not placement.without_gpu_kernel(graph.get_concrete_function().graph)
    held = [*flow.variables, *flow.optimizer.variables]
    held = [variable.value for variable in held]
    guard = flow._trainer.guard
    for variable in (*held, guard._skipped, guard._in_a_row):
        # TensorFlow keeps 32-bit integers off a GPU.
        assert variable.dtype != tf.int32


@pytest.mark.slow
@pytest.mark.parametrize("case", CONTRACT)
def test_a_gpu_can_run_every_bijector(case):
    if not placement.gpu_kernels("MatMul"):
        pytest.skip("this TensorFlow was built without kernels for GPUs")
    _, factory, x = CONTRACT[case]
    bijector = factory()
    bijector.forward(x.astype("float32"))

    def everything(x):
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = bijector.forward(x)
            log_det = bijector.forward_log_det_jacobian(x, 1)
            back = bijector.inverse(tf.identity(y))
            loss = sum(map(tf.reduce_sum, (y, log_det, back)))
        weights = bijector.trainable_variables
        return tape.gradient(loss, [x, *weights], unconnected_gradients="zero")

    compiled = tf.function(everything, autograph=False)
    spec = tf.TensorSpec([None, x.shape[1]], tf.float32)
    graph = compiled.get_concrete_function(spec).graph
    assert placement.without_gpu_kernel(graph) <= ON_THE_HOST


# What is chosen by device


@pytest.mark.slow
def test_a_gpu_gets_whole_batches_more_steps_a_call_and_xla_sooner(monkeypatch):
    x, choices = points(300), []
    for on_gpu in (False, True):
        monkeypatch.setattr(devices, "is_gpu", lambda _, on_gpu=on_gpu: on_gpu)
        monkeypatch.setattr(plan, "parts_of", lambda _: 2)
        monkeypatch.setattr(plan, "_STEPS_FOR_XLA_ON_GPU", 5)
        flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
        flow.compile("adam")
        keras.utils.set_random_seed(0)
        told = flow.fit(x, batch_size=128, epochs=2, verbose=0)
        choices.append((flow._trainer.plan.parts, flow._trainer.plan.jit_compile))
        choices.append(told.history["loss"])
    assert choices[0] == (2, False) and choices[2] == (1, True)
    np.testing.assert_allclose(choices[1], choices[3], atol=1e-4)
    # The last batch of an epoch is filled up: XLA has compiled one size of batch.
    assert flow._trainer.gradients._of_part.experimental_get_tracing_count() == 1
    assert plan.steps_at_once(6_000_000_000, []) == 1
    assert plan.steps_at_once(6_000_000_000, [], on_gpu=True) == 64


# By name


def test_devices_have_names():
    gpus = len(tf.config.list_logical_devices("GPU"))  # TensorFlow has started
    with devices.use("CPU"):
        assert tf.zeros([]).device.endswith("CPU:0")
    with pytest.raises(ValueError, match="must be cpu, gpu or gpu:N"):
        devices.use("tpu")
    with pytest.raises(ValueError, match=r"only cpu.* Remedy: pip install"):
        devices.use(f"gpu:{gpus}")


def test_weights_tell_their_device(monkeypatch):
    with tf.device("CPU:0"):
        weights = [tf.Variable(1.0)]
    assert devices.describe(weights) == "CPU:0" and not devices.is_gpu(weights)
    no_scope = contextlib.nullcontext
    assert isinstance(devices.at([]), no_scope)
    there = "/job:localhost/replica:0/task:0/device:GPU:1"
    monkeypatch.setattr(devices, "_home", lambda _: there)
    assert devices.is_gpu(weights)
    assert not isinstance(devices.at(weights), no_scope)
