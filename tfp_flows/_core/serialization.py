"""Bijectors and distributions as plain data, and back, without running any code.

`Encoder` turns a structure of TFP objects into what JSON can hold. `Decoder` reads
it back: it looks classes up by name among tfp_flows, TFP and what the caller
registered with Keras or passed as `custom_objects`, and refuses every other name.
Objects met twice (a shared bijector, variable or network) are written once and
referred to after that, so sharing survives.

A variable is written as its shape and dtype; its value travels with the weights.
"""

import inspect
import math
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows._core.allowed import refuse_foreign_keras, registered
from tfp_flows._core.described import Described

__all__ = ["Decoder", "Encoder", "copy_objects", "decode_arguments", "encode_arguments"]

tfb = tfp.bijectors
tfd = tfp.distributions

_TFP_NAMESPACES = {"tfb": (tfb, tfb.Bijector), "tfd": (tfd, tfd.Distribution)}
_TAG = "class_name"

# What a file may ask for, far beyond any flow: a short text must not fill the memory,
# nor, by naming over and over what it has named, take for ever.
_MOST_NUMBERS, _MOST_OBJECTS, _MOST_NESTED = 2**30, 10**5, 100


class Encoder:
    """Writes structures of bijectors, distributions, variables and arrays as data.

    Args:
      in_memory: True for a copy within this process, which may keep what a file
        cannot hold (functions, classes that nobody registered) by reference.
    """

    def __init__(self, *, in_memory: bool = False) -> None:
        self.kept: list[Any] | None = [] if in_memory else None
        self._seen: dict[int, int] = {}
        self._alive: list[Any] = []  # ids stay unique while their objects live

    def encode(self, value: Any, where: str = "value") -> Any:
        """Returns `value` as JSON-able data.

        Args:
          value: anything that a bijector's or distribution's constructor takes.
          where: what `value` is, for messages.

        Raises:
          TypeError: it holds something that cannot be written as data.
        """
        if value is None or isinstance(value, (bool, int, float, str)):
            if not isinstance(value, np.generic):
                return value
        if isinstance(value, keras.Variable):
            value = value.value
        for kinds, write in self._writers():
            if isinstance(value, kinds):
                return write(value, where)
        return self._keep(value, where)

    def _writers(self) -> tuple[tuple[Any, Callable[[Any, str], Any]], ...]:
        return (
            ((list, types.MappingProxyType), self._list),
            (tuple, self._tuple),
            (dict, self._dict),
            (tf.Variable, self._variable),
            (tfp.util.DeferredTensor, self._deferred),
            ((tfb.Bijector, tfd.Distribution, Described), self._tfp_object),
            (keras.Layer, self._layer),
            (np.ndarray, self._array),
            # TFP takes bijectors for equal by numbers, not by arrays of no axis.
            (np.generic, lambda v, where: self._array(v, where, tag="number")),
            (tf.Tensor, self._tensor),
            (tf.DType, lambda v, _: {_TAG: "dtype", "name": v.name}),
            (tf.TensorShape, lambda v, _: {_TAG: "shape", "dims": v.as_list()}),
        )

    def _list(self, value: Any, where: str) -> list[Any]:
        return [self.encode(item, f"{where}[{i}]") for i, item in enumerate(value)]

    def _tuple(self, value: tuple, where: str) -> dict[str, Any]:
        return {_TAG: "tuple", "items": self._list(list(value), where)}

    def _dict(self, value: dict, where: str) -> dict[str, Any]:
        items = [[k, self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
        return {_TAG: "dict", "items": items}

    def _array(self, value: Any, where: str, tag: str = "array") -> dict[str, Any]:
        value = np.asarray(value)
        if value.dtype.kind not in "fiub":
            raise TypeError(
                f"{where} has dtype {value.dtype}, which cannot be saved; expected "
                "real or whole numbers or booleans."
            )
        return {
            _TAG: tag,
            "dtype": value.dtype.name,
            "shape": list(value.shape),
            "values": value.ravel().tolist(),
        }

    def _tensor(self, value: tf.Tensor, where: str) -> dict[str, Any]:
        if not hasattr(value, "numpy"):
            raise TypeError(
                f"{where} is a symbolic tensor, which has no value to save."
            )
        return self._array(value.numpy(), where, tag="tensor")

    def _once(self, value: Any, write: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        """Writes an object at its first appearance, and a reference afterwards."""
        if id(value) in self._seen:
            return {_TAG: "same", "id": self._seen[id(value)]}
        number = self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        return {**write(), "id": number}

    def _variable(self, value: tf.Variable, where: str) -> dict[str, Any]:
        return self._once(
            value,
            lambda: {
                _TAG: "variable",
                "dtype": value.dtype.name,
                "shape": value.shape.as_list(),
                "trainable": value.trainable,
                "name": value.name.split(":")[0],
            },
        )

    def _deferred(self, value: tfp.util.DeferredTensor, where: str) -> dict[str, Any]:
        transform = value.transform_fn
        owner = getattr(transform, "__self__", None)
        if isinstance(owner, tfb.Bijector):  # TFP hands out its `forward`
            transform = owner
        return self._once(
            value,
            lambda: {
                _TAG: "deferred",
                "input": self.encode(value.pretransformed_input, f"{where}.input"),
                "transform": self.encode(transform, f"{where}.transform"),
                "dtype": value.dtype.name,
            },
        )

    def _tfp_object(self, value: Any, where: str) -> dict[str, Any]:
        def write() -> dict[str, Any]:
            name = type(value).__name__.lstrip("_")
            arguments = _constructor_arguments(value)
            return {
                _TAG: self._class_name(type(value)),
                "config": {
                    key: self.encode(argument, f"`{key}` of {name}")
                    for key, argument in arguments.items()
                },
            }

        return self._once(value, write)

    def _class_name(self, cls: type) -> Any:
        for space, (module, kind) in _TFP_NAMESPACES.items():
            public = cls.__name__.lstrip("_")
            is_public = issubclass(cls, kind) and hasattr(module, public)
            if is_public and _is_from(cls, "tensorflow_probability"):
                return f"{space}.{public}"
        name = keras.saving.get_registered_name(cls)
        if (
            self.kept is not None
            and keras.saving.get_registered_object(name) is not cls
        ):
            return self._keep(cls, cls.__name__)
        return name

    def _layer(self, value: keras.Layer, where: str) -> dict[str, Any]:
        def write() -> dict[str, Any]:
            if self.kept is not None:
                return {_TAG: "layer_copy", "of": self._keep(value, where)}
            config = keras.saving.serialize_keras_object(value)
            return {_TAG: "keras", "config": config}

        return self._once(value, write)

    def _keep(self, value: Any, where: str) -> dict[str, Any]:
        if self.kept is not None:
            self.kept.append(value)
            return {_TAG: "kept", "index": len(self.kept) - 1}
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
            name = keras.saving.get_registered_name(value)
            if keras.saving.get_registered_object(name) is value:
                return {_TAG: "function", "name": name}
            raise TypeError(
                f"{where} is the function {value.__name__!r}, and functions are code, "
                "which a saved flow does not hold. Remedy: write it as a subclass of "
                "tfb.Bijector or keras.Layer, or register it with "
                "`@keras.saving.register_keras_serializable()`."
            )
        raise TypeError(
            f"{where} is a {type(value).__module__}.{type(value).__qualname__}, which "
            "cannot be saved; expected numbers, arrays, variables, bijectors, "
            "distributions or Keras layers."
        )


def _constructor_arguments(value: Any) -> dict[str, Any]:
    """Returns what `value` was constructed with, without defaults."""
    cls = type(value)
    # That of our own classes is encoded already, also where a user's inherits it.
    get_config = getattr(cls, "get_config", None)
    if get_config and not _is_from(get_config, "tensorflow_probability", "tfp_flows"):
        return value.get_config()
    signature = inspect.signature(cls.__init__).parameters
    described = isinstance(value, Described)
    given = value.get_config() if described else dict(value.parameters or {})
    missing = [
        name
        for name, parameter in list(signature.items())[1:]
        if parameter.default is parameter.empty
        and parameter.kind in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY)
        and name not in given
    ]
    if missing:
        raise TypeError(
            f"{cls.__name__} does not tell its constructor's arguments {missing}, so "
            "it cannot be copied or saved. Remedy: pass `parameters=dict(locals())` "
            "to `super().__init__`, or define `get_config`."
        )
    return {
        name: argument
        for name, argument in given.items()
        if name in signature and not _is_default(argument, signature[name].default)
    }


def _is_from(value: Any, *packages: str) -> bool:
    return value.__module__.split(".")[0] in packages


def _is_default(argument: Any, default: Any) -> bool:
    plain = (bool, int, float, str, type(None))
    return argument is default or (
        type(argument) is type(default)
        and isinstance(argument, plain)
        and argument == default
    )


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
        tag, before = data.get(_TAG), self._count
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

    def _read_number(self, data: dict[str, Any]) -> np.generic:
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
        cls = self._class(data[_TAG])
        config = {key: self.decode(value) for key, value in data["config"].items()}
        return cls(**config)

    def _class(self, name: Any) -> type:
        if isinstance(name, dict):
            return self.decode(name)
        space, _, public = str(name).partition(".")
        if space in _TFP_NAMESPACES and _is_word(public):
            module, kind = _TFP_NAMESPACES[space]
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


def copy_objects(value: Any) -> Any:
    """Returns an independent copy of a structure of bijectors and distributions.

    The structure and what is shared within it are kept; the copy's variables are
    new and hold zeros.
    """
    encoder = Encoder(in_memory=True)
    data = encoder.encode(value)
    return Decoder(encoder.kept).decode(data)


def encode_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """Returns constructor arguments as plain data, for `get_config`."""
    encoder = Encoder()
    return {key: encoder.encode(item, f"`{key}`") for key, item in arguments.items()}


def decode_arguments(config: dict[str, Any]) -> dict[str, Any]:
    """Returns the constructor arguments that `encode_arguments` wrote."""
    decoder = Decoder()
    return {key: decoder.decode(item) for key, item in config.items()}
