"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

import importlib
from typing import Any

from tfp_flows import (
    bases,
    bijectors,
    callbacks,
    densities,
    networks,
    optimizers,
    recipes,
    supports,
    testing,
    variational,
)
from tfp_flows.flow import Flow, NegativeLogLikelihood, Stage
from tfp_flows.log_prob import LogProb

__all__ = [
    "Flow",
    "FlowDensity",
    "LogProb",
    "NegativeLogLikelihood",
    "Stage",
    "bases",
    "bijectors",
    "callbacks",
    "densities",
    "networks",
    "optimizers",
    "plotting",
    "recipes",
    "supports",
    "testing",
    "variational",
]


def __getattr__(name: str) -> Any:
    # These load matplotlib and scikit-learn: not before they are asked for.
    if name == "plotting":
        return importlib.import_module("tfp_flows.plotting")
    if name == "FlowDensity":
        return importlib.import_module("tfp_flows.estimator").FlowDensity
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
