"""Bijectors of TFP's kind, for Keras 3: each also usable without a Flow."""

from tfp_flows.bijectors.coupling import AdditiveCoupling, AffineCoupling
from tfp_flows.bijectors.leaky_relu import LeakyReLU
from tfp_flows.bijectors.mixture_cdf import MixtureCDF
from tfp_flows.bijectors.rotation import Rotation2D
from tfp_flows.bijectors.shift_and_cube import ShiftAndCube

__all__ = [
    "AdditiveCoupling",
    "AffineCoupling",
    "LeakyReLU",
    "MixtureCDF",
    "Rotation2D",
    "ShiftAndCube",
]
