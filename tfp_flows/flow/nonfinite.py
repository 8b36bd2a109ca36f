"""Where in a flow a batch stops being finite."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

if TYPE_CHECKING:
    from tfp_flows.flow.flow import Flow

__all__ = ["explanation", "first_row"]

tfb = tfp.bijectors
tfd = tfp.distributions


def first_row(
    x: np.ndarray,
    base: tfd.Distribution,
    bijectors: Sequence[tfb.Bijector],
    names: Sequence[str],
) -> tuple[int, str] | None:
    """Returns the first row that is not finite and what happens to it, or None.

    It follows the points from the data to the base, as `log_prob` does.

    Args:
      x: points `(n, event_size)`.
      base: the base distribution, with a context bound.
      bijectors: in sampling order, with a context bound.
      names: of the base and the bijectors.
    """
    points = tf.constant(x)
    found = _first(x, "{} in the data")
    if found:
        return found
    for name, bijector in zip(names[:0:-1], bijectors[::-1], strict=True):
        log_det = bijector.inverse_log_det_jacobian(points, event_ndims=1)
        points = bijector.inverse(tf.identity(points))
        found = _first(points.numpy(), f"{{}} before {name}") or _first(
            np.broadcast_to(log_det, x.shape[:1]), f"the log-det of {name} is {{}}"
        )
        if found:
            return found
    return _first(base.log_prob(points).numpy(), f"log_prob of {names[0]} is {{}}")


def explanation(
    flow: "Flow", batch: dict[str, np.ndarray]
) -> tuple[int | None, str | None]:
    """Explains why a training step is not finite, as `Guard` asks for it.

    Args:
      flow: with the weights before the step.
      batch: of the step, by name.

    Returns:
      The number of the first row that is not finite and what happens to it; or None
      and the weight whose gradient is not finite; or twice None.
    """
    context = tf.constant(batch.get("context", np.zeros([1, 0])), flow.dtype)
    found = first_row(batch["x"], *flow._evaluator.bound(context), flow._stage_names)
    if found:
        return found
    weights = flow.trainable_weights
    with tf.GradientTape() as tape:
        log_prob = flow(batch if len(batch) > 1 else batch["x"])
        loss = flow.compute_loss(y_pred=log_prob)
    for weight, gradient in zip(weights, tape.gradient(loss, weights), strict=True):
        if gradient is not None and not np.isfinite(gradient).all():
            return None, f"The gradient of {weight.path} is not finite."
    return None, None


def _first(values: np.ndarray, message: str) -> tuple[int, str] | None:
    bad = np.argwhere(~np.isfinite(values))
    if not len(bad):
        return None
    place: Any = tuple(bad[0])
    value = str(values[place])
    if len(place) > 1:
        value = f"coordinate {place[1]} is {value}"
    return int(place[0]), message.format(value)
