"""Arguments of the pictures, checked: flows, data, coordinates, stages and names."""

from typing import Any

import numpy as np

from tfp_flows._core import checks
from tfp_flows.flow.flow import Flow

__all__ = [
    "as_data",
    "as_flow",
    "choose",
    "coordinate_names",
    "pick_coordinates",
    "pick_stage",
]


def as_flow(flow: Any) -> Flow:
    """Returns `flow`, which must be a Flow.

    Raises:
      TypeError: it is not.
    """
    if not isinstance(flow, Flow):
        raise TypeError(f"`flow` must be a Flow. Received: {type(flow).__name__}.")
    return flow


def pick_coordinates(coordinates: Any, event_size: int) -> list[int]:
    """Returns the indices of the coordinates to draw: one, or two different ones.

    Raises:
      ValueError: they are not two different coordinates of the points.
    """
    if event_size == 1:
        return [0]
    picked = [int(i) for i in np.ravel(coordinates)]
    valid = len(picked) == len(set(picked)) == 2
    if not valid or not all(0 <= i < event_size for i in picked):
        raise ValueError(
            f"`coordinates` must be two different ones of 0..{event_size - 1}. "
            f"Received: {coordinates!r}."
        )
    return picked


def pick_stage(stage: Any, first: int, last: int) -> int:
    """Returns the index of a stage, as in `flow.stages()`.

    Raises:
      ValueError: it is not one of first..last.
    """
    is_whole = isinstance(stage, (int, np.integer)) and not isinstance(stage, bool)
    if not is_whole or not first <= stage <= last:
        hint = " Stage 0 is the base, which no bijector made." if first else ""
        raise ValueError(
            f"`stage` must be one of {first}..{last}. Received: {stage!r}.{hint}"
        )
    return int(stage)


def as_data(data: Any, flow: Any, event_size: int) -> np.ndarray:
    """Returns the user's data as `(n, event_size)`, checked."""
    dtype = flow.dtype if isinstance(flow, Flow) else None
    points = checks.as_points(data, event_size, dtype=dtype, name="data")
    return points.reshape(-1, event_size)


def coordinate_names(data: Any, names: Any, event_size: int) -> list[str] | None:
    """Returns the names of the coordinates: `names`, or else a DataFrame's columns.

    Returns:
      A name for each coordinate, or None if there are no names.

    Raises:
      ValueError: there is not one name for each coordinate.
    """
    if names is None:
        columns = getattr(data, "columns", None)
        if columns is None or len(columns) != event_size:
            return None
        return [str(column) for column in columns]
    names = [names] if isinstance(names, str) else [str(name) for name in names]
    if len(names) != event_size:
        raise ValueError(
            f"`names` must be {event_size}, one for each coordinate. "
            f"Received {len(names)}: {names!r}."
        )
    return names


def choose(coordinates: Any, event_size: int, most: int) -> list[int]:
    """Returns the indices of the coordinates to draw; the first `most` when None.

    Raises:
      ValueError: they are not different coordinates of the points, or too many.
    """
    most = min(event_size, most)
    if coordinates is None:
        return list(range(most))
    picked = [int(i) for i in np.ravel(coordinates)]
    known = all(0 <= i < event_size for i in picked)
    if not known or not 1 <= len(picked) <= most or len(picked) > len(set(picked)):
        raise ValueError(
            f"`coordinates` must be 1 to {most} different ones of 0..{event_size - 1}. "
            f"Received: {coordinates!r}."
        )
    return picked
