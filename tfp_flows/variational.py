"""Fitting flows to unnormalized densities, and correcting the fit by importance."""

from tfp_flows.posterior.importance import Estimate, ImportanceSample, importance
from tfp_flows.posterior.reverse_kl import ReverseKL

__all__ = ["Estimate", "ImportanceSample", "ReverseKL", "importance"]
