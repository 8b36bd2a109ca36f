"""Every example runs, and reaches what it says it reaches."""

import importlib.util
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

EXAMPLES = Path(__file__).parents[1] / "examples"


def load(name):
    spec = importlib.util.spec_from_file_location(name, EXAMPLES / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_every_example_has_its_test():
    here = Path(__file__).read_text()
    for path in EXAMPLES.glob("*.py"):
        assert f'load("{path.stem}")' in here


@pytest.mark.slow
def test_five_stages(tmp_path):
    flow = load("five_stages").main(tmp_path)
    names = [stage.name for stage in flow.stages(10)]
    assert names[1:] == ["Shift", "Scale", "ShiftAndCube", "Rotation2D", "Sigmoid"]
    assert {p.name for p in tmp_path.iterdir()} == {"stages.png", "orders.png"}


@pytest.mark.slow
def test_orders_compared(tmp_path, capsys):
    comparison = load("orders_compared").main(tmp_path)
    assert len(comparison.fits) == 5
    given = next(fit for fit in comparison.fits if fit.order == (0, 1, 2, 3, 4))
    assert comparison.is_clear(given) and given.behind > 0.05
    assert -0.29 > comparison.best.mean > -1.4  # of at most the entropy's negative
    assert "The order matters" in capsys.readouterr().out
    assert (tmp_path / "orders.png").stat().st_size > 10_000


@pytest.mark.slow
def test_leaky_relu_and_coupling(tmp_path, capsys):
    result = load("leaky_relu_and_coupling").main(tmp_path)
    assert -0.01 < result["gap"] < 0.05
    assert "x uniform: 0.500" in capsys.readouterr().out
    with Image.open(tmp_path / "noise_to_data.gif") as animation:
        assert animation.n_frames == 1 + 18 * 4  # 18 bijectors


@pytest.mark.slow
def test_one_dimension(tmp_path, capsys):
    result = load("one_dimension").main(tmp_path)
    assert -0.01 < result["gap"] < 0.02
    assert "[0.  0.5 0.5]" in capsys.readouterr().out
    assert len(list(tmp_path.glob("*.png"))) == 4


@pytest.mark.slow
def test_two_moons(tmp_path):
    result = load("two_moons").main(tmp_path)
    assert -0.01 < result["gap"] < 0.10
    assert result["round_trip"] <= 1e-4


@pytest.mark.slow
def test_conditional_regression(tmp_path, capsys):
    # A target that is two-sided given the features, which no Gaussian is.
    rng = np.random.default_rng(0)
    features, noise = rng.normal(size=(3000, 2)), 0.2 * rng.normal(size=3000)
    target = features[:, 0] + rng.choice([-2.0, 2.0], 3000) + noise
    table = np.column_stack([features, target])
    np.savetxt(tmp_path / "table.csv", table, delimiter=",")
    example = load("conditional_regression")
    result = example.main(tmp_path, tmp_path / "table.csv")
    assert result["gain"] > 0.5 > 10 * result["error"]
    assert (tmp_path / "predictions.png").stat().st_size > 10_000
    assert "(1000 rows)" in capsys.readouterr().out
    features, target = example.load(None)  # the default table
    assert features.shape == (442, 10) and target.shape == (442, 1)


@pytest.mark.slow
def test_four_energies(tmp_path):
    example = load("four_energies")
    known = {"crescents": 1.878, "wave": 2.082, "fork": 2.642, "sharp_fork": 2.685}
    # By quadrature over the box, on the middles of a million cells.
    n, box = 1000, example.BOX
    middles = (2 * np.arange(n) + 1 - n) / n * box
    cells = np.stack(np.meshgrid(middles, middles), -1).reshape(-1, 2)
    for energy in example.ENERGIES:
        log_z = np.log(np.exp(energy(cells)).mean() * (2 * box) ** 2)
        assert log_z == pytest.approx(known[energy.__name__], abs=1e-3)

    results = example.main(tmp_path)
    assert results.keys() == known.keys()
    for name, result in results.items():
        assert result["log_z"] == pytest.approx(known[name], abs=0.02)
        assert result["standard_error"] < 0.006
        assert result["ess_fraction"] > 0.5
        # What the flow reaches by itself stays below.
        assert known[name] - 0.25 < result["bound"] < known[name]
        assert result["reach"] <= box  # no sample leaves the box
    assert (tmp_path / "energies.png").stat().st_size > 10_000


@pytest.mark.slow
def test_neutra(tmp_path):
    result = load("neutra").main(tmp_path)
    assert result["ratio"] > 10  # in effective samples a second
    assert result["v_mean"] == pytest.approx(0.0, abs=0.1)
    assert result["v_std"] == pytest.approx(3.0, abs=0.1)
    assert result["log_z"] == pytest.approx(0.0, abs=0.05)
    assert (tmp_path / "funnel.png").stat().st_size > 10_000


@pytest.mark.slow
def test_surrogate_posterior(tmp_path):
    result = load("surrogate_posterior").main(tmp_path)
    assert result["ratio"] > 3
    # In standard deviations of the exact posterior of log τ.
    assert result["mean_error"] == pytest.approx(0.0, abs=0.05)
    assert result["std_ratio"] == pytest.approx(1.0, abs=0.05)
    assert (tmp_path / "posterior.png").stat().st_size > 10_000


@pytest.mark.slow
def test_supports(tmp_path):
    result = load("supports").main(tmp_path)
    assert result["support= impossible"] == 0.0
    assert result["the count alone impossible"] > 0.01
    assert 0.0 < result["support="] < 0.08
    assert result["the count alone"] > result["support="] + 0.04
    assert (tmp_path / "wind.png").stat().st_size > 10_000


def test_the_density_of_the_wind_is_one():
    example = load("supports")
    # The mean of 1 / p over samples of p is the volume of where p is: a box here.
    wind = example.draw_wind(200_000, seed=0)
    box = wind[
        wind["speed"].between(2, 6)
        & wind["direction"].between(200, 300)
        & wind["humidity"].between(0.4, 0.9)
        & (wind["gusts"] == 1)
    ]
    volume = np.exp(-example.true_log_prob(box)).sum() / len(wind)
    assert volume == pytest.approx(4 * 100 * 0.5, rel=0.04)


def test_anomaly_detection(tmp_path, capsys):
    result = load("anomaly_detection").main(tmp_path, splits=3)
    names = ["FlowDensity", "GaussianMixture", "IsolationForest"]
    assert min(result[name] for name in names) > 0.9
    assert result["FlowDensity"] > result["GaussianMixture"]
    assert result["alarms"] < 0.15 and result["found"] > 0.75
    assert "predict finds" in capsys.readouterr().out
    assert (tmp_path / "scores.png").stat().st_size > 10_000


@pytest.mark.slow
def test_own_bijector(tmp_path, capsys):
    result = load("own_bijector").main(tmp_path)
    assert -0.002 < result["flow"] < 0.02 < 0.05 < result["gaussian"]
    report = capsys.readouterr().out
    assert "2 of 15 checks failed for WrongHyperbola" in report
    assert "forward_log_det" in report and "worst at point" in report
    assert (tmp_path / "density.png").stat().st_size > 10_000
    assert (tmp_path / "skewed.keras").exists()


@pytest.mark.slow
def test_flow_in_a_model(tmp_path):
    result = load("flow_in_a_model").main(tmp_path)
    assert result["gain"] > 0.15 > 2 * result["error"]
    assert (tmp_path / "halves.png").stat().st_size > 10_000


@pytest.mark.slow
def test_save_and_serve(tmp_path):
    result = load("save_and_serve").main(tmp_path)
    assert result["loaded"] == 0.0 and result["served"] < 1e-4
    assert not result["unneeded"]
    assert "half.keras" in result["refusal"]
    assert {p.name for p in tmp_path.iterdir()} == {"moons.keras", "saved_model"}
