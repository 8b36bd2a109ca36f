"""Named architectures: plain functions that return a Flow, to use, copy and change."""

from tfp_flows.recipes._autoregressive import iaf, maf, neural_spline_autoregressive
from tfp_flows.recipes._continuous import continuous
from tfp_flows.recipes._couplings import neural_spline, nice, real_nvp
from tfp_flows.recipes._gaussian import gaussian
from tfp_flows.recipes._gaussianization import gaussianization
from tfp_flows.recipes._residual import planar, residual

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
