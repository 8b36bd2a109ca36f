"""Results of bijectors are kept within a graph, and freed with it."""

import gc
import threading
import weakref

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows._core import caches, compat
from tfp_flows.bijectors import AffineCoupling, LeakyReLU, Spline
from tfp_flows.bijectors.base import Bijector

tfb = tfp.bijectors
tfd = tfp.distributions

X = np.random.default_rng(0).uniform(0.5, 1.5, size=(20, 2)).astype(np.float32)


def normal_with_deferred_scale():
    scale = tfp.util.TransformedVariable(
        np.eye(2, dtype=np.float32), tfb.FillScaleTriL()
    )
    return tfd.MultivariateNormalTriL(tf.Variable(tf.zeros(2)), scale)


FLOWS = {
    "ours": lambda: ([AffineCoupling(hidden=(4,)), Spline(4), LeakyReLU()], None),
    "tfp": lambda: ([tfb.Scale(tf.Variable(tf.ones(2))), tfb.Softplus()], None),
    # This one makes new bijectors at each call, as its base does where it is read.
    "tfp's own parts": lambda: (
        [tfb.MaskedAutoregressiveFlow(lambda x: (0 * x, 0 * x))],
        normal_with_deferred_scale(),
    ),
    "nested": lambda: (
        [
            tfb.Chain([AffineCoupling(hidden=(4,)), tfb.Scale(tf.Variable([1.0, 2]))]),
            tfb.Invert(Spline(4)),
        ],
        tfd.LogNormal(tf.Variable(tf.zeros(2)), 1.0),
    ),
}


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "ours")) for k in FLOWS]
)
def test_what_is_no_longer_used_is_freed(kind):
    # TFP's cache would hold on to each graph that it saw, and with it to all weights.
    def used():
        bijectors, base = FLOWS[kind]()
        flow = tfpf.Flow(bijectors, base, event_size=2)
        flow.compile("sgd")
        flow.fit(X, verbose=0)
        points = flow.sample(20, seed=0)
        tf.function(flow.distribution.log_prob, autograph=False)(points)
        last = flow.stages(5)[-1].distribution
        tf.function(last.log_prob, autograph=False)(points)
        return [weakref.ref(weight.value) for weight in flow.weights]

    weights = used()
    gc.collect()  # the flow, which tells the cache that its graphs are complete
    gc.collect()  # the graphs
    assert len(weights) >= 1
    assert not [weight().name for weight in weights if weight() is not None]


def graphs_of_results():
    """Returns the graphs whose results TFP keeps; results of eager mode have none."""
    keys = list(compat.shared_results())
    tensors = [tensor for key in keys for tensor in compat._tensors(key)]
    return {graph for t in tensors if (graph := getattr(t, "graph", None)) is not None}


def test_a_flow_that_lives_keeps_no_graph_but_the_last():
    of_others = graphs_of_results()
    flow = tfpf.Flow(FLOWS["nested"]()[0], event_size=2)
    graphs = []

    def log_prob(x):
        graphs.append(weakref.ref(tf.compat.v1.get_default_graph()))
        return flow.distribution.log_prob(x)

    for _ in range(3):
        tf.function(log_prob, autograph=False)(X)
    assert set(caches._OPEN) == {graphs[-1]()}
    assert graphs_of_results() - of_others <= {graphs[-1]()}
    flow.stages(5)
    caches.forget_finished_graphs()
    assert not caches._OPEN


def test_results_of_others_stay():
    theirs = tfb.Chain([tfb.Exp(), tfb.Scale(2.0)])

    @tf.function(autograph=False)
    def forward(x):
        return theirs.forward(x)

    graph = forward.get_concrete_function(tf.constant([1.0, 2.0])).graph

    def kept():
        keys = list(compat.shared_results())
        tensors = (tensor for key in keys for tensor in compat._tensors(key))
        return sum(getattr(tensor, "graph", None) is graph for tensor in tensors)

    before = kept()
    assert before >= 3  # the input, what is between, and the output
    flow = tfpf.Flow(FLOWS["tfp"]()[0], event_size=2)
    flow.log_prob(X)
    del flow
    gc.collect()
    assert kept() == before


def test_bijectors_of_others_behave_as_before():
    exp, x = tfb.Exp(), tf.constant([1.0, 2.0])
    y = exp.forward(x)
    assert exp.inverse(y) is x
    assert type(exp._cache) is compat.Cache
    assert exp._cache.storage is compat.shared_results()


class Theirs(tfb.Bijector):
    """A bijector of a user, which counts how often it is evaluated."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=1, parameters={})
        self.counts = {"inverse": 0}

    def _inverse(self, y):
        self.counts["inverse"] += 1
        return y / 2

    def _forward(self, x):
        return 2 * x

    def _inverse_log_det_jacobian(self, y):
        return tf.fill(tf.shape(y)[:-1], -2 * np.log(2.0).astype(np.float32))


class Ours(Bijector):
    """The same with value and log-det at once, as bijectors of ours have it."""

    def __init__(self):
        super().__init__({})
        self.counts = {"inverse": 0}

    def _build(self, event_size, dtype):
        pass

    def _forward_and_log_det(self, x):
        return 2 * x, tf.fill(tf.shape(x)[:-1], tf.cast(2 * np.log(2.0), x.dtype))

    def _inverse_and_log_det(self, y):
        self.counts["inverse"] += 1
        return y / 2, tf.fill(tf.shape(y)[:-1], tf.cast(-2 * np.log(2.0), y.dtype))


@pytest.mark.parametrize("kind", [Ours, Theirs])
def test_a_density_evaluates_a_bijector_once(kind):
    counted = kind()
    flow = tfpf.Flow([tfb.Scale(2.0), counted], base=tfd.Normal([0.0, 0.0], 1.0))
    log_prob = tf.function(flow.distribution.log_prob, autograph=False)
    counted.counts["inverse"] = 0
    log_prob.get_concrete_function(tf.TensorSpec([None, 2]))
    assert counted.counts["inverse"] == 1


def test_other_threads_do_not_interrupt_a_graph():
    counted = Ours()
    flow = tfpf.Flow([counted, LeakyReLU()], event_size=2)
    chain = flow.distribution.bijector

    def inverse_and_log_det(y):
        x = chain.inverse(y)
        thread = threading.Thread(target=flow.stages, args=(5,))
        thread.start()
        thread.join()
        return x, chain.inverse_log_det_jacobian(y, event_ndims=1)

    counted.counts["inverse"] = 0
    tf.function(inverse_and_log_det, autograph=False)(X)
    assert counted.counts["inverse"] == 1


def test_results_of_a_branch_stay_within_it():
    bijector = Spline(4)
    bijector.build(2)
    chain = caches.chain([bijector, tfb.Scale(2.0)])

    @tf.function(autograph=False)
    def branched(x):
        inside = tf.cond(x[0, 0] > 0, lambda: chain.forward(x), lambda: x)
        return inside, chain.forward(x)

    inside, outside = branched(tf.constant(X))
    np.testing.assert_array_equal(inside, outside)
    np.testing.assert_allclose(outside, chain.forward(tf.constant(X)), rtol=1e-6)


def test_eager_answers_follow_the_weights():
    scale = AffineCoupling(hidden=())
    x = tf.constant(X)
    before = scale.forward(x)
    log_det = scale.forward_log_det_jacobian(x, event_ndims=1)
    for weight in scale.trainable_variables:
        weight.assign(weight + 0.5)
    assert np.abs(scale.forward(x) - before).max() > 0.1
    after = scale.forward_log_det_jacobian(x, event_ndims=1)
    assert np.abs(after - log_det).max() > 0.1
