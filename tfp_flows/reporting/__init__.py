"""The report of a fit: one page with its verdicts, its figures and every stage."""

from tfp_flows.reporting.page import report

__all__ = ["report"]
