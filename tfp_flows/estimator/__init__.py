"""Estimators with scikit-learn's interface that choose and fit a flow by themselves."""

from tfp_flows.estimator.flow_density import FlowDensity

__all__ = ["FlowDensity"]
