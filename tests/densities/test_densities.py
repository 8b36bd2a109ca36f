"""Named densities: their log_prob is exact, and their samples follow it."""

import numpy as np
import pytest
from sklearn import datasets

from tfp_flows import densities
from tfp_flows.densities import preimages

NAMES = densities.names()

# Twice the box that holds all but 1e-9 of the mass, and a step well below the noise.
GRIDS = {
    "bimodal_1d": ([-8], [8], 0.1),
    "checkerboard": ([-5, -5], [5, 5], 0.1),
    "circles": ([-5, -5], [5, 5], 0.12),
    "eight_gaussians": ([-6, -6], [6, 6], 0.2),
    "pinwheel": ([-6, -6], [6, 6], 0.06),
    "quadratic": ([-8, -26], [180, 26], 0.4),
    "rings": ([-3.6, -3.6], [3.6, 3.6], 0.05),
    "swiss_roll": ([-4.5, -4.5], [4.5, 4.5], 0.1),
    "two_moons": ([-1.4, -0.9], [2.4, 1.4], 0.03),
    "two_spirals": ([-4.2, -4.2], [4.2, 4.2], 0.07),
}

ENTROPIES = {
    "checkerboard": np.log(32),
    "circles": 3.268,
    "eight_gaussians": 2.832,
    "pinwheel": 2.318,
    "quadratic": np.log(2 * np.pi * np.e) + np.log(4),
    "rings": 2.623,
    "swiss_roll": 2.670,
    "two_moons": 0.289,
    "two_spirals": 2.645,
}


@pytest.mark.parametrize("name", NAMES)
def test_integrates_to_one(name):
    low, high, step = GRIDS[name]
    axes = [np.arange(a + step / 2, b, step) for a, b in zip(low, high, strict=True)]
    x = np.stack(np.meshgrid(*axes, indexing="ij"), axis=-1)
    mass = np.exp(densities.make(name).log_prob(x)).sum() * step ** len(axes)
    assert mass == pytest.approx(1, abs=1e-7)


@pytest.mark.parametrize("name", NAMES)
def test_samples_have_the_entropy(name):
    density = densities.make(name)
    agrees_with_entropy(density, density.sample(30_000, seed=0))


@pytest.mark.parametrize("name", ENTROPIES)
def test_entropy_is_the_known_one(name):
    assert densities.make(name).entropy == pytest.approx(ENTROPIES[name], abs=5e-4)


def agrees_with_entropy(density, x):
    surprise = -density.log_prob(x)
    error = surprise.std() / np.sqrt(len(x))
    assert abs(surprise.mean() - density.entropy) <= 4 * error + 1e-9


# The definitions in the literature, written as these write them.


def moons(rng, n):
    return datasets.make_moons(n, noise=0.05, random_state=rng)[0]


def circles(rng, n):
    return 3 * datasets.make_circles(n, factor=0.5, noise=0.08, random_state=rng)[0]


def swiss_roll(rng, n):
    roll, _ = datasets.make_swiss_roll(n, noise=1.0, random_state=rng)
    return roll[:, [0, 2]] / 5


def eight_gaussians(rng, n):
    angle = np.pi / 4 * rng.randint(8, size=n)
    centers = 4 * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    return (centers + 0.5 * rng.randn(n, 2)) / 1.414


def rings(rng, n):
    angle = np.linspace(0, 2 * np.pi, n // 4, endpoint=False)
    circle = np.stack([np.cos(angle), np.sin(angle)], axis=1)
    x = 3 * np.concatenate([radius * circle for radius in (0.25, 0.5, 0.75, 1)])
    return x + 0.08 * rng.randn(len(x), 2)


def two_spirals(rng, n):
    turn = np.sqrt(rng.rand(n)) * 540 * 2 * np.pi / 360
    arm = np.stack([-np.cos(turn) * turn, np.sin(turn) * turn], axis=1)
    arm += 0.5 * rng.rand(n, 2)
    sign = np.where(np.arange(n) % 2, 1, -1)[:, None]
    return sign * arm / 3 + 0.1 * rng.randn(n, 2)


def checkerboard(rng, n):
    x1 = 4 * rng.rand(n) - 2
    x2 = rng.rand(n) - 2 * rng.randint(0, 2, n) + np.floor(x1) % 2
    return 2 * np.stack([x1, x2], axis=1)


def pinwheel(rng, n):
    feature = rng.randn(n, 2) * [0.3, 0.1] + [1, 0]
    angle = 2 * np.pi / 5 * rng.randint(5, size=n) + 0.25 * np.exp(feature[:, 0])
    rotation = np.array(
        [[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]]
    )
    return 2 * np.einsum("ni,ijn->nj", feature, rotation)


@pytest.mark.parametrize(
    "name, sample",
    {
        "two_moons": moons,
        "circles": circles,
        "swiss_roll": swiss_roll,
        "eight_gaussians": eight_gaussians,
        "rings": rings,
        "two_spirals": two_spirals,
        "checkerboard": checkerboard,
        "pinwheel": pinwheel,
    }.items(),
)
def test_agrees_with_its_source(name, sample):
    agrees_with_entropy(densities.make(name), sample(np.random.RandomState(1), 10_000))


# Exactness beyond what samples can tell.


def log_integral(x, curve, noise):
    """Composite Gauss-Legendre with 4000 panels, the same for every point."""
    nodes, weights = np.polynomial.legendre.leggauss(16)
    s = ((np.arange(4000)[:, None] + (1 + nodes) / 2) / 4000).ravel()
    weights = np.tile(weights / 8000, 4000)
    log_kernel = -(np.abs(x[:, None] - curve(s)) ** 2) / (2 * noise**2)
    top = log_kernel.max(axis=1)
    integral = np.exp(log_kernel - top[:, None]) @ weights
    return top + np.log(integral) - np.log(2 * np.pi * noise**2)


@pytest.mark.parametrize("scale", [1, 10])
@pytest.mark.parametrize("noise", [0.05, 0.5])
def test_curves_agree_with_a_brute_force_integral(scale, noise):
    x = scale * np.random.default_rng(0).standard_normal((8, 2))
    z = x[:, 0] + 1j * x[:, 1]
    moons = [
        log_integral(z, curve, noise)
        for curve in (
            lambda s: np.exp(1j * np.pi * s),
            lambda s: 1 + 0.5j - np.exp(1j * np.pi * s),
        )
    ]
    expected = np.logaddexp(*moons) - np.log(2)
    actual = densities.two_moons(noise=noise).log_prob(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-11)

    def roll(s):
        angle = 1.5 * np.pi * (1 + 2 * s)
        return angle * np.exp(1j * angle) / 5

    expected = log_integral(z, roll, noise)
    actual = densities.swiss_roll(noise=5 * noise).log_prob(x)
    np.testing.assert_allclose(actual, expected, rtol=1e-11)


def test_two_spirals_agree_with_a_brute_force_integral():
    """The jitter as a sum over many shifted Gaussians instead of error functions."""
    x = np.array([[0.1, 0.2], [2.0, -1.5], [0.0, 3.5]])
    nodes, weights = np.polynomial.legendre.leggauss(12)
    shift = (0.25 + 0.25 * np.add.outer(nodes, 1j * nodes).ravel()) / 3
    shift += 0.25j / 3
    weights = np.outer(weights, weights).ravel() / 4
    s = np.linspace(0, 1, 20_001)
    spiral = -3 * np.pi * s * np.exp(-3j * np.pi * s) / 3
    for point in x:
        z, density = complex(*point), 0.0
        for sign in (1, -1):
            distance = np.abs(z - sign * (spiral + shift[:, None]))
            kernel = np.exp(-(distance**2) / (2 * 0.01)) / (2 * np.pi * 0.01)
            density += weights @ np.trapezoid(2 * s * kernel, s, axis=1) / 2
        actual = densities.two_spirals().log_prob(point)
        assert actual == pytest.approx(np.log(density), abs=1e-7)


@pytest.mark.parametrize("radius", [5.5, 7.5, 9.5])
def test_pinwheel_far_out_is_the_mean_over_the_circle(radius):
    angle = 2 * np.pi / 5 * (np.arange(1000) + 0.5) / 1000
    terms = preimages._sum_over_preimages(np.full(1000, radius), angle)
    mean = np.logaddexp.reduce(terms) - np.log(1000)
    assert mean == pytest.approx(preimages._circle_mean(np.array([radius]))[0], abs=0.1)


def test_pinwheel_counts_every_preimage():
    """Features of length 3, where the map folds, all find themselves again."""
    features = 3 * np.exp(1j * np.linspace(-3, 3, 31))
    r, t = features.real, features.imag
    one = -((r - 1) ** 2) / 0.18 - t**2 / 0.02 - np.log(2 * np.pi * 0.03)
    one -= np.log(20 * np.abs(1 + t * np.exp(r) / 4))
    z = 2 * features * np.exp(-0.25j * np.exp(r))
    total = densities.pinwheel().log_prob(np.stack([z.real, z.imag], axis=1))
    assert (total >= one - 1e-6 * np.abs(one)).all()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("distance", [1e2, 1e3, 1e6, 1e20, 1e200])
def test_tails_fall_and_stay_numbers(name, distance):
    density = densities.make(name)
    directions = np.random.default_rng(0).standard_normal((20, density.event_size))
    near, far = density.log_prob(
        directions * np.array([1.0, 3])[:, None, None] * distance
    )
    if name == "checkerboard":
        assert (near == -np.inf).all()
    elif distance < 1e10:
        assert np.isfinite(near).all() and np.isfinite(far).all()
        assert (far < near).all()
    else:
        assert not np.isnan(far).any() and (far <= -1e10).all()


@pytest.mark.parametrize("noise", [1e-9, 1e-6, 1e-3])
def test_little_noise_leaves_curve_and_noise_apart(noise):
    """Then the entropy is that of the curve plus that of the noise across it."""
    across = np.log(2 * np.pi * np.e * noise**2) / 2
    expected = {
        "two_moons": np.log(2 * np.pi) + across,
        "rings": np.log(4)
        + np.log(2 * np.pi * np.array([0.75, 1.5, 2.25, 3])).mean()
        + across,
        "eight_gaussians": np.log(8) + 2 * (across - np.log(1.414)),
        "bimodal_1d": -0.3 * np.log(0.3) - 0.7 * np.log(0.7) + across,
    }
    for name, entropy in expected.items():
        assert densities.make(name, noise=noise).entropy == pytest.approx(
            entropy, abs=1e-5 + noise
        )


@pytest.mark.parametrize("name", ["two_moons", "swiss_roll", "circles", "bimodal_1d"])
def test_much_noise_leaves_a_gaussian(name):
    density = densities.make(name, noise=1e4)
    scale = {"swiss_roll": 1e4 / 5, "circles": 3e4}.get(name, 1e4)
    gaussian = density.event_size * np.log(2 * np.pi * np.e * scale**2) / 2
    assert density.entropy == pytest.approx(gaussian, abs=1e-5)


# The interface.


@pytest.mark.parametrize("name", NAMES)
def test_shapes_and_seeds(name):
    density = densities.make(name)
    assert (density.name, repr(density)) == (name, repr(getattr(densities, name)()))
    assert isinstance(density.entropy, float)
    x = density.sample(6, seed=3)
    assert x.shape == (6, density.event_size) and x.dtype == np.float64
    np.testing.assert_array_equal(x, density.sample(6, seed=3))
    assert not np.array_equal(x, density.sample(6, seed=4))
    assert not np.array_equal(density.sample(6), density.sample(6))
    log_prob = density.log_prob(x)
    assert log_prob.shape == (6,) and log_prob.dtype == np.float64
    batched = density.log_prob(x.reshape(2, 3, -1))
    np.testing.assert_allclose(batched, log_prob.reshape(2, 3), rtol=1e-12)
    single = density.log_prob(x[0].tolist())
    assert single.shape == () and single == pytest.approx(log_prob[0], rel=1e-12)


def test_a_generator_is_drawn_on():
    rng = np.random.default_rng(0)
    density = densities.two_moons()
    assert not np.array_equal(density.sample(2, seed=rng), density.sample(2, seed=rng))


def test_chunks_do_not_show():
    density = densities.two_spirals()
    x = density.sample(5000, seed=0)
    np.testing.assert_allclose(
        density.log_prob(x)[-10:], density.log_prob(x[-10:]), rtol=1e-12
    )


def test_parameters_reach_the_density():
    density = densities.make("two_moons", noise=0.2)
    assert density.parameters == {"noise": 0.2}
    assert repr(density) == "two_moons(noise=0.2)"
    assert density.entropy > densities.two_moons().entropy
    assert densities.circles(factor=0.9).entropy < densities.circles().entropy


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: densities.make("two_moon"), "did you mean 'two_moons'"),
        (lambda: densities.make("two_moons", sigma=1), "'sigma'.*Known: noise"),
        (lambda: densities.make("quadratic", noise=1), "quadratic takes no parameters"),
        (lambda: densities.two_moons(noise=-1), r"`noise` must be > 0. Received: -1\."),
        (lambda: densities.rings(noise=0), "`noise` must be > 0. Received: 0"),
        (lambda: densities.rings(noise=np.nan), "`noise` must be > 0. Received: nan"),
        (lambda: densities.rings(noise="0.1"), "`noise` must be > 0. Received: '0.1'"),
        (lambda: densities.rings(noise=1e-12), "`noise` must be within 1e-9..1e9"),
        (lambda: densities.rings(noise=np.inf), "`noise` must be within 1e-9..1e9"),
        (lambda: densities.circles(factor=1), "`factor` must be > 0 and < 1"),
        (lambda: densities.bimodal_1d(weight=0), "`weight` must be > 0 and < 1"),
        (lambda: densities.two_moons().sample(0), "`n` must be a whole number"),
        (lambda: densities.two_moons().log_prob([[1, 2, 3]]), r"shape \(\.\.\., 2\)"),
        (lambda: densities.two_moons().log_prob([[1, np.nan]]), "must be finite"),
        (lambda: densities.bimodal_1d().log_prob([1.0, 2.0]), "Remedy"),
    ],
)
def test_bad_input_says_what_is_expected(call, message):
    with pytest.raises(ValueError, match=message):
        call()
