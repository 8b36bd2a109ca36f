"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

from tfp_flows import bijectors, networks, recipes
from tfp_flows.flow import Flow, Stage

__all__ = [
    "Flow",
    "Stage",
    "bijectors",
    "networks",
    "recipes",
]
