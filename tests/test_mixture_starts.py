"""The mixtures that FlowDensity tries: how many, in the time that there is."""

import math

import numpy as np
import pytest

from tfp_flows import _mixture_starts as starts
from tfp_flows._clock import Clock

SIZES = [1, 2, 3, 5, 8, 12, 20, 30, 40, 60, 80]


class Watch:
    """A clock that stands still but for what is put on it."""

    def __init__(self, seconds):
        self.seconds, self.spent = seconds, 0.0

    @property
    def left(self):
        return self.seconds - self.spent


def tried(monkeypatch, seconds, of_a_component=1.0, rows=20_000, d=2):
    """Returns the sizes that are tried, where each component takes so many seconds."""
    watch, sizes = Watch(seconds), []
    z = np.random.default_rng(0).normal(size=(rows, d))
    plain = starts._fitted(z[:1000], 1, 0, 1e-6)[0]

    def fitted(z, components, seed, least, clock):
        watch.spent += of_a_component * components
        sizes.append(components)
        return plain, starts._PASSES

    monkeypatch.setattr(starts, "_fitted", fitted)
    starts.mixtures(z, z[:100], 0, watch)
    return sizes, watch.spent


@pytest.mark.parametrize(
    ("seconds", "sizes"),
    [
        (math.inf, SIZES),
        (300.0, SIZES),
        # Not all 261 components: every other size, down from the largest.
        (200.0, [1, 3, 8, 20, 40, 80]),
        (100.0, [1, 3, 80]),
        # A third of the passes must do for the largest.
        (40.0, [1, 80]),
        (10.0, [1, 20]),
        (0.0, [1]),
    ],
)
def test_sizes_are_left_out_where_time_is_short(monkeypatch, seconds, sizes):
    assert tried(monkeypatch, seconds)[0] == sizes


def test_few_rows_allow_few_components(monkeypatch):
    # 66 numbers a component of 10 columns, 10 rows for each of them.
    assert tried(monkeypatch, math.inf, rows=6_000, d=10)[0] == [1, 2, 3, 5, 8]
    assert starts.most_components(6_000, 10, math.inf) == 8
    # Wide rows tell more: 2,080 numbers, 100 / 63 rows for each.
    assert starts.most_components(50_000, 63, math.inf) == 12
    # And a long time allows more of them to be looked at.
    assert starts.most_components(1_000_000, 63, 60.0) == 12
    assert starts.most_components(1_000_000, 63, 300.0) == 60


def test_passes_end_with_the_time():
    z = np.random.default_rng(0).normal(size=(2_000, 2))
    with starts.quiet():
        assert starts._fitted(z, 8, 0, 1e-6, Clock(0.0))[1] == starts._PASSES_AT_ONCE
        mixture, passes = starts._fitted(z, 8, 0, 1e-6)
    assert mixture.converged_ or passes == starts._PASSES


def test_a_stopped_clock_has_nothing_left():
    clock = Clock(None)
    assert clock.left == math.inf
    clock.stop()
    assert clock.left < 0
