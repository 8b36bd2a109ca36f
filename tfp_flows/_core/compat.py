"""Every private or undocumented name of other packages that this one relies on.

Nothing outside this file uses a name of Keras, TensorFlow, TensorFlow Probability or
scikit-learn that starts with an underscore, that stands in a private module, or that
none of their documentation mentions. Each entry says what it is needed for and what
breaks without it; `tests/_core/test_compat.py` fails with the name of the entry when
a release drops it.

What TensorFlow Probability documents as its contract for subclasses of `Bijector` and
`Distribution` (`_forward`, `_log_prob`, `_parameter_properties`, …), and scikit-learn
for those of its mixins (`_n_features_out`), counts as public.
"""

import contextlib
from collections.abc import Callable, Collection, Iterator
from typing import Any

import keras
import tensorflow as tf
import tensorflow_probability as tfp

# The cache of bijectors: see `tfp_flows._core.caches`.
from tensorflow_probability.python.internal import cache_util

# One step of a Runge-Kutta method, in the order of arithmetic of TFP's own solver.
from tensorflow_probability.python.math.ode import dormand_prince, runge_kutta_util

__all__ = [
    "BATCH_SHAPES",
    "BijectorHooks",
    "Cache",
    "CacheOfLogDets",
    "OdeSolver",
    "Results",
    "adopted",
    "archive_of",
    "build_metrics_from",
    "cache_of",
    "cache_of_one",
    "checked_parameters",
    "checked_sample_weight",
    "dormand_prince_tableau",
    "forget_batch_shapes",
    "forget_first_epoch",
    "forget_results",
    "give_cache",
    "gradients_already_summed",
    "graphs_around",
    "has_weight_decay",
    "interval",
    "loss_tracker",
    "nest_rms_norm",
    "nest_where",
    "plain_class",
    "runge_kutta_step",
    "schedule_of",
    "shared_results",
    "step_counter",
    "strategy_of",
    "strategy_of_optimizer",
    "track",
]

tfb = tfp.bijectors

# Keras: models


def strategy_of(model: keras.Model) -> tf.distribute.Strategy | None:
    """Returns the strategy that a model was made under; None for none.

    Why: the public `distribute_strategy` answers with the strategy of the caller where
    the model has none. Without it a model of one device that is used under a strategy
    would be taken for a model of several.
    """
    return model._distribute_strategy


def build_metrics_from(model: keras.Model, first_part: Callable[[Any], Any]) -> None:
    """Has Keras build a model's metrics from one replica's part of the first batch.

    Why: Keras takes the mean over the parts of the first batch to learn its shapes.
    Without it `fit` and `evaluate` on replicas fail where the parts are not equally
    long, and on several workers.

    Args:
      model: made under a strategy, and compiled.
      first_part: returns one replica's part of a distributed batch.
    """

    def build(iterator: Any = None, data_batch: Any = None) -> None:
        if getattr(model._compile_metrics, "built", True):
            return
        if iterator is not None:
            _, _, batches = next(iter(iterator))
            data_batch = first_part(next(batches))
        keras.Model._maybe_symbolic_build(model, data_batch=data_batch)

    model._maybe_symbolic_build = build


def loss_tracker(model: keras.Model) -> keras.metrics.Mean:
    """Returns the metric that averages the loss over the steps of an epoch.

    Why: a training step of ours leaves out what is not finite, and weighs each batch
    by its rows. Without it `fit` logs a loss of 0.
    """
    return model._loss_tracker


def forget_first_epoch(model: keras.Model) -> None:
    """Lets the next `fit` start at its argument `initial_epoch`.

    Why: Keras's BackupAndRestore sets the first epoch of the fit that it resumes, and
    leaves it there. Without it the next fit of the same model would skip as many.
    """
    model._initial_epoch = None


def archive_of(store: Any) -> Any:
    """Returns the zip file that a weight store of a `.keras` file reads; else None.

    Why: its checksums are tested before any weight is read. Without it a damaged file
    may load with wrong weights where Keras reads it in pieces.
    """
    return getattr(store, "archive", None)


# Keras: variables and layers


def adopted(variable: tf.Variable) -> keras.Variable:
    """Returns a Keras variable on the storage of a `tf.Variable`.

    Why: it makes the variables of TFP's objects visible to Keras's optimizers, files
    and strategies. That `keras.Variable` takes a `tf.Variable` over, and does not copy
    it, is documented nowhere. Without it training would change copies.
    """
    return keras.Variable(
        variable,
        dtype=variable.dtype.name,
        trainable=variable.trainable,
        autocast=False,
        name=variable.name.split(":")[0].replace("/", "_"),
    )


def track(layer: keras.Layer, variable: keras.Variable) -> None:
    """Makes a variable one of a layer's weights.

    Why: `add_weight` makes new variables only, and a list in an attribute would change
    the order of the weights in files. Without it the model has no such weight.
    """
    layer._track_variable(variable)


# Keras: optimizers


def step_counter(optimizer: keras.optimizers.Optimizer) -> keras.Variable:
    """Returns the variable in which an optimizer counts its steps.

    Why: the public `iterations` counts updates, of which there are fewer where
    gradients are accumulated. Without it an epoch of such steps alone would be taken
    for one in which no step was finite.
    """
    return optimizer._iterations


def schedule_of(
    optimizer: keras.optimizers.Optimizer,
) -> keras.optimizers.schedules.LearningRateSchedule | None:
    """Returns the learning-rate schedule of an optimizer; None for a plain rate.

    Why: the public `learning_rate` is the rate of the current step. Without it a rate
    cannot be halved where it follows a schedule.
    """
    rate = optimizer._learning_rate
    is_schedule = isinstance(rate, keras.optimizers.schedules.LearningRateSchedule)
    return rate if is_schedule else None


def has_weight_decay(
    optimizer: keras.optimizers.Optimizer, weight: keras.Variable
) -> bool:
    """Returns whether an optimizer's weight decay applies to a weight.

    Why: there is no public way to read what `exclude_from_weight_decay` was given.
    Without it the fused AdamW decays every weight.
    """
    return optimizer._use_weight_decay(weight)


def strategy_of_optimizer(
    optimizer: keras.optimizers.Optimizer | str,
    default: tf.distribute.Strategy | None,
) -> tf.distribute.Strategy | None:
    """Returns the strategy an optimizer was made under; `default` for a mere name.

    Why: an optimizer made elsewhere is refused when the model is compiled. Without it
    Keras fails within the first step, in terms of TensorFlow's internals.
    """
    return getattr(optimizer, "_distribution_strategy", default)


@contextlib.contextmanager
def gradients_already_summed(optimizer: keras.optimizers.Optimizer) -> Iterator[None]:
    """Has an optimizer take gradients for those of all replicas together.

    Why: Keras clips gradients before it sums them over the replicas, so that a batch
    on two devices would be clipped otherwise than on one. Without it gradients that
    are summed already would be summed once more.
    """
    optimizer._all_reduce_sum_gradients = list
    try:
        yield
    finally:
        vars(optimizer).pop("_all_reduce_sum_gradients", None)  # replicas take turns


# TensorFlow


def graphs_around(graph: tf.Graph) -> Iterator[tf.Graph]:
    """Yields a graph, the one that it is traced within, and so on outwards.

    Why: what was computed in an outer graph may be used in an inner one, not the other
    way round. Without it a cache would hand tensors of a branch or a loop to what
    stands around it.
    """
    while graph is not None:
        yield graph
        graph = getattr(graph, "outer_graph", None)  # no attribute of tf.Graph itself


# TensorFlow Probability: bijectors and distributions


def plain_class(constructor: type) -> Any:
    """Returns the class of what a constructor of TFP returns for parts of ours.

    Why: `tfb.Chain(...)`, `tfb.Invert(...)`, `tfd.Sample(...)` and others return an
    instance of their base class where a part is not a composite tensor, as none of
    ours is. Without it `isinstance` would not recognize them.
    """
    return constructor.__mro__[1]


class BijectorHooks(tfb.Bijector):
    """TFP's bijector, with names of ours for what subclasses change in it.

    Why: TFP documents no way to say which bijectors are equal (its cache takes those
    with equal arguments for one), that a bound context has batch axes, or that a
    dtype is known only with the first points. Without them the cache mixes up
    bijectors with different weights, and distributions given several contexts have
    the wrong batch shape.
    """

    def _identity(self) -> Any:
        """Returns what is equal for equal bijectors only."""
        return super()._get_parameterization()

    def _static_batch(self, x_event_ndims: int) -> tf.TensorShape:
        """Returns the static batch shape for points of so many event axes."""
        return super()._batch_shape(x_event_ndims)

    def _dynamic_batch(self, x_event_ndims: int) -> tf.Tensor:
        """Returns the batch shape for points of so many event axes, as a tensor."""
        return super()._batch_shape_tensor(x_event_ndims)

    def _settle_dtype(self, dtype: tf.DType) -> None:
        """Sets the dtype of weights and points, once it is known."""
        self._dtype = dtype

    def _get_parameterization(self) -> Any:
        return self._identity()

    def _batch_shape(self, x_event_ndims: int) -> tf.TensorShape:
        return self._static_batch(x_event_ndims)

    def _batch_shape_tensor(self, x_event_ndims: int) -> tf.Tensor:
        return self._dynamic_batch(x_event_ndims)


BATCH_SHAPES = "_cached_batch_shapes"
"""The attribute in which TFP keeps a bijector's batch shapes."""


def forget_batch_shapes(bijector: tfb.Bijector) -> None:
    """Lets a bijector find out its batch shape anew.

    Why: TFP keeps it after the first question. Without it a shallow copy of a bijector
    that a context is bound to would answer with the shape of the original.
    """
    bijector.__dict__.pop(BATCH_SHAPES, None)


# TFP keeps what bijectors returned, with keys of its own for tensors and structures.
# Why: bijectors of ours compute a value and its log-det at once, and keep the one
# until it is asked for. Without it a network is evaluated twice for a density.
Cache = cache_util.BijectorCache
CacheOfLogDets = cache_util.BijectorCacheWithGreedyAttrs
Results = cache_util.EphemeralDict


def cache_of_one(
    kind: type, cache: Any, bijector: Any, bijector_class: Any, results: Any
) -> Any:
    """Returns a cache of the methods of another one, for one bijector.

    Why: TFP makes it whenever the attribute `_cache` is read. Without it there would be
    one place for the results of all graphs.

    Args:
      kind: `Cache` or `CacheOfLogDets`.
      cache: the other one.
      bijector, bijector_class: as in `__get__`.
      results: the `Results` that it reads and adds to.
    """
    names = cache._forward_name, cache._inverse_name
    return kind(*names, bijector, bijector_class, results)


def cache_of(bijector: tfb.Bijector) -> Any:
    """Returns the cache that a bijector answers from.

    Why: it keeps the log-det beside each value. Without it the log-det of a value that
    was computed would be computed anew.
    """
    return bijector._cache


def give_cache(owner: Any, cache: Any) -> None:
    """Gives a bijector, or a class of bijectors, a cache of its own.

    Why: TFP has one cache for all of them. Without it that one would be changed.
    """
    if isinstance(owner, type):
        setattr(owner, "_cache", cache)  # noqa: B010  (its type has no such attribute)
    else:  # TFP does not track the attribute, where it is not set the usual way
        owner.__dict__["_cache"] = cache


def shared_results() -> Any:
    """Returns the results that TFP keeps for all bijectors of all graphs.

    Why: parts of flows that are not of ours leave results there. Without it the graphs
    of a flow, and its weights, are never freed.
    """
    return tfb.Bijector._cache.storage


def forget_results(graphs: Collection[tf.Graph]) -> None:
    """Removes what was computed in these graphs, and within them, from TFP's cache.

    Why: an entry is dropped when its output is, but a graph holds all of its tensors,
    and an entry holds the graph. Without it neither is ever freed.
    """
    for results in (shared_results(), tfb.FFJORD._cache.storage):
        for key, entry in list(results.items()):
            tensors = [*_tensors(key), *_tensors(entry.output_ref)]
            tensors += tf.nest.flatten(list(entry.attributes.values()))
            made_in = (getattr(tensor, "graph", None) for tensor in tensors)
            if any(graph in graphs for g in made_in for graph in graphs_around(g)):
                key.cancel()
                results.pop(key, None)


def _tensors(reference: Any) -> list[Any]:
    """Returns the tensors of a weak reference of TFP's cache that are alive."""
    return tf.nest.flatten(reference()) if reference and reference.alive else []


# TensorFlow Probability: differential equations

# Why: `ContinuousFlow` takes TFP's steps of its own sizes, with coefficients that are
# not rounded to float32. Without them it is as accurate as TFP's solver: 1e-7.
dormand_prince_tableau = dormand_prince._TABLEAU
runge_kutta_step = runge_kutta_util.runge_kutta_step
nest_rms_norm = runge_kutta_util.nest_rms_norm
nest_where = runge_kutta_util.nest_where


class OdeSolver(tfp.math.ode.DormandPrince):
    """TFP's Dormand-Prince solver, whose steps may be made by a subclass.

    Why: TFP's own steps round their coefficients to float32, go beyond the last time,
    and never give up. There is no public way to change them. Without it
    `ContinuousFlow` does not invert itself in float64, and may hang.
    """

    def _one_step(self, solver_state: Any, diagnostics: Any, **options: Any) -> tuple:
        """Returns the state and the diagnostics after one more step."""
        return super()._step(solver_state, diagnostics, **options)

    def _step(self, solver_state: Any, diagnostics: Any, **options: Any) -> tuple:
        return self._one_step(solver_state, diagnostics, **options)


# scikit-learn, which is imported by those who use it: it is slow


def checked_parameters(**constraints: Any) -> Callable[[type], type]:
    """Returns a decorator of estimators whose `fit` checks their parameters.

    Why: scikit-learn's own estimators say which values their parameters take in this
    way, and raise its `InvalidParameterError`. Without it wrong parameters fail
    somewhere within `fit`, if at all.

    Args:
      **constraints: for each parameter what it may be, as in scikit-learn.
    """
    from sklearn.base import _fit_context

    def decorated(estimator: Any) -> Any:
        estimator._parameter_constraints = constraints
        context = _fit_context(prefer_skip_nested_validation=True)
        estimator.fit = context(estimator.fit)
        return estimator

    return decorated


def interval(kind: type, low: float, high: float | None, *, closed: str) -> Any:
    """Returns the constraint of a parameter to an interval.

    Why: the constraints of `checked_parameters` have no public classes.

    Args:
      kind: `numbers.Integral` or `numbers.Real`.
      low, high: the ends; None for none.
      closed: "left", "right", "both" or "neither".
    """
    from sklearn.utils._param_validation import Interval

    return Interval(kind, low, high, closed=closed)


def checked_sample_weight(weights: Any, rows: Any) -> Any:
    """Returns weights of rows as float64, checked as scikit-learn checks its own.

    Why: its estimator checks expect its messages. Without it weights of another
    length, negative or not finite would pass.
    """
    from sklearn.utils.validation import _check_sample_weight

    return _check_sample_weight(
        weights, rows, dtype="float64", ensure_non_negative=True
    )
