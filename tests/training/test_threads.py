"""Eight threads at once get what one gets, also where the first calls trace."""

import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    AffineCoupling,
    MaskedAutoregressive,
    MixtureCDF,
    Spline,
)

tfb = tfp.bijectors

THREADS, ROUNDS = 8, 3
RNG = np.random.default_rng(0)
X = [RNG.normal(size=(n, 2)).astype("float32") for n in (1, 2, 7, 33, 100, 2, 7, 200)]
CONTEXT = [RNG.normal(size=(len(x), 3)).astype("float32") for x in X]


def flow(context_size=0):
    options = {
        "hidden": (8,),
        "seed": 0,
        "identity_start": False,
        "context_size": context_size,
    }
    return tfpf.Flow(
        [
            tfb.Scale(tf.Variable([1.5, 0.5])),
            AffineCoupling(**options),
            MixtureCDF(2),
            tfb.Invert(MixtureCDF(2)),
            MaskedAutoregressive(**options),
            tfb.Chain([tfb.Shift([0.1, 0.2]), tfb.SinhArcsinh(0.1, 1.1)]),
            Spline(4, box=3.0),
        ],
        event_size=2,
    )


def at_once(function):
    """Returns the answers of all threads, which set off together, round after round."""
    barrier = threading.Barrier(THREADS)

    def work(i):
        answers = []
        for turn in range(ROUNDS):
            barrier.wait(60)
            answers.append(function((i + turn) % THREADS))
        return answers

    with ThreadPoolExecutor(THREADS) as pool:
        return list(pool.map(work, range(THREADS)))


def assert_as_alone(function):
    """Compares them with those of one thread, asked afterwards."""
    answers = at_once(function)
    alone = [function(i) for i in range(THREADS)]
    for i, rounds in enumerate(answers):
        for turn, answer in enumerate(rounds):
            np.testing.assert_array_equal(answer, alone[(i + turn) % THREADS])


@pytest.mark.slow
def test_log_prob():
    one = flow()
    assert_as_alone(lambda i: one.log_prob(X[i]))


@pytest.mark.slow
def test_log_prob_in_batches():
    one = flow()
    assert_as_alone(lambda i: one.log_prob(X[3], batch_size=4 + i))


@pytest.mark.slow
def test_sample_and_log_prob_of_one_flow():
    one = flow()

    def ask(i):
        samples = one.sample(3 + i, seed=i)
        return np.c_[samples, one.log_prob(samples)]

    assert_as_alone(ask)


@pytest.mark.slow
def test_everything_that_is_traced_at_first_use():
    one = flow()
    asked = [
        lambda: one.log_prob(X[3]),
        lambda: one.sample(5, seed=1),
        lambda: one.stages(5, seed=1)[-1].samples,
        lambda: one.distribution.log_prob(X[3]),
    ]
    assert_as_alone(lambda i: asked[i % len(asked)]())


@pytest.mark.slow
def test_given():
    one = flow(context_size=3)

    def ask(i):
        given = one.given(CONTEXT[i])
        return np.r_[given.log_prob(X[i]), np.ravel(given.sample(2, seed=(i, 0)))]

    assert_as_alone(ask)
    assert_as_alone(lambda i: one.stages(4, seed=i, context=CONTEXT[i][0])[-1].samples)


@pytest.mark.parametrize("make", [lambda: AffineCoupling(identity_start=False), Spline])
def test_a_bijector_alone_is_built_once(make):
    for _ in range(2):
        one = make()
        assert_as_alone(lambda i, one=one: one.forward(X[i]))
