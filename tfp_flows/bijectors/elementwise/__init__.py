"""Maps of single coordinates, whose parameters come from outside.

`Coupling` and `Autoregressive` take any of them, and any other `ElementwiseMap`. This
is the table of the maps: one line for each.
"""

from tfp_flows.bijectors.elementwise.additive import AdditiveMap as AdditiveMap
from tfp_flows.bijectors.elementwise.affine import AffineMap as AffineMap
from tfp_flows.bijectors.elementwise.base import ElementwiseMap as ElementwiseMap
from tfp_flows.bijectors.elementwise.bernstein import BernsteinMap as BernsteinMap
from tfp_flows.bijectors.elementwise.mixture_cdf import MixtureCDFMap as MixtureCDFMap
from tfp_flows.bijectors.elementwise.rational_quadratic import (
    RationalQuadraticMap as RationalQuadraticMap,
)
