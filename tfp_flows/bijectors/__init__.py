"""Bijectors of TFP's kind, for Keras 3: each also usable without a Flow.

`Coupling` and `Autoregressive` take any map of `tfp_flows.bijectors.elementwise`.
"""

from tfp_flows.bijectors import elementwise as elementwise
from tfp_flows.bijectors.act_norm import ActNorm
from tfp_flows.bijectors.affine_coupling import AdditiveCoupling, AffineCoupling
from tfp_flows.bijectors.autoregressive import Autoregressive
from tfp_flows.bijectors.autoregressive_spline import AutoregressiveSpline
from tfp_flows.bijectors.bounded import Bounded
from tfp_flows.bijectors.columns import Columns
from tfp_flows.bijectors.continuous import ContinuousFlow
from tfp_flows.bijectors.coupling import Coupling
from tfp_flows.bijectors.gaussianization import Gaussianize
from tfp_flows.bijectors.householder import Householder
from tfp_flows.bijectors.leaky_relu import LeakyReLU
from tfp_flows.bijectors.lu_linear import LULinear
from tfp_flows.bijectors.masked_autoregressive import IAF, MaskedAutoregressive
from tfp_flows.bijectors.mixture_cdf import MixtureCDF
from tfp_flows.bijectors.mixture_cdf_coupling import MixtureCDFCoupling
from tfp_flows.bijectors.numerical_inverse import NumericalInverse
from tfp_flows.bijectors.permute import Permute, Shuffle
from tfp_flows.bijectors.planar_family import Planar, Radial, Sylvester
from tfp_flows.bijectors.residual_block import ResidualBlock
from tfp_flows.bijectors.rotation import Rotation, Rotation2D
from tfp_flows.bijectors.shift_and_cube import ShiftAndCube
from tfp_flows.bijectors.spline import Spline
from tfp_flows.bijectors.spline_coupling import SplineCoupling
from tfp_flows.bijectors.standardize import Standardize

__all__ = [
    "IAF",
    "ActNorm",
    "AdditiveCoupling",
    "AffineCoupling",
    "Autoregressive",
    "AutoregressiveSpline",
    "Bounded",
    "Columns",
    "ContinuousFlow",
    "Coupling",
    "Gaussianize",
    "Householder",
    "LULinear",
    "LeakyReLU",
    "MaskedAutoregressive",
    "MixtureCDF",
    "MixtureCDFCoupling",
    "NumericalInverse",
    "Permute",
    "Planar",
    "Radial",
    "ResidualBlock",
    "Rotation",
    "Rotation2D",
    "ShiftAndCube",
    "Shuffle",
    "Spline",
    "SplineCoupling",
    "Standardize",
    "Sylvester",
]
