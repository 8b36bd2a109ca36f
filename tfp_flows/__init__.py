"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

from tfp_flows import bijectors, densities, networks, recipes, testing
from tfp_flows.flow import Flow, Stage

__all__ = [
    "Flow",
    "Stage",
    "bijectors",
    "densities",
    "networks",
    "recipes",
    "testing",
]
