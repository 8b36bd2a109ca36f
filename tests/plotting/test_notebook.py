"""What a notebook shows of figures, films, flows and reports, without a magic line."""

import base64
import io
import re

import numpy as np
import pytest
import tensorflow_probability as tfp
from IPython.core.formatters import DisplayFormatter
from matplotlib.figure import Figure
from PIL import Image

import tfp_flows as tfpf
from tfp_flows import plotting

tfb, tfd = tfp.bijectors, tfp.distributions

pytestmark = pytest.mark.usefixtures("no_pyplot_figures")


def shown(thing):
    """Returns what IPython shows of a thing, by kind, text aside."""
    data, _ = DisplayFormatter().format(thing)
    return {kind: value for kind, value in data.items() if kind != "text/plain"}


def image(png):
    return Image.open(io.BytesIO(png))


def thumbnails(text):
    return [
        image(base64.b64decode(data))
        for data in re.findall(r"data:image/png;base64,([^\"]+)", text)
    ]


@pytest.fixture(scope="module")
def flow():
    parts = [tfb.Scale([2.0, 0.5]), tfpf.bijectors.Rotation2D(0.5)]
    return tfpf.Flow(parts, name="z>x")


def test_figures_of_ours_show_themselves(flow):
    figure = plotting.plot_stages(flow, n=50, resolution=10)
    picture = shown(figure)
    assert picture.keys() == {"image/png"}
    pixels = figure.get_size_inches() * figure.dpi
    assert image(picture["image/png"]).size == tuple(np.floor(pixels).astype(int))


def test_axes_of_ours_show_their_figure(flow):
    ax = plotting.plot_density(flow, resolution=10)
    picture, whole = shown(ax), shown(ax.figure)
    assert picture.keys() == {"image/png"}
    assert image(picture["image/png"]).size == image(whole["image/png"]).size


def test_axes_of_the_user_stay_theirs(flow):
    ax = Figure().add_subplot()
    assert shown(plotting.plot_density(flow, resolution=10, ax=ax)) == {}


def test_films_play(flow):
    film = plotting.animate_stages(flow, n=20, between=1)
    assert shown(film) == {"text/html": film.to_jshtml()}


def test_a_flow_of_two_coordinates_is_a_row_of_thumbnails(flow):
    text = shown(flow)["text/html"]
    assert "<b>z&gt;x</b>: 2 coordinates, 2 bijectors, 1 trainable parameter<" in text
    names = re.findall(r'alt="([^"]+)"', text)
    assert names == ["MultivariateNormalDiag", "Scale", "Rotation2D"]
    base, scaled, turned = thumbnails(text)
    assert base.size == (108, 108)
    inked = [(np.asarray(one.convert("L")) < 200).sum() for one in (base, scaled)]
    assert min(inked) > 200
    assert (np.asarray(base) != np.asarray(turned)).any()


def test_a_thumbnail_shows_the_samples_of_its_stage():
    text = shown(tfpf.Flow([tfb.Scale([-1.0, 1.0])]))["text/html"]
    before, after = (np.asarray(one.convert("RGB"), float) for one in thumbnails(text))
    # Colours turn from blue at the base's left to yellow at its right.
    warmth = [(one[..., 0] - one[..., 2])[10:-10, 10:-10] for one in (before, after)]
    left, right = ([half.mean() for half in (w[:, :44], w[:, 44:])] for w in warmth)
    assert left[0] < 0 < left[1]
    assert right[0] > 0 > right[1]


def test_a_flow_of_one_coordinate_shows_its_densities():
    flow = tfpf.Flow([tfb.Softplus()], event_size=1)
    assert len(thumbnails(shown(flow)["text/html"])) == 2


@pytest.mark.parametrize(
    ("event_size", "context_size", "headline"),
    [
        (3, 0, "3 coordinates, 3 bijectors, "),
        (2, 1, "2 coordinates, context of 1 coordinate, 3 bijectors, "),
    ],
)
def test_other_flows_are_a_table(event_size, context_size, headline):
    flow = tfpf.recipes.real_nvp(
        event_size, context_size=context_size, layers=2, hidden=(4,), seed=0
    )
    text = shown(flow)["text/html"]
    assert headline in text
    assert thumbnails(text) == []
    rows = re.findall(r"<tr><td>(\d)</td><td>([^<]+)</td><td>([^<]+)</td></tr>", text)
    assert [row[1] for row in rows] == [
        "MultivariateNormalDiag", "AffineCoupling 1", "AffineCoupling 2", "Standardize"
    ]  # fmt: skip
    assert sum(int(row[2]) for row in rows) == sum(
        int(np.prod(weight.shape)) for weight in flow.trainable_variables
    )


def test_a_report_shows_its_verdicts():
    flow = tfpf.Flow([tfb.Shift([0.0, 0.0])])
    x = np.random.default_rng(0).normal(size=(200, 2))
    good = tfpf.diagnostics.evaluate(flow, x)
    text = shown(good)["text/html"]
    assert good.passed and "✓" in text and good.verdicts[0] in text
    bad = tfpf.diagnostics.evaluate(flow, x + 3.0)
    text = shown(bad)["text/html"]
    assert "✗" in text and text.count("<li>") == len(bad.verdicts) - 1
    assert "Held-out log_prob" in text
