"""StagePictures: records of the stages during training, for a film of it."""

import dataclasses
import importlib.util
import io
import time
from pathlib import Path
from typing import Any

import keras
import numpy as np
import tensorflow as tf
from numpy.typing import ArrayLike

from tfp_flows._core import checks

__all__ = ["Record", "StagePictures"]

_SHARE = 0.05  # the share of the training time that recording may take


@dataclasses.dataclass(frozen=True)
class Record:
    """The stages of a flow at one time of its training.

    Attributes:
      epoch: the number of finished epochs.
      names: the names of the stages.
      samples: the samples of each stage, `(n, event_size)`. All records start from the
        same points of the base, unless the base itself is learned.
      loss: "val_loss" of the last epoch, or else "loss"; None before the first epoch.
    """

    epoch: int
    names: tuple[str, ...]
    samples: tuple[np.ndarray, ...]
    loss: float | None


class StagePictures(keras.callbacks.Callback):
    """Records the stages during `fit`, for `plotting.animate_training`.

    The first record is made before training, and the last one after it. Recording
    takes at most a twentieth of the training time; if epochs are short, some of them
    are not recorded.

    Args:
      every: the least number of epochs between two records.
      n: the number of points.
      seed: the seed of the points of the base.
      context: the context to record a conditional flow for, `(context_size,)`.
      log_dir: a folder for TensorBoard, which must be installed; it shows
        `plotting.plot_stages` of each record under "images". None writes nothing.

    Attributes:
      records: a list of `Record`.

    Raises:
      ValueError: `every` or `n` is not a whole number ≥ 1.
      ImportError: `log_dir` is given, and TensorBoard is not installed.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("two_moons").sample(500, seed=0)
      >>> flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
      >>> flow.compile("adam")
      >>> pictures = StagePictures(n=100)
      >>> history = flow.fit(x, epochs=2, verbose=0, callbacks=[pictures])
      >>> pictures.records[0].epoch, pictures.records[-1].epoch
      (0, 2)
      >>> film = tfpf.plotting.animate_training(pictures)
    """

    def __init__(
        self,
        *,
        every: int = 1,
        n: int = 1000,
        seed: int = 0,
        context: ArrayLike | None = None,
        log_dir: str | Path | None = None,
    ) -> None:
        super().__init__()
        self.every = checks.positive_int(every, "every")
        self.n = checks.positive_int(n, "n")
        self.seed = checks.as_seed(seed)
        self.context = context
        if log_dir is not None and importlib.util.find_spec("tensorboard") is None:
            raise ImportError("`log_dir` needs TensorBoard: pip install tensorboard.")
        self.log_dir = log_dir
        self.records: list[Record] = []

    def on_train_begin(self, logs: dict[str, Any] | None = None) -> None:
        """Discards old records and records the start."""
        self.records = []
        self._writer = None
        if self.log_dir is not None:
            self._writer = tf.summary.create_file_writer(str(self.log_dir))
        self._epoch, self._loss, self._spent = 0, None, 0.0
        self._record()
        self._begin = time.perf_counter()
        self._spent = self._last = 0.0  # the first record also traces functions

    def on_epoch_end(self, epoch: int, logs: dict[str, Any] | None = None) -> None:
        """Records the stages if it is time for a record."""
        logs = logs or {}
        self._epoch = epoch + 1
        self._loss = logs.get("val_loss", logs.get("loss"))
        if self._epoch - self.records[-1].epoch < self.every:
            return
        trained = time.perf_counter() - self._begin - self._spent
        # A record is expected to take as long as the last one.
        if self._spent + self._last <= _SHARE * trained:
            self._record()

    def on_train_end(self, logs: dict[str, Any] | None = None) -> None:
        """Records the end of training."""
        if self.records[-1].epoch < self._epoch:
            self._record()
        if self._writer is not None:
            self._writer.close()

    def _record(self) -> None:
        before = time.perf_counter()
        stages = self.model.stages(self.n, seed=self.seed, context=self.context)
        self.records.append(
            Record(
                epoch=self._epoch,
                names=tuple(stage.name for stage in stages),
                samples=tuple(np.asarray(stage.samples) for stage in stages),
                loss=None if self._loss is None else float(self._loss),
            )
        )
        if self._writer is not None:
            with self._writer.as_default():
                tf.summary.image("stages", self._image(), step=self._epoch)
            self._writer.flush()
        self._last = time.perf_counter() - before
        self._spent += self._last

    def _image(self) -> tf.Tensor:
        from tfp_flows import plotting  # loads matplotlib

        figure = plotting.plot_stages(
            self.model, context=self.context, n=self.n, seed=self.seed
        )
        file = io.BytesIO()
        figure.savefig(file, format="png")
        return tf.image.decode_png(file.getvalue(), channels=3)[tf.newaxis]
