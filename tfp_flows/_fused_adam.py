"""Adam's update of a variable as one TensorFlow operation, in a Keras optimizer."""

import functools
from typing import Any

import keras
import tensorflow as tf

__all__ = ["fuse"]


def fuse(optimizer: keras.optimizers.Optimizer) -> None:
    """Lets Keras's Adam or AdamW update each variable by TensorFlow's own kernel.

    Keras writes the update as about twelve operations. A flow has many small weights,
    and starting an operation costs more there than its arithmetic. The optimizer stays
    what it is: its weights, files and options are Keras's, and the numbers are the same
    to rounding. Any other optimizer, a subclass, and `amsgrad` are left alone.

    Source: Kingma and Ba (2015), "Adam", algorithm 1 in the form of its section 2.
    """
    fusible = type(optimizer) in (keras.optimizers.Adam, keras.optimizers.AdamW)
    if fusible and not optimizer.amsgrad:
        optimizer.update_step = functools.partial(_update_step, optimizer)


def _update_step(
    optimizer: keras.optimizers.Adam, gradient: Any, variable: Any, learning_rate: Any
) -> None:
    """Updates one variable by its gradient, as `Adam.update_step`."""
    # A strategy's copies, and gradients of few rows, are Keras's affair.
    if tf.distribute.has_strategy() or isinstance(gradient, tf.IndexedSlices):
        type(optimizer).update_step(optimizer, gradient, variable, learning_rate)
        return
    index = optimizer._get_variable_index(variable)
    if isinstance(variable, keras.Variable):
        variable = variable.value
    dtype = variable.dtype
    step = tf.cast(optimizer.iterations + 1, dtype)
    beta_1 = tf.constant(optimizer.beta_1, dtype)
    beta_2 = tf.constant(optimizer.beta_2, dtype)
    tf.raw_ops.ResourceApplyAdam(
        var=variable.handle,
        m=optimizer._momentums[index].value.handle,
        v=optimizer._velocities[index].value.handle,
        beta1_power=beta_1**step,
        beta2_power=beta_2**step,
        lr=tf.cast(learning_rate, dtype),
        beta1=beta_1,
        beta2=beta_2,
        epsilon=tf.constant(optimizer.epsilon, dtype),
        grad=tf.cast(gradient, dtype),
    )
