"""Chains that nobody thought of: what is right of one bijector stays so in all of them.

In float32. A file of its own, so that the slow tests share the cores.
"""

import keras
import pytest
from chains import run

DTYPE = "float32"


@pytest.fixture(autouse=True)
def in_a_folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    yield
    keras.backend.clear_session()


def test_some_chains():
    run(5, seed=10, dtype=DTYPE)


# A chain takes two to three seconds, most of them for traces.
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(11, 21))
def test_many_chains(seed):
    run(50, seed, DTYPE)
