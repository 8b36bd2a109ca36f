"""The layer through which a Keras model sees the weights of a TFP object."""

import re
from collections.abc import Iterator, Sequence
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import compat
from tfp_flows._core.conditioning import bind
from tfp_flows.bijectors.base import Bijector, among_points_of
from tfp_flows.data.arguments import Form

__all__ = ["Adoption", "TFPLayer", "layers_of"]

tfb = tfp.bijectors
tfd = tfp.distributions


class Adoption:
    """Makes one Keras variable of each `tf.Variable`, on the same storage."""

    def __init__(self) -> None:
        self._by_id: dict[int, keras.Variable] = {}

    def adopt(self, variable: tf.Variable) -> keras.Variable:
        """Returns the Keras variable of `variable`, the same at every call."""
        if id(variable) not in self._by_id:
            self._by_id[id(variable)] = compat.adopted(variable)
        return self._by_id[id(variable)]


class TFPLayer(keras.layers.Layer):
    """Makes the weights of one bijector or distribution visible to Keras.

    Keras layers inside the object become sublayers, so that their `trainable`,
    regularizers, dropout and seeds take effect. Every other `tf.Variable` that the
    object reads is adopted: the Keras variable shares its storage.

    Args:
      tfp_object: the bijector or distribution.
      adoption: the model's one `Adoption`.
      context_size: width of the context that the flow takes.
      name: of the layer.
      dtype: of the points.
    """

    def __init__(
        self,
        tfp_object: tfb.Bijector | tfd.Distribution,
        adoption: Adoption,
        *,
        context_size: int = 0,
        name: str,
        dtype: str,
    ) -> None:
        super().__init__(name=name, dtype=dtype)
        self.tfp_object = tfp_object
        self._adoption = adoption
        self._context_size = context_size

    def build(self, input_shape: tuple[int | None, ...]) -> None:
        """Creates the object's weights for points of this shape, and tracks them."""
        points, context = (
            tf.TensorSpec([None, size], self.compute_dtype)
            for size in (input_shape[-1], self._context_size)
        )
        # The trace creates lazy weights, and finds every variable that is read, also
        # in closures.
        apply = tf.function(self._apply, autograph=False)
        with among_points_of(points.shape[-1]):
            if isinstance(self.tfp_object, Bijector):
                # TensorFlow repeats a trace that creates weights.
                self.tfp_object.build(points.shape[-1], self.compute_dtype)
            read = apply.get_concrete_function(points, context).variables
        self.sublayers = list(_keras_layers(self.tfp_object))
        taken = {
            part
            for layer in self.sublayers
            for weight in layer.variables
            for part in _identities(weight.value)
        }
        for variable in (*self.tfp_object.variables, *read):
            if taken.isdisjoint(_identities(variable)):
                taken.update(_identities(variable))
                compat.track(self, self._adoption.adopt(variable))

    def _apply(self, x: tf.Tensor, context: tf.Tensor) -> tuple[tf.Tensor, ...]:
        part = bind(self.tfp_object, context)
        if isinstance(part, tfd.Distribution):
            return (part.log_prob(x),)
        y = part.forward(x)
        if y.shape.rank is not None and y.shape[-1] not in (None, x.shape[-1]):
            name = type(self.tfp_object).__name__.lstrip("_")
            raise ValueError(
                f"Every bijector must keep the width of the points, {x.shape[-1]}. "
                f"{name} turned it into {y.shape[-1]}."
            )
        return y, part.forward_log_det_jacobian(x, event_ndims=1)

    def compute_output_shape(self, input_shape: tuple) -> tuple:
        """Returns `input_shape`: every stage keeps it."""
        return input_shape


def layers_of(
    parts: Sequence[tfb.Bijector | tfd.Distribution], names: Sequence[str], form: Form
) -> list[TFPLayer]:
    """Returns a built layer for each different part, which creates all weights.

    Args:
      parts: the base and the bijectors; one may stand in several places.
      names: of the parts.
      form: of the flow's data.
    """
    adoption, layers = Adoption(), {}
    for i, (part, name) in enumerate(zip(parts, names, strict=True)):
        if id(part) not in layers:
            # Keras makes scope names of layer names.
            label = re.sub(r"[^A-Za-z0-9.]+", "_", name).strip("_")
            layers[id(part)] = TFPLayer(
                part,
                adoption,
                context_size=form.context_size,
                name=f"f{i}_{label}" if i else label,
                dtype=form.dtype,
            )
    for layer in layers.values():
        layer.build((None, form.event_size))
    return list(layers.values())


def _identities(variable: Any) -> set[int]:
    """Returns ids of the variable and, under a strategy, of its replicas."""
    copies = tf.distribute.get_strategy().experimental_local_results(variable)
    return {id(variable), *map(id, copies)}


def _keras_layers(tfp_object: tf.Module) -> Iterator[keras.Layer]:
    """Yields the Keras layers that the object and its parts hold, once each."""
    seen = set()
    for module in (tfp_object, *tfp_object.submodules):
        held = [
            *vars(module).values(),
            *(getattr(module, "parameters", None) or {}).values(),
        ]
        for value in tf.nest.flatten([v for v in held if _may_hold_layers(v)]):
            if isinstance(value, keras.Layer) and id(value) not in seen:
                seen.add(id(value))
                yield value


def _may_hold_layers(value: Any) -> bool:
    return isinstance(value, (keras.Layer, list, tuple, dict))
