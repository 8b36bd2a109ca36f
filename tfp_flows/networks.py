"""Keras networks that condition bijectors: from some coordinates to features."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

from tfp_flows import _checks

__all__ = ["MLP"]


@keras.saving.register_keras_serializable("tfp_flows")
class MLP(keras.layers.Layer):
    """Multilayer perceptron: dense layers, each followed by the activation.

    Args:
      hidden: number of units of each layer; none at all for `()`.
      activation: Keras activation, by name or as a function.
      seed: whole number that the initial kernels (Glorot uniform) and biases
        (uniform on [-1, 1]) are drawn from.
      **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call with points of shape `(n, inputs)`; returns features `(n, hidden[-1])`.

    Raises:
      ValueError: `hidden` holds something else than whole numbers ≥ 1.

    Example:
      >>> import numpy as np
      >>> MLP(hidden=(16, 8))(np.zeros((3, 2), "float32")).shape
      TensorShape([3, 8])
    """

    def __init__(
        self,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        *,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden = as_hidden(hidden)
        self.activation = keras.activations.get(activation)
        self.seed = seed
        self.dense = [
            keras.layers.Dense(
                units,
                activation=self.activation,
                kernel_initializer=keras.initializers.GlorotUniform(
                    None if seed is None else seed + i
                ),
                # Zero biases would put every kink of a narrow input at the origin.
                bias_initializer=keras.initializers.RandomUniform(
                    -1.0, 1.0, None if seed is None else seed + 2**31 + i
                ),
                dtype=self.dtype_policy,
            )
            for i, units in enumerate(self.hidden)
        ]

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs of shape `(n, inputs)`."""
        for layer in self.dense:
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the features of `inputs`."""
        for layer in self.dense:
            inputs = layer(inputs)
        return inputs

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(n, hidden[-1])`."""
        return (*input_shape[:-1], self.hidden[-1] if self.hidden else input_shape[-1])

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "hidden": list(self.hidden),
            "activation": keras.activations.serialize(self.activation),
            "seed": self.seed,
        }


def as_hidden(hidden: Sequence[int]) -> tuple[int, ...]:
    """Returns `hidden` as a tuple of whole numbers ≥ 1.

    Raises:
      ValueError: it is not a sequence of such numbers.
    """
    if isinstance(hidden, (int, str)) or not hasattr(hidden, "__iter__"):
        raise ValueError(
            "`hidden` must be a sequence of layer widths, such as (64, 64). "
            f"Received: {hidden!r}."
        )
    return tuple(_checks.positive_int(units, "hidden") for units in hidden)


def create_weights(
    layers: Sequence[keras.Layer], inputs: int, *, trainable: bool = True
) -> list[tf.Variable]:
    """Creates the weights of a stack of layers, and returns them.

    Args:
      layers: applied one after the other.
      inputs: width of the first one's input.
      trainable: False freezes them, for Keras and for plain TFP.
    """
    with contextlib.nullcontext() if trainable else _frozen_variables():
        features = tf.zeros([1, inputs], layers[-1].dtype)
        for layer in layers:
            features = layer(features)
    if not trainable:
        for layer in layers:
            layer.trainable = False
    return [weight.value for layer in layers for weight in layer.weights]


def _frozen_variables() -> contextlib.AbstractContextManager:
    """Has TensorFlow create variables that plain TFP, too, takes for frozen."""

    def creator(create: Callable, **options: Any) -> tf.Variable:
        return create(**{**options, "trainable": False})

    return tf.variable_creator_scope(creator)
