"""The tables that tests of every bijector and of every recipe run through."""

import math

import numpy as np
import tensorflow_probability as tfp

from tfp_flows import recipes
from tfp_flows.bijectors import (
    IAF,
    ActNorm,
    AdditiveCoupling,
    AffineCoupling,
    Autoregressive,
    AutoregressiveSpline,
    Bounded,
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
    Permute,
    Planar,
    Radial,
    ResidualBlock,
    Rotation,
    Rotation2D,
    ShiftAndCube,
    Shuffle,
    Spline,
    SplineCoupling,
    Standardize,
    Sylvester,
    elementwise,
)

tfb = tfp.bijectors
tfd = tfp.distributions

RANDOM = {"identity_start": False, "seed": 1}


def points(event_size, scale=1.5):
    return scale * np.random.default_rng(event_size).normal(size=(11, event_size))


# name -> map; each stands in a coupling and in an autoregressive bijector below
MAPS = {
    "additive": elementwise.AdditiveMap,
    "affine": elementwise.AffineMap,
    "bernstein": lambda: elementwise.BernsteinMap(5, box=3.0),
    "mixture cdf": lambda: elementwise.MixtureCDFMap(2),
    "rational quadratic": lambda: elementwise.RationalQuadraticMap(4, box=3.0),
}

# name -> (bijector's class, factory, points)
CONTRACT = {
    "shift and cube": (ShiftAndCube, lambda: ShiftAndCube(1.5), points(2)),
    "shift and cube, 5-d": (ShiftAndCube, lambda: ShiftAndCube(-0.5, 3, 1), points(5)),
    "rotation": (Rotation2D, lambda: Rotation2D(0.7), points(2)),
    "leaky relu": (LeakyReLU, lambda: LeakyReLU(0.3), points(3)),
    "leaky relu, by coordinate": (
        LeakyReLU,
        lambda: LeakyReLU([0.3, 1.0, 2.5]),
        points(3),
    ),
    "affine": (AffineCoupling, lambda: AffineCoupling(hidden=(8,), seed=1), points(2)),
    "affine, odd, random start": (
        AffineCoupling,
        lambda: AffineCoupling(
            hidden=(8, 8), activation="tanh", identity_start=False, flip=True, seed=1
        ),
        points(5),
    ),
    "affine, halves": (
        AffineCoupling,
        lambda: AffineCoupling("halves", hidden=(8,), identity_start=False, seed=2),
        points(7),
    ),
    "affine, user's mask": (
        AffineCoupling,
        lambda: AffineCoupling([0, 1, 1, 0], hidden=(), identity_start=False, seed=3),
        points(4),
    ),
    "additive": (
        AdditiveCoupling,
        lambda: AdditiveCoupling(hidden=(8,), identity_start=False, seed=1),
        points(3),
    ),
    "spline coupling": (
        SplineCoupling,
        lambda: SplineCoupling(hidden=(8,), identity_start=False, box=3.0, seed=1),
        points(3),
    ),
    "spline coupling, affine": (
        SplineCoupling,
        lambda: SplineCoupling(
            affine=True, hidden=(8,), identity_start=False, box=3.0, seed=1
        ),
        points(3),
    ),
    "spline": (Spline, lambda: Spline(bins=4, box=3.0), points(3)),
    "spline, angles": (
        Spline,
        lambda: Spline(bins=4, circular=True),
        np.random.default_rng(0).uniform(-3.1, 3.1, (11, 2)),
    ),
    "spline coupling, angles": (
        SplineCoupling,
        lambda: SplineCoupling(
            "halves", circular=True, hidden=(8,), bins=5, identity_start=False, seed=1
        ),
        np.random.default_rng(0).uniform(-3.1, 3.1, (11, 4)),
    ),
    "lu linear": (LULinear, lambda: LULinear(identity_start=False, seed=1), points(4)),
    "householder": (Householder, lambda: Householder(seed=1), points(3)),
    "rotation, 4-d": (
        Rotation,
        lambda: Rotation(identity_start=False, seed=1),
        points(4),
    ),
    "permute": (Permute, lambda: Permute([2, 0, 1]), points(3)),
    "shuffle": (Shuffle, lambda: Shuffle(seed=1), points(5)),
    "act norm": (ActNorm, ActNorm, points(3)),
    "standardize": (Standardize, lambda: Standardize([1.0, -2.0, 0.0], 3.0), points(3)),
    "bounded": (Bounded, Bounded, points(2)),
    "bounded, every kind": (
        Bounded,
        lambda: Bounded(
            [0.0, -math.inf, -math.inf, 2.0, -3.0],
            [1.0, math.inf, 1.0, math.inf, 5.0],
            scale=[1.0, 1.0, 0.5, 2.0, 1.0],
        ),
        points(5),
    ),
    "maf": (
        MaskedAutoregressive,
        lambda: MaskedAutoregressive(hidden=(8,), identity_start=False, seed=1),
        points(3),
    ),
    "maf, residual, permuted": (
        MaskedAutoregressive,
        lambda: MaskedAutoregressive(
            [2, 0, 3, 1], hidden=(8, 8), residual=True, seed=1, identity_start=False
        ),
        points(4),
    ),
    "maf, 1-d": (MaskedAutoregressive, lambda: MaskedAutoregressive(seed=1), points(1)),
    "iaf": (
        IAF,
        lambda: IAF("reversed", hidden=(8,), identity_start=False, seed=1),
        points(3),
    ),
    "autoregressive spline": (
        AutoregressiveSpline,
        lambda: AutoregressiveSpline(
            hidden=(8,), bins=5, identity_start=False, box=3.0, affine=True, seed=1
        ),
        points(3),
    ),
    "autoregressive spline, angles": (
        AutoregressiveSpline,
        lambda: AutoregressiveSpline(
            "reversed", circular=True, hidden=(8,), bins=4, identity_start=False, seed=1
        ),
        np.random.default_rng(0).uniform(-3.1, 3.1, (11, 3)),
    ),
    "gaussianize": (Gaussianize, lambda: Gaussianize(3), points(2)),
    "mixture cdf": (MixtureCDF, lambda: MixtureCDF(3), points(2)),
    "mixture cdf coupling": (
        MixtureCDFCoupling,
        lambda: MixtureCDFCoupling(hidden=(8,), seed=1),
        points(2),
    ),
    "mixture cdf coupling, random start": (
        MixtureCDFCoupling,
        lambda: MixtureCDFCoupling(
            "halves", flip=True, components=3, hidden=(8,), identity_start=False, seed=1
        ),
        points(5),
    ),
    "mixture cdf, inverted": (
        MixtureCDF,
        lambda: tfb.Invert(MixtureCDF(2)),
        np.random.default_rng(0).uniform(0.02, 0.98, (11, 2)),
    ),
    "numerical inverse": (
        NumericalInverse,
        lambda: NumericalInverse(AffineCoupling(identity_start=False, seed=1)),
        points(2),
    ),
    "planar": (Planar, lambda: Planar(identity_start=False, seed=1), points(3)),
    "radial": (Radial, lambda: Radial(identity_start=False, seed=1), points(3)),
    "sylvester": (
        Sylvester,
        lambda: Sylvester(2, identity_start=False, seed=1),
        points(3),
    ),
    "residual block": (
        ResidualBlock,
        lambda: ResidualBlock(hidden=(8,), identity_start=False, seed=1),
        points(2),
    ),
    "columns": (
        Columns,
        lambda: Columns(AffineCoupling(hidden=(8,), **RANDOM), [3, 1]),
        points(4),
    ),
    "continuous": (
        ContinuousFlow,
        lambda: ContinuousFlow(hidden=(8,), identity_start=False, seed=1),
        points(2),
    ),
}

for name, make_map in MAPS.items():
    CONTRACT[f"coupling, {name}"] = (
        Coupling,
        lambda map=make_map: Coupling(map(), hidden=(8,), **RANDOM),
        points(3),
    )
    CONTRACT[f"autoregressive, {name}"] = (
        Autoregressive,
        lambda map=make_map: Autoregressive(map(), hidden=(8,), **RANDOM),
        points(3),
    )


# Those that take some seconds; others of their kind stay in the default tests. Maps
# that have a named bijector are in these by that.
SLOW = (
    *(f"coupling, {name}" for name in MAPS),
    *(f"autoregressive, {name}" for name in MAPS if name != "additive"),
    "autoregressive spline",
    "autoregressive spline, angles",
    "bounded, every kind",
    "continuous",
    "gaussianize",
    "iaf",
    "maf, residual, permuted",
    "mixture cdf",
    "mixture cdf coupling",
    "mixture cdf coupling, random start",
    "mixture cdf, inverted",
    "numerical inverse",
    "residual block",
    "spline coupling, affine",
    "spline coupling, angles",
    "spline, angles",
    "sylvester",
)

# The first case of each class, and each map in a coupling: files, dtypes and XLA are
# matters of these. In the loop over coordinates XLA takes a minute, so one map with a
# root finder stands there for all.
ONE_OF_EACH = (
    *{
        name if cls is Coupling else cls: name
        for name, (cls, *_) in reversed(CONTRACT.items())
    }.values(),
    "autoregressive, bernstein",
)

# Those of them that XLA compiles in a second, and those that take it a quarter of a
# minute and more, of which CI draws one.
QUICK = ("affine", "permute")
DEAR = (
    "autoregressive, bernstein",
    "continuous",
    "coupling, mixture cdf",
    "gaussianize",
    "mixture cdf coupling",
    "numerical inverse",
    "residual block",
)


# Recipes

TINY = {"layers": 2, "hidden": (8,), "seed": 0}

# Options of a small flow of each kind.
RECIPES = {
    "continuous": {**TINY, "layers": 1},
    "gaussian": {"hidden": (8,), "seed": 0},
    "gaussianization": {**TINY, "components": 3},
    "iaf": TINY,
    "maf": TINY,
    "neural_spline": {**TINY, "layers": 3, "bins": 4},
    "neural_spline_autoregressive": {**TINY, "bins": 4},
    "nice": TINY,
    "planar": TINY,
    "real_nvp": TINY,
    "residual": TINY,
}

COUPLINGS = ("neural_spline", "nice", "real_nvp")

ONE_OR_TWO = [
    (name, size)
    for name in RECIPES
    for size in (1, 2)
    if size > 1 or name not in COUPLINGS
]


def make(name, event_size, **options):
    return getattr(recipes, name)(event_size, **{**RECIPES[name], **options})
