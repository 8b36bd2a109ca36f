"""Mixture: a learned mixture of normal or Student's t components, as a base."""

import math
from collections.abc import Callable, Sequence
from typing import Any, Self

import copy

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from tfp_flows import _checks
from tfp_flows._checks import as_seed
from tfp_flows.bijectors.base import broadcast_rows, register
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["Mixture"]

tfd = tfp.distributions


class Mixture(tfd.Distribution):
    """Mixture of K components with full covariances; learned, warm-started from data.

    With U_k upper triangular, q_k = |(x - μ_k) U_k|² and w the softmax of logits::

        log p(x) = log Σ_k w_k · |det U_k| · φ(q_k)

    φ is the standard normal density of d dimensions, or with `tails="student"` that
    of Student's t with ν_k degrees of freedom, learned too: then the flow's tails are
    as heavy as the data's, where bijectors leave far points alone.
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
        d = _checks.positive_int(event_size, "event_size")
        k = _checks.positive_int(components, "components")
        _checks.pick(tails, ("normal", "student"), "kind of tails")
        seed = as_seed(seed)
        dtype = tf.as_dtype(dtype)
        parameters = dict(locals())
        parameters.pop("self"), parameters.pop("__class__")
        self.context_size = _checks.size(context_size, "context_size")
        super().__init__(
            dtype=dtype,
            reparameterization_type=tfd.NOT_REPARAMETERIZED,
            validate_args=False,
            allow_nan_stats=True,
            parameters=parameters,
            name=name,
        )
        self._size, self._components = d, k
        self._context = None
        initial = {
            "logits": np.zeros(k),
            "centers": np.random.default_rng(seed).normal(size=(k, d)) if k > 1 else np.zeros((k,d)),
            "log_diagonal": np.zeros((k, d)),
            "upper": np.zeros((k, d * (d - 1) // 2)),
        }
        if tails == "student":
            initial["log_freedom"] = np.full(k, math.log(30.0))
        self._parameters_ = Parameters(
            initial, context_size=context_size, hidden=hidden, activation=activation,
            seed=seed, trainable=trainable, dtype=dtype,
        )
        rows, columns = np.triu_indices(d, 1)
        # Where entry e of `upper` goes, as a matrix: a scatter without a scatter.
        place = np.zeros((d * (d - 1) // 2, d * d))
        place[np.arange(len(rows)), rows * d + columns] = 1
        self._place = place

    def _event_shape(self):
        return tf.TensorShape([self._size])

    def _event_shape_tensor(self):
        return tf.constant([self._size])

    def _batch_shape(self):
        return tf.TensorShape([])

    def _batch_shape_tensor(self):
        return tf.constant([], tf.int32)

    def _default_event_space_bijector(self):
        return tfp.bijectors.Identity()

    def _matrices(self, p):
        d, k = self._size, self._components
        diag = tf.exp(p["log_diagonal"])
        u = tf.linalg.diag(diag)
        if d > 1:
            off = tf.matmul(p["upper"], tf.constant(self._place, self.dtype))
            u += tf.reshape(off * tf.repeat(diag,d,axis=-1), [k, d, d])
        return u

    def _log_prob(self, x):
        p = self._parameters_(self._context)
        d, k = self._size, self._components
        u = self._matrices(p)
        m = tf.einsum("kd,kde->ke", p["centers"], u)
        flat = tf.reshape(x, [-1, d])
        z = tf.matmul(flat, tf.reshape(tf.transpose(u, [1, 0, 2]), [d, k * d]))
        z = tf.reshape(z - tf.reshape(m, [-1]), [-1, k, d])
        q = tf.reduce_sum(z * z, -1)
        log_det = tf.reduce_sum(p["log_diagonal"], -1)
        lw = tf.nn.log_softmax(p["logits"])
        if "log_freedom" in p:
            nu = 1.0 + tf.exp(p["log_freedom"])
            c = tf.math.lgamma((nu + d) / 2) - tf.math.lgamma(nu / 2) - d / 2 * tf.math.log(nu * math.pi)
            l = c - (nu + d) / 2 * tf.math.log1p(q / nu)
        else:
            l = -0.5 * q - d / 2 * math.log(2 * math.pi)
        return tf.reshape(tf.reduce_logsumexp(lw + log_det + l, -1), tf.shape(x)[:-1])
