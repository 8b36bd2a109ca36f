"""Diagnostics: exact densities pass, each planted defect is found and named."""

import dataclasses
import functools
import json

import mutants
import numpy as np
import pandas as pd
import planted_defects
import pytest
import tensorflow_probability as tfp
from figures import assert_apart
from matplotlib.figure import Figure
from planted_defects import DEFECTS, EXACT, mixture, perfect
from scipy import stats
from sklearn.metrics import roc_auc_score

import tfp_flows as tfpf
from tfp_flows.diagnostics import calibrate, evaluate, two_samples
from tfp_flows.diagnostics.comparisons import _Simple, likelihood_ratio
from tfp_flows.diagnostics.p_values import holm
from tfp_flows.diagnostics.verdicts import _misfit
from tfp_flows.plotting import plot_calibration

tfb, tfd = tfp.bijectors, tfp.distributions


def normal_rows(n=1000, d=2, seed=0):
    return np.random.default_rng(seed).normal(size=(n, d))


def failed(report):
    return {check.name for check in report.checks if not check.passed}


@functools.cache
def identity(d=2):
    return tfpf.Flow([], event_size=d)


@pytest.fixture(scope="module")
def good():
    return evaluate(identity(), normal_rows())


# Rates


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=[pytest.mark.slow] * (name in ("heavy", "wide")))
        for name in EXACT
    ],
)
def test_an_exact_density_passes(name):
    report = evaluate(**perfect(EXACT[name](), 1, 1000))
    assert report.passed, report
    assert report.verdicts[0].startswith("Good: 1,000 rows")


@pytest.mark.parametrize(
    "name",
    [
        # The training rows among the test's are found by the same check.
        pytest.param(name, marks=[pytest.mark.slow] * (name == "learned_by_heart"))
        for name in DEFECTS
    ],
)
def test_a_planted_defect_is_found(name):
    make, check = DEFECTS[name]
    report = evaluate(**make(0, 5000))
    assert not report.passed
    assert check in failed(report)
    assert report.verdicts[0].startswith("Not good")


@pytest.mark.campaign
@pytest.mark.parametrize("name", ["curved", "dependent"])
def test_exact_densities_pass_as_often_as_stated(name):
    flow = EXACT[name]()
    passed = [evaluate(**perfect(flow, s, 5000), seed=s).passed for s in range(100)]
    assert sum(passed) >= 90


@pytest.mark.campaign
@pytest.mark.parametrize("name", DEFECTS)
def test_defects_are_found_as_often_as_stated(name):
    make, _ = DEFECTS[name]
    # 20 of 20 leave less than 1 in 100 to a power of 0.8.
    assert not any(evaluate(**make(s, 5000), seed=s).passed for s in range(20))


# Numbers


def test_log_prob_and_its_error():
    flow, x = planted_defects.curved(), normal_rows(300) + np.array([10.0, -2.0])
    report = evaluate(flow, x)
    log_prob = flow.log_prob(x).numpy().astype(np.float64)
    assert report.log_prob == pytest.approx(log_prob.mean(), abs=1e-5)
    assert report.error == pytest.approx(log_prob.std(ddof=1) / 300**0.5, rel=1e-4)
    assert [row for row, _ in report.least] == np.argsort(log_prob)[:5].tolist()


def test_calibration_is_scipy_s_of_the_base():
    x = normal_rows() * [1.0, 2.0]
    flow = tfpf.Flow([tfb.Shift(np.array([0.5, 0.0]))])
    for j, one in enumerate(calibrate(flow, x)[:2]):
        z = (x - [0.5, 0.0])[:, j]
        test = stats.kstest(z, "norm")
        assert one.distance == pytest.approx(test.statistic)
        assert one.distance_p_value == pytest.approx(test.pvalue)
        assert one.shift == pytest.approx(z.mean())
        assert one.spread == pytest.approx(z.std())
        assert one.highest == pytest.approx(z.max())
        assert one.below == np.mean(z < stats.norm.ppf(0.005))
        cells = np.histogram(stats.norm.cdf(z), 20, (0.0, 1.0))[0]
        assert np.abs(one.histogram - cells).max() <= 1  # a row on an edge


def test_draws_tell_what_distribution_functions_tell():
    x = normal_rows(3000) + np.array([0.0, 0.2])
    known, drawn = calibrate(identity(), x), calibrate(mixture([[0.0, 0.0]], [1.0]), x)
    assert known[0].reference is None
    assert drawn[0].reference == 20_000
    for one, other in zip(known, drawn, strict=True):
        assert one.shift == pytest.approx(other.shift, abs=0.03)
        assert one.distance == pytest.approx(other.distance, abs=0.015)
        assert (one.p_value < 1e-6) == (other.p_value < 1e-6)


def test_tails_keep_their_digits_in_float32():
    x = normal_rows().astype("float32")
    x[3, 1] = 9.0  # where 1 - F is 0 in float64, too
    report = evaluate(identity(), x)
    one = report.calibrations[1]
    assert one.highest == pytest.approx(9.0, abs=1e-3)
    assert one.tails_p_value < 1e-12
    assert "9.0 standard deviations out" in report.verdicts[1]
    assert report.least[0][0] == 3


@pytest.mark.parametrize("reference", [False, True])
@pytest.mark.parametrize("kind", ["values", "sizes", "value and size"])
def test_dependence_is_found_by_its_kind(kind, reference):
    a, b = normal_rows(2000).T
    if kind == "values":
        b = 0.3 * a + np.sqrt(1 - 0.09) * b
    elif kind == "sizes":
        b = b * np.exp(0.3 * (np.abs(a) - 0.8))
    else:
        b = b + 0.3 * (np.abs(a) - 0.8)
    flow = mixture([[0.0, 0.0]], [1.0]) if reference else identity()
    report = evaluate(flow, np.stack([a, b], axis=1))
    worst = report.dependences[0]
    assert worst.kind == kind
    assert worst.adjusted < 1e-4
    if kind == "values":
        assert worst.correlation == pytest.approx(0.3, abs=0.05)
    elif kind == "value and size":
        assert (worst.first, worst.second) == (1, 0)
    assert "dependence" in failed(report)


def test_a_dependent_base_is_no_defect():
    report = evaluate(**perfect(planted_defects.dependent(), 0, 2000))
    by_kind = {one.kind: one for one in report.dependences}
    assert abs(by_kind["values"].correlation) > 0.5
    assert by_kind["values"].expected == pytest.approx(
        by_kind["values"].correlation, abs=0.05
    )
    assert report.passed


def test_the_classifier_is_as_good_as_can_be():
    x = normal_rows(5000, 1) + 1.0
    classifier = evaluate(identity(1), x).classifier
    best = stats.norm.cdf(1 / np.sqrt(2))
    assert classifier.low < classifier.auc < classifier.high
    assert best - 0.03 < classifier.auc < best + 0.01
    a, b = normal_rows(200, 1)[:, 0].round(1), normal_rows(300, 1, 1)[:, 0].round(1)
    expected = roc_auc_score(np.repeat([1, 0], [200, 300]), np.concatenate([a, b]))
    assert two_samples._auc(a, b)[0] == pytest.approx(expected)


def test_the_discrepancy_is_the_closed_form():
    # Of normals of means 0 and m with a kernel of width w:
    # 2 (1 + 2/w²)^(-1/2) (1 - exp(-m² / (2 (w² + 2)))) in one dimension.
    x, m = normal_rows(5000, 1) + 1.0, 1.0
    report = evaluate(identity(1), x)
    gap = np.random.default_rng(0).normal(scale=np.sqrt(2), size=200_000)
    gap[::2] += m  # half of all pairs are of a row and a point
    expected = np.mean(
        [
            2 / np.sqrt(1 + 2 / w2) * (1 - np.exp(-(m**2) / (2 * (w2 + 2))))
            for w2 in np.median(gap**2) * np.square(two_samples._WIDTHS)
        ]
    )
    assert report.discrepancy.squared == pytest.approx(expected, rel=0.15)
    assert report.discrepancy.p_value == 1 / 1000


def test_the_gaussian_is_the_gaussian():
    x, train = normal_rows(500), normal_rows(400, seed=1)
    gaussian = evaluate(identity(), x, x_train=train).comparisons[0]
    covariance = np.cov(train.T, bias=True)
    expected = stats.multivariate_normal(train.mean(0), covariance).logpdf(x)
    assert gaussian.log_prob == pytest.approx(expected.mean(), abs=1e-4)
    difference = identity().log_prob(x).numpy() - expected
    assert gaussian.difference == pytest.approx(difference.mean(), abs=1e-4)
    assert gaussian.difference_error == pytest.approx(
        difference.std(ddof=1) / 500**0.5, abs=1e-4
    )


def test_a_given_mixture_is_a_regression():
    rng = np.random.default_rng(0)
    c = rng.normal(size=(4000, 1))
    x = 2.0 * c + 0.5 * rng.normal(size=(4000, 1))
    rows = np.concatenate([x, c], axis=1)
    for candidates in ((1,), (2, 3)):
        log_prob = _Simple(rows, 1, candidates).log_prob(rows)
        expected = stats.norm(2.0 * c, 0.5).logpdf(x)[:, 0]
        assert abs(log_prob.mean() - expected.mean()) < 0.02


def test_the_likelihood_ratio_is_a_p_value():
    assert likelihood_ratio([np.array([-1.0, -2.0])]) == pytest.approx(np.exp(-3.0))
    assert likelihood_ratio([np.array([5.0])]) == 1.0
    # The mean of two rivals' ratios.
    halves = [np.array([-3.0]), np.array([-1.0])]
    mean = (np.exp(3.0) + np.exp(1.0)) / 2
    assert likelihood_ratio(halves) == pytest.approx(1 / mean)


def test_holm_is_between_none_and_bonferroni():
    p = [0.001, 0.04, 0.03, 0.5]
    np.testing.assert_allclose(holm(p), [0.004, 0.09, 0.09, 0.5])


def test_copies_are_counted(good):
    assert good.copies.repeated == 0
    assert good.copies.in_train is None
    x, train = normal_rows(1000), normal_rows(500, seed=1)
    x[:30] = x[30:60]
    x[100:140] = train[:40]
    report = evaluate(identity(), x, x_train=train)
    assert report.copies.repeated == 30
    assert report.copies.in_train == 40
    assert report.copies.nearer == pytest.approx(0.5, abs=0.05)
    assert failed(report) == {"copies"}
    assert "training rows" in report.verdicts[1]


def test_rounding_to_float32_makes_no_copies():
    x = normal_rows(20_000, 1).astype("float32")
    report = evaluate(identity(1), x)
    assert report.copies.repeated > 0
    assert report.passed


# Arithmetic


@pytest.mark.parametrize(
    ("bijector", "check", "words"),
    [
        (mutants.TutorialShiftAndCube(), "log_det", "log_prob is wrong"),
        (mutants.WrongSign(), "log_det", "off by up to 4.4 nats"),
        (mutants.WrongInverse(), "round_trip", "does not invert itself"),
    ],
)
def test_wrong_bijectors_are_named(bijector, check, words):
    flow = tfpf.Flow([bijector], event_size=2)
    report = evaluate(flow, perfect(flow, 0, 200)["x_test"])
    assert check in failed(report)
    assert any(words in verdict for verdict in report.verdicts)


def test_rows_without_density_are_named():
    flow = planted_defects.uniform()
    x = perfect(flow, 0, 500)["x_test"]
    x[7, 0] = -1.0
    report = evaluate(flow, x)
    assert report.numerics.rows_without_density == 1
    assert report.numerics.first_without_density == 7
    assert "the first is row 7" in report.verdicts[1]
    assert np.isfinite(report.log_prob)
    assert report.least[0] == (7, -np.inf)
    assert report.to_dict()["least"][0] == [7, None]


def test_rows_outside_of_a_spline_are_a_remark():
    spline = tfpf.bijectors.Spline(bins=4, box=1.0)
    report = evaluate(tfpf.Flow([spline], event_size=2), normal_rows(500))
    share = np.mean((np.abs(normal_rows(500)) > 1).any(axis=1))
    assert report.numerics.outside == {"Spline": pytest.approx(share, abs=0.01)}
    assert report.passed
    assert "outside the box of Spline" in report.verdicts[-1]


# Words


def test_the_worst_column_is_named():
    # The base's second coordinate is the data's first.
    flow = tfpf.Flow([tfb.Permute([1, 0])], event_size=2)
    frame = pd.DataFrame(
        normal_rows() + np.array([0.3, 0.0]), columns=["height", "width"]
    )
    report = evaluate(flow, frame)
    assert report.names == ("height", "width")
    assert report.calibrations[1].column == "height"
    said = " ".join(report.verdicts)
    assert "z[1] (`height`) is strongly off: shifted by" in said
    assert "Column `height` is strongly off" in said


@pytest.mark.parametrize(
    ("found", "words"),
    [
        ({"shift": -0.2, "distance": 0.1}, "shifted by -0.20 standard deviations"),
        ({"spread": 1.2, "distance": 0.1}, "20% too wide"),
        ({"spread": 0.8, "distance": 0.1}, "20% too narrow"),
        ({"distance": 0.1}, "of another shape, by a distance of 0.100"),
        # Wider, as its tails: these say nothing new.
        (
            {"spread": 1.2, "below": 0.016, "above": 0.016, "tails_p_value": 0.0},
            "20% too wide",
        ),
        (
            {"spread": 1.1, "above": 0.05, "tails_p_value": 0.0},
            "5.00% of the rows are in its highest 0.5%",
        ),
        ({"below": 0.0, "tails_p_value": 0.0}, "0.00% of the rows are in its lowest"),
        (
            {"highest": 9.0, "tails_p_value": 0.0, "distance_p_value": 0.5},
            "the extreme rows end 9.0 standard deviations out",
        ),
    ],
)
def test_a_misfit_is_put_into_words(good, found, words):
    usual = {"shift": 0.0, "spread": 1.0, "below": 0.005, "above": 0.005}
    usual |= {"distance": 0.01, "distance_p_value": 1e-9, "tails_p_value": 1.0}
    one = dataclasses.replace(good.calibrations[0], **{**usual, **found})
    assert words in _misfit(one)


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda x: 1.2 * x, "clearly off: 18% too wide"),
        (lambda x: np.where(x > 2, x + 1, x), "off: 2.20% of the rows are in its high"),
    ],
)
def test_the_worst_coordinate_is_spoken_of_first(change, words):
    x = normal_rows(1000)
    x[:, 1] = change(x[:, 1])
    verdict = evaluate(identity(), x).verdicts[1]
    assert verdict.startswith("z[1] (`x[1]`) is ")
    assert words in verdict


def test_a_page_of_text(good):
    page = str(good)
    assert page.index("Good:") < page.index("Checks")
    for word in ("Gaussian", "radius", "AUC", "MMD", "round trip", "log-det"):
        assert word in page
    assert max(map(len, page.split("\n"))) < 140


@pytest.mark.slow
def test_the_page_of_many_columns_is_short():
    report = evaluate(**perfect(planted_defects.wide(), 1, 500))
    assert len(str(report).split("\n")) < 65
    assert "and 59 coordinates less far off" in str(report)


def test_plain_data(good):
    data = json.loads(json.dumps(good.to_dict(), allow_nan=False))
    assert set(data) == {field.name for field in dataclasses.fields(good)}
    assert data["passed"] is True
    assert len(data["calibrations"][0]["histogram"]) == 20


def test_the_same_seed_says_the_same(good):
    assert (
        evaluate(identity(), normal_rows()).to_dict()["classifier"]
        == (good.to_dict()["classifier"])
    )


def test_rows_drawn_with_the_seed_of_evaluate_are_new_to_it():
    flow = planted_defects.curved()
    report = evaluate(flow, flow.sample(500, seed=0).numpy(), seed=0)
    assert report.classifier.auc > 0.4
    assert report.passed


def test_the_level_is_the_caller_s():
    x = normal_rows(300) + np.array([0.0, 0.25])
    lenient = evaluate(identity(), x)
    strict = evaluate(identity(), x, level=1e-9)
    assert not lenient.passed
    assert strict.passed


# What is taken


def test_a_fitted_estimator_is_taken():
    rng = np.random.default_rng(0)
    frame = pd.DataFrame(
        {"length": rng.exponential(size=300), "count": rng.poisson(4, size=300)}
    )
    support = {"length": "positive", "count": "integer"}
    density = tfpf.FlowDensity(support=support, random_state=0, verbose=0)
    density.fit(frame[:150])
    report = evaluate(density, frame[150:], x_train=frame[:150])
    assert report.names == ("length", "count")
    assert report.copies.repeated == 0
    repeated = pd.concat([frame[150:], frame[150:170]])
    assert evaluate(density, repeated).copies.repeated == 20


def test_too_few_rows_for_a_gaussian_are_a_remark():
    report = evaluate(identity(64), normal_rows(200, 64))
    assert report.comparisons == ()
    assert "No Gaussian" in report.verdicts[-1]


@pytest.mark.parametrize(
    ("change", "error", "words"),
    [
        ({"flow": "flow"}, TypeError, "`flow` must be a Flow"),
        ({"x_test": normal_rows(20)}, ValueError, "at least 50 rows"),
        ({"x_test": normal_rows(100, 3)}, ValueError, "`x_test` must have shape"),
        ({"x_test": np.zeros((3, 50, 2))}, ValueError, "must have shape \\(n, 2"),
        ({"x_test": np.full((60, 2), np.nan)}, ValueError, "finite"),
        ({"context": np.zeros((100, 1))}, ValueError, "`context` must be None"),
        ({"x_train": normal_rows(9, 3)}, ValueError, "`x_train` must have shape"),
        ({"context_train": np.zeros((9, 1))}, ValueError, "without `x_train`"),
        ({"names": ["a"]}, ValueError, "`names` must be 2 different"),
        ({"names": ["a", "a"]}, ValueError, "`names` must be 2 different"),
        ({"level": 0.0}, ValueError, "`level` must be in"),
        ({"seed": -1}, ValueError, "`seed` must be"),
    ],
)
def test_bad_arguments_are_named(change, error, words):
    given = {"flow": identity(), "x_test": normal_rows(100), **change}
    with pytest.raises(error, match=words):
        evaluate(**given)


def test_contexts_are_one_a_row():
    flow = planted_defects.conditional()
    with pytest.raises(ValueError, match="`context` must be given"):
        evaluate(flow, normal_rows(100))
    with pytest.raises(ValueError, match="one row for each"):
        evaluate(flow, normal_rows(100), context=np.zeros((50, 1)))


def test_a_flow_that_reaches_no_row_says_so():
    with pytest.raises(ValueError, match="have a density"):
        evaluate(planted_defects.uniform(), normal_rows(100) - 100)


# The picture


def panels(figure):
    assert isinstance(figure, Figure)
    figure.canvas.draw()
    return figure.axes


def test_the_picture_shows_the_worst_first():
    report = evaluate(identity(5), normal_rows(1000, 5) + np.array([0, 0, 0, 0.4, 0]))
    axes = panels(plot_calibration(report))
    assert len(axes) == 8
    assert axes[0].get_title().startswith("z[3] ~ x[3]\ndistance")
    assert [ax.get_title().split("\n")[0] for ax in axes[2:4]] == [
        "radius",
        "log-density",
    ]
    bars = axes[0].collections[0].get_segments()
    heights = [segment[0][1] for segment in bars]
    expected = report.calibrations[3].histogram * 20 / 1000
    np.testing.assert_allclose(heights, expected)
    assert len(axes[0].collections[0].get_colors()) == 20
    places = axes[4].collections[-1].get_offsets()
    assert np.mean(places[:, 1] - places[:, 0]) == pytest.approx(0.4, abs=0.05)


@pytest.mark.parametrize("d", [1, 64])
def test_the_picture_of_few_and_many_coordinates(d):
    figure = plot_calibration(identity(d), normal_rows(200, d))
    names = [ax.get_title().split()[0] for ax in panels(figure) if ax.get_title()]
    assert len(names) == (3 if d == 1 else 4)
    assert names[-2:] == ["radius", "log-density"]
    assert_apart(figure)


def test_the_picture_on_the_user_s_axes(good):
    own = Figure()
    cells = own.subplots(2, 3)
    assert plot_calibration(good, coordinates=1, axes=cells) is own
    with pytest.raises(ValueError, match="at least 8 Axes"):
        plot_calibration(good, axes=cells)


def test_the_picture_needs_a_report_or_rows(good):
    with pytest.raises(ValueError, match="`x_test` must be given"):
        plot_calibration(identity())
    with pytest.raises(ValueError, match="must be None with a FitReport"):
        plot_calibration(good, normal_rows())
    with pytest.raises(TypeError, match="`flow` must be a Flow"):
        plot_calibration("report", normal_rows())
