"""The mixture of few rows: how many components and how much shrinkage it has."""

import numpy as np
import pytest
from sklearn.mixture import GaussianMixture

from tfp_flows.estimator import few_rows
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.few_rows import mixture_of_few
from tfp_flows.estimator.mixtures import quiet

STEEP = np.array([[1.0, 0.9999], [0.0, 0.0141]])


def fitted(z, clock=None):
    with quiet():
        return mixture_of_few(z, 0, clock or Clock(None))


def test_correlated_columns_keep_their_narrow_direction():
    rng = np.random.default_rng(0)
    found = fitted(rng.normal(size=(300, 2)) @ STEEP)
    test = rng.normal(size=(5_000, 2)) @ STEEP
    exact = -np.log(2 * np.pi) - 1 - np.log(0.0141)
    assert found.components == 1
    assert found.mixture.score(test) == pytest.approx(exact, abs=0.03)
    assert found.score == pytest.approx(exact, abs=0.3)  # cross-validated


def test_fewer_rows_than_columns_get_a_large_ridge():
    rng = np.random.default_rng(0)
    z, test = rng.normal(size=(25, 30)), rng.normal(size=(2_000, 30))
    exact = -15 * np.log(2 * np.pi) - 15
    assert fitted(z).mixture.score(test) > exact - 8
    assert GaussianMixture(1).fit(z).score(test) < exact - 1_000


def test_clusters_are_found_in_many_columns():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(400, 10)) + rng.choice([-6.0, 6.0], size=(400, 1))
    assert fitted(z).components == 2
    assert fitted(rng.normal(size=(400, 10))).components == 1


def test_constant_columns_do_not_change_the_ridge():
    z = np.random.default_rng(0).normal(size=(12, 6))
    with_constants = np.concatenate([z, np.zeros([12, 5])], axis=1)
    ridges = [fitted(each).mixture.reg_covar for each in (z, with_constants)]
    assert ridges[0] == ridges[1] > 1e-3


@pytest.mark.parametrize("n", [1, 2, 3, 5])
def test_a_handful_of_rows(n):
    found = fitted(np.random.default_rng(0).normal(size=(n, 4)))
    assert found.components == 1
    assert np.isfinite(found.mixture.score_samples(np.zeros([1, 4]))).all()


def test_a_clock_that_has_run_out_ends_it(monkeypatch):
    sizes = []
    real = few_rows._fitted
    monkeypatch.setattr(
        few_rows,
        "_fitted",
        lambda z, size, *args, **options: (
            sizes.append(size) or real(z, size, *args, **options)
        ),
    )
    rng = np.random.default_rng(0)
    found = fitted(rng.normal(size=(200, 2)), Clock(0.0))
    assert set(sizes) == {1} and len(sizes) == few_rows._FOLDS + 1
    assert np.isfinite(found.score)
