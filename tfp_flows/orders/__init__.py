"""Does the order of the bijectors matter, and which is best? Fitted and compared."""

from tfp_flows.orders.comparison import FittedOrder, OrderComparison
from tfp_flows.orders.fitting import compare_orders

__all__ = ["FittedOrder", "OrderComparison", "compare_orders"]
