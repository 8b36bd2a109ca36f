"""Files that are written whole or not at all."""

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["CHECKPOINT", "STAGING", "beside"]

# The name of the file with the state of a fit, in its folder.
CHECKPOINT = "checkpoint.npz"

# How the names of folders begin in which files wait until they are whole. One is left
# behind where a process is killed.
STAGING = ".tfp_flows-"


@contextlib.contextmanager
def beside(path: str | os.PathLike) -> Iterator[Path]:
    """Yields a temporary path, to be written to instead of `path`.

    If no error occurs, what was written replaces `path` in one rename, for which both
    must lie in the same folder. After an error `path` is as it was before.

    Args:
      path: of the file or folder; the folders that it lies in are made.
    """
    path = Path(path)
    parent = path.resolve().parent
    parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix=STAGING, dir=parent) as folder:
        temporary = Path(folder) / path.name
        yield temporary
        if path.is_dir():  # a folder cannot replace one that is not empty
            shutil.move(path, Path(folder) / "replaced")
        os.replace(temporary, path)
