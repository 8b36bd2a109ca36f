"""Bijectors and distributions as plain data, and back, without running any code.

`Encoder` turns a structure of TFP objects into what JSON can hold. `Decoder` reads
it back: it looks classes up by name among tfp_flows, TFP and what the caller
registered with Keras or passed as `custom_objects`, and refuses every other name.
Objects that occur twice (a shared bijector, variable or network) are written once and
referred to after that, so that they are shared again when they are read.

A variable is written as its shape and dtype; its value is saved with the weights.
"""

from typing import Any

from tfp_flows._core.decoding import Decoder
from tfp_flows._core.encoding import Encoder

__all__ = ["Decoder", "Encoder", "copy_objects", "decode_arguments", "encode_arguments"]


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
