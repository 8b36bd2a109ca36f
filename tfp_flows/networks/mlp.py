"""MLP: the plain network."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.networks._layers import (
    as_dropout,
    as_hidden,
    as_normalization,
    dropout_layer,
    initializers,
    norm_layers,
)

__all__ = ["MLP"]


@keras.saving.register_keras_serializable("tfp_flows")
class MLP(keras.layers.Layer):
    """Multilayer perceptron: dense layers, each followed by the activation.

    Args:
      hidden: number of units of each layer; none at all for `()`.
      activation: Keras activation, by name or as a function.
      dropout: share of each layer's features, in [0, 1), that training sets to zero,
        after the activation.
      normalization: "layer" for layer normalization before each activation; or None.
      seed: whole number from which the initial kernels (Glorot uniform), biases
        (uniform on [-1, 1]) and the dropout are drawn.
      **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call it with points of shape `(n, inputs)`; it returns features `(n, hidden[-1])`.

    Raises:
      ValueError: `hidden` holds anything but whole numbers ≥ 1; `dropout` is
        not in [0, 1); or an unknown `normalization`.

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
        dropout: float = 0.0,
        normalization: str | None = None,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.hidden = as_hidden(hidden)
        self.activation = keras.activations.get(activation)
        self.dropout = as_dropout(dropout)
        self.normalization = as_normalization(normalization)
        self.seed = seed
        self.dense = [
            keras.layers.Dense(
                units,
                activation=None if normalization else self.activation,
                dtype=self.dtype_policy,
                **initializers(seed, i),
            )
            for i, units in enumerate(self.hidden)
        ]
        self.norms = norm_layers(normalization, len(self.dense), self.dtype_policy)
        self.drop = dropout_layer(self.dropout, seed, self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs of shape `(n, inputs)`."""
        for i, layer in enumerate(self.dense):
            layer.build(input_shape)
            input_shape = layer.compute_output_shape(input_shape)
            if self.norms:
                self.norms[i].build(input_shape)

    def call(self, inputs: Any) -> Any:
        """Returns the features of `inputs`."""
        for i, layer in enumerate(self.dense):
            inputs = layer(inputs)
            if self.norms:
                inputs = self.activation(self.norms[i](inputs))
            if self.drop is not None:
                inputs = self.drop(inputs)
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
            "dropout": self.dropout,
            "normalization": self.normalization,
            "seed": self.seed,
        }
