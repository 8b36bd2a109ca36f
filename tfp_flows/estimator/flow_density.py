"""FlowDensity: a flow as a scikit-learn estimator."""

from collections.abc import Sequence
from numbers import Integral, Real
from typing import Any, Self

import numpy as np
import tensorflow as tf
import tensorflow_probability as tfp
from sklearn.base import (
    BaseEstimator,
    ClassNamePrefixFeaturesOutMixin,
    OutlierMixin,
    TransformerMixin,
)
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data

from tfp_flows import networks
from tfp_flows._core import compat
from tfp_flows.bijectors import Standardize
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.race import Plan
from tfp_flows.estimator.warm_fit import warm_fit
from tfp_flows.flow import Flow
from tfp_flows.supports import Supports

__all__ = ["FlowDensity"]

tfb = tfp.bijectors

# A column whose deviation is this many times what its middle half says has outliers
# that must not set its scale.
_OUTLIERS = 20.0
# Rows that tell the threshold of `predict`, and to how many nats.
_LOOKED_AT, _THRESHOLD = 10_000, 0.1
# A column of less than this scale, for itself or times its distance from 0, takes
# float64: float32 would round its values together, or to 0.
_LEAST_SCALE, _LEAST_SCALE_BY_DISTANCE = 1e-18, 1e-5
_MIDDLE_HALF = 1.349  # of a standard normal, from quartile to quartile


@compat.checked_parameters(
    layers=[compat.interval(Integral, 1, None, closed="left"), None],
    hidden=["array-like", tuple, None],
    bins=[compat.interval(Integral, 2, None, closed="left")],
    batch_size=[compat.interval(Integral, 1, None, closed="left")],
    learning_rate=[compat.interval(Real, 0, None, closed="neither")],
    validation_fraction=[compat.interval(Real, 0, 1, closed="neither")],
    contamination=[compat.interval(Real, 0, 0.5, closed="right")],
    time_limit=[compat.interval(Real, 0, None, closed="neither"), None],
    verbose=["verbose"],
    random_state=["random_state"],
)
class FlowDensity(
    ClassNamePrefixFeaturesOutMixin, OutlierMixin, TransformerMixin, BaseEstimator
):
    """Density estimator: a Gaussian mixture that a normalizing flow goes on from.

    Columns are standardized. Gaussian mixtures of more and more components are fitted,
    and become the base of a flow whose spline couplings begin as the identity: nothing
    is lost at the start. Each is trained for a while; rows put aside tell which one to
    train on and for how long, and are then learned too. The result, of averaged
    weights, is kept if it is better than the best mixture on rows that neither has
    seen. Few rows (less than 500, or 40 a column) get a mixture alone, with as many
    components and as much shrinkage as cross-validation chooses.

    Densities are in the units of the data, log-densities in nats.

    Args:
      support: of the columns: "real", "positive", (a, b), "integer", "circular", one
        for all or one a column, or by name; see `tfp_flows.supports.Supports`.
      layers: number of couplings; chosen by the number of columns when None.
      hidden: widths of the hidden layers of each coupling's network; chosen by the
        number of rows when None.
      bins: of each spline.
      batch_size: rows a step.
      learning_rate: at first; falls to 0 as a cosine.
      validation_fraction: share of the rows that are held out; at least a tenth or 500
        of them, at most 20,000.
      contamination: share of outliers that `predict` finds among the training rows,
        in (0, 0.5]; among others it finds more, the fewer rows there were to learn.
      time_limit: seconds that `fit` may take, all in all; when None it takes a
        step for each row, but at most 6,000.
      verbose: 0 is silent, 1 shows the progress as Keras does.
      random_state: None, a seed, or a RandomState.

    Attributes:
      flow_: the fitted `Flow`, in the units of the data; a stage for each bijector.
      history_: metric to its value after each epoch; empty for a mixture alone.
      start_: mean held-out log_prob of the best mixture, before the flow; in nats, of
        standardized columns. Of few rows the cross-validated one.
      held_out_: the same of the result.
      offset_: threshold of `predict`, a log-density.
      n_features_in_, feature_names_in_: as everywhere in scikit-learn.

    Raises:
      ValueError: NaN or infinite entries, no rows, data outside of `support`.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("two_moons").sample(150, seed=0)
      >>> density = tfpf.FlowDensity(random_state=0).fit(x)
      >>> density.score_samples(x).shape, density.sample(3).shape
      ((150,), (3, 2))
      >>> density.predict([[9.0, 9.0]])  # -1: an outlier
      array([-1])

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows",
    for the couplings; the start from a mixture is this project's.
    """

    def __init__(
        self,
        *,
        support: Any = "real",
        layers: int | None = None,
        hidden: Sequence[int] | None = None,
        bins: int = 8,
        batch_size: int = 512,
        learning_rate: float = 4e-3,
        validation_fraction: float = 0.05,
        contamination: float = 0.1,
        time_limit: float | None = None,
        verbose: int = 1,
        random_state: Any = None,
    ) -> None:
        self.support = support
        self.layers = layers
        self.hidden = hidden
        self.bins = bins
        self.batch_size = batch_size
        self.learning_rate = learning_rate
        self.validation_fraction = validation_fraction
        self.contamination = contamination
        self.time_limit = time_limit
        self.verbose = verbose
        self.random_state = random_state

    def fit(self, X: Any, y: None = None, sample_weight: Any = None) -> Self:
        """Fits the density to rows.

        Args:
          X: `(n, d)`, array-like or a DataFrame.
          y: not read.
          sample_weight: `(n,)` numbers ≥ 0, not all 0; None for equal weights.

        Returns:
          The estimator itself.
        """
        clock = Clock(self.time_limit)
        X = validate_data(self, X, dtype=np.float64)
        if sample_weight is not None:
            sample_weight = compat.checked_sample_weight(sample_weight, X)
            X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        d = self._n_features_out = X.shape[1]
        plan = self._plan(*X.shape, seed)
        self._supports = Supports(
            self.support,
            d,
            columns=getattr(self, "feature_names_in_", None),
            dtype="float64",
        )
        self._supports.adapt(X)
        ends = self._supports.bijectors()
        real = self._supports.dequantize(X, seed=seed)
        for bijector in reversed(ends):
            real = bijector.inverse(tf.constant(real)).numpy()
        location, scale = _units(real)
        result = warm_fit((real - location) / scale, sample_weight, plan, clock)
        # float32 where a flow was trained; a mixture alone has no need to be fast.
        base, bijectors = result.base, result.bijectors
        least = np.maximum(_LEAST_SCALE, _LEAST_SCALE_BY_DISTANCE * np.abs(location))
        if (scale < least).any():
            base, *bijectors = (_in_float64(part, d) for part in (base, *bijectors))
        dtype = base.dtype.name
        config = {**self._supports.get_config(), "dtype": dtype}
        self._supports = Supports.from_config(config)
        units = Standardize(location, scale, dtype=dtype)
        self.flow_ = Flow(
            [*bijectors, units, *self._supports.bijectors()],
            base=base,
            name="flow_density",
        )
        self.history_ = result.history
        self.start_, self.held_out_ = result.start, result.held_out
        some = np.random.default_rng(seed).permutation(len(X))[:_LOOKED_AT]
        scores = self._supports.log_prob(self.flow_, X[some], tolerance=_THRESHOLD)
        self.offset_ = float(np.quantile(scores, self.contamination))
        return self

    def _plan(self, n: int, d: int, seed: int) -> Plan:
        width = 64 if n < 100_000 else 128 if n < 1_000_000 else 256
        return Plan(
            layers=self.layers or (6 if d <= 16 else 8),
            hidden=networks.as_hidden(
                (width, width) if self.hidden is None else self.hidden
            ),
            bins=self.bins,
            batch_size=self.batch_size,
            learning_rate=self.learning_rate,
            validation_fraction=self.validation_fraction,
            seed=seed,
            verbose=int(self.verbose),
        )

    def __sklearn_is_fitted__(self) -> bool:
        return hasattr(self, "flow_")

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False)

    def score_samples(self, X: Any) -> np.ndarray:
        """Returns the log-density of each row, `(n,)`, in nats.

        For integer columns it is the log-mass; -inf outside of the support.
        """
        rows = self._rows(X)
        return self._supports.log_prob(self.flow_, rows)

    def score(self, X: Any, y: None = None) -> float:
        """Returns the mean of `score_samples`, in nats."""
        return float(self.score_samples(X).mean())

    def sample(self, n_samples: int = 1, random_state: Any = None) -> Any:
        """Returns rows drawn from the density, `(n_samples, d)`.

        Args:
          n_samples: how many.
          random_state: None, a seed, or a RandomState.

        Returns:
          An array, or a DataFrame when it was fitted to one.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        points = self.flow_.sample(n_samples, seed=seed).numpy()
        return self._supports.named(self._supports.quantize(points))

    def transform(self, X: Any) -> np.ndarray:
        """Returns the rows at the base of the flow, `(n, d)`.

        Integer columns are taken at the middle between a number and the next.
        """
        rows = self._rows(X)
        points = self._supports.dequantize(rows, noise=False)
        chain = self.flow_.distribution.bijector
        return chain.inverse(tf.constant(points)).numpy().astype(np.float64)

    def inverse_transform(self, X: Any) -> Any:
        """Returns rows of data from points of the base, `(n, d)`."""
        check_is_fitted(self)
        points = np.asarray(X, self.flow_.dtype)
        points = self.flow_.distribution.bijector.forward(tf.constant(points))
        return self._supports.named(self._supports.quantize(points.numpy()))

    def decision_function(self, X: Any) -> np.ndarray:
        """Returns `score_samples` above the threshold, `(n,)`; negative: an outlier."""
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Returns -1 for outliers and 1 for the others, `(n,)`."""
        return np.where(self.decision_function(X) < 0, -1, 1)


def _in_float64(part: Any, event_size: int) -> Any:
    """Returns a copy of a bijector or a mixture of ours that computes in float64."""
    copy = type(part).from_config({**part.get_config(), "dtype": "float64"})
    if isinstance(copy, tfb.Bijector):
        copy.build(event_size)
    for mine, theirs in zip(copy.variables, part.variables, strict=True):
        mine.assign(tf.cast(theirs, mine.dtype))
    return copy


def _units(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns location and scale of the columns, which outliers do not govern."""
    location, scale = x.mean(axis=0), x.std(axis=0)
    quartiles = np.quantile(x, [0.25, 0.5, 0.75], axis=0)
    middle = (quartiles[2] - quartiles[0]) / _MIDDLE_HALF
    has_outliers = (middle > 0) & (scale > _OUTLIERS * middle)
    location = np.where(has_outliers, quartiles[1], location)
    scale = np.where(has_outliers, middle, scale)
    # No scale is less than what rounding leaves of the numbers; a constant column has
    # none, and 1 is as good as any.
    rounding = np.finfo(np.float64)
    least = np.maximum(16 * rounding.eps * np.abs(location), rounding.tiny**0.5)
    varies = x.min(axis=0) < x.max(axis=0)
    return location, np.where(varies, np.maximum(scale, least), 1.0)
