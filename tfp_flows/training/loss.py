"""The loss of every flow: its negative log-likelihood."""

from typing import Any

import keras
import tensorflow as tf

__all__ = ["NegativeLogLikelihood"]


@keras.saving.register_keras_serializable("tfp_flows")
class NegativeLogLikelihood(keras.losses.Loss):
    """The loss of every Flow: -log_prob in nats, averaged over the batch.

    Args:
      reduction: as for `keras.losses.Loss`; the mean over the rows by default.
      name: of the loss.
      dtype: in which it is computed; Keras's `floatx` when None.
    """

    def __init__(
        self,
        reduction: str = "sum_over_batch_size",
        name: str = "nll",
        dtype: str | None = None,
    ) -> None:
        super().__init__(name=name, reduction=reduction, dtype=dtype)

    def __call__(
        self, y_true: Any, y_pred: tf.Tensor, sample_weight: Any = None
    ) -> tf.Tensor:
        """Returns the reduced loss; see `call`.

        Raises:
          ValueError: `y_true` is None, in which case Keras has dropped the weights.
        """
        if y_true is None:
            raise ValueError(
                "Keras drops `sample_weight` of data without targets, so a model with "
                "a LogProb output needs `y`, which is not read. Remedy: pass the "
                "points themselves, such as `fit(data, data['x'])`."
            )
        return super().__call__(y_true, y_pred, sample_weight)

    def call(self, y_true: Any, y_pred: tf.Tensor) -> tf.Tensor:
        """Returns `-y_pred`; a density has no target, so `y_true` is not read."""
        return -y_pred
