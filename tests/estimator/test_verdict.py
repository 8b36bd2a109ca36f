"""The verdict: when the flow is kept, and when the mixture is."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from tfp_flows.estimator.mixtures import Mixtures, Start, scores_of
from tfp_flows.estimator.race import Trained
from tfp_flows.estimator.rows import Rows
from tfp_flows.estimator.verdict import verdict


@pytest.fixture(scope="module")
def rows():
    return Rows(np.random.default_rng(0).normal(size=(400, 1)), 100, 100)


@pytest.fixture(scope="module")
def mixtures(rows):
    best = Start.scored(GaussianMixture(1).fit(rows.train), rows.selection)
    again = GaussianMixture(1).fit(rows.selection_and_train)
    return Mixtures((best,), Start.scored(again, rows.validation))


def judged(mixtures, rows, validation_gain, held_out_gain=None):
    """Returns the verdict on a flow whose scores are a mixture's with a gain.

    A gain has a standard deviation of 1, so that its standard error over 100 rows is
    0.1, and over 200 rows 0.07.
    """
    noise = np.tile([-1.0, 1.0], 100)
    alone = scores_of(mixtures.alone.mixture, rows.validation)
    before = scores_of(mixtures.best.mixture, rows.held_out)
    trained = Trained(
        ["bijector"],
        "base",
        {"loss": [1.0]},
        alone + validation_gain + noise[:100],
        None if held_out_gain is None else before + held_out_gain + noise,
    )
    return verdict(mixtures, trained, rows)


@pytest.mark.parametrize(
    ("validation_gain", "held_out_gain", "is_flow"),
    [
        (0.11, None, True),
        (0.09, None, False),
        (0.0, 0.08, True),
        (9.0, 0.06, False),  # it must have been better before the selection rows
        (-0.19, 9.0, True),
        (-0.21, 9.0, False),  # and must not be worse after them
        (np.nan, 9.0, False),
    ],
)
def test_a_flow_is_kept_if_it_is_better(
    mixtures, rows, validation_gain, held_out_gain, is_flow
):
    result = judged(mixtures, rows, validation_gain, held_out_gain)
    assert result.start == mixtures.alone.score
    assert result.history == {"loss": [1.0]}
    if is_flow:
        assert (result.bijectors, result.base) == (["bijector"], "base")
        gain = result.held_out - mixtures.alone.score
        assert gain == pytest.approx(validation_gain)
    else:
        assert result.bijectors == [] and result.held_out == result.start
        mean = result.base.means.numpy()
        np.testing.assert_allclose(mean, mixtures.alone.mixture.means_, atol=1e-6)
