"""Does a flow fit? Tests against held-out rows, with verdicts in plain language.

`evaluate` tests in many ways whether rows could have come from a flow. It keeps the
chance of a false alarm over all tests at a given level, and says what is wrong and
where. `calibrate` returns the calibration of a flow alone.
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
