"""Flows that earlier versions saved load, and score the same points the same."""

from pathlib import Path

import keras
import numpy as np
import pytest

import tfp_flows  # noqa: F401  (registers what the files name)

SAVED = Path(__file__).parent / "saved"
FILES = sorted(SAVED.glob("*/*.keras"))


@pytest.fixture(scope="module")
def expected():
    return {
        folder: dict(np.load(folder / "expected.npz"))
        for folder in {path.parent for path in FILES}
    }


# The others hold more of the same parts.
QUICK = ("autoregressive", "couplings", "of_tfp")


@pytest.mark.parametrize(
    "path",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.stem not in QUICK)) for p in FILES],
    ids=lambda path: f"{path.parent.name}-{path.stem}",
)
def test_a_saved_flow_scores_the_same(path, expected):
    known = expected[path.parent]
    x, context, log_prob = (
        known[f"{path.stem}/{what}"] for what in ("x", "context", "log_prob")
    )
    model = keras.models.load_model(path)
    if path.stem == "log_prob_layer":
        found = model.predict([context, x], verbose=0)
    elif context.shape[1]:
        found = model.predict({"x": x, "context": context}, verbose=0)
    else:
        found = model.log_prob(x)
    np.testing.assert_allclose(found, log_prob, rtol=1e-4, atol=1e-4)


def test_a_saved_optimizer_goes_on():
    flow = keras.models.load_model(SAVED / "0.1.0" / "recipe_neural_spline.keras")
    assert int(flow.optimizer.iterations) == 6
    before = [weight.numpy() for weight in flow.trainable_variables]
    flow.fit(flow.sample(100, seed=0).numpy(), batch_size=50, epochs=1, verbose=0)
    assert int(flow.optimizer.iterations) == 8
    assert any(
        (b != w.numpy()).any()
        for b, w in zip(before, flow.trainable_variables, strict=True)
    )
