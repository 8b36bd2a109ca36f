"""Compose TFP bijectors into distributions, fit them with Keras, see every stage."""

import importlib
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tfp_flows._core import notebooks as _notebooks

if TYPE_CHECKING:
    from tfp_flows import (
        bases,
        bijectors,
        callbacks,
        densities,
        diagnostics,
        networks,
        plotting,
        recipes,
        supports,
        testing,
        variational,
    )
    from tfp_flows.estimator import FlowDensity
    from tfp_flows.flow import Flow, LogProb, NegativeLogLikelihood, Stage
    from tfp_flows.orders import OrderComparison, compare_orders
    from tfp_flows.reporting import report

__all__ = [
    "Flow",
    "FlowDensity",
    "LogProb",
    "NegativeLogLikelihood",
    "OrderComparison",
    "Stage",
    "bases",
    "bijectors",
    "callbacks",
    "compare_orders",
    "densities",
    "diagnostics",
    "networks",
    "plotting",
    "recipes",
    "report",
    "supports",
    "testing",
    "variational",
]

# The modules of the public names that are not modules themselves.
_MODULE_OF = {
    "Flow": "flow",
    "FlowDensity": "estimator",
    "LogProb": "flow",
    "NegativeLogLikelihood": "flow",
    "OrderComparison": "orders",
    "Stage": "flow",
    "compare_orders": "orders",
    "report": "reporting",
}

# These need matplotlib and scikit-learn, and register nothing with Keras. They are
# loaded when they are first used.
_HEAVY = ("FlowDensity", "diagnostics", "plotting", "report")


def __getattr__(name: str) -> Any:
    if name not in __all__:
        raise AttributeError(f"module 'tfp_flows' has no attribute {name!r}")
    module = importlib.import_module(f"tfp_flows.{_MODULE_OF.get(name, name)}")
    value = getattr(module, name) if name in _MODULE_OF else module
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return list(__all__)


def _register_classes() -> None:
    """Imports every module that registers classes with Keras.

    `keras.models.load_model` finds the classes of a saved flow only if they are
    registered.
    """
    for name in __all__:
        if name not in _HEAVY:
            __getattr__(name)


def _flow_as_html(*parts: Any) -> str:
    from tfp_flows.plotting.thumbnails import flow_as_html  # it imports matplotlib

    return flow_as_html(*parts)


_notebooks.draw_by("flow", _flow_as_html)


def _is_command_line() -> bool:
    """Returns whether this process runs `tfp-flows` or `python -m tfp_flows`."""
    if sys.argv[0] == "-m":  # as Python calls a module while it looks for it
        return sys.orig_argv[-len(sys.argv)] == "tfp_flows"
    return Path(sys.argv[0]).stem == "tfp-flows"


# Loading a saved flow must need nothing but `import tfp_flows`, so the classes are
# registered at once, although this imports TensorFlow, which takes seconds. The command
# line must answer `--help` or a mistyped option at once, and Python imports this
# package before it runs a line of it. There, commands that need a flow register them.
if not _is_command_line():
    _register_classes()
