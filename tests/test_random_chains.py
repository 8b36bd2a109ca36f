"""Chains that nobody thought of: what is right of one bijector stays so in all of them.

In float64, where their densities are compared with those by the Jacobian's determinant.
"""

import keras
import pytest
from chains import OURS, run

from tfp_flows import bijectors

DTYPE = "float64"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    keras.backend.clear_session()


def test_no_bijector_is_missing():
    assert set(OURS) == {getattr(bijectors, name) for name in bijectors.__all__}


def test_some_chains():
    run(5, seed=0, dtype=DTYPE)


# A chain takes two to three seconds, most of them for traces.
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_chains(seed):
    run(50, seed, DTYPE)
