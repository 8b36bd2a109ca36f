"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

import importlib
from typing import Any

from tfp_flows import bijectors, densities, networks, recipes, testing
from tfp_flows.flow import Flow, Stage

__all__ = [
    "Flow",
    "Stage",
    "bijectors",
    "densities",
    "networks",
    "plotting",
    "recipes",
    "testing",
]


def __getattr__(name: str) -> Any:
    if name == "plotting":  # loads matplotlib: not before it is asked for
        return importlib.import_module("tfp_flows.plotting")
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
