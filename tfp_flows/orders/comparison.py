"""OrderComparison: fits of one chain in different orders, ranked."""

import dataclasses
import math
import statistics
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import keras
import numpy as np
from numpy.typing import ArrayLike

from tfp_flows._core.statistics import standard_error
from tfp_flows.flow import Flow

if TYPE_CHECKING:
    from tfp_flows.plotting.style import AxesLike, Figure

__all__ = ["FittedOrder", "OrderComparison", "order_words", "ranked"]

# The chance of calling any order clearly better if all are equally good.
_LEVEL = 0.05


@dataclasses.dataclass(frozen=True, eq=False)
class FittedOrder:
    """A fitted copy of the flow in one order, and its held-out log_prob.

    Attributes:
      order: the permutation of 0..K-1, in sampling order, as for `Flow.reordered`.
      log_prob: log_prob of each held-out row, `(m,)`, in nats.
      mean: the mean of these, in nats; -inf if any of them is not finite.
      standard_error: the standard error of the mean, in nats.
      behind: the mean of the best order minus this mean, in nats; 0 for the best.
      behind_error: the standard error of `behind`, from the differences of each row;
        as the rows are the same, it is smaller than that of either mean.
      flow: the fitted copy.
      history: the result of its `fit`.
    """

    order: tuple[int, ...]
    log_prob: np.ndarray
    mean: float
    standard_error: float
    behind: float
    behind_error: float
    flow: Flow
    history: keras.callbacks.History


@dataclasses.dataclass(frozen=True, eq=False)
class OrderComparison:
    """Fits of one chain in different orders, the best first.

    Attributes:
      fits: a `FittedOrder` for each order, the highest held-out mean first.
      held_out: the held-out rows, `(m, event_size)`; a dict of "x" and "context" for a
        conditional flow.
    """

    fits: tuple[FittedOrder, ...]
    held_out: np.ndarray | dict[str, np.ndarray]

    @property
    def best(self) -> FittedOrder:
        """The order with the highest held-out mean."""
        return self.fits[0]

    def is_clear(self, fit: FittedOrder) -> bool:
        """Returns whether an order is behind the best by more than chance explains.

        The paired difference must exceed z standard errors. If all orders are equally
        good, any of their pairs exceeds z with a chance of at most 1/20 (Bonferroni).

        Args:
          fit: one of `fits`.
        """
        pairs = max(math.comb(len(self.fits), 2), 1)
        z = statistics.NormalDist().inv_cdf(1 - _LEVEL / (2 * pairs))
        if not math.isfinite(fit.mean):
            return math.isfinite(self.best.mean)
        return fit.behind > z * fit.behind_error

    def __str__(self) -> str:
        names = [order_words(fit.order) for fit in self.fits]
        width = max(len("order"), *map(len, names))
        lines = [
            f"{len(self.fits)} orders, on {len(self.best.log_prob):,} held-out points; "
            "± standard error",
            f"{'order':<{width}}   log_prob (nats)     behind the best",
        ]
        for name, fit in zip(names, self.fits, strict=True):
            behind = ""
            if not math.isfinite(fit.mean):
                lost = int((~np.isfinite(fit.log_prob)).sum())
                mean = f" not finite at {lost:,} points"
            else:
                mean = f"{fit.mean:8.3f} ± {fit.standard_error:.3f}"
                if fit is not self.best:
                    behind = f"{fit.behind:7.3f} ± {fit.behind_error:.3f}"
                    behind += ", clearly" if self.is_clear(fit) else ""
            lines.append(f"{name:<{width}}  {mean:<18}  {behind}".rstrip())
        return "\n".join([*lines, self.verdict])

    @property
    def verdict(self) -> str:
        """A sentence that says whether the order matters, and which order is best."""
        best, others = self.best, self.fits[1:]
        if not math.isfinite(best.mean):
            return "No order has a finite density at all held-out points."
        given = next(fit for fit in self.fits if _is_given(fit.order))
        count = sum(map(self.is_clear, others))
        if not count:
            text = "The order does not clearly matter"
        else:
            worse = "all" if count == len(others) else f"{count} of the {len(others)}"
            name = "the given order" if given is best else order_words(best.order)
            text = f"The order matters: {name} is clearly better than {worse} others"
        if given is best:
            text += "."
        elif not self.is_clear(given):
            text += "; no order is clearly better than the given one."
        elif math.isfinite(given.mean):
            text += f"; the given order is {given.behind:.3f} nats behind."
        else:
            text += "; the given order is not finite at all points."
        return (
            f"{text} The errors are those of the held-out points: a fit from another "
            "seed differs, too."
        )

    def plot(
        self,
        *,
        context: ArrayLike | None = None,
        coordinates: tuple[int, int] = (0, 1),
        axes: "AxesLike" = None,
    ) -> "Figure":
        """Draws the ranking beside the final density of each order.

        A dot is the distance of an order from the best one in nats, and its bar
        reaches two standard errors to each side. Densities are exact and have the same
        limits. With more than two coordinates, samples of two of them are drawn.

        Args:
          context: the context to draw a conditional flow for, `(context_size,)`.
          coordinates: the two coordinates to draw, if there are more than two.
          axes: one Axes for the ranking and one for each order; None makes a new
            figure.

        Returns:
          The matplotlib Figure that was drawn on.

        Raises:
          ValueError: `axes` are too few, coordinates do not exist, or a context is
            missing, not needed, or of another shape.
        """
        # This imports matplotlib.
        from tfp_flows.plotting.comparison import draw_comparison

        return draw_comparison(
            self, context=context, coordinates=coordinates, axes=axes
        )


def ranked(
    fitted: list[tuple[tuple[int, ...], np.ndarray, Flow, Any]],
) -> tuple[FittedOrder, ...]:
    """Returns the fits, the highest mean first; fits that are not finite come last."""

    def mean(log_prob: np.ndarray) -> float:
        return float(log_prob.mean()) if np.isfinite(log_prob).all() else -math.inf

    fitted = sorted(fitted, key=lambda fit: -mean(fit[1]))
    best = fitted[0][1]
    fits = []
    for order, log_prob, flow, history in fitted:
        behind, behind_error = math.inf, math.nan
        error = math.nan
        if math.isfinite(mean(log_prob)):
            error = standard_error(log_prob)
            behind = mean(best) - mean(log_prob)
            behind_error = standard_error(best - log_prob)
        fits.append(
            FittedOrder(
                order=order,
                log_prob=log_prob,
                mean=mean(log_prob),
                standard_error=error,
                behind=behind,
                behind_error=behind_error,
                flow=flow,
                history=history,
            )
        )
    return tuple(fits)


def _is_given(order: Sequence[int]) -> bool:
    return list(order) == sorted(order)


def order_words(order: Sequence[int]) -> str:
    """Returns an order as text, such as "1, 0"; the given one is marked."""
    text = ", ".join(map(str, order))
    return f"{text} (given)" if _is_given(order) else text
