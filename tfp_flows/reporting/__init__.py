"""The report of a fit: one page that says whether it is good and shows every stage."""

from tfp_flows.reporting.page import report

__all__ = ["report"]
