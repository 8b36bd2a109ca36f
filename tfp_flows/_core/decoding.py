"""Decoder: what an `Encoder` wrote becomes objects again, without running any code."""

import inspect
import math
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows._core.allowed import refuse_foreign_keras, registered
from tfp_flows._core.described import Described
from tfp_flows._core.encoding import TAG, TFP_NAMESPACES

__all__ = ["Decoder"]

tfb = tfp.bijectors
tfd = tfp.distributions

# Limits of what a file may ask for, far beyond any flow. A short text must not fill the
# memory, nor take forever by referring again and again to what it has defined.
_MOST_NUMBERS, _MOST_OBJECTS, _MOST_NESTED = 2**30, 10**5, 100


class Decoder:
    """Reads what `Encoder` wrote.

    Args:
      kept: the encoder's `kept` objects, for a copy within one process.
    """

    def __init__(self, kept: list[Any] | None = None) -> None:
        self._kept = kept or []
        self._objects: dict[int, tuple[Any, int]] = {}
        self._count = self._depth = 0

    def decode(self, data: Any) -> Any:
        """Returns the object that `data` describes.

        Raises:
          ValueError: `data` names something that is neither ours, TFP's, Keras's
            nor passed in by the caller, or is not what an encoder writes.
        """
        if not isinstance(data, (dict, list)):
            return data
        self._depth += 1
        if self._depth > _MOST_NESTED:
            raise ValueError("Not a saved flow: it is nested too deeply.")
        if isinstance(data, list):
            value = [self.decode(item) for item in data]
        else:
            value = self._read(data)
        self._depth -= 1
        return value

    def _read(self, data: dict[str, Any]) -> Any:
        tag, before = data.get(TAG), self._count
        try:
            if tag == "same":
                value, count = self._objects[data["id"]]
                self._add(count)
                return value
            self._add(1)
            read = getattr(self, f"_read_{tag}", None) if _is_word(tag) else None
            value = read(data) if read else self._read_tfp_object(data)
            if "id" in data:
                self._objects[data["id"]] = (value, self._count - before)
        except (KeyError, IndexError) as error:
            raise ValueError(f"Not a saved flow: {tag!r} lacks {error}.") from error
        return value

    def _add(self, count: int) -> None:
        """Counts an object each time it is used, not only where it is written."""
        self._count += count
        if self._count > _MOST_OBJECTS:
            raise ValueError(
                f"Not a saved flow: it holds more than {_MOST_OBJECTS} objects."
            )

    def _read_tuple(self, data: dict[str, Any]) -> tuple:
        return tuple(self.decode(data["items"]))

    def _read_dict(self, data: dict[str, Any]) -> dict:
        return {key: self.decode(value) for key, value in data["items"]}

    def _read_array(self, data: dict[str, Any]) -> np.ndarray:
        values = np.array(data["values"], dtype=_dtype(data["dtype"]).as_numpy_dtype)
        return values.reshape(data["shape"])

    def _read_number(self, data: dict[str, Any]) -> Any:
        return self._read_array(data)[()]

    def _read_tensor(self, data: dict[str, Any]) -> tf.Tensor:
        return tf.constant(self._read_array(data))

    def _read_dtype(self, data: dict[str, Any]) -> tf.DType:
        return _dtype(data["name"])

    def _read_shape(self, data: dict[str, Any]) -> tf.TensorShape:
        return tf.TensorShape(data["dims"])

    def _read_variable(self, data: dict[str, Any]) -> tf.Variable:
        return tf.Variable(
            tf.zeros(_dims(data["shape"]), _dtype(data["dtype"])),
            trainable=bool(data["trainable"]),
            name=str(data["name"]),
        )

    def _read_deferred(self, data: dict[str, Any]) -> tfp.util.DeferredTensor:
        return tfp.util.DeferredTensor(
            self.decode(data["input"]),
            self.decode(data["transform"]),
            dtype=_dtype(data["dtype"]),
        )

    def _read_keras(self, data: dict[str, Any]) -> keras.Layer:
        refuse_foreign_keras(data["config"])
        return keras.saving.deserialize_keras_object(data["config"])

    def _read_layer_copy(self, data: dict[str, Any]) -> keras.Layer:
        layer = self.decode(data["of"])
        return type(layer).from_config(layer.get_config())

    def _read_function(self, data: dict[str, Any]) -> Any:
        return registered(data["name"], "function")

    def _read_kept(self, data: dict[str, Any]) -> Any:
        return self._kept[data["index"]]

    def _read_tfp_object(self, data: dict[str, Any]) -> Any:
        cls = self._class(data[TAG])
        config = {key: self.decode(value) for key, value in data["config"].items()}
        return cls(**config)

    def _class(self, name: Any) -> type:
        if isinstance(name, dict):
            return self.decode(name)
        space, _, public = str(name).partition(".")
        if space in TFP_NAMESPACES and _is_word(public):
            module, kind = TFP_NAMESPACES[space]
            cls = getattr(module, public, None)
            if not public.startswith("_") and inspect.isclass(cls):
                if issubclass(cls, kind):
                    return cls
        cls = registered(name, "class")
        kinds = (tfb.Bijector, tfd.Distribution, Described)
        if inspect.isclass(cls) and issubclass(cls, kinds):
            return cls
        raise ValueError(f"{name!r} in the file is not a bijector or distribution.")


def _dims(dims: Any) -> list[int]:
    dims = [checks.size(dim, "shape") for dim in dims]
    if math.prod(dims) > _MOST_NUMBERS:
        raise ValueError(f"Not a saved flow: a variable of shape {dims} is too large.")
    return dims


def _is_word(name: Any) -> bool:
    return isinstance(name, str) and name.isidentifier()


def _dtype(name: Any) -> tf.DType:
    try:
        return tf.as_dtype(name)
    except TypeError as error:
        raise ValueError(f"Not a saved flow: {name!r} is not a dtype.") from error
