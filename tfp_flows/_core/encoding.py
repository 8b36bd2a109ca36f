"""Encoder: bijectors and distributions as plain data."""

import inspect
import types
from collections.abc import Callable
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core.described import Described

__all__ = ["TAG", "TFP_NAMESPACES", "Encoder"]

tfb = tfp.bijectors
tfd = tfp.distributions

# The name of a class of TFP begins with that of its module here; the class itself must
# be a subclass of the one beside it.
TFP_NAMESPACES = {"tfb": (tfb, tfb.Bijector), "tfd": (tfd, tfd.Distribution)}
TAG = "class_name"  # the key of what an entry is, as in Keras's own files


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
            # TFP compares parameters that are numbers by value; 0-d arrays it does not.
            (np.generic, lambda v, where: self._array(v, where, tag="number")),
            (tf.Tensor, self._tensor),
            (tf.DType, lambda v, _: {TAG: "dtype", "name": v.name}),
            (tf.TensorShape, lambda v, _: {TAG: "shape", "dims": v.as_list()}),
        )

    def _list(self, value: Any, where: str) -> list[Any]:
        return [self.encode(item, f"{where}[{i}]") for i, item in enumerate(value)]

    def _tuple(self, value: tuple, where: str) -> dict[str, Any]:
        return {TAG: "tuple", "items": self._list(list(value), where)}

    def _dict(self, value: dict, where: str) -> dict[str, Any]:
        items = [[k, self.encode(v, f"{where}[{k!r}]")] for k, v in value.items()]
        return {TAG: "dict", "items": items}

    def _array(self, value: Any, where: str, tag: str = "array") -> dict[str, Any]:
        value = np.asarray(value)
        if value.dtype.kind not in "fiub":
            raise TypeError(
                f"{where} has dtype {value.dtype}, which cannot be saved; expected "
                "real or whole numbers or booleans."
            )
        return {
            TAG: tag,
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
            return {TAG: "same", "id": self._seen[id(value)]}
        number = self._seen[id(value)] = len(self._seen)
        self._alive.append(value)
        return {**write(), "id": number}

    def _variable(self, value: tf.Variable, where: str) -> dict[str, Any]:
        return self._once(
            value,
            lambda: {
                TAG: "variable",
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
                TAG: "deferred",
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
                TAG: self._class_name(type(value)),
                "config": {
                    key: self.encode(argument, f"`{key}` of {name}")
                    for key, argument in arguments.items()
                },
            }

        return self._once(value, write)

    def _class_name(self, cls: type) -> Any:
        for space, (module, kind) in TFP_NAMESPACES.items():
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
                return {TAG: "layer_copy", "of": self._keep(value, where)}
            config = keras.saving.serialize_keras_object(value)
            return {TAG: "keras", "config": config}

        return self._once(value, write)

    def _keep(self, value: Any, where: str) -> dict[str, Any]:
        if self.kept is not None:
            self.kept.append(value)
            return {TAG: "kept", "index": len(self.kept) - 1}
        if isinstance(value, types.FunctionType | types.BuiltinFunctionType):
            name = keras.saving.get_registered_name(value)
            if keras.saving.get_registered_object(name) is value:
                return {TAG: "function", "name": name}
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
    # `get_config` of our own classes returns encoded arguments, also where the class of
    # a user inherits it.
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
            f"{cls.__name__} does not record its constructor's arguments {missing}, so "
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
