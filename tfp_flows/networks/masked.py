"""Masked networks: each variable's outputs depend on the variables before it alone."""

from collections.abc import Callable, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.networks._layers import (
    as_dropout,
    as_hidden,
    as_width,
    dropout_layer,
    initializers,
)
from tfp_flows.networks.residual import block_initializers, through_blocks

__all__ = ["MaskedMLP", "MaskedResidualMLP", "as_order"]


class _Masked(keras.layers.Layer):
    """Base of masked networks: it has the degrees and the head; subclasses, the layers.

    Each unit has a degree: the number of variables, in the order, that it may depend
    on. A connection is kept if it leads to a unit of the same or a higher degree. The
    outputs of the variable at place r, counted from 0, see the units of degrees up to
    r.
    """

    def __init__(
        self,
        event_size: int,
        outputs: int = 1,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        *,
        order: str | Sequence[int] | np.ndarray = "natural",
        features: int = 1,
        zero_start: bool = False,
        dropout: float = 0.0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_size = checks.positive_size(event_size, "event_size")
        self.outputs = checks.positive_size(outputs, "outputs")
        self.hidden = as_hidden(hidden)
        self._check_hidden()
        self.activation = keras.activations.get(activation)
        self.order = as_order(order, self.event_size).tolist()
        self.features = checks.positive_size(features, "features")
        self.zero_start = zero_start
        self.dropout = as_dropout(dropout)
        self.seed = seed
        self.drop = dropout_layer(self.dropout, seed, self.dtype_policy)

    def _check_hidden(self) -> None:
        """Raises a ValueError where the network cannot have these widths."""

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates the weights for inputs `(n, features · event_size + context)`."""
        context = input_shape[-1] - self.features * self.event_size
        if context < 0:
            raise ValueError(
                f"A masked network of {self.event_size} variables needs inputs of at "
                f"least width {self.features * self.event_size}. "
                f"Received width {input_shape[-1]}."
            )
        place = np.argsort(self.order)
        seen = np.concatenate([np.tile(place + 1, self.features), np.zeros(context)])
        # Units that depend on no variable are useful only if there is a context.
        least = 0 if context or self.event_size == 1 else 1
        degrees = self._build_hidden(seen.astype(int), least)
        self.head = _MaskedDense(
            degrees[:, None] <= np.repeat(place, self.outputs),
            kernel_initializer="zeros"
            if self.zero_start
            else keras.initializers.GlorotUniform(
                None if self.seed is None else self.seed + 2**31
            ),
            dtype=self.dtype_policy,
            name="head",
        )
        self.head.build((None, len(degrees)))

    def _build_hidden(self, degrees: np.ndarray, least: int) -> np.ndarray:
        """Creates the hidden layers for inputs of these degrees; returns their own."""
        raise NotImplementedError

    def _hidden_features(self, inputs: Any) -> Any:
        raise NotImplementedError

    def _dense(self, before: np.ndarray, after: np.ndarray, **options: Any) -> Any:
        mask = before[:, None] <= after
        layer = _MaskedDense(mask, dtype=self.dtype_policy, **options)
        layer.build((None, len(before)))
        return layer

    def call(self, inputs: Any, variable: Any = None) -> Any:
        """Returns the outputs of all variables, or those of one.

        Args:
          inputs: `(n, features · event_size + context)`: the first feature of all
            variables, then the second of all, …, then the context.
          variable: index of the variable, which may be a tensor.

        Returns:
          `(n, event_size, outputs)`; `(n, outputs)` for one variable.
        """
        features = self._hidden_features(inputs)
        shape = (self.event_size, self.outputs)
        if variable is None:
            return tf.reshape(self.head(features), (-1, *shape))
        # This gathers along axis 1: along axis 0 the gradients would be sparse.
        kernel, bias = (
            tf.gather(tf.reshape(part, (-1, *shape)), variable, axis=1)
            for part in (self.head.masked_kernel, self.head.bias)
        )
        return tf.matmul(features, kernel) + bias

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(n, event_size, outputs)`."""
        return (input_shape[0], self.event_size, self.outputs)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "outputs": self.outputs,
            "hidden": list(self.hidden),
            "activation": keras.activations.serialize(self.activation),
            "order": list(self.order),
            "features": self.features,
            "zero_start": self.zero_start,
            "dropout": self.dropout,
            "seed": self.seed,
        }


@keras.saving.register_keras_serializable("tfp_flows")
class MaskedMLP(_Masked):
    """Multilayer perceptron whose outputs for variable i see what comes before i.

    With o the order, the outputs of variable o[r] depend on variables o[0], …, o[r-1]
    and on all of the context::

        outputs[:, o[r]] = function of (x[:, o[0]], …, x[:, o[r-1]], context)

    by zeros in the kernels, which a fixed mask multiplies. Degrees are distributed
    evenly over the units of each hidden layer: from width d - 1 on, or d with a
    context, the outputs of each variable depend on all that they may.

    There is no layer normalization, since it would let each unit depend on all others.

    Args:
      event_size: d, the number of variables.
      outputs: number of outputs for each variable.
      hidden: number of units of each hidden layer; none at all for `()`.
      activation: of the hidden layers; Keras activation, by name or as a function.
      order: "natural" for 0, …, d-1, "reversed", or a permutation of these.
      features: number of inputs for each variable, such as 2 for cosine and sine.
      zero_start: whether to begin with outputs of zero, by zeros in the last layer.
      dropout: share of each hidden layer's features, in [0, 1), that training sets
        to zero.
      seed: whole number from which the initial weights and the dropout are drawn, as
        in `MLP`.
      **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call it with `(n, features · d + context)`: the first feature of all variables, …,
    then a context of any width; it returns `(n, d, outputs)`.

    Raises:
      ValueError: `order` is not a permutation; an option is out of its range; or the
        input is too narrow.

    Example:
      >>> import numpy as np
      >>> network = MaskedMLP(3, outputs=2, order=[2, 0, 1], seed=0)
      >>> outputs = network(np.array([[1.0, 2.0, 3.0], [1.0, 9.0, 3.0]], "float32"))
      >>> outputs.shape
      TensorShape([2, 3, 2])
      >>> np.array_equal(outputs[0], outputs[1])  # variable 1 is the last
      True

    Source: Germain, Gregor, Murray and Larochelle (2015), "MADE: Masked autoencoder
    for distribution estimation", section 4; degree 0, for the context, is our own.
    """

    def _build_hidden(self, degrees: np.ndarray, least: int) -> np.ndarray:
        self.dense = []
        for i, units in enumerate(self.hidden):
            before, degrees = degrees, _degrees(units, least, self.event_size)
            options = initializers(self.seed, i)
            self.dense.append(
                self._dense(before, degrees, activation=self.activation, **options)
            )
        return degrees

    def _hidden_features(self, inputs: Any) -> Any:
        for layer in self.dense:
            inputs = layer(inputs)
            if self.drop is not None:
                inputs = self.drop(inputs)
        return inputs


@keras.saving.register_keras_serializable("tfp_flows")
class MaskedResidualMLP(_Masked):
    """Residual network whose outputs for variable i see what comes before i.

    The blocks are those of `ResidualMLP`, and the masks those of `MaskedMLP`, with
    the same degrees in each layer, which a sum over layers needs.

    Args:
      event_size: d, the number of variables.
      outputs: number of outputs for each variable.
      hidden: width of each block, all of them equal: (64, 64) for two blocks.
      activation: Keras activation before each layer of a block, by name or as a
        function.
      order: "natural" for 0, …, d-1, "reversed", or a permutation of these.
      features: number of inputs for each variable, such as 2 for cosine and sine.
      zero_start: whether to begin with outputs of zero, by zeros in the last layer.
      dropout: share of the features within a block, in [0, 1), that training sets to
        zero.
      seed: whole number from which the initial weights and the dropout are drawn, as
        in `MLP`.
      **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call it with `(n, features · d + context)`: the first feature of all variables, …,
    then a context of any width; it returns `(n, d, outputs)`.

    Raises:
      ValueError: `order` is not a permutation; `hidden` does not hold equal widths; an
        option is out of its range; or the input is too narrow.

    Example:
      >>> import numpy as np
      >>> network = MaskedResidualMLP(3, outputs=2, hidden=(16, 16))
      >>> network(np.zeros((5, 3), "float32")).shape
      TensorShape([5, 3, 2])

    Source: Nash and Durkan (2019), "Autoregressive energy machines" (ResMADE).
    """

    def _check_hidden(self) -> None:
        as_width(self.hidden)

    def _build_hidden(self, degrees: np.ndarray, least: int) -> np.ndarray:
        after = _degrees(self.hidden[0], least, self.event_size)
        self.first, *self.dense = [
            self._dense(
                after if i else degrees, after, **block_initializers(self.seed, i)
            )
            for i in range(1 + 2 * len(self.hidden))
        ]
        return after

    def _hidden_features(self, inputs: Any) -> Any:
        h = self.first(inputs)
        return through_blocks(h, self.dense, self.activation, drop=self.drop)


class _MaskedDense(keras.layers.Dense):
    """Dense layer whose kernel is multiplied by a mask, `(inputs, units)`."""

    def __init__(self, mask: np.ndarray, **kwargs: Any) -> None:
        super().__init__(mask.shape[1], **kwargs)
        self.mask = mask.astype(self.compute_dtype)

    @property
    def masked_kernel(self) -> Any:
        return tf.convert_to_tensor(self.kernel) * self.mask

    def call(self, inputs: Any) -> Any:
        return self.activation(tf.matmul(inputs, self.masked_kernel) + self.bias)


def _degrees(units: int, least: int, event_size: int) -> np.ndarray:
    """Returns degrees from `least` to `event_size - 1`, distributed evenly."""
    count = event_size - least
    if units < count:
        return least + np.arange(units) * count // units
    return least + np.arange(units) % count


def as_order(
    order: str | Sequence[int] | np.ndarray, event_size: int | None = None
) -> np.ndarray:
    """Returns the order of the variables as an array of their indices.

    Args:
      order: "natural", "reversed", or a permutation of 0, …, `event_size` - 1.
      event_size: number of variables; with None the order is only checked.

    Raises:
      ValueError: `order` is none of these.
    """
    if isinstance(order, str):
        if order not in ("natural", "reversed"):
            raise ValueError(
                "`order` must be 'natural', 'reversed', or a permutation of the "
                f"variables. Received: {order!r}."
            )
        return np.arange(event_size or 1)[:: 1 if order == "natural" else -1]
    values = np.asarray(order)
    size = values.size if event_size is None else event_size
    if values.shape != (size,) or (np.sort(values) != np.arange(size)).any():
        raise ValueError(
            f"`order` must be a permutation of 0..{size - 1}. "
            f"Received: {values.tolist()}."
        )
    return values.astype(int)
