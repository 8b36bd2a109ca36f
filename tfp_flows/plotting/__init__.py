"""Pictures of flows, drawn with matplotlib's objects and never through pyplot."""

from tfp_flows.plotting.animation import animate_stages
from tfp_flows.plotting.densities import plot_density, plot_samples
from tfp_flows.plotting.stages import plot_orders, plot_stages
from tfp_flows.plotting.training import plot_history
from tfp_flows.plotting.transformation import plot_transformation

__all__ = [
    "animate_stages",
    "plot_density",
    "plot_history",
    "plot_orders",
    "plot_samples",
    "plot_stages",
    "plot_transformation",
]
