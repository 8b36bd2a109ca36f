"""Is this bijector right? One call, one report of everything that is not.

`check_bijector` puts a bijector, and `check_flow` a whole flow, through a list of
small named checks. Each raises one `CheckFailure` that says what is wrong, at which
stage and point, what was expected, what was found, and by how much; or returns the
names of the checks that passed.
"""

from tfp_flows.testing.bijector import BIJECTOR_CHECKS, check_bijector
from tfp_flows.testing.failures import CheckFailure, Failure
from tfp_flows.testing.flow import FLOW_CHECKS, check_flow

__all__ = [
    "BIJECTOR_CHECKS",
    "FLOW_CHECKS",
    "CheckFailure",
    "Failure",
    "check_bijector",
    "check_flow",
]

# A traceback names an exception by the place where users find it.
CheckFailure.__module__ = __name__
