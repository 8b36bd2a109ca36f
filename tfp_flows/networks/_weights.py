"""The weights of conditioners, created for Keras and TFP at once."""

import contextlib
from collections.abc import Callable, Sequence
from typing import Any

import keras
import tensorflow as tf

__all__ = ["create_weights"]


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
    """Makes TensorFlow create variables that plain TFP regards as frozen, too."""

    def creator(create: Callable, **options: Any) -> tf.Variable:
        return create(**{**options, "trainable": False})

    return tf.variable_creator_scope(creator)
