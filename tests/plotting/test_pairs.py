"""Pair plots, marginals and image sheets show the right numbers, rightly named."""

import itertools

import numpy as np
import pandas as pd
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from figures import assert_apart, save
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import tfp_flows as tfpf
from tfp_flows.plotting import plot_images, plot_marginals, plot_pairs
from tfp_flows.plotting.images import _GAP
from tfp_flows.plotting.style import VERMILION

tfb, tfd = tfp.bijectors, tfp.distributions

pytestmark = pytest.mark.usefixtures("no_pyplot_figures")


class Normal:
    """Standard normal samples, and nothing else: all that a picture needs."""

    def __init__(self, event_size):
        self.event_size = event_size

    def sample(self, n, seed):
        return np.random.default_rng(seed).normal(size=(n, self.event_size))


def data(size, n=300):
    return np.random.default_rng(7).normal(size=(n, size)) * np.arange(1, size + 1)


def points(ax):
    return np.asarray(ax.collections[0].get_offsets())


def rows(x):
    return {tuple(row) for row in np.round(x, 6)}


# plot_pairs


def test_data_stand_below_and_samples_above_the_diagonal():
    x = data(3)
    figure = plot_pairs(Normal(3), x, n=200, seed=4)
    cells = np.array(figure.axes).reshape(3, 3)
    samples = Normal(3).sample(200, 4)
    for i, j in itertools.permutations(range(3), 2):
        # n points of the data, in a random order; every sample.
        shown = rows(points(cells[i, j]))
        if i > j:
            assert len(points(cells[i, j])) == 200 and shown <= rows(x[:, [j, i]])
        else:
            assert shown == rows(samples[:, [j, i]])
        assert cells[i, j].get_xlim() == cells[2, j].get_xlim()
    for i in range(3):
        steps, line = cells[i, i].patches
        heights, edges = steps.get_data().values, steps.get_data().edges
        counted = np.histogram(x[:, i], edges)[0]
        np.testing.assert_allclose(heights, counted / 300 / np.diff(edges))
        assert line.get_label() == "samples"
    assert figure.get_suptitle() == (
        "300 data points (grey) below the diagonal, 200 of them drawn\n"
        "200 samples (blue) above it"
    )
    assert_apart(figure)


def test_mirrored_panels_have_mirrored_limits():
    figure = plot_pairs(Normal(4), data(4), n=50)
    cells = np.array(figure.axes).reshape(4, 4)
    for i, j in itertools.combinations(range(4), 2):
        assert cells[i, j].get_xlim() == cells[j, i].get_ylim()


def test_samples_alone_stand_below():
    figure = plot_pairs(Normal(3), n=50)
    x = np.asarray(Normal(3).sample(50, seed=0))
    lower = [ax for ax in figure.axes if ax.collections]
    pairs = [(0, 1), (0, 2), (1, 2)]  # below the diagonal, row by row
    for ax, pair in zip(lower, pairs, strict=True):
        np.testing.assert_array_equal(points(ax), x[:, pair])
    assert len(figure.axes) == 6 and figure.get_suptitle() == "50 samples"
    assert_apart(figure)


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_all_sizes(size):
    few = [0, 63] if size == 64 else None  # 36 panels take long to lay out
    for figure in (
        plot_pairs(Normal(size), data(size), coordinates=few, n=60),
        plot_marginals(Normal(size), data(size), n=60),
        plot_marginals(Normal(size), n=60),
    ):
        assert_apart(figure)
    image = plot_images(Normal(size), (1, size) if size < 64 else (8, 8), n=4)
    assert_apart(image.figure)


def test_coordinates_that_are_left_out_are_counted():
    figure = plot_pairs(Normal(64), data(64), n=20)
    assert len(figure.axes) == 36
    assert figure.get_supxlabel() == "6 of 64 coordinates; 58 are left out"
    figure = plot_pairs(Normal(64), data(64), coordinates=[63, 5], n=20)
    assert [ax.get_xlabel() for ax in figure.axes[2:]] == [
        "coordinate 63",
        "coordinate 5",
    ]
    assert rows(points(figure.axes[2])) <= rows(data(64)[:, [63, 5]])
    figure = plot_marginals(Normal(200), n=20)
    assert figure.get_supxlabel() == "128 of 200 coordinates; 72 are left out"


def test_columns_and_names_are_the_labels():
    table = pd.DataFrame(data(3), columns=["age", "bmi", 3])
    for figure in (
        plot_pairs(Normal(3), table, n=20),
        plot_pairs(Normal(3), data(3), names=("age", "bmi", "3"), n=20),
    ):
        assert [ax.get_xlabel() for ax in figure.axes[6:]] == ["age", "bmi", "3"]
        assert [ax.get_ylabel() for ax in figure.axes[::3]] == ["age", "bmi", "3"]
    figure = plot_marginals(Normal(3), table, n=20)
    assert [ax.get_xlabel() for ax in figure.axes] == ["age", "bmi", "3"]
    table = pd.DataFrame(data(20), columns=[f"column {i}" for i in range(20)])
    (ax,) = plot_marginals(Normal(20), table, n=20).axes
    assert [t.get_text() for t in ax.get_xticklabels()] == list(table.columns)
    names = ["a name that goes on and on", "b", "c"]
    figure = plot_pairs(Normal(3), names=names, n=20)
    assert figure.axes[0].get_ylabel() == "a name that goes on…"
    with pytest.raises(ValueError, match="`names` must be 3, one for each"):
        plot_pairs(Normal(3), names=["a", "b"])


def test_a_flow_and_a_bound_distribution_are_drawn():
    flow = tfpf.Flow([tfb.Scale([1.0, 2.0, 3.0])])
    figure = plot_pairs(flow, n=40, seed=3)
    expected = np.asarray(flow.sample(40, seed=3))
    np.testing.assert_allclose(points(figure.axes[1]), expected[:, [0, 1]], rtol=1e-6)
    normal = tfd.MultivariateNormalDiag([0.0, 1.0])
    draws = np.asarray(normal.sample(40, seed=tf.constant([0, 0], tf.int32)))
    for i, ax in enumerate(plot_marginals(normal, n=40).axes):
        median = ax.lines[0].get_xdata()[0]
        assert median == pytest.approx(np.median(draws[:, i]), abs=1e-6)


def test_samples_that_are_not_finite_are_left_out():
    flow = tfpf.Flow([tfb.Scale([50.0, 1.0]), tfb.Exp()])
    finite = np.isfinite(np.asarray(flow.sample(500, seed=0))).all(-1).sum()
    assert 0 < finite < 500
    figure = plot_pairs(flow, n=500)
    assert figure.get_suptitle() == f"{finite} samples"
    flow = tfpf.Flow([tfb.Shift([-50.0, 0.0]), tfb.Invert(tfb.Exp())])
    with pytest.raises(ValueError, match="Received none among 50"):
        plot_marginals(flow, n=50)


def test_given_axes_are_drawn_on():
    figure = Figure()
    axes = figure.subplots(2, 2)
    assert plot_pairs(Normal(2), data(2), n=20, axes=axes) is figure
    assert axes[0, 1].collections and axes[1, 0].collections
    assert not figure.texts
    figure = Figure()
    assert plot_marginals(Normal(20), n=20, axes=figure.add_subplot()) is figure
    given = figure.add_subplot()
    assert plot_images(Normal(4), (2, 2), ax=given) is given
    with pytest.raises(ValueError, match="at least 4 Axes"):
        plot_pairs(Normal(2), axes=figure.axes[0])


@pytest.mark.parametrize("draw", [plot_pairs, plot_marginals])
def test_wrong_options_are_refused(draw):
    for coordinates in ([0, 0], [3], [], range(200), [-1]):
        with pytest.raises(ValueError, match=r"`coordinates` must be 1 to 3 different"):
            draw(Normal(3), coordinates=coordinates)
    with pytest.raises(ValueError, match="`n` must be a whole number ≥ 1"):
        draw(Normal(3), n=0)
    with pytest.raises(ValueError, match=r"shape \(..., 3\)"):
        draw(Normal(3), np.zeros((4, 2)))
    with pytest.raises(TypeError, match=r"must be a Flow, a tfd\.Distribution"):
        draw(np.zeros((4, 2)))
    with pytest.raises(ValueError, match=r"1 to 6 different|1 to 64 different"):
        draw(Normal(64), coordinates=range(65))


# plot_marginals


def test_bands_are_the_quantiles():
    x = data(2)
    figure = plot_marginals(Normal(2), x, n=400, seed=1)
    clouds = [x, Normal(2).sample(400, 1)]
    for i, ax in enumerate(figure.axes):
        bands = [p for p in ax.patches if hasattr(p, "get_width")]
        for cloud, (wide, narrow) in zip(clouds, (bands[:2], bands[2:]), strict=True):
            ends = [
                wide.get_x(),
                narrow.get_x(),
                narrow.get_x() + narrow.get_width(),
                wide.get_x() + wide.get_width(),
            ]
            expected = np.quantile(cloud[:, i], [0.05, 0.25, 0.75, 0.95])
            np.testing.assert_allclose(ends, expected, atol=1e-9)
        medians = [line.get_xdata()[0] for line in ax.lines]
        np.testing.assert_allclose(medians, [np.median(c[:, i]) for c in clouds])
        assert ax.get_ylim()[0] < min(line.get_ydata()[0] for line in ax.lines)


def test_many_coordinates_share_one_scale():
    x = data(40, 2000)  # of spreads 1 to 40, which the picture brings to 1
    figure = plot_marginals(Normal(40), x, n=2000)
    assert len(figure.axes) == 2
    ax = figure.axes[0]
    assert len(ax.get_xticks()) == 20
    wide, narrow, samples_wide, _ = ax.containers
    heights = [bar.get_height() for bar in wide]
    np.testing.assert_allclose(heights, 2 * 1.645, rtol=0.15)
    for i, bar in enumerate(narrow):
        low, middle, high = np.quantile(x[:, i], [0.25, 0.5, 0.75])
        unit = (high - low) / 1.349
        assert bar.get_y() == pytest.approx((low - middle) / unit)
        assert bar.get_height() == pytest.approx(1.349)
    # The samples are as wide as the first coordinate alone.
    assert samples_wide[0].get_height() == pytest.approx(2 * 1.645, rel=0.15)
    assert samples_wide[9].get_height() == pytest.approx(2 * 1.645 / 10, rel=0.15)


def test_distant_samples_do_not_set_the_limits():
    class Far(Normal):
        def sample(self, n, seed):
            return 1e6 + super().sample(n, seed)

    figure = plot_marginals(Far(20), data(20), n=50)
    low, high = figure.axes[0].get_ylim()
    assert high - low < 10
    save(figure)


def test_constant_coordinates_are_drawn():
    x = data(20)
    x[:, 3] = 5.0
    figure = plot_marginals(Normal(20), x, n=50)
    low, high = figure.axes[0].get_ylim()
    assert -np.inf < low < high < np.inf
    save(figure)
    save(plot_marginals(Normal(3), np.ones((10, 3)), n=50))
    save(plot_pairs(Normal(3), np.ones((10, 3)), n=50))


# plot_images


def test_pixels_lie_row_by_row_between_black_and_white():
    x = np.arange(6.0)[None]
    sheet = plot_images(x, (2, 3), limits=(0, 5)).images[0].get_array()
    scale = 11  # of the pixels, up to 32
    assert sheet.shape == (2 * scale, 3 * scale, 3)
    expected = np.repeat(x.reshape(2, 3, 1) / 5, 3, axis=2)
    np.testing.assert_allclose(sheet[::scale, ::scale], expected)


def test_images_stand_side_by_side():
    x = np.random.default_rng(0).uniform(size=(5, 32, 32))
    ax = plot_images(x, (32, 32), n=4, columns=3, limits=(0, 1))
    sheet = ax.images[0].get_array()
    assert ax.get_title() == "4 of 5 images of 32×32"
    assert sheet.shape == (2 * 32 + 2, 3 * 32 + 2 * 2, 3)
    np.testing.assert_allclose(sheet[:32, 34:66, 0], x[1])
    np.testing.assert_allclose(sheet[34:, :32, 2], x[3])
    np.testing.assert_allclose(sheet[32:34], np.broadcast_to(_GAP, (2, 100, 3)))


def test_colours_and_pixels_that_are_not_finite():
    x = np.random.default_rng(0).uniform(size=(1, 32, 32, 3))
    x[0, 4, 5] = np.nan
    sheet = np.asarray(plot_images(x, (32, 32, 3), limits=(0, 1)).images[0].get_array())
    np.testing.assert_allclose(sheet[4, 5], to_rgb(VERMILION))
    x[0, 4, 5] = sheet[4, 5]
    np.testing.assert_allclose(sheet, x[0])
    save(plot_images(np.full((2, 4), np.nan), (2, 2)).figure)
    save(plot_images(np.ones((2, 4)), (2, 2)).figure)


def test_one_outlier_does_not_darken_the_sheet():
    x = np.random.default_rng(0).uniform(size=(50, 64))
    x[0, 0] = 1e9
    sheet = plot_images(x, (8, 8), n=50).images[0].get_array()
    assert sheet.mean() > 0.4 and sheet.max() == 1


def test_samples_of_a_flow_are_images():
    flow = tfpf.Flow([tfb.Scale(2.0), tfb.Sigmoid()], event_size=64)
    ax = plot_images(flow, (8, 8), n=4, seed=3, limits=(0, 1))
    assert ax.get_title() == "4 samples of 8×8"
    first = np.asarray(flow.sample(4, seed=3))[0].reshape(8, 8)
    sheet = ax.images[0].get_array()
    np.testing.assert_allclose(sheet[:32:4, :32:4, 0], first, atol=1e-6)


@pytest.mark.parametrize(
    ("source", "shape", "error", "message"),
    [
        (np.zeros((3, 5)), (2, 3), ValueError, r"shape \(m, 6\) or \(m, 2, 3\)"),
        (np.zeros((0, 6)), (2, 3), ValueError, r"Received shape \(0, 6\)"),
        (np.zeros(6), (2, 3), ValueError, r"Received shape \(6,\)"),
        ([["a"]], (1, 1), TypeError, "must hold numbers"),
        (Normal(5), (2, 3), ValueError, r"has coordinates, 5. Received: \(2, 3\), 6"),
        (Normal(6), (6,), ValueError, r"`shape` must be \(H, W\) or \(H, W, 3\)"),
        (Normal(6), (3, 2, 1), ValueError, r"`shape` must be"),
        (Normal(6), (-3, -2), ValueError, r"`shape` must be"),
        (3, (1, 1), TypeError, "must be a Flow, a tfd"),
    ],
)
def test_images_refuse_what_does_not_fit(source, shape, error, message):
    with pytest.raises(error, match=message):
        plot_images(source, shape)
