"""Adam in one TensorFlow operation a variable, as a Keras optimizer."""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["FusedAdam"]


@keras.saving.register_keras_serializable("tfp_flows")
class FusedAdam(keras.optimizers.Adam):
    """Keras's Adam, with TensorFlow's fused kernel for the update of a variable.

    Keras writes an update as about ten operations. A flow has many small weights, and
    starting an operation costs more there than its arithmetic; the graph is also
    traced faster. The numbers are those of `keras.optimizers.Adam` to rounding.

    Args are those of `keras.optimizers.Adam`, without `amsgrad`.

    Raises:
      ValueError: `amsgrad` is asked for.

    Example:
      >>> import tfp_flows as tfpf
      >>> flow = tfpf.recipes.real_nvp(2, layers=2, hidden=(8,), seed=0)
      >>> flow.compile(FusedAdam(1e-3))

    Source: Kingma and Ba (2015), "Adam", algorithm 1 in the form of its section 2.
    """

    def __init__(self, learning_rate: Any = 1e-3, **kwargs: Any) -> None:
        if kwargs.get("amsgrad"):
            raise ValueError("`amsgrad` must be False: use keras.optimizers.Adam.")
        super().__init__(learning_rate, **kwargs)

    def update_step(self, gradient: Any, variable: Any, learning_rate: Any) -> None:
        """Updates one variable by its gradient."""
        if not isinstance(variable.value, tf.Variable):
            super().update_step(gradient, variable, learning_rate)
            return
        index = self._get_variable_index(variable)
        dtype = variable.value.dtype
        step = tf.cast(self.iterations + 1, dtype)
        tf.raw_ops.ResourceApplyAdam(
            var=variable.value.handle,
            m=self._momentums[index].value.handle,
            v=self._velocities[index].value.handle,
            beta1_power=tf.cast(self.beta_1, dtype) ** step,
            beta2_power=tf.cast(self.beta_2, dtype) ** step,
            lr=tf.cast(learning_rate, dtype),
            beta1=tf.cast(self.beta_1, dtype),
            beta2=tf.cast(self.beta_2, dtype),
            epsilon=tf.cast(self.epsilon, dtype),
            grad=tf.cast(gradient, dtype),
        )
