"""What all tests share: TensorFlow's silence, and the sample of the campaigns."""

import collections
import math
import os
import random

import pytest

# Set before TensorFlow is imported: its log is no part of a test's output.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")


def pytest_addoption(parser):
    group = parser.getgroup("campaigns")
    group.addoption(
        "--campaign-share",
        type=float,
        default=1.0,
        help="run this share of each campaign's cases, at least one of each",
    )
    group.addoption(
        "--campaign-seed", default="0", help="the seed that draws this share"
    )


# Examples in docstrings that take more than two seconds.
LONG_EXAMPLES = (
    "CosineToDeadline",
    "LogProb",
    "StagePictures",
    "animate_training",
    "compare_orders",
    "gaussianization",
    "report",
    "residual",
)


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks slow examples; draws a share of the cases of each campaign."""
    for item in items:
        if isinstance(item, pytest.DoctestItem) and item.name.endswith(LONG_EXAMPLES):
            item.add_marker("slow")
    share = config.getoption("--campaign-share")
    campaigns = collections.defaultdict(list)
    for item in items:
        if item.get_closest_marker("campaign"):
            campaigns[item.nodeid.partition("[")[0]].append(item)
    left_out = set()
    for name, cases in campaigns.items():
        # The same draw in each of pytest-xdist's workers.
        rng = random.Random(f"{config.getoption('--campaign-seed')} {name}")
        count = math.ceil(share * len(cases))
        left_out |= {*cases} - {*rng.sample(cases, count)}
    if left_out:
        config.hook.pytest_deselected(items=[i for i in items if i in left_out])
        items[:] = [item for item in items if item not in left_out]


@pytest.fixture
def no_pyplot_figures():
    """Pictures are drawn without pyplot's global state."""
    from matplotlib import pyplot

    before = pyplot.get_fignums()
    yield
    assert pyplot.get_fignums() == before
