"""Every family after a short training: it inverts itself and integrates to one."""

import functools
import math

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from zoo import ONE_OR_TWO, make

import tfp_flows as tfpf
from tfp_flows import bijectors
from tfp_flows.bijectors import (
    Autoregressive,
    AutoregressiveSpline,
    Bounded,
    Columns,
    Coupling,
    Householder,
    LeakyReLU,
    MaskedAutoregressive,
    MixtureCDF,
    MixtureCDFCoupling,
    NumericalInverse,
    Permute,
    Radial,
    Rotation2D,
    ShiftAndCube,
    Shuffle,
    Spline,
    SplineCoupling,
    Sylvester,
    elementwise,
)

tfb = tfp.bijectors
tfd = tfp.distributions

TINY = {"hidden": (8,), "seed": 0}
LINE, WIDE, UNIT = (-8.0, 8.0), (-30.0, 30.0), (0.0, 1.0)
CIRCLE = (-math.pi, math.pi)

# What no recipe uses: bijectors from base to data, widths, and the data's interval.
OTHERS = {
    "mixture cdf": (lambda d: [tfb.Invert(MixtureCDF(3))], (1, 2), WIDE),
    "mixture cdf coupling": (
        lambda d: [MixtureCDFCoupling(flip=i > 0, **TINY) for i in range(2)],
        (2,),
        LINE,
    ),
    "maps and columns": (
        lambda d: [
            Coupling(elementwise.BernsteinMap(4), **TINY),
            Columns(LeakyReLU(0.5), [1]),
            Autoregressive(elementwise.MixtureCDFMap(2), **TINY),
        ],
        (2,),
        LINE,
    ),
    "radial": (
        lambda d: [tfb.Invert(Radial(identity_start=False, seed=i)) for i in range(3)],
        (1, 2),
        LINE,
    ),
    "sylvester": (
        lambda d: [tfb.Invert(Sylvester(d, identity_start=False, seed=0))],
        (1, 2),
        LINE,
    ),
    "numerical inverse": (
        lambda d: [
            tfb.Invert(NumericalInverse(tfb.Invert(MaskedAutoregressive(**TINY))))
        ],
        (1, 2),
        LINE,
    ),
    "elementwise and linear": (
        lambda d: [
            Spline(bins=4),
            LeakyReLU(0.5),
            Householder(seed=0),
            Shuffle(seed=0),
        ],
        (1, 2),
        LINE,
    ),
    "of the plane": (
        lambda d: [
            ShiftAndCube(0.02, trainable=False),
            Rotation2D(0.5),
            Permute([1, 0]),
        ],
        (2,),
        LINE,
    ),
    "bounded": (
        lambda d: [AutoregressiveSpline(bins=4, **TINY), Bounded(0.0, 1.0)],
        (1, 2),
        UNIT,
    ),
    "circular spline": (lambda d: [Spline(bins=4, circular=True)], (1, 2), CIRCLE),
    "circular autoregressive spline": (
        lambda d: [AutoregressiveSpline(bins=4, circular=True, **TINY)],
        (1, 2),
        CIRCLE,
    ),
    "circular spline coupling": (
        lambda d: [
            SplineCoupling(bins=4, circular=True, flip=i > 0, **TINY) for i in range(2)
        ],
        (2,),
        CIRCLE,
    ),
}

FAMILIES = [*ONE_OR_TWO, *((name, d) for name in OTHERS for d in OTHERS[name][1])]
CHEAP = ("gaussian", "circular spline")


def marked(families):
    """Leaves the dear ones to a campaign."""
    return [
        pytest.param(*f, marks=() if f[0] in CHEAP else pytest.mark.campaign)
        for f in families
    ]


def interval(name):
    return OTHERS[name][2] if name in OTHERS else LINE


def data(name, size, seed):
    x = tfpf.densities.make("two_moons", noise=0.2).sample(600, seed=seed)[:, :size]
    if interval(name) == UNIT:
        return 1 / (1 + np.exp(-x))
    if interval(name) == CIRCLE:
        return (1.5 * x + math.pi) % (2 * math.pi) - math.pi
    return x


def untrained(name, size, dtype):
    if name not in OTHERS:
        return make(name, size, dtype=dtype)
    base = None
    if name == "mixture cdf" or interval(name) == CIRCLE:
        low, high = UNIT if name == "mixture cdf" else CIRCLE
        ends = (np.full([size], end, dtype) for end in (low, high))
        base = tfd.Independent(tfd.Uniform(*ends), 1)
    return tfpf.Flow(OTHERS[name][0](size), base, size, dtype=dtype)


@functools.cache
def trained(name, size, dtype):
    """Returns a flow after some steps, not to be changed."""
    keras.utils.set_random_seed(0)
    flow = untrained(name, size, dtype)
    flow.compile(keras.optimizers.Adam(1e-2, global_clipnorm=1.0))
    start = [np.array(weight) for weight in flow.trainable_weights]
    flow.fit(data(name, size, 0), batch_size=100, epochs=5, verbose=0)
    now = [np.array(weight) for weight in flow.trainable_weights]
    moved = max(np.abs(b - a).max() for a, b in zip(start, now, strict=True))
    assert moved > 1e-3
    return flow


def error_of_the_round_trip(name, size, dtype):
    flow, x = trained(name, size, dtype), data(name, size, 1).astype(dtype)
    if interval(name) in (LINE, WIDE):
        x = np.concatenate([x, 3 * x])
    bijector = flow.distribution.bijector
    z = bijector.inverse(tf.constant(x)).numpy()
    back = bijector.forward(tf.constant(z)).numpy()
    difference = np.abs(back - x)
    if interval(name) == CIRCLE:
        difference = np.minimum(difference, 2 * math.pi - difference)
    return (difference / (1 + np.abs(x))).max()


@pytest.mark.slow
def test_no_bijector_is_missing():
    used = set()
    for name, size in FAMILIES:
        for bijector in untrained(name, size, "float32").bijectors:
            used |= {type(part).__name__ for part in (bijector, *bijector.submodules)}
    assert set(bijectors.__all__) <= used


@pytest.mark.parametrize(
    ("name", "size"), marked(f for f in FAMILIES if "spline" in f[0])
)
def test_splines_invert_themselves_in_float32(name, size):
    assert error_of_the_round_trip(name, size, "float32") < 1e-3


@pytest.mark.parametrize(("name", "size"), marked(FAMILIES))
def test_inverts_itself_in_float64(name, size):
    assert error_of_the_round_trip(name, size, "float64") < 1e-5


@pytest.mark.parametrize(("name", "size"), marked(FAMILIES))
def test_the_density_integrates_to_one(name, size):
    flow, (low, high) = trained(name, size, "float64"), interval(name)
    n = 4000 if size == 1 else 300
    step = (high - low) / n
    axis = low + step * (np.arange(n) + 0.5)
    grid = np.stack(np.meshgrid(*[axis] * size), -1)
    mass = np.exp(flow.log_prob(grid, batch_size=20_000)).sum() * step**size
    assert mass == pytest.approx(1, abs=1e-3)
