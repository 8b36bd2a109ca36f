"""Random short fits to nasty data stay finite, and their benchmark notices if not."""

import dataclasses

import nasty_fits
import numpy as np
import pytest


def test_the_seed_determines_a_fit():
    assert str(nasty_fits.draw_fit(3)) == str(nasty_fits.draw_fit(3))
    np.testing.assert_array_equal(nasty_fits.draw_fit(3).x, nasty_fits.draw_fit(3).x)
    names = {nasty_fits.draw_fit(seed).name for seed in range(150)}
    assert names == {"FlowDensity", *nasty_fits.recipes.__all__}


@pytest.mark.slow
def test_what_is_not_finite_is_found(capsys):
    fit = next(
        fit
        for fit in map(nasty_fits.draw_fit, range(1000))
        if fit.name == "gaussian" and not fit.options["context_size"]
    )
    assert not list(nasty_fits.problems(fit))
    wild = dataclasses.replace(fit, learning_rate=1e30)
    found = " and ".join(nasty_fits.problems(wild))
    assert "log_prob are not finite" in found
    broken = dataclasses.replace(fit, options={"bins": 3})
    assert "TypeError" in next(nasty_fits.problems(broken))
    assert nasty_fits.report([(fit, []), (wild, [found])]) == 1
    printed = capsys.readouterr().out
    assert f"seed {fit.seed}: gaussian(" in printed and "1 failed" in printed


@pytest.mark.campaign
@pytest.mark.parametrize("seed", range(40))
def test_stays_finite(seed):
    fit, found = nasty_fits.outcome(seed)
    assert not found, fit
