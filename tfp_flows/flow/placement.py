"""Methods of a model that compute on the device of its weights."""

import functools
from collections.abc import Callable
from typing import Any

import keras
import tensorflow as tf

from tfp_flows._core import compat, devices

__all__ = ["at_weights"]


def at_weights(method: Callable) -> Callable:
    """Has a model's method compute on the device of its weights.

    Under a distribution strategy the strategy decides.
    """

    @functools.wraps(method)
    def placed(self: keras.Model, *args: Any, **kwargs: Any) -> Any:
        if tf.distribute.has_strategy() or compat.strategy_of(self) is not None:
            return method(self, *args, **kwargs)
        with devices.at(weight.value for weight in self.weights):
            return method(self, *args, **kwargs)

    return placed
