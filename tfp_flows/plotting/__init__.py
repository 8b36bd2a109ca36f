"""Pictures of flows.

They are drawn on matplotlib's own objects, and leave pyplot's state alone. `plot_*`
return what they drew on; `animate_*` return an animation that saves to a file.
"""

from tfp_flows.plotting.animation import animate_stages, animate_training
from tfp_flows.plotting.calibration import plot_calibration
from tfp_flows.plotting.densities import plot_density, plot_samples
from tfp_flows.plotting.images import plot_images
from tfp_flows.plotting.line import plot_line
from tfp_flows.plotting.orders import plot_orders
from tfp_flows.plotting.pairs import plot_marginals, plot_pairs
from tfp_flows.plotting.stage import plot_stage
from tfp_flows.plotting.stages import plot_stages
from tfp_flows.plotting.training import plot_history
from tfp_flows.plotting.transformation import plot_transformation
from tfp_flows.plotting.warp import plot_log_det, plot_warp

__all__ = [
    "animate_stages",
    "animate_training",
    "plot_calibration",
    "plot_density",
    "plot_history",
    "plot_images",
    "plot_line",
    "plot_log_det",
    "plot_marginals",
    "plot_orders",
    "plot_pairs",
    "plot_samples",
    "plot_stage",
    "plot_stages",
    "plot_transformation",
    "plot_warp",
]
