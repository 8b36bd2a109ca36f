"""Checks of arguments, with one wording for each kind of error."""

import difflib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["as_points", "as_seed", "pick", "positive_int", "positive_size", "size"]

_LARGEST = 2**24  # the largest axis of an array of weights
_TEXT = (str, bytes)  # NumPy would read numbers out of these


def as_points(
    x: Any, event_size: int | None = None, *, dtype: Any = None, name: str = "x"
) -> np.ndarray:
    """Returns `x` as an array of finite points.

    Args:
      x: array-like (list, NumPy, pandas, eager tensor) of shape
        `(..., event_size)`.
      event_size: the expected width; any width when None.
      dtype: the floating dtype of the result; that of `x` when None (float32 for
        integers).
      name: the caller's name of the argument, for the message.

    Returns:
      A NumPy array of shape `(..., event_size)`.

    Raises:
      TypeError: `x` holds something other than real numbers.
      ValueError: `x` has the wrong width, no rows, or NaN or infinite entries.
    """
    if np.ma.is_masked(x):
        raise ValueError(
            f"`{name}` must have no masked entries. Received "
            f"{np.ma.count_masked(x)}. Remedy: drop or fill such rows."
        )
    try:
        points = np.asarray(x)
    except ValueError as error:  # ragged nested lists
        raise ValueError(
            f"`{name}` must be an array of shape (..., "
            f"{event_size or 'event_size'}). Received rows of unequal lengths."
        ) from error
    if points.dtype == object and not any(isinstance(v, _TEXT) for v in points.flat):
        try:
            points = points.astype(np.float64)
        except (OverflowError, TypeError, ValueError):
            pass
    if points.dtype.kind not in "fiub":
        raise TypeError(
            f"`{name}` must hold real numbers. Received dtype {points.dtype}"
            f"{_text_example(points)}. Remedy: drop or encode such columns."
        )
    if dtype is None:
        dtype = points.dtype if points.dtype.kind == "f" else np.float32
    if points.ndim == 0 or (event_size is not None and points.shape[-1] != event_size):
        width = "event_size" if event_size is None else event_size
        remedy = ""
        if event_size == 1 and points.ndim == 1:
            remedy = f" Remedy: `{name}[:, None]` makes each number a point."
        raise ValueError(
            f"`{name}` must have shape (..., {width}). "
            f"Received shape {points.shape}.{remedy}"
        )
    if points.size == 0:
        raise ValueError(
            f"`{name}` must hold at least one point. Received shape {points.shape}."
        )
    with np.errstate(over="ignore"):
        points = points.astype(dtype, copy=False)
    bad = ~np.isfinite(points).all(axis=-1)
    if bad.any():
        first = np.argwhere(np.atleast_1d(bad))[0]
        where = int(first[0]) if first.size == 1 else tuple(int(i) for i in first)
        raise ValueError(
            f"`{name}` must be finite. Received {int(bad.sum())} of {bad.size} rows "
            f"with NaN or infinite entries in {np.dtype(dtype).name}; the first is row "
            f"{where}: {points[tuple(first)] if bad.ndim else points}."
        )
    return points


def _text_example(points: np.ndarray) -> str:
    """Returns the end of a sentence that quotes the first text among the entries."""
    for entry in points.flat:
        if isinstance(entry, str):
            return f" with entries such as {str(entry)!r}"
    return ""


def pick(name: str, known: Iterable[str], what: str) -> str:
    """Returns `name` if it is a known one.

    Args:
      name: as the user has written it.
      known: the names that exist.
      what: kind of thing is named, for the message.

    Raises:
      ValueError: `name` is not in `known`; the message suggests the nearest ones.
    """
    known = sorted(known)
    if name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"Unknown {what}: {name!r}; {hint}Known: {', '.join(known)}.")


def as_seed(seed: int | None) -> int:
    """Returns `seed`, or one drawn from Python's generator when it is None.

    `keras.utils.set_random_seed` sets that generator, and so makes every seed that is
    not given reproducible.

    Raises:
      ValueError: `seed` is not a whole number ≥ 0.
    """
    if seed is None:
        return random.randrange(2**31)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"`seed` must be a whole number ≥ 0. Received: {seed!r}.")
    return int(seed)


def size(value: Any, name: str) -> int:
    """Returns `value` as a Python int from 0 to 2²⁴, the size of an axis of weights.

    Without the upper limit, a damaged number in a file could fill the memory.

    Raises:
      ValueError: it is not a whole number in that range.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"`{name}` must be a whole number ≥ 0. Received: {value!r}.")
    if value > _LARGEST:
        raise ValueError(f"`{name}` must be at most {_LARGEST:,}. Received: {value:,}.")
    return int(value)


def positive_int(value: Any, name: str) -> int:
    """Returns `value` as a Python int of at least 1.

    Raises:
      ValueError: it is not a whole number of at least 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"`{name}` must be a whole number ≥ 1. Received: {value!r}.")
    return int(value)


def positive_size(value: Any, name: str) -> int:
    """Returns `value` as a Python int from 1 to 2²⁴, as `size` does from 0.

    Raises:
      ValueError: it is not a whole number in that range.
    """
    return size(positive_int(value, name), name)
