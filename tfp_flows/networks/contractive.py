"""ContractiveMLP: a network that brings any two points closer together."""

import itertools
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf

from tfp_flows._core import checks
from tfp_flows.networks._layers import as_hidden, initializers

__all__ = ["ContractiveMLP", "norm_bound"]

# Number of squarings of the Gram matrix. For 64 units, the bound is within 1.7%.
_SQUARINGS = 6

# An upper bound on the slope of x · sigmoid(x), which is at most 1.0998.
_STEEPEST = 1.1


@keras.saving.register_keras_serializable("tfp_flows")
class ContractiveMLP(keras.layers.Layer):
    """Multilayer perceptron g with |g(a, c) - g(b, c)| ≤ L · |a - b|.

    Each of its K dense layers is scaled down to a spectral norm of at most L^(1/K),
    where it is larger, and the activation x · sigmoid(x) / 1.1 is nowhere steeper
    than 1. Powers of the Gram matrix bound the norm from above, so that L holds at any
    weights, without a state that must be updated.

    Args:
      event_size: d, the width of the points and of the outputs.
      hidden: number of units of each hidden layer.
      lipschitz: L, in (0, 1).
      zero_start: whether to begin with g = 0, by zeros in the last layer.
      seed: whole number from which the initial weights are drawn, as in `MLP`.
      **kwargs: `name`, `dtype`, `trainable` of `keras.layers.Layer`.

    Call it with `(n, d + context)`, where the bound does not concern the context; it
    returns `(n, d)`.

    Raises:
      ValueError: `event_size` or `hidden` hold anything but whole numbers ≥ 1,
        or `lipschitz` is not in (0, 1).

    Example:
      >>> import numpy as np
      >>> network = ContractiveMLP(2, hidden=(16,), lipschitz=0.5, seed=0)
      >>> a, b = network(np.array([[0.0, 0.0], [3.0, 4.0]], "float32")).numpy()
      >>> bool(np.linalg.norm(a - b) <= 0.5 * 5.0)
      True

    Source: Behrmann et al. (2019), "Invertible residual networks", sec. 2.1; the
    activation, Chen et al. (2019), "Residual flows", sec. 3.3; the bound, Delattre et
    al. (2023), "Efficient bound of Lipschitz constant for convolutional layers by
    Gram iteration", theorem 3.1.
    """

    def __init__(
        self,
        event_size: int,
        hidden: Sequence[int] = (64, 64),
        lipschitz: float = 0.9,
        *,
        zero_start: bool = False,
        seed: int | None = None,
        **kwargs: Any,
    ) -> None:
        super().__init__(**kwargs)
        self.event_size = checks.positive_size(event_size, "event_size")
        self.hidden = as_hidden(hidden)
        if not 0 < lipschitz < 1:
            raise ValueError(
                f"`lipschitz` must be a number in (0, 1). Received: {lipschitz!r}."
            )
        self.lipschitz = float(lipschitz)
        self.zero_start = zero_start
        self.seed = seed

    def build(self, input_shape: tuple[Any, ...]) -> None:
        """Creates the weights for inputs of shape `(n, d + context)`."""
        widths = [self.event_size, *self.hidden, self.event_size]
        self.kernels, self.biases = [], []
        for i, (inputs, units) in enumerate(itertools.pairwise(widths)):
            start = initializers(self.seed, i)
            if i == len(self.hidden):
                start["bias_initializer"] = "zeros"
                if self.zero_start:
                    start["kernel_initializer"] = "zeros"
            self.kernels.append(
                self.add_weight(
                    shape=(inputs, units),
                    initializer=start["kernel_initializer"],
                    name=f"kernel_{i}",
                )
            )
            self.biases.append(
                self.add_weight(
                    shape=(units,),
                    initializer=start["bias_initializer"],
                    name=f"bias_{i}",
                )
            )
        context = input_shape[-1] - self.event_size
        self.context_kernel = None
        if context:
            self.context_kernel = self.add_weight(
                shape=(context, widths[1]),
                initializer=initializers(self.seed, len(widths))["kernel_initializer"],
                name="context_kernel",
            )

    def call(self, inputs: Any) -> Any:
        """Returns g, `(n, d)`."""
        return self.value(inputs, self.scaled_kernels())

    def scaled_kernels(self) -> list[Any]:
        """Returns the kernels with their norms bounded, once for many evaluations."""
        cap = self.lipschitz ** (1 / len(self.kernels))
        kernels = [tf.convert_to_tensor(kernel) for kernel in self.kernels]
        return [
            kernel * (cap / tf.maximum(norm_bound(kernel), cap)) for kernel in kernels
        ]

    def value(self, inputs: Any, kernels: Sequence[Any]) -> Any:
        """Returns g, `(n, d)`, with the result of `scaled_kernels`."""
        value = self._first(inputs, kernels[0])
        for kernel, bias in zip(kernels[1:], self.biases[1:], strict=True):
            value = tf.matmul(value * tf.sigmoid(value) / _STEEPEST, kernel) + bias
        return value

    def value_and_jacobian(
        self, inputs: Any, kernels: Sequence[Any]
    ) -> tuple[Any, Any]:
        """Returns g, `(n, d)`, and ∂g_i/∂x_j, `(n, d, d)`; d times the work of g."""
        value = self._first(inputs, kernels[0])
        directions = kernels[0] + tf.zeros_like(value)[:, tf.newaxis]
        for kernel, bias in zip(kernels[1:], self.biases[1:], strict=True):
            gate = tf.sigmoid(value)
            slope = gate * (1 + value * (1 - gate)) / _STEEPEST
            directions = tf.matmul(slope[:, tf.newaxis] * directions, kernel)
            value = tf.matmul(value * gate / _STEEPEST, kernel) + bias
        return value, tf.linalg.matrix_transpose(directions)

    def _first(self, inputs: Any, kernel: Any) -> Any:
        """Returns the first layer, before its activation."""
        points, context = tf.split(inputs, [self.event_size, -1], axis=-1)
        value = tf.matmul(points, kernel) + self.biases[0]
        if self.context_kernel is None:
            return value
        return value + tf.matmul(context, tf.convert_to_tensor(self.context_kernel))

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `(n, d)`."""
        return (*input_shape[:-1], self.event_size)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments."""
        return {
            **super().get_config(),
            "event_size": self.event_size,
            "hidden": list(self.hidden),
            "lipschitz": self.lipschitz,
            "zero_start": self.zero_start,
            "seed": self.seed,
        }


def norm_bound(matrix: tf.Tensor) -> tf.Tensor:
    """Returns an upper bound on the spectral norm of a matrix.

    It is too large by at most a factor of r^(1/256), where r is the rank.
    """
    rows, columns = matrix.shape
    gram = tf.matmul(
        matrix, matrix, transpose_a=columns < rows, transpose_b=columns >= rows
    )
    # |G| bounds the largest eigenvalue, and so does |G^n|^(1/n), ever closer.
    tiny = np.finfo(np.float32).tiny
    log_norm = tf.zeros([], matrix.dtype)
    for i in range(_SQUARINGS + 1):
        size = tf.sqrt(tf.reduce_sum(gram**2) + tiny)
        log_norm += tf.math.log(size) / 2**i
        gram /= size
        gram = tf.matmul(gram, gram)
    return tf.exp(log_norm / 2)
