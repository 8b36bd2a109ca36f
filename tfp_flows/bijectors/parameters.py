"""Parameters: what a bijector learns, directly or as a function of a context."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows.bijectors.base import is_given, learnable

__all__ = ["Parameters", "check_given", "check_number"]


class Parameters(tf.Module):
    """Named arrays that a bijector learns, or that a network computes from a context.

    Without a context each array is one `tf.Variable`. With one, a network maps the
    context to what is added to the initial values; its last layer starts at zero, so
    that the bijector starts the same for every context.

    Args:
      initial: name to initial value; without a context also to the caller's own
        variable or tensor, which is used as it is.
      context_size: width of the context; 0 for none.
      hidden: widths of the network's hidden layers.
      activation: of those layers.
      seed: of the network's weights.
      trainable: False freezes all weights.
      dtype: of the arrays.
    """

    def __init__(
        self,
        initial: Mapping[str, Any],
        *,
        context_size: int = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        seed: int | None = None,
        trainable: bool = True,
        dtype: tf.DType = tf.float32,
    ) -> None:
        super().__init__()
        self._shapes = {name: np.shape(value) for name, value in initial.items()}
        self.variables_by_name = {
            name: learnable(value, dtype, trainable=trainable, name=name)
            for name, value in initial.items()
        }
        self._layers: list[keras.Layer] = []
        if context_size:
            head = keras.layers.Dense(
                sum(map(math.prod, self._shapes.values())),
                use_bias=False,  # the variables are the bias
                kernel_initializer="zeros",
                dtype=dtype.name,
                name="head",
            )
            mlp = networks.MLP(hidden, activation, seed=seed, dtype=dtype.name)
            self._layers = [mlp, head]
            # Keras weights are invisible to tf.Module, and so to TFP, without this.
            self._weights = networks.create_weights(
                self._layers, context_size, trainable=trainable
            )

    def __call__(self, context: Any = None) -> dict[str, tf.Tensor]:
        """Returns each array, `(..., *shape)` with the leading axes of the context."""
        values = {
            name: tf.convert_to_tensor(variable)
            for name, variable in self.variables_by_name.items()
        }
        if not self._layers:
            return values
        mlp, head = self._layers
        rows = tf.reshape(context, [-1, context.shape[-1]])
        sizes = [math.prod(shape) for shape in self._shapes.values()]
        parts = tf.split(head(mlp(rows)), sizes, axis=-1)
        batch = tf.shape(context)[:-1]
        return {
            name: values[name]
            + tf.ensure_shape(
                tf.reshape(part, tf.concat([batch, shape], 0)),
                [*context.shape[:-1], *shape],
            )
            for (name, shape), part in zip(self._shapes.items(), parts, strict=True)
        }


def check_given(value: Any, name: str, context_size: int) -> None:
    """Checks that a parameter that depends on a context is not the caller's own.

    Raises:
      ValueError: it is a variable or tensor, and there is a context.
    """
    if context_size and is_given(value):
        raise ValueError(
            f"`{name}` cannot be your own variable or tensor and depend on a context "
            "as well. Remedy: give it as a number, or leave `context_size` at 0."
        )


def check_number(value: Any, name: str) -> None:
    """Checks that a parameter is one number, or the caller's own tensor of one.

    Raises:
      ValueError: it is not.
    """
    number = value if is_given(value) else np.asarray(value)
    is_number = tuple(number.shape) == ()
    if is_number and isinstance(number, np.ndarray):
        is_number = number.dtype.kind in "fiu" and bool(np.isfinite(number))
    if not is_number:
        raise ValueError(f"`{name}` must be one finite number. Received: {value!r}.")
