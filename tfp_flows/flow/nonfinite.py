"""Where in a flow a batch stops being finite."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

__all__ = ["culprit"]

tfb = tfp.bijectors
tfd = tfp.distributions


def culprit(
    x: np.ndarray,
    base: tfd.Distribution,
    bijectors: Sequence[tfb.Bijector],
    names: Sequence[str],
) -> tuple[int, str] | None:
    """Returns the first row that is not finite and what happens to it, or None.

    Follows the points from the data to the base, as `log_prob` does.

    Args:
      x: points `(n, event_size)`.
      base: with its context bound, as the bijectors have.
      bijectors: in sampling order.
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


def _first(values: np.ndarray, told: str) -> tuple[int, str] | None:
    bad = np.argwhere(~np.isfinite(values))
    if not len(bad):
        return None
    place: Any = tuple(bad[0])
    value = str(values[place])
    if len(place) > 1:
        value = f"coordinate {place[1]} is {value}"
    return int(place[0]), told.format(value)
