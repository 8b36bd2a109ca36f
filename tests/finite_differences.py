"""Gradients beside finite differences, for what is differentiated implicitly."""

import numpy as np
import tensorflow as tf


def check_gradients(value, variables, *, step=1e-6, rtol=1e-6, atol=1e-7):
    """Asserts that the gradients of `value()` are its central differences.

    Args:
      value: function of no arguments that returns a scalar in float64.
      variables: what it depends on.
      step: of the differences.
      rtol, atol: as for `np.testing.assert_allclose`.
    """
    with tf.GradientTape() as tape:
        total = value()
    gradients = tape.gradient(total, variables)
    for variable, gradient in zip(variables, gradients, strict=True):
        start = variable.numpy()
        expected = np.zeros_like(start)
        for index in np.ndindex(*start.shape):
            moved = np.array([start, start])
            moved[:, *index] += [step, -step]
            ends = []
            for end in moved:
                variable.assign(end)
                ends.append(float(value()))
            expected[index] = (ends[0] - ends[1]) / (2 * step)
        variable.assign(start)
        np.testing.assert_allclose(gradient, expected, rtol=rtol, atol=atol)
