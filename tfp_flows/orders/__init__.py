"""Does the order of the bijectors matter, and which order is best?

`compare_orders` fits copies of a flow in different orders to the same rows, and its
result compares them on held-out rows.
"""

from tfp_flows.orders.comparison import FittedOrder, OrderComparison
from tfp_flows.orders.fitting import compare_orders

__all__ = ["FittedOrder", "OrderComparison", "compare_orders"]
