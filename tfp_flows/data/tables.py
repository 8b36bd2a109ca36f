"""Tables of numbers in files: read strictly, written whole or not at all."""

import csv
import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from tfp_flows._core import checks, files
from tfp_flows.data.row_files import KINDS, label, only_damage, open_table, read_whole

__all__ = [
    "READABLE",
    "WRITABLE",
    "Table",
    "is_large",
    "names",
    "read",
    "write",
    "write_csv",
]

READABLE = (*sorted([*KINDS, ".npz"]),)
WRITABLE = (".csv", ".npy")

# Files that take a larger share of the machine's memory are not read as a whole: their
# numbers, and the copies that are made of them, take several times as much.
_SHARE = 0.1


@dataclasses.dataclass(frozen=True)
class Table:
    """Rows of finite numbers.

    Attributes:
      points: `(n, d)`, float64.
      columns: d names: those of the CSV's header, else x0, x1, …
    """

    points: np.ndarray
    columns: list[str]


def names(width: int) -> list[str]:
    """Returns names for columns without names: x0, x1, …"""
    return [f"x{i}" for i in range(width)]


# Reading


def is_large(path: Path) -> bool:
    """Returns whether the files of a table take more than a tenth of the memory."""
    if path.suffix.lower() not in KINDS and not path.is_dir():
        return False
    size = sum(file.path.stat().st_size for file in open_table(path))
    return size > _SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")


def read(path: Path, *, key: str | None = None) -> Table:
    """Reads a table of numbers.

    Args:
      path: a CSV file with or without a header, with commas, semicolons or tabs; a
        NumPy file, `.npy` or `.npz`; a Parquet file; or a folder of files of one of
        these kinds but `.npz`.
      key: name of the array in an `.npz` file; needed when it holds several.

    Raises:
      OSError: the file cannot be read.
      ImportError: it is a Parquet file, and pyarrow is not installed.
      TypeError: it holds something other than numbers.
      ValueError: it is damaged or ragged, holds text, missing or infinite entries, or
        has no rows.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE and not path.is_dir():
        raise ValueError(f"{path} must be a {', '.join(READABLE)} file, or a folder.")
    if key is not None and suffix != ".npz":
        raise ValueError(f"A key is for .npz files. Received {key!r} for {path}.")
    if suffix == ".npz":
        return Table(*_checked(_read_npz(path, key), [], path))
    files = open_table(path)
    whole = [(read_whole(file), file.columns, file.path) for file in files]
    parts = [_checked(*part) for part in whole if len(part[0])]
    if not parts:
        raise ValueError(f"{path} holds no rows of numbers.")
    return Table(np.concatenate([points for points, _ in parts]), parts[0][1])


def _checked(
    points: np.ndarray, header: list[str], path: Path
) -> tuple[np.ndarray, list[str]]:
    """Returns finite points, and the names of their columns."""
    if points.ndim != 2:
        raise ValueError(
            f"{path} must hold an array of shape (n, d), one point a row. Received "
            f"shape {points.shape}."
        )
    _check_no_gaps(points, header, path)
    points = checks.as_points(points, dtype=np.float64, name=str(path))
    return points, header or names(points.shape[1])


def _check_no_gaps(points: np.ndarray, header: list[str], path: Path) -> None:
    """Raises an error that names the first entry that is not a finite number."""
    if points.dtype.kind != "f":
        return
    bad = ~np.isfinite(points)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{path}: {bad.any(axis=1).sum()} of {len(points)} rows have missing, NaN "
            f"or infinite entries; the first is row {row + 1} with column "
            f"{label(header, column)}. Remedy: drop or fill such rows."
        )


def _read_npz(path: Path, key: str | None) -> np.ndarray:
    with path.open("rb") as file:
        with only_damage(path, Exception):  # NumPy raises errors of many kinds
            content = np.load(file, allow_pickle=False)
        if isinstance(content, np.ndarray):
            return content
        known = content.files
        if key is None and len(known) == 1:
            key = known[0]
        if key not in known:
            raise ValueError(
                f"{path}: the key must be one of {', '.join(known)}. Received: {key}."
            )
        with only_damage(path, Exception), content:
            return content[key]


# Writing


def write(path: Path, values: np.ndarray, columns: Sequence[str]) -> None:
    """Writes a table as `.npy`, or as CSV with a header.

    Args:
      path: of the file, which is replaced where it exists.
      values: `(n, d)`, or `(n,)` for a single column.
      columns: d names.
    """
    with files.beside(path) as temporary:
        if path.suffix.lower() == ".npy":
            np.save(temporary, values)
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                write_csv(file, values, columns)


def write_csv(file: TextIO, values: np.ndarray, columns: Sequence[str]) -> None:
    """Writes a header and rows, with enough digits to read the same numbers back."""
    csv.writer(file, lineterminator="\n").writerow(columns)
    digits = 9 if values.dtype == np.float32 else 17
    np.savetxt(file, values, fmt=f"%.{digits}g", delimiter=",")
