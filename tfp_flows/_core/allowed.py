"""What a file may name: registered classes and functions, and what Keras ships."""

from typing import Any

import keras

__all__ = ["refuse_foreign_keras", "registered"]

_BUNDLED_BY_KERAS = ("keras", "builtins")

# Layers of Keras's own whose configuration names code or files to run.
_RUNS_FOREIGN_CODE = ("TFSMLayer", "TorchModuleWrapper", "JaxLayer", "FlaxLayer")


def registered(name: Any, what: str) -> Any:
    """Returns what the caller registered or passed in under a name.

    Args:
      name: as Keras's `get_registered_name` gives it, or without its package.
      what: it should be, for the message: "class" or "function".

    Raises:
      ValueError: nothing is registered under this name.
    """
    found = keras.saving.get_registered_object(str(name))
    if found is None:
        bare = str(name).rpartition(">")[2]
        found = keras.saving.get_registered_object(bare)
    if found is None:
        raise ValueError(
            f"The file names the {what} {name!r}, which is not part of tfp_flows, TFP "
            "or Keras, and is refused. Remedy: if you trust it, import the module that "
            "registers it, or pass it to `keras.models.load_model(path, "
            f"custom_objects={{{str(name)!r}: ...}})`."
        )
    return found


def refuse_foreign_keras(config: Any) -> None:
    """Refuses, by name, everything in a Keras config that Keras does not ship.

    Keras refuses most of this itself. It is checked here first, so that the answer does
    not depend on Keras's version or on its `safe_mode`.

    Raises:
      ValueError: the config names such a layer.
    """
    if isinstance(config, list):
        for item in config:
            refuse_foreign_keras(item)
    elif isinstance(config, dict):
        name, module = config.get("class_name"), config.get("module")
        if isinstance(name, str) and "config" in config:
            if name in _RUNS_FOREIGN_CODE or name == "__lambda__":
                raise ValueError(
                    f"The file names the layer {name!r}, which runs code that does not "
                    "come with Keras, and is refused."
                )
            root = str(module).split(".")[0]
            if module is not None and root not in _BUNDLED_BY_KERAS:
                registered(config.get("registered_name") or name, "class")
        for item in config.values():
            refuse_foreign_keras(item)
