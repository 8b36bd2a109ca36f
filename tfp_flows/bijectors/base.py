"""What every bijector of ours shares: weights on demand, log-dets, configuration."""

import contextlib
import copy
import inspect
import itertools
import re
import threading
from collections.abc import Iterator
from contextvars import ContextVar
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks, compat
from tfp_flows._core.caches import CacheOfBoth
from tfp_flows._core.conditioning import bind
from tfp_flows._core.part import FlowPart
from tfp_flows._core.serialization import decode_arguments, encode_arguments

tfb = tfp.bijectors

__all__ = [
    "Bijector",
    "among_points_of",
    "broadcast_rows",
    "create_inner_weights",
    "is_given",
    "learnable",
    "register",
]

register = keras.saving.register_keras_serializable("tfp_flows")

# TFP's cache distinguishes bijectors by these. An id could be reused after a deletion.
_TOKENS = itertools.count()

# Weights are created once, even if the first inputs come from several threads.
_BUILDING = threading.RLock()

# Width of the points that a Flow traces its stages with.
_KNOWN_WIDTH: ContextVar[int | None] = ContextVar("known_width", default=None)


@contextlib.contextmanager
def among_points_of(width: int) -> Iterator[None]:
    """Lets bijectors know the width of points whose tensors have lost it.

    In a graph, some of TFP's bijectors lose it at width 1.
    """
    token = _KNOWN_WIDTH.set(width)
    try:
        yield
    finally:
        _KNOWN_WIDTH.reset(token)


class Bijector(FlowPart, compat.BijectorHooks):
    """Base of our bijectors, which act on vectors: points of shape `(..., d)`.

    A subclass gives the mathematics, with value and log-det at once, since these share
    their work:

    - `_build(event_size, dtype)`: checks `event_size` and creates the weights;
    - `_forward_and_log_det(x)`: `(y, log|det ∂y/∂x|)`;
    - `_inverse_and_log_det(y)`: `(x, log|det ∂x/∂y|)`.

    The weights are created once: by the Flow that the bijector stands in, or by its
    first input, whose width and dtype they take.

    A bijector whose constructor takes `context_size`, and was given more than 0, is
    conditional: `given(context)` returns it with the context bound, and only that
    one maps points. Inside the three methods above, `_context_at(x)` is the context
    of each point; `context_size` is the width of it.

    A Flow asks its bijectors a few things more, such as a start from data. These hooks
    (`needs_adaptation`, `adapt`, `adapt_inverted`, `adapt_to`, `outside` and
    `warn_of_cost`) have defaults, and a subclass overrides those that concern it.

    Args:
      parameters: the constructor's `locals()`; its arguments in there are the
        configuration.
      event_ndims: 1 for a bijector of vectors, 0 for an elementwise one.
      is_constant_jacobian: whether the Jacobian matrix is the same everywhere, under
        one context.
      dtype: of weights and points; that of the first input when None.
      name: as in TFP.

    Raises:
      TypeError: `name` is not a string.
    """

    def __init__(
        self,
        parameters: dict[str, Any],
        *,
        event_ndims: int = 1,
        is_constant_jacobian: bool = False,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        if not isinstance(name, str | None):
            raise TypeError(f"`name` must be a string. Received: {name!r}.")
        names = inspect.signature(type(self)).parameters
        super().__init__(
            forward_min_event_ndims=event_ndims,
            is_constant_jacobian=is_constant_jacobian,
            dtype=None if dtype is None else tf.as_dtype(dtype),
            parameters={key: parameters[key] for key in names},
            name=name or _snake_case(type(self).__name__),
        )
        self._context_size = checks.size(
            parameters.get("context_size", 0), "context_size"
        )
        self._event_size: int | None = None
        self._context: tf.Tensor | None = None
        self._unbound: Bijector | None = (
            None  # the bijector whose weights this bound one shares
        )
        self._token = next(_TOKENS)

    @property
    def context_size(self) -> int:
        """Width of the context; 0 for a bijector that takes none."""
        return self._context_size

    def given(self, context: Any) -> Self:
        """Returns this bijector with the context bound, on the same weights.

        Args:
          context: `(..., context_size)`; its leading axes broadcast against those of
            the points.

        Raises:
          ValueError: the bijector takes no context, or one of another width.
        """
        if not self.context_size:
            raise ValueError(
                f"{type(self).__name__} takes no context. Remedy: construct it with "
                "`context_size=`."
            )
        context = tf.convert_to_tensor(context, dtype_hint=self.dtype or tf.float32)
        if context.shape.rank == 0 or context.shape[-1] != self.context_size:
            raise ValueError(
                f"`context` must have shape (..., {self.context_size}). "
                f"Received shape {context.shape}."
            )
        bound = copy.copy(self)
        bound._unbound = self
        bound._context = context
        bound._token = next(_TOKENS)
        compat.forget_batch_shapes(bound)
        return bound

    @property
    def event_size(self) -> int | Any:
        """Width of the points, or None before the weights exist."""
        return self._event_size

    @property
    def required_event_size(self) -> int | None:
        """The one width that the bijector can act on, or None where it takes many."""
        return self._event_size

    def build(self, event_size: int, dtype: Any = None) -> None:
        """Creates the weights for points of width `event_size`; once.

        Args:
          event_size: d, the width of the points.
          dtype: of the weights: the constructor's when None, else float32.

        Raises:
          ValueError: the bijector cannot act on points of this width, or was built
            for another.
        """
        with _BUILDING:
            if self._event_size is not None:
                self._check_width(event_size)
                return
            if self._unbound is not None:
                self._unbound.build(event_size, dtype)
                own = ("_context", "_unbound", "_token", compat.BATCH_SHAPES)
                shared = vars(self._unbound).items()
                self.__dict__.update({k: v for k, v in shared if k not in own})
                return
            event_size = checks.positive_size(event_size, "event_size")
            dtype = tf.as_dtype(self.dtype or dtype or tf.float32)
            with tf.init_scope():  # outside any graph, since weights outlive it
                self._build(event_size, dtype)
            self._settle_dtype(dtype)
            self._event_size = event_size

    def _check_width(self, width: int | None) -> None:
        if width is not None and width != self._event_size:
            raise ValueError(
                f"{type(self).__name__} was built for points of width "
                f"{self._event_size}. Received width {width}."
            )

    def _ready(self, points: tf.Tensor) -> tf.Tensor:
        """Builds from the first points; checks the width of later ones.

        Returns the points, broadcast against the context where there is one.
        """
        if points.shape.rank == 0:
            raise ValueError(
                f"{type(self).__name__} acts on points of shape (..., event_size). "
                "Received a scalar."
            )
        width = points.shape[-1] if points.shape.rank is not None else None
        if self._event_size is not None:
            self._check_width(width)
        elif (known := width or _KNOWN_WIDTH.get()) is None:
            raise ValueError(
                f"{type(self).__name__} cannot take its width from points of unknown "
                "width. Remedy: call `build(event_size)` first."
            )
        else:
            self.build(known, points.dtype)
        if width is None and points.shape.rank is not None:
            points = tf.ensure_shape(points, [*points.shape[:-1], self._event_size])
        if not self.context_size:
            return points
        if self._context is None:
            raise ValueError(
                f"{type(self).__name__} needs a context of width {self.context_size}. "
                "Remedy: call `given(context)`, of the bijector or of its Flow."
            )
        return broadcast_rows(points, self._context)

    def _context_at(self, points: tf.Tensor) -> tf.Tensor | None:
        """Returns the context of each point, `(..., context_size)`, or None."""
        if self._context is None:
            return None
        return broadcast_rows(tf.cast(self._context, points.dtype), points)

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data; weights are not in it."""
        return encode_arguments(self.parameters)

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns a new bijector from what `get_config` returned."""
        return cls(**decode_arguments(config))

    # What subclasses give.

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        raise NotImplementedError

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        raise NotImplementedError

    # What TFP calls.

    def _forward_and_attributes(self, x: tf.Tensor) -> tuple[tf.Tensor, dict]:
        x = self._ready(x)
        y, log_det = self._forward_and_log_det(x)
        return y, {"ildj": -log_det}

    def _inverse_and_attributes(self, y: tf.Tensor) -> tuple[tf.Tensor, dict]:
        y = self._ready(y)
        x, log_det = self._inverse_and_log_det(y)
        return x, {"ildj": log_det}

    def _forward_log_det_jacobian(self, x: tf.Tensor) -> tf.Tensor:
        cache = compat.cache_of(self)
        kept = cache.forward(x)  # the attributes live as long as this value
        log_det = -cache.forward_attributes(x)["ildj"]
        del kept
        return log_det

    def _inverse_log_det_jacobian(self, y: tf.Tensor) -> tf.Tensor:
        cache = compat.cache_of(self)
        kept = cache.inverse(y)
        log_det = cache.inverse_attributes(y)["ildj"]
        del kept
        return log_det

    @classmethod
    def _parameter_properties(cls, dtype: Any) -> dict[str, Any]:
        return {}  # the weights have no batch axes, a context may have

    def _static_batch(self, x_event_ndims: int) -> tf.TensorShape:
        shape = super()._static_batch(x_event_ndims)
        if self._context is None:
            return shape
        count = max(self._context.shape.rank - x_event_ndims, 0)
        rows = [*self._context.shape[:-1], 1][:count]
        return tf.broadcast_static_shape(shape, tf.TensorShape(rows))

    def _dynamic_batch(self, x_event_ndims: int) -> tf.Tensor:
        shape = super()._dynamic_batch(x_event_ndims)
        if self._context is None:
            return shape
        count = max(self._context.shape.rank - x_event_ndims, 0)
        rows = tf.concat([tf.shape(self._context)[:-1], [1]], 0)[:count]
        return tf.broadcast_dynamic_shape(shape, rows)

    def _identity(self) -> int:
        # Equal arguments do not make equal bijectors: each has weights of its own.
        return self._token


compat.give_cache(Bijector, CacheOfBoth())


def _snake_case(name: str) -> str:
    # LULinear is lu_linear.
    return re.sub(r"(?<=[a-z])(?=[A-Z])|(?<=[A-Z])(?=[A-Z][a-z])", "_", name).lower()


def broadcast_rows(points: tf.Tensor, like: tf.Tensor) -> tf.Tensor:
    """Returns `points` with leading axes broadcast against those of `like`.

    Args:
      points: `(..., d)`.
      like: `(..., k)`.
    """
    ours, theirs = points.shape[:-1], like.shape[:-1]
    if theirs.rank == 0 or (ours == theirs and ours.is_fully_defined()):
        return points
    batch = tf.broadcast_dynamic_shape(tf.shape(points)[:-1], tf.shape(like)[:-1])
    static = tf.broadcast_static_shape(ours, theirs)
    full = tf.broadcast_to(points, tf.concat([batch, tf.shape(points)[-1:]], 0))
    return tf.ensure_shape(full, [*static, points.shape[-1]])


def create_inner_weights(
    bijector: tfb.Bijector, event_size: int, context_size: int, dtype: tf.DType
) -> None:
    """Creates the weights of a bijector that another one is made of.

    Args:
      bijector: any, ours or TFP's.
      event_size: width of its points.
      context_size: width of its context.
      dtype: of the points.
    """

    def forward(x: tf.Tensor, context: tf.Tensor) -> tf.Tensor:
        return bind(bijector, context).forward(x)

    # A trace creates lazy weights without asking for values at any point.
    tf.function(forward, autograph=False).get_concrete_function(
        tf.TensorSpec([None, event_size], dtype), tf.TensorSpec([context_size], dtype)
    )


def is_given(value: Any) -> bool:
    """Whether a parameter is the caller's own tensor or variable, to be used as is."""
    kinds = (tf.Variable, keras.Variable, tfp.util.DeferredTensor, tf.Tensor)
    return isinstance(value, kinds)


def learnable(value: Any, dtype: tf.DType, *, trainable: bool, name: str) -> Any:
    """Returns `value` as a variable, or as it is when the caller made one already.

    Args:
      value: a number, an array, or the caller's variable or tensor.
      dtype: of the variable.
      trainable: whether training may move the variable.
      name: of the variable.
    """
    if is_given(value):
        return value
    return tf.Variable(
        np.asarray(value, dtype.as_numpy_dtype), trainable=trainable, name=name
    )
