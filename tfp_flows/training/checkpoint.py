"""The state of a fit in one file, from which an interrupted fit goes on."""

import io
import json
import os
import shutil
import sys
import time
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core.files import CHECKPOINT, STAGING, beside
from tfp_flows.data.row_order import RowOrder
from tfp_flows.training.workers import Workers

__all__ = ["Checkpoint"]

_BEST = "best.keras"

# Writing may take this share of the time of a fit.
_SHARE = 0.05

# Names in the file: what is no array, as JSON, and before the arrays of callbacks. They
# are those of the first version, whose files are read as well.
_RECORD, _OTHERS = "told", "callbacks"

# Attributes of callbacks that are not written; the guard's last good weights are those
# of the model.
_NOT_KEPT = ("params", "_params", "_model", "_good")


class Checkpoint(keras.callbacks.Callback):
    """Writes the state of a fit after its epochs, and starts from a file that is there.

    The state consists of the weights, the optimizer with its schedule, the random
    generators of layers, the seed of the row order, the history, and those attributes
    of every other callback that are plain data and have changed since training began.
    Each file replaces the one before in a single step. Of several workers only the
    chief reads and writes it, and sends the others its content.

    Args:
      folder: where `checkpoint.npz` is, or will be.
      order: the order of the rows, or None.
      others: the callbacks whose state is kept.
      identity: numbers that differ for other points, or None; a file of a fit to other
        points is refused.
      workers: the processes that train together.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        order: RowOrder | None,
        others: Sequence[keras.callbacks.Callback],
        identity: list[int] | None,
        workers: Workers,
    ) -> None:
        super().__init__()
        self.path = Path(folder) / CHECKPOINT
        self._order, self._others = order, list(others)
        self._data, self._workers = identity, workers
        self._cannot_write = False
        self._found: tuple[dict[str, np.ndarray], dict[str, Any]] | None = None

    def read(self) -> int:
        """Reads the file, and returns the epoch to go on with; 0 where there is none.

        The fit starts there, and the state is restored once Keras has begun it.

        Raises:
          ValueError: the file is damaged.
          OSError: it cannot be read.
        """
        content = b""
        if self._workers.is_chief:
            # Temporary files of a fit that was killed.
            for left in self.path.parent.glob(f"{STAGING}*"):
                shutil.rmtree(left, ignore_errors=True)
            if self.path.exists():
                # An empty file is damaged, and not the same as none.
                content = self.path.read_bytes() or b"\0"
        content = self._workers.from_chief(content)
        if not content:
            return 0
        self._found = _read(self.path, content)
        record = self._found[1]
        # A fit that has stopped early has no epochs left.
        return sys.maxsize if record["stopped"] else record["epoch"]

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Restores the state that was read, after the other callbacks have begun.

        Where there was none, the first state is written: a folder that cannot be
        written fails now, and not after an epoch.
        """
        self._epoch = self._saved = 0
        self._past: dict[str, Any] | None = None
        self._fresh = [_plain(callback) for callback in self._others]
        self._next = -np.inf if self._workers.is_chief else np.inf
        if self._found is not None:
            self._restore(*self._found)
            self._found = None
        elif self._workers.is_chief:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            with beside(self.path) as temporary:
                self._write(temporary)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Puts the past epochs into Keras's history, which has begun a new one."""
        if self._past is not None:
            self.model.history.history.update(self._past["history"])
            self.model.history.epoch.extend(range(self._past["epoch"]))
            self._past = None

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Writes the state, unless that would take more than a little of the time."""
        self._epoch = epoch + 1
        if time.perf_counter() >= self._next:
            self._save(logs)

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Writes the last state: a fit that has ended is not repeated."""
        self.on_epoch_begin(self._epoch)  # no epoch may have begun
        if self._workers.is_chief:
            self._save()

    def leave_best(self) -> str:
        """Saves the model as it is, and returns a message for the user."""
        path = self.path.parent / _BEST
        self.model.save(path)
        return (
            f"Interrupted. The best weights so far: {path}. The same call goes on from "
            f"epoch {self._saved + 1}."
        )

    # The file

    def _variables(self) -> dict[str, tf.Variable]:
        parts = {"model": self.model, "optimizer": self.model.optimizer}
        return {
            f"{part}/{i}": variable.value
            for part, holder in parts.items()
            for i, variable in enumerate(holder.variables)
        }

    def _save(self, logs: Mapping[str, Any] | None = None) -> None:
        start = time.perf_counter()
        try:
            with beside(self.path) as temporary:
                self._write(temporary, logs)
        except OSError as error:
            if not self._cannot_write:
                warnings.warn(
                    f"The checkpoint cannot be written ({error}); training goes on. "
                    f"{self.path} is that of epoch {self._saved}.",
                    RuntimeWarning,
                    stacklevel=2,
                )
            self._cannot_write = True
        else:
            self._saved = self._epoch
        now = time.perf_counter()
        self._next = now + (now - start) / _SHARE

    def _write(self, path: Path, logs: Mapping[str, Any] | None = None) -> None:
        arrays = {name: v.numpy() for name, v in self._variables().items()}
        changed = []
        pairs = zip(self._others, self._fresh, strict=True)
        for i, (callback, fresh) in enumerate(pairs):
            now = _plain(callback)
            names = [n for n in now if not _same(now[n], fresh.get(n))]
            changed.append({"class": type(callback).__name__, "names": names})
            for name in names:
                _flatten(now[name], f"{_OTHERS}/{i}/{name}", arrays)
        history = {k: list(v) for k, v in self.model.history.history.items()}
        for name, value in (logs or {}).items():  # Keras adds them after this call
            history.setdefault(name, []).append(value)
        record = {
            "epoch": self._epoch,
            "stopped": bool(self.model.stop_training),
            "seed": self._order and self._order.seed,
            "data": self._data,
            "history": {k: [float(v) for v in vs] for k, vs in history.items()},
            "callbacks": changed,
        }
        arrays[_RECORD] = np.frombuffer(json.dumps(record).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez(file, **arrays)

    def _restore(self, arrays: dict[str, np.ndarray], record: dict[str, Any]) -> None:
        variables = self._variables()
        mine = {name: v.shape for name, v in variables.items()}
        theirs = {n: v.shape for n, v in arrays.items() if not n.startswith(_OTHERS)}
        if mine != theirs or record["data"] != self._data:
            what = "data" if mine == theirs else "model or optimizer"
            raise ValueError(
                f"{self.path} is of a fit with another {what}. Remedy: another "
                "`checkpoint_dir`, or delete the file to start anew."
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        if self._order is not None:
            self._order.seed = record["seed"]
        self._past = record
        for i, (callback, state) in enumerate(
            zip(self._others, record["callbacks"], strict=False)
        ):
            if state["class"] == type(callback).__name__:
                for name in state["names"]:
                    _put(callback, name, arrays, f"{_OTHERS}/{i}/{name}")
        self._epoch = self._saved = record["epoch"]


def _read(path: Path, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        # NumPy would try to read anything else as another kind of file.
        if not zipfile.is_zipfile(io.BytesIO(content)):
            raise zipfile.BadZipFile("it is cut short, or no checkpoint")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return arrays, json.loads(arrays.pop(_RECORD).tobytes())
    except Exception as error:  # a damaged zip raises errors of many kinds
        raise ValueError(
            f"{path} is not a whole checkpoint ({type(error).__name__}: {error}). "
            "Remedy: delete it to start anew."
        ) from error


# Attributes of callbacks that are plain data


def _plain(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Returns copies of the attributes of a callback that are plain data."""
    found: dict[str, Any] = {}
    for name, value in vars(callback).items():
        if name in _NOT_KEPT:
            continue
        if isinstance(value, (list, tuple)):
            if value and all(map(_is_array, value)):
                found[name] = [_array(v) for v in value]
        elif isinstance(value, (bool, int, float, np.number)) or _is_array(value):
            found[name] = _array(value)
    return found


def _is_array(value: Any) -> bool:
    return isinstance(value, (np.ndarray, tf.Variable)) and value.dtype != object


def _array(value: Any) -> np.ndarray:
    return np.array(value.numpy() if isinstance(value, tf.Variable) else value)


def _same(one: Any, other: Any) -> bool:
    if other is None or isinstance(one, list) != isinstance(other, list):
        return False
    if isinstance(one, list):
        return len(one) == len(other) and all(map(np.array_equal, one, other))
    return np.array_equal(one, other, equal_nan=True)


def _flatten(value: Any, name: str, arrays: dict[str, np.ndarray]) -> None:
    if isinstance(value, list):
        arrays.update({f"{name}/{i}": part for i, part in enumerate(value)})
    else:
        arrays[name] = value


def _put(
    callback: keras.callbacks.Callback,
    name: str,
    arrays: Mapping[str, np.ndarray],
    key: str,
) -> None:
    """Sets an attribute of a callback; the value of a variable is assigned to it."""
    held = getattr(callback, name, None)
    if key in arrays:
        value = arrays[key]
        if isinstance(held, tf.Variable):
            held.assign(value)
        else:
            setattr(callback, name, value if value.ndim else value.item())
        return
    parts: list[np.ndarray] = []
    while f"{key}/{len(parts)}" in arrays:
        parts.append(arrays[f"{key}/{len(parts)}"])
    if held and isinstance(held[0], tf.Variable):
        for variable, value in zip(held, parts, strict=True):
            variable.assign(value)
    else:
        setattr(callback, name, parts)
