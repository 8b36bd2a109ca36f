"""The checks of a bijector's configuration and of the files it is saved in."""

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.flow import Flow
from tfp_flows.testing.bijector_case import (
    METHODS,
    BijectorCase,
    Values,
    evaluate,
    weights_of,
)
from tfp_flows.testing.failures import Failure, NotApplicableError, brief, mismatch

__all__ = ["check_config", "check_keras_file"]

tfb = tfp.bijectors


def check_config(case: BijectorCase) -> Iterator[Failure]:
    """Yields how `from_config(get_config())` differs from the bijector."""
    bijector = case.unbound
    if not (hasattr(bijector, "get_config") and hasattr(bijector, "from_config")):
        raise NotApplicableError
    config = bijector.get_config()
    try:
        json.dumps(config)
    except (TypeError, ValueError) as error:
        yield Failure(f"get_config() cannot be written as JSON: {brief(error)}")
        return
    twin = case.bound(type(bijector).from_config(config), case.context)
    # A bijector that creates its weights at its first input creates them now.
    twin.forward(tf.constant(case.x))
    old, new = weights_of(bijector), weights_of(twin)
    if [w.shape for w in old] != [w.shape for w in new]:
        yield Failure(
            "from_config(get_config()) has other weights: expected shapes "
            f"{[tuple(w.shape) for w in old]}, got {[tuple(w.shape) for w in new]}"
        )
        return
    for source, target in zip(old, new, strict=True):
        target.assign(source)
    message = "from_config(get_config()), with the same weights, is another bijector"
    yield from _compare_twins(case, message, case.values, twin)


def check_keras_file(case: BijectorCase) -> Iterator[Failure]:
    """Yields how the bijector loaded with a Flow differs from the saved one."""
    bijector = case.make()
    by_tfp = type(bijector).__module__.startswith("tensorflow_probability.")
    if not by_tfp and not hasattr(bijector, "get_config"):
        raise NotApplicableError
    try:
        flow = Flow([bijector], event_size=case.x.shape[1], dtype=case.x.dtype.name)
    except (TypeError, ValueError) as error:
        raise NotApplicableError("no Flow takes this bijector") from error
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "flow.keras"
        flow.save(path)
        loaded = keras.models.load_model(path)
    saved, twin = (case.bound(f.bijectors[0], case.context) for f in (flow, loaded))
    y = saved.forward(tf.constant(case.x)).numpy()
    values = evaluate(saved, tf.constant(case.x), tf.constant(y))
    values = Values(*(value.numpy() for value in values))
    message = "the bijector loaded from a .keras file is not the one that was saved"
    yield from _compare_twins(case, message, values, twin, y)


def _compare_twins(
    case: BijectorCase,
    message: str,
    values: Values,
    twin: tfb.Bijector,
    y: np.ndarray | None = None,
) -> Iterator[Failure]:
    y = case.y if y is None else y
    theirs = evaluate(twin, tf.constant(case.x), tf.constant(y))
    for method, got, expected in zip(METHODS, theirs, values, strict=True):
        yield from mismatch(
            f"{message}: {method} differs",
            got.numpy(),
            expected,
            points=case.x,
            tolerance=case.tolerance,
        )
