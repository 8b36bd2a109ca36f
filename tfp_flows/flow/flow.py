"""Flow: a chain of bijectors on a base distribution, as a Keras model."""

import dataclasses
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks, notebooks
from tfp_flows._core.caches import forget_with
from tfp_flows._core.conditioning import infer_context_size
from tfp_flows.bijectors.adaptation import adapt, needs_adaptation
from tfp_flows.data import arguments
from tfp_flows.data.batches import EVALUATION_BATCH_SIZE
from tfp_flows.flow import composition, nonfinite, reordering, saving
from tfp_flows.flow.chunks import CHUNK
from tfp_flows.flow.evaluate import Evaluator
from tfp_flows.flow.exporting import export_flow
from tfp_flows.flow.outside import warn_of_points_outside
from tfp_flows.flow.placement import at_weights
from tfp_flows.flow.stages import Stage
from tfp_flows.flow.tracking import layers_of
from tfp_flows.training.loss import NegativeLogLikelihood
from tfp_flows.training.plan import Settings
from tfp_flows.training.trainer import Trainer, check_compiled, one_step_per_call

__all__ = ["Flow", "NegativeLogLikelihood", "Stage"]

tfb = tfp.bijectors
tfd = tfp.distributions


@keras.saving.register_keras_serializable("tfp_flows")
class Flow(keras.Model):
    """A distribution built from a base by a chain of bijectors, fitted by Keras.

    With z from the base and f₁, …, f_K the bijectors in sampling order::

        x = f_K(… f₂(f₁(z)))
        log p(x) = log p_base(z) - Σ_k log|det ∂f_k|

    x is the data side and z the base side, everywhere.

    Args:
      bijectors: in sampling order, base to data; ours, TFP's, or a user's, nested
        as TFP allows. Each must keep the width of the points.
      base: distribution of z, with event shape `(event_size,)`, or of one
        coordinate, with event shape `()`, which is then used independently for
        each. Standard normal when None. Its variables are learned too.
      event_size: d, the width of the points; taken from the base or the bijectors
        when None.
      context_size: width of the context that the density is conditional on; taken
        from the bijectors and the base when 0.
      dtype: "float32" or "float64"; taken from the base or the bijectors when None,
        else Keras's `floatx`.
      name: of the model.

    Raises:
      TypeError: an entry is not a bijector, or `base` is not a distribution.
      ValueError: sizes or dtypes contradict each other, or cannot be inferred.

    Example:
      >>> import numpy as np, tensorflow_probability as tfp, tfp_flows as tfpf
      >>> scale = tfp.bijectors.Scale([2.0, 1.5])
      >>> flow = tfpf.Flow([scale, tfpf.bijectors.Rotation2D(0.5)])
      >>> flow.sample(3, seed=0).shape
      TensorShape([3, 2])
      >>> round(float(flow.log_prob(np.zeros(2))), 4)
      -2.9365
      >>> [stage.name for stage in flow.stages()]
      ['MultivariateNormalDiag', 'Scale', 'Rotation2D']

    Source: Papamakarios et al. (2021), "Normalizing flows for probabilistic modeling
    and inference", eq. 1-9.
    """

    def __init__(
        self,
        bijectors: Sequence[tfb.Bijector],
        base: tfd.Distribution | None = None,
        event_size: int | None = None,
        context_size: int = 0,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        bijectors = composition.as_bijectors(bijectors)
        dtype = composition.infer_dtype(dtype, base, bijectors)
        event_size = composition.infer_event_size(event_size, base, bijectors)
        super().__init__(name=name, dtype=dtype.name)
        base = composition.as_base(base, event_size, dtype)
        self.event_size, self.base, self._bijectors = event_size, base, bijectors
        self.context_size = infer_context_size(context_size, (base, *bijectors))
        self._form = arguments.Form(event_size, self.context_size, self.dtype)
        self._stage_names = composition.stage_names(base, bijectors)
        # This creates every weight, and makes it one of the model's.
        self._parts = layers_of((base, *bijectors), self._stage_names, self._form)
        self._evaluator = Evaluator(
            base, bijectors, self.weights, self._form, self.name
        )
        self._settings = Settings()
        self._trainer: Trainer | Any = None
        forget_with(self)
        self.built = True

    @property
    def bijectors(self) -> tuple[tfb.Bijector, ...]:
        """The bijectors in sampling order, base to data."""
        return tuple(self._bijectors)  # Keras wraps the tuple that it holds

    @property
    def distribution(self) -> tfd.TransformedDistribution:
        """The distribution for TFP, which shares the weights; see also `given`."""
        return self._evaluator.distribution

    def given(self, context: Any) -> tfd.Distribution:
        """Returns the distribution of x given a context, for TFP; shares the weights.

        Args:
          context: finite numbers `(..., context_size)`.

        Returns:
          A distribution of batch shape `context.shape[:-1]` and event shape
          `(event_size,)`: `log_prob(x)` broadcasts x against the contexts, and
          `sample(n)` has shape `(n, *batch, event_size)`.

        Raises:
          ValueError: the flow takes no context, or one of another width.
        """
        return self._evaluator.given(context)

    # Fitting

    @at_weights
    def compile(
        self,
        optimizer: str | keras.optimizers.Optimizer = "adam",
        loss: NegativeLogLikelihood | None = None,
        *,
        steps_per_execution: int | None = None,
        jit_compile: bool | None = None,
        **kwargs: Any,
    ) -> None:
        """Configures training; the loss is the mean of -log_prob, in nats.

        Args:
          optimizer: Keras optimizer or its name. Adam and AdamW update all weights at
            once, by TensorFlow's fused kernel, to the same numbers.
          loss: None; the loss is fixed.
          steps_per_execution: steps in one call of the compiled function. When None,
            `fit` chooses up to 64, and 1 where a callback of yours looks at batches.
          jit_compile: whether XLA compiles loss and gradients. When None, it does for
            fits of rows in memory that are long enough to win back the time it takes.
          **kwargs: as for `keras.Model.compile`. A metric is called with the points
            and their log_prob.

        Raises:
          ValueError: another loss is asked for, or an optimizer of another strategy.
        """
        settings = Settings(steps_per_execution, jit_compile)
        own_step = type(self).train_step is not Flow.train_step
        trainer = Trainer(
            self, self._form, settings, nonfinite.explanation, has_own_step=own_step
        )
        trainer.compile(super().compile, optimizer, loss, **kwargs)
        self._settings, self._trainer = settings, trainer

    @at_weights
    def fit(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        epochs: int = 1,
        *,
        checkpoint_dir: str | os.PathLike | None = None,
        **kwargs: Any,
    ) -> keras.callbacks.History:
        """Fits the weights to data, by Keras's own `fit`.

        Args:
          x: points `(n, event_size)` as NumPy, pandas or tensors; {"x": points,
            "context": `(n, context_size)`} for a conditional flow; a `tf.data.Dataset`
            of batches of these, or of `(x, anything, sample_weight)`; or a path to a
            `.npy`, CSV or Parquet file, or to a folder of files of one of these kinds,
            with the columns of the points and then of the context. Of a path, about
            200 MB are in memory at a time.
          y: None; a density has no targets.
          batch_size: points a step, of all replicas together; 32 when None.
          epochs: passes over the data.
          checkpoint_dir: a folder for the state of the fit, which is written after its
            epochs. After a crash the same call goes on from there, and ends with the
            weights, to the bit, of a fit that was never interrupted. A fit that has
            ended is not repeated. After Ctrl-C the folder also holds `best.keras`.
          **kwargs: as for `keras.Model.fit`: `callbacks`, `validation_split`,
            `validation_data` (as x, or `(x, None, weights)`), `sample_weight`, …

        Returns:
          Keras's History; "loss" is the mean of -log_prob in nats.

        Raises:
          ValueError: there is nothing to learn; the points have the wrong width, or
            are none, NaN or infinite; `checkpoint_dir` is of another fit, or damaged.
          TypeError: the points are not numbers.
          OSError: `checkpoint_dir` cannot be written, or a path cannot be read.
          ImportError: the path is a Parquet file, and pyarrow is not installed.
          ConnectionError: another worker of the strategy has died.
          FloatingPointError: too many steps are not finite; the flow has the best
            weights so far. A few such steps are left out, and explained in a warning.
        """
        check_compiled(self, "fit")
        points, held_out = arguments.for_fit(x, y, kwargs, self._form)
        composition.check_trainable(self.trainable_variables, self._stage_names)
        if needs_adaptation((self.base, *self.bijectors)):
            self.adapt(points.first_epoch(kwargs.get("steps_per_epoch")).x)
        history = self._trainer.fit(
            super().fit, points, held_out, checkpoint_dir, batch_size, epochs, **kwargs
        )
        warn_of_points_outside(self.bijectors, self._stage_names[1:], points)
        return history

    @at_weights
    def adapt(self, x: Any) -> None:
        """Starts data-dependent weights from data, as Keras's layers do.

        Each part that starts from data, such as `ActNorm`, the box of a spline or a
        mixture base, does so from the points that reach it on their way to the base.
        `fit` calls this where a part has not yet started.

        Args:
          x: as for `fit`. A path or a dataset is read once: `Standardize` or `ActNorm`
            on the data's side start from all points, every other part from 65,536
            random ones. Of an endless dataset, the first 65,536 points are read.
        """
        points, moments = arguments.checked(x, self._form).start(CHUNK)
        points = {name: tf.cast(rows, self.dtype) for name, rows in points.items()}
        adapt(self.base, self.bijectors, **points, moments=moments)

    @at_weights
    def train_on_batch(self, *args: Any, **kwargs: Any) -> Any:
        """Takes one step, as `keras.Model.train_on_batch`."""
        check_compiled(self, "train_on_batch")
        with self.distribute_strategy.scope():
            self.optimizer.build(self.trainable_variables)
        return super().train_on_batch(*args, **kwargs)

    @at_weights
    def evaluate(
        self,
        x: Any = None,
        y: None = None,
        batch_size: int | None = None,
        **kwargs: Any,
    ) -> Any:
        """Returns the mean of -log_prob in nats, by Keras's `evaluate`; see `fit`."""
        weights = kwargs.pop("sample_weight", None)
        points = arguments.checked(x, self._form, y, weights)
        batches = points.batches(batch_size or EVALUATION_BATCH_SIZE)
        return super().evaluate(batches, **kwargs)

    @at_weights
    def predict(
        self, x: Any = None, batch_size: int | None = None, **kwargs: Any
    ) -> np.ndarray:
        """Returns `log_prob`, `(n,)`, in nats, by Keras's `predict`; see `fit`."""
        points = arguments.checked(x, self._form)
        batches = points.batches(batch_size or EVALUATION_BATCH_SIZE)
        with one_step_per_call(self):
            return super().predict(batches, **kwargs)

    # What Keras calls within `fit`, `evaluate`, `predict` and `load_model`

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns `log_prob` of points, `(n,)`, in nats.

        Args:
          inputs: `(n, event_size)`; for a conditional flow {"x": x, "context": c}.
          training: as Keras passes it on to the networks.
        """
        return self._evaluator.log_prob_of_batch(arguments.batch(inputs, self._form))

    def train_step(self, batch: Any) -> dict[str, Any]:
        """Takes one step, unless its loss or gradients are not finite."""
        return self._trainer.step(batch)

    def make_train_function(self, force: bool = False) -> None:
        """Makes what Keras calls for the next steps of `fit`."""
        self._trainer.make_train_function(super().make_train_function, force)

    def make_test_function(self, force: bool = False) -> None:
        """Makes what Keras calls for the next steps of `evaluate`."""
        self._trainer.make_test_function(super().make_test_function, force)

    def compute_loss(
        self,
        x: Any = None,
        y: Any = None,
        y_pred: Any = None,
        sample_weight: Any = None,
        training: bool = True,
    ) -> tf.Tensor:
        """Returns -log_prob, weighted and averaged, plus the layers' own losses."""
        arguments.check_no_targets(y, sample_weight)
        return super().compute_loss(x, y_pred, y_pred, sample_weight, training)

    def compute_metrics(
        self, x: Any, y: Any, y_pred: Any, sample_weight: Any = None
    ) -> dict[str, Any]:
        """Returns the metrics; each is called with the points and their log_prob."""
        points = x["x"] if isinstance(x, dict) else x
        return super().compute_metrics(x, points, y_pred, sample_weight)

    def get_compile_config(self) -> dict[str, Any] | None:
        """Returns the arguments of `compile` as they were given."""
        config = super().get_compile_config()
        return config and {**config, **dataclasses.asdict(self._settings)}

    @at_weights
    def compile_from_config(self, config: dict[str, Any]) -> None:
        """Compiles as the saved model was; Keras calls this when it loads one."""
        self.compile(**keras.saving.deserialize_keras_object(config))
        if self.trainable_variables:
            self.optimizer.build(self.trainable_variables)

    # Densities, samples and copies

    @at_weights
    def log_prob(self, x: Any, *, batch_size: int | None = None) -> tf.Tensor:
        """Returns the log-density at points, in nats.

        Args:
          x: points `(..., event_size)`.
          batch_size: points computed at once; 65,536 when None, by XLA where it pays.

        Returns:
          A tensor of shape `(...)`. Gradients flow to `x` and to the weights.

        Raises:
          ValueError: the points have the wrong width, or are none, NaN or infinite.
          TypeError: the points are not numbers.
        """
        return self._evaluator.log_prob(x, batch_size, self._settings.jit_compile)

    @at_weights
    def sample(
        self, n: int, *, seed: int | None = None, batch_size: int | None = None
    ) -> tf.Tensor:
        """Returns n points drawn from the flow, `(n, event_size)`.

        Args:
          n: number of points, at least 1.
          seed: whole number ≥ 0, which gives the same draws each time; drawn when None.
          batch_size: points computed at once; 65,536 when None, by XLA where it pays.

        Raises:
          ValueError: `n` or `seed` is out of its range.
        """
        return self._evaluator.sample(n, seed, batch_size, self._settings.jit_compile)

    @at_weights
    def stages(
        self, n: int = 1000, *, seed: int | None = 0, context: Any = None
    ) -> list[Stage]:
        """Returns the distribution after every bijector, with samples that flow along.

        Args:
          n: number of points.
          seed: of the base's draw.
          context: `(context_size,)`, for a conditional flow: the one to look at.

        Returns:
          A list of `Stage`: the base, then one for each bijector. Row i of the
          samples is the same point at every stage.

        Raises:
          ValueError: the context is missing, not asked for, or of another shape.
        """
        return self._evaluator.stages(self._stage_names, n, seed, context)

    def _repr_html_(self) -> str:
        return notebooks.as_html("flow", self, self._stage_names)

    def reordered(self, order: Sequence[int]) -> Self:
        """Returns an independent copy with the bijectors in another order.

        Args:
          order: permutation of 0..K-1, in sampling order: `order[0]` is the index of
            the bijector that comes first after the base.

        Returns:
          A Flow with weights of its own, equal to these. Stages keep their names.

        Raises:
          ValueError: `order` is not a permutation.
        """
        return reordering.reordered(self, order)

    def shuffled(self, *, seed: int | None = None) -> Self:
        """Returns an independent copy in a random other order; see `reordered`."""
        seed, count = checks.as_seed(seed), len(self.bijectors)
        return self.reordered(reordering.other_order(count, seed))

    # Files

    def get_config(self) -> dict[str, Any]:
        """Returns the flow's structure as plain data; weights are saved beside it."""
        return saving.encoded(self, self._stage_names)

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Returns the flow that `get_config` described, with its weights at zero.

        Raises:
          ValueError: it names a class that is neither ours, TFP's or Keras's, nor
            registered with Keras or passed in by the caller.
        """
        return saving.decoded(cls, config, custom_objects)

    def save(
        self, filepath: str | os.PathLike, overwrite: bool = True, **kwargs: Any
    ) -> None:
        """Saves structure, weights and optimizer to a file, whole or not at all.

        Args:
          filepath: ends in `.keras`.
          overwrite: whether to replace a file that is there.
          **kwargs: as for `keras.Model.save`.

        Raises:
          FileExistsError: the file is there and `overwrite` is False.
          TypeError: the flow holds functions or foreign objects.
          ValueError: a weight is NaN.
        """
        saving.save(self, Path(filepath), super().save, overwrite, **kwargs)

    def load_own_variables(self, store: Any) -> None:
        """Loads weights for Keras, after the checksums of the file are verified."""
        saving.check_archive(store)
        super().load_own_variables(store)

    def export(self, filepath: str | os.PathLike, **kwargs: Any) -> None:
        """Writes a SavedModel that runs where neither tfp_flows nor TFP is installed.

        It has the endpoints `log_prob(x)`, x of shape `(n, event_size)`, and
        `sample(n)`, n a scalar int32 tensor. Those of a conditional flow also take
        contexts `(m, context_size)`, and samples have shape `(n, m, event_size)`.

        Args:
          filepath: the folder, written whole or not at all. It may hold a SavedModel.
          **kwargs: as for `keras.export.ExportArchive.write_out`.

        Raises:
          FileExistsError: something else is there.
        """
        export_flow(self, Path(filepath), **kwargs)
