"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

import importlib
from typing import Any

from tfp_flows import bijectors, densities, networks, recipes, testing, variational
from tfp_flows.flow import Flow, NegativeLogLikelihood, Stage
from tfp_flows.log_prob import LogProb

__all__ = [
    "Flow",
    "LogProb",
    "NegativeLogLikelihood",
    "Stage",
    "bijectors",
    "densities",
    "networks",
    "plotting",
    "recipes",
    "testing",
    "variational",
]


def __getattr__(name: str) -> Any:
    if name == "plotting":  # loads matplotlib: not before it is asked for
        return importlib.import_module("tfp_flows.plotting")
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
