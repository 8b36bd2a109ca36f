"""Flow: a chain of bijectors on a base distribution, as a Keras model."""

import contextlib
import re
import warnings
import zipfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Self

import keras
import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp

from tfp_flows._core import checks, compat
from tfp_flows._core.conditioning import bind, context_size_of, infer_context_size
from tfp_flows._core.files import beside
from tfp_flows._core.part import hooks_of
from tfp_flows._core.serialization import Decoder, Encoder, copy_objects
from tfp_flows.bijectors.adaptation import (
    adapt,
    leaves,
    needs_adaptation,
    shares_outside,
)
from tfp_flows.data import arguments
from tfp_flows.flow.composition import (
    as_base,
    as_bijectors,
    infer_dtype,
    infer_event_size,
    stage_names,
)
from tfp_flows.flow.evaluate import CHUNK, Chunked, graph
from tfp_flows.flow.exporting import export_flow
from tfp_flows.flow.nonfinite import culprit
from tfp_flows.flow.stages import Stage, stage_distributions, walk
from tfp_flows.flow.tracking import Adoption, TFPLayer
from tfp_flows.training.density_model import DensityModel
from tfp_flows.training.likelihood import NegativeLogLikelihood, at_weights
from tfp_flows.training.steps import flops

__all__ = ["Flow", "NegativeLogLikelihood", "Stage"]

tfb = tfp.bijectors
tfd = tfp.distributions

# Of all points, from which on XLA has paid for its compilation: 1 to 5 s, with half the
# time of each point won back.
_FLOPS_FOR_XLA = 2e11

# A box of a spline that leaves more than this share of points out is worth a word.
_LOOKED_AT, _MOST_OUTSIDE = 4096, 0.01


@keras.saving.register_keras_serializable("tfp_flows")
class Flow(DensityModel):
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
      TypeError: something in the list is not a bijector, or `base` is not a
        distribution.
      ValueError: sizes or dtypes that contradict each other, or cannot be told.

    Example:
      >>> import numpy as np, tfp_flows as tfpf
      >>> import tensorflow_probability as tfp
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
        bijectors = as_bijectors(bijectors)
        dtype = infer_dtype(dtype, base, bijectors)
        event_size = infer_event_size(event_size, base, bijectors)
        super().__init__(name=name, dtype=dtype.name)
        self.event_size = event_size
        self.base = as_base(base, event_size, dtype)
        self.context_size = infer_context_size(context_size, (self.base, *bijectors))
        self._bijectors = bijectors
        self._stage_names = stage_names(self.base, bijectors)
        self._track()
        self._make_graphs()
        self.built = True

    def _track(self) -> None:
        """Creates every weight and makes it Keras's."""
        adoption = Adoption()
        layer_of: dict[int, TFPLayer] = {}
        for i, part in enumerate((self.base, *self.bijectors)):
            if id(part) not in layer_of:
                # Keras makes scope names of layer names.
                label = re.sub(r"[^A-Za-z0-9.]+", "_", self._stage_names[i]).strip("_")
                layer_of[id(part)] = TFPLayer(
                    part,
                    adoption,
                    context_size=self.context_size,
                    name=f"f{i}_{label}" if i else label,
                    dtype=self.dtype,
                )
        self._parts = list(layer_of.values())
        for layer in self._parts:
            layer.build((None, self.event_size))

    def _make_graphs(self) -> None:
        points = tf.TensorSpec([None, self.event_size], self.dtype)
        context = tf.TensorSpec([self.context_size], self.dtype)
        count, seed = tf.TensorSpec([], tf.int32), tf.TensorSpec([2], tf.int32)
        self._base_graph = graph(
            lambda n, s, c: bind(self.base, c).sample(n, seed=s), count, seed, context
        )
        self._stages_graph = graph(
            lambda z, c: walk(*self._given(c), z), points, context
        )
        if self.context_size:
            self._distribution = None
            return
        self._distribution = _transformed(self.base, self.bijectors, self.name)
        self._log_prob_chunked = Chunked(self._distribution.log_prob, points)
        self._forward_chunked = Chunked(self._distribution.bijector.forward, points)

    def _given(self, context: tf.Tensor) -> tuple[tfd.Distribution, list[tfb.Bijector]]:
        """Returns the base and the bijectors with the context bound."""
        return bind(self.base, context), [bind(b, context) for b in self.bijectors]

    @property
    def bijectors(self) -> tuple[tfb.Bijector, ...]:
        """The bijectors in sampling order, base to data."""
        return tuple(self._bijectors)  # Keras wraps what it holds

    @property
    def distribution(self) -> tfd.TransformedDistribution:
        """The distribution itself, for TFP; it shares the weights.

        Raises:
          ValueError: the flow is conditional: then it is `given(context)`.
        """
        if self._distribution is None:
            raise ValueError(
                f"This flow has a density for each context of width "
                f"{self.context_size}. Remedy: `flow.given(context)`."
            )
        return self._distribution

    def given(self, context: Any) -> tfd.Distribution:
        """Returns the distribution of x given a context, for TFP; shares the weights.

        Args:
          context: `(..., context_size)`.

        Returns:
          A distribution of batch shape `context.shape[:-1]` and event shape
          `(event_size,)`. Each context is one of the batch: `log_prob(x)` broadcasts
          x against it, and `sample(n)` is `(n, *batch, event_size)`.

        Raises:
          ValueError: the flow takes no context, or one of another width, or NaN or
            infinite ones.

        Example:
          >>> import numpy as np, tfp_flows as tfpf
          >>> flow = tfpf.recipes.real_nvp(2, context_size=3, seed=0)
          >>> given = flow.given(np.zeros((5, 3)))
          >>> given.sample(7, seed=0).shape, given.log_prob(np.ones(2, "float32")).shape
          (TensorShape([7, 5, 2]), TensorShape([5]))
        """
        if not self.context_size:
            raise ValueError("This flow takes no context. Remedy: `flow.distribution`.")
        if not _is_symbolic(context):
            checks.as_points(
                context, self.context_size, dtype=self.dtype, name="context"
            )
        context = tf.cast(tf.convert_to_tensor(context), self.dtype)
        base, bijectors = self._given(context)
        if not context_size_of(self.base):
            base = tfd.BatchBroadcast(base, tf.shape(context)[:-1])
        return _transformed(base, bijectors, self.name)

    # Keras

    def call(self, inputs: Any, training: bool | None = None) -> tf.Tensor:
        """Returns `log_prob` of points, `(n,)`, in nats.

        Args:
          inputs: `(n, event_size)`; for a conditional flow {"x": x, "context": c}.
          training: as Keras passes it on to the networks.
        """
        parts = arguments.batch(
            inputs,
            event_size=self.event_size,
            dtype=self.dtype,
            context_size=self.context_size,
        )
        if not self.context_size:
            return self.distribution.log_prob(parts["x"])
        distribution = _transformed(*self._given(parts["context"]), self.name)
        return distribution.log_prob(parts["x"])

    def _before_fit(self, points: arguments.FitData) -> None:
        if not self.trainable_variables:
            raise ValueError(
                "Nothing to fit: no stage has a trainable weight "
                f"({', '.join(self._stage_names)}). Remedy: give parameters as numbers "
                "to bijectors of tfp_flows, or as tf.Variable to TFP's."
            )
        if needs_adaptation((self.base, *self.bijectors)):
            self.adapt(points.x)

    def _after_fit(self, points: arguments.FitData) -> None:
        """Says when splines do not reach some of the points they were fitted to."""
        sample = points.some(_LOOKED_AT)
        if sample is None:
            return
        sample = sample if isinstance(sample, dict) else {"x": sample}
        shares = shares_outside(
            self.bijectors, **{k: tf.constant(v) for k, v in sample.items()}
        )
        worst = max(shares, key=shares.get, default=None)
        if worst is not None and shares[worst] > _MOST_OUTSIDE:
            stages = zip(self._stage_names[1:], self.bijectors, strict=True)
            # A chain in the list is one stage, of several bijectors.
            name = next(n for n, b in stages if worst is b or worst in b.submodules)
            warnings.warn(
                f"{shares[worst]:.1%} of the points lie outside the box of {name}, "
                "where it is the identity and learns nothing. Remedy: a wider `box`, "
                "box='data', or Standardize as the last bijector.",
                stacklevel=3,
            )

    def _explain(self, batch: dict[str, np.ndarray]) -> tuple[int | None, str]:
        context = tf.constant(batch.get("context", np.zeros([1, 0])), self.dtype)
        found = culprit(batch["x"], *self._given(context), self._stage_names)
        if found:
            return found
        with tf.GradientTape() as tape:
            loss = self.compute_loss(
                y_pred=self(batch if len(batch) > 1 else batch["x"])
            )
        for weight, gradient in zip(
            self.trainable_weights,
            tape.gradient(loss, self.trainable_weights),
            strict=True,
        ):
            if gradient is not None and not np.isfinite(gradient).all():
                return None, f"The gradient of {weight.path} is not finite."
        return super()._explain(batch)

    @at_weights
    def adapt(self, x: Any) -> None:
        """Starts data-dependent weights from data, as Keras's layers do.

        Each part that has an `adapt` (such as `ActNorm`, the box of a spline or a
        mixture base) takes its start from the points that reach it, from the data's
        side to the base. `fit` calls this itself where a part still waits for it.

        Args:
          x: as for `fit`. Of a path or a dataset, all points are read, once: a part on
            the data's side that takes mean and standard deviation has those of all
            points, every other part looks at 65,536 random ones of them. Of an endless
            dataset, the first 65,536 points are read.

        Raises:
          ValueError: points of the wrong width, none at all, or NaN or infinite ones.
        """
        x, moments = self._checked(x).start(CHUNK)
        x = x if isinstance(x, dict) else {"x": x}
        parts = {key: tf.cast(value, self.dtype) for key, value in x.items()}
        adapt(self.base, self.bijectors, **parts, moments=moments)

    # Densities and samples

    @at_weights
    def log_prob(self, x: Any, *, batch_size: int | None = None) -> tf.Tensor:
        """Returns the log-density at points, in nats.

        Args:
          x: points `(..., event_size)`.
          batch_size: points computed at once; 65,536 when None, under XLA where
            there are so many that it pays.

        Returns:
          A tensor of shape `(...)`. Gradients flow to `x` and to the weights.

        Raises:
          ValueError: points of the wrong width, none, or NaN or infinite ones.
          TypeError: points that are not numbers.
        """
        if _is_symbolic(x):
            return self.distribution.log_prob(tf.cast(x, self.dtype))
        self.distribution  # noqa: B018  (raises for a conditional flow)
        checked = checks.as_points(x, self.event_size, dtype=self.dtype)
        # Gradients need the caller's own tensor.
        points = tf.cast(x, self.dtype) if tf.is_tensor(x) else tf.constant(checked)
        flat = tf.reshape(points, [-1, self.event_size])
        values = self._log_prob_chunked(
            lambda i, start, stop: flat[start:stop],
            flat.shape[0],
            batch_size,
            by_xla=self._is_for_xla(flat.shape[0]),
        )
        return tf.reshape(values, checked.shape[:-1])

    @at_weights
    def sample(
        self, n: int, *, seed: int | None = None, batch_size: int | None = None
    ) -> tf.Tensor:
        """Returns n points drawn from the flow, `(n, event_size)`.

        Args:
          n: how many, at least 1.
          seed: whole number ≥ 0: the same draws each time; drawn when None.
          batch_size: points computed at once; 65,536 when None, under XLA where
            there are so many that it pays.

        Raises:
          ValueError: `n` or `seed` is out of its range.
        """
        n, seed = checks.positive_int(n, "n"), checks.as_seed(seed)
        self.distribution  # noqa: B018  (raises for a conditional flow)
        for part, inverted in leaves(self.bijectors):
            # In a graph, where it runs below, a bijector does not say this itself.
            hooks_of(part).warn_of_cost(forward=not inverted)
        none = tf.zeros([0], self.dtype)
        return self._forward_chunked(
            lambda i, start, stop: self._base_graph(
                stop - start, _stateless(seed, i), none
            ),
            n,
            batch_size,
            by_xla=self._is_for_xla(n),
        )

    def _is_for_xla(self, n: int) -> bool:
        """Whether n points are worth compiling for, if `compile` did not forbid it."""
        if self._jit_asked is False:
            return False
        return flops(self.weights, n) / 3 > _FLOPS_FOR_XLA  # there is no way back

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
          ValueError: a context that is missing, not asked for, or of another shape.
        """
        n, seed = checks.positive_int(n, "n"), checks.as_seed(seed)
        context = self._one_context(context)
        z = self._base_graph(n, _stateless(seed), context)
        base, bijectors = self._given(context)
        return [
            Stage(name, bijector, *step, distribution)
            for name, bijector, step, distribution in zip(
                self._stage_names,
                (None, *bijectors),
                self._stages_graph(z, context),
                stage_distributions(base, bijectors),
                strict=True,
            )
        ]

    def _repr_html_(self) -> str:
        """Returns what a notebook shows: the stages as thumbnails, or as a table."""
        # Imported here, as plotting builds on Flow.
        from tfp_flows.plotting.thumbnails import flow_as_html

        return flow_as_html(self, self._stage_names)

    def _one_context(self, context: Any) -> tf.Tensor:
        if context is None and not self.context_size:
            return tf.zeros([0], self.dtype)
        if np.shape(context) != (self.context_size,) or not self.context_size:
            raise ValueError(
                "`context` must be one row for a conditional flow, and None for "
                f"another: expected shape ({self.context_size},). Received: "
                f"{context!r}."
            )
        checked = checks.as_points(context, dtype=self.dtype, name="context")
        return tf.constant(checked)

    # Orders

    def reordered(self, order: Sequence[int]) -> Self:
        """Returns an independent copy with the bijectors in another order.

        Args:
          order: permutation of 0..K-1, in sampling order: `order[0]` is the index of
            the bijector that comes first after the base.

        Returns:
          A Flow with weights of its own that start at the values of these. Stages
          keep their names.

        Raises:
          ValueError: `order` is not a permutation.
        """
        count = len(self.bijectors)
        order = list(order)
        if sorted(order) != list(range(count)):
            raise ValueError(
                f"`order` must be a permutation of 0..{count - 1}. Received: {order}."
            )
        order = [int(i) for i in order]
        base, bijectors = copy_objects([self.base, list(self.bijectors)])
        copy = type(self)(
            [bijectors[i] for i in order],
            base=base,
            event_size=self.event_size,
            dtype=self.dtype,
        )
        names = self._stage_names
        copy._stage_names = (names[0], *(names[1 + i] for i in order))
        mine, theirs = self._layers_in_order(), copy._layers_in_order()
        for target, i in zip(theirs, [0, *(1 + i for i in order)], strict=True):
            target.set_weights(mine[i].get_weights())
        return copy

    def shuffled(self, *, seed: int | None = None) -> Self:
        """Returns an independent copy with the bijectors in a random other order.

        Args:
          seed: of the order; drawn when None.
        """
        count = len(self.bijectors)
        rng = np.random.default_rng(checks.as_seed(seed))
        order = rng.permutation(count)
        while count > 1 and (order == np.arange(count)).all():
            order = rng.permutation(count)
        return self.reordered(order)

    def _layers_in_order(self) -> list[TFPLayer]:
        by_object = {id(layer.tfp_object): layer for layer in self._parts}
        return [by_object[id(part)] for part in (self.base, *self.bijectors)]

    # Files

    def get_config(self) -> dict[str, Any]:
        """Returns the flow's structure as plain data; weights are saved beside it."""
        return {
            "name": self.name,
            "dtype": self.dtype,
            "event_size": self.event_size,
            "context_size": self.context_size,
            "trainable": self.trainable,
            "stage_names": list(self._stage_names),
            "structure": Encoder().encode(
                [self.base, list(self.bijectors)], "the flow"
            ),
        }

    @classmethod
    def from_config(cls, config: dict[str, Any], custom_objects: Any = None) -> Self:
        """Returns the flow that `get_config` described, with its weights at zero.

        Raises:
          ValueError: it names a class that is neither ours, TFP's or Keras's, nor
            registered with Keras or passed in by the caller.
        """
        # A scope hides the one it stands in, such as that of `load_model`.
        scope = keras.saving.custom_object_scope
        with scope(custom_objects) if custom_objects else contextlib.nullcontext():
            try:
                return cls._decoded(config)
            except ValueError:
                raise
            except Exception as error:  # a wrong entry leads to errors of any kind
                raise ValueError(f"Not a saved flow: {_brief(error)}") from error

    @classmethod
    def _decoded(cls, config: dict[str, Any]) -> Self:
        base, bijectors = Decoder().decode(config["structure"])
        flow = cls(
            bijectors,
            base=base,
            event_size=config["event_size"],
            context_size=config["context_size"],
            dtype=config["dtype"],
            name=config["name"],
        )
        names = tuple(map(str, config["stage_names"]))
        if len(names) != len(flow._stage_names):
            raise ValueError(f"Not a saved flow: {len(names)} names of its stages.")
        flow._stage_names = names
        if not config["trainable"]:
            flow.trainable = False
        return flow

    def save(self, filepath: Any, overwrite: bool = True, **kwargs: Any) -> None:
        """Saves structure, weights and optimizer to a `.keras` file.

        The file is written whole or not at all.

        Args:
          filepath: ends in `.keras`.
          overwrite: whether to replace a file that is there.
          **kwargs: as for `keras.Model.save`.

        Raises:
          FileExistsError: the file is there and `overwrite` is False.
          TypeError: the flow holds functions or foreign objects.
          ValueError: a weight is NaN.
        """
        path = Path(filepath)
        if path.exists() and not overwrite:
            raise FileExistsError(f"{path} exists, and `overwrite` is False.")
        if path.suffix != ".keras":
            raise ValueError(f"`filepath` must end in .keras. Received: {str(path)!r}.")
        for weight in self.weights:
            if np.isnan(weight.numpy()).any():
                raise ValueError(
                    f"A flow with weights that are NaN cannot be saved: {weight.path}."
                )
        self.get_config()  # says what cannot be saved before a file is touched
        if self.compiled and self.trainable_variables:
            # A flow is loaded with an optimizer that is ready to fit.
            self.optimizer.build(self.trainable_variables)
        with beside(path) as temporary:
            super().save(temporary, **kwargs)

    def load_own_variables(self, store: Any) -> None:
        """Keras's hook, before the weights are loaded: refuses those of damaged files.

        Raises:
          ValueError: a part of the file is not what its checksum says.
        """
        # Where Keras cannot read the weights as a whole it reads them in pieces, of
        # which Python, from 3.12 on, checks no sums.
        archive = compat.archive_of(store)
        if archive is not None and archive.filename:
            with zipfile.ZipFile(archive.filename) as file:
                if part := file.testzip():
                    raise ValueError(f"The file is damaged: {part} fails its checksum.")
        super().load_own_variables(store)

    def export(self, filepath: Any, **kwargs: Any) -> None:
        """Writes a SavedModel that runs where neither tfp_flows nor TFP is installed.

        `tf.saved_model.load(path)` has the endpoints `log_prob(x)`, x of shape
        `(n, event_size)`, and `sample(n)`, n a scalar int32 tensor; of a conditional
        flow `log_prob(x, context)` and `sample(n, context)`, `(n, m, event_size)`, with
        contexts `(m, context_size)`.

        Args:
          filepath: the folder, written whole or not at all; a SavedModel that is
            there is replaced.
          **kwargs: as for `keras.export.ExportArchive.write_out`.

        Raises:
          FileExistsError: something else is there.
        """
        export_flow(self, Path(filepath), **kwargs)


def _transformed(
    base: tfd.Distribution, bijectors: Sequence[tfb.Bijector], name: str
) -> tfd.TransformedDistribution:
    chain = tfb.Chain(list(reversed(bijectors)))
    return tfd.TransformedDistribution(base, chain, name=name)


def _brief(error: Exception) -> str:
    return f"{type(error).__name__}: {error}".partition("\n")[0][:300]


def _is_symbolic(value: Any) -> bool:
    """Whether this is a tensor of somebody's graph, which has no value to check."""
    return tf.is_tensor(value) and not hasattr(value, "numpy")


def _stateless(seed: int, chunk: int = 0) -> np.ndarray:
    """Returns TFP's stateless seed: the same numbers, the same draws."""
    return np.array([seed & 0x7FFFFFFF, (seed >> 31) + chunk & 0x7FFFFFFF], np.int32)
