"""Checks of a base and bijectors, and what they imply: size, dtype and names."""

import math
from collections import Counter
from collections.abc import Sequence
from typing import Any

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows._core.part import hooks_of

__all__ = [
    "as_base",
    "as_bijectors",
    "check_trainable",
    "infer_dtype",
    "infer_event_size",
    "name_of",
    "random_orders",
    "stage_names",
]

tfb = tfp.bijectors
tfd = tfp.distributions


def as_bijectors(bijectors: Any) -> tuple[tfb.Bijector, ...]:
    """Returns the bijectors as a tuple.

    Raises:
      TypeError: something in there is not a bijector.
    """
    if isinstance(bijectors, tfb.Bijector):
        raise TypeError(
            "`bijectors` must be a list of bijectors in sampling order. Received one "
            f"{type(bijectors).__name__}. Remedy: write [bijector]."
        )
    try:
        bijectors = tuple(bijectors)
    except (TypeError, NotImplementedError) as error:  # the latter of Keras's tensors
        raise TypeError(
            "`bijectors` must be a list of bijectors in sampling order. Received a "
            f"{type(bijectors).__name__}."
        ) from error
    for i, bijector in enumerate(bijectors):
        if not isinstance(bijector, tfb.Bijector):
            raise TypeError(
                f"`bijectors` must hold tfb.Bijector objects. Received at index {i}: "
                f"{bijector!r}."
            )
    return bijectors


def infer_dtype(
    dtype: Any, base: tfd.Distribution | None, bijectors: Sequence[tfb.Bijector]
) -> tf.DType:
    """Returns the one floating dtype of a flow.

    Raises:
      TypeError: `base` is not a distribution.
      ValueError: two of its parts, or one of them and `dtype`, disagree.
    """
    if base is not None and not isinstance(base, tfd.Distribution):
        raise TypeError(
            f"`base` must be a TFP distribution. Received a {type(base).__name__}: "
            f"{base!r}."
        )
    parts = [] if base is None else [("base", base)]
    parts += [(f"bijector {i}", b) for i, b in enumerate(bijectors)]
    found = {} if dtype is None else {"`dtype`": tf.as_dtype(dtype)}
    for where, part in parts:
        own = part.dtype
        if isinstance(own, tf.DType) and own.is_floating:
            found[f"{where} ({_class_name(part)})"] = own
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{where}: {own.name}" for where, own in found.items())
        raise ValueError(
            f"All parts of a flow must have one dtype. Received {listed}. Remedy: give "
            "TFP's parameters as arrays of that dtype, such as np.float64(2.0)."
        )
    result = next(iter(found.values()), tf.as_dtype(keras.config.floatx()))
    if result not in (tf.float32, tf.float64):
        raise ValueError(
            f"`dtype` must be float32 or float64. Received: {result.name}."
        )
    return result


def infer_event_size(
    event_size: int | None,
    base: tfd.Distribution | None,
    bijectors: Sequence[tfb.Bijector],
) -> int:
    """Returns the width of a flow's points.

    Raises:
      ValueError: its parts disagree, or no part has a width of its own.
    """
    found: dict[str, Any] = {}
    if event_size is not None:
        found["`event_size`"] = checks.positive_size(event_size, "event_size")
    if base is not None:
        shape = [*base.batch_shape, *base.event_shape]
        if len(shape) == 1:
            found[f"base ({_class_name(base)})"] = shape[0]
    sizes = {
        f"bijector {i} ({_class_name(bijector)})": _size_of(bijector)
        for i, bijector in enumerate(bijectors)
    }
    wide = {where: size for where, size in sizes.items() if (size or 0) > 1}
    found |= wide
    if not found:  # parameters of width 1 fit every width, and count where alone
        found = {where: size for where, size in sizes.items() if size == 1}
    if not found:
        raise ValueError(
            "`event_size` is needed: neither the base nor a bijector tells the width "
            "of the points. Remedy: Flow(bijectors, event_size=2)."
        )
    if len(set(found.values())) > 1:
        listed = ", ".join(f"{where}: {size}" for where, size in found.items())
        raise ValueError(
            f"The parts of a flow must have one event size. Received {listed}."
        )
    return next(iter(found.values()))


def _size_of(bijector: tfb.Bijector) -> int | None:
    """Returns the width that a bijector's parameters fix, or None."""
    own = hooks_of(bijector).required_event_size
    if own is not None:
        return own
    nested = getattr(bijector, "bijectors", None)
    if nested is None:
        inner = getattr(bijector, "bijector", None)
        nested = [] if inner is None else [inner]
    if isinstance(nested, (list, tuple)) and nested:
        blocks = getattr(bijector, "block_sizes", None)
        if blocks is not None:
            return int(np.sum(blocks))
        # Parameters of width 1 fit every width.
        return max(filter(None, map(_size_of, nested)), default=None)
    return _size_of_parameters(bijector)


def _size_of_parameters(bijector: tfb.Bijector) -> int | None:
    """Returns the last axis of the parameters that act on vectors."""
    try:
        if bijector.forward_min_event_ndims == 0:
            shape = bijector.experimental_batch_shape(x_event_ndims=0)
            return shape[-1] if shape.rank else None
        for name, kind in bijector.parameter_properties().items():
            value: Any = (bijector.parameters or {}).get(name)
            shape = tuple(value.shape if hasattr(value, "shape") else np.shape(value))
            if isinstance(kind.event_ndims, int) and kind.event_ndims >= 1 and shape:
                return shape[-1]
    except (NotImplementedError, TypeError, ValueError, AttributeError):
        pass  # a user's bijector need not describe its parameters
    return None


def as_base(
    base: tfd.Distribution | None, event_size: int, dtype: tf.DType
) -> tfd.Distribution:
    """Returns a distribution of vectors `(event_size,)`, without batch axes.

    Raises:
      ValueError: `base` cannot be made one.
    """
    if base is None:
        return tfd.MultivariateNormalDiag(
            loc=tf.zeros([event_size], dtype), scale_diag=tf.ones([event_size], dtype)
        )
    if tf.nest.is_nested(base.event_shape):
        raise ValueError(
            "`base` must be a distribution of vectors, not of several parts. Received "
            f"event shape {base.event_shape}. Remedy: tfd.Blockwise joins them."
        )
    batch, event = base.batch_shape.as_list(), base.event_shape.as_list()
    if batch == [] and event == [event_size]:
        return base
    if batch == [event_size] and event == []:
        return tfd.Independent(base, 1)
    if batch == [] and event == []:
        return tfd.Sample(base, [event_size])
    raise ValueError(
        f"`base` must be a distribution of points of width {event_size}, or of single "
        f"numbers. Received batch shape {batch} and event shape {event}."
    )


def stage_names(
    base: tfd.Distribution, bijectors: Sequence[tfb.Bijector]
) -> tuple[str, ...]:
    """Returns a name for the base and each bijector: the user's own, else its class.

    Different bijectors of one name are numbered in the order of the list, so that
    they can be distinguished after a shuffle.
    """
    distinct = {id(bijector): name_of(bijector) for bijector in bijectors}
    repeated = {name for name, n in Counter(distinct.values()).items() if n > 1}
    numbers: Counter = Counter()
    for key, name in distinct.items():
        if name in repeated:
            numbers[name] += 1
            distinct[key] = f"{name} {numbers[name]}"
    if _class_name(base) in ("Sample", "Independent"):
        base = base.distribution  # that of each coordinate
    return (_class_name(base), *(distinct[id(bijector)] for bijector in bijectors))


def check_trainable(weights: Sequence[keras.Variable], names: Sequence[str]) -> None:
    """Raises where stages of these names have no weight that can be fitted."""
    if not weights:
        raise ValueError(
            f"Nothing to fit: no stage has a trainable weight ({', '.join(names)}). "
            "Remedy: give parameters as numbers to bijectors of tfp_flows, or as "
            "tf.Variable to TFP's."
        )


def name_of(bijector: tfb.Bijector) -> str:
    """Returns the name that the user gave to a bijector, else that of its class."""
    class_name = _class_name(bijector)
    given = (bijector.parameters or {}).get("name")
    is_wrapper = class_name in ("Chain", "Invert")  # their names are made of others
    if given and not is_wrapper and given.replace("_", "") != class_name.lower():
        return given
    if class_name == "Invert":
        return f"Invert({name_of(bijector.bijector)})"
    return class_name


def _class_name(value: Any) -> str:
    return type(value).__name__.lstrip("_")


def random_orders(count: int, n: int, *, seed: int) -> list[list[int]]:
    """Returns the given order, then up to n different others.

    Args:
      count: of the bijectors.
      n: number of others; fewer where there are not as many.
      seed: of the others.

    Raises:
      ValueError: fewer than two bijectors have one order only.
    """
    if count < 2:
        raise ValueError(
            "Orders need a flow of at least 2 bijectors, which can change places. "
            f"Received one with {count}."
        )
    rng = np.random.default_rng(seed)
    orders = [tuple(range(count))]
    while len(orders) < min(n + 1, math.factorial(count)):
        order = tuple(int(i) for i in rng.permutation(count))
        if order not in orders:
            orders.append(order)
    return [list(order) for order in orders]
