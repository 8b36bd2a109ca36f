"""Base distributions that learn: mixtures with normal or heavy tails."""

from tfp_flows.bases.mixture import Mixture

__all__ = ["Mixture"]
