"""Chains that nobody thought of: what is right of one bijector stays so in all of them.

In float32. A file of its own, so that the slow tests share the cores.
"""

import pytest
from chains import run, run_apart

DTYPE = "float32"


@pytest.mark.slow
def test_some_chains(tmp_path):
    run(2, 10, DTYPE, tmp_path)


# A chain takes two to three seconds, most of them for traces.
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(11, 21))
def test_many_chains(seed, tmp_path, pytestconfig):
    run_apart(50, seed, DTYPE, tmp_path, pytestconfig.getini("filterwarnings"))
