"""Conditioners: Keras networks from some coordinates to features or parameters.

`MLP` and `ResidualMLP` see all of their input; `MaskedMLP` and `MaskedResidualMLP`
give each variable outputs that depend on the variables before it alone;
`ContractiveMLP` brings points closer together.
"""

from tfp_flows.networks._layers import as_hidden, as_width
from tfp_flows.networks._options import (
    as_options,
    dtype_of_networks,
    dtype_of_points,
)
from tfp_flows.networks._weights import create_weights
from tfp_flows.networks.contractive import ContractiveMLP
from tfp_flows.networks.masked import MaskedMLP, MaskedResidualMLP, as_order
from tfp_flows.networks.mlp import MLP
from tfp_flows.networks.residual import ResidualMLP

__all__ = [
    "MLP",
    "ContractiveMLP",
    "MaskedMLP",
    "MaskedResidualMLP",
    "ResidualMLP",
    "as_hidden",
    "as_options",
    "as_order",
    "as_width",
    "create_weights",
    "dtype_of_networks",
    "dtype_of_points",
]
