"""Gaussianize: makes each coordinate standard normal, by a learned mixture."""

import math
from collections.abc import Sequence
from typing import Any

import numpy as np
import tensorflow as tf

from tfp_flows import networks
from tfp_flows._core import checks
from tfp_flows._core.statistics import median_and_spread
from tfp_flows.bijectors.base import Bijector, register
from tfp_flows.bijectors.bracketed_root import bracketed_root
from tfp_flows.bijectors.mixtures import (
    GaussianMixture,
    fitted_mixture,
    log_normal_cdf,
    log_normal_pdf,
    normal_quantile,
)
from tfp_flows.bijectors.parameters import Parameters

__all__ = ["Gaussianize"]

# A start from data uses at most this many points.
_MAX_POINTS = 5000


@register
class Gaussianize(Bijector):
    """Makes each coordinate standard normal, by the CDF of a learned mixture.

    From the data's side, inverse, elementwise, with w the softmax of learned logits, K
    components for each coordinate, and center m and unit s fixed::

        x = Φ⁻¹(F(u)),    u = (y - m) / s,    F(u) = Σ_k w_k · Φ((u - μ_k) / σ_k)
        log|det ∂x/∂y| = Σ_i log F'(u_i) - log φ(x_i) - log s_i

    F, 1 - F and Φ⁻¹ are computed in logarithms, so that x is exact in both tails, in
    float32 too: far out it grows as y divided by the largest σ. Forward, base to data,
    is the mixture's quantile: the root of F(u) = Φ(x), found within the bracket that
    the components' own quantiles give, in about ten evaluations of F, and
    differentiated implicitly: its first derivatives are exact, second ones are not.

    `adapt`, which `Flow.fit` calls, takes m and s from the median and the quartiles of
    the data that reach it, and starts each coordinate's mixture by expectation and
    maximization from at most 5,000 of the points; from there the mixture is trained.
    Before that the bijector is nearly the identity. A saved one does not start again.

    Args:
      components: K ≥ 1.
      hidden: widths of the hidden layers of the network that maps a context to what
        is added to the logits, to μ and to log σ. `adapt` starts these themselves, the
        same for every context.
      seed: of that network; drawn when None.
      context_size: width of a context that the mixtures depend on; 0 for none.
      trainable: False freezes all weights, but for `adapt`.
      dtype: float32 or float64; that of the first input when None.
      name: as in TFP.

    Raises:
      ValueError: `components` is not a whole number ≥ 1; `hidden` or `seed` is not
        what it must be.

    Example:
      >>> import numpy as np
      >>> points = np.random.default_rng(0).exponential(size=(2000, 1))
      >>> bijector = Gaussianize(4)
      >>> bijector.adapt(points)
      >>> x = bijector.inverse(points).numpy()
      >>> bool(abs(x.mean()) < 0.05), bool(abs(np.mean(x**3)) < 0.5)
      (True, True)

    Source: Laparra, Camps-Valls and Malo (2011), "Iterative Gaussianization: from ICA
    to random rotations", sec. II-A; Meng, Song, Song and Ermon (2020), "Gaussianization
    flows", eq. 8-9, with normal in place of logistic components.
    """

    def __init__(
        self,
        components: int = 8,
        *,
        hidden: Sequence[int] = (64, 64),
        seed: int | None = None,
        context_size: int = 0,
        trainable: bool = True,
        dtype: Any = None,
        name: str | None = None,
    ) -> None:
        components = checks.positive_size(components, "components")
        hidden = networks.as_hidden(hidden)
        if context_size:
            seed = checks.as_seed(seed)
        super().__init__(locals(), dtype=dtype, name=name)

    def _build(self, event_size: int, dtype: tf.DType) -> None:
        given = self.parameters
        initial = _nearly_normal(given["components"])
        self._learned = Parameters(
            {name: np.tile(row, (event_size, 1)) for name, row in initial.items()},
            context_size=self.context_size,
            hidden=given["hidden"],
            seed=given["seed"],
            trainable=given["trainable"],
            dtype=dtype,
        )

        def fixed(value: float, shape: list[int], name: str) -> tf.Variable:
            value = tf.fill(shape, tf.cast(value, dtype))
            return tf.Variable(value, trainable=False, name=name)

        self._center = fixed(0.0, [event_size], "center")
        self._unit = fixed(1.0, [event_size], "unit")
        self._adapted = fixed(0.0, [], "adapted")

    @property
    def needs_adaptation(self) -> bool:
        """Whether `adapt` has yet to be called."""
        return self.event_size is None or not float(tf.convert_to_tensor(self._adapted))

    def adapt(self, y: Any) -> None:
        """Starts each coordinate's mixture from data.

        A constant coordinate counts as one of standard deviation 1.

        Args:
          y: points `(n, event_size)` on the data's side.

        Raises:
          ValueError: points of the wrong width, none at all, or NaN or infinite ones.
        """
        y = checks.as_points(y, self.event_size, name="y")
        self.build(y.shape[-1], y.dtype)
        y = y.reshape(-1, y.shape[-1]).astype(np.float64)
        rows = np.linspace(0, len(y) - 1, min(len(y), _MAX_POINTS)).astype(int)
        center, unit = _center_and_unit(y, np.finfo(self.dtype.as_numpy_dtype).tiny)
        starts = [
            fitted_mixture(column, self.parameters["components"])
            for column in ((y[rows] - center) / unit).T
        ]
        for name, variable in self._learned.variables_by_name.items():
            variable.assign(np.stack([start[name] for start in starts]))
        self._center.assign(center)
        self._unit.assign(unit)
        self._adapted.assign(1.0)

    def _mixture_at(self, points: tf.Tensor) -> GaussianMixture:
        return GaussianMixture(**self._learned(self._context_at(points)))

    def _log_det(
        self, mixture: GaussianMixture, u: tf.Tensor, x: tf.Tensor
    ) -> tf.Tensor:
        """Returns log|det ∂x/∂y|."""
        log_slope = mixture.log_pdf(u) - log_normal_pdf(x)
        return tf.reduce_sum(log_slope - tf.math.log(self._unit), -1)

    def _forward_and_log_det(self, x: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixture = self._mixture_at(x)
        u = bracketed_root(
            mixture.log_odds,
            mixture.log_slope,
            log_normal_cdf(x) - log_normal_cdf(-x),
            *mixture.quantiles(x),
        )
        return self._center + self._unit * u, -self._log_det(mixture, u, x)

    def _inverse_and_log_det(self, y: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        mixture = self._mixture_at(y)
        u = (y - self._center) / self._unit
        x = normal_quantile(*mixture.log_cdf_and_survival(u))
        return x, self._log_det(mixture, u, x)


def _nearly_normal(components: int) -> dict[str, np.ndarray]:
    """Returns evenly spaced components that nearly add up to a standard normal.

    Their weights are those of a binomial distribution.
    """
    last = components - 1
    spacing = 1 / math.sqrt(1 + last / 4)
    return {
        "logits": np.log([math.comb(last, k) for k in range(components)]),
        "means": spacing * (np.arange(components) - last / 2),
        "log_scales": np.full(components, math.log(spacing)),
    }


def _center_and_unit(y: np.ndarray, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Returns the median of each column, and a width that few outliers cannot change.

    Args:
      y: `(n, d)`.
      least: a smaller unit has no reciprocal.
    """
    center, unit = median_and_spread(y)
    unit = np.where(unit >= least, unit, y.std(0))  # half of the points are equal
    varies = (y.min(0) < y.max(0)) & (unit >= least)
    return center, np.where(varies, unit, 1.0)
