"""Named architectures: plain functions that return a Flow, to use, copy and change."""

from tfp_flows.recipes.autoregressive import iaf, maf, neural_spline_autoregressive
from tfp_flows.recipes.couplings import neural_spline, nice, real_nvp
from tfp_flows.recipes.implicit import planar, residual
from tfp_flows.recipes.linear import gaussian
from tfp_flows.recipes.mixture_cdfs import gaussianization
from tfp_flows.recipes.vector_field import continuous

__all__ = [
    "continuous",
    "gaussian",
    "gaussianization",
    "iaf",
    "maf",
    "neural_spline",
    "neural_spline_autoregressive",
    "nice",
    "planar",
    "real_nvp",
    "residual",
]
