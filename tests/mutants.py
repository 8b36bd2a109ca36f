"""Deliberately broken bijectors, each wrong in one way that has a name.

All act on points of shape `(n, 2)`, or of any width. `MUTANTS` tells for each the
check that must catch it and what the report must say; `CONDITIONAL_MUTANTS` those that
need a context of width 1.
"""

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows.bijectors.base import Bijector, register

tfb = tfp.bijectors


class Stretch(tfb.Bijector):
    """Right: y = 3 x. The mutants below each change one thing."""

    def __init__(self, event_ndims=0, is_constant_jacobian=True, dtype=None):
        super().__init__(
            forward_min_event_ndims=event_ndims,
            is_constant_jacobian=is_constant_jacobian,
            dtype=dtype,
        )

    def _forward(self, x):
        return 3 * x

    def _inverse(self, y):
        return y / 3

    def _forward_log_det_jacobian(self, x):
        return tf.math.log(tf.constant(3, x.dtype))

    @classmethod
    def _parameter_properties(cls, dtype):
        return {}


class WrongInverse(Stretch):
    """Subtracts where it should divide: hidden by the cache in eager mode."""

    def _inverse(self, y):
        return y - 3


class ForwardAsInverse(Stretch):
    def _inverse(self, y):
        return 3 * y


class ShiftedInverse(Stretch):
    def _inverse(self, y):
        return y / 3 + 1


class WrongSign(Stretch):
    def _forward_log_det_jacobian(self, x):
        return -tf.math.log(tf.constant(3, x.dtype))


class InverseLogDetNotNegated(Stretch):
    """Gives the forward log-det in both directions."""

    def _inverse_log_det_jacobian(self, y):
        return tf.math.log(tf.constant(3, y.dtype))


class TutorialShiftAndCube(tfb.Bijector):
    """(z_a, z_b + e·z_a³) as a tutorial has it: volume-preserving, log-det 1."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=1, is_constant_jacobian=True)

    def _forward(self, x):
        return tf.stack([x[..., 0], x[..., 1] + 3 * x[..., 0] ** 3], axis=-1)

    def _inverse(self, y):
        return tf.stack([y[..., 0], y[..., 1] - 3 * y[..., 0] ** 3], axis=-1)

    def _forward_log_det_jacobian(self, x):
        return tf.constant(1, x.dtype)


class TutorialRotation2D(tfb.Bijector):
    """As a tutorial has it: the second row's sign makes it a reflection."""

    def __init__(self):
        super().__init__(forward_min_event_ndims=1, is_constant_jacobian=True)
        self.cos, self.sin = np.cos(0.5), np.sin(0.5)

    def _forward(self, x):
        a, b = tf.unstack(x, axis=-1)
        rows = [self.cos * a - self.sin * b, -(self.sin * a + self.cos * b)]
        return tf.stack(rows, axis=-1)

    def _inverse(self, y):
        a, b = tf.unstack(y, axis=-1)
        rows = [self.cos * a + self.sin * b, -self.sin * a + self.cos * b]
        return tf.stack(rows, axis=-1)

    def _forward_log_det_jacobian(self, x):
        return tf.constant(0, x.dtype)


class UnreducedLogDet(Stretch):
    """One log-det a coordinate, which a batch as large as the event would hide."""

    def __init__(self):
        super().__init__(event_ndims=1)

    def _forward_log_det_jacobian(self, x):
        return tf.math.log(tf.constant(3, x.dtype)) * tf.ones_like(x)


class MeanLogDet(Stretch):
    def __init__(self):
        super().__init__(event_ndims=1, is_constant_jacobian=False)

    def _forward(self, x):
        return tf.exp(x)

    def _inverse(self, y):
        return tf.math.log(y)

    def _forward_log_det_jacobian(self, x):
        return tf.reduce_mean(x, axis=-1)


class FalselyConstantJacobian(tfb.Bijector):
    def __init__(self):
        super().__init__(forward_min_event_ndims=0, is_constant_jacobian=True)

    def _forward(self, x):
        return tf.sinh(x)

    def _inverse(self, y):
        return tf.asinh(y)

    def _forward_log_det_jacobian(self, x):
        return tf.math.log(tf.cosh(x))

    @property
    def _is_permutation(self):
        return False


class BatchMixing(Stretch):
    """Centers by the mean of the batch, as a careless normalization does."""

    def _forward(self, x):
        return 3 * (x - tf.reduce_mean(x))


class EagerOnly(Stretch):
    """Takes another branch when it is traced."""

    def _forward(self, x):
        return (3 if tf.executing_eagerly() else 3.5) * x


class CountsCalls(Stretch):
    """A side effect in Python, which a graph runs only once."""

    def __init__(self):
        super().__init__()
        self.calls = {"forward": 0}

    def _forward(self, x):
        self.calls["forward"] += 1
        return (3 if self.calls["forward"] < 3 else 3.5) * x


class WithWeight(Stretch):
    """Right: y = x·exp(w), w one number a coordinate."""

    def __init__(self, value=0.5, dtype=tf.float32):
        super().__init__(event_ndims=1, is_constant_jacobian=True, dtype=dtype)
        self.make_weight(tf.Variable(np.full(2, value), dtype=dtype, name="scale"))

    def make_weight(self, weight):
        self.log_scale = weight

    def weight(self):
        return tf.convert_to_tensor(self.log_scale)

    def _forward(self, x):
        return tf.linalg.matvec(tf.linalg.diag(tf.exp(self.weight())), x)

    def _inverse(self, y):
        return tf.linalg.matvec(tf.linalg.diag(tf.exp(-self.weight())), y)

    def _forward_log_det_jacobian(self, x):
        return tf.reduce_sum(self.weight())


class UntrackedWeight(WithWeight):
    """Keeps its weight in a closure, where neither TFP nor Keras looks."""

    def make_weight(self, weight):
        self.weight = lambda: tf.convert_to_tensor(weight)


class UnusedWeight(WithWeight):
    def make_weight(self, weight):
        self.log_scale = weight
        self.spare = tf.Variable(1.0, name="spare")


class FrozenInConstructor(WithWeight):
    """Turns its weight into a tensor, once and for all."""

    def make_weight(self, weight):
        self.log_scale = weight
        self.constant = tf.convert_to_tensor(weight)

    def weight(self):
        return self.constant


class NaNGradient(WithWeight):
    """`where` hides w·log w at w = 0 in the value, and not in the gradient."""

    def __init__(self):
        super().__init__(value=0.0)

    def weight(self):
        w = tf.convert_to_tensor(self.log_scale)
        return tf.where(w > 0, w * tf.math.log(w), 0.1 * w)


class Float64Constant(Stretch):
    """A NumPy constant makes the log-det float64 whatever the points are."""

    def _forward_log_det_jacobian(self, x):
        return tf.constant(np.log(3.0))


class Float64Only(Stretch):
    def _forward(self, x):
        return tf.constant(3.0, tf.float64) * x


class Broadcasting(Stretch):
    """Returns two coordinates for one."""

    def _forward(self, x):
        return x * tf.constant([3, 3], x.dtype)


class WrongWidthSilently(Stretch):
    """Drops every coordinate after the second."""

    def _forward(self, x):
        return 3 * x[..., :2]


@keras.saving.register_keras_serializable("tests")
class LossyConfig(Stretch):
    """Forgets its factor in its configuration."""

    def __init__(self, factor=3.0):
        super().__init__()
        self.factor = factor

    def _forward(self, x):
        return self.factor * x

    def _inverse(self, y):
        return y / self.factor

    def _forward_log_det_jacobian(self, x):
        return tf.math.log(tf.constant(self.factor, x.dtype))

    def get_config(self):
        return {}

    @classmethod
    def from_config(cls, config):
        return cls(**config)


class ConfigNotJson(LossyConfig):
    def get_config(self):
        return {"factor": np.float32(3.0)}


class Raises(Stretch):
    def _inverse(self, y):
        raise NotImplementedError("no inverse today")


class LeavesDomain(Stretch):
    """Takes the logarithm of what may be negative."""

    def _forward(self, x):
        return tf.math.log(x)


class NoLogDetInBatches(Stretch):
    """Works for one batch axis only."""

    def _forward(self, x):
        a, b = tf.unstack(x, axis=1)
        return 3 * tf.stack([a, b], axis=1)


@register
class Conditional(Bijector):
    """Right: y = x·exp(w·c), c the context and w zero, as a last layer starts."""

    def __init__(self, *, context_size=1, dtype=None, name=None):
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size, dtype):
        self._weight = tf.Variable(tf.zeros([], dtype), name="weight")

    def _log_scale(self, x):
        return self._weight * self._context_at(x)

    def _forward_and_log_det(self, x):
        log_scale = self._log_scale(x)
        return x * tf.exp(log_scale), self.event_size * log_scale[..., 0]

    def _inverse_and_log_det(self, y):
        log_scale = self._log_scale(y)
        return y * tf.exp(-log_scale), -self.event_size * log_scale[..., 0]


class FirstContext(Conditional):
    """Takes the first row's context for all."""

    def _log_scale(self, x):
        context = self._context_at(x)
        return self._weight * (0 * context + tf.reshape(context, [-1])[0])


class MeanContext(Conditional):
    def _log_scale(self, x):
        return self._weight * (0 * self._context_at(x) + tf.reduce_mean(self._context))


class ContextsTurnedAround(Conditional):
    def _log_scale(self, x):
        return self._weight * tf.reverse(self._context_at(x), [0])


class IgnoredContext(Conditional):
    def _log_scale(self, x):
        return 0 * self._weight * self._context_at(x)


class NeedsNoContext(Conditional):
    """Takes zero where nothing is bound."""

    def _ready(self, points):
        if self._context is None:
            return self.given([0.0])._ready(points)
        return super()._ready(points)

    def _context_at(self, points):
        context = super()._context_at(points)
        return tf.zeros_like(points[..., :1]) if context is None else context


class UnclearRefusal(NeedsNoContext):
    def _ready(self, points):
        if self._context is None:
            raise ValueError("no")
        return super()._ready(points)


class AnyContextWidth(Conditional):
    def given(self, context):
        return super().given(tf.convert_to_tensor(context)[..., :1])


class CopiedWeight(Conditional):
    """Trains a copy in what `given` returns."""

    def build(self, event_size, dtype=None):
        super().build(event_size, dtype)
        if self._unbound is not None:
            self._weight = tf.Variable(self._weight)


class UnbroadcastContext(Conditional):
    """Its log-det has the leading axes of the context, not those of the points."""

    def _ready(self, points):
        super()._ready(points)
        return points

    def _context_at(self, points):
        return tf.cast(self._context, points.dtype)


# name: (a function that makes the mutant, the check that catches it, what it says).
MUTANTS = {
    "wrong inverse": (WrongInverse, "round_trip", "inverse(forward(x)) is not x"),
    "forward as inverse": (
        ForwardAsInverse,
        "round_trip",
        "inverse(y) is forward(y)",
    ),
    "shifted inverse": (
        ShiftedInverse,
        "round_trip",
        "off by [1, 1] at every point",
    ),
    "wrong sign": (WrongSign, "forward_log_det", "has the wrong sign"),
    "inverse log-det not negated": (
        InverseLogDetNotNegated,
        "inverse_log_det",
        "has the wrong sign",
    ),
    "log-dets do not cancel": (
        InverseLogDetNotNegated,
        "log_dets_cancel",
        "not minus the forward one",
    ),
    "the tutorial's ShiftAndCube": (
        TutorialShiftAndCube,
        "forward_log_det",
        "log-det is too large by 1 at every point: expected 0, got 1; "
        "this is the determinant, its logarithm was not taken",
    ),
    "the tutorial's ShiftAndCube claims a constant Jacobian": (
        TutorialShiftAndCube,
        "constant_jacobian",
        "`is_constant_jacobian` is True, but",
    ),
    "the tutorial's Rotation2D": (
        TutorialRotation2D,
        "round_trip",
        "the determinant of forward is -1, so that it is a reflection, not a rotation",
    ),
    "unreduced log-det": (
        UnreducedLogDet,
        "batch_shapes",
        "it is not summed over the coordinates",
    ),
    "mean of log-dets": (
        MeanLogDet,
        "forward_log_det",
        "its mean over the coordinates, not the sum",
    ),
    "false is_constant_jacobian": (
        FalselyConstantJacobian,
        "constant_jacobian",
        "`is_constant_jacobian` is True, but",
    ),
    "batch-mixing": (
        BatchMixing,
        "rows_independent",
        "changes with the other points of the batch",
    ),
    "another branch in a graph": (
        EagerOnly,
        "graph",
        "forward(x) in tf.function is not what it is in eager mode",
    ),
    "another branch under XLA": (
        EagerOnly,
        "xla",
        "forward(x) under XLA is not what it is in eager mode",
    ),
    "untracked weight": (UntrackedWeight, "weights_visible", "cannot be found from"),
    "unused weight": (UnusedWeight, "weights_used", "no gradient reaches the weight"),
    "weight frozen in the constructor": (
        FrozenInConstructor,
        "weights_used",
        "became a constant in the constructor",
    ),
    "NaN gradient": (NaNGradient, "gradients_finite", "not finite, such as nan"),
    "float64 log-det": (
        Float64Constant,
        "dtypes",
        "forward_log_det_jacobian(x) is float64 for float32 points",
    ),
    "float64 only": (Float64Only, "dtypes", "forward(x) raised"),
    "broadcasting": (Broadcasting, "wrong_width", "it returned shape (7, 2)"),
    "drops coordinates": (WrongWidthSilently, "wrong_width", "must raise"),
    "lossy config": (
        lambda: LossyConfig(2.0),
        "config",
        "from_config(get_config()), with the same weights, is another bijector",
    ),
    "lossy file": (
        lambda: LossyConfig(2.0),
        "keras_file",
        "loaded from a .keras file is not the one that was saved: forward(x) differs",
    ),
    "config is no JSON": (ConfigNotJson, "config", "cannot be written as JSON"),
    "raises": (
        Raises,
        "runs",
        "inverse(y) raised NotImplementedError: no inverse today",
    ),
    "leaves the domain": (
        LeavesDomain,
        "runs",
        "forward(x) is not finite at 4 of 7 points, the first of them point 0",
    ),
    "one batch axis only": (NoLogDetInBatches, "batch_shapes", "raised"),
    "side effect": (CountsCalls, "rows_independent", "changes with the other points"),
}

CONDITIONAL_MUTANTS = {
    "first context": (
        FirstContext,
        "context",
        "forward(x) at a point changes with the contexts of the other points",
    ),
    "mean context": (MeanContext, "context", "half of 7 points against all of them"),
    "contexts turned around": (
        ContextsTurnedAround,
        "context",
        "inverse(y) at a point changes with the contexts of the other points",
    ),
    "ignored context": (IgnoredContext, "context", "the context makes no difference"),
    "needs no context": (NeedsNoContext, "context", "it returned an answer"),
    "unclear refusal": (UnclearRefusal, "context", "it raised ValueError: no"),
    "any width of context": (AnyContextWidth, "context", "of width 2 instead of 1"),
    "copied weight": (CopiedWeight, "context", "they must be the same"),
    "context is not broadcast": (
        UnbroadcastContext,
        "context",
        "forward_log_det_jacobian(x) has shape (5, 1) instead of (5, 4)",
    ),
}
