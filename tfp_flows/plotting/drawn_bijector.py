"""What `plot_warp` and `plot_log_det` draw: a bijector, of a Flow or by itself."""

import dataclasses
from typing import Any

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from numpy.typing import ArrayLike

from tfp_flows._core import checks
from tfp_flows._core.conditioning import bind, context_size_of
from tfp_flows.flow import Flow
from tfp_flows.flow.composition import infer_event_size, name_of
from tfp_flows.plotting import arguments
from tfp_flows.plotting.limits import Limits, as_limits, finite_rows, robust_limits
from tfp_flows.plotting.titles import composed, stage_title

tfb = tfp.bijectors

_SCOUTS = 2000  # input points that choose the limits
_BOX = (-3.0, 3.0)  # the limits of the input of a bijector by itself


@dataclasses.dataclass(frozen=True)
class DrawnBijector:
    """A bijector that is drawn, and where its input lies.

    Attributes:
      bijector: the bijector, with its context bound.
      dtype: the dtype of its input.
      event_size: the event size of its input.
      inputs: input points that choose the limits, `(n, event_size)`.
      titles: the titles of the panels of the input and of the output.
      axis_names: the names of the input and of the output.
    """

    bijector: tfb.Bijector
    dtype: tf.DType
    event_size: int
    inputs: np.ndarray
    titles: tuple[str, str]
    axis_names: tuple[str, str]

    def forward(self, z: np.ndarray) -> np.ndarray:
        """Returns the images of points, float64; NaN where they are not finite."""
        x = np.asarray(self.bijector.forward(tf.constant(z, self.dtype)), np.float64)
        return np.where(np.isfinite(x), x, np.nan)

    def log_det(self, z: np.ndarray) -> np.ndarray:
        """Returns log|det ∂x/∂z| at the points, `(n,)` float64, in nats."""
        points = tf.constant(z, self.dtype)
        values = self.bijector.forward_log_det_jacobian(points, event_ndims=1)
        values = np.broadcast_to(np.asarray(values, np.float64), len(z))
        return np.where(np.isfinite(values), values, np.nan)


def as_drawn_bijector(
    flow: Any, stage: int | None, context: ArrayLike | None, limits: Any, seed: int
) -> DrawnBijector:
    """Returns the part of a Flow, or the bijector, that is to be drawn.

    Raises:
      TypeError: `flow` is neither a Flow nor a bijector.
      ValueError: `stage` is out of range, or given with a bijector by itself.
    """
    if isinstance(flow, tfb.Bijector):
        if stage is not None:
            raise ValueError(
                f"`stage` must be None for a bijector by itself. Received: {stage!r}."
            )
        return _of_bijector(_bound(flow, context), limits)
    if not isinstance(flow, Flow):
        raise TypeError(
            f"`flow` must be a Flow or a tfb.Bijector. Received: {type(flow).__name__}."
        )
    count = len(flow.bijectors)
    if stage is not None:
        stage = arguments.pick_stage(stage, 1, count)
    stages = flow.stages(_SCOUTS, seed=seed, context=context)
    start, end = (0, count) if stage is None else (stage - 1, stage)
    before = stage_title(stages[start], range(start))
    if stage is None:
        whole = flow.distribution if context is None else flow.given(context)
        bijector = whole.bijector
        after = stage_title(stages[-1], range(count))
        if count > 1:
            after = f"{composed(range(count))}\nall {count} bijectors"
    else:
        bijector = stages[stage].bijector
        after = stage_title(stages[end], range(end))
    return DrawnBijector(
        bijector,
        stages[0].samples.dtype,
        flow.event_size,
        np.asarray(stages[start].samples, np.float64),
        (before, after),
        (composed(range(start)), composed(range(end))),
    )


def _bound(bijector: tfb.Bijector, context: ArrayLike | None) -> tfb.Bijector:
    width = context_size_of(bijector)
    size = 0 if context is None else np.size(context)
    if (context is None) == bool(width) or size != width:
        raise ValueError(
            "`context` must be one row for a conditional bijector, and None for "
            f"another: expected shape ({width},). Received: {context!r}."
        )
    return bind(bijector, context)


def _of_bijector(bijector: tfb.Bijector, limits: Any) -> DrawnBijector:
    try:
        event_size = infer_event_size(None, None, [bijector])
    except ValueError:  # the bijector accepts any event size
        pairs = 2 if limits is None else len(np.atleast_2d(limits))
        event_size = max(pairs, 2)
    box = np.array(as_limits(_BOX if limits is None else limits, event_size))
    uniform = np.random.default_rng(0).uniform(size=(_SCOUTS, event_size))
    dtype = bijector.dtype if isinstance(bijector.dtype, tf.DType) else tf.float32
    return DrawnBijector(
        bijector,
        dtype,
        event_size,
        box[:, 0] + uniform * (box[:, 1] - box[:, 0]),
        ("z", f"f(z)\n{name_of(bijector)}"),
        ("z", "f(z)"),
    )


def input_limits(picture: DrawnBijector, limits: Any) -> list[Limits]:
    """Returns the user's limits of the input, or else robust ones of its points."""
    if limits is not None:
        return as_limits(limits, picture.event_size)
    return robust_limits(picture.inputs)


def middle_of(picture: DrawnBijector, box: list[Limits], at: Any) -> np.ndarray:
    """Returns the point `at` which the coordinates that are not drawn are held."""
    if at is None:
        finite = picture.inputs[finite_rows(picture.inputs)]
        return np.median(finite, 0) if len(finite) else np.mean(box, 1)
    at = checks.as_points(at, picture.event_size, dtype=np.float64, name="at")
    if at.ndim != 1:
        raise ValueError(
            f"`at` must be one point, ({picture.event_size},). "
            f"Received shape {at.shape}."
        )
    return at


def scouts_of(
    picture: DrawnBijector, picked: list[int], plane: list[Limits], middle: np.ndarray
) -> np.ndarray:
    """Returns the inputs moved into the plane that is drawn and into its limits."""
    low, high = np.transpose(plane)
    points = np.tile(middle, (len(picture.inputs), 1))
    points[:, picked] = np.clip(picture.inputs[:, picked], low, high)
    return points
