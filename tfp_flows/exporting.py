"""SavedModels of flows, which run where neither tfp_flows nor TFP is installed."""

from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._files import beside

__all__ = ["export_flow"]


def export_flow(flow: keras.Model, path: Path, **kwargs: Any) -> None:
    """Writes a SavedModel; see `Flow.export`."""
    if path.exists() and not _holds_nothing_but_a_saved_model(path):
        raise FileExistsError(
            f"{path} holds other things than a SavedModel, so it is not replaced. "
            "Remedy: name a new folder."
        )
    chain = flow.distribution.bijector
    with beside(path) as temporary:
        archive = keras.export.ExportArchive()
        weights = tf.Module()  # the model itself would bring TFP's objects along
        weights.all = [variable.value for variable in flow.variables]
        archive.track(weights)
        archive.add_endpoint(
            "log_prob",
            flow.distribution.log_prob,
            [tf.TensorSpec([None, flow.event_size], flow.dtype, name="x")],
        )
        archive.add_endpoint(
            "sample",
            lambda n: chain.forward(flow.base.sample(n)),
            [tf.TensorSpec([], tf.int32, name="n")],
        )
        archive.write_out(str(temporary), **{"verbose": False, **kwargs})


def _holds_nothing_but_a_saved_model(path: Path) -> bool:
    parts = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}
    return path.is_dir() and {file.name for file in path.iterdir()} <= parts
