"""Mixture: a learned mixture of normal or Student's t components, as a base."""

import copy
import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows._core.part import FlowPart
from tfp_flows._core.serialization import decode_arguments, encode_arguments
from tfp_flows.bijectors.base import broadcast_rows, register
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["Mixture"]

tfb = tfp.bijectors
tfd = tfp.distributions

TAILS = ("normal", "student")

# Degrees of freedom that a start from data tries, from heavy tails to normal ones.
_FREEDOMS = (2.0, 4.0, 8.0, 16.0, 64.0, 256.0)
_COMPARED_ON = 4096  # points, at most

_NO_WEIGHT = -1e4  # a logit whose weight is zero

# Lower bound on the variances of a fit to data, as a share of the data's variance.
_MIN_VARIANCE = 1e-6


@register
class Mixture(FlowPart, tfd.Distribution):
    """Mixture of K components with full covariances, all of it learned.

    With U_k upper triangular, q_k(x) = |(x - μ_k) U_k|² and w the softmax of logits::

        log p(x) = log Σ_k w_k · |det U_k| · φ_k(x)
        φ_k = exp(-q_k / 2) / (2π)^{d/2}                                normal tails
        φ_k = c(ν_k, d) · (1 + q_k / ν_k)^{-(ν_k + d) / 2}             Student's t

    so that (U_k U_kᵀ)⁻¹ is the covariance of a normal component. Student's tails, with
    ν_k degrees of freedom learned too, give the flow tails as heavy as the data's:
    the bijectors leave points far out as they are.

    `adapt`, or the first `fit` of a Flow on it, starts it from scikit-learn's
    `GaussianMixture`: a flow of identities on top of that begins as good as the
    mixture.

    Args:
      event_size: d, the width of the points.
      components: K.
      tails: "normal" or "student".
      context_size: width of a context that all parameters depend on; 0 for none.
      hidden: widths of the hidden layers of the context's network.
      activation: of those layers.
      seed: of the start: the draws of the centers and of the network's weights.
      trainable: False freezes all weights.
      dtype: "float32" or "float64".
      name: as in TFP.

    Raises:
      ValueError: sizes that are not whole numbers ≥ 1, or unknown `tails`.

    Example:
      >>> import numpy as np
      >>> points = np.concatenate([np.full((50, 1), -2.0), np.full((50, 1), 2.0)])
      >>> points += 0.1 * np.random.default_rng(0).normal(size=(100, 1))
      >>> mixture = Mixture(1, components=2, seed=0)
      >>> mixture.adapt(points)
      >>> sorted(mixture.means.numpy().round(1)[:, 0].tolist())
      [-2.0, 2.0]

    Source: Peel and McLachlan (2000), "Robust mixture modelling using the t
    distribution", eq. 5; as a base, Papamakarios, Pavlakou and Murray (2017), "Masked
    autoregressive flow", section 3.
    """

    def __init__(
        self,
        event_size: int,
        components: int = 1,
        *,
        tails: str = "normal",
        context_size: int = 0,
        hidden: Sequence[int] = (64, 64),
        activation: str | Callable = "relu",
        seed: int | None = None,
        trainable: bool = True,
        dtype: Any = "float32",
        name: str = "Mixture",
    ) -> None:
        event_size = checks.positive_size(event_size, "event_size")
        components = checks.positive_size(components, "components")
        tails = checks.pick(tails, TAILS, "kind of tails")
        context_size = checks.size(context_size, "context_size")
        hidden = networks.as_hidden(hidden)
        activation = keras.activations.serialize(keras.activations.get(activation))
        seed = checks.as_seed(seed)
        dtype = tf.as_dtype(dtype)
        arguments = locals()
        names = self._constructor_names()
        super().__init__(
            dtype=dtype,
            reparameterization_type=(
                tfd.FULLY_REPARAMETERIZED
                if components == 1
                else tfd.NOT_REPARAMETERIZED
            ),
            validate_args=False,
            allow_nan_stats=True,
            parameters={key: arguments[key] for key in names},
            name=name,
        )
        d, k = event_size, components
        centers = np.random.default_rng(seed).normal(size=(k, d))
        # The parameters are relative to a fixed start, in units of each component, so
        # that a step means the same for narrow and for wide components.
        self._anchors = tf.Variable(
            tf.cast(centers if k > 1 else np.zeros((k, d)), dtype),
            trainable=False,
            name="anchors",
        )
        self._units = tf.Variable(
            tf.eye(d, batch_shape=[k], dtype=dtype), trainable=False, name="units"
        )
        initial = {
            "logits": np.zeros(k),
            "shifts": np.zeros((k, d)),
            "log_diagonal": np.zeros((k, d)),
            "upper": np.zeros((k, d * (d - 1) // 2)),
        }
        if tails == "student":
            initial["log_freedom"] = np.full(k, math.log(16.0))
        self._learned = Parameters(
            initial,
            context_size=context_size,
            hidden=hidden,
            activation=activation,
            seed=seed,
            trainable=trainable,
            dtype=dtype,
        )
        self._waits = tf.Variable(
            tf.ones([], dtype), trainable=False, name="waits_for_data"
        )
        self._context: tf.Tensor | None = None

    @classmethod
    def _constructor_names(cls) -> tuple[str, ...]:
        return (
            "event_size",
            "components",
            "tails",
            "context_size",
            "hidden",
            "activation",
            "seed",
            "trainable",
            "dtype",
            "name",
        )

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments as plain data; weights are not in it."""
        return encode_arguments(dict(self.parameters))

    @classmethod
    def from_config(cls, config: dict[str, Any]) -> Self:
        """Returns a new mixture from what `get_config` returned."""
        return cls(**decode_arguments(config))

    # Context

    @property
    def context_size(self) -> int:
        """Width of the context; 0 for a mixture that takes none."""
        return self.parameters["context_size"]

    def given(self, context: Any) -> Self:
        """Returns the mixture with the context bound, on the same weights.

        Args:
          context: `(..., context_size)`; its leading axes are the batch shape.
        """
        context = tf.convert_to_tensor(context, dtype=self.dtype)
        if not self.context_size or context.shape[-1] != self.context_size:
            raise ValueError(
                f"`context` must have shape (..., {self.context_size}), for a mixture "
                f"constructed with `context_size=`. Received: {context.shape}."
            )
        bound = copy.copy(self)
        bound._context = context
        return bound

    # Starts

    @property
    def needs_adaptation(self) -> bool:
        """Whether it waits to be fitted to data; never with a context."""
        return not self.context_size and bool(tf.convert_to_tensor(self._waits) > 0)

    def adapt(self, z: Any) -> None:
        """Starts from scikit-learn's mixture of points `(n, event_size)`.

        Fewer components are used where there are fewer than two points for each.
        """
        from sklearn.mixture import GaussianMixture  # slow to import

        if self.context_size:
            return
        z = np.asarray(z, np.float64)
        k = max(1, min(self.parameters["components"], len(z) // 2))
        least = _MIN_VARIANCE * max(z.var(axis=0).max(), np.finfo(np.float32).tiny)
        fitted = GaussianMixture(
            k, reg_covar=least, random_state=self.parameters["seed"]
        ).fit(z)
        self.start(
            fitted.weights_, fitted.means_, fitted.precisions_cholesky_, points=z
        )

    def start(
        self,
        weights: np.ndarray,
        means: np.ndarray,
        precisions_cholesky: np.ndarray,
        *,
        points: np.ndarray | None = None,
    ) -> None:
        """Sets all parameters from a Gaussian mixture of at most K components.

        Args:
          weights: `(k,)`, positive.
          means: `(k, event_size)`.
          precisions_cholesky: `(k, event_size, event_size)`, the U_k, as
            `sklearn.mixture.GaussianMixture` has them.
          points: `(n, event_size)`, by which the first degrees of freedom are chosen.
        """
        d, k = self.parameters["event_size"], self.parameters["components"]
        spare = k - len(weights)
        eyes = np.broadcast_to(np.eye(d), (spare, d, d))
        self._anchors.assign(np.append(means, np.zeros((spare, d)), 0))
        self._units.assign(np.append(precisions_cholesky, eyes, 0))
        for name in ("shifts", "log_diagonal", "upper"):
            variable = self._learned.variables_by_name[name]
            variable.assign(tf.zeros_like(variable))
        # Spare components have no weight, and so no gradient.
        logits = np.append(np.log(weights), np.full(spare, _NO_WEIGHT))
        self._learned.variables_by_name["logits"].assign(logits)
        self._waits.assign(0.0)
        freedom = self._learned.variables_by_name.get("log_freedom")
        if freedom is not None and points is not None:
            some = tf.constant(points[:_COMPARED_ON], self.dtype)
            found = {}
            for nu in _FREEDOMS:
                freedom.assign(tf.fill([k], tf.cast(math.log(nu), self.dtype)))
                found[nu] = float(tf.reduce_mean(self.log_prob(some)))
            best = math.log(max(found, key=found.__getitem__))
            freedom.assign(tf.fill([k], tf.cast(best, self.dtype)))

    def cut(self, components: int) -> Self:
        """Returns a mixture of only the first components, with its own weights."""
        given = {**self.parameters, "components": components}
        mine = type(self)(**given)
        for name, variable in self._learned.variables_by_name.items():
            mine._learned.variables_by_name[name].assign(variable[:components])
        mine._anchors.assign(self._anchors[:components])
        mine._units.assign(self._units[:components])
        mine._waits.assign(self._waits)
        return mine

    # Parameters of the components

    @property
    def means(self) -> tf.Tensor:
        """Centers μ of the components, `(..., K, event_size)`."""
        learned = self._learned(self._context)
        inverses = self._inverses(learned)
        return self._anchors + tf.einsum(
            "...kd,...kde->...ke", learned["shifts"], inverses
        )

    @property
    def weights(self) -> tf.Tensor:
        """Weights w of the components, `(..., K)`."""
        return tf.nn.softmax(self._learned(self._context)["logits"])

    @property
    def covariances(self) -> tf.Tensor:
        """Matrices (U Uᵀ)⁻¹ of the components, `(..., K, event_size, event_size)`."""
        inverse = self._inverses(self._learned(self._context))
        return tf.linalg.matmul(inverse, inverse, transpose_a=True)

    def _matrices(self, learned: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns the U, `(..., K, d, d)`."""
        upper = learned["upper"]
        shears = tf.eye(self.parameters["event_size"], dtype=self.dtype)
        if upper.shape[-1]:
            # A triangle with its diagonal, shifted up by a row.
            triangle = tfp.math.fill_triangular(upper, upper=True)
            edges = [[0, 0]] * (upper.shape.rank - 1) + [[0, 1], [1, 0]]
            shears += tf.pad(triangle, edges)
        relative = shears * tf.exp(learned["log_diagonal"])[..., tf.newaxis, :]
        return tf.linalg.matmul(self._units, relative)

    def _inverses(self, learned: dict[str, tf.Tensor]) -> tf.Tensor:
        u = self._matrices(learned)
        eye = tf.eye(u.shape[-1], batch_shape=tf.shape(u)[:-2], dtype=self.dtype)
        return tf.linalg.triangular_solve(u, eye, lower=False)

    # What TFP calls

    def _event_shape(self) -> tf.TensorShape:
        return tf.TensorShape([self.parameters["event_size"]])

    def _event_shape_tensor(self) -> tf.Tensor:
        return tf.constant([self.parameters["event_size"]])

    def _batch_shape(self) -> tf.TensorShape:
        return tf.TensorShape([]) if self._context is None else self._context.shape[:-1]

    def _batch_shape_tensor(self) -> tf.Tensor:
        if self._context is None:
            return tf.zeros([0], tf.int32)
        return tf.shape(self._context)[:-1]

    def _default_event_space_bijector(self) -> tfb.Bijector:
        return tfb.Identity()

    @classmethod
    def _parameter_properties(cls, dtype: Any, num_classes: Any = None) -> dict:
        return {}

    def _log_prob(self, x: tf.Tensor) -> tf.Tensor:
        d, k = self.parameters["event_size"], self.parameters["components"]
        if self._context is None:
            learned = self._learned()
            u = self._matrices(learned)
            # One product for all points and components.
            wide = tf.reshape(tf.transpose(u, [1, 0, 2]), [d, k * d])
            shifts = tf.einsum("kd,kde->ke", self._anchors, u) + learned["shifts"]
            z = tf.matmul(tf.reshape(x, [-1, d]), wide) - tf.reshape(shifts, [-1])
            z = tf.reshape(z, tf.concat([tf.shape(x)[:-1], [k, d]], 0))
        else:
            x = broadcast_rows(x, self._context)
            learned = self._learned(broadcast_rows(self._context, x))
            u = self._matrices(learned)
            away = x[..., tf.newaxis, :] - self._anchors
            z = tf.einsum("...kd,...kde->...ke", away, u) - learned["shifts"]
        log_weights = tf.nn.log_softmax(learned["logits"])
        log_det = tf.reduce_sum(tf.math.log(tf.linalg.diag_part(u)), -1)
        return tf.reduce_logsumexp(
            log_weights + log_det + self._log_kernel(z, learned), -1
        )

    def _log_kernel(self, z: tf.Tensor, learned: dict[str, tf.Tensor]) -> tf.Tensor:
        """Returns log φ of standardized differences, `(..., K)`."""
        d = self.parameters["event_size"]
        q = tf.reduce_sum(z * z, -1)
        if self.parameters["tails"] == "normal":
            return -0.5 * (q + d * math.log(2 * math.pi))
        nu = tf.exp(learned["log_freedom"])
        log_scale = (
            tf.math.lgamma((nu + d) / 2)
            - tf.math.lgamma(nu / 2)
            - d / 2 * (tf.math.log(nu) + math.log(math.pi))
        )
        return log_scale - (nu + d) / 2 * tf.math.log1p(q / nu)

    def _sample_n(self, n: Any, seed: Any = None) -> tf.Tensor:
        d, k = self.parameters["event_size"], self.parameters["components"]
        learned = self._learned(self._context)
        shape = tf.concat([[n], self._batch_shape_tensor()], 0)
        seeds = tfp.random.split_seed(seed, n=3, salt="Mixture")
        normal = tf.random.stateless_normal(
            tf.concat([shape, [1, d]], 0), seeds[0], dtype=self.dtype
        )
        chosen = tfd.OneHotCategorical(logits=learned["logits"], dtype=self.dtype)
        which = chosen.sample(n, seed=seeds[1])[..., tf.newaxis]  # (n, ..., K, 1)
        if self.parameters["tails"] == "student":
            nu = tf.reduce_sum(tf.exp(learned["log_freedom"]) * which[..., 0], -1)
            chi2 = tfd.Chi2(nu).sample(seed=seeds[2])
            normal *= tf.sqrt(nu / chi2)[..., tf.newaxis, tf.newaxis]
        # A draw from every component; the chosen one is kept.
        inverses = self._inverses(learned)
        every = tf.einsum("...kd,...kde->...ke", normal + learned["shifts"], inverses)
        every = tf.ensure_shape(every + self._anchors, [*every.shape[:-2], k, d])
        return tf.reduce_sum(every * which, -2)
