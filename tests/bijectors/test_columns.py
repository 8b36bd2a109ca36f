"""Columns: what it moves, what it leaves, and the hooks of what is within it."""

import keras
import numpy as np
import pytest
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    ActNorm,
    AffineCoupling,
    Columns,
    Householder,
    MaskedAutoregressive,
    Spline,
    Standardize,
)

tfb = tfp.bijectors


def points(n=50, d=4):
    return np.random.default_rng(d).normal(size=(n, d)).astype("float32")


def test_moves_its_columns_in_their_order_and_no_other():
    inner = Householder(seed=1)
    bijector, x = Columns(inner, [3, 0, 1]), points()
    y = bijector.forward(x).numpy()
    np.testing.assert_array_equal(y[:, 2], x[:, 2])
    expected = inner.forward(x[:, [3, 0, 1]])
    np.testing.assert_allclose(y[:, [3, 0, 1]], expected, atol=1e-5)
    np.testing.assert_allclose(bijector.inverse(y.copy()), x, atol=1e-5)


@pytest.mark.parametrize("inner", [tfb.Exp(), tfb.Scale(2.0), tfb.Permute([1, 0])])
def test_takes_bijectors_of_tfp(inner):
    bijector, x = Columns(inner, [2, 0]), points()
    y = bijector.forward(x).numpy()
    np.testing.assert_allclose(y[:, [2, 0]], inner.forward(x[:, [2, 0]]), rtol=1e-6)
    np.testing.assert_allclose(
        bijector.forward_log_det_jacobian(x, 1),
        np.broadcast_to(inner.forward_log_det_jacobian(x[:, [2, 0]], 1), len(x)),
        rtol=1e-6,
    )


def test_a_flow_starts_it_from_data_within_chains_and_inverses_and_saves_it(tmp_path):
    x = points(1000, 3) * [1.0, 5.0, 30.0] + [0.0, 100.0, -7.0]
    x = x.astype("float32")
    chain = tfb.Chain([Standardize(), tfb.Invert(ActNorm())])
    stages = [AffineCoupling(hidden=(4,)), Columns(chain, [2, 1])]
    flow = tfpf.Flow(stages, event_size=3)
    assert flow.bijectors[1].needs_adaptation
    flow.adapt(x)
    assert not flow.bijectors[1].needs_adaptation
    z = flow.bijectors[1].inverse(x).numpy()
    np.testing.assert_array_equal(z[:, 0], x[:, 0])
    np.testing.assert_allclose(z[:, 1:].mean(0), 0, atol=1e-3)
    np.testing.assert_allclose(z[:, 1:].std(0), 1, atol=1e-3)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))


def test_inverted_it_starts_from_the_other_side():
    x = points(1000, 2) * np.float32(5) + np.float32(3)
    inverted = tfb.Invert(Columns(ActNorm(), [1]))
    flow = tfpf.Flow([inverted], event_size=2)
    flow.adapt(x)
    z = inverted.inverse(x).numpy()
    np.testing.assert_array_equal(z[:, 0], x[:, 0])
    np.testing.assert_allclose([z[:, 1].mean(), z[:, 1].std()], [0, 1], atol=1e-3)


def test_the_context_reaches_what_is_within():
    inner = AffineCoupling(hidden=(4,), context_size=2, identity_start=False, seed=0)
    flow = tfpf.Flow([Columns(tfb.Invert(inner), [0, 2])], event_size=3)
    assert flow.context_size == 2
    x, context = points(5, 3), points(5, 2)
    y = flow.given(context).bijector.forward(x).numpy()
    expected = inner.given(context).inverse(x[:, [0, 2]])
    np.testing.assert_allclose(y[:, [0, 2]], expected, rtol=1e-6)


def test_says_what_a_spline_within_does_not_reach():
    bijector = Columns(Spline(box=1.0), [1])
    y = np.array([[9.0, 0.5], [0.0, 1.5], [0.0, -0.5]], "float32")
    np.testing.assert_array_equal(bijector.outside(y), [False, True, False])
    assert Columns(ActNorm(), [1]).outside(y) is None


def test_warns_of_many_passes_within():
    bijector = Columns(MaskedAutoregressive(hidden=(4,)), range(128))
    flow = tfpf.Flow([bijector], event_size=129)
    with pytest.warns(UserWarning, match="128 network passes"):
        flow.sample(2, seed=0)


def test_wrong_arguments_raise_what_is_wrong():
    for columns in ([], [0, 0], [-1], [0.5], "01", 3):
        with pytest.raises(ValueError, match="different whole numbers"):
            Columns(ActNorm(), columns)
    with pytest.raises(ValueError, match=r"among 0\.\.1"):
        Columns(ActNorm(), [2]).build(2)
    with pytest.raises(TypeError, match=r"tfb\.Bijector"):
        Columns(keras.layers.Dense(2), [0])
