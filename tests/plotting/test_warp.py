"""Pictures of a bijector, a stage and a line hold the right maps and densities."""

import numpy as np
import pytest
import tensorflow_probability as tfp
from figures import assert_apart, save
from matplotlib.colors import to_rgb
from matplotlib.figure import Figure

import tfp_flows as tfpf
from tfp_flows.plotting import (
    plot_density,
    plot_line,
    plot_log_det,
    plot_stage,
    plot_transformation,
    plot_warp,
)
from tfp_flows.plotting.style import DIVERGING

tfb, tfd = tfp.bijectors, tfp.distributions

pytestmark = pytest.mark.usefixtures("no_pyplot_figures")


@pytest.fixture(scope="module")
def flow5():
    return tfpf.Flow([tfb.Scale([1.0, 2.0, 3.0, 4.0, 5.0]), tfb.Tanh()])


# plot_warp


def test_lines_of_a_grid_are_carried_by_the_bijector():
    rotation = tfpf.bijectors.Rotation2D(0.5)
    figure = plot_warp(rotation, limits=((-1, 1), (-2, 2)), lines=3)
    before, after = figure.axes
    assert len(before.lines) == len(after.lines) == 3 + 3 + 3
    for a, b in zip(before.lines, after.lines, strict=True):
        z = np.column_stack(a.get_data()).astype(np.float32)
        np.testing.assert_allclose(
            np.column_stack(b.get_data()), rotation.forward(z), atol=1e-6
        )
        assert a.get_color() == b.get_color()
    up = [line.get_xdata() for line in before.lines[:3]]
    np.testing.assert_allclose(
        [[u.min(), u.max()] for u in up], [[-1] * 2, [0] * 2, [1] * 2]
    )
    across = [line.get_ydata() for line in before.lines[3:6]]
    np.testing.assert_allclose(np.ptp(across, axis=1), 0)
    for i, ring in enumerate(before.lines[6:], 1):
        x, y = ring.get_data()
        np.testing.assert_allclose(np.hypot(x, y / 2), i / 3)


def test_the_panel_shows_the_outermost_lines(flow2):
    before, _ = plot_warp(flow2, lines=3).axes
    for low, high, data in (
        (*before.get_xlim(), before.lines[0].get_xdata()),
        (*before.get_ylim(), before.lines[3].get_ydata()),
    ):
        assert low < data[0] < high


def test_a_stage_of_a_flow_or_all_of_them(flow2):
    z = np.asarray(flow2.stages(2000)[0].samples)
    figure = plot_warp(flow2)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["z\nMultivariateNormalDiag", "f₅∘⋯∘f₁(z)\nall 5 bijectors"]
    line = figure.axes[0].lines[4]
    start = np.column_stack(line.get_data()).astype(np.float32)
    end = np.column_stack(figure.axes[1].lines[4].get_data())
    exact = flow2.distribution.bijector.forward(start)
    np.testing.assert_allclose(end, exact, rtol=1e-3, atol=1e-5)
    low, high = figure.axes[0].get_xlim()
    assert low < np.quantile(z[:, 0], 0.01) and np.quantile(z[:, 0], 0.99) < high

    figure = plot_warp(flow2, stage=4, lines=2)
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["f₃∘f₂∘f₁(z)\nShiftAndCube", "f₄∘⋯∘f₁(z)\nRotation2D"]
    start = np.column_stack(figure.axes[0].lines[-1].get_data()).astype(np.float32)
    end = np.column_stack(figure.axes[1].lines[-1].get_data())
    np.testing.assert_allclose(end, flow2.bijectors[3].forward(start), rtol=1e-4)


def test_the_plane_of_two_of_many_coordinates(flow5):
    at = np.full(5, 0.5)
    figure = plot_warp(flow5, stage=1, coordinates=(4, 2), at=at, lines=2)
    for a, b in zip(figure.axes[0].lines, figure.axes[1].lines, strict=True):
        z = np.column_stack(a.get_data())
        np.testing.assert_allclose(np.column_stack(b.get_data()), z * [5, 3], rtol=1e-5)
    assert figure.get_supxlabel().startswith("the plane of coordinates 4 and 2 of 5")


def test_other_coordinates_are_held_at_one_point():
    shear = tfpf.bijectors.AffineCoupling(hidden=(4,), identity_start=False, seed=0)
    flow = tfpf.Flow([shear], event_size=3)
    at = [0.3, -0.4, 0.7]
    figure = plot_warp(flow, coordinates=(1, 2), at=at, lines=2, limits=(-1, 1))
    z = np.tile(np.array(at, np.float32), (400, 1))
    z[:, 1:] = np.column_stack(figure.axes[0].lines[-1].get_data())
    shown = np.column_stack(figure.axes[1].lines[-1].get_data())
    np.testing.assert_allclose(shown, shear.forward(z).numpy()[:, 1:], atol=1e-5)


def test_one_coordinate_is_a_curve(flow1):
    figure = plot_warp(flow1, stage=2, lines=5)
    (ax,) = figure.axes
    curve, *marks = ax.lines
    z, x = curve.get_data()
    np.testing.assert_allclose(x, 2 * z, rtol=1e-5)
    assert len(marks) == 5
    assert np.ptp(np.diff([mark.get_xdata()[0] for mark in marks])) < 1e-6
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("f₁(z)", "f₂∘f₁(z)")
    save(figure)


@pytest.mark.parametrize("size", [1, 2, 5, 64])
def test_all_sizes(size):
    flow = tfpf.Flow([tfb.Scale(2.0), tfb.Tanh()], event_size=size)
    warp, log_det = plot_warp(flow), plot_log_det(flow, resolution=5)
    stage = plot_stage(flow, 2, n=50, resolution=5)
    assert len(warp.axes) == (1 if size == 1 else 2)
    for figure in (warp, log_det.figure):
        assert_apart(figure)
    shown = log_det.lines[0].get_ydata() if size == 1 else log_det.images[0].get_array()
    middle = np.ravel(shown)[len(np.ravel(shown)) // 2]
    # tanh'(0) = 1, so that only the scale by 2 counts in the middle.
    assert middle == pytest.approx(size * np.log(2), abs=0.1 * size)
    ends = np.asarray(flow.stages(50)[-1].samples)[:, : min(size, 2)]
    np.testing.assert_allclose(stage.collections[-1].get_offsets()[:, 0], ends[:, 0])
    if size == 1:
        assert_apart(plot_line(flow, n=50))
    else:
        with pytest.raises(ValueError, match=f"1 coordinate. Received one of {size}"):
            plot_line(flow)


@pytest.mark.parametrize("count", [0, 2, pytest.param(20, marks=pytest.mark.slow)])
def test_any_number_of_stages_stays_readable(count):
    rotations = [tfpf.bijectors.Rotation2D(0.3 * i) for i in range(count)]
    flow = tfpf.Flow(rotations, event_size=2)
    assert_apart(plot_warp(flow))
    assert_apart(plot_log_det(flow, resolution=5).figure)
    assert_apart(plot_stage(flow, count, n=20, resolution=5).figure)


def test_huge_and_missing_images_are_drawn():
    for bijector in (tfb.Chain([tfb.Exp(), tfb.Scale([30.0, 30.0])]), tfb.Log()):
        figure = plot_warp(bijector)
        save(figure)
        save(plot_log_det(bijector, resolution=10).figure)
        low, high = figure.axes[1].get_ylim()
        for line in figure.axes[1].lines:
            y = line.get_ydata()
            assert np.nanmax(np.abs(y), initial=0) < 101 * (high - low)


def test_a_bijector_tells_its_width_or_is_drawn_over_a_plane():
    assert len(plot_warp(tfb.Exp()).axes) == 2
    assert len(plot_warp(tfb.Scale([2.0])).axes) == 1
    figure = plot_warp(tfb.Scale([1.0, 2.0, 3.0]))
    assert figure.get_supxlabel().endswith("of 3; the others are held at one point")
    ax = plot_log_det(tfb.Scale([1.0, 2.0, 3.0]), resolution=4)
    np.testing.assert_allclose(ax.images[0].get_array(), np.log(6), rtol=1e-6)
    assert ax.texts[0].get_text() == "1.79 nats everywhere"


def test_a_bound_context_warps(flow2):
    coupling = tfpf.bijectors.AffineCoupling(
        hidden=(4,), identity_start=False, seed=0, context_size=3
    )
    flow = tfpf.Flow([coupling], event_size=2)
    context = [0.5, -1.0, 2.0]
    for source in (flow, coupling):
        figure = plot_warp(source, context=context, lines=2, limits=(-1, 1))
        z = np.column_stack(figure.axes[0].lines[-1].get_data()).astype(np.float32)
        exact = coupling.given(context).forward(z)
        shown = np.column_stack(figure.axes[1].lines[-1].get_data())
        np.testing.assert_allclose(shown, exact, rtol=1e-4, atol=1e-5)
        with pytest.raises(ValueError, match=r"expected shape \(3,\)"):
            plot_warp(source)
    for source in (flow2, tfb.Exp()):
        with pytest.raises(ValueError, match="None for another"):
            plot_log_det(source, context=context)
    assert plot_stage(flow, 1, context=context, n=20, resolution=5)


def test_given_axes_are_drawn_on(flow1, flow2):
    figure = Figure()
    axes = figure.subplots(1, 3)
    assert plot_warp(flow2, axes=axes[:2], lines=2) is figure
    assert plot_log_det(flow2, ax=axes[2], resolution=5) is axes[2]
    assert axes[0].lines and axes[1].lines and axes[2].images
    given = Figure().add_subplot()
    assert plot_stage(flow2, 1, ax=given, n=20, resolution=5) is given
    figure = Figure()
    assert plot_line(flow1, axes=figure.subplots(1, 3)) is figure
    assert all(ax.lines for ax in figure.axes[:3])


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"stage": 0}, r"one of 1\.\.5. Received: 0. Stage 0 is the base"),
        ({"stage": 6}, r"one of 1\.\.5. Received: 6"),
        ({"stage": 1.0}, r"one of 1\.\.5. Received: 1\.0"),
        ({"coordinates": (0, 2)}, "two different ones of 0..1"),
        ({"at": [0.0]}, r"`at` must have shape \(..., 2\)"),
        ({"at": [[0.0, 0.0]]}, "`at` must be one point"),
        ({"limits": (1, 0)}, "low < high"),
        ({"lines": 1}, "`lines` must be at least 2"),
        ({"axes": Figure().subplots(1, 1)}, "at least 2 Axes. Received: 1"),
    ],
)
def test_warp_refuses_wrong_options(flow2, options, message):
    with pytest.raises(ValueError, match=message):
        plot_warp(flow2, **options)


def test_what_is_neither_flow_nor_bijector_is_refused(flow2):
    for draw in (plot_warp, plot_log_det):
        with pytest.raises(
            TypeError, match=r"a Flow or a tfb\.Bijector. Received: Norm"
        ):
            draw(tfd.Normal(0.0, 1.0))
        with pytest.raises(ValueError, match="`stage` must be None for a bijector"):
            draw(tfb.Exp(), stage=1)
    for draw in (lambda x: plot_stage(x, 0), plot_line):
        with pytest.raises(TypeError, match=r"must be a Flow. Received: Exp"):
            draw(tfb.Exp())
    with pytest.raises(ValueError, match=r"one of 0\.\.5. Received: 6"):
        plot_stage(flow2, 6)
    with pytest.raises(ValueError, match="`resolution` must be a whole number ≥ 1"):
        plot_log_det(flow2, resolution=0)


# plot_log_det


def test_log_det_is_exact_on_a_map_centred_at_zero(flow2):
    ax = plot_log_det(flow2, stage=5, limits=(-2, 3), resolution=10)
    image = ax.images[0]
    z = -2 + (np.arange(10) + 0.5) * 0.5
    points = np.stack(np.meshgrid(z, z), -1).astype(np.float32)
    exact = tfb.Sigmoid().forward_log_det_jacobian(points, event_ndims=1)
    np.testing.assert_allclose(image.get_array(), exact, rtol=1e-5)
    assert image.norm.vmin == -image.norm.vmax < 0
    assert image.get_cmap() is DIVERGING
    assert ax.get_title() == "f₅∘⋯∘f₁(z)\nSigmoid"
    bar = ax.figure.axes[1]
    assert bar.get_ylabel() == "log|det ∂x/∂z| (nats)"


def test_log_det_of_all_bijectors_is_that_of_the_chain(flow2):
    ax = plot_log_det(flow2, limits=(-0.5, 0.5), resolution=4)
    z = -0.5 + (np.arange(4) + 0.5) / 4
    points = np.stack(np.meshgrid(z, z), -1).astype(np.float32)
    chain = flow2.distribution.bijector
    exact = chain.forward_log_det_jacobian(points, event_ndims=1)
    np.testing.assert_allclose(ax.images[0].get_array(), exact, rtol=1e-3, atol=1e-3)


def test_what_keeps_volume_stays_white_and_says_so():
    ax = plot_log_det(tfpf.bijectors.Rotation2D(0.3), resolution=5)
    colors = ax.images[0].to_rgba(ax.images[0].get_array())
    np.testing.assert_allclose(colors, 1.0, atol=0.01)
    assert ax.texts[0].get_text() == "volume is kept, to 0.01 nats"


def test_corners_without_points_do_not_fade_the_rest(flow2):
    image = plot_log_det(flow2, resolution=40).images[0]
    sizes = np.abs(image.get_array().compressed())
    assert np.median(sizes) <= image.norm.vmax < 0.8 * sizes.max()
    # Where limits reach beyond the points, half of what is shown tells.
    image = plot_log_det(flow2, stage=5, limits=(-90, 90), resolution=40).images[0]
    assert image.norm.vmax >= np.median(np.abs(image.get_array().compressed()))


def test_log_det_of_one_coordinate_is_a_curve(flow1):
    ax = plot_log_det(flow1, stage=1, resolution=50)
    z, values = ax.lines[0].get_data()
    points = z[:, None].astype(np.float32)
    exact = flow1.bijectors[0].forward_log_det_jacobian(points, event_ndims=1)
    exact = np.where(np.isfinite(exact), exact, np.nan)
    np.testing.assert_allclose(values, exact, rtol=1e-5)
    low, high = ax.get_ylim()
    assert low < 0 < high


def test_the_diverging_colours_differ_without_red_and_green():
    low, middle, high = (np.array(DIVERGING(v)[:3]) for v in (0.15, 0.5, 0.85))
    np.testing.assert_allclose(middle, to_rgb("white"), atol=0.02)
    # Protanopia and deuteranopia keep blue against yellow apart: B - (R + G) / 2.
    blueness = [c[2] - (c[0] + c[1]) / 2 for c in (low, high)]
    assert blueness[0] > 0.2 and blueness[1] < -0.2
    lightness = [
        DIVERGING(v)[:3] @ np.array([0.2126, 0.7152, 0.0722])
        for v in np.linspace(0, 1, 21)
    ]
    assert (np.diff(lightness[:11]) > 0).all() and (np.diff(lightness[10:]) < 0).all()


# plot_stage


def test_a_stage_has_its_points_its_density_and_its_margins(flow2):
    ax = plot_stage(flow2, 3, n=400, seed=2, resolution=12)
    stage = flow2.stages(400, seed=2)[3]
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points, stage.samples, rtol=1e-6)
    assert ax.get_title() == "f₃∘f₂∘f₁(z)\nShiftAndCube"
    x0, x1, y0, y1 = ax.images[0].get_extent()
    grid = np.stack(
        np.meshgrid(
            x0 + (np.arange(12) + 0.5) * (x1 - x0) / 12,
            y0 + (np.arange(12) + 0.5) * (y1 - y0) / 12,
        ),
        -1,
    )
    exact = stage.distribution.prob(grid.astype(np.float32))
    np.testing.assert_allclose(ax.images[0].get_array(), exact, rtol=1e-3, atol=1e-6)
    above, right = ax.child_axes
    assert above.get_xlim() == ax.get_xlim() and right.get_ylim() == ax.get_ylim()
    for margin, i in ((above, 0), (right, 1)):
        steps = margin.patches[0].get_data()
        heights, _ = np.histogram(points[:, i], steps.edges)
        expected = heights / 400 / np.diff(steps.edges)
        np.testing.assert_allclose(steps.values, expected)
    save(ax.figure)


def test_points_keep_the_colours_of_the_base(flow2):
    colors = [
        plot_stage(flow2, k, n=50, resolution=4).collections[0].get_facecolors()
        for k in (0, 5)
    ]
    np.testing.assert_array_equal(*colors)


def test_the_title_stands_above_the_margin(flow2):
    ax = plot_stage(flow2, 5, n=50, resolution=4)
    ax.figure.draw_without_rendering()
    margin = ax.child_axes[0].get_window_extent()
    assert ax.title.get_window_extent().y0 >= margin.y1


def test_a_stage_of_many_coordinates_has_no_shading(flow5):
    ax = plot_stage(flow5, 1, coordinates=(3, 0), n=60)
    samples = np.asarray(flow5.stages(60)[1].samples)
    points = np.asarray(ax.collections[0].get_offsets())
    np.testing.assert_allclose(points, samples[:, [3, 0]], rtol=1e-6)
    assert not ax.images and len(ax.child_axes) == 2
    assert ax.get_xlabel() == "coordinate 3 of 5"


def test_a_stage_without_finite_points_says_so():
    flow = tfpf.Flow([tfb.Shift([-50.0, 0.0]), tfb.Invert(tfb.Exp())])
    ax = plot_stage(flow, 2, n=50, resolution=5)
    assert ax.texts[0].get_text() == "50 of 50 not finite"
    save(ax.figure)
    save(plot_warp(flow))
    save(plot_log_det(flow, resolution=5).figure)


# One dimension


@pytest.fixture(scope="module")
def mixture_flow():
    cdf = tfpf.bijectors.MixtureCDF(3)
    return tfpf.Flow([tfb.Invert(cdf)], base=tfd.Beta(2.0, 5.0), event_size=1)


@pytest.mark.slow
def test_three_panels_of_a_line(mixture_flow):
    x = np.asarray(mixture_flow.sample(300, seed=5))
    figure = plot_line(mixture_flow, x)
    base, curve, density = figure.axes
    titles = [ax.get_title() for ax in figure.axes]
    assert titles == ["base: Beta", "the map", "density"]

    z, p = base.lines[0].get_data()
    inside = (z > 0) & (z < 1)
    exact = tfd.Beta(2.0, 5.0).prob(z[inside].astype(np.float32))
    np.testing.assert_allclose(p[inside], exact, rtol=1e-4)

    at, z = curve.lines[0].get_data()
    mixture = mixture_flow.bijectors[0].bijector.mixture
    np.testing.assert_allclose(z, mixture.cdf(at.astype(np.float32)), atol=1e-5)

    at, p = density.lines[0].get_data()
    exact = mixture_flow.distribution.prob(at[:, None].astype(np.float32))
    np.testing.assert_allclose(p, exact, rtol=1e-3, atol=1e-6)
    legend = [text.get_text() for text in density.get_legend().get_texts()]
    assert legend == ["density", "data", "components"]
    total = sum(line.get_ydata() for line in density.lines[1:])
    np.testing.assert_allclose(total, mixture.prob(at.astype(np.float32)), rtol=1e-4)
    assert curve.get_xlim() == density.get_xlim()
    assert_apart(figure)


def test_only_the_last_bijector_s_mixture_is_drawn(mixture_flow, flow1):
    after = tfpf.Flow(
        [*mixture_flow.bijectors, tfb.Scale(3.0)], mixture_flow.base, event_size=1
    )
    for flow in (after, flow1):
        assert len(plot_line(flow, n=50).axes[2].lines) == 1


def rugs(ax, x):
    x = np.sort(np.ravel(x))
    segments = [c.get_segments() for c in ax.collections if hasattr(c, "get_segments")]
    return [s for s in segments if np.allclose(np.sort([p[0, 0] for p in s]), x)]


def test_data_stand_as_a_rug(flow1):
    x = np.asarray(flow1.sample(200, seed=3))
    for ax in (
        plot_density(flow1, x),
        plot_transformation(flow1, x, n=50).child_axes[0],
        plot_line(flow1, x, n=50).axes[2],
    ):
        (rug,) = rugs(ax, x)
        assert max(p[:, 1].max() for p in rug) == pytest.approx(0.03)  # of the axes
        assert ax.get_ylim()[0] == 0


def test_a_line_for_a_context():
    spline = tfpf.bijectors.Spline(4, box=3.0, hidden=(4,), context_size=2, seed=0)
    flow = tfpf.Flow([spline], event_size=1)
    figure = plot_line(flow, context=[1.0, 2.0], n=50)
    at, height = figure.axes[2].lines[0].get_data()
    exact = flow.given([1.0, 2.0]).prob(at[:, None].astype("float32"))
    np.testing.assert_allclose(height, exact, rtol=1e-3, atol=1e-6)
    with pytest.raises(ValueError, match=r"expected shape \(2,\)"):
        plot_line(flow)
    with pytest.raises(ValueError, match="at least 3 Axes"):
        plot_line(flow, context=[1.0, 2.0], axes=Figure().subplots(1, 2))
