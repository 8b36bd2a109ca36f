"""The options of conditioner networks, as bijectors take and keep them."""

from typing import Any

import keras

from tfp_flows._checks import as_seed
from tfp_flows.networks._layers import as_hidden

__all__ = ["as_options"]


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
