"""Supports: densities and masses in the data's own units, samples within them."""

import json
import math

import keras
import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp

import tfp_flows as tfpf
from tfp_flows.bijectors import AffineCoupling, Bounded
from tfp_flows.supports import Supports

tfb = tfp.bijectors
tfd = tfp.distributions

EVERY_KIND = [
    "real",
    "positive",
    (0.1, 0.7),
    (None, -2.0),
    "circular",
    ("circular", 24),
    "integer",
    ("integer", 0, 3),
]


def normal_flow(supports, loc=0.0, scale=1.0):
    """Returns independent normals in front of the supports' bijector."""
    loc, scale = (
        np.broadcast_to(part, supports.event_size).astype(supports.dtype)
        for part in (loc, scale)
    )
    return tfpf.Flow(
        [tfb.Scale(scale), tfb.Shift(loc), *supports.bijectors()],
        event_size=supports.event_size,
        dtype=supports.dtype,
    )


def coupled_flow(supports, context_size=0):
    """Returns a flow of dependent columns, with random weights."""
    couplings = [
        AffineCoupling(
            hidden=(8,),
            identity_start=False,
            flip=flip,
            seed=seed,
            context_size=context_size,
        )
        for seed, flip in enumerate((False, True))
    ]
    return tfpf.Flow(
        [*couplings, *supports.bijectors()],
        event_size=supports.event_size,
        dtype=supports.dtype,
    )


def every_kind(n=300, seed=0):
    rng = np.random.default_rng(seed)
    return np.stack(
        [
            rng.normal(size=n),
            rng.exponential(size=n),
            rng.uniform(0.1, 0.7, n),
            -2.0 - rng.gamma(2.0, size=n),
            rng.vonmises(3.0, 1.0, n),
            rng.uniform(0, 24, n),
            rng.poisson(3.0, n) - 2.0,
            rng.integers(0, 4, n),
        ],
        axis=-1,
    )


def steps(edges):
    """Returns the middles and the widths of cells."""
    return (edges[1:] + edges[:-1]) / 2, np.diff(edges)


class TestDensity:
    @pytest.mark.parametrize(
        ("spec", "edges"),
        [
            ("real", np.linspace(-12, 12, 2001)),
            ("positive", np.geomspace(1e-9, 1e6, 20_001)),
            ((-3.0, 5.0), np.linspace(-3, 5, 20_001)),
            ((2.0, None), 2 + np.geomspace(1e-9, 1e6, 20_001)),
            ((None, 2.0), 2 - np.geomspace(1e6, 1e-9, 20_001)),
            ("circular", np.linspace(-np.pi, np.pi, 1001)),
            (("circular", 24), np.linspace(0, 24, 1001)),
            (("circular", -180, 180), np.linspace(-180, 180, 1001)),
        ],
    )
    def test_integrates_to_one_in_the_units_of_the_data(self, spec, edges):
        supports = Supports(spec, 1, dtype="float64")
        flow = normal_flow(supports, 0.4, 0.9)
        x, widths = steps(edges)
        total = np.exp(supports.log_prob(flow, x[:, None])) @ widths
        assert total == pytest.approx(1.0, abs=1e-3)

    @pytest.mark.parametrize(
        ("spec", "first", "last", "scale"),
        [
            ("integer", -60, 60, 0.3),
            ("integer", -60, 60, 5.0),
            (("integer", 0, 1), 0, 1, 1.8),
            (("integer", 7, 7), 7, 7, 0.3),
            (("integer", 0, None), 0, 1000, 1.5),
            (("integer", None, 5), -1000, 5, 1.5),
        ],
    )
    def test_masses_sum_to_one(self, spec, first, last, scale):
        supports = Supports(spec, 1, dtype="float64")
        flow = normal_flow(supports, 0.3, scale)
        n = np.arange(first, last + 1.0)[:, None]
        total = np.exp(supports.log_prob(flow, n)).sum()
        assert total == pytest.approx(1.0, abs=2e-3)

    @pytest.mark.parametrize("spec", [["circular", "integer"], ["circular", (0, 2)]])
    def test_dependent_columns(self, spec):
        supports = Supports(spec, 2, dtype="float64")
        flow = coupled_flow(supports)
        angles, da = steps(np.linspace(-np.pi, np.pi, 101))
        others, db = np.arange(-10.0, 12.0), np.ones(22)
        if spec[1] != "integer":
            normal = tfd.Normal(np.float64(0), np.float64(1))
            others, db = steps(2 * normal.cdf(np.linspace(-8, 8, 401)).numpy())
        grid = np.stack(np.meshgrid(angles, others, indexing="ij"), -1)
        density = np.exp(supports.log_prob(flow, grid, tolerance=0.01))
        assert density.shape == grid.shape[:2]
        assert da @ density @ db == pytest.approx(1.0, abs=3e-3)

    def test_wrapped_normal(self):
        supports = Supports(["circular", ("circular", 24)], 2, dtype="float64")
        flow = normal_flow(supports, [3.0, 50.0], [1.5, 4.0])
        theta = np.random.default_rng(0).uniform(-9, 30, (50, 2))
        expected = 0.0
        for i, (loc, scale) in enumerate([(3.0, 1.5), (50.0, 4.0)]):
            unit = 2 * np.pi / [2 * np.pi, 24.0][i]
            k = np.arange(1, 60)
            waves = np.exp(-0.5 * (k * scale * unit) ** 2) * np.cos(
                k * (theta[:, i, None] - loc) * unit
            )
            expected += np.log((1 + 2 * waves.sum(-1)) * unit / (2 * np.pi))
        np.testing.assert_allclose(supports.log_prob(flow, theta), expected, atol=1e-5)

    def test_wrapped_cauchy_whose_tails_are_heavy(self):
        supports = Supports("circular", 1, dtype="float64")
        base = tfd.Cauchy(np.float64(0.3), np.float64(0.8))
        flow = tfpf.Flow([], base, 1)
        theta, width = steps(np.linspace(-np.pi, np.pi, 301))
        expected = np.sinh(0.8) / (np.cosh(0.8) - np.cos(theta - 0.3)) / (2 * np.pi)
        log_prob = supports.log_prob(flow, theta[:, None])
        np.testing.assert_allclose(log_prob, np.log(expected), atol=1e-3)
        assert np.exp(log_prob) @ width == pytest.approx(1.0, abs=1e-3)

    def test_modes_many_turns_apart(self):
        supports = Supports("circular", 1, dtype="float64")
        base = tfd.MixtureSameFamily(
            tfd.Categorical(probs=np.array([0.5, 0.5])),
            tfd.Normal(np.array([0.0, 30.0]), np.array([0.1, 0.1])),
        )
        theta, width = steps(np.linspace(-np.pi, np.pi, 2001))
        log_prob = supports.log_prob(tfpf.Flow([], base, 1), theta[:, None])
        assert np.exp(log_prob) @ width == pytest.approx(1.0, abs=1e-6)

    def test_many_circles(self):
        # All 3^12 turns would be half a million evaluations for each point.
        supports = Supports("circular", 12, dtype="float64")
        flow = normal_flow(supports, 0.0, 0.8)
        theta = np.random.default_rng(0).normal(scale=0.8, size=(5, 12))
        theta[0, :2] = 3.1  # near the end, where two turns count
        one = Supports("circular", 1, dtype="float64")
        each = one.log_prob(normal_flow(one, 0.0, 0.8), theta[..., None])
        np.testing.assert_allclose(
            supports.log_prob(flow, theta), each.sum(-1), atol=1e-3
        )

    def test_a_flow_all_over_the_line_is_refused(self):
        supports = Supports("circular", 1)
        with pytest.raises(ValueError, match="1000 turns"):
            supports.log_prob(normal_flow(supports, 0.0, 1e4), [[0.0]])

    @pytest.mark.parametrize("width", [1, 2, 3, 5])
    def test_cells_of_a_normal(self, width):
        supports = Supports("integer", width, dtype="float64")
        flow = normal_flow(supports, 0.3, 1.7)
        n = np.random.default_rng(0).integers(-3, 4, (20, width)).astype(float)
        cdf = tfd.Normal(np.float64(0.3), np.float64(1.7)).cdf
        expected = np.log(cdf(n + 1) - cdf(n)).sum(-1)
        log_prob = supports.log_prob(flow, n, tolerance=3e-3)
        np.testing.assert_allclose(log_prob, expected, atol=3e-3)

    def test_a_mass_that_is_not_exact_warns(self):
        supports = Supports("integer", 4, dtype="float64")
        with pytest.warns(UserWarning, match="1 of 1 cells is not known to 0.001"):
            supports.log_prob(normal_flow(supports, 0.5, 0.02), np.zeros((1, 4)))

    def test_outside_of_the_support_the_density_is_zero(self):
        supports = Supports(EVERY_KIND, 8)
        flow = normal_flow(supports, 0.0, 2.0)
        inside = every_kind(1)[0]
        x = np.tile(inside, (9, 1))
        outside = [[1, -0.1], [2, 0.71], [2, 0.0], [3, -1.9], [6, 0.5], [7, 4], [7, -1]]
        for row, (column, value) in enumerate(outside):
            x[row, int(column)] = value
        x[7, 4] += 2 * np.pi  # the same angle
        log_prob = supports.log_prob(flow, x)
        assert (log_prob[:7] == -np.inf).all()
        np.testing.assert_allclose(log_prob[7], log_prob[8], rtol=1e-4)

    def test_real_columns_are_the_flow_itself(self):
        supports = Supports("real", 2)
        assert supports.bijectors() == [] and not supports.is_random
        flow = coupled_flow(supports)
        x = np.random.default_rng(0).normal(size=(4, 3, 2)).astype("float32")
        np.testing.assert_array_equal(supports.log_prob(flow, x), flow.log_prob(x))
        np.testing.assert_array_equal(supports.dequantize(x), x)
        np.testing.assert_array_equal(supports.quantize(x), x)

    @pytest.mark.parametrize("spec", [["circular", "integer"], ["real", "positive"]])
    def test_contexts(self, spec):
        supports = Supports(spec, 2)
        flow = coupled_flow(supports, context_size=3)
        context = np.random.default_rng(0).normal(size=(3, 3)).astype("float32")
        x = np.tile([2.0, 1.0], (3, 1))
        log_prob = supports.log_prob(flow, x, context, tolerance=0.02)
        assert len(np.unique(log_prob.round(4))) == 3
        for i in (0, 2):
            alone = supports.log_prob(flow, x[i], context[i], tolerance=0.02)
            assert alone == pytest.approx(log_prob[i], abs=1e-3)
        with pytest.raises(ValueError, match="must be given"):
            supports.log_prob(flow, x)
        with pytest.raises(ValueError, match="must be None"):
            supports.log_prob(coupled_flow(supports), x, context)


class TestPoints:
    @pytest.mark.parametrize(
        ("dtype", "scale"), [("float32", 40.0), ("float32", 1e6), ("float64", 40.0)]
    )
    def test_samples_stay_inside(self, dtype, scale):
        supports = Supports(EVERY_KIND, 8, dtype=dtype)
        supports.adapt(every_kind())
        flow = normal_flow(supports, 0.0, scale)
        samples = flow.sample(2000, seed=0)
        assert np.isfinite(flow.log_prob(samples)).all()
        data = supports.quantize(samples)
        assert data.dtype == dtype and np.isfinite(data).all()
        exact = data.astype(np.float64)
        low = np.array([-np.inf, 0, 0.1, -np.inf, -np.pi, 0, -np.inf, 0])
        high = np.array([np.inf, np.inf, 0.7, -2.0, np.pi, 24, np.inf, 3])
        assert (exact >= low).all() and (exact <= high).all()
        strict = [1, 2, 3]
        assert (exact[:, strict] > low[strict]).all()
        assert (exact[:, [2, 3, 4, 5]] < high[[2, 3, 4, 5]]).all()
        assert (exact[:, 6:] % 1 == 0).all()

    @pytest.mark.parametrize(
        ("spec", "dtype"),
        [
            ("positive", "float32"),
            ((0, 1), "float32"),
            ((0.1, 0.7), "float32"),
            ((1e3, 1001), "float32"),
            ((0.1, 0.7), "float64"),
        ],
    )
    def test_data_on_the_ends_have_a_density(self, spec, dtype):
        supports = Supports(spec, 1, dtype=dtype)
        low, high = (0.0, 1.0) if spec == "positive" else spec
        x = np.array([[low], [high], [(low + high) / 2]])
        supports.adapt(x)
        flow = normal_flow(supports)
        assert np.isfinite(supports.log_prob(flow, x)).all()
        assert np.isfinite(flow.log_prob(supports.dequantize(x))).all()
        # An end is no outlier in units of the base.
        assert (np.abs(supports.bijectors()[0].inverse(x.astype(dtype))) < 9).all()

    def test_quantize_undoes_dequantize(self):
        x = every_kind()
        supports = Supports(EVERY_KIND, 8, dtype="float64")
        supports.adapt(x)
        for seed in range(3):
            points = supports.dequantize(x, seed=seed)
            np.testing.assert_allclose(supports.quantize(points), x, atol=1e-12)

    def test_noise(self):
        x = np.zeros((20_000, 2))
        supports = Supports(["integer", ("circular", 24)], 2)
        points = supports.dequantize(x, seed=0)
        assert 0 <= points[:, 0].min() and points[:, 0].max() < 1
        np.testing.assert_allclose(
            np.histogram(points[:, 0], 10, (0, 1))[0], 2000, rtol=0.1
        )
        np.testing.assert_array_equal(points, supports.dequantize(x, seed=0))
        assert (points != supports.dequantize(x, seed=1)).any()
        still = supports.dequantize(x, noise=False)
        np.testing.assert_array_equal(still, supports.dequantize(x, noise=False))
        assert (still[:, 0] == 0.5).all()

    def test_noise_never_reaches_the_next_number(self):
        supports = Supports("integer", 1)
        n = np.full((50_000, 1), 2.0**20 - 1)
        assert (supports.quantize(supports.dequantize(n, seed=0)) == n).all()

    def test_circles_are_cut_where_the_data_are_fewest(self):
        rng = np.random.default_rng(0)
        hours = (rng.normal(0, 2, 500) % 24)[:, None]
        supports = Supports(("circular", 24), 1)
        supports.adapt(hours)
        points = supports.dequantize(hours, seed=0)
        assert np.ptp(points) < 16  # in one piece; in [0, 24) they are in two
        (cut,) = supports.get_config()["cuts"]
        assert abs(cut - 12) < 2

    def test_a_laid_out_circle_has_no_step(self):
        supports = Supports("circular", 1)
        theta = np.random.default_rng(0).uniform(-np.pi, np.pi, (200_000, 1))
        points = supports.dequantize(theta, seed=0) / (2 * np.pi) + 0.5
        counts, edges = np.histogram(points, 50, (-0.125, 1.125))
        middle = (edges[1:] + edges[:-1]) / 2
        window = np.clip(np.minimum(middle + 0.125, 1.125 - middle) / 0.25, 0, 1)
        np.testing.assert_allclose(counts, 200_000 / 40 * window, atol=300)

    def test_fit_maximizes_a_lower_bound(self):
        x = every_kind(100)[:, [4, 6]]
        supports = Supports(["circular", "integer"], 2, dtype="float64")
        supports.adapt(x)
        flow = coupled_flow(supports)
        bound = [
            flow.log_prob(supports.dequantize(x, seed=seed)) for seed in range(100)
        ]
        assert (np.mean(bound, 0) < supports.log_prob(flow, x) + 0.1).all()

    def test_units_do_not_matter(self):
        x = np.random.default_rng(0).exponential(size=(500, 1))
        log_probs = []
        for unit in (1.0, 1e-9):
            supports = Supports("positive", 1)
            supports.adapt(unit * x)
            log_probs.append(supports.log_prob(normal_flow(supports), unit * x))
        np.testing.assert_allclose(
            log_probs[1], log_probs[0] + math.log(1e9), atol=1e-3
        )

    def test_uniform_and_exponential_data_are_nearly_normal(self):
        rng = np.random.default_rng(0)
        x = np.stack([rng.uniform(size=20_000), rng.exponential(size=20_000)], -1)
        supports = Supports([(0, 1), "positive"], 2, dtype="float64")
        supports.adapt(x)
        z = supports.bijectors()[0].inverse(x).numpy()
        z = (z - z.mean(0)) / z.std(0)
        assert np.abs((z**3).mean(0)).max() < 0.4
        assert np.abs((z**4).mean(0) - 3).max() < 0.6

    def test_config_is_plain_and_holds_what_adapt_found(self):
        x = every_kind()
        names = list("abcdefgh")
        supports = Supports(EVERY_KIND, 8, columns=names, dtype="float64")
        supports.adapt(x)
        config = json.loads(json.dumps(supports.get_config(), allow_nan=False))
        again = Supports.from_config(config)
        assert again.get_config() == supports.get_config()
        assert again.columns == tuple(names)
        np.testing.assert_array_equal(
            again.dequantize(x, seed=3), supports.dequantize(x, seed=3)
        )
        flow, other = normal_flow(supports), normal_flow(again)
        points = supports.dequantize(x, seed=0)
        np.testing.assert_array_equal(flow.log_prob(points), other.log_prob(points))

    def test_a_saved_flow_keeps_its_support(self, tmp_path):
        supports = Supports(["positive", (0, 1), "real"], 3)
        x = every_kind()[:, :3][:, [1, 2, 0]]
        supports.adapt(x)
        flow = coupled_flow(supports)
        flow.save(tmp_path / "flow.keras")
        loaded = keras.models.load_model(tmp_path / "flow.keras")
        np.testing.assert_array_equal(loaded.log_prob(x), flow.log_prob(x))
        assert loaded.stages(10)[-1].name == "support"

    def test_fit_through_the_support(self):
        rng = np.random.default_rng(0)
        x = np.stack([rng.beta(2, 3, 2000), rng.poisson(2.0, 2000)], -1)
        x[:5, 0], x[5:9, 0] = 0.0, 1.0
        supports = Supports([(0, 1), ("integer", 0, None)], 2)
        supports.adapt(x)
        flow = coupled_flow(supports)
        flow.compile(keras.optimizers.Adam(0.01))
        before = supports.log_prob(flow, x).mean()
        history = flow.fit(supports.dequantize(x, seed=0), batch_size=200, verbose=0)
        assert np.isfinite(history.history["loss"]).all()
        assert supports.log_prob(flow, x).mean() > before


class TestNames:
    def frame(self):
        x = every_kind(50)
        return pd.DataFrame(
            {"age": x[:, 1], "share": x[:, 2], "visits": x[:, 7].astype(int)}
        )

    def supports(self):
        frame = self.frame()
        return Supports(
            {"age": "positive", "visits": ("integer", 0, None)},
            3,
            columns=frame.columns,
        )

    def test_named_columns_come_back_named(self):
        supports, frame = self.supports(), self.frame()
        supports.adapt(frame)
        data = supports.named(supports.quantize(supports.dequantize(frame, seed=0)))
        assert list(data.columns) == ["age", "share", "visits"]
        assert data["visits"].dtype == np.int64
        pd.testing.assert_frame_equal(data, frame, check_dtype=False, rtol=1e-6)

    def test_columns_are_found_by_name(self):
        supports, frame = self.supports(), self.frame()
        turned = frame[["visits", "age", "share"]]
        np.testing.assert_array_equal(
            supports.dequantize(frame, seed=0), supports.dequantize(turned, seed=0)
        )
        with pytest.raises(ValueError, match=r"Missing: \['share'\]"):
            supports.adapt(frame[["visits", "age"]])
        with pytest.raises(ValueError, match="'visit'; did you mean 'visits'"):
            supports.adapt(frame.rename(columns={"visits": "visit"}))

    def test_without_names_arrays_stay_arrays(self):
        data = np.zeros((3, 2))
        assert Supports("real", 2).named(data) is data

    def test_indices_name_columns_without_names(self):
        supports = Supports({2: "positive"}, 3)
        assert supports.get_config()["spec"] == ["real", "real", [0.0, None]]


@pytest.mark.parametrize(
    ("spec", "kind", "message"),
    [
        ("possitive", ValueError, "did you mean 'positive'"),
        ({"a": "real", "bb": "real"}, ValueError, "Unknown column: 'bb'.*'b'"),
        (["real"], ValueError, "must hold 2 supports"),
        ([0, 1], ValueError, "Column 'a': a support must be one of 'real'"),
        ((1, 0), ValueError, r"low must be below high. Received: \(1, 0\)"),
        ((0, 0), ValueError, "low must be below high"),
        ((0, 1, 2), ValueError, "expected two ends"),
        ((0, "1"), TypeError, "ends must be numbers"),
        ((0, math.nan), TypeError, "ends must be numbers"),
        (("integer", 0.5, None), ValueError, "expected whole ends"),
        (("integer", 3, 2), ValueError, "low must be below high"),
        (("circular", -1), ValueError, "low must be below high"),
        (("circular", 0, None), ValueError, "finite ends"),
        (("real", 0, 1), ValueError, "Unknown support with ends"),
        ((), ValueError, "a support must be one of"),
    ],
)
def test_wrong_specs(spec, kind, message):
    with pytest.raises(kind, match=message):
        Supports(spec, 2, columns=["a", "b"])


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Supports("real", 0), "whole number ≥ 1"),
        (lambda: Supports("real", 2, columns=["a"]), "must be 2 names"),
        (lambda: Supports({2: "real"}, 2), "Unknown column: '2'"),
        (lambda: Supports({"0": "real"}, 2), "Unknown column: '0'. Known"),
    ],
)
def test_wrong_arguments(make, message):
    with pytest.raises(ValueError, match=message):
        make()


@pytest.mark.parametrize(
    ("spec", "bad", "message"),
    [
        ("positive", -1.0, "Column 'b' must hold numbers ≥ 0. Received 2 of 10 rows "),
        ((0, 1), 1.5, r"numbers ≥ 0 and ≤ 1.*first is row 3: 1.5"),
        ("integer", 2.5, "must hold whole numbers. Received 2 of 10 rows"),
        (("integer", None, 4), 5, "whole numbers ≤ 4"),
        ("integer", 2.0**21, "beyond ±1048576.*Remedy: float64"),
        ("circular", np.nan, "must be finite"),
    ],
)
def test_data_outside_their_support(spec, bad, message):
    x = np.ones((10, 2))
    x[[3, 7], 1] = bad
    supports = Supports(["real", spec], 2, columns=["a", "b"])
    for method in (supports.adapt, supports.dequantize):
        with pytest.raises(ValueError, match=message):
            method(x)


class TestBounded:
    @pytest.mark.parametrize("dtype", ["float32", "float64"])
    @pytest.mark.parametrize(
        ("low", "high", "scale"),
        [
            (0, 1, 1),
            (0, math.inf, 1),
            (0, math.inf, 1e-20),
            (-math.inf, 5, 3),
            (0.1, 0.7, 1),
            (1e5, 1e5 + 1, 1),
            (-1e-3, 0, 1),
        ],
    )
    def test_strictly_inside_with_finite_densities(self, dtype, low, high, scale):
        bijector = Bounded(low, high, scale=scale)
        far = [-1e30, -1e9, -100, -37, -13, -6, 0, 6, 13, 37, 100, 1e9, 1e30]
        y = bijector.forward(np.array(far, dtype)[:, None])
        exact = y.numpy().astype(np.longdouble)
        assert (low < exact).all() and (exact < high).all()
        assert np.isfinite(bijector.inverse(tf.identity(y))).all()
        assert np.isfinite(bijector.inverse_log_det_jacobian(y, 1)).all()

    def test_gradients_are_finite_everywhere(self):
        bijector = Bounded([0, 0, -math.inf], [1, math.inf, 0])
        x = tf.constant([[-1e9] * 3, [-20.0] * 3, [0.0] * 3, [20.0] * 3, [1e9] * 3])
        with tf.GradientTape() as tape:
            tape.watch(x)
            y = bijector.forward(x)
        assert np.isfinite(tape.gradient(y, x)).all()
        y = tf.constant([[0.0, 0.0, 0.0], [1.0, 1e-38, -1e-38], [0.5, 3e38, -3e38]])
        with tf.GradientTape() as tape:
            tape.watch(y)
            x, log_det = bijector.inverse(y), bijector.inverse_log_det_jacobian(y, 1)
        assert np.isfinite(tape.gradient([x, log_det], y)).all()

    def test_known_values(self):
        x = np.linspace(-3, 3, 13)[:, None]
        normal = tfd.Normal(np.float64(0), np.float64(1))
        expected = 2 + 3 * normal.cdf(x)
        np.testing.assert_allclose(Bounded(2, 5).forward(x), expected, atol=3e-3)
        logits = 1.6 * x + x**3 / 15  # up to 2.5
        expected = 1 / (1 + np.exp(-logits))
        np.testing.assert_allclose(
            Bounded().forward(x)[1:-1], expected[1:-1], rtol=1e-12
        )
        right = Bounded(0, math.inf, scale=3.0).forward(x)
        np.testing.assert_allclose(right[6:], 3 * np.exp(x[6:]), rtol=1e-12)
        left = Bounded(-math.inf, 0, scale=3.0).forward(-x)
        np.testing.assert_allclose(left, -right, rtol=1e-12)

    @pytest.mark.parametrize(
        ("high", "joints"), [(math.inf, (-1.0, 0.0)), (1.0, (-2.5, 0.0, 2.5))]
    )
    def test_smooth_at_the_joints(self, high, joints):
        bijector = Bounded(0, high)
        for joint in joints:
            x = np.array([[joint - 1e-6], [joint], [joint + 1e-6]])
            slopes = bijector.forward_log_det_jacobian(x, 1).numpy()
            np.testing.assert_allclose(np.diff(slopes, 2), 0.0, atol=1e-9)

    def test_ends_are_treated_as_points_beside_them(self):
        # They are treated as points that lie inside by the eps of float32.
        ends = Bounded().inverse(np.array([[0.0, 1.0]], "float32")).numpy()
        np.testing.assert_allclose(ends, [[-5.12, 5.12]], atol=0.05)
        outside = Bounded().inverse(np.array([[-0.1, 1.1, 0.5]], "float32")).numpy()
        np.testing.assert_array_equal(np.isnan(outside), [[True, True, False]])

    @pytest.mark.parametrize("jit_compile", [False, True])
    def test_numbers_too_small_for_the_machine(self, jit_compile):
        bijector = Bounded([0, 0, -4], [math.inf, 4, 0])
        y = tf.constant([[1e-40, 1e-40, -1e-40], [1e-38, 1e-38, -1e-38]])
        z = tf.function(bijector.inverse, jit_compile=jit_compile)(y)
        assert np.isfinite(z).all()

    @pytest.mark.parametrize(
        ("make", "message"),
        [
            (lambda: Bounded(1.0, 0.0), "must be below"),
            (lambda: Bounded(0.0, math.nan), "must be below"),
            (lambda: Bounded([0, 0], [1, 1, 1]), "one number, or one a coordinate"),
            (lambda: Bounded(scale=0.0), "must be positive"),
            (lambda: Bounded([0, 0], 1).forward(np.ones((4, 3))), "2"),
            (lambda: Bounded(1.0, 1 + 1e-8).forward([[0.0]]), "float32 has no number"),
        ],
    )
    def test_wrong_arguments(self, make, message):
        with pytest.raises(ValueError, match=message):
            make()

    def test_a_flow_takes_its_width_from_the_ends(self):
        assert tfpf.Flow([Bounded([0, 0], [1, math.inf])]).event_size == 2
