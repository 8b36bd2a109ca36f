"""Private names of other packages: each is still there, and does what it is used for.

A failure here names what a release has dropped. `tfp_flows/_core/compat.py` says what
each name is for; a fix, or an upper bound in setup.cfg, belongs there.
"""

import ast
import copy
import inspect
from importlib import metadata
from numbers import Integral
from pathlib import Path

import keras
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.base import BaseEstimator

from tfp_flows._core import compat

tfb = tfp.bijectors
tfd = tfp.distributions

PACKAGE = Path(compat.__file__).parents[1]


def still(condition, package, name, consequence):
    """Fails with what a release has dropped, and what that breaks."""
    version = metadata.version(package)
    assert condition, f"{package} {version} no longer has {name}: {consequence}."


def still_has(owner, package, name, consequence):
    """As `still`, for an attribute."""
    kind = owner.__name__ if inspect.isclass(owner) else type(owner).__name__
    still(hasattr(owner, name), package, f"{kind}.{name}", consequence)


@pytest.fixture(scope="module")
def model():
    """A compiled Keras model, made under no strategy."""
    model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
    model.compile("sgd", "mse", metrics=["mae"])
    return model


@pytest.fixture(scope="module")
def strategy():
    return tf.distribute.OneDeviceStrategy("CPU:0")


def test_a_dropped_name_is_told_in_clear_words():
    with pytest.raises(AssertionError, match=r"keras \S+ no longer has Layer\._gone: "):
        still_has(keras.layers.Layer, "keras", "_gone", "nothing works")


# Keras


def test_the_strategy_of_a_model(model, strategy):
    still_has(model, "keras", "_distribute_strategy", "several replicas cannot train")
    with strategy.scope():
        other = keras.Sequential([keras.layers.Input([1]), keras.layers.Dense(1)])
        assert compat.strategy_of(model) is None
    assert compat.strategy_of(other) is strategy


def test_steps_are_made_by_the_model():
    model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
    model.compile("sgd", "mse")
    why = "steps on replicas and over rows in memory cannot be made by a flow"
    still_has(model, "keras", "make_train_function", why)
    still_has(model, "keras", "make_test_function", why)
    taken = []

    def step(iterator):
        taken.append(next(iterator))
        return {"loss": tf.constant(7.0)}

    x, y = np.zeros([4, 2]), np.zeros([4, 1])
    model.train_function = model.test_function = step
    model.fit(x, y, verbose=0)
    still(len(taken) == 1, "keras", "Model.train_function", why)
    model.evaluate(x, y, verbose=0)
    still(len(taken) == 2, "keras", "Model.test_function", why)


def test_metrics_are_built_from_one_part_of_a_batch(strategy):
    with strategy.scope():
        model = keras.Sequential([keras.layers.Input([2]), keras.layers.Dense(1)])
        model.compile("sgd", "mse", metrics=["mae"])
    why = "metrics on replicas are not built"
    still_has(model, "keras", "_compile_metrics", why)
    still_has(keras.Model, "keras", "_maybe_symbolic_build", why)
    seen = []
    compat.build_metrics_from(model, lambda batch: seen.append(batch) or batch)
    data = np.zeros([4, 2]), np.zeros([4, 1])
    for _ in range(2):
        model.evaluate(*data, verbose=0)
    still(len(seen) == 1, "keras", "Model._maybe_symbolic_build", why)
    still(model._compile_metrics.built, "keras", "CompileMetrics.built", why)


def test_the_metric_of_the_loss(model):
    still_has(model, "keras", "_loss_tracker", "`fit` logs a loss of 0")
    tracker = compat.loss_tracker(model)
    tracker.reset_state()
    tracker.update_state(3.0, sample_weight=1.0)
    tracker.update_state(6.0, sample_weight=2.0)
    assert float(tracker.result()) == 5.0
    assert tracker is model.metrics[0]
    assert tracker.name == "loss"


def test_a_resumed_fit_leaves_no_first_epoch(model, tmp_path):
    x, y = np.zeros([4, 2]), np.zeros([4, 1])
    for epochs, expected in ((2, [0, 1]), (4, [2, 3])):
        backup = keras.callbacks.BackupAndRestore(tmp_path, delete_checkpoint=False)
        model.fit(x, y, epochs=epochs, callbacks=[backup], verbose=0)
        assert model.history.epoch == expected
    still_has(model, "keras", "_initial_epoch", "fits may skip epochs")
    compat.forget_first_epoch(model)
    model.fit(x, y, epochs=1, verbose=0)
    why = "a fit after one with BackupAndRestore skips epochs"
    still(model.history.epoch == [0], "keras", "Model._initial_epoch", why)


def test_the_archive_of_a_weight_store(tmp_path):
    stores = []

    class Watched(keras.Sequential):
        def load_own_variables(self, store):
            stores.append(compat.archive_of(store))
            super().load_own_variables(store)

    def made():
        return Watched([keras.layers.Input([2]), keras.layers.Dense(1)])

    made().save(tmp_path / "model.keras")
    scope = keras.saving.custom_object_scope({"Watched": Watched})
    with scope:
        keras.models.load_model(tmp_path / "model.keras")
    # Keras reads it whole where it can, and then the zip file has checked itself.
    assert len(stores) == 1
    assert stores[0] is None or stores[0].filename
    store = keras.src.saving.saving_lib.H5IOStore
    why = "damaged files load"
    parameters = inspect.signature(store.__init__).parameters
    still("archive" in parameters, "keras", "H5IOStore(archive)", why)


def test_a_keras_variable_adopts_one_of_tensorflow():
    mine = tf.Variable([1.0, 2.0], trainable=False, name="mine")
    theirs = compat.adopted(mine)
    why = "training changes copies of TFP's variables"
    still(theirs.value is mine, "keras", "keras.Variable(tf.Variable)", why)
    assert (theirs.name, theirs.trainable, theirs.dtype) == ("mine", False, "float32")


def test_a_layer_tracks_a_variable():
    why = "TFP's variables are invisible to Keras"
    still_has(keras.layers.Layer, "keras", "_track_variable", why)
    layer = keras.layers.Layer()
    one, other = keras.Variable(1.0), keras.Variable(2.0, trainable=False)
    compat.track(layer, one)
    compat.track(layer, other)
    assert layer.trainable_variables == [one]
    assert layer.non_trainable_variables == [other]


def test_the_counter_of_an_optimizer():
    optimizer = keras.optimizers.SGD(gradient_accumulation_steps=3)
    weight = keras.Variable([1.0])
    optimizer.build([weight])
    still_has(optimizer, "keras", "_iterations", "epochs without a step go unnoticed")
    for _ in range(2):
        optimizer.apply([tf.constant([1.0])])
    assert int(compat.step_counter(optimizer)) == 2
    assert int(optimizer.iterations) == 0
    # The fused Adam counts in this variable itself.
    assert isinstance(keras.optimizers.Adam().iterations, keras.Variable)


def test_the_schedule_of_an_optimizer():
    why = "rates with a schedule are not halved"
    still_has(keras.optimizers.SGD(), "keras", "_learning_rate", why)
    schedule = keras.optimizers.schedules.CosineDecay(0.1, 10)
    assert compat.schedule_of(keras.optimizers.SGD(schedule)) is schedule
    assert compat.schedule_of(keras.optimizers.SGD(0.1)) is None


def test_weight_decay_leaves_out_what_was_excluded():
    optimizer = keras.optimizers.AdamW()
    why = "the fused AdamW decays every weight"
    still_has(optimizer, "keras", "_use_weight_decay", why)
    kernel, bias = keras.Variable([1.0], name="kernel"), keras.Variable([1.0])
    optimizer.exclude_from_weight_decay([bias])
    optimizer.build([kernel, bias])
    assert compat.has_weight_decay(optimizer, kernel)
    assert not compat.has_weight_decay(optimizer, bias)


def test_the_strategy_of_an_optimizer(strategy):
    why = "an optimizer made elsewhere is not refused"
    still_has(keras.optimizers.SGD(), "keras", "_distribution_strategy", why)
    with strategy.scope():
        optimizer = keras.optimizers.SGD()
    assert compat.strategy_of_optimizer(optimizer, None) is strategy
    assert compat.strategy_of_optimizer("sgd", strategy) is strategy


def test_gradients_are_not_summed_over_replicas_again():
    why = "gradients on replicas are summed twice"
    optimizer, weight = keras.optimizers.SGD(1.0), keras.Variable([5.0])
    optimizer.build([weight])
    still_has(optimizer, "keras", "_all_reduce_sum_gradients", why)
    calls = []
    original = optimizer._all_reduce_sum_gradients

    def counted(pairs):
        calls.append(1)
        return original(pairs)

    vars(optimizer)["_all_reduce_sum_gradients"] = counted
    optimizer.apply([tf.constant([1.0])])
    still(calls == [1], "keras", "Optimizer._all_reduce_sum_gradients", why)
    with compat.gradients_already_summed(optimizer):
        optimizer.apply([tf.constant([1.0])])
    assert calls == [1]
    assert float(weight.value[0]) == 3.0
    assert "_all_reduce_sum_gradients" not in vars(optimizer)


# TensorFlow


def test_the_graphs_around_a_graph():
    found = []

    @tf.function(autograph=False)
    def outer(x):
        def inner():
            found.append(list(compat.graphs_around(tf.compat.v1.get_default_graph())))
            return x

        return tf.cond(x > 0, inner, inner)

    graph = outer.get_concrete_function(tf.constant(1.0)).graph
    why = "a cache hands tensors of a branch to what stands around it"
    still(graph in found[0], "tensorflow", "FuncGraph.outer_graph", why)
    assert found[0].index(graph) == 1
    assert next(iter(compat.graphs_around(graph))) is graph


# TensorFlow Probability


@pytest.mark.parametrize("name", ["Chain", "Invert"])
def test_the_class_that_a_constructor_of_tfp_returns(name):
    class Ours(tfb.Bijector):
        def __init__(self):
            super().__init__(forward_min_event_ndims=0, parameters={})

    constructor = getattr(tfb, name)
    made = constructor([Ours()] if name == "Chain" else Ours())
    plain = compat.plain_class(constructor)
    why = "parts of compositions are not found"
    is_one = isinstance(made, plain) and issubclass(constructor, plain)
    still(is_one, "tensorflow-probability", f"a plain tfb.{name}", why)
    assert plain.__name__ == f"_{name}"


class Token(compat.BijectorHooks):
    """A bijector that is equal to itself alone, with a batch axis of its own."""

    def __init__(self, token):
        super().__init__(forward_min_event_ndims=0, parameters={})
        self.token = token

    def _forward(self, x):
        return x + self.token

    def _forward_log_det_jacobian(self, x):
        return tf.zeros([], x.dtype)

    def _identity(self):
        return self.token

    def _static_batch(self, x_event_ndims):
        return tf.TensorShape([self.token])

    def _dynamic_batch(self, x_event_ndims):
        return tf.constant([self.token])


def test_bijectors_say_what_they_are_equal_to():
    why = "bijectors with different weights are taken for one"
    one, other = Token(2), Token(3)
    still_has(one, "tensorflow-probability", "_get_parameterization", why)
    assert one != other
    assert one == Token(2)
    assert len({one, other, Token(2)}) == 2


def test_bijectors_say_what_batch_shape_they_have():
    why = "densities given several contexts have the wrong batch shape"
    token = Token(2)
    static = token.experimental_batch_shape(x_event_ndims=0)
    still(static == [2], "tensorflow-probability", "Bijector._batch_shape", why)
    dynamic = token.experimental_batch_shape_tensor(x_event_ndims=0)
    name = "Bijector._batch_shape_tensor"
    still(dynamic.numpy() == [2], "tensorflow-probability", name, why)
    bound = copy.copy(token)
    bound.token = 5
    assert bound.experimental_batch_shape(x_event_ndims=0) == [2]
    compat.forget_batch_shapes(bound)
    name = f"Bijector.{compat.BATCH_SHAPES}"
    forgotten = bound.experimental_batch_shape(x_event_ndims=0) == [5]
    still(forgotten, "tensorflow-probability", name, why)
    assert compat.BATCH_SHAPES in vars(token)


def test_the_dtype_of_a_bijector_settles_later():
    token = Token(2)
    assert token.dtype is None
    token._settle_dtype(tf.float64)
    why = "bijectors do not take their dtype from their first input"
    settled = token.dtype == tf.float64
    still(settled, "tensorflow-probability", "Bijector._dtype", why)


def test_the_cache_of_bijectors():
    why = "TFP keeps graphs, and a network runs twice for a density"
    still_has(tfb.Bijector, "tensorflow-probability", "_cache", why)
    calls = []

    class Counted(tfb.Bijector):
        _cache = compat.CacheOfLogDets("_both", "_both_back")

        def __init__(self):
            super().__init__(forward_min_event_ndims=0, parameters={})

        def _both(self, x):
            calls.append(1)
            return 2 * x, {"ildj": tf.constant(-0.5)}

        def _both_back(self, y):
            return y / 2, {"ildj": tf.constant(-0.5)}

        def _inverse_log_det_jacobian(self, y):
            return self._cache.inverse_attributes(y)["ildj"]

    bijector, x = Counted(), tf.constant(1.0)
    y = bijector.forward(x)
    kept = float(bijector.inverse_log_det_jacobian(y)) == -0.5 and calls == [1]
    still(kept, "tensorflow-probability", "BijectorCacheWithGreedyAttrs", why)
    assert isinstance(bijector._cache.storage, compat.Results)
    assert isinstance(tfb.Exp()._cache, compat.Cache)


def test_steps_of_the_solver_of_differential_equations():
    why = "ContinuousFlow is as inaccurate as TFP's solver, and may hang"
    package = "tensorflow-probability"
    still_has(tfp.math.ode.DormandPrince, package, "_step", why)
    steps = []

    class Watched(compat.OdeSolver):
        def _one_step(self, solver_state, diagnostics, **options):
            steps.append((solver_state._fields, diagnostics._fields, set(options)))
            return super()._one_step(solver_state, diagnostics, **options)

    solved = Watched(rtol=1e-3, atol=1e-3).solve(
        lambda t, x: -x, 0.0, tf.constant(1.0), solution_times=[1.0]
    )
    still(steps, package, "DormandPrince._step", why)
    state, diagnostics, options = steps[0]
    fields = {"current_state", "current_derivative", "current_time", "step_size"}
    assert fields <= set(state)
    assert "num_ode_fn_evaluations" in diagnostics
    assert {"ode_fn", "rtol"} <= options
    end = solved.solver_internal_state  # TFP steps beyond the last time
    expected = np.exp(-end.current_time)
    np.testing.assert_allclose(end.current_state, expected, rtol=1e-2)
    assert tfp.math.ode.DormandPrince.ODE_FN_EVALS_PER_STEP == 6


def test_a_step_of_runge_and_kutta():
    tableau = tf.nest.map_structure(np.float64, compat.dormand_prince_tableau)
    start = tf.constant(1.0, tf.float64)
    new, rate, error, _ = compat.runge_kutta_step(
        lambda t, x: -x, start, -start, 0 * start, 0.1 * start, tableau
    )
    # A method of order 5, in float64: TFP's own coefficients are off by 1e-8.
    assert abs(new.numpy() - np.exp(-0.1)) < 1e-9
    assert abs(rate.numpy() + np.exp(-0.1)) < 1e-9
    assert abs(error.numpy()) < 1e-6
    assert compat.nest_rms_norm([tf.constant([1.0, 7.0])]).numpy() == 5.0
    chosen = compat.nest_where(tf.constant(True), [tf.constant(1.0)], [tf.zeros([])])
    assert chosen[0].numpy() == 1.0


# scikit-learn


def test_estimators_check_their_parameters():
    @compat.checked_parameters(
        count=[compat.interval(Integral, 1, None, closed="left"), None]
    )
    class Estimator(BaseEstimator):
        def __init__(self, count=None):
            self.count = count

        def fit(self, rows, y=None):
            return self

    why = "FlowDensity takes any parameters"
    with pytest.raises(ValueError, match="'count' parameter of Estimator") as raised:
        Estimator(count=0).fit([[1.0]])
    name = "_param_validation and _fit_context"
    right = type(raised.value).__name__ == "InvalidParameterError"
    still(right, "scikit-learn", name, why)
    assert "[1, inf)" in str(raised.value)
    assert Estimator(count=1).fit([[1.0]]).count == 1


def test_weights_of_rows_are_checked():
    rows = np.zeros([3, 1])
    weights = compat.checked_sample_weight([1, 2, 3], rows)
    assert weights.dtype == np.float64
    assert weights.tolist() == [1.0, 2.0, 3.0]
    with pytest.raises(ValueError, match="Negative values"):
        compat.checked_sample_weight([1, -2, 3], rows)
    with pytest.raises(ValueError, match="shape"):
        compat.checked_sample_weight([1, 2], rows)


# The rest of the package

# Methods of the hooks in compat.py, by which classes of ours change those of others.
HOOKS = {
    "_build_metrics",
    "_dynamic_batch",
    "_identity",
    "_make_steps",
    "_one_step",
    "_settle_dtype",
    "_static_batch",
}
# Documented by Python (namedtuple) and scikit-learn (ClassNamePrefixFeaturesOutMixin).
DOCUMENTED = {"_replace", "_fields", "_asdict", "_n_features_out"}
# Documented by TFP for subclasses of `Distribution`, not for those of `Bijector`.
CONTRACT = {"_batch_shape", "_batch_shape_tensor"}
# A name of TFP's solver that is a good name elsewhere, too.
COMMON = {"_step"}


def is_private(name):
    return isinstance(name, str) and name.startswith("_") and not name.startswith("__")


def defined_names(tree):
    """Yields the private names that a module gives to something of its own."""
    for node in ast.walk(tree):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            yield node.name
        elif isinstance(node, ast.Name):
            yield node.id
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            yield node.attr


def foreign_in_compat():
    """Returns the private names of others that compat.py uses."""
    found = set()
    for node in ast.walk(ast.parse(Path(compat.__file__).read_text())):
        if isinstance(node, ast.Attribute):
            found.add(node.attr)
        elif isinstance(node, ast.FunctionDef):
            found.add(node.name)
        elif isinstance(node, ast.Constant):
            found.add(node.value)
    return set(filter(is_private, found)) - HOOKS


def is_hidden(module):
    """Whether a module of others is not public."""
    root, *rest = module.split(".")
    names = {"keras": {"src"}, "tensorflow": {"python"}}
    names["tensorflow_probability"] = {"python", "substrates"}
    private = names.get(root, set()) & set(rest) or any(map(is_private, rest))
    return root != "tfp_flows" and bool(private)


def foreign_uses(source, ours):
    """Yields what a module uses of others that is private.

    Args:
      source: of the module.
      ours: the private names that the package defines.
    """
    foreign = foreign_in_compat() - COMMON
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names if is_hidden(alias.name))
        elif (
            isinstance(node, ast.ImportFrom)
            and node.module.split(".")[0] != "tfp_flows"
        ):
            full = (f"{node.module}.{alias.name}" for alias in node.names)
            yield from filter(is_hidden, full)
        elif isinstance(node, ast.Attribute) and is_private(node.attr):
            if node.attr not in ours:
                yield ast.unparse(node)
        elif isinstance(node, ast.Call):
            names = {getattr(argument, "value", None) for argument in node.args}
            by_name = ast.unparse(node.func).endswith(("attr", "pop", "get"))
            if by_name and any(map(is_private, names - ours)):
                yield ast.unparse(node)
        elif isinstance(node, ast.ClassDef) and node.bases:
            is_distribution = ast.unparse(node.bases[-1]).endswith("Distribution")
            for part in ast.walk(node):
                name = getattr(part, "attr", None) or getattr(part, "name", None)
                if name in foreign and not (is_distribution and name in CONTRACT):
                    yield f"{node.name}.{name}"


def test_no_other_module_uses_private_names():
    modules = {
        path: path.read_text()
        for path in PACKAGE.rglob("*.py")
        if path != Path(compat.__file__)
    }
    ours = {n for s in modules.values() for n in defined_names(ast.parse(s))}
    ours |= HOOKS | DOCUMENTED
    found = [
        f"{path.relative_to(PACKAGE)}: {use}"
        for path, source in modules.items()
        for use in foreign_uses(source, ours)
    ]
    assert not found, "These belong into tfp_flows/_core/compat.py."


def test_every_name_is_still_needed():
    path = Path(compat.__file__)
    others = [p.read_text() for p in PACKAGE.rglob("*.py") if p != path]
    unused = [
        name
        for name in compat.__all__
        if not any(f"compat.{name}" in source for source in others)
    ]
    assert not unused


@pytest.mark.parametrize(
    "source",
    [
        "import keras.src.models",
        "from keras.src import models",
        "from tensorflow.python.util import nest",
        "from tensorflow_probability.python.internal import cache_util",
        "from sklearn.base import _fit_context",
        "from sklearn.utils._param_validation import Interval",
        "def f(model): return model._compile_metrics",
        "def f(model): return getattr(model, '_compile_metrics', None)",
        "def f(model): vars(model).pop('_compile_metrics', None)",
        "class Ours(keras.Model):\n  def _maybe_symbolic_build(self): pass",
        "class Ours(tfb.Bijector):\n  def f(self): self._dtype = 1",
    ],
)
def test_a_private_name_is_seen(source):
    assert list(foreign_uses(source, {"_dtype"}))


def test_names_of_ours_are_no_private_names_of_others():
    source = """
from tfp_flows.bijectors._caches import CacheOfBoth
class Ours(keras.Model):
    def _step(self):
        return self._mine, point._replace(x=1), super()._make_steps(self._step)
class Packing:
    def __init__(self):
        self._dtype = 1
"""
    assert not list(
        foreign_uses(source, {"_mine", "_step", "_dtype"} | HOOKS | DOCUMENTED)
    )
