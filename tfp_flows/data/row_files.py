"""Files of rows of numbers, which are read a stretch at a time."""

import array
import contextlib
import csv
import io
import itertools
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Protocol

import numpy as np

__all__ = ["KINDS", "RowFile", "label", "only_damage", "open_table", "read_whole"]

_MISSING = ("", "na", "n/a", "null", "none")

_CELL_BYTES = 10  # a cell of a CSV file has about so many bytes
_ROWS_AT_ONCE = 2**16


class RowFile(Protocol):
    """An open file.

    Attributes:
      path: of the file.
      columns: names of the columns, or an empty list.
      width: number of columns.
    """

    path: Path
    columns: list[str]
    width: int

    def stretches(self, rows: int) -> list[Any]:
        """Returns the arguments of `read` for the parts of the file.

        Args:
          rows: that a part has, about.
        """

    def read(self, stretch: Any) -> np.ndarray:
        """Returns rows `(n, width)`, with NaN for missing entries."""


def open_table(path: str | os.PathLike) -> list[RowFile]:
    """Opens a file, or the files of a folder, in the order of their names.

    Args:
      path: a `.npy`, `.csv` or `.parquet` file, or a folder of files of one of these
        kinds. Other files of the folder, and hidden ones, are ignored.

    Raises:
      OSError: it does not exist, or cannot be read.
      ImportError: it is a Parquet file, and pyarrow is not installed.
      TypeError: a column holds something other than numbers.
      ValueError: a file is damaged; or a folder has no such files, or files of several
        kinds or with different columns.
    """
    path = Path(path)
    files: list[RowFile] = [KINDS[each.suffix.lower()](each) for each in _paths(path)]
    first = files[0]
    for file in files:
        if file.width != first.width:
            raise ValueError(
                f"{file.path} must have {first.width} columns, as {first.path.name} "
                f"has. Received: {file.width}."
            )
        if file.columns and first.columns and file.columns != first.columns:
            raise ValueError(
                f"{file.path} must have the columns of {first.path.name}: "
                f"{', '.join(first.columns)}. Received: {', '.join(file.columns)}."
            )
    return files


def _paths(path: Path) -> list[Path]:
    if not path.is_dir():
        path.stat()  # raises where it does not exist
        if path.suffix.lower() not in KINDS:
            raise ValueError(f"{path} must be a {', '.join(KINDS)} file, or a folder.")
        return [path]
    found = [
        each
        for each in sorted(path.iterdir())
        if each.suffix.lower() in KINDS and not each.name.startswith((".", "_"))
    ]
    kinds = sorted({each.suffix.lower() for each in found})
    if len(kinds) != 1:
        raise ValueError(
            f"{path} must hold {', '.join(KINDS)} files of one kind. "
            f"Received: {' and '.join(kinds) or 'none'}."
        )
    return found


def read_whole(file: RowFile) -> np.ndarray:
    """Returns all rows of a file, `(n, width)`."""
    parts = [file.read(stretch) for stretch in file.stretches(_ROWS_AT_ONCE)]
    return np.concatenate(parts) if parts else np.zeros([0, file.width])


class NpyFile:
    """A NumPy file of an array of shape (n, d)."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.columns: list[str] = []
        content = self._content()
        if content.ndim != 2:
            raise ValueError(
                f"{path} must hold an array of shape (n, d), one point a row. Received "
                f"shape {content.shape}."
            )
        if content.dtype.kind not in "fiub":
            raise TypeError(
                f"{path} must hold real numbers. Received dtype {content.dtype}."
            )
        self._rows, self.width = content.shape

    def _content(self) -> np.ndarray:
        self.path.open("rb").close()  # raises OSError where it cannot be read
        with only_damage(self.path, Exception):  # NumPy raises errors of many kinds
            return np.lib.format.open_memmap(self.path, mode="r")

    def stretches(self, rows: int) -> list[slice]:
        """Returns slices."""
        return [slice(i, i + rows) for i in range(0, self._rows, rows)]

    def read(self, stretch: slice) -> np.ndarray:
        """Returns rows, and closes the file again."""
        return np.array(self._content()[stretch])


class CsvFile:
    """A CSV file with or without a header, with commas, semicolons or tabs."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with (
            only_damage(path, csv.Error, UnicodeDecodeError),
            path.open(newline="", encoding="utf-8-sig") as file,
        ):
            self._delimiter = _delimiter(file.readline())
            file.seek(0)
            first = next(_rows_of(csv.reader(file, delimiter=self._delimiter)), [])
        self.columns = [] if any(map(_is_number, first)) else first
        self.width = len(first)

    def stretches(self, rows: int) -> list[tuple[int, int]]:
        """Returns where lines begin and end, in bytes."""
        step = rows * max(self.width, 1) * _CELL_BYTES
        size, ends = self.path.stat().st_size, [0]
        with self.path.open("rb") as file:
            while ends[-1] < size:
                file.seek(ends[-1] + step)
                file.readline()
                ends.append(min(file.tell(), size))
        return list(itertools.pairwise(ends))

    def read(self, stretch: tuple[int, int]) -> np.ndarray:
        """Returns rows, or raises an error that names the wrong line."""
        start, end = stretch
        with self.path.open("rb") as file:
            file.seek(start)
            content = file.read(end - start)
        values = array.array("d")
        with (
            only_damage(self.path, csv.Error, UnicodeDecodeError),
            io.TextIOWrapper(
                io.BytesIO(content), encoding="utf-8-sig", newline=""
            ) as lines,
        ):
            reader = csv.reader(lines, delimiter=self._delimiter)
            rows = _rows_of(reader)
            if start == 0 and self.columns:
                next(rows)
            for row in rows:
                if len(row) != self.width:
                    raise ValueError(
                        f"{self._line(start, reader)} has {len(row)} cells, the first "
                        f"{self.width}."
                    )
                try:
                    values.extend([float(cell) for cell in row])
                except ValueError:
                    values.extend(self._with_gaps(row, start, reader))
        count = len(values) // max(self.width, 1)
        return np.array(values).reshape(count, self.width)

    def _with_gaps(self, row: list[str], start: int, reader: Any) -> list[float]:
        """Returns a row as numbers, with NaN for its missing cells."""
        cells = ["nan" if cell.strip().lower() in _MISSING else cell for cell in row]
        for i, cell in enumerate(cells):
            if not _is_number(cell):
                raise ValueError(
                    f"{self._line(start, reader)} has text in column "
                    f"{label(self.columns, i)}: {cell.strip()!r}. Remedy: drop or "
                    "encode such columns."
                )
        return [float(cell) for cell in cells]

    def _line(self, start: int, reader: Any) -> str:
        """Returns the line of a reader that has begun at a byte of the file."""
        with self.path.open("rb") as file:
            pieces = iter(lambda: file.read(min(2**20, start - file.tell())), b"")
            before = sum(piece.count(b"\n") for piece in pieces)
        return f"{self.path}: line {before + reader.line_num}"


class ParquetFile:
    """A Parquet file whose columns are numbers; a stretch is one of its row groups."""

    def __init__(self, path: Path) -> None:
        self.path = path
        import_pyarrow()
        import pyarrow

        with self._open() as file:
            schema, self._groups = file.schema_arrow, file.num_row_groups
        for field in schema:
            kinds = ("integer", "floating", "boolean", "decimal")
            if not any(getattr(pyarrow.types, f"is_{k}")(field.type) for k in kinds):
                raise TypeError(
                    f"{path} must hold numbers. Received column {field.name!r} of type "
                    f"{field.type}. Remedy: drop or encode such columns."
                )
        self.columns, self.width = schema.names, len(schema)

    @contextlib.contextmanager
    def _open(self) -> Iterator[Any]:
        from pyarrow import ArrowInvalid, parquet

        with (
            only_damage(self.path, ArrowInvalid),
            parquet.ParquetFile(self.path) as file,
        ):
            yield file

    def stretches(self, rows: int) -> list[int]:
        """Returns the numbers of the row groups, however many rows they have."""
        return list(range(self._groups))

    def read(self, stretch: int) -> np.ndarray:
        """Returns a row group."""
        with self._open() as file:
            columns = file.read_row_group(stretch, use_threads=False).columns
            numbers = [each.cast("float64", safe=False).to_numpy() for each in columns]
        return np.stack(numbers, axis=1)


KINDS: dict[str, Callable[[Path], RowFile]] = {
    ".csv": CsvFile,
    ".npy": NpyFile,
    ".parquet": ParquetFile,
}


def import_pyarrow() -> None:
    """Imports pyarrow, or raises an error that says how to install it."""
    try:
        import pyarrow.parquet  # noqa: F401
    except ImportError as error:
        raise ImportError(
            "Parquet files need pyarrow. Remedy: `pip install 'tfp_flows[parquet]'`."
        ) from error


@contextlib.contextmanager
def only_damage(path: Path, *kinds: type[Exception]) -> Iterator[None]:
    """Turns errors of these kinds into a ValueError that names the file."""
    try:
        yield
    except kinds as error:
        raise ValueError(
            f"{path} is not a readable {path.suffix} file of numbers: {error}"
        ) from error


def label(columns: Sequence[str], i: int) -> str:
    """Returns how a message names a column."""
    return repr(columns[i]) if columns else str(i + 1)


def _rows_of(reader: Any) -> Iterator[list[str]]:
    """Yields the rows that are not blank lines."""
    return (row for row in reader if len(row) > 1 or "".join(row).strip())


def _delimiter(line: str) -> str:
    """Returns the delimiter that cuts a line into the most cells."""
    return max(
        ",;\t", key=lambda sign: len(next(csv.reader([line], delimiter=sign), ""))
    )


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True
