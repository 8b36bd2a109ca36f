"""The options of conditioners, as bijectors take and keep them."""

from typing import Any

import keras

from tfp_flows._core.checks import as_seed
from tfp_flows.networks._layers import as_hidden

__all__ = ["as_options", "dtype_of_networks", "dtype_of_points"]

_MIXED = "mixed_bfloat16"  # float32 weights, bfloat16 products


def as_options(options: dict[str, Any]) -> dict[str, Any]:
    """Returns the arguments of a bijector with those of its network checked.

    The activation becomes its Keras name where it has one, and the seed is drawn where
    it is None.

    Args:
      options: "hidden", "activation", "network" and "seed"; others stay as they are.

    Raises:
      ValueError: `hidden`, `activation` or `seed` is not what it must be.
      TypeError: `network` is not a Keras layer.
    """
    network = options["network"]
    if network is not None and not isinstance(network, keras.Layer):
        raise TypeError(
            "`network` must be a Keras layer or model. "
            f"Received: {type(network).__name__}."
        )
    activation = keras.activations.get(options["activation"])
    name = keras.activations.serialize(activation)
    return {
        **options,
        "hidden": as_hidden(options["hidden"]),
        "activation": name if isinstance(name, str) else activation,
        "seed": as_seed(options["seed"]),
    }


def dtype_of_points(dtype: Any) -> Any:
    """Returns the dtype of points, log-dets and weights; networks may have another.

    Args:
      dtype: as a bijector takes it: that of the points, None, or "mixed_bfloat16".

    Raises:
      ValueError: another mixed precision.
    """
    if not isinstance(dtype, str) or not dtype.startswith("mixed"):
        return dtype
    if dtype != _MIXED:
        raise ValueError(
            f"`dtype` must be float32, float64 or {_MIXED!r}. Received: {dtype!r}. "
            "Remedy: bfloat16 has the range of float32, so that no loss needs scaling."
        )
    return "float32"


def dtype_of_networks(dtype: Any) -> str | None:
    """Returns what Keras calls the precision of networks, None for that of points.

    Args:
      dtype: as in `dtype_of_points`.
    """
    return _MIXED if dtype == _MIXED else None
