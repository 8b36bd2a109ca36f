"""What a saved flow consists of, and the checks before it is written or read."""

import contextlib
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import keras
import numpy as np

from tfp_flows._core import compat
from tfp_flows._core.files import beside
from tfp_flows._core.serialization import Decoder, Encoder

if TYPE_CHECKING:
    from tfp_flows.flow.flow import Flow

__all__ = [
    "check_archive",
    "decoded",
    "encoded",
    "save",
]


def encoded(flow: "Flow", stage_names: Sequence[str]) -> dict[str, Any]:
    """Returns a flow's structure as plain data; see `Flow.get_config`."""
    return {
        "name": flow.name,
        "dtype": flow.dtype,
        "event_size": flow.event_size,
        "context_size": flow.context_size,
        "trainable": flow.trainable,
        "stage_names": list(stage_names),
        "structure": Encoder().encode([flow.base, list(flow.bijectors)], "the flow"),
    }


def decoded(
    flow_class: type["Flow"],
    config: dict[str, Any],
    custom_objects: dict[str, Any] | None,
) -> "Flow":
    """Returns the flow that a configuration describes; see `Flow.from_config`.

    Args:
      flow_class: `Flow` or a subclass.
      config: from `encoded`.
      custom_objects: classes by name, as for `keras.models.load_model`.
    """
    # An empty scope would hide the one that `load_model` has opened.
    scope = keras.saving.custom_object_scope
    with scope(custom_objects) if custom_objects else contextlib.nullcontext():
        try:
            return _decoded(flow_class, config)
        except ValueError:
            raise
        except Exception as error:  # a wrong entry leads to errors of any kind
            reason = f"{type(error).__name__}: {error}".partition("\n")[0][:300]
            raise ValueError(f"Not a saved flow: {reason}") from error


def _decoded(flow_class: type["Flow"], config: dict[str, Any]) -> "Flow":
    base, bijectors = Decoder().decode(config["structure"])
    flow = flow_class(
        bijectors,
        base=base,
        event_size=config["event_size"],
        context_size=config["context_size"],
        dtype=config["dtype"],
        name=config["name"],
    )
    names = tuple(map(str, config["stage_names"]))
    if len(names) != len(flow._stage_names):
        raise ValueError(f"Not a saved flow: {len(names)} names of its stages.")
    flow._stage_names = names
    if not config["trainable"]:
        flow.trainable = False
    return flow


def save(
    flow: "Flow",
    path: Path,
    keras_save: Callable[..., None],
    overwrite: bool,
    **options: Any,
) -> None:
    """Writes a `.keras` file, whole or not at all; see `Flow.save`.

    Args:
      flow: what is saved.
      path: of the file.
      keras_save: `save` of `keras.Model`, bound to the flow.
      overwrite: whether to replace a file that is there.
      **options: as for `keras.Model.save`.
    """
    if path.exists() and not overwrite:
        raise FileExistsError(f"{path} exists, and `overwrite` is False.")
    if path.suffix != ".keras":
        raise ValueError(f"`filepath` must end in .keras. Received: {str(path)!r}.")
    for weight in flow.weights:
        if np.isnan(weight.numpy()).any():
            raise ValueError(
                f"A flow with weights that are NaN cannot be saved: {weight.path}."
            )
    flow.get_config()  # raises for what cannot be saved, before a file is touched
    if flow.compiled and flow.trainable_variables:
        # A flow is loaded with an optimizer that is ready to fit.
        flow.optimizer.build(flow.trainable_variables)
    with beside(path) as temporary:
        keras_save(temporary, **options)


def check_archive(store: Any) -> None:
    """Raises where a part of a `.keras` file is not what its checksum says.

    Keras reads weights in pieces where it cannot read them as a whole, and from Python
    3.12 on no checksums are verified then.

    Args:
      store: from which Keras loads weights.
    """
    archive = compat.archive_of(store)
    if archive is not None and archive.filename:
        with zipfile.ZipFile(archive.filename) as file:
            if part := file.testzip():
                raise ValueError(f"The file is damaged: {part} fails its checksum.")
