"""Orders are compared fairly, ranked on held-out rows, and compared with errors."""

import ast
import math
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from figures import assert_apart, save
from matplotlib.figure import Figure

import tfp_flows as tfpf
from tfp_flows.orders import FittedOrder, OrderComparison
from tfp_flows.orders.comparison import ranked
from tfp_flows.orders.fitting import _as_orders

tfb, tfd = tfp.bijectors, tfp.distributions

pytestmark = pytest.mark.usefixtures("no_pyplot_figures")


# exp(2 z), z normal, is a scale before an exponential: the given order is wrong.


def wrong_way_round():
    return tfpf.Flow([tfb.Exp(), tfb.Scale(tf.Variable([1.0]))], event_size=1)


LOGNORMAL = tfd.LogNormal(0.0, 2.0)
X = np.asarray(LOGNORMAL.sample(1000, seed=(0, 1)))[:, None]


@pytest.fixture(scope="module")
def lognormal():
    flow = wrong_way_round()
    flow.compile(keras.optimizers.Adam(0.05), steps_per_execution=7)
    return flow, tfpf.compare_orders(
        flow, X, epochs=20, batch_size=50, seed=0, verbose=0
    )


def test_the_right_order_is_found_and_reaches_the_exact_density(lognormal):
    _, comparison = lognormal
    assert [fit.order for fit in comparison.fits] == [(1, 0), (0, 1)]
    exact = float(np.mean(LOGNORMAL.log_prob(comparison.held_out)))
    assert comparison.best.mean == pytest.approx(exact, abs=0.02)
    scale = comparison.best.flow.trainable_variables[0].numpy()
    assert scale == pytest.approx(2.0, abs=0.15)
    assert comparison.is_clear(comparison.fits[1])
    assert "1, 0 is clearly better than all others" in str(comparison)
    assert "the given order is" in comparison.verdict


def test_numbers_are_those_of_the_held_out_points(lognormal):
    _, comparison = lognormal
    assert comparison.held_out.shape == (200, 1)
    rows = {float(v) for v in X[:, 0]}
    assert {float(v) for v in comparison.held_out[:, 0]} < rows
    best, other = comparison.fits
    for fit in comparison.fits:
        log_prob = np.asarray(fit.flow.log_prob(comparison.held_out), np.float64)
        np.testing.assert_allclose(fit.log_prob, log_prob, rtol=1e-5)
        assert fit.mean == pytest.approx(log_prob.mean())
        error = log_prob.std(ddof=1) / math.sqrt(200)
        assert fit.standard_error == pytest.approx(error)
        # Keras's own word on the same points.
        assert -fit.history.history["val_loss"][-1] == pytest.approx(fit.mean, rel=1e-4)
        assert len(fit.history.history["loss"]) == 20
    difference = best.log_prob - other.log_prob
    assert other.behind == pytest.approx(difference.mean())
    assert other.behind_error == pytest.approx(difference.std(ddof=1) / math.sqrt(200))
    assert (best.behind, best.behind_error) == (0.0, 0.0)


def test_the_flow_stays_as_it_is_and_lends_its_optimizer_s_settings(lognormal):
    flow, comparison = lognormal
    assert flow.trainable_variables[0].numpy() == [1.0]
    assert int(flow.optimizer.iterations) == 0
    optimizers = {id(fit.flow.optimizer) for fit in comparison.fits}
    assert len(optimizers) == 2 and id(flow.optimizer) not in optimizers
    for fit in comparison.fits:
        assert float(fit.flow.optimizer.learning_rate) == pytest.approx(0.05)
        assert fit.flow.steps_per_execution == 7
        assert int(fit.flow.optimizer.iterations) == 20 * 800 / 50


@pytest.mark.slow
def test_the_same_seed_gives_the_same_comparison(capsys):
    # Shifts commute: each order sees the same batches, so ends at the same density.
    def shifts():
        variables = [tf.Variable([0.0, 0.0]) for _ in range(3)]
        return tfpf.Flow([tfb.Shift(v) for v in variables])

    x = np.random.default_rng(0).normal(3.0, 1.0, size=(120, 2))
    tf.random.set_seed(5)
    comparisons = [
        tfpf.compare_orders(
            shifts(), x, orders=[(2, 0, 1)], epochs=2, seed=3, verbose=1
        )
        for _ in range(2)
    ]
    for a, b in zip(*(c.fits for c in comparisons), strict=True):
        np.testing.assert_array_equal(a.log_prob, b.log_prob)
    fits = comparisons[0].fits
    assert {fit.order for fit in fits} == {(0, 1, 2), (2, 0, 1)}
    np.testing.assert_allclose(fits[0].log_prob, fits[1].log_prob, rtol=1e-5)
    assert "The order does not clearly matter" in str(comparisons[0])
    rate = fits[0].flow.optimizer.learning_rate  # of nobody's flow: Adam's, at its end
    assert isinstance(fits[0].flow.optimizer, keras.optimizers.Adam)
    assert float(rate) < 1e-4

    shown = capsys.readouterr().out
    assert shown.count("order 0, 1, 2 (given) (1 of 2)\n") == 2
    assert shown.count("order 2, 0, 1 (2 of 2)\n") == 2
    assert "2/2" in shown and "val_loss" in shown


@pytest.mark.slow
def test_an_order_out_of_the_support_comes_last_and_ends_early():
    # Beyond (0, 1) a sigmoid in the last place reaches no point.
    flow = tfpf.Flow([tfb.Sigmoid(), tfb.Scale(tf.Variable([4.0, 4.0]))])
    x = np.random.default_rng(0).uniform(0.2, 2.0, size=(100, 2))
    comparison = tfpf.compare_orders(flow, x, epochs=3, seed=0, verbose=0)
    best, last = comparison.fits
    assert best.order == (0, 1) and last.order == (1, 0)
    assert last.mean == -math.inf and last.behind == math.inf
    assert len(last.history.history["loss"]) == 1
    assert comparison.is_clear(last) and not comparison.is_clear(best)
    assert "not finite at" in str(comparison)
    assert "the given order is clearly better than all others." in comparison.verdict
    figure = comparison.plot()
    assert [text.get_text() for text in figure.axes[0].texts] == ["not finite"]
    save(figure)


@pytest.mark.slow
def test_a_conditional_flow_and_data_dependent_weights():
    chain = [
        tfpf.bijectors.ActNorm(),
        tfpf.bijectors.AffineCoupling(hidden=(4,), context_size=1, seed=0),
    ]
    flow = tfpf.Flow(chain, event_size=2)
    x = np.random.default_rng(0).normal(5.0, 3.0, size=(150, 2))
    data = {"x": x, "context": x[:, :1]}
    comparison = tfpf.compare_orders(flow, data, epochs=1, seed=0, verbose=0)
    assert comparison.held_out["x"].shape == (30, 2)
    for fit in comparison.fits:
        given = fit.flow.given(comparison.held_out["context"])
        expected = given.log_prob(comparison.held_out["x"])
        np.testing.assert_allclose(fit.log_prob, expected, rtol=1e-5)
        assert fit.mean > -8  # ActNorm began at the data, in either place
    assert chain[0].needs_adaptation
    with pytest.raises(ValueError, match="`context` must be given"):
        comparison.plot()
    panels = comparison.plot(context=[0.5]).axes[1:]
    assert [len(ax.images) for ax in panels] == [1, 1]
    with pytest.raises(ValueError, match=r"keys \['context', 'x'\]"):
        tfpf.compare_orders(flow, x, verbose=0)


def test_orders_are_different_and_the_given_one_is_among_them():
    flow = tfpf.Flow([tfb.Exp(), tfb.Tanh(), tfb.Scale(2.0)], event_size=2)
    assert _as_orders(flow, [[2, 1, 0], (2, 1, 0), [0, 1, 2]], 6, 0) == [
        (0, 1, 2),
        (2, 1, 0),
    ]
    everything = _as_orders(flow, None, 100, 0)
    assert everything[0] == (0, 1, 2) and len(set(everything)) == 6
    assert len(_as_orders(flow, None, 2, 0)) == 3
    assert _as_orders(flow, None, 2, 1) == _as_orders(flow, None, 2, 1)
    for orders in ([[0, 1]], [[0, 0, 1]], [1, 2], ["abc"]):
        with pytest.raises(ValueError, match=r"permutations of 0\.\.2"):
            _as_orders(flow, orders, 6, 0)
    for orders in ([], [[0, 1, 2]]):
        with pytest.raises(ValueError, match="another order than the given one"):
            _as_orders(flow, orders, 6, 0)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"epochs": 0}, "`epochs` must be a whole number ≥ 1"),
        ({"batch_size": 0}, "`batch_size` must be a whole number ≥ 1"),
        ({"n": 0}, "`n` must be a whole number ≥ 1"),
        ({"seed": -1}, "`seed` must be a whole number ≥ 0"),
        ({"verbose": 3}, "`verbose` must be 0, 1 or 2"),
        ({"validation_split": 0.0}, r"`validation_split` must be in \(0, 1\)"),
        ({"validation_split": 0.001}, "Received: 0.001 of 1000 points"),
        ({"x": X[:, 0]}, r"`x` must have shape \(..., 1\)"),
        ({"x": X[None]}, r"must have shape \(m, width\)"),
        ({"x": np.full((9, 1), np.nan)}, "`x` must be finite"),
        ({"x": {"y": X}}, r"with the keys \['x'\]"),
    ],
)
def test_wrong_options_are_refused(options, message):
    arguments = {"x": X, "verbose": 0} | options
    with pytest.raises(ValueError, match=message):
        tfpf.compare_orders(wrong_way_round(), **arguments)


def test_flows_that_cannot_be_compared_are_refused():
    with pytest.raises(TypeError, match=r"must be a Flow. Received: Exp"):
        tfpf.compare_orders(tfb.Exp(), X)
    with pytest.raises(ValueError, match="at least 2 bijectors"):
        tfpf.compare_orders(tfpf.Flow([tfb.Exp()], event_size=1), X)
    with pytest.raises(ValueError, match="Nothing to fit"):
        flow = tfpf.Flow([tfb.Exp(), tfb.Scale(2.0)], event_size=1)
        tfpf.compare_orders(flow, X, verbose=0)


# The result, of made-up fits


UNFITTED = tfpf.Flow([tfb.Tanh(), tfb.Scale(2.0)], event_size=1)


def made_up(log_probs, flow=UNFITTED):
    orders = _orders_of(len(log_probs))
    fitted = [
        (o, np.asarray(p), flow, None) for o, p in zip(orders, log_probs, strict=True)
    ]
    size = flow.event_size
    held_out = np.random.default_rng(0).normal(size=(len(log_probs[0]), size))
    return OrderComparison(ranked(fitted), held_out)


def _orders_of(count):
    rng = np.random.default_rng(0)
    return [(0, 1, 2, 3)] + [tuple(rng.permutation(4)) for _ in range(count - 1)]


def test_orders_that_are_equal_are_called_so_at_the_stated_rate():
    rng = np.random.default_rng(0)
    clear = 0
    for _ in range(400):
        common = rng.normal(size=300)
        comparison = made_up(common + 0.1 * rng.normal(size=(7, 300)))
        clear += any(map(comparison.is_clear, comparison.fits))
    assert clear <= 0.05 * 400 + 9  # two standard deviations


def test_a_small_difference_that_every_point_shares_is_clear():
    rng = np.random.default_rng(0)
    common = 10 * rng.normal(size=500)
    log_probs = [common, common + 0.05 + 0.1 * rng.normal(size=500)]
    comparison = made_up(log_probs)
    behind = comparison.fits[1]
    assert behind.order == (0, 1, 2, 3)
    assert behind.standard_error > 0.3 > 30 * behind.behind_error
    assert comparison.is_clear(behind)
    text = str(comparison)
    assert text.splitlines()[0].startswith("2 orders, on 500 held-out points")
    assert text.splitlines()[3].endswith("clearly")
    assert "the given order is 0.0" in comparison.verdict


def test_verdicts():
    rng = np.random.default_rng(0)
    noise = 0.1 * rng.normal(size=(3, 200))
    given_best = made_up(noise + np.array([[1.0], [0.0], [0.0]]))
    assert given_best.verdict.startswith(
        "The order matters: the given order is clearly better than all others."
    )
    tied = made_up(noise + np.array([[1.0], [1.005], [0.0]]))
    assert "better than 1 of the 2 others" in tied.verdict
    if tied.best.order != (0, 1, 2, 3):
        assert "no order is clearly better than the given one" in tied.verdict
    none = made_up(np.full((2, 5), np.nan))
    assert none.verdict.startswith("No order has a finite density")
    assert not any(map(none.is_clear, none.fits))
    save(none.plot())


def test_fits_cannot_be_changed():
    comparison = made_up(np.zeros((2, 5)))
    with pytest.raises(AttributeError):
        comparison.fits = ()
    with pytest.raises(AttributeError):
        comparison.best.mean = 0.0
    assert isinstance(comparison.best, FittedOrder)


# .plot()


def test_the_ranking_stands_beside_the_densities(lognormal):
    _, comparison = lognormal
    figure = comparison.plot()
    ranking, *panels = figure.axes
    labels = [text.get_text() for text in ranking.get_yticklabels()]
    assert labels == ["1, 0", "given order"]
    dots = ranking.containers[0].lines[0]
    behind = comparison.fits[1].behind
    np.testing.assert_allclose(dots.get_xdata(), [0, -behind])
    np.testing.assert_array_equal(dots.get_ydata(), [0, 1])
    bar = ranking.containers[0].lines[2][0].get_segments()[1]
    error = comparison.fits[1].behind_error
    np.testing.assert_allclose(bar[:, 0], [-behind - 2 * error, -behind + 2 * error])
    assert ranking.get_ylim()[0] > ranking.get_ylim()[1]  # the best on top
    for ax, fit in zip(panels, comparison.fits, strict=True):
        assert ax.get_title().endswith(f"{fit.mean:.3f} nats")
        x, height = ax.lines[0].get_data()
        exact = np.asarray(fit.flow.distribution.prob(x[:, None].astype("float32")))
        shown = np.isfinite(height)
        np.testing.assert_allclose(height[shown], exact[shown], rtol=1e-4)
    assert len({(ax.get_xlim(), ax.get_ylim()) for ax in panels}) == 1


@pytest.mark.parametrize(("size", "count"), [(1, 2), (2, 7), (5, 3), (64, 2)])
def test_all_sizes(size, count):
    flow = tfpf.Flow([tfb.Tanh(), tfb.Scale(2.0)], event_size=size)
    comparison = made_up(np.random.default_rng(0).normal(size=(count, 30)), flow)
    figure = comparison.plot()
    assert len(figure.axes) == count + 1
    assert_apart(figure)
    if size > 2:
        figure = comparison.plot(coordinates=(4, 1))
        expected = f"samples: coordinates 4 and 1 of {size}"
        assert figure.get_supxlabel() == expected
        assert figure.axes[1].collections and not figure.axes[1].images


def test_given_axes_are_drawn_on():
    comparison = made_up(np.random.default_rng(0).normal(size=(2, 30)))
    figure = Figure()
    axes = figure.subplots(1, 4)
    assert comparison.plot(axes=axes) is figure
    assert [bool(ax.lines) for ax in axes] == [True, True, True, False]
    with pytest.raises(ValueError, match="at least 3 Axes"):
        comparison.plot(axes=axes[:2])


def test_plotting_waits_until_it_is_asked_for():
    files = sorted(Path(tfpf.orders.__file__).parent.glob("*.py"))
    assert len(files) == 3
    for file in files:
        for node in ast.parse(file.read_text()).body:  # not inside of a function
            if isinstance(node, ast.ImportFrom):
                assert "plotting" not in node.module
