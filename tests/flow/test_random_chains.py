"""Chains that nobody thought of: what is right of one bijector stays so in all of them.

In float64, where their densities are compared with those by the Jacobian's determinant.
"""

import pytest
from chains import OURS, run, run_apart

from tfp_flows import bijectors

DTYPE = "float64"


def test_no_bijector_is_missing():
    assert set(OURS) == {getattr(bijectors, name) for name in bijectors.__all__}


def test_some_chains(tmp_path):
    run(2, 0, DTYPE, tmp_path)


# A chain takes two to three seconds, most of them for traces.
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(1, 11))
def test_many_chains(seed, tmp_path, pytestconfig):
    run_apart(50, seed, DTYPE, tmp_path, pytestconfig.getini("filterwarnings"))
