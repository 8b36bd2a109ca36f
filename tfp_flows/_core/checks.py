"""Checks of what users hand in, with one wording for each kind of error."""

import difflib
import random
from collections.abc import Iterable
from typing import Any

import numpy as np

__all__ = ["as_points", "as_seed", "pick", "positive_int", "positive_size", "size"]

_MOST = 2**24  # of anything that is a length of weights
_TEXT = (str, bytes)  # which NumPy would read as numbers where it can


def as_points(
    x: Any, event_size: int | None = None, *, dtype: Any = None, name: str = "x"
) -> np.ndarray:
    """Returns `x` as an array of finite points, or says what is wrong with it.

    Args:
      x: array-like (list, NumPy, pandas, eager tensor) of shape
        `(..., event_size)`.
      event_size: the width that is expected; any when None.
      dtype: the floating dtype of the result; that of `x` when None (float32 for
        integers).
      name: what the caller's argument is called, for the message.

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
    for entry in points.flat:
        if isinstance(entry, str):
            return f" with entries such as {str(entry)!r}"
    return ""


def pick(name: str, known: Iterable[str], what: str) -> str:
    """Returns `name` when it is among `known`, else names its nearest neighbours.

    Raises:
      ValueError: `name` is not in `known`.
    """
    known = sorted(known)
    if name in known:
        return name
    near = difflib.get_close_matches(str(name), known, n=3, cutoff=0.5)
    hint = f"did you mean {' or '.join(map(repr, near))}? " if near else ""
    raise ValueError(f"Unknown {what}: {name!r}; {hint}Known: {', '.join(known)}.")


def as_seed(seed: int | None) -> int:
    """Returns `seed`, or one drawn from Python's generator.

    `keras.utils.set_random_seed` therefore makes every default reproducible.

    Raises:
      ValueError: `seed` is not a whole number ≥ 0.
    """
    if seed is None:
        return random.randrange(2**31)
    if isinstance(seed, bool) or not isinstance(seed, (int, np.integer)) or seed < 0:
        raise ValueError(f"`seed` must be a whole number ≥ 0. Received: {seed!r}.")
    return int(seed)


def size(value: Any, name: str) -> int:
    """Returns `value` as a Python int of at least 0 that weights can be made for.

    Without an upper end, a number in a file that came to harm would fill the memory.

    Raises:
      ValueError: it is not a whole number, negative, or beyond 2²⁴.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 0:
        raise ValueError(f"`{name}` must be a whole number ≥ 0. Received: {value!r}.")
    if value > _MOST:
        raise ValueError(f"`{name}` must be at most {_MOST:,}. Received: {value:,}.")
    return int(value)


def positive_int(value: Any, name: str) -> int:
    """Returns `value` as a Python int of at least 1.

    Raises:
      ValueError: it is not a whole number, or less than 1.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < 1:
        raise ValueError(f"`{name}` must be a whole number ≥ 1. Received: {value!r}.")
    return int(value)


def positive_size(value: Any, name: str) -> int:
    """Returns `value` as `size` does, of at least 1.

    Raises:
      ValueError: it is not a whole number, less than 1, or beyond 2²⁴.
    """
    return size(positive_int(value, name), name)
