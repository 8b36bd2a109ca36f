"""LogProb: a flow as the head of a bigger Keras model."""

import warnings
from typing import Any, Self

import keras
import tensorflow as tf

from tfp_flows.bijectors.adaptation import needs_adaptation
from tfp_flows.flow.flow import Flow

__all__ = ["LogProb"]


@keras.saving.register_keras_serializable("tfp_flows")
class LogProb(keras.layers.Layer):
    """The log-density of a flow as a Keras layer, `(n,)` in nats.

    For points x and, where the flow is conditional, a context that a network computes
    from other inputs::

        LogProb(flow)([x, context]) = log p(x | context)

    Its gradient reaches the flow, the network that computes the context, and x. A model
    with this output is fitted by `NegativeLogLikelihood`, which reads no target. Give
    `fit` the points themselves as `y`, since Keras drops `sample_weight` of data
    without targets.

    Args:
      flow: a Flow, whose weights become the layer's. Several layers may share one.
      trainable: False freezes the flow.
      name: of the layer.

    Call with points `(n, event_size)`; with a conditional flow, with `[x, context]`
    or `{"x": x, "context": context}`, the context `(n, context_size)`.

    Raises:
      TypeError: `flow` is not a Flow.
      ValueError: called with a context that the flow does not take, without one that
        it takes, or with another width.

    Example:
      >>> import keras, numpy as np, tfp_flows as tfpf
      >>> flow = tfpf.recipes.real_nvp(2, context_size=3, hidden=(16,), seed=0)
      >>> flow.adapt({"x": np.ones((10, 2)), "context": np.zeros((10, 3))})  # units
      >>> x, features = keras.Input([2], name="x"), keras.Input([7], name="features")
      >>> context = keras.layers.Dense(3, activation="relu")(features)
      >>> log_prob = LogProb(flow)([x, context])
      >>> model = keras.Model({"x": x, "features": features}, log_prob)
      >>> model.compile("adam", loss=tfpf.NegativeLogLikelihood())
      >>> data = {"x": np.ones((10, 2)), "features": np.ones((10, 7))}
      >>> history = model.fit(data, data["x"], verbose=0)
      >>> model.predict(data, verbose=0).shape
      (10,)
    """

    def __init__(
        self, flow: Flow, *, trainable: bool = True, name: str | None = None
    ) -> None:
        if not isinstance(flow, Flow):
            raise TypeError(f"`flow` must be a Flow. Received: {type(flow).__name__}.")
        # Keras rounds what enters a layer to the layer's dtype.
        super().__init__(dtype=flow.dtype, name=name)
        self.flow = flow
        if not trainable:
            self.trainable = False

    def call(self, inputs: Any, training: bool | None = None) -> Any:
        """Returns `log_prob`, `(n,)`, in nats."""
        if isinstance(inputs, (list, tuple)):
            if len(inputs) > 2:
                raise ValueError(
                    f"Call with x or `[x, context]`. Received: {len(inputs)} inputs."
                )
            inputs = dict(zip(("x", "context"), inputs, strict=False))
        if training:
            self._warn_of_missing_start()
        return self.flow(inputs, training=training)

    def _warn_of_missing_start(self) -> None:
        with tf.init_scope():  # outside of the graph, variables have values
            is_missing = needs_adaptation((self.flow.base, *self.flow.bijectors))
        if is_missing:
            warnings.warn(
                "Some parts of the flow start from data, and only a flow's own `fit` "
                "gives them any. Remedy: before `model.fit`, call `flow.adapt(x)`, or "
                '`flow.adapt({"x": x, "context": c})` of a conditional flow.',
                stacklevel=2,
            )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments; the flow as its own configuration."""
        flow = keras.saving.serialize_keras_object(self.flow)
        # Keras loads layers whose flows have the same id as layers of one flow.
        flow["shared_object_id"] = id(self.flow)
        return {
            "flow": flow,
            "trainable": self.trainable,
            "name": self.name,
        }

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns the layer that `get_config` described."""
        flow = keras.saving.deserialize_keras_object(config["flow"])
        return cls(**{**config, "flow": flow})
