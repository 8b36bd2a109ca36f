"""Pictures hold the right data, names and limits, and can be saved and read."""

import ast
import itertools
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from figures import assert_apart, save
from matplotlib import pyplot
from matplotlib.axes import Axes
from matplotlib.figure import Figure

import tfp_flows as tfpf
from tfp_flows import densities, plotting
from tfp_flows.flow.composition import random_orders
from tfp_flows.plotting import (
    animate_stages,
    plot_density,
    plot_history,
    plot_orders,
    plot_samples,
    plot_stages,
    plot_transformation,
)
from tfp_flows.plotting.limits import robust_limits
from tfp_flows.plotting.panels import MassNorm
from tfp_flows.plotting.style import base_colors
from tfp_flows.plotting.titles import composed

tfb, tfd = tfp.bijectors, tfp.distributions

pytestmark = pytest.mark.usefixtures("no_pyplot_figures")

FORMATS = ["png", "svg", "pdf"]


@pytest.fixture(scope="module")
def flow5():
    return tfpf.Flow([tfb.Scale(2.0), tfb.Tanh()], event_size=5)


def titles(figure):
    return [ax.get_title() for ax in figure.axes]


def points(ax):
    return np.asarray(ax.collections[0].get_offsets())


# The package


def test_pyplot_is_not_imported():
    for path in Path(plotting.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, (ast.Import, ast.ImportFrom)):
                names = [alias.name for alias in node.names]
                assert not any("pyplot" in name for name in [*names, ast.dump(node)])


def test_only_plotting_imports_matplotlib():
    package = Path(tfpf.__file__).parent
    for path in package.rglob("*.py"):
        if path.parent.name != "plotting":
            for node in ast.walk(ast.parse(path.read_text())):
                if isinstance(node, (ast.Import, ast.ImportFrom)):
                    assert "matplotlib" not in ast.dump(node), path


def test_every_public_name_is_listed_and_documented():
    assert plotting.__all__ == sorted(plotting.__all__)
    for name in plotting.__all__:
        for section in ("Args:", "Returns:", "Raises:", "Example:"):
            assert section in getattr(plotting, name).__doc__, (name, section)


def test_global_settings_stay(flow2):
    before = dict(pyplot.rcParams)
    save(plot_stages(flow2, n=20, resolution=5))
    assert dict(pyplot.rcParams) == before


@pytest.mark.parametrize(
    "kind", [pytest.param(k, marks=[pytest.mark.slow] * (k != "png")) for k in FORMATS]
)
def test_every_picture_is_saved_without_a_warning(kind, flow1, flow2):
    x = np.asarray(flow2.sample(50, seed=1))
    figures = [
        plot_stages(flow2, n=50, resolution=20),
        plot_stages(flow1, n=50),
        plot_density(flow2, x, resolution=20).figure,
        plot_samples(flow2, x, n=50),
        plot_history({"loss": [2.0, 1.0]}, entropy=0.5).figure,
        plot_transformation(flow1, n=50).figure,
    ]
    for figure in figures:
        assert len(save(figure, kind)) > 1000


def test_a_dark_style_of_the_user_does_not_reach_a_new_figure(flow1):
    with pyplot.style.context("dark_background"):
        ax = plot_density(flow1, limits=(-3, 3))
        assert ax.figure.get_facecolor() == ax.get_facecolor() == (1, 1, 1, 1)
        assert ax.xaxis.label.get_color() == ax.xaxis.get_ticklabels()[0].get_color()


# plot_stages


def test_stages_are_titled_with_the_function_and_the_name(flow2):
    figure = plot_stages(flow2, n=20, show="samples")
    assert titles(figure) == [
        "z\nMultivariateNormalDiag",
        "f₁(z)\nShift",
        "f₂∘f₁(z)\nScale",
        "f₃∘f₂∘f₁(z)\nShiftAndCube",
        "f₄∘⋯∘f₁(z)\nRotation2D",
        "f₅∘⋯∘f₁(z)\nSigmoid",
    ]


def test_composed():
    assert composed([]) == "z"
    assert composed([2, 0, 1]) == "f₂∘f₁∘f₃(z)"
    assert composed(range(12)) == "f₁₂∘⋯∘f₁(z)"


def test_stages_show_the_flow_s_own_samples_in_constant_colours(flow2):
    stages = flow2.stages(300, seed=4)
    figure = plot_stages(flow2, n=300, seed=4, show="samples")
    first = figure.axes[0].collections[0].get_facecolors()
    for ax, stage in zip(figure.axes, stages, strict=True):
        np.testing.assert_array_equal(points(ax), stage.samples)
        np.testing.assert_array_equal(ax.collections[0].get_facecolors(), first)
        assert not ax.images
    assert len(np.unique(first, axis=0)) == 300


def test_shading_is_the_exact_density_of_each_stage(flow2):
    figure = plot_stages(flow2, n=500, show="density", resolution=30)
    for ax, stage in zip(figure.axes, flow2.stages(500), strict=True):
        assert not ax.collections
        image = ax.images[0]
        x0, x1, y0, y1 = image.get_extent()
        assert (*ax.get_xlim(), *ax.get_ylim()) == (x0, x1, y0, y1)
        x = x0 + (np.arange(30) + 0.5) * (x1 - x0) / 30
        y = y0 + (np.arange(30) + 0.5) * (y1 - y0) / 30
        grid = np.stack(np.meshgrid(x, y), -1).astype(np.float32)
        exact = np.exp(stage.distribution.log_prob(grid))
        shown = image.get_array()
        np.testing.assert_array_equal(shown.mask, ~np.isfinite(exact))
        np.testing.assert_allclose(
            shown.compressed(), exact[~shown.mask], rtol=2e-3, atol=1e-6
        )
    assert 0 < shown.mask.sum() < shown.size  # the sigmoid's support ends in view


def test_shading_follows_swapped_coordinates(flow2):
    straight, swapped = (
        plot_stages(flow2, n=500, show="density", coordinates=pair, resolution=16)
        for pair in ((0, 1), (1, 0))
    )
    for a, b in zip(straight.axes, swapped.axes, strict=True):
        assert a.get_xlim() == b.get_ylim()
        np.testing.assert_allclose(
            a.images[0].get_array().filled(-1),
            b.images[0].get_array().filled(-1).T,
            rtol=1e-3,
            atol=1e-6,
        )


@pytest.mark.parametrize("share", [False, True])
def test_limits_are_shared_on_request(flow2, share):
    figure = plot_stages(flow2, n=200, show="samples", share_limits=share)
    limits = {(ax.get_xlim(), ax.get_ylim()) for ax in figure.axes}
    assert len(limits) == (1 if share else 6)


def test_one_coordinate_is_a_curve_over_a_rug(flow1):
    figure = plot_stages(flow1, n=200)
    for ax, stage in zip(figure.axes, flow1.stages(200), strict=True):
        x, y = ax.lines[0].get_data()
        exact = np.exp(stage.distribution.log_prob(x[:, None].astype(np.float32)))
        exact[~np.isfinite(exact)] = np.nan
        np.testing.assert_allclose(y, exact, rtol=1e-3, atol=1e-6)
        rug = next(c for c in ax.collections if len(c.get_offsets()) == 200)
        np.testing.assert_array_equal(rug.get_offsets()[:, 0], stage.samples[:, 0])
        assert ax.get_ylim()[0] < 0 <= min(ax.get_yticks())
        assert rug.get_offsets()[:, 1].max() < 0


def test_many_coordinates_show_two_and_say_so(flow5):
    figure = plot_stages(flow5, n=100, coordinates=(3, 1))
    samples = np.asarray(flow5.stages(100)[-1].samples)
    np.testing.assert_array_equal(points(figure.axes[-1]), samples[:, [3, 1]])
    assert not any(ax.images for ax in figure.axes)
    assert figure.get_supxlabel().startswith("coordinates 3 and 1 of 5; samples only")


def test_sixty_four_coordinates():
    flow = tfpf.Flow([tfb.Scale(2.0)], event_size=64)
    x = np.asarray(flow.sample(50, seed=0))
    figure = plot_stages(flow, n=50, coordinates=(10, 63))
    last = np.asarray(flow.stages(50)[-1].samples)
    np.testing.assert_array_equal(points(figure.axes[-1]), last[:, [10, 63]])
    (ax,) = plot_samples(flow, n=50).axes
    np.testing.assert_array_equal(points(ax), x[:, :2])
    figure = plot_orders(tfpf.Flow([tfb.Tanh(), tfb.Exp()], event_size=64))
    assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["given order", "order 1, 0"]
    for draw in (plot_density, plot_transformation):
        with pytest.raises(ValueError, match="64"):
            draw(flow)


@pytest.mark.parametrize(
    "count", [0, 1, 2, 6, pytest.param(20, marks=pytest.mark.slow)]
)
def test_panels_do_not_overlap(count):
    bijectors = [tfpf.bijectors.Rotation2D(0.3 * i) for i in range(count)]
    flow = tfpf.Flow(bijectors, event_size=2)
    figure = plot_stages(flow, n=20, resolution=10)
    assert len(figure.axes) == count + 1
    assert_apart(figure)


@pytest.mark.slow
def test_panels_of_orders_do_not_overlap(flow2):
    assert_apart(plot_orders(flow2, n=2, samples=20))


@pytest.mark.parametrize("count", [1, 2, 4])
def test_the_note_fits_below_the_panels(count):
    flow = tfpf.Flow([tfb.Scale(2.0)] * count, event_size=5)
    assert_apart(plot_stages(flow, n=20))


def test_long_names_are_shortened():
    shift = tfb.Shift([0.0, 1.0], name="a_name_that_goes_on_and_on_for_ever")
    figure = plot_stages(tfpf.Flow([shift]), n=20, resolution=5)
    assert titles(figure)[1] == "f₁(z)\na_name_that_goes_on_and…"


def test_columns(flow2):
    figure = plot_stages(flow2, n=20, show="samples", columns=2)
    assert figure.axes[0].get_gridspec().get_geometry() == (3, 2)


def test_given_axes_are_drawn_on(flow2):
    figure = Figure()
    axes = figure.subplots(2, 4)
    assert plot_stages(flow2, n=20, show="samples", axes=axes) is figure
    drawn = [bool(ax.collections) for ax in axes.ravel()]
    assert drawn == [True] * 6 + [False] * 2
    assert axes[0, 0].spines["top"].get_visible()  # theirs stay as they are


def test_points_that_are_not_finite_are_left_out_and_counted():
    flow = tfpf.Flow([tfb.Scale([50.0, 1.0]), tfb.Exp()])
    figure = plot_stages(flow, n=1000, resolution=10)
    samples = np.asarray(flow.stages(1000)[-1].samples)
    finite = np.isfinite(samples).all(-1)
    assert 0 < finite.sum() < 1000
    assert len(points(figure.axes[-1])) == finite.sum()
    assert (
        figure.axes[-1].texts[0].get_text() == f"{(~finite).sum()} of 1,000 not finite"
    )
    save(figure)


@pytest.mark.slow
def test_a_stage_without_a_finite_point(tmp_path):
    flow = tfpf.Flow([tfb.Shift([-50.0, 0.0]), tfb.Invert(tfb.Exp())])
    figure = plot_stages(flow, n=50, resolution=5)
    assert figure.axes[-1].texts[0].get_text() == "50 of 50 not finite"
    save(figure)
    save(plot_orders(flow, samples=50))
    animate_stages(flow, n=50).save(tmp_path / "flow.gif", writer="pillow")


@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_dtypes(dtype):
    flow = tfpf.Flow([tfpf.bijectors.Rotation2D(0.5)], event_size=2, dtype=dtype)
    assert plot_stages(flow, n=20, resolution=5).axes[1].images


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"show": "densities"}, "did you mean 'density'"),
        ({"coordinates": (0, 2)}, "two different ones of 0..1"),
        ({"coordinates": (1, 1)}, "two different ones of 0..1"),
        ({"coordinates": 0}, "two different ones of 0..1"),
        ({"columns": 0}, "`columns` must be a whole number ≥ 1"),
        ({"n": 0}, "`n` must be a whole number ≥ 1"),
        ({"resolution": 0}, "`resolution` must be a whole number ≥ 1"),
        ({"axes": Figure().subplots(1, 2)}, "at least 6 Axes. Received: 2"),
    ],
)
def test_stages_refuse_wrong_options(flow2, options, message):
    with pytest.raises(ValueError, match=message):
        plot_stages(flow2, **options)


def test_stages_refuse_what_is_no_flow_and_no_axes(flow2):
    with pytest.raises(TypeError, match=r"must be a Flow. Received: Normal"):
        plot_stages(tfd.Normal(0.0, 1.0))
    with pytest.raises(TypeError, match=r"must be matplotlib Axes. Received: int"):
        plot_stages(flow2, axes=[1] * 6)


def test_a_density_of_five_coordinates_is_refused(flow5):
    with pytest.raises(
        ValueError, match=r'of 5 has no closed form. Remedy: `show="sam'
    ):
        plot_stages(flow5, show="density")


def test_a_distribution_that_refuses_points_is_named_as_the_cause():
    base = tfd.Beta(2.0, 5.0, validate_args=True)
    flow = tfpf.Flow([], base=base, event_size=1)
    with pytest.raises(ValueError, match="validate_args=False"):
        plot_stages(flow)
    assert plot_stages(flow, show="samples")


# plot_orders


def test_orders_are_rows_that_keep_names_with_their_bijectors(flow2):
    figure = plot_orders(flow2, orders=[range(5), [2, 0, 1, 4, 3]], samples=50)
    labels = [ax.get_ylabel() for ax in figure.axes[::6]]
    assert labels == ["given order", "order 2, 0, 1, 4, 3"]
    assert titles(figure)[6:10] == [
        "z\nMultivariateNormalDiag",
        "f₃(z)\nShiftAndCube",
        "f₁∘f₃(z)\nShift",
        "f₂∘f₁∘f₃(z)\nScale",
    ]
    expected = flow2.reordered([2, 0, 1, 4, 3]).stages(50)[-1].samples
    np.testing.assert_allclose(points(figure.axes[-1]), expected, rtol=1e-5)


@pytest.mark.slow
def test_random_orders_differ_and_repeat_with_the_seed(flow2):
    assert random_orders(9, 3, seed=1) == random_orders(9, 3, seed=1)
    assert random_orders(9, 3, seed=1) != random_orders(9, 3, seed=2)
    everything = random_orders(3, 100, seed=0)
    assert len(everything) == len(set(map(tuple, everything))) == 6
    assert everything[0] == [0, 1, 2]
    figure = plot_orders(flow2, n=1, seed=3, samples=10)
    order = random_orders(5, 1, seed=3)[1]
    assert figure.axes[6].get_ylabel() == f"order {', '.join(map(str, order))}"


def test_orders_refuse_what_cannot_be_ordered(flow2):
    with pytest.raises(ValueError, match="at least 2 bijectors"):
        plot_orders(tfpf.Flow([tfb.Exp()], event_size=2))
    with pytest.raises(ValueError, match=r"permutation of 0\.\.4"):
        plot_orders(flow2, orders=[[0, 0, 1, 2, 3]])
    for orders in ([], [1, 0]):
        with pytest.raises(ValueError, match="one order or more"):
            plot_orders(flow2, orders=orders)


# plot_density


@pytest.mark.parametrize("log", [False, True])
def test_density_of_a_flow_over_a_plane(flow2, log):
    figure = Figure()
    given = figure.add_subplot()
    ax = plot_density(
        flow2, limits=((0.1, 0.9), (0.2, 0.8)), resolution=8, log=log, ax=given
    )
    assert ax is given
    x = 0.1 + (np.arange(8) + 0.5) * 0.1
    y = 0.2 + (np.arange(8) + 0.5) * 0.075
    log_prob = np.asarray(flow2.log_prob(np.stack(np.meshgrid(x, y), -1)), np.float64)
    shown = ax.images[0].get_array()
    expected = log_prob if log else np.exp(log_prob)
    np.testing.assert_allclose(shown.compressed(), expected[~shown.mask], rtol=1e-5)
    assert ax.get_xlim() == (0.1, 0.9) and ax.get_ylim() == (0.2, 0.8)


@pytest.mark.parametrize(
    "density",
    [
        tfd.Normal(0.0, 1.0),
        tfd.MultivariateNormalDiag([0.0]),
        tfd.MultivariateNormalDiag([0.0, 0.0]),
        tfd.Independent(tfd.Uniform([0.0, 0.0], [1.0, 2.0]), 1),
        tfd.Normal(np.float64(0), np.float64(1)),
        densities.make("two_moons"),
        densities.make("bimodal_1d"),
    ],
    ids=lambda density: density.name,
)
def test_density_takes_anything_with_log_prob(density):
    ax = plot_density(density, resolution=30)
    assert ax.images or ax.lines
    save(ax.figure)


def test_density_without_a_width_or_samples_takes_them_from_the_limits():
    class Bare:
        def log_prob(self, x):
            return -np.abs(x).sum(-1)

    assert plot_density(Bare(), limits=(-1, 1), resolution=9).lines
    assert plot_density(Bare(), limits=[(-1, 1), (0, 2)], resolution=9).images
    with pytest.raises(ValueError, match="`limits` must be given"):
        plot_density(Bare())


def test_density_with_data_and_components():
    cdf = tfpf.bijectors.MixtureCDF(3)
    cdf.forward([[0.0]])
    x = np.random.default_rng(0).normal(size=(500, 1)).astype(np.float32)
    ax = plot_density(tfd.Normal(0.0, 1.0), x, components=cdf.mixture)
    curve, *parts = ax.lines
    assert len(parts) == 3
    grid = np.asarray(parts[0].get_xdata(), np.float32)
    total = sum(line.get_ydata() for line in parts)
    np.testing.assert_allclose(total, cdf.mixture.prob(grid), rtol=1e-5)
    steps = ax.patches[0].get_data()
    area = (steps.values * np.diff(steps.edges)).sum()
    assert 0.95 < area <= 1
    assert [text.get_text() for text in ax.get_legend().get_texts()] == [
        "density",
        "data",
        "components",
    ]
    np.testing.assert_allclose(curve.get_ydata().max(), 0.3989, atol=1e-3)


def test_density_refuses_what_it_cannot_draw(flow1, flow2, flow5):
    mixture = tfd.MixtureSameFamily(
        tfd.Categorical(probs=[0.5, 0.5]), tfd.Normal([0.0, 1.0], 1.0)
    )
    with pytest.raises(TypeError, match=r"`log_prob` method. Received: int"):
        plot_density(3)
    with pytest.raises(
        ValueError, match=r"over 1 or 2 coordinates.*Received one over 5"
    ):
        plot_density(flow5)
    with pytest.raises(ValueError, match="one distribution"):
        plot_density(tfd.Normal([0.0, 1.0], 1.0))
    with pytest.raises(ValueError, match="`components` can be drawn"):
        plot_density(flow2, components=mixture)
    with pytest.raises(TypeError, match=r"MixtureSameFamily. Received: Normal"):
        plot_density(flow1, components=tfd.Normal(0.0, 1.0))
    for limits in ((1, 0), (0, np.inf), (0, 1, 2), "wide"):
        with pytest.raises(ValueError, match="`limits` must be"):
            plot_density(flow1, limits=limits)
    with pytest.raises(ValueError, match=r"`data` must have shape \(..., 2\)"):
        plot_density(flow2, np.zeros((5, 3)))
    with pytest.raises(
        TypeError, match=r"`ax` must be matplotlib Axes. Received: Figure"
    ):
        plot_density(flow1, ax=Figure())


# plot_samples


def test_data_stand_beside_samples_to_the_same_limits(flow2):
    x = np.asarray(flow2.sample(300, seed=9))
    figure = plot_samples(flow2, x, n=400, seed=2)
    left, right = figure.axes
    assert titles(figure) == ["300 data points", "400 samples"]
    np.testing.assert_array_equal(points(left), x)
    np.testing.assert_array_equal(points(right), flow2.sample(400, seed=2))
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()


def test_samples_of_one_coordinate_are_histograms(flow1):
    figure = plot_samples(flow1, np.asarray(flow1.sample(300, seed=9)), n=400)
    left, right = figure.axes
    assert left.patches and right.patches
    assert left.get_xlim() == right.get_xlim() and left.get_ylim() == right.get_ylim()


def test_samples_of_many_coordinates(flow5):
    figure = plot_samples(flow5, np.zeros((3, 5)), n=20, coordinates=(4, 2))
    labels = [(ax.get_xlabel(), ax.get_ylabel()) for ax in figure.axes]
    assert labels == [("coordinate 4", "coordinate 2")] * 2
    expected = np.asarray(flow5.sample(20, seed=0))[:, [4, 2]]
    np.testing.assert_array_equal(points(figure.axes[1]), expected)


def test_samples_refuse_wrong_data(flow2):
    for bad, message in (
        (np.zeros((4, 3)), r"shape \(..., 2\)"),
        ([[0.0, np.nan]], "must be finite"),
        (np.zeros((0, 2)), "at least one point"),
    ):
        with pytest.raises(ValueError, match=f"`data` must .*{message}|{message}"):
            plot_samples(flow2, bad)
    with pytest.raises(TypeError, match="`data` must hold real numbers"):
        plot_samples(flow2, [["a", "b"]])
    with pytest.raises(TypeError, match=r"must be a Flow, a tfd\.Distribution"):
        plot_samples(np.zeros((3, 2)))


# plot_history


def test_history_draws_what_fit_returned():
    flow = tfpf.Flow([tfpf.bijectors.AffineCoupling(hidden=(4,))], event_size=2)
    flow.compile("adam")
    x = np.random.default_rng(0).normal(size=(64, 2)).astype(np.float32)
    history = flow.fit(x, epochs=3, validation_split=0.25, verbose=0)
    assert isinstance(history, keras.callbacks.History)
    given = Figure().add_subplot()
    ax = plot_history(history, ax=given)
    assert ax is given
    for line, name in zip(ax.lines, ("loss", "val_loss"), strict=True):
        np.testing.assert_array_equal(line.get_xdata(), [1, 2, 3])
        np.testing.assert_allclose(line.get_ydata(), history.history[name])


def test_history_marks_the_entropy_and_labels_the_lines_apart():
    loss = 1.5 + 0.01 * np.exp(-np.arange(50.0))
    ax = plot_history({"loss": loss, "val_loss": loss + 1e-4}, entropy=1.499)
    assert ax.lines[2].get_ydata() == [1.499, 1.499]
    assert ax.lines[2].get_linestyle() == "--"
    ax.figure.draw_without_rendering()
    boxes = [text.get_window_extent() for text in ax.texts]
    assert len(boxes) == 3
    assert not any(a.overlaps(b) for a, b in itertools.combinations(boxes, 2))
    assert all(box.x1 <= ax.figure.bbox.x1 for box in boxes)


@pytest.mark.parametrize(
    ("loss", "shown"),
    [
        ([900.0, 10.0, *np.linspace(3, 2, 98)], (2, 10)),
        ([1000.0, 2.0, 1.5], (1.5, 2)),
        ([5.0, 4.0, 3.0, 2.5], (2.5, 5)),
        ([1000.0, 2.0], (2, 1000)),
        ([3.0, np.nan, 2.0], (2, 3)),
    ],
)
def test_history_s_first_epochs_do_not_set_the_limits(loss, shown):
    low, high = plot_history({"loss": loss}).get_ylim()
    assert low <= shown[0] and high <= 1.2 * shown[1]
    assert high >= np.sort(loss)[: len(loss) // 2].max()


@pytest.mark.parametrize("loss", [[1.0], [2.0, 2.0], [np.nan, np.inf]])
def test_history_of_few_or_odd_epochs(loss):
    ax = plot_history({"loss": loss}, entropy=1.0)
    np.testing.assert_array_equal(ax.lines[0].get_ydata(), loss)
    assert np.isfinite(ax.get_ylim()).all()
    save(ax.figure)


def test_history_refuses_what_is_none():
    with pytest.raises(TypeError, match="Received: list"):
        plot_history([1.0, 2.0])
    for empty in ({}, {"loss": []}, {"accuracy": [1.0]}):
        with pytest.raises(ValueError, match='hold the "loss" of at least one epoch'):
            plot_history(empty)
    with pytest.raises(ValueError, match="`entropy` must be a finite number"):
        plot_history({"loss": [1.0]}, entropy=np.nan)


# plot_transformation


def test_transformation_shows_the_map_and_both_densities(flow1):
    given = Figure().add_subplot()
    data = np.asarray(flow1.sample(300, seed=3))
    ax = plot_transformation(flow1, data, ax=given)
    assert ax is given
    x, z = ax.lines[0].get_data()
    np.testing.assert_allclose(
        z, tfd.Normal(0.0, 1.0).cdf(x.astype(np.float32) / 2), rtol=1e-4, atol=1e-6
    )
    above, right = ax.child_axes
    np.testing.assert_allclose(
        above.lines[0].get_ydata(),
        np.exp(flow1.log_prob(above.lines[0].get_xdata()[:, None])),
        rtol=1e-5,
    )
    assert above.patches and above.get_xlim() == ax.get_xlim()
    p, z = right.lines[0].get_data()
    expected = tfd.Beta(2.0, 5.0).prob(z.astype(np.float32)).numpy()
    np.testing.assert_allclose(p[z > 0], expected[z > 0], rtol=1e-4)
    assert right.get_ylim() == ax.get_ylim()


def test_transformation_needs_one_coordinate(flow2):
    with pytest.raises(ValueError, match=r"a flow of 1 coordinate. Received one of 2"):
        plot_transformation(flow2)
    with pytest.raises(TypeError, match="must be a Flow"):
        plot_transformation(tfd.Normal(0.0, 1.0))


# animate_stages


@pytest.mark.slow
def test_animation_of_many_stages_saves_small(tmp_path):
    flow = tfpf.Flow([tfpf.bijectors.LeakyReLU(0.9) for _ in range(18)], event_size=2)
    film = animate_stages(flow)
    path = tmp_path / "flow.gif"
    film.save(path, writer="pillow")
    assert path.stat().st_size < 2e6
    from PIL import Image

    with Image.open(path) as image:
        assert image.n_frames == 1 + 18 * 4
    film.save(tmp_path / "flow.html")
    page = (tmp_path / "flow.html").read_text(encoding="utf-8")
    assert len(page) < 2e6 and "http" not in page
    assert page.count("UklGR") == 74  # a WebP each, and the one shown at first


@pytest.mark.parametrize("share", [False, True])
def test_animation_moves_the_points(flow2, share):
    ax = Figure().add_subplot()
    film = animate_stages(flow2, n=30, between=1, share_limits=share, ax=ax)
    stages = [np.asarray(stage.samples) for stage in flow2.stages(30)]
    assert len(list(film.new_frame_seq())) == 11
    film._func(4)
    np.testing.assert_allclose(points(ax), stages[2], rtol=1e-6)
    assert ax.get_title() == "f₂∘f₁(z)\nScale"
    film._func(5)  # halfway
    np.testing.assert_allclose(points(ax), (stages[2] + stages[3]) / 2, rtol=1e-5)
    assert ax.get_title() == "f₃∘f₂∘f₁(z)\nShiftAndCube"
    film._func(10)
    np.testing.assert_allclose(points(ax), stages[5], rtol=1e-6)


def test_animated_points_of_one_coordinate_fill_the_density(flow1):
    ax = Figure().add_subplot()
    film = animate_stages(flow1, n=500, between=0, ax=ax)
    film._func(2)
    x, height = points(ax).T
    density = np.exp(flow1.log_prob(x[:, None]))
    share = height / density
    assert share.min() >= 0 and share.max() <= 1 + 1e-4
    assert abs(share.mean() - 0.5) < 0.05


def test_a_rotation_turns_the_points(tmp_path):
    angle = 2.0
    flow = tfpf.Flow(
        [
            tfpf.bijectors.Rotation2D(angle),
            tfpf.bijectors.Rotation(identity_start=False, seed=1),
        ]
    )
    ax = Figure().add_subplot()
    film = animate_stages(flow, n=50, between=1, ax=ax)
    stages = [np.asarray(stage.samples) for stage in flow.stages(50)]
    radius = np.linalg.norm(stages[0], axis=1)
    for frame in range(5):
        film._func(frame)
        np.testing.assert_allclose(
            np.linalg.norm(points(ax), axis=1), radius, rtol=1e-5
        )
        if frame % 2 == 0:
            np.testing.assert_allclose(points(ax), stages[frame // 2], atol=1e-5)
    film._func(1)
    cos, sin = np.cos(angle / 2), np.sin(angle / 2)
    turned = stages[0] @ [[cos, sin], [-sin, cos]]
    np.testing.assert_allclose(points(ax), turned, atol=1e-5)


def test_the_density_fades_on_the_way(flow2):
    ax = Figure().add_subplot()
    film = animate_stages(flow2, n=30, between=3, ax=ax)
    image = ax.images[0]
    for frame, strength in ((0, 1.0), (1, 0.6875), (2, 0.0), (4, 1.0)):
        film._func(frame)
        assert image.get_alpha() == pytest.approx(strength)
    low, high, *_ = image.get_extent()
    assert (low, high) == pytest.approx(ax.get_xlim())
    ax = Figure().add_subplot()
    animate_stages(flow2, n=30, show="samples", ax=ax)
    assert not ax.images
    ax = Figure().add_subplot()
    animate_stages(flow2, n=30, show="density", ax=ax)
    assert ax.images and not ax.collections[0].get_visible()
    with pytest.raises(ValueError, match="needs points of 2 coordinates"):
        animate_stages(tfpf.Flow([], event_size=3), show="density")


def test_animation_may_be_thrown_away_and_refuses_wrong_options(flow2):
    del_me = animate_stages(flow2, n=10)
    del del_me  # pytest turns matplotlib's warning into an error
    with pytest.raises(ValueError, match="`interval` must be a whole number ≥ 1"):
        animate_stages(flow2, interval=0)
    with pytest.raises(ValueError, match="`between` must be a whole number ≥ 0"):
        animate_stages(flow2, between=-1)


# The parts


def test_robust_limits_leave_outliers_out():
    x = np.random.default_rng(0).normal(size=(1000, 2))
    x[0], x[1] = 1e6, np.nan
    for low, high in robust_limits(x):
        assert -4 < low < -2 and 2 < high < 4
    (x_low, x_high), (y_low, y_high) = robust_limits(x)
    assert x_high - x_low == pytest.approx(y_high - y_low)
    (x_low, x_high), (y_low, y_high) = robust_limits(x * [1, 50])
    assert y_high - y_low > 20 * (x_high - x_low)
    for low, high in robust_limits(np.full((5, 2), 3.0)):
        assert low < 3 < high


def test_base_colours_are_distinct_and_even():
    rng = np.random.default_rng(0)
    for z in (rng.normal(size=(400, 1)), rng.exponential(size=(400, 2)) ** 5):
        colors = base_colors(z)
        assert colors.shape == (400, 3)
        assert colors.min() >= 0 and colors.max() <= 1
        assert len(np.unique(colors.round(6), axis=0)) == 400


def test_mass_norm_is_the_share_of_lower_density():
    density = np.exp(-0.5 * np.linspace(-5, 5, 200) ** 2)
    plane = density[:, None] * density
    norm = MassNorm(plane)
    # For a Gaussian in the plane, density over its peak.
    np.testing.assert_allclose(norm(plane), plane / plane.max(), atol=0.01)
    peaked = plane.copy()
    peaked[100, 100] = 1e6
    assert np.asarray(norm(plane)).max() == 1
    assert MassNorm(np.full(4, np.nan))(np.ma.array([0.0])) == 0
    assert MassNorm(np.zeros(4))(np.zeros(2)).tolist() == [0, 0]
    uniform = np.array([np.nan, 2.0, 2.0, 0.0])
    assert MassNorm(uniform)(np.array([2.0, 0.0])).tolist() == [1, 0]


def test_axes_are_returned_for_one_picture(flow1):
    for ax in (plot_density(flow1), plot_history({"loss": [1.0]})):
        assert isinstance(ax, Axes)
    assert isinstance(plot_transformation(flow1), Axes)
    assert tf.executing_eagerly()


# Conditional flows


@pytest.fixture(scope="module")
def conditional2():
    couplings = [
        tfpf.bijectors.AffineCoupling(
            hidden=(4,), identity_start=False, seed=i, flip=bool(i), context_size=3
        )
        for i in range(2)
    ]
    return tfpf.Flow(couplings, event_size=2)


@pytest.fixture(scope="module")
def conditional1():
    spline = tfpf.bijectors.Spline(4, box=3.0, hidden=(4,), context_size=3, seed=0)
    flow = tfpf.Flow([spline], event_size=1)
    for weight in flow.trainable_variables:
        weight.assign(0.5 * np.random.default_rng(0).normal(size=weight.shape))
    return flow


CONTEXT = [0.5, -1.0, 2.0]


def test_stages_of_a_conditional_flow(conditional2):
    figure = plot_stages(conditional2, context=CONTEXT, n=50, resolution=10)
    stages = conditional2.stages(50, context=CONTEXT)
    for ax, stage in zip(figure.axes, stages, strict=True):
        np.testing.assert_allclose(points(ax), stage.samples, rtol=1e-5)
    other = plot_stages(conditional2, context=[0.0, 0.0, 0.0], n=50, resolution=10)
    assert np.any(points(other.axes[-1]) != points(figure.axes[-1]))


@pytest.mark.slow
def test_orders_of_a_conditional_flow(conditional2):
    figure = plot_orders(conditional2, context=CONTEXT, orders=[[1, 0]], samples=50)
    expected = conditional2.reordered([1, 0]).stages(50, context=CONTEXT)
    np.testing.assert_allclose(points(figure.axes[-1]), expected[-1].samples, rtol=1e-5)


def test_film_of_a_conditional_flow(conditional1, conditional2):
    for flow in (conditional1, conditional2):
        film = animate_stages(flow, context=CONTEXT, n=20, between=0)
        *_, last = film.new_frame_seq()
        assert last == len(flow.bijectors)
        film.draw(last)
        ends = flow.stages(20, context=CONTEXT)[-1].samples
        shown = points(film.figure.axes[0])[:, : flow.event_size]
        np.testing.assert_allclose(shown, ends, rtol=1e-5)


def test_transformation_of_a_conditional_flow(conditional1):
    ax = plot_transformation(conditional1, context=CONTEXT, n=100)
    x, z = ax.lines[0].get_data()
    bound = conditional1.bijectors[0].given(CONTEXT)
    np.testing.assert_allclose(bound.forward(z[:, None])[:, 0], x, atol=1e-3)
    density = ax.child_axes[0].lines[0].get_ydata()
    exact = conditional1.given(CONTEXT).prob(x[:, None].astype("float32"))
    np.testing.assert_allclose(density, exact, rtol=1e-4)


def test_a_bound_distribution_is_drawn_like_any_other(conditional1, conditional2):
    given = conditional2.given(CONTEXT)
    data = np.asarray(given.sample(30, seed=0))
    ax = plot_density(given, data, limits=(-1, 1), resolution=2)
    corners = np.array([[-0.5, -0.5], [0.5, -0.5], [-0.5, 0.5], [0.5, 0.5]], "float32")
    shown = ax.images[0].get_array().ravel()
    np.testing.assert_allclose(shown, given.prob(corners), rtol=1e-4)
    figure = plot_samples(given, data, n=40, seed=1)
    assert titles(figure) == ["30 data points", "40 samples"]
    again = plot_samples(given, n=40, seed=1)
    np.testing.assert_array_equal(points(again.axes[0]), points(figure.axes[1]))
    ax = plot_density(conditional1.given(CONTEXT), limits=(-6, 6), resolution=2000)
    heights = ax.lines[0].get_ydata()
    assert abs(heights.mean() * 12 - 1) < 1e-3


def test_contexts_that_are_missing_or_wrong_raise(conditional1, conditional2, flow1):
    for draw in (
        lambda **options: plot_stages(conditional2, **options),
        lambda **options: plot_orders(conditional2, **options),
        lambda **options: animate_stages(conditional2, **options),
        lambda **options: plot_transformation(conditional1, **options),
    ):
        with pytest.raises(ValueError, match=r"expected shape \(3,\)"):
            draw()
        with pytest.raises(ValueError, match=r"expected shape \(3,\)"):
            draw(context=[[1.0, 2.0, 3.0]])
    for draw in (plot_density, plot_samples):
        with pytest.raises(ValueError, match=r"Remedy: `flow.given\(context\)`"):
            draw(conditional2)
        with pytest.raises(ValueError, match=r"one row in `flow\.given"):
            draw(conditional2.given([CONTEXT, CONTEXT]))
    with pytest.raises(ValueError, match="None for another"):
        plot_transformation(flow1, context=CONTEXT)
