"""Set before TensorFlow is imported: its log is no part of a test's output."""

import os

import pytest

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


@pytest.fixture
def no_pyplot_figures():
    """Pictures are drawn without pyplot's global state."""
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    yield
    assert pyplot.get_fignums() == before
