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
from tfp_flows._core.statistics import median_and_spread
from tfp_flows.bijectors import Standardize
from tfp_flows.estimator.clock import Clock
from tfp_flows.estimator.settings import Settings
from tfp_flows.estimator.verdict import Result
from tfp_flows.estimator.warm_fit import warm_fit
from tfp_flows.flow import Flow
from tfp_flows.supports import Supports
from tfp_flows.supports.column import Specs

__all__ = ["FlowDensity"]

tfb = tfp.bijectors

# A column whose standard deviation is this many times its robust spread has outliers,
# and takes median and spread as its units.
_OUTLIERS = 20.0

# The most rows that set the threshold of `predict`, and how exact their log-densities
# are, in nats.
_THRESHOLD_ROWS, _THRESHOLD_TOLERANCE = 10_000, 0.1

# A column on a smaller scale than the first number, or than the second one times its
# distance from 0, needs float64: float32 would underflow, or round its values together.
_LEAST_SCALE, _LEAST_SCALE_BY_DISTANCE = 1e-18, 1e-5


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
    """Density estimator: a normalizing flow that starts from a Gaussian mixture.

    The log-density is that of a base π, a mixture of Student's t components, with
    spline couplings f from the base to standardized data, and the units s::

        log p(x) = log π(f⁻¹(z)) + log|det ∂f⁻¹/∂z| - Σ_i log s_i,   z = (x - m) / s

    `fit` takes three steps. It fits Gaussian mixtures with more and more components; it
    trains flows that start from several of them, with couplings that are the identity
    at first, so that nothing is lost at the start, and trains the best one to the end;
    and it keeps the flow, of averaged weights, if held-out rows show that it is better
    than the best mixture, or that mixture otherwise. Fewer than 500 rows, or 40 per
    column, get a mixture alone, whose number of components and shrinkage are chosen by
    cross-validation.

    Densities are in the units of the data, log-densities in nats (natural logarithms).

    Args:
      support: what the columns can be: "real", "positive", (a, b), "integer",
        "circular"; one for all columns, a list, or a dict by name; see
        `tfp_flows.supports.Supports`. "real" by default.
      layers: number of couplings ≥ 1; when None, 6 for up to 16 columns and 8 for more.
      hidden: widths of the hidden layers of each coupling's conditioner; when None, two
        of 64, of 128 from 100,000 rows on, or of 256 from 1,000,000 on.
      bins: number of bins of each spline, at least 2; 8 by default.
      batch_size: rows of a training step; 512 by default.
      learning_rate: at the start, 4e-3 by default; it falls to 0 as a cosine.
      validation_fraction: share of the rows, in (0, 1), that are held out; 0.05 by
        default. At least 500 rows, or a tenth of them if that is less, are held out,
        at most 20,000.
      contamination: share of the training rows, in (0, 0.5], that `predict` calls
        outliers; 0.1 by default. Among new rows the share is larger, the more so the
        fewer rows there were to fit.
      time_limit: seconds that `fit` may take, everything included. When None, training
        takes a step for each row, but at most 6,000.
      verbose: 0 prints nothing, 1 shows the progress of training as Keras does.
      random_state: None, a seed, or a `numpy.random.RandomState`.

    Attributes:
      flow_: the fitted `Flow`, in the units of the data.
      supports_: the fitted `Supports`: what values the columns can have.
      history_: dict from a metric to its value after each epoch; empty if no flow was
        trained.
      start_: mean held-out log-density of the best mixture, in nats, for standardized
        columns. With few rows it is cross-validated.
      held_out_: the same for the result.
      offset_: the log-density, in nats, below which `predict` calls a row an outlier.
      n_features_in_: number of columns.
      feature_names_in_: names of the columns, if `X` was a DataFrame.

    Raises:
      ValueError: `fit` was called with an option out of its range, no rows, NaN or
        infinite entries, or data outside of `support`.

    Example:
      >>> import tfp_flows as tfpf
      >>> x = tfpf.densities.make("two_moons").sample(150, seed=0)
      >>> density = tfpf.FlowDensity(random_state=0).fit(x)
      >>> density.score_samples(x).shape, density.sample(3).shape
      ((150,), (3, 2))
      >>> density.predict([[9.0, 9.0]])  # -1: an outlier
      array([-1])

    Source: Durkan, Bekasov, Murray and Papamakarios (2019), "Neural spline flows",
    section 3, for the couplings; the start from a mixture is this project's.
    """

    def __init__(
        self,
        *,
        support: Specs = "real",
        layers: int | None = None,
        hidden: Sequence[int] | None = None,
        bins: int = 8,
        batch_size: int = 512,
        learning_rate: float = 4e-3,
        validation_fraction: float = 0.05,
        contamination: float = 0.1,
        time_limit: float | None = None,
        verbose: int = 1,
        random_state: int | np.random.RandomState | None = None,
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
          X: data `(n, d)`, array-like or a DataFrame.
          y: ignored; scikit-learn's pipelines pass it.
          sample_weight: `(n,)` numbers ≥ 0, not all 0; None for equal weights.

        Returns:
          The estimator itself.

        Raises:
          ValueError: an option is out of its range; no rows, NaN or infinite entries,
            data outside of `support`; weights that are negative or all 0.
        """
        clock = Clock(self.time_limit)
        X = validate_data(self, X, dtype=np.float64)
        if sample_weight is not None:
            sample_weight = compat.checked_sample_weight(sample_weight, X)
            X, sample_weight = X[sample_weight > 0], sample_weight[sample_weight > 0]
        seed = int(check_random_state(self.random_state).randint(2**31 - 1))
        d = self._n_features_out = X.shape[1]
        names = getattr(self, "feature_names_in_", None)
        supports = Supports(self.support, d, columns=names, dtype="float64")
        supports.adapt(X)
        real = tf.constant(supports.dequantize(X, seed=seed))
        for bijector in reversed(supports.bijectors()):
            real = bijector.inverse(real)
        location, scale = _units(real.numpy())
        z = (real.numpy() - location) / scale
        settings = self._settings(len(X), d, seed)
        result = warm_fit(z, sample_weight, settings, clock)
        self.flow_, self._supports = _in_units(result, location, scale, supports)
        self.history_ = result.history
        self.start_, self.held_out_ = result.start, result.held_out
        some = np.random.default_rng(seed).permutation(len(X))[:_THRESHOLD_ROWS]
        scores = self._supports.log_prob(
            self.flow_, X[some], tolerance=_THRESHOLD_TOLERANCE
        )
        self.offset_ = float(np.quantile(scores, self.contamination))
        return self

    def _settings(self, n: int, d: int, seed: int) -> Settings:
        width = 64 if n < 100_000 else 128 if n < 1_000_000 else 256
        return Settings(
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

    @property
    def supports_(self) -> Supports:
        """The fitted `Supports`, which says what values the columns can have."""
        check_is_fitted(self)
        return self._supports

    def _rows(self, X: Any) -> np.ndarray:
        check_is_fitted(self)
        return validate_data(self, X, dtype=np.float64, reset=False)

    def score_samples(self, X: Any) -> np.ndarray:
        """Returns the log-density of each row.

        Args:
          X: data `(n, d)`, array-like or a DataFrame.

        Returns:
          `(n,)`, in nats; a log-mass in whole-numbered columns, and -inf outside of the
          support.

        Raises:
          ValueError: another number or other names of columns; NaN or infinite entries.
          NotFittedError: `fit` was not called.
        """
        rows = self._rows(X)
        return self._supports.log_prob(self.flow_, rows)

    def score(self, X: Any, y: None = None) -> float:
        """Returns the mean of `score_samples`, in nats.

        Args:
          X: data `(n, d)`, array-like or a DataFrame.
          y: ignored; scikit-learn's searches pass it.
        """
        return float(self.score_samples(X).mean())

    def sample(
        self,
        n_samples: int = 1,
        random_state: int | np.random.RandomState | None = None,
    ) -> Any:
        """Draws rows from the density.

        Args:
          n_samples: how many.
          random_state: None, a seed, or a `numpy.random.RandomState`.

        Returns:
          An array `(n_samples, d)`, or a DataFrame if the density was fitted to one.

        Raises:
          NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        seed = int(check_random_state(random_state).randint(2**31 - 1))
        points = self.flow_.sample(n_samples, seed=seed).numpy()
        return self._supports.named(self._supports.quantize(points))

    def transform(self, X: Any) -> np.ndarray:
        """Returns the points of the flow's base that the flow takes to the rows.

        A whole number stands for the middle between itself and the next one.

        Args:
          X: data `(n, d)`, array-like or a DataFrame.

        Returns:
          `(n, d)`, float64.

        Raises:
          ValueError: data outside of the support; another number or other names of
            columns; NaN or infinite entries.
          NotFittedError: `fit` was not called.
        """
        rows = self._rows(X)
        points = self._supports.dequantize(rows, noise=False)
        chain = self.flow_.distribution.bijector
        return chain.inverse(tf.constant(points)).numpy().astype(np.float64)

    def inverse_transform(self, X: Any) -> Any:
        """Returns the rows of data that the flow makes of points of its base.

        Args:
          X: points `(n, d)`, such as `transform` returns.

        Returns:
          An array `(n, d)`, or a DataFrame if the density was fitted to one.

        Raises:
          NotFittedError: `fit` was not called.
        """
        check_is_fitted(self)
        points = np.asarray(X, self.flow_.dtype)
        points = self.flow_.distribution.bijector.forward(tf.constant(points))
        return self._supports.named(self._supports.quantize(points.numpy()))

    def decision_function(self, X: Any) -> np.ndarray:
        """Returns `score_samples(X) - offset_`, `(n,)`: negative for outliers.

        Args:
          X: data `(n, d)`, array-like or a DataFrame.
        """
        return self.score_samples(X) - self.offset_

    def predict(self, X: Any) -> np.ndarray:
        """Returns -1 for outliers and 1 for other rows, `(n,)`.

        Args:
          X: data `(n, d)`, array-like or a DataFrame.
        """
        return np.where(self.decision_function(X) < 0, -1, 1)


def _in_units(
    result: Result, location: np.ndarray, scale: np.ndarray, supports: Supports
) -> tuple[Flow, Supports]:
    """Returns the flow in the units of the data, and the supports in its dtype.

    A flow that was trained is in float32, a mixture alone in float64, as it has no need
    to be fast; and so is a flow of columns that float32 would round off.

    Args:
      result: a density of standardized points.
      location: of the columns, `(d,)`.
      scale: of the columns, `(d,)`.
      supports: of the columns, in float64.
    """
    base, bijectors = result.base, result.bijectors
    least = np.maximum(_LEAST_SCALE, _LEAST_SCALE_BY_DISTANCE * np.abs(location))
    if (scale < least).any():
        d = len(location)
        base, *bijectors = (_in_float64(part, d) for part in (base, *bijectors))
    dtype = base.dtype.name
    supports = Supports.from_config({**supports.get_config(), "dtype": dtype})
    units = Standardize(location, scale, dtype=dtype)
    parts = [*bijectors, units, *supports.bijectors()]
    return Flow(parts, base=base, name="flow_density"), supports


def _in_float64(part: Any, event_size: int) -> Any:
    """Returns a copy of one of our bijectors or mixtures that computes in float64."""
    copy = type(part).from_config({**part.get_config(), "dtype": "float64"})
    if isinstance(copy, tfb.Bijector):
        copy.build(event_size)
    for mine, theirs in zip(copy.variables, part.variables, strict=True):
        mine.assign(tf.cast(theirs, mine.dtype))
    return copy


def _units(x: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Returns location and scale of the columns, which outliers do not govern.

    They are mean and standard deviation, or median and robust spread of a column with
    outliers.
    """
    location, scale = x.mean(axis=0), x.std(axis=0)
    median, spread = median_and_spread(x)
    has_outliers = (spread > 0) & (scale > _OUTLIERS * spread)
    location = np.where(has_outliers, median, location)
    scale = np.where(has_outliers, spread, scale)
    # No scale is below the rounding error of the numbers. A constant column has 1.
    rounding = np.finfo(np.float64)
    least = np.maximum(16 * rounding.eps * np.abs(location), rounding.tiny**0.5)
    varies = x.min(axis=0) < x.max(axis=0)
    return location, np.where(varies, np.maximum(scale, least), 1.0)
