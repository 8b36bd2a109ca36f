"""Checks of an unnormalized log-density and of the flow that is fitted to it."""

from collections.abc import Callable
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows.flow import Flow

__all__ = [
    "TARGET_NOT_FINITE",
    "check",
    "check_target",
    "log_ess",
    "raise_where",
    "target_values",
]

TARGET_NOT_FINITE = (
    "`target_log_prob` is NaN or infinite at points that the flow samples. "
    "Remedy: where the target ends, end the flow too, with a last bijector onto its "
    "support; where it overflows, a lower learning rate or `global_clipnorm`."
)


def check(flow: Any, target_log_prob: Any) -> None:
    """Raises if the two are not a Flow without context and a function."""
    if not isinstance(flow, Flow):
        raise TypeError(f"`flow` must be a Flow. Received: {type(flow).__name__}.")
    if not callable(target_log_prob):
        raise TypeError(
            "`target_log_prob` must be a function of points. "
            f"Received: {type(target_log_prob).__name__}."
        )
    if flow.context_size:
        raise ValueError(
            f"`flow` must have one density. Received one that is conditional on a "
            f"context of width {flow.context_size}."
        )


def target_values(target_log_prob: Callable, x: tf.Tensor) -> tf.Tensor:
    """Returns the target at n points, `(n,)`, with its shape and dtype checked."""
    values = target_log_prob(x)
    shape = np.shape(values)
    if shape != (x.shape[0],):
        raise ValueError(
            "`target_log_prob` must return one number a point: expected shape "
            f"({x.shape[0]},). Received shape {shape}."
        )
    values = tf.convert_to_tensor(values)
    if values.dtype != x.dtype:
        raise TypeError(
            f"`target_log_prob` must return {x.dtype.name}, the flow's dtype. "
            f"Received {values.dtype.name}."
        )
    return values


def check_target(target_log_prob: Callable, x: tf.Tensor) -> None:
    """Raises if the target or its gradient is not finite at the samples `x`."""
    with tf.GradientTape() as tape:
        tape.watch(x)
        values = target_values(target_log_prob, x)
    slope = tape.gradient(values, x)
    if slope is None:
        raise ValueError(
            "`target_log_prob` has no gradient: it must be computed from the points "
            "by TensorFlow operations that have one."
        )
    raise_where(
        ~np.isfinite(values.numpy()), x, "NaN or infinite values", TARGET_NOT_FINITE
    )
    bad = ~np.isfinite(tf.convert_to_tensor(slope).numpy()).all(-1)
    raise_where(bad, x, "a NaN or infinite gradient")


def raise_where(bad: np.ndarray, x: tf.Tensor, what: str, remedy: str = "") -> None:
    """Raises with the first of the samples `x` that is `bad`, if there is one."""
    if bad.any():
        first = int(np.argmax(bad))
        raise ValueError(
            f"{remedy or '`target_log_prob` must be finite.'} Received {what} at "
            f"{int(bad.sum())} of {len(bad)} samples; the first at x = "
            f"{x[first].numpy()}."
        )


def log_ess(log_weights: tf.Tensor) -> tf.Tensor:
    """Returns the log of the effective sample size (Σ w)² / Σ w²."""
    return 2 * tf.reduce_logsumexp(log_weights) - tf.reduce_logsumexp(2 * log_weights)
