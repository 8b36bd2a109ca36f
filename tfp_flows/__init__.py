"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

import importlib
from typing import Any

from tfp_flows import (
    bases,
    bijectors,
    callbacks,
    densities,
    networks,
    recipes,
    supports,
    testing,
    variational,
)
from tfp_flows.flow import Flow, LogProb, NegativeLogLikelihood, Stage
from tfp_flows.orders import OrderComparison, compare_orders

__all__ = [
    "Flow",
    "FlowDensity",
    "LogProb",
    "NegativeLogLikelihood",
    "OrderComparison",
    "Stage",
    "bases",
    "bijectors",
    "callbacks",
    "compare_orders",
    "densities",
    "diagnostics",
    "networks",
    "plotting",
    "recipes",
    "report",
    "supports",
    "testing",
    "variational",
]


def __getattr__(name: str) -> Any:
    # These load matplotlib and scikit-learn: not before they are asked for.
    if name in ("diagnostics", "plotting"):
        return importlib.import_module(f"tfp_flows.{name}")
    if name == "FlowDensity":
        return importlib.import_module("tfp_flows.estimator").FlowDensity
    if name == "report":
        return importlib.import_module("tfp_flows.reporting").report
    raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
