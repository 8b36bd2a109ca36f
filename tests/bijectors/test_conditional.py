"""Every bijector that takes a context through the contract, and what it makes of it."""

import inspect

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows import bijectors
from tfp_flows._core.conditioning import bind
from tfp_flows.bijectors import (
    IAF,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Autoregressive,
    AutoregressiveSpline,
    Columns,
    ContinuousFlow,
    Coupling,
    Gaussianize,
    Householder,
    LeakyReLU,
    LULinear,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureCDFCoupling,
    NumericalInverse,
    Planar,
    Radial,
    ResidualBlock,
    Rotation,
    Rotation2D,
    ShiftAndCube,
    Spline,
    SplineCoupling,
    Sylvester,
    elementwise,
)
from tfp_flows.testing import BIJECTOR_CHECKS, check_bijector, check_flow

tfb = tfp.bijectors
tfd = tfp.distributions

# In one dtype: the other adds nothing to what the table without contexts covers.
SMALL = {"context_size": 2, "hidden": (8,), "seed": 1, "dtype": "float64"}
RANDOM = {**SMALL, "identity_start": False}


def points(event_size):
    return 1.5 * np.random.default_rng(event_size).normal(size=(11, event_size))


CONTEXT = np.random.default_rng(7).normal(size=(11, 2))

# name -> (bijector's class, factory, points); the context is `CONTEXT`.
CONDITIONAL = {
    "shift and cube": (ShiftAndCube, lambda: ShiftAndCube(1.5, **SMALL), points(3)),
    "rotation, 2-d": (Rotation2D, lambda: Rotation2D(0.7, **SMALL), points(2)),
    "leaky relu": (LeakyReLU, lambda: LeakyReLU(0.3, **SMALL), points(3)),
    "leaky relu, by coordinate": (
        LeakyReLU,
        lambda: LeakyReLU([0.3, 1.0, 2.5], **SMALL),
        points(3),
    ),
    "mixture cdf": (MixtureCDF, lambda: MixtureCDF(3, **SMALL), points(2)),
    "mixture cdf, inverted": (
        MixtureCDF,
        lambda: tfb.Invert(MixtureCDF(2, **SMALL)),
        np.random.default_rng(0).uniform(0.05, 0.95, (11, 2)),
    ),
    "affine": (AffineCoupling, lambda: AffineCoupling(**RANDOM), points(3)),
    "additive": (AdditiveCoupling, lambda: AdditiveCoupling(**RANDOM), points(2)),
    "mixture cdf coupling": (
        MixtureCDFCoupling,
        lambda: MixtureCDFCoupling(components=3, **RANDOM),
        points(3),
    ),
    "spline coupling": (
        SplineCoupling,
        lambda: SplineCoupling(box=3.0, **RANDOM),
        points(3),
    ),
    "spline": (Spline, lambda: Spline(bins=4, box=3.0, **SMALL), points(3)),
    "maf": (MaskedAutoregressive, lambda: MaskedAutoregressive(**RANDOM), points(3)),
    "iaf": (IAF, lambda: IAF(**RANDOM), points(3)),
    "autoregressive spline": (
        AutoregressiveSpline,
        lambda: AutoregressiveSpline(bins=4, box=3.0, **RANDOM),
        points(3),
    ),
    "coupling, bernstein": (
        Coupling,
        lambda: Coupling(elementwise.BernsteinMap(4, box=3.0), **RANDOM),
        points(3),
    ),
    "autoregressive, mixture cdf": (
        Autoregressive,
        lambda: Autoregressive(elementwise.MixtureCDFMap(2), **RANDOM),
        points(3),
    ),
    "columns": (
        Columns,
        lambda: Columns(tfb.Chain([AffineCoupling(**RANDOM)]), [3, 0]),
        points(4),
    ),
    "lu linear": (LULinear, lambda: LULinear(**RANDOM), points(4)),
    "householder": (Householder, lambda: Householder(**SMALL), points(3)),
    "rotation": (Rotation, lambda: Rotation(**RANDOM), points(4)),
    "act norm": (ActNorm, lambda: ActNorm(**SMALL), points(3)),
    "gaussianize": (Gaussianize, lambda: Gaussianize(3, **SMALL), points(2)),
    "planar": (Planar, lambda: Planar(**RANDOM), points(3)),
    "radial": (Radial, lambda: Radial(**RANDOM), points(3)),
    "sylvester": (Sylvester, lambda: Sylvester(**RANDOM), points(3)),
    "residual block": (ResidualBlock, lambda: ResidualBlock(**RANDOM), points(3)),
    "numerical inverse": (
        NumericalInverse,
        lambda: NumericalInverse(AdditiveCoupling(**RANDOM)),
        points(2),
    ),
    "continuous flow": (
        ContinuousFlow,
        lambda: ContinuousFlow(tolerance=1e-6, **RANDOM),
        points(2),
    ),
}

# A solver's own tolerance is not that of rounding.
TOLERANCE = {"continuous flow": 1e-4}


@pytest.mark.slow
@pytest.mark.parametrize("case", CONDITIONAL)
def test_contract(case):
    _, factory, x = CONDITIONAL[case]
    # In float64; XLA sees no difference between a context and points.
    options = {"context": CONTEXT, "tolerance": TOLERANCE.get(case), "skip": ["xla"]}
    passed = check_bijector(factory(), x, **options)
    left_out = {"config", "xla"}  # tfb.Invert lacks the first
    assert set(BIJECTOR_CHECKS) - set(passed) <= left_out


@pytest.mark.slow
def test_contract_of_dtypes_and_xla():
    _, factory, x = CONDITIONAL["spline coupling"]
    assert check_bijector(factory, x, context=CONTEXT) == BIJECTOR_CHECKS


def test_the_contract_covers_every_bijector_that_takes_a_context():
    public = {getattr(bijectors, name) for name in bijectors.__all__}
    takes = {c for c in public if "context_size" in inspect.signature(c).parameters}
    takes |= {Columns, NumericalInverse}  # by what is within them
    assert takes == {cls for cls, _, _ in CONDITIONAL.values()}


@pytest.mark.parametrize(
    "case",
    [
        case
        if case == "spline coupling"
        else pytest.param(case, marks=pytest.mark.slow)
        for case in CONDITIONAL
    ],
)
def test_many_leading_axes_and_those_of_the_context(case):
    _, factory, x = CONDITIONAL[case]
    bijector, x = factory(), tf.constant(x[:4])
    contexts = tf.constant(CONTEXT[:6].reshape(2, 3, 2))
    given = bind(bijector, contexts)
    assert given.experimental_batch_shape(x_event_ndims=1) == (2, 3)
    assert given.experimental_batch_shape(x_event_ndims=2) == (2,)
    every = x[:, tf.newaxis, tf.newaxis, tf.newaxis]
    y = given.forward(every)
    log_det = given.forward_log_det_jacobian(every, 1)
    assert (y.shape[:-1], log_det.shape) == ((4, 1, 2, 3), (4, 1, 2, 3))
    back = given.inverse(tf.identity(y))
    np.testing.assert_allclose(back, tf.broadcast_to(every, y.shape), atol=1e-4)
    alone = bind(bijector, contexts[1, 2])
    np.testing.assert_allclose(y[:, 0, 1, 2], alone.forward(x), atol=1e-4)
    np.testing.assert_allclose(
        log_det[:, 0, 1, 2], alone.forward_log_det_jacobian(x, 1), atol=1e-4
    )


def test_tfp_draws_for_each_context():
    chain = tfb.Chain([tfb.Scale(np.float64(2.0)), AffineCoupling(**RANDOM)])
    normal = tfd.MultivariateNormalDiag(tf.zeros([2], tf.float64))
    distribution = tfd.TransformedDistribution(normal, bind(chain, CONTEXT[:4]))
    assert distribution.batch_shape == (4,)
    drawn = distribution.sample(7, seed=0)
    assert drawn.shape == (7, 4, 2)
    assert len(np.unique(drawn)) == drawn.numpy().size
    assert tfd.Independent(distribution, 1).log_prob(drawn).shape == (7,)

    @tf.function(input_signature=[tf.TensorSpec([None, 2], tf.float64)])
    def sample(context):
        bound = tfd.TransformedDistribution(normal, bind(chain, context))
        return bound.sample(5), bound.batch_shape_tensor()

    drawn, batch = sample(CONTEXT)
    assert drawn.shape == (5, 11, 2) and batch == [11]


def with_kernel(cls, *args, kernel, **options):
    """One whose parameters are their initial values plus kernel · context."""
    bijector = cls(*args, context_size=1, hidden=(), **options)
    bijector.build(2, "float64")
    (head,) = (w for w in bijector.trainable_variables if "kernel" in w.name)
    head.assign(np.broadcast_to(kernel, head.shape))
    return bijector


class TestWhatTheContextChanges:
    x = points(2)
    c = np.linspace(-1, 1, 11)

    def given(self, *args, **options):
        return with_kernel(*args, **options).given(self.c[:, np.newaxis])

    @pytest.mark.parametrize(
        ("cls", "start", "kernel", "values"),
        [
            (ShiftAndCube, 1.5, 2.0, 1.5 + 2.0 * c),
            (Rotation2D, 0.5, 2.0, 0.5 + 2.0 * c),
            (LeakyReLU, 0.3, 2.0, 0.3 * np.exp(2.0 * c)),
        ],
    )
    def test_one_number(self, cls, start, kernel, values):
        bijector = self.given(cls, start, kernel=kernel)
        y = bijector.forward(self.x).numpy()
        log_det = bijector.forward_log_det_jacobian(self.x, 1).numpy()
        for i, value in enumerate(values):
            alone = cls(float(value))
            np.testing.assert_allclose(y[i], alone.forward(self.x[i]))
            one = alone.forward_log_det_jacobian(self.x[i], 1)
            np.testing.assert_allclose(log_det[i], one, atol=1e-12)

    def test_the_slope_of_each_coordinate(self):
        bijector = self.given(LeakyReLU, [0.3, 2.0], kernel=[[1.0, -1.0]])
        y = bijector.forward(-np.ones([11, 2]))
        slopes = np.array([0.3, 2.0]) * np.exp(self.c[:, np.newaxis] * [1.0, -1.0])
        np.testing.assert_allclose(y, -slopes)

    def test_the_mixture(self):
        rng = np.random.default_rng(0)
        bijector = self.given(MixtureCDF, 3, kernel=rng.normal(size=(1, 18)))
        mixture = bijector.mixture
        assert mixture.batch_shape == (11, 2)
        np.testing.assert_allclose(bijector.forward(self.x), mixture.cdf(self.x))
        np.testing.assert_allclose(
            bijector.forward_log_det_jacobian(self.x, 1),
            tf.reduce_sum(mixture.log_prob(self.x), -1),
        )

    def test_there_is_no_mixture_without_a_context(self):
        bijector = with_kernel(MixtureCDF, 3, kernel=0.0)
        with pytest.raises(ValueError, match=r"given\(context\).mixture"):
            bijector.mixture  # noqa: B018


ONE_NUMBER = {
    "coefficient": (ShiftAndCube, 1.5),
    "angle": (Rotation2D, 0.5),
    "slope": (LeakyReLU, 0.5),
}


@pytest.mark.parametrize("name", ONE_NUMBER)
def test_a_callers_own_variable_cannot_depend_on_a_context(name):
    cls, value = ONE_NUMBER[name]
    for own in (tf.Variable(value), tf.constant(value)):
        with pytest.raises(ValueError, match=f"`{name}` cannot be your own variable"):
            cls(own, context_size=2)


@pytest.mark.parametrize("cls", [ShiftAndCube, Rotation2D, LeakyReLU, MixtureCDF])
class TestTheFourThatLearnedToTakeOne:
    def test_without_a_context_the_weights_are_those_they_had(self, cls):
        bijector = cls()
        bijector.build(2)
        names = {
            ShiftAndCube: ["coefficient:0"],
            Rotation2D: ["angle:0"],
            LeakyReLU: ["log_slope:0"],
            MixtureCDF: ["log_scales:0", "logits:0", "means:0"],
        }
        assert [w.name for w in bijector.variables] == names[cls]
        assert bijector.is_constant_jacobian == (cls is Rotation2D)

    def test_a_config_from_before_still_loads(self, cls):
        bijector = cls()
        config = bijector.get_config()
        assert (config.pop("context_size"), config.pop("hidden")["items"]) == (
            0,
            [64, 64],
        )
        x = points(2).astype("float32")
        np.testing.assert_array_equal(
            cls.from_config(config).forward(x), bijector.forward(x)
        )

    def test_the_same_seed_makes_the_same_network(self, cls):
        drawn = cls(context_size=2)
        again = cls.from_config(drawn.get_config())
        for bijector in (drawn, again):
            bijector.build(2)
        for one, other in zip(drawn.variables, again.variables, strict=True):
            np.testing.assert_array_equal(one, other)

    def test_trainable_false_freezes_the_network_too(self, cls):
        bijector = cls(context_size=2, trainable=False)
        bijector.build(2)
        assert len(bijector.variables) > 3 and not bijector.trainable_variables

    def test_given_its_context_only_the_linear_one_has_a_constant_jacobian(self, cls):
        assert cls(context_size=2).is_constant_jacobian == (cls is Rotation2D)

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            ({"context_size": -1}, "whole number ≥ 0"),
            ({"context_size": 2, "hidden": 16}, "sequence of layer widths"),
        ],
    )
    def test_wrong_options_raise(self, cls, options, message):
        with pytest.raises(ValueError, match=message):
            cls(**options)


@pytest.mark.slow
def test_a_conditional_flow_of_them():
    flow = tfpf.Flow(
        [
            ShiftAndCube(0.3, **SMALL),
            Rotation2D(0.7, **SMALL),
            LeakyReLU(0.5, **SMALL),
            MixtureCDFCoupling(components=2, **RANDOM),
        ],
        event_size=2,
    )
    passed = check_flow(flow, points(2), context=CONTEXT, skip=["xla"])
    assert {"stages", "context", "integral", "keras_file"} <= set(passed)
