"""Targets without data: fitting to an unnormalized density, and correcting the fit."""

from tfp_flows.posterior.importance import Estimate, ImportanceSample, importance
from tfp_flows.posterior.reverse_kl import ReverseKL

__all__ = ["Estimate", "ImportanceSample", "ReverseKL", "importance"]
