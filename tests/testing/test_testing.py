"""The checks let right bijectors pass, and catch every mutant by its name."""

import functools
import re

import keras
import mutants
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows import testing
from tfp_flows.testing import (
    BIJECTOR_CHECKS,
    FLOW_CHECKS,
    CheckFailure,
    check_bijector,
    check_flow,
)

tfb = tfp.bijectors

X2 = np.linspace(-2, 2, 14).reshape(7, 2)
C1 = np.linspace(-1, 1, 7)[:, np.newaxis]
X3 = np.random.default_rng(0).normal(size=(8, 3))


def spline():
    widths = np.array([[0.2, 0.3, 0.5], [0.4, 0.2, 0.4], [0.1, 0.8, 0.1]]) * 6
    slopes = np.array([[0.5, 2.0], [1.0, 0.3], [1.5, 1.2]])
    heights = widths[:, ::-1]
    return tfb.RationalQuadraticSpline(widths, heights, slopes, range_min=-3.0)


class MLPCoupling(tfb.Bijector):
    """(a, b) → (a, b + net(a)), whose last layer starts at zero, as is customary."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=1)
        self.layers = {
            "hidden": keras.layers.Dense(4, activation="tanh", dtype="float64"),
            "last": keras.layers.Dense(1, kernel_initializer="zeros", dtype="float64"),
        }
        self.net(np.zeros((1, 1)))

    def net(self, a):
        return self.layers["last"](self.layers["hidden"](tf.reshape(a, [-1, 1])))

    def _shifted(self, x, sign):
        a, b = x[..., :1], x[..., 1:]
        return tf.concat([a, b + sign * tf.reshape(self.net(a), tf.shape(b))], axis=-1)

    def _forward(self, x):
        return self._shifted(x, 1)

    def _inverse(self, y):
        return self._shifted(y, -1)

    def _forward_log_det_jacobian(self, x):
        return tf.zeros(tf.shape(x)[:-1], x.dtype)


RIGHT = {
    "Shift": (lambda: tfb.Shift(np.array([1.0, -2.0, 0.5])), X3),
    "Scale": (lambda: tfb.Scale(tf.Variable([2.0, -0.5, 3.0], name="scale")), X3),
    "ScaleMatvecTriL": (
        lambda: tfb.ScaleMatvecTriL(
            tfp.util.TransformedVariable(
                np.eye(3, dtype=np.float32) + 0.5, tfb.FillScaleTriL()
            )
        ),
        X3,
    ),
    "Sigmoid": (tfb.Sigmoid, X3),
    "Sigmoid, saturated": (tfb.Sigmoid, 4 * X3),
    "Softplus": (tfb.Softplus, X3),
    "SinhArcsinh": (lambda: tfb.SinhArcsinh(np.array(0.3), np.array(1.2)), X3),
    "RationalQuadraticSpline": (spline, X3),
    "Permute": (lambda: tfb.Permute([2, 0, 1]), X3),
    "Chain": (lambda: tfb.Chain([tfb.Exp(), tfb.Scale(np.full(3, 0.5))]), X3),
    "Invert": (lambda: tfb.Invert(tfb.Softplus()), np.exp(X3)),
    "Keras layers": (MLPCoupling, X2),
    "one dimension": (tfb.Tanh, X3.reshape(-1, 1)),
}


def failures_of(bijector, x, **options):
    with pytest.raises(CheckFailure) as caught:
        check_bijector(bijector, x, **options)
    return caught.value.failures, str(caught.value)


DEAR = {"xla", "keras_file"}


@pytest.mark.parametrize("name", RIGHT)
def test_right_bijectors_pass(name):
    make, x = RIGHT[name]
    skip = set() if name in ("Scale", "Permute") else DEAR
    passed = check_bijector(make, x, skip=skip)
    left_out = {"config", "keras_file", "context"} | skip
    assert set(BIJECTOR_CHECKS) - set(passed) <= left_out
    assert list(passed) == [check for check in BIJECTOR_CHECKS if check in passed]


@pytest.mark.parametrize("name", mutants.MUTANTS)
def test_mutants_are_caught_by_name(name):
    make, check, says = mutants.MUTANTS[name]
    skip = {"keras_file", "xla"} - {check}
    failures, report = failures_of(make, X2, skip=skip)
    messages = [failure.message for failure in failures if failure.check == check]
    assert any(says in message for message in messages), report
    assert says in report


@pytest.mark.parametrize("name", mutants.CONDITIONAL_MUTANTS)
def test_conditional_mutants_are_caught_by_name(name):
    make, check, says = mutants.CONDITIONAL_MUTANTS[name]
    skip = ["keras_file", "xla"]
    failures, report = failures_of(make, X2, context=C1, skip=skip)
    messages = [failure.message for failure in failures if failure.check == check]
    assert any(says in message for message in messages), report


# Mutants whose one mistake is one check's business alone.
LONE = {
    "false is_constant_jacobian": {"constant_jacobian"},
    "another branch in a graph": {"graph"},
    "unreduced log-det": {"batch_shapes"},
    "untracked weight": {"weights_visible"},
    "unused weight": {"weights_used"},
    "NaN gradient": {"gradients_finite"},
    "broadcasting": {"wrong_width"},
    "lossy config": {"config"},
    "float64 only": {"dtypes"},
    "forward as inverse": {"round_trip"},
    "inverse log-det not negated": {"inverse_log_det", "log_dets_cancel"},
    "wrong sign": {"forward_log_det", "inverse_log_det"},
    "the tutorial's ShiftAndCube": {
        "forward_log_det",
        "inverse_log_det",
        "constant_jacobian",
        "wrong_width",  # it drops a third coordinate
    },
    "the tutorial's Rotation2D": {"round_trip"},
}


@pytest.mark.parametrize("name", LONE)
@pytest.mark.slow
def test_nothing_else_is_blamed(name):
    failures, report = failures_of(
        mutants.MUTANTS[name][0], X2, skip=["keras_file", "xla"]
    )
    assert {failure.check for failure in failures} == LONE[name], report


def test_every_check_has_a_mutant():
    every = {**mutants.MUTANTS, **mutants.CONDITIONAL_MUTANTS}
    caught = {check for _, check, _ in every.values()}
    assert caught == set(BIJECTOR_CHECKS)


def test_the_report_says_where_and_how_much():
    x = np.array([[0.0, 0.0], [0.5, 1.0], [0.25, -8.0]])
    failures, report = failures_of(mutants.ForwardAsInverse(), x, skip=["keras_file"])
    worst = failures[0]
    assert (worst.check, worst.point) == ("round_trip", 2)
    np.testing.assert_allclose(worst.x, [0.25, -8.0])
    np.testing.assert_allclose(worst.expected, [0.25, -8.0])
    np.testing.assert_allclose(worst.got, [2.25, -72.0])
    assert worst.error == pytest.approx(64)
    assert worst.tolerance == pytest.approx(9e-8, rel=0.01)
    lines = report.splitlines()
    assert re.fullmatch(
        r"check_bijector: 1 of \d+ checks failed for ForwardAsInverse", lines[0]
    )
    assert lines[1] == (
        "  round_trip: inverse(forward(x)) is not x: inverse(y) is forward(y)"
    )
    assert lines[2] == (
        "      worst at point 2: x = [0.25, -8], expected [0.25, -8], "
        "got [2.25, -72], error 64 (tolerance 9e-08)"
    )


def test_failures_name_the_dtype():
    failures, report = failures_of(mutants.Float64Only, X2, skip=["keras_file"])
    assert [failure.where for failure in failures] == ["float32"]
    assert "\n  float32: dtypes: forward(x) raised" in report


def test_an_instance_is_checked_in_its_own_dtype():
    instance = mutants.WithWeight()
    assert "round_trip" in check_bijector(instance, X2, skip=["keras_file", "xla"])


def test_weights_are_put_back():
    bijector = mutants.WithWeight()
    check_bijector(bijector, X2, skip=["keras_file", "xla"])
    np.testing.assert_array_equal(bijector.log_scale, [0.5, 0.5])


def test_as_many_points_as_coordinates_hide_nothing():
    failures, _ = failures_of(mutants.UnreducedLogDet, X2[:2], skip=["keras_file"])
    assert {failure.check for failure in failures} == {"batch_shapes"}


def test_a_gradient_is_sought_behind_a_last_layer_of_zeros():
    class DeadEnd(MLPCoupling):
        def net(self, a):
            h = self.layers["hidden"](tf.reshape(a, [-1, 1]))
            last = self.layers["last"](h)
            # At zero last weights, the infinity is multiplied by zero, and hides.
            kernel = self.layers["last"].kernel.value
            dead = tf.where(kernel == 0, 0.0 * kernel, tf.sqrt(tf.abs(kernel) * 0))
            return last + tf.reduce_sum(dead)

    failures, _ = failures_of(DeadEnd, X2, skip=["keras_file", "xla"])
    assert {failure.check for failure in failures} == {"gradients_finite"}


def test_tolerance_is_a_number_or_one_a_dtype():
    class Rough(mutants.Stretch):
        def _inverse(self, y):
            return y / 3 + 1e-5

    skip = ["keras_file", "xla"]
    check_bijector(Rough, X2, tolerance=1e-4, skip=skip)
    check_bijector(Rough, X2, tolerance={"float64": 1e-4}, skip=skip)
    failures, _ = failures_of(Rough, X2, tolerance={"float32": 1e-4}, skip=skip)
    assert {failure.check for failure in failures} == {"round_trip"}


def test_skip_leaves_out():
    skip = {*BIJECTOR_CHECKS} - {"graph"}
    assert check_bijector(mutants.WrongInverse, X2, skip=skip) == ("graph",)


@pytest.mark.parametrize(
    "x", [X2, *(pytest.param(x, marks=pytest.mark.slow) for x in (X3, X3[:, :1]))]
)
def test_a_right_conditional_bijector_passes(x):
    context = np.random.default_rng(0).normal(size=(len(x), 1))
    assert check_bijector(mutants.Conditional, x, context=context) == BIJECTOR_CHECKS


@pytest.mark.parametrize("wrap", [tfb.Invert, lambda b: tfb.Chain([tfb.Exp(), b])])
def test_a_context_reaches_through_compositions(wrap):
    passed = check_bijector(
        lambda: wrap(mutants.Conditional()), X2, context=C1, skip=DEAR
    )
    assert set(BIJECTOR_CHECKS) - {"config"} - DEAR == set(passed)


def test_an_instance_can_be_conditional():
    bijector = mutants.Conditional(dtype="float64")
    assert "context" in check_bijector(bijector, X2, context=C1, skip=["keras_file"])


@pytest.mark.parametrize(
    ("make", "context", "message"),
    [
        (mutants.Conditional, None, "`context` is needed: the bijector is conditional"),
        (mutants.Stretch, C1, "must be None: the bijector takes none"),
        (mutants.Conditional, C1[:3], r"must have shape \(7, 1\)"),
        (mutants.Conditional, np.zeros((7, 1)), "at least two of them different"),
        (mutants.Conditional, np.zeros((7, 2)), r"must have shape \(\.\.\., 1\)"),
    ],
)
def test_a_wrong_context_is_refused(make, context, message):
    with pytest.raises(ValueError, match=message):
        check_bijector(make, X2, context=context)


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ((tfb.Exp(), X2[:1]), ValueError, "at least two different points"),
        ((tfb.Exp(), X2[0]), ValueError, r"\(n, event_size\)"),
        ((tfb.Exp(), [[np.nan, 0.0]]), ValueError, "must be finite"),
        ((3, X2), TypeError, "must be a tfb.Bijector"),
        ((lambda: 3, X2), TypeError, "must return a tfb.Bijector"),
    ],
)
def test_bad_arguments_are_refused(arguments, error, message):
    with pytest.raises(error, match=message):
        check_bijector(*arguments)


def test_an_unknown_check_is_refused_with_the_nearest():
    with pytest.raises(ValueError, match="did you mean 'round_trip'"):
        check_bijector(tfb.Exp(), X2, skip=["roundtrip"])


def test_a_change_of_width_is_reported():
    class Padded(mutants.Stretch):
        def _forward(self, x):
            return tf.concat([3 * x, x[..., :1]], axis=-1)

    failures, _ = failures_of(Padded, X2)
    assert [failure.check for failure in failures] == ["runs"]
    assert "keep the number of coordinates" in failures[0].message


# Flows


def affine_flow(**options):
    bijectors = [
        tfb.Shift(tf.Variable([0.2, -0.3], name="shift")),
        tfb.Scale(tf.Variable([0.8, 1.5], name="scale")),
        tfb.Tanh(),
    ]
    return tfpf.Flow(bijectors, event_size=2, **options)


INSIDE = np.tanh(X2)


def flow_report(flow, x, **options):
    with pytest.raises(CheckFailure) as caught:
        check_flow(flow, x, **options)
    return caught.value.failures, str(caught.value)


def test_a_right_flow_passes():
    passed = check_flow(affine_flow(), INSIDE)
    assert passed == tuple(name for name in FLOW_CHECKS if name != "context")


def test_a_flow_in_three_dimensions_has_no_integral():
    flow = tfpf.Flow([tfb.Shift(tf.Variable(tf.zeros(3), name="shift"))], event_size=3)
    passed = check_flow(flow, X3)
    assert set(FLOW_CHECKS) - set(passed) == {"integral", "context"}


def test_a_wrong_stage_is_named_with_its_number():
    flow = tfpf.Flow([tfb.Scale([2.0, 1.5]), mutants.WrongSign()], event_size=2)
    skip = ["xla", "graph", "keras_file"]
    failures, report = flow_report(flow, X2, skip=skip)
    wrong = {(f.where, f.check) for f in failures}
    stage = "stage 2, WrongSign"
    assert wrong == {
        (stage, "forward_log_det"),
        (stage, "inverse_log_det"),
        ("", "integral"),  # 81 times too much: 9 where it should be a ninth
    }
    assert report.startswith("check_flow: 2 of 8 checks failed for")
    assert f"\n  {stage}: forward_log_det: log-det has the wrong sign\n" in report
    assert "  integral: the density integrates to 51." in report


def test_a_wrong_inverse_is_seen_in_the_whole_too():
    flow = tfpf.Flow([mutants.WrongInverse(), tfb.Scale([2.0, 1.5])], event_size=2)
    failures, _ = flow_report(flow, X2, skip=["xla", "keras_file", "integral"])
    wrong = {(f.where, f.check) for f in failures}
    assert wrong == {("stage 1, WrongInverse", "round_trip"), ("", "round_trip")}


def test_points_outside_the_range_are_reported_at_their_stage():
    failures, _ = flow_report(affine_flow(), X2, skip=["xla", "keras_file"])
    assert (failures[0].where, failures[0].check) == ("stage 3, Tanh", "runs")
    assert "4 of 7 points, the first of them point 0" in failures[0].message
    assert (failures[1].where, failures[1].check) == ("", "finite_log_prob")
    assert len(failures) == 2  # nothing about the consequences


class Distorted:
    """A flow of which one method lies."""

    def __init__(self, flow, **lies):
        self.flow = flow
        vars(self).update(lies)

    def __getattr__(self, name):
        return getattr(self.flow, name)

    def __call__(self, inputs):
        return vars(self).get("called", self.flow)(inputs)


@pytest.mark.parametrize(
    ("check", "lie", "says"),
    [
        (
            "log_prob",
            lambda flow: {"log_prob": lambda x: flow.log_prob(x) + 1},
            "log_prob is not the base's log-density plus the stages' inverse log-dets",
        ),
        (
            "samples",
            lambda flow: {"sample": lambda n, seed: flow.sample(n, seed=None)},
            "differs from one call to the next",
        ),
        (
            "samples",
            lambda flow: {"sample": lambda n, seed: flow.sample(n, seed=0)},
            "is the same for seeds 0 and 1",
        ),
        (
            "wrong_width",
            lambda flow: {"log_prob": lambda x: flow.log_prob(x[:, :2])},
            "log_prob of points of width 3 instead of 2 must raise",
        ),
        ("weights", lambda flow: {"variables": []}, "is not one of the flow's"),
        (
            "keras_file",
            lambda flow: {"save": affine_flow(base=tfpf_base(0.5)).save},
            "log_prob of the flow loaded from a .keras file differ by up to",
        ),
        (
            "integral",
            lambda flow: {
                "log_prob": lambda x: flow.log_prob(x) + np.log(1.1, dtype=np.float32)
            },
            "of the samples fall (tolerance 0.02)",
        ),
    ],
)
def test_a_flow_that_lies_is_caught(check, lie, says):
    flow = affine_flow()
    only = {*FLOW_CHECKS} - {check}
    failures, report = flow_report(Distorted(flow, **lie(flow)), INSIDE, skip=only)
    assert {failure.check for failure in failures} == {check}
    assert says in report


def tfpf_base(scale):
    return tfp.distributions.MultivariateNormalDiag(scale_diag=[scale, scale])


@functools.cache
def conditional_flow(event_size=2):
    bijectors = [
        tfb.Shift(tf.Variable(tf.fill([event_size], 0.2), name="shift")),
        mutants.Conditional(),
        tfb.Chain([tfb.Scale(np.float32(0.5)), mutants.Conditional()]),
    ]
    flow = tfpf.Flow(bijectors, event_size=event_size)
    for weight in flow.trainable_variables:
        weight.assign_add(tf.fill(weight.shape, 0.3))
    return flow


@pytest.mark.parametrize("event_size", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_right_conditional_flow_passes(event_size):
    flow = conditional_flow(event_size)
    assert check_flow(flow, X2[:, :event_size], context=C1) == FLOW_CHECKS


def test_a_stage_that_leaks_context_is_named():
    flow = tfpf.Flow([mutants.FirstContext(), tfb.Scale([2.0, 1.5])], event_size=2)
    skip = ["xla", "graph", "keras_file", "integral"]
    failures, _ = flow_report(flow, X2, context=C1, skip=skip)
    found = {(failure.where, failure.check) for failure in failures}
    assert ("stage 1, FirstContext", "context") in found


@pytest.mark.parametrize(
    ("lie", "says"),
    [
        (
            lambda flow: {"given": lambda c: flow.given(0 * c + np.ravel(c)[0])},
            "log_prob at a point changes with the contexts of the other points",
        ),
        (
            lambda flow: {"called": lambda inputs: flow(inputs) + 1},
            "the model called on",
        ),
        (
            lambda flow: {"log_prob": lambda x: x},
            "log_prob without a context must raise",
        ),
        (
            lambda flow: {"given": lambda c: flow.given(c[..., :1])},
            "log_prob given a context of width 2 must raise",
        ),
        (
            lambda flow: {
                "given": lambda c: flow.given(c[np.newaxis] if np.ndim(c) == 3 else c)
            },
            "log_prob has shape",
        ),
    ],
)
def test_a_conditional_flow_that_lies_is_caught(lie, says):
    flow = conditional_flow()
    only = {*FLOW_CHECKS} - {"context"}
    lying = Distorted(flow, **lie(flow))
    failures, report = flow_report(lying, X2, context=C1, skip=only)
    assert {failure.check for failure in failures} == {"context"}
    assert says in report


@pytest.mark.parametrize(
    ("flow", "context", "message"),
    [
        (affine_flow, C1, "must be None: the flow takes none"),
        (conditional_flow, None, "`context` is needed: the flow is conditional"),
    ],
)
def test_a_flows_context_is_there_where_it_is_asked_for(flow, context, message):
    with pytest.raises(ValueError, match=message):
        check_flow(flow(), INSIDE, context=context)


@pytest.mark.parametrize("x", [X3, X2[:1], X2[0]])
def test_bad_points_for_a_flow_are_refused(x):
    with pytest.raises(ValueError, match="`x` must have shape"):
        check_flow(affine_flow(), x)


def test_public_names():
    assert set(testing.__all__) == {
        "BIJECTOR_CHECKS",
        "FLOW_CHECKS",
        "CheckFailure",
        "Failure",
        "check_bijector",
        "check_flow",
    }
