"""TensorFlow's own log, kept off the terminal."""

import contextlib
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator

__all__ = ["silence_tensorflow"]

_LEVEL = "TF_CPP_MIN_LOG_LEVEL"
_STDERR = 2  # the file descriptor


@contextlib.contextmanager
def silence_tensorflow() -> Iterator[None]:
    """Silences TensorFlow while it is imported in the block, and from then on.

    Nothing is silenced where TF_CPP_MIN_LOG_LEVEL is set: the user has chosen. That
    variable alone is not enough, as TensorFlow writes some lines during its import,
    before it reads the variable. They come from C++ and pass `sys.stderr` by, so the
    file descriptor is redirected. If the block raises, what was written is shown.
    """
    if _LEVEL in os.environ or sys.stderr is None:
        yield
        return
    os.environ[_LEVEL] = "3"
    sys.stderr.flush()
    with tempfile.TemporaryFile() as log, os.fdopen(os.dup(_STDERR), "wb") as stderr:
        os.dup2(log.fileno(), _STDERR)
        try:
            yield
        except Exception:
            log.seek(0)
            shutil.copyfileobj(log, stderr)
            raise
        finally:
            os.dup2(stderr.fileno(), _STDERR)
