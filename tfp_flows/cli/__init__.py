"""The command line: `tfp-flows` and `python -m tfp_flows`."""

from tfp_flows.cli.commands import main

__all__ = ["main"]
