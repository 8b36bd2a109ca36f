"""Flow: a chain of bijectors on a base distribution, as a Keras model."""

from tfp_flows.flow.flow import Flow
from tfp_flows.flow.layer import LogProb
from tfp_flows.flow.stages import Stage
from tfp_flows.training.loss import NegativeLogLikelihood

__all__ = ["Flow", "LogProb", "NegativeLogLikelihood", "Stage"]
