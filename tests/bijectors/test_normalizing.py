"""ActNorm and Standardize: what they take from data, once, and keep."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import (
    ActNorm,
    AffineCoupling,
    Rotation2D,
    Spline,
    Standardize,
)
from tfp_flows.testing import check_bijector

tfb = tfp.bijectors

BOTH = pytest.mark.parametrize("make", [ActNorm, Standardize])
MEAN, STD = np.array([3.0, -500.0]), np.array([2.0, 0.25])


def data(n=1000, dtype="float32"):
    rows = np.random.default_rng(0).normal(size=(n, 2)) * STD + MEAN
    return rows.astype(dtype)


@BOTH
def test_the_inverse_standardizes(make):
    bijector, y = make(), data(dtype="float64")
    assert bijector.needs_adaptation
    bijector.adapt(y)
    assert not bijector.needs_adaptation
    x = bijector.inverse(y).numpy()
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-12)
    log_det = bijector.forward_log_det_jacobian(x, 1).numpy()
    np.testing.assert_allclose(log_det, np.log(y.std(0)).sum(), rtol=1e-12)
    check_bijector(bijector, y[:11], skip=["xla", "keras_file"])


@BOTH
def test_it_is_the_identity_before(make):
    y = data()
    np.testing.assert_array_equal(make().forward(y), y)


@BOTH
def test_sums_are_exact_for_float32(make):
    # A float32 sum of these is wrong in its third digit.
    y = (1e6 + np.random.default_rng(0).normal(size=(200_000, 1))).astype("float32")
    bijector = make()
    bijector.adapt(y)
    x = bijector.inverse(y).numpy().astype("float64")
    assert abs(x.mean()) < 0.05  # the mean itself is rounded to 1/16
    assert x.std() == pytest.approx(1, rel=1e-4)


@BOTH
@pytest.mark.parametrize("value", [0.0, 0.1, -1e30])
@pytest.mark.parametrize("n", [1, 1000])
def test_constant_columns_keep_their_scale(make, value, n):
    y = np.concatenate([data(n), np.full([n, 1], value, "float32")], 1)
    bijector = make()
    bijector.adapt(y)
    x = bijector.inverse(y).numpy()
    assert np.isfinite(x).all()
    np.testing.assert_array_equal(x[:, 2], 0)
    np.testing.assert_array_equal(bijector.forward(x)[:, 2], y[:, 2])
    expected = np.log(y[:, :2].std(0)).sum() if n > 1 else 0.0
    log_det = bijector.forward_log_det_jacobian(x, 1)
    np.testing.assert_allclose(log_det, expected, atol=1e-4)


@BOTH
def test_tiny_scales_are_scales(make):
    y = np.array([[0.0], [2e-8], [4e-8], [1e-45]], "float32")
    bijector = make()
    bijector.adapt(y)
    x = bijector.inverse(y).numpy()
    assert x.std() == pytest.approx(1, rel=1e-5)
    below = make()  # one that has no reciprocal in float32
    below.adapt(np.array([[0.0], [1e-44]], "float32"))
    assert np.isfinite(below.inverse(y)).all()


@BOTH
def test_bad_data_are_refused(make):
    bijector = make()
    bijector.build(2)
    with pytest.raises(ValueError, match=r"shape \(\.\.\., 2\)"):
        bijector.adapt(np.ones([5, 3]))
    with pytest.raises(ValueError, match="finite"):
        bijector.adapt(np.array([[1.0, np.nan]]))
    assert bijector.needs_adaptation


@BOTH
def test_fit_adapts_once(make, monkeypatch):
    calls = []
    adapt = make.adapt

    def counted(self, y):
        calls.append(y.shape)
        adapt(self, y)

    monkeypatch.setattr(make, "adapt", counted)
    flow = tfpf.Flow([AffineCoupling(hidden=(4,)), make()], event_size=2)
    flow.compile("adam")
    flow.fit(data(), epochs=1, verbose=0)
    flow.fit(data(), epochs=1, verbose=0)
    assert calls == [(1000, 2)]
    flow.adapt(data())
    assert len(calls) == 2


def test_each_takes_its_start_from_what_reaches_it():
    flow = tfpf.Flow([ActNorm(), Rotation2D(0.7), Standardize()])
    flow.adapt(data())
    *_, last = flow.stages(n=10)
    x = data()
    for bijector in reversed(flow.bijectors):
        x = bijector.inverse(x)
        np.testing.assert_allclose(tf.reduce_mean(x, 0), 0, atol=1e-3)
        np.testing.assert_allclose(np.std(x, 0), 1, atol=0.05)
    assert last.name == "Standardize"


@BOTH
def test_inverted_ones_take_their_start_too(make):
    inverted = tfb.Invert(tfb.Chain([make(), Rotation2D(0.7)]))
    flow = tfpf.Flow([inverted, tfb.Invert(Spline(bins=4))], event_size=2)
    flow.adapt(data())
    spline = flow.bijectors[1].bijector
    assert not spline.needs_adaptation
    assert np.mean(spline.outside(data())) < 0.01
    z = flow.distribution.bijector.inverse(data())
    np.testing.assert_allclose(tf.reduce_mean(z, 0), 0, atol=1e-3)
    np.testing.assert_allclose(np.std(z, 0), 1, atol=1e-3)


@BOTH
def test_what_was_found_survives_a_file(make, tmp_path):
    flow = tfpf.Flow([AffineCoupling(hidden=(4,)), make()], event_size=2)
    flow.compile("adam")
    flow.fit(data(), epochs=1, verbose=0)
    flow.save(tmp_path / "flow.keras")
    loaded = keras.models.load_model(tmp_path / "flow.keras")
    assert not loaded.bijectors[-1].needs_adaptation
    np.testing.assert_allclose(
        loaded.bijectors[-1].inverse(data()), flow.bijectors[-1].inverse(data())
    )
    loaded.fit(data() + 100, epochs=1, verbose=0)
    x = loaded.bijectors[-1].inverse(data())
    np.testing.assert_allclose(np.mean(x, 0), 0, atol=1)  # not of other data


def test_act_norm_is_trained_and_standardize_is_not():
    norm, standardize = ActNorm(), Standardize()
    for bijector in (norm, standardize):
        bijector.adapt(data())
    assert len(norm.trainable_variables) == 2
    assert not standardize.trainable_variables
    frozen = ActNorm(trainable=False)
    frozen.adapt(data())
    assert not frozen.trainable_variables


def test_act_norm_starts_alike_for_every_context():
    norm = ActNorm(context_size=2, hidden=(4,), seed=0)
    y = data(dtype="float64")
    norm.adapt(y)
    contexts = np.array([[0.0, 1.0], [3.0, -1.0]])
    x = norm.given(contexts).inverse(y[:, np.newaxis]).numpy()
    np.testing.assert_allclose(x.mean(0), 0, atol=1e-10)
    np.testing.assert_allclose(x.std(0), 1, rtol=1e-12)

    head = next(w for w in norm.trainable_variables if w.shape == (4, 4))
    head.assign(np.random.default_rng(0).normal(size=(4, 4)))
    log_dets = norm.given(contexts).forward_log_det_jacobian(x, 1).numpy()
    assert log_dets.shape == (1000, 2)
    for i, context in enumerate(contexts):
        said = {k: v.numpy() for k, v in norm._learned(tf.constant(context)).items()}
        np.testing.assert_allclose(
            norm.given(contexts).forward(x)[:, i],
            x[:, i] * np.exp(said["log_scale"]) + said["shift"],
        )
        np.testing.assert_allclose(log_dets[:, i], said["log_scale"].sum())
    assert abs(log_dets[0, 0] - log_dets[0, 1]) > 0.01


class TestStandardize:
    def test_given_numbers_stay(self):
        standardize = Standardize(MEAN, STD)
        assert standardize.required_event_size == 2
        assert not standardize.needs_adaptation
        y = data(dtype="float64")
        standardize.adapt(y + 1000)
        np.testing.assert_allclose(standardize.inverse(y), (y - MEAN) / STD)
        copy = Standardize.from_config(standardize.get_config())
        np.testing.assert_allclose(copy.inverse(y), (y - MEAN) / STD)

    def test_one_number_serves_every_width(self):
        assert Standardize(1.0, [2.0, 3.0, 4.0]).required_event_size == 3
        y = Standardize(1.0, 2.0).forward(np.ones([4, 3]))
        np.testing.assert_array_equal(y, np.full([4, 3], 3.0))

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Standardize(1.0), "both be given"),
            (lambda: Standardize(std=1.0), "both be given"),
            (lambda: Standardize(0.0, 0.0), "`std` must be .* above 0"),
            (lambda: Standardize(np.nan, 1.0), "`mean` must be one finite"),
            (lambda: Standardize([[0.0]], 1.0), "`mean` must be one finite"),
            (
                lambda: Standardize([0.0, 1.0], 1.0).forward(np.ones([4, 3])),
                r"shape \(\) or \(3,\)",
            ),
        ],
    )
    def test_wrong_numbers_raise(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()
