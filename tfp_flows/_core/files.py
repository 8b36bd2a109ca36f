"""Files that are written whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CHECKPOINT", "beside"]

CHECKPOINT = "checkpoint.npz"  # the state of a fit, in the folder for it


@contextlib.contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path, which takes the place of `path` once all went well.

    The temporary file or folder lies in the same folder, so that the last step is one
    rename. After an error `path` is as it was.
    """
    path = Path(path)
    parent = path.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=".tfp_flows-", dir=parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        if path.is_dir():  # a folder cannot be renamed onto one that holds something
            shutil.move(path, Path(folder) / "replaced")
        os.replace(temporary, path)
