"""The device that TensorFlow computes on, chosen by name or by where weights are."""

import contextlib
import functools
import re
from collections.abc import Callable, Iterable
from typing import Any

import tensorflow as tf

__all__ = ["at", "describe", "has_gpu", "is_gpu", "on_cpu", "use"]


def use(name: str) -> contextlib.AbstractContextManager:
    """Returns a scope in which TensorFlow computes on a device.

    If TensorFlow has not started yet, the other GPUs are hidden from it, because it
    reserves the memory of each GPU that it sees.

    Args:
      name: "cpu", "gpu" for the first one, or "gpu:1" and so on.

    Raises:
      ValueError: the name is another one, or that of a GPU that TensorFlow does not
        see.
    """
    match = re.fullmatch(r"cpu|gpu(?::(\d+))?", name.lower())
    if match is None:
        raise ValueError(f"The device must be cpu, gpu or gpu:N. Received: {name!r}.")
    gpus = tf.config.get_visible_devices("GPU")
    chosen = [] if name.lower() == "cpu" else [int(match[1] or 0)]
    if chosen and chosen[0] >= len(gpus):
        seen = ", ".join(["cpu", *(f"gpu:{i}" for i in range(len(gpus)))])
        raise ValueError(
            f"TensorFlow sees no such device here, only {seen}. Received: {name!r}. "
            "Remedy: pip install 'tensorflow[and-cuda]', and see docs/gpu.md."
        )
    try:
        tf.config.set_visible_devices([gpus[i] for i in chosen], "GPU")
    except RuntimeError:  # the devices are in use already
        return tf.device(f"GPU:{chosen[0]}" if chosen else "CPU:0")
    return contextlib.nullcontext()


def at(variables: Iterable[tf.Variable]) -> contextlib.AbstractContextManager:
    """Returns a scope in which TensorFlow computes on the device of the variables.

    If that is the default device, the scope changes nothing, so that a `tf.device` of
    the caller decides.

    Args:
      variables: the weights; the first one decides.
    """
    device = _home(variables)
    gpus = tf.config.list_logical_devices("GPU")
    default = (gpus or tf.config.list_logical_devices("CPU"))[0].name
    if not device or _kind_and_number(device) == _kind_and_number(default):
        return contextlib.nullcontext()
    return tf.device(device)


def on_cpu(function: Callable) -> Callable:
    """Returns a function that computes on the CPU, as tf.data does.

    Otherwise rows that it reads would be copied to the GPU and back.
    """

    @functools.wraps(function)
    def placed(*args: Any, **kwargs: Any) -> Any:
        with tf.device("CPU:0"):
            return function(*args, **kwargs)

    return placed


def has_gpu() -> bool:
    """Returns whether TensorFlow computes on a GPU by default."""
    return bool(tf.config.list_logical_devices("GPU"))


def is_gpu(variables: Iterable[tf.Variable]) -> bool:
    """Returns whether weights are on a GPU."""
    return _kind_and_number(_home(variables))[0] == "GPU"


def describe(variables: Iterable[tf.Variable]) -> str:
    """Returns where weights are, such as "CPU:0" or "GPU:0 (NVIDIA H200)"."""
    kind, number = _kind_and_number(_home(variables))
    device = f"{kind}:{number}"
    if kind != "GPU":
        return device
    details = tf.config.experimental.get_device_details(
        tf.config.get_visible_devices("GPU")[number]
    )
    return f"{device} ({details.get('device_name', 'unknown')})"


def _home(variables: Iterable[tf.Variable]) -> str:
    """Returns the device of the first variable; "" if there are no variables."""
    return next((variable.device for variable in variables), "")


def _kind_and_number(device: str) -> tuple[str, int]:
    spec = tf.DeviceSpec.from_string(device)
    return spec.device_type or "CPU", spec.device_index or 0
