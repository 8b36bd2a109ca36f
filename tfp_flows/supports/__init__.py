"""What each column of the data can be, and densities in its own units."""

from tfp_flows.supports.supports import Supports

__all__ = ["Supports"]
