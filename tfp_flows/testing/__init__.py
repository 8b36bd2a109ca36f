"""Checks that a bijector or a flow is what it claims to be, for users' own too.

`check_bijector` runs a bijector through a list of small named checks, and `check_flow`
does the same with a whole flow. Both return the names of the checks that passed. Where
any check fails they raise one `CheckFailure`, which lists everything that is wrong: at
which stage and point, what was expected, what was found, and the difference.
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

# A traceback then names the exception by its public path.
CheckFailure.__module__ = __name__
