"""Every bijector that takes a context through the contract, and what it does with it."""

import inspect
import math

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows import bijectors
from tfp_flows.bijectors import (
    IAF,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    AutoregressiveSpline,
    Householder,
    LeakyReLU,
    LULinear,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureCDFCoupling,
    Rotation,
    Rotation2D,
    ShiftAndCube,
    Spline,
    SplineCoupling,
)
from tfp_flows.testing import BIJECTOR_CHECKS, check_bijector

tfb = tfp.bijectors

SMALL = {"context_size": 2, "hidden": (8,), "seed": 1}
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
    "lu linear": (LULinear, lambda: LULinear(**RANDOM), points(4)),
    "householder": (Householder, lambda: Householder(**SMALL), points(3)),
    "rotation": (Rotation, lambda: Rotation(**RANDOM), points(4)),
    "act norm": (ActNorm, lambda: ActNorm(**SMALL), points(3)),
}


@pytest.mark.parametrize("case", CONDITIONAL)
def test_contract(case):
    _, factory, x = CONDITIONAL[case]
    passed = check_bijector(factory, x, context=CONTEXT)
    assert set(BIJECTOR_CHECKS) - set(passed) <= {"config"}  # which tfb.Invert lacks


def test_the_contract_covers_every_bijector_that_takes_a_context():
    public = {getattr(bijectors, name) for name in bijectors.__all__}
    takes = {c for c in public if "context_size" in inspect.signature(c).parameters}
    assert takes == {cls for cls, _, _ in CONDITIONAL.values()}
