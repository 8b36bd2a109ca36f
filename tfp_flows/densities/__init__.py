"""Named densities to test flows on, with samples, exact log_prob and entropy.

`names()` lists them, and `make(name)` returns one; each is also a function here.
"""

import inspect
from typing import Any

from tfp_flows._core.checks import pick
from tfp_flows.densities.closed_forms import (
    bimodal_1d,
    checkerboard,
    circles,
    eight_gaussians,
    quadratic,
    rings,
)
from tfp_flows.densities.curves import swiss_roll, two_moons, two_spirals
from tfp_flows.densities.density import Density
from tfp_flows.densities.preimages import pinwheel

_MAKERS = {
    maker.__name__: maker
    for maker in (
        bimodal_1d,
        checkerboard,
        circles,
        eight_gaussians,
        pinwheel,
        quadratic,
        rings,
        swiss_roll,
        two_moons,
        two_spirals,
    )
}

__all__ = ["Density", "make", "names", *_MAKERS]


def names() -> list[str]:
    """Returns the names that `make` knows, in alphabetical order.

    Example:
      >>> names()[:3]
      ['bimodal_1d', 'checkerboard', 'circles']
    """
    return sorted(_MAKERS)


def make(name: str, **parameters: Any) -> Density:
    """Returns the named density.

    Args:
      name: one of `names()`.
      **parameters: the parameters of the function of that name in this module.

    Returns:
      A Density.

    Raises:
      ValueError: there is no such name or parameter, or a value is out of range.

    Example:
      >>> density = make("two_moons", noise=0.1)
      >>> density.event_size
      2
    """
    maker = _MAKERS[pick(name, _MAKERS, "density")]
    known = list(inspect.signature(maker).parameters)
    for parameter in parameters:
        if not known:
            raise ValueError(f"{name} takes no parameters. Received: {parameter!r}.")
        pick(parameter, known, f"parameter of {name}")
    return maker(**parameters)
