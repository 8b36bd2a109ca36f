"""A fit that survives: its whole state in one file, from which it goes on."""

import io
import json
import shutil
import time
import warnings
import zipfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import compat
from tfp_flows._core.files import CHECKPOINT, beside
from tfp_flows.data.batches import Order
from tfp_flows.training.workers import Workers

__all__ = ["Checkpoint"]

_BEST = "best.keras"
_OTHERS = "callbacks"  # arrays of theirs
_SHARE = 0.05  # of the time may go into writing
_NOT_KEPT = ("params", "_params", "_model", "_good")  # the guard's: the weights again


class Checkpoint(keras.callbacks.Callback):
    """Writes the state of a fit after its epochs, and starts from what it finds.

    The state is that of the weights, the optimizer and its schedule, the random
    generators of layers, the seed of the rows' order, the history, and of every other
    callback those attributes that are plain data and have changed since training began.
    The file takes the place of the one before in one step. Of several workers, the
    chief alone reads and writes it, and tells the others.

    Args:
      folder: where `checkpoint.npz` is, or will be.
      order: the order of the rows, or None.
      others: the callbacks that train along.
      mark: numbers that tell the points that are fitted from others, or None: a file
        of other points is refused.
      workers: that train together.
    """

    def __init__(
        self,
        folder: Path,
        order: Order | None,
        others: Sequence[keras.callbacks.Callback],
        mark: list[int] | None,
        workers: Workers,
    ) -> None:
        super().__init__()
        self.path = Path(folder) / CHECKPOINT
        self._order, self._others = order, list(others)
        self._data, self._workers = mark, workers
        self._cannot_write = False

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Goes on from the file, if there is one."""
        self._epoch = self._saved = 0
        self._past: dict[str, Any] | None = None
        self._fresh = [_plain(callback) for callback in self._others]
        self._next = -np.inf if self._workers.is_chief else np.inf
        content = b""
        if self._workers.is_chief:
            for left in self.path.parent.glob(".tfp_flows-*"):  # by one that was killed
                shutil.rmtree(left, ignore_errors=True)
            if self.path.exists():
                content = self.path.read_bytes() or b"\0"  # of no length, but there
            else:
                self.path.parent.mkdir(parents=True, exist_ok=True)
                with beside(self.path) as temporary:  # fails now, not after an epoch
                    self._write(temporary)
        content = self._workers.from_chief(content)
        if content:
            self._load(content)

    def on_epoch_begin(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Gives Keras's history its past, once it has begun a new one."""
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
        self.on_epoch_begin(self._epoch)  # where there was none
        if self._workers.is_chief:
            self._save()

    def leave_best(self) -> str:
        """Saves the model as it is, and returns what to tell who has interrupted it."""
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
        for name, value in (logs or {}).items():  # Keras adds them after this
            history.setdefault(name, []).append(value)
        told = {
            "epoch": self._epoch,
            "stopped": bool(self.model.stop_training),
            "seed": self._order and self._order.seed,
            "data": self._data,
            "history": {k: [float(v) for v in vs] for k, vs in history.items()},
            "callbacks": changed,
        }
        arrays["told"] = np.frombuffer(json.dumps(told).encode(), np.uint8)
        with path.open("wb") as file:
            np.savez(file, **arrays)

    def _load(self, content: bytes) -> None:
        arrays, told = _read(self.path, content)
        variables = self._variables()
        mine = {name: v.shape for name, v in variables.items()}
        theirs = {n: v.shape for n, v in arrays.items() if not n.startswith(_OTHERS)}
        if mine != theirs or told["data"] != self._data:
            what = "data" if mine == theirs else "model or optimizer"
            raise ValueError(
                f"{self.path} is of a fit with another {what}. Remedy: another "
                "`checkpoint_dir`, or delete the file to start anew."
            )
        for name, variable in variables.items():
            variable.assign(arrays[name])
        if self._order is not None:
            self._order.seed = told["seed"]
        self._past = told
        for i, (callback, state) in enumerate(
            zip(self._others, told["callbacks"], strict=False)
        ):
            if state["class"] == type(callback).__name__:
                for name in state["names"]:
                    _put(callback, name, arrays, f"{_OTHERS}/{i}/{name}")
        self._epoch = self._saved = told["epoch"]
        # Of a fit that has stopped early, no epochs are left.
        most = np.iinfo(np.int32).max
        compat.start_from_epoch(self.model, most if told["stopped"] else told["epoch"])


def _read(path: Path, content: bytes) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    try:
        if not zipfile.is_zipfile(io.BytesIO(content)):  # NumPy would try others
            raise zipfile.BadZipFile("it is cut short, or no checkpoint")
        with np.load(io.BytesIO(content), allow_pickle=False) as file:
            arrays = dict(file)
        return arrays, json.loads(arrays.pop("told").tobytes())
    except Exception as error:  # what a damaged zip raises is of many kinds
        raise ValueError(
            f"{path} is not a whole checkpoint ({type(error).__name__}: {error}). "
            "Remedy: delete it to start anew."
        ) from error


# Plain data of callbacks


def _plain(callback: keras.callbacks.Callback) -> dict[str, Any]:
    """Returns the attributes that are plain data, copied."""
    found = {}
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
    """Gives a callback an attribute back; a variable keeps being one."""
    held = getattr(callback, name, None)
    if key in arrays:
        value = arrays[key]
        if isinstance(held, tf.Variable):
            held.assign(value)
        else:
            setattr(callback, name, value if value.ndim else value.item())
        return
    parts = []
    while f"{key}/{len(parts)}" in arrays:
        parts.append(arrays[f"{key}/{len(parts)}"])
    if held and isinstance(held[0], tf.Variable):
        for variable, value in zip(held, parts, strict=True):
            variable.assign(value)
    else:
        setattr(callback, name, parts)
