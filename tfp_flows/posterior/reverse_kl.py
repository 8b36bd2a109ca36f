"""ReverseKL: fits a flow to an unnormalized density by means of its own samples."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks
from tfp_flows.flow import Flow
from tfp_flows.posterior.target import (
    TARGET_NOT_FINITE,
    check,
    check_target,
    log_ess,
)
from tfp_flows.training.adam import fuse

__all__ = ["ReverseKL"]

tfd = tfp.distributions

_FLOW_NOT_FINITE = (
    "The samples of the flow or their density are NaN or infinite: the fit diverged. "
    "Remedy: a lower learning rate, or `global_clipnorm` of the optimizer."
)


class ReverseKL(keras.Model):
    """Fits a Flow to an unnormalized log-density, without data, by Keras's own `fit`.

    Let q be a flow with weights θ and samples x = f_θ(z), with z from its base, and
    p(x) = exp(target_log_prob(x)) / Z a target. The loss is the negative evidence lower
    bound::

        loss(θ) = E_q[log q(x) - target_log_prob(x)] = KL(q ‖ p) - log Z,  in nats

    estimated from new samples at every step. Its gradient is the path gradient, with v
    held fixed::

        ∂loss/∂θ = E_z[vᵀ ∂f_θ(z)/∂θ],    v = ∂/∂x [log q(x) - target_log_prob(x)]

    It omits the term E_q[∂log q(x; θ)/∂θ], which is zero on average but not in a
    sample, so that the gradient has no variance where q = p ("sticking the landing").
    It needs one more inverse of the flow than the full gradient.

    The history has "loss" and "ess", the effective sample size of a batch under the
    importance weights p/q, as a fraction of the batch; it is 1 where q = p.

    Args:
      flow: the Flow, which is fitted in place and must not be conditional. There are
        no data for weights that start from data, so give a spline its box.
      target_log_prob: maps points `(n, event_size)` in the flow's dtype to log p up to
        a constant, `(n,)`, in nats, by TensorFlow operations.
      path_gradient: False takes the full gradient of the estimate.
      name: the name of the model.

    Raises:
      TypeError: `flow` is not a Flow, or `target_log_prob` is not callable.
      ValueError: the flow is conditional, has nothing to learn, or has a base whose
        samples cannot be differentiated.

    Example:
      >>> import keras, tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
      >>> target = tfp.distributions.MultivariateNormalDiag([3.0, -1.0], [0.5, 2.0])
      >>> def energy(x):
      ...     return target.log_prob(x) + 1.5  # log Z = 1.5
      >>> scale = tfp.util.TransformedVariable([1.0, 1.0], tfp.bijectors.Exp())
      >>> shift = tfp.bijectors.Shift(tf.Variable([0.0, 0.0]))
      >>> flow = tfpf.Flow([tfp.bijectors.Scale(scale), shift])
      >>> model = ReverseKL(flow, energy)
      >>> model.compile(keras.optimizers.Adam(0.1))
      >>> history = model.fit(epochs=5, batch_size=32, seed=0, verbose=0)
      >>> round(history.history["loss"][-1], 3)  # -log Z, where q = p
      -1.5

    Source: Rezende and Mohamed (2015), "Variational inference with normalizing
    flows", eq. 15; the gradient, Roeder, Wu and Duvenaud (2017), "Sticking the
    landing", eq. 6.
    """

    def __init__(
        self,
        flow: Flow,
        target_log_prob: Callable[[tf.Tensor], tf.Tensor],
        *,
        path_gradient: bool = True,
        name: str | None = None,
    ) -> None:
        check(flow, target_log_prob)
        if not flow.trainable_variables:
            raise ValueError("Nothing to fit: the flow has no trainable weight.")
        if flow.base.reparameterization_type != tfd.FULLY_REPARAMETERIZED:
            raise ValueError(
                "The reverse KL is differentiated through the flow's samples, and "
                f"those of its base, {type(flow.base).__name__.lstrip('_')}, have no "
                "gradient. Remedy: a reparameterized base, such as a normal one."
            )
        super().__init__(name=name, dtype=flow.dtype)
        self.flow = flow
        self._target_log_prob = target_log_prob
        self._path_gradient = path_gradient
        self._ess = keras.metrics.Mean("ess", dtype=flow.dtype)
        self.built = True

    def compile(
        self, optimizer: str | keras.optimizers.Optimizer = "adam", **kwargs: Any
    ) -> None:
        """Configures training.

        Args:
          optimizer: a Keras optimizer or its name.
          **kwargs: as for `keras.Model.compile`, except `loss`. XLA is off unless
            `jit_compile` is given; with XLA, a target that is not finite is noticed
            only when the loss is NaN.
        """
        kwargs.setdefault("jit_compile", False)
        super().compile(optimizer=optimizer, loss=_first, **kwargs)
        fuse(self.optimizer)

    def fit(
        self,
        *,
        epochs: int = 1,
        steps_per_epoch: int = 100,
        batch_size: int = 256,
        validation_steps: int = 0,
        seed: int | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Fits the flow's weights, by Keras's own `fit`.

        Args:
          epochs: the number of epochs.
          steps_per_epoch: the number of steps in an epoch.
          batch_size: the number of samples drawn at each step.
          validation_steps: the number of batches for "val_loss" and "val_ess", the
            same ones after every epoch; 0 for none.
          seed: the seed of all draws; None draws one.
          **kwargs: as for `keras.Model.fit`: `callbacks`, `verbose`, `initial_epoch`,
            `validation_freq`.

        Returns:
          Keras's History.

        Raises:
          TypeError: `target_log_prob` does not return numbers of the flow's dtype.
          ValueError: `target_log_prob` does not return one number for each point, has
            no gradient, or is NaN or infinite at samples of the flow; or the fit
            diverged.
        """
        batch_size = checks.positive_int(batch_size, "batch_size")
        steps = checks.positive_int(steps_per_epoch, "steps_per_epoch")
        validation_steps = checks.size(validation_steps, "validation_steps")
        seeds = random.Random(checks.as_seed(seed))
        x = self.flow.sample(batch_size, seed=seeds.randrange(2**31))
        check_target(self._target_log_prob, x)
        draws = _draws(seeds.randrange(2**31), batch_size)
        validation = _draws(seeds.randrange(2**31), batch_size).take(validation_steps)
        self.optimizer.build(self.trainable_variables)  # else Keras traces a step twice
        try:
            return super().fit(
                draws,
                epochs=epochs,
                steps_per_epoch=steps,
                validation_data=validation if validation_steps else None,
                shuffle=False,
                **kwargs,
            )
        except tf.errors.InvalidArgumentError as error:
            for known in (TARGET_NOT_FINITE, _FLOW_NOT_FINITE):
                if known in error.message:
                    raise ValueError(known) from error
            raise

    def call(self, inputs: tf.Tensor, training: bool | None = None) -> tf.Tensor:
        """Returns log q(x) - target_log_prob(x) of new samples, `(n,)`.

        Args:
          inputs: whole numbers `(n, 3)` from `fit`; the first row is the seed.
          training: as for `keras.Model.call`.
        """
        n = inputs.shape[0] or tf.shape(inputs)[0]
        seed = tf.random.experimental.stateless_fold_in(inputs[0, :2], inputs[0, 2])
        q = self.flow.distribution
        x, log_q = q.experimental_sample_and_log_prob(n, seed=seed)
        if not self._path_gradient:
            return log_q - self._target_at(x)
        fixed = tf.stop_gradient(x)
        with tf.GradientTape(watch_accessed_variables=False) as tape:
            tape.watch(fixed)
            target = self._target_at(fixed)
            excess = q.log_prob(fixed) - target
        along = tf.stop_gradient(tape.gradient(excess, fixed))
        path = tf.reduce_sum(along * x, -1)
        # The value is that of the estimate; the gradient is that of `path`.
        return tf.stop_gradient(log_q - target) + (path - tf.stop_gradient(path))

    def _target_at(self, x: tf.Tensor) -> tf.Tensor:
        target = self._target_log_prob(x)
        _assert_finite(x, _FLOW_NOT_FINITE)
        _assert_finite(target, TARGET_NOT_FINITE)
        return target

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns the mean of what `call` returned, plus the layers' own losses."""
        return super().compute_loss(x, y=y_pred, y_pred=y_pred, training=training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns the metrics, among them the effective sample size of the batch."""
        n = tf.cast(tf.shape(y_pred)[0], y_pred.dtype)
        self._ess.update_state(tf.exp(log_ess(-y_pred)) / n)
        return super().compute_metrics(x, y_pred, y_pred, sample_weight)

    def save(self, filepath: str | Path, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves the flow, so that Keras's checkpoints of a fit are those of the flow.

        Args and errors are those of `Flow.save`.
        """
        self.flow.save(filepath, overwrite=overwrite, **kwargs)


def _draws(seed: int, batch_size: int) -> tf.data.Dataset:
    """Returns batches of rows (seed, step, row), which seed each step and replica."""
    rows = tf.range(batch_size)

    def batch(step: tf.Tensor) -> tf.Tensor:
        steps = tf.fill([batch_size], tf.cast(step, tf.int32))
        return tf.stack([tf.fill([batch_size], seed), steps, rows], -1)

    return tf.data.Dataset.counter().map(batch)


def _first(y_true: tf.Tensor, y_pred: tf.Tensor) -> tf.Tensor:
    """Returns the loss of each sample, which the model has already computed."""
    return y_pred


def _assert_finite(values: tf.Tensor, message: str) -> None:
    tf.debugging.Assert(tf.reduce_all(tf.math.is_finite(values)), [message])
