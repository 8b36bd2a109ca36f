"""Chains that nobody thought of: what is right of one bijector stays so in all of them.

In float64 their densities are compared with those by the Jacobian's determinant.
"""

import pytest
from chains import OURS, run_apart

from tfp_flows import bijectors


def test_no_bijector_is_missing():
    assert set(OURS) == {getattr(bijectors, name) for name in bijectors.__all__}


# A chain takes two to three seconds, most of them for traces.
@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(1, 51))
@pytest.mark.parametrize("dtype", ["float32", "float64"])
def test_random_chains(dtype, seed, tmp_path, pytestconfig):
    run_apart(10, seed, dtype, tmp_path, pytestconfig.getini("filterwarnings"))
