"""NumericalInverse: round trips, implicit gradients, and NaN where there is no root."""

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from finite_differences import check_gradients

from tfp_flows import bijectors
from tfp_flows.bijectors import NumericalInverse
from tfp_flows.bijectors.numerical_inverse import find_root, value_and_jacobian

tfb = tfp.bijectors


class Stirred(tfb.Bijector):
    """A user's bijector of the plane without an inverse: y = x + tanh(W x)."""

    def __init__(self, dtype="float64"):
        super().__init__(forward_min_event_ndims=1, dtype=tf.as_dtype(dtype))
        self.w = tf.Variable([[0.3, -1.5], [1.1, 0.4]], dtype=dtype)

    def _forward(self, x):
        return x + tf.tanh(tf.linalg.matvec(self.w, x))

    def _forward_log_det_jacobian(self, x):
        slope = 1 - tf.tanh(tf.linalg.matvec(self.w, x)) ** 2
        a, d = (1 + slope[..., i] * self.w[i, i] for i in (0, 1))
        return tf.math.log(
            a * d - slope[..., 0] * slope[..., 1] * self.w[0, 1] * self.w[1, 0]
        )


class Square(tfb.Bijector):
    """Not a bijector of the real line: it folds at 0."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=0)

    def _forward(self, x):
        return x**2

    def _forward_log_det_jacobian(self, x):
        return tf.math.log(2 * tf.abs(x))


def points(event_size=2, n=40, scale=3.0):
    return scale * np.random.default_rng(event_size).normal(size=(n, event_size))


@pytest.mark.parametrize(("dtype", "error"), [("float64", 1e-13), ("float32", 1e-5)])
def test_a_users_bijector_gets_its_inverse(dtype, error):
    bijector = NumericalInverse(Stirred(dtype))
    x = points().astype(dtype)
    y = bijector.forward(x).numpy()
    np.testing.assert_allclose(bijector.inverse(y), x, atol=error)
    np.testing.assert_allclose(
        bijector.inverse_log_det_jacobian(y, event_ndims=1),
        -Stirred(dtype).forward_log_det_jacobian(x, event_ndims=1),
        atol=error,
    )
    assert bijector.trainable_variables == (bijector.bijector.w,)


def test_implicit_gradients_match_finite_differences():
    inner = Stirred()
    bijector = NumericalInverse(inner)
    y = tf.Variable(points(n=3))

    @tf.function
    def value():
        x = tf.reduce_sum(tf.sin(bijector.inverse(y)))
        return x + tf.reduce_sum(bijector.inverse_log_det_jacobian(y, event_ndims=1))

    check_gradients(value, [y, inner.w])


@pytest.mark.parametrize(
    ("inner", "x"),
    [
        (tfb.Softplus(), points()),
        (tfb.Sinh(), points()),
        (tfb.Softsign(), points()),
        (tfb.Exp(), points()),
        (tfb.Log(), np.exp(points())),
        (tfb.Chain([tfb.Shift(np.array([1.0, 50.0])), tfb.Sinh()]), points()),
    ],
)
def test_finds_what_tfp_has_in_closed_form(inner, x):
    y = inner.forward(x).numpy()
    found = NumericalInverse(inner).inverse(y).numpy()
    np.testing.assert_allclose(found, inner.inverse(y), rtol=1e-9, atol=1e-9)


def test_a_bijector_that_has_its_inverse_alone():
    class Backwards(tfb.Bijector):
        def __init__(self):
            super().__init__(forward_min_event_ndims=0)

        def _inverse(self, y):
            return tf.sinh(y)

        def _inverse_log_det_jacobian(self, y):
            return tf.math.log(tf.cosh(y))

    bijector = tfb.Invert(NumericalInverse(tfb.Invert(Backwards())))
    x = points()
    np.testing.assert_allclose(bijector.forward(x), np.arcsinh(x), atol=1e-12)
    np.testing.assert_allclose(
        bijector.forward_log_det_jacobian(x, 1),
        -0.5 * np.log1p(x**2).sum(-1),
        atol=1e-12,
    )


def test_no_root_is_no_answer_and_spoils_no_other():
    bijector = NumericalInverse(Square())
    y = np.array([[4.0, 9.0], [-1.0, 4.0], [0.25, 1.0], [np.nan, 1.0]])
    x = bijector.inverse(y).numpy()
    np.testing.assert_array_equal(
        np.isnan(x), [[False, False], [True, False], [False, False], [True, False]]
    )
    np.testing.assert_allclose(x[~np.isnan(x)] ** 2, y[~np.isnan(x)], rtol=1e-12)
    log_det = bijector.inverse_log_det_jacobian(y, 1).numpy()
    np.testing.assert_array_equal(np.isnan(log_det), [False, True, False, True])


def test_in_several_dimensions_the_whole_point_is_no_answer():
    def folded(x):
        return tf.stack([x[..., 0] ** 2 + 1.0, x[..., 0] + x[..., 1]], -1)

    x = find_root(folded, tf.constant([[5.0, 1.0], [-5.0, 1.0]], tf.float64)).numpy()
    np.testing.assert_allclose(np.abs(x[0, 0]), 2.0)
    assert np.isnan(x[1]).all()


def test_where_the_map_is_flat_is_no_answer():
    x = find_root(lambda x: 0.0 * x + 1.0, tf.constant([[1.0, 1.0]]))
    assert np.isnan(x).all()


def test_too_few_iterations_are_no_answer():
    inner, x = Stirred(), points()
    y = inner.forward(x).numpy()
    assert np.isnan(NumericalInverse(inner, max_iterations=1).inverse(y)).any()
    loose = NumericalInverse(inner, max_iterations=3, tolerance=1e-2).inverse(y)
    found = ~np.isnan(loose).any(-1)
    assert found.any()
    np.testing.assert_allclose(loose[found], x[found], rtol=0.2, atol=0.2)


@pytest.mark.parametrize("event_size", [1, 6, 20])
def test_a_linear_map_of_any_width(event_size):
    rng = np.random.default_rng(event_size)
    matrix = rng.normal(size=(event_size, event_size)) + 3 * np.eye(event_size)
    y = points(event_size, n=5)

    def function(x):
        return tf.linalg.matvec(matrix, x)

    value, jacobian = value_and_jacobian(function, tf.constant(y))
    np.testing.assert_allclose(value, y @ matrix.T)
    np.testing.assert_allclose(jacobian, np.broadcast_to(matrix, jacobian.shape))
    x = find_root(function, tf.constant(y), max_iterations=3)
    np.testing.assert_allclose(x, np.linalg.solve(matrix, y.T).T, rtol=1e-9)


def test_weights_with_batch_axes():
    shift = tfb.Shift(np.arange(3.0)[:, np.newaxis] * np.ones(2))
    x = NumericalInverse(shift).inverse(np.ones(2))
    np.testing.assert_allclose(x, [[1.0, 1.0], [0.0, 0.0], [-1.0, -1.0]])


def test_a_conditional_bijector_keeps_its_context():
    inner = bijectors.AffineCoupling(
        hidden=(4,), identity_start=False, context_size=2, seed=0
    )
    bijector = NumericalInverse(inner)
    assert bijector.context_size == 2
    context, y = points(2, n=5), points(3, n=5)
    np.testing.assert_allclose(
        bijector.given(context).inverse(y), inner.given(context).inverse(y), atol=1e-12
    )
    with pytest.raises(ValueError, match="needs a context"):
        bijector.inverse(y)


def test_unknown_batch_sizes():
    bijector = NumericalInverse(Stirred())
    traced = tf.function(
        bijector.inverse, input_signature=[tf.TensorSpec([None, 2], tf.float64)]
    )
    x = points()
    np.testing.assert_allclose(traced(bijector.forward(x).numpy()), x, atol=1e-12)


@pytest.mark.parametrize(
    ("make", "error", "message"),
    [
        (lambda: NumericalInverse(np.sin), TypeError, "must be a tfb.Bijector"),
        (lambda: NumericalInverse(Square(), tolerance=0.0), ValueError, "positive"),
        (lambda: NumericalInverse(Square(), max_iterations=0), ValueError, "≥ 1"),
    ],
)
def test_wrong_arguments_raise_what_is_wrong(make, error, message):
    with pytest.raises(error, match=message):
        make()
