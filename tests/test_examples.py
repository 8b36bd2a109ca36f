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


def test_five_stages(tmp_path):
    flow = load("five_stages").main(tmp_path)
    names = [stage.name for stage in flow.stages(10)]
    assert names[1:] == ["Shift", "Scale", "ShiftAndCube", "Rotation2D", "Sigmoid"]
    assert {p.name for p in tmp_path.iterdir()} == {"stages.png", "orders.png"}


@pytest.mark.slow
def test_leaky_relu_and_coupling(tmp_path, capsys):
    result = load("leaky_relu_and_coupling").main(tmp_path)
    assert -0.01 < result["gap"] < 0.05
    assert "x uniform: 0.500" in capsys.readouterr().out
    with Image.open(tmp_path / "noise_to_data.gif") as animation:
        assert animation.n_frames == 19


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
    results = load("four_energies").main(tmp_path)
    assert len(results) == 4


@pytest.mark.slow
@pytest.mark.parametrize("name", ["neutra", "surrogate_posterior"])
def test_samplers(name, tmp_path):
    example = {
        "neutra": lambda: load("neutra"),
        "surrogate_posterior": lambda: load("surrogate_posterior"),
    }[name]()
    assert example.main(tmp_path)["ratio"] > 0
