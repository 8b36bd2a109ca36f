"""Columns: the columns of a table by name, and checks of data against their values."""

from collections.abc import Iterable
from typing import Any

import numpy as np

from tfp_flows._core import checks
from tfp_flows.supports.column import Column, Spec, Specs, as_column

__all__ = ["Columns"]

# A cell of whole numbers must have room for 2 to the power of this many floats.
_BITS_WITHIN_CELL = 4


class Columns:
    """The columns of a table, each with the values that it can have.

    Args:
      spec: as for `Supports`.
      event_size: d, the number of columns.
      names: d names, or None.
      dtype: "float32" or "float64", which data are rounded to.

    Attributes:
      event_size: as given.
      names: the names as a tuple, or None.
      dtype: as given.
      low: the low ends of the columns, `(d,)`, float64; -inf for no end.
      high: the high ends, `(d,)`, float64; inf for no end.
      integers: indices of the whole-numbered columns.
      circles: indices of the circular columns.
      periods: the periods of the circular columns.

    Raises:
      ValueError: an unknown spec or column, ends in the wrong order, or another
        number of specs or names than columns.
      TypeError: ends that are not numbers.
    """

    def __init__(
        self,
        spec: Specs,
        event_size: int,
        *,
        names: Iterable[Any] | None,
        dtype: str,
    ) -> None:
        self.event_size = checks.positive_size(event_size, "event_size")
        self.names = None if names is None else tuple(names)
        if self.names is not None and len(self.names) != event_size:
            raise ValueError(
                f"`columns` must be {event_size} names. Received {len(self.names)}: "
                f"{list(self.names)}."
            )
        self.dtype = dtype
        self._columns = self._read(spec)
        kinds = np.array([column.kind for column in self._columns])
        self.low = np.array([column.low for column in self._columns])
        self.high = np.array([column.high for column in self._columns])
        self.integers = np.flatnonzero(kinds == "integer")
        self.circles = np.flatnonzero(kinds == "circular")
        self.periods = (self.high - self.low)[self.circles]

    def _read(self, spec: Specs) -> list[Column]:
        if isinstance(spec, dict):
            known = list(self.names or range(self.event_size))
            for name in spec:
                if name not in known:
                    checks.pick(str(name), map(str, known), "column")
                    raise ValueError(f"Unknown column: {name!r}. Known: {known}.")
            spec = [spec.get(name, "real") for name in known]
        if not isinstance(spec, list):
            return [as_column(spec)] * self.event_size
        if len(spec) != self.event_size:
            raise ValueError(
                f"`spec` must hold {self.event_size} supports, one for each column. "
                f"Received {len(spec)}: {spec!r}. A tuple is one support for all "
                "columns."
            )
        return [as_column(one, self._label(i)) for i, one in enumerate(spec)]

    def _label(self, i: int) -> str:
        return f"Column {i if self.names is None else self.names[i]!r}"

    def specs(self) -> list[Spec]:
        """Returns a spec for each column, as plain data."""
        return [column.spec() for column in self._columns]

    def array(self, x: Any) -> np.ndarray:
        """Returns data as finite numbers of the dtype, with their columns in order.

        Args:
          x: data `(..., d)`, array-like, or a DataFrame with the columns in any order.

        Raises:
          ValueError: NaN, infinite or no rows; another number or other names of
            columns.
          TypeError: data that are not numbers.
        """
        names = getattr(x, "columns", None)
        if names is not None and self.names is not None:
            names = list(names)
            for name in names:
                if name not in self.names:
                    checks.pick(str(name), map(str, self.names), "column")
            missing = [name for name in self.names if name not in names]
            if missing:
                raise ValueError(
                    f"`x` must have the columns {list(self.names)}. Missing: {missing}."
                )
            x = x[list(self.names)]
        return checks.as_points(x, self.event_size, dtype=self.dtype)

    def contain(self, points: np.ndarray) -> np.ndarray:
        """Returns whether each coordinate of points `(n, d)` is in its support."""
        low, high = self.low.copy(), self.high.copy()
        low[self.circles], high[self.circles] = -np.inf, np.inf
        # Data are rounded to the dtype, so that the ends must be, too.
        within = (points >= low.astype(self.dtype)) & (
            points <= high.astype(self.dtype)
        )
        within[:, self.integers] &= points[:, self.integers] % 1 == 0
        return within

    def checked(self, x: Any) -> np.ndarray:
        """Returns data as `array` does, if they are within the support.

        Args:
          x: data `(..., d)`, array-like or a DataFrame.

        Raises:
          ValueError: data outside of the support, or whole numbers too large for the
            dtype to have fractions; what `array` raises.
          TypeError: data that are not numbers.
        """
        x = self.array(x)
        points = x.reshape(-1, self.event_size)
        outside = ~self.contain(points)
        for i in np.flatnonzero(outside.any(axis=0)).tolist():
            row = int(np.argmax(outside[:, i]))
            raise ValueError(
                f"{self._label(i)} must hold {self._columns[i].values()}. Received "
                f"{outside[:, i].sum()} of {len(points)} rows outside; the first is "
                f"row {row}: {points[row, i]}."
            )
        limit = 2.0 ** (np.finfo(self.dtype).nmant + 1 - _BITS_WITHIN_CELL)
        large = np.abs(points[:, self.integers]) > limit
        for i in self.integers[large.any(axis=0)].tolist():
            raise ValueError(
                f"{self._label(i)} holds whole numbers beyond ±{limit:.0f}, whose "
                f"fractions {self.dtype} cannot tell apart. Remedy: "
                + ("float64, or " if self.dtype == "float32" else "")
                + 'the support "real".'
            )
        return x

    def named(self, data: Any) -> Any:
        """Returns data `(n, d)` as a DataFrame with int64 columns for whole numbers.

        Columns without names stay an array.
        """
        if self.names is None:
            return data
        import pandas as pd  # optional: whoever has names has pandas

        integers = {self.names[i]: np.int64 for i in self.integers}
        return pd.DataFrame(np.asarray(data), columns=list(self.names)).astype(integers)
