"""Column: the values that one column of the data can have, read from a spec."""

import math
import numbers
from collections.abc import Sequence
from typing import Any, NamedTuple

from tfp_flows._core import checks

__all__ = ["Column", "Spec", "Specs", "as_column"]

# What says which values a column can have: see the table of `Supports`.
Spec = str | Sequence[Any]

# One for all columns, one for each, or some by name.
Specs = Spec | list[Spec] | dict[Any, Spec]


class Column(NamedTuple):
    """The values of a column.

    Args:
      kind: "continuous", "integer" or "circular".
      low: the low end; -inf for no end.
      high: the high end; inf for no end.
    """

    kind: str
    low: float
    high: float

    def spec(self) -> Spec:
        """Returns a spec that `as_column` reads, as plain data."""
        ends = [None if math.isinf(end) else end for end in (self.low, self.high)]
        if self.kind != "continuous":
            return [self.kind, *ends]
        return "real" if ends == [None, None] else ends

    def values(self) -> str:
        """Returns the values in words, for messages."""
        if self.kind == "circular":
            return "angles"
        whole = "whole " if self.kind == "integer" else ""
        ends = ""
        if math.isfinite(self.low):
            ends += f" ≥ {self.low:g}"
        if math.isfinite(self.high):
            ends += f" and ≤ {self.high:g}" if ends else f" ≤ {self.high:g}"
        return f"{whole}numbers{ends}"


_NAMED = {
    "real": Column("continuous", -math.inf, math.inf),
    "positive": Column("continuous", 0.0, math.inf),
    "integer": Column("integer", -math.inf, math.inf),
    "circular": Column("circular", -math.pi, math.pi),
}


def as_column(spec: Spec, where: str = "`spec`") -> Column:
    """Returns the column that a spec describes.

    Args:
      spec: of one column.
      where: what messages call it.

    Raises:
      ValueError: an unknown spec, or ends in the wrong order.
      TypeError: ends that are not numbers.
    """
    if isinstance(spec, str):
        return _NAMED[checks.pick(spec, _NAMED, "support")]
    if not isinstance(spec, (tuple, list)) or not spec:
        raise ValueError(
            f"{where}: a support must be one of {', '.join(map(repr, _NAMED))}, a pair "
            '(low, high), ("integer", low, high), ("circular", period) or ("circular", '
            f"low, high). Received: {spec!r}."
        )
    kind, ends = "continuous", list(spec)
    if isinstance(spec[0], str):
        kind, *ends = spec
        checks.pick(kind, ("integer", "circular"), "support with ends")
    if kind == "circular" and len(ends) == 1:
        ends = [0.0, *ends]
    if len(ends) != 2:
        raise ValueError(f"{where}: expected two ends. Received: {spec!r}.")
    low, high = (
        _end(end, default, spec, where)
        for end, default in zip(ends, (-math.inf, math.inf), strict=True)
    )
    if kind == "circular" and math.isinf(high - low):
        raise ValueError(f"{where}: a circle has finite ends. Received: {spec!r}.")
    if kind == "integer" and any(end % 1 for end in (low, high) if math.isfinite(end)):
        raise ValueError(f"{where}: expected whole ends. Received: {spec!r}.")
    if not (low < high or (kind == "integer" and low == high)):
        raise ValueError(f"{where}: low must be below high. Received: {spec!r}.")
    return Column(kind, low, high)


def _end(end: Any, default: float, spec: Any, where: str) -> float:
    if end is None:
        return default
    if isinstance(end, bool) or not isinstance(end, numbers.Real) or end != end:
        raise TypeError(
            f"{where}: ends must be numbers, or None for no end. Received: {spec!r}."
        )
    return float(end)
