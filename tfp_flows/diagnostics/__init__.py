"""Did it fit? Tests of a flow against data it has not seen, and verdicts in words.

`evaluate` asks in many ways whether rows could have come from a flow, keeps the
chance of a false alarm over all of them at a level, and says in plain language what is
wrong and where.
"""

from tfp_flows.diagnostics.calibration import Calibration, calibrate
from tfp_flows.diagnostics.comparisons import Comparison
from tfp_flows.diagnostics.copies import Copies
from tfp_flows.diagnostics.dependence import Dependence
from tfp_flows.diagnostics.evaluation import evaluate
from tfp_flows.diagnostics.findings import Check, FitReport
from tfp_flows.diagnostics.numerics import Numerics
from tfp_flows.diagnostics.two_samples import Classifier, Discrepancy, Marginal

__all__ = [
    "Calibration",
    "Check",
    "Classifier",
    "Comparison",
    "Copies",
    "Dependence",
    "Discrepancy",
    "FitReport",
    "Marginal",
    "Numerics",
    "calibrate",
    "evaluate",
]
