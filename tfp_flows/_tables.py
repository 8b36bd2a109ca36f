"""Tables of numbers in files: read strictly, written whole or not at all."""

import array
import contextlib
import csv
import dataclasses
import itertools
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from tfp_flows import _checks, _files

__all__ = [
    "READABLE",
    "WRITABLE",
    "Table",
    "names",
    "read",
    "write",
    "write_csv",
]

READABLE = (".csv", ".npy", ".npz")
WRITABLE = (".csv", ".npy")

_MISSING = ("", "na", "n/a", "null", "none")


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
    """Returns what columns without a name are called: x0, x1, …"""
    return [f"x{i}" for i in range(width)]


# Reading


def read(path: Path, *, key: str | None = None) -> Table:
    """Reads a table of numbers.

    Args:
      path: a CSV file with or without a header, with commas, semicolons or tabs; or
        a NumPy file, `.npy` or `.npz`.
      key: which array of an `.npz` file; needed when it holds several.

    Raises:
      OSError: the file cannot be read.
      TypeError: it holds something other than numbers.
      ValueError: it is damaged or ragged, holds text, missing or infinite entries,
        or no rows at all.
    """
    suffix = path.suffix.lower()
    if suffix not in READABLE:
        raise ValueError(f"{path} must be a {', '.join(READABLE)} file.")
    if key is not None and suffix != ".npz":
        raise ValueError(f"A key is for .npz files. Received {key!r} for {path}.")
    if suffix == ".csv":
        points, header = _read_csv(path)
    else:
        points, header = _read_numpy(path, key), []
    if points.ndim != 2:
        raise ValueError(
            f"{path} must hold an array of shape (n, d), one point a row. Received "
            f"shape {points.shape}."
        )
    _check_no_gaps(points, header, path)
    points = _checks.as_points(points, dtype=np.float64, name=str(path))
    return Table(points, header or names(points.shape[1]))


def _check_no_gaps(points: np.ndarray, header: list[str], path: Path) -> None:
    """Names the first row and column without a finite number."""
    if points.dtype.kind != "f":
        return
    bad = ~np.isfinite(points)
    if bad.any():
        row, column = np.argwhere(bad)[0]
        raise ValueError(
            f"{path}: {bad.any(axis=1).sum()} of {len(points)} rows have missing, NaN "
            f"or infinite entries; the first is row {row + 1} with column "
            f"{_label(header, column)}. Remedy: drop or fill such rows."
        )


def _label(header: list[str], column: int) -> str:
    return repr(header[column]) if header else str(column + 1)


def _read_csv(path: Path) -> tuple[np.ndarray, list[str]]:
    with (
        _only_damage(path, csv.Error, UnicodeDecodeError),
        path.open(newline="", encoding="utf-8-sig") as file,
    ):
        line = file.readline()
        file.seek(0)
        reader = csv.reader(file, delimiter=_delimiter(line))
        rows = (row for row in reader if len(row) > 1 or "".join(row).strip())
        first = next(rows, [])
        header = [] if any(map(_is_number, first)) else first
        values = array.array("d")
        for row in rows if header else itertools.chain([first], rows):
            where = f"{path}: line {reader.line_num}"
            if len(row) != len(first):
                raise ValueError(
                    f"{where} has {len(row)} cells, the first {len(first)}."
                )
            values.extend(_numbers(row, header, where))
    if not values:
        raise ValueError(f"{path} holds no rows of numbers.")
    return np.frombuffer(values).reshape(-1, len(first)), header


def _delimiter(line: str) -> str:
    """Returns the one that cuts the line into the most cells."""
    return max(
        ",;\t", key=lambda sign: len(next(csv.reader([line], delimiter=sign), ""))
    )


def _numbers(row: list[str], header: list[str], where: str) -> list[float]:
    """Returns a row as numbers, with NaN for its missing cells."""
    try:
        return [float(cell) for cell in row]
    except ValueError:
        pass
    cells = ["nan" if cell.strip().lower() in _MISSING else cell for cell in row]
    for i, cell in enumerate(cells):
        if not _is_number(cell):
            raise ValueError(
                f"{where} has text in column {_label(header, i)}: {cell.strip()!r}. "
                "Remedy: drop or encode such columns."
            )
    return [float(cell) for cell in cells]


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _read_numpy(path: Path, key: str | None) -> np.ndarray:
    damage = (EOFError, ValueError, zipfile.BadZipFile, zlib.error)
    with path.open("rb") as file:
        with _only_damage(path, *damage):
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
        with _only_damage(path, *damage), content:
            return content[key]


@contextlib.contextmanager
def _only_damage(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Says of these errors that the file is at fault."""
    try:
        yield
    except kinds as error:
        raise ValueError(
            f"{path} is not a readable {path.suffix} file of numbers: {error}"
        ) from error


# Writing


def write(path: Path, values: np.ndarray, columns: Sequence[str]) -> None:
    """Writes a table as `.npy`, or as CSV with a header.

    Args:
      path: the file, replaced when it is there.
      values: `(n, d)`, or `(n,)` for a single column.
      columns: d names.
    """
    with _files.beside(path) as temporary:
        if path.suffix.lower() == ".npy":
            np.save(temporary, values)
        else:
            with temporary.open("w", newline="", encoding="utf-8") as file:
                write_csv(file, values, columns)


def write_csv(file: TextIO, values: np.ndarray, columns: Sequence[str]) -> None:
    """Writes a header and rows, with digits enough to read the same numbers back."""
    csv.writer(file, lineterminator="\n").writerow(columns)
    digits = 9 if values.dtype == np.float32 else 17
    np.savetxt(file, values, fmt=f"%.{digits}g", delimiter=",")
