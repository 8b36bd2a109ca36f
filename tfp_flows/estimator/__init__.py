"""Estimators with scikit-learn's manners, fitted well by default in a stated time."""

from tfp_flows.estimator.flow_density import FlowDensity

__all__ = ["FlowDensity"]
