"""ResidualMLP: a network of residual blocks."""

from collections.abc import Callable, Sequence
from typing import Any

import keras

from tfp_flows.networks._layers import (
    as_dropout,
    as_hidden,
    as_normalization,
    as_width,
    dropout_layer,
    initializers,
    norm_layers,
)

__all__ = ["ResidualMLP", "block_initializers", "through_blocks"]


@keras.saving.register_keras_serializable("tfp_flows")
class ResidualMLP(keras.layers.Layer):
    """Residual blocks of two dense layers each, with the activation before each.

    With W₀ … dense layers and a the activation, for each block in turn::

        h ← W₀ · inputs
        h ← h + W₂ · a(W₁ · a(h))

    No activation follows the features h, since a dense layer or the activation of the
    next block does.

    Args:
      hidden: width of each block, all of them equal: (64, 64) for two blocks.
      activation: Keras activation, by name or as a function.
      dropout: share of the features within a block, in [0, 1), that training sets to
        zero, before its second layer.
      normalization: "layer" for layer normalization before each activation; or None.
      seed: whole number from which the initial weights and the dropout are drawn, as
        in `MLP`; the biases of a block's second layer start at zero.
      **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call it with points of shape `(n, inputs)`; it returns features `(n, hidden[-1])`.

    Raises:
      ValueError: `hidden` does not hold equal whole numbers ≥ 1; `dropout` is not in
        [0, 1); or an unknown `normalization`.

    Example:
      >>> import numpy as np
      >>> ResidualMLP(hidden=(16, 16))(np.zeros((3, 2), "float32")).shape
      TensorShape([3, 16])

    Source: He, Zhang, Ren and Sun (2016), "Identity mappings in deep residual
    networks", figure 4 (e); as a conditioner, Durkan, Bekasov, Murray and
    Papamakarios (2019), "Neural spline flows".
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
        width = as_width(hidden)
        self.hidden = as_hidden(hidden)
        self.activation = keras.activations.get(activation)
        self.dropout = as_dropout(dropout)
        self.normalization = as_normalization(normalization)
        self.seed = seed
        self.first, *self.dense = [
            keras.layers.Dense(
                width, dtype=self.dtype_policy, **block_initializers(seed, i)
            )
            for i in range(1 + 2 * len(self.hidden))
        ]
        self.norms = norm_layers(normalization, len(self.dense), self.dtype_policy)
        self.drop = dropout_layer(self.dropout, seed, self.dtype_policy)

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the weights for inputs of shape `(n, inputs)`."""
        self.first.build(input_shape)
        for layer in (*self.dense, *self.norms):
            layer.build(self.compute_output_shape(input_shape))

    def call(self, inputs: Any) -> Any:
        """Returns the features of `inputs`."""
        return through_blocks(
            self.first(inputs), self.dense, self.activation, self.norms, self.drop
        )

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(n, hidden[-1])`."""
        return (*input_shape[:-1], self.hidden[-1])

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


def block_initializers(
    seed: int | None, i: int
) -> dict[str, keras.initializers.Initializer]:
    """Returns the initializers of a residual network's dense layer number i."""
    ends_block = i > 0 and i % 2 == 0
    return initializers(seed, i) | ({"bias_initializer": "zeros"} if ends_block else {})


def through_blocks(
    h: Any,
    dense: Sequence[keras.Layer],
    activation: Callable,
    norms: Sequence[keras.Layer] = (),
    drop: keras.Layer | None = None,
) -> Any:
    """Returns the features that residual blocks, of two dense layers each, make of h.

    Args:
      h: features `(n, width)`.
      dense: the layers of all blocks in turn.
      activation: before each of them.
      norms: before each activation, or none.
      drop: before the second layer of each block, or None.
    """
    for i in range(0, len(dense), 2):
        inner = h
        for j in (i, i + 1):
            inner = activation(norms[j](inner) if norms else inner)
            if drop is not None and j > i:
                inner = drop(inner)
            inner = dense[j](inner)
        h = h + inner
    return h
