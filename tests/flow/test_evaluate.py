"""Many points at once: chunks, XLA for the whole ones, and back where it cannot."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.flow import chunks, evaluate
from tfp_flows.training import plan

tfb = tfp.bijectors


class NotForXLA(tfb.Bijector):
    """Leaves points as they are, in a way that XLA does not have."""

    def __init__(self):
        super().__init__(
            forward_min_event_ndims=0, is_constant_jacobian=True, name="not_for_xla"
        )

    def _forward(self, x):
        zero = tf.py_function(np.zeros_like, [tf.stop_gradient(x)], x.dtype)
        return x + tf.ensure_shape(zero, x.shape)

    _inverse = _forward

    def _forward_log_det_jacobian(self, x):
        return tf.zeros([], x.dtype)


@pytest.fixture(autouse=True)
def few_are_many(monkeypatch):
    monkeypatch.setattr(chunks, "CHUNK", 64)
    monkeypatch.setattr(chunks, "_PART", 16)
    for_120 = 2 * 120 * flow().count_params()
    monkeypatch.setattr(evaluate, "_OPERATIONS_FOR_XLA", for_120)


def points(n=150):
    return np.random.default_rng(0).normal(size=(n, 2)).astype("float32")


def flow(*more):
    return tfpf.Flow(
        [tfpf.bijectors.AffineCoupling(hidden=(8,), seed=0), *more], None, 2
    )


def is_compiled(chunked):
    """Whether XLA computes the whole chunks."""
    graph = chunked._of_whole.get_concrete_function().graph
    names = {node.attr["f"].func.name for node in graph.as_graph_def().node}
    functions = graph.as_graph_def().library.function
    return any(
        function.attr["_XlaMustCompile"].b
        for function in functions
        if function.signature.name in names
    )


def test_the_same_numbers():
    one, x = flow(), points()
    in_graphs = one.log_prob(x[:100]), one.sample(100, seed=3)
    assert one._evaluator._log_prob._of_whole is None
    many = one.log_prob(x), one.sample(150, seed=3)
    assert is_compiled(one._evaluator._log_prob) and is_compiled(
        one._evaluator._forward
    )
    np.testing.assert_allclose(many[0][:100], in_graphs[0], rtol=1e-5)
    np.testing.assert_allclose(many[1][:64], in_graphs[1][:64], rtol=1e-5)
    again = one.log_prob(x), one.sample(150, seed=3)
    np.testing.assert_array_equal(again[0], many[0])
    np.testing.assert_array_equal(again[1], many[1])
    for chunked in (one._evaluator._log_prob, one._evaluator._forward):
        assert chunked._of_any.experimental_get_tracing_count() == 1
        assert chunked._of_whole.experimental_get_tracing_count() == 1


def test_gradients():
    x = tf.constant(points())

    def gradients(one):
        with tf.GradientTape() as tape:
            tape.watch(x)
            total = tf.reduce_sum(one.log_prob(x))
        return tape.gradient(total, [x, *one.trainable_variables])

    plain = flow()
    plain.compile("adam", jit_compile=False)
    expected = gradients(plain)
    assert plain._evaluator._log_prob._of_whole is None
    for mine, theirs in zip(gradients(flow()), expected, strict=True):
        np.testing.assert_allclose(mine, theirs, rtol=1e-3, atol=1e-4)


def test_weights_are_read_anew():
    one, x = flow(), points()
    before = one.log_prob(x)
    one.set_weights([weight + 0.1 for weight in one.get_weights()])
    assert np.abs(one.log_prob(x) - before).max() > 0.01
    np.testing.assert_allclose(
        one.log_prob(x), one.log_prob(x, batch_size=50), rtol=1e-4, atol=1e-5
    )


def test_an_operation_that_xla_lacks():
    one, x = flow(NotForXLA()), points()
    expected = flow().log_prob(x, batch_size=50)
    for _ in range(2):
        np.testing.assert_allclose(one.log_prob(x), expected, rtol=1e-5)
        assert one._evaluator._log_prob._of_whole is one._evaluator._log_prob._of_any


@pytest.mark.slow
def test_a_long_fit_with_an_operation_that_xla_lacks(monkeypatch):
    monkeypatch.setattr(plan, "_FIT_OPERATIONS_FOR_XLA", 0)
    monkeypatch.setattr(plan, "_STEP_OPERATIONS_FOR_XLA", 0)
    losses = []
    for stages in ([NotForXLA()], []):
        one = flow(*stages)
        one.compile("adam")
        keras.utils.set_random_seed(0)
        losses.append(one.fit(points(), batch_size=32, epochs=2, verbose=0).history)
        assert one._trainer.gradients.jit_compile == (not stages)
        assert int(one.optimizer.iterations) == 10
    np.testing.assert_allclose(losses[0]["loss"], losses[1]["loss"], rtol=1e-4)


def test_xla_that_was_asked_for_is_not_taken_back():
    one = flow(NotForXLA())
    one.compile("adam", jit_compile=True)
    with pytest.raises(tf.errors.InvalidArgumentError, match="XLA"):
        one.fit(points(), batch_size=32, verbose=0)
