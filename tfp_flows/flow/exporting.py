"""SavedModels of flows, which run where neither tfp_flows nor TFP is installed."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._core.files import beside

__all__ = ["export_flow"]


def export_flow(flow: keras.Model, path: Path, **kwargs: Any) -> None:
    """Writes a SavedModel; see `Flow.export`."""
    if path.exists() and not _holds_nothing_but_a_saved_model(path):
        raise FileExistsError(
            f"{path} holds other things than a SavedModel, so it is not replaced. "
            "Remedy: name a new folder."
        )
    with beside(path) as temporary:
        archive = keras.export.ExportArchive()
        # Tracking the model itself would write TFP's objects as well.
        weights = tf.Module()
        weights.all = [variable.value for variable in flow.variables]
        archive.track(weights)
        for name, (function, signature) in _endpoints(flow).items():
            archive.add_endpoint(name, function, signature)
        archive.write_out(str(temporary), **{"verbose": False, **kwargs})


def _endpoints(flow: keras.Model) -> dict[str, tuple[Callable, list[tf.TensorSpec]]]:
    x = tf.TensorSpec([None, flow.event_size], flow.dtype, name="x")
    n = tf.TensorSpec([], tf.int32, name="n")
    if not flow.context_size:
        chain = flow.distribution.bijector
        return {
            "log_prob": (flow.distribution.log_prob, [x]),
            "sample": (lambda n: chain.forward(flow.base.sample(n)), [n]),
        }
    context = tf.TensorSpec([None, flow.context_size], flow.dtype, name="context")

    def sample(n: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        return flow.given(context).sample(n)

    return {
        "log_prob": (lambda x, context: flow.given(context).log_prob(x), [x, context]),
        "sample": (sample, [n, context]),
    }


def _holds_nothing_but_a_saved_model(path: Path) -> bool:
    parts = {"assets", "fingerprint.pb", "saved_model.pb", "variables"}
    return path.is_dir() and {file.name for file in path.iterdir()} <= parts
