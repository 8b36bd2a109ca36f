"""FlowPart: what a flow asks of its bijectors and of its base."""

from typing import Any, Self, cast

import numpy as np
import tensorflow as tf

__all__ = ["FlowPart", "hooks_of"]


class FlowPart:
    """The hooks of a part of a flow, with the answers of one that needs none of them.

    Bijectors and bases of ours inherit these and override what concerns them. For
    parts that are TFP's or the user's own, `hooks_of` returns these defaults.

    Points on the data's side are called y, those on the base's side x.
    """

    @property
    def context_size(self) -> int:
        """Width of the context; 0 for a part that takes none."""
        return 0

    def given(self, context: Any) -> Self:
        """Returns this part with the context bound, on the same weights.

        Raises:
          ValueError: the part takes no context.
        """
        raise ValueError(f"{type(self).__name__} takes no context.")

    @property
    def required_event_size(self) -> int | None:
        """The one width of points that the part accepts; None if it accepts many."""
        return None

    @property
    def needs_adaptation(self) -> bool:
        """Whether the part starts from data and has not seen any yet.

        `Flow.fit` calls `Flow.adapt` first where a part of the flow answers True.
        """
        return False

    def adapt(self, y: Any) -> None:
        """Starts the part from data; does nothing by default.

        Args:
          y: points `(n, event_size)` on the data's side. A base receives the points
            that the bijectors leave.
        """

    def adapt_inverted(self, x: Any) -> None:
        """Starts a bijector that stands inside `tfb.Invert` from data.

        By default this is `adapt(forward(x))`, if the bijector has an `adapt`.

        Args:
          x: points `(n, event_size)` on the base's side, which is the side of the data
            when the bijector is inverted.
        """
        if type(self).adapt is not FlowPart.adapt:
            self.adapt(cast(Any, self).forward(x))

    def adapt_to(
        self, mean: np.ndarray, std: np.ndarray, *, inverted: bool = False
    ) -> bool:
        """Starts the part from the moments of the data, if these are all it needs.

        Args:
          mean: of each coordinate, `(event_size,)`.
          std: standard deviation of each coordinate, `(event_size,)`.
          inverted: whether the bijector stands inside `tfb.Invert`, so that the data
            are on its base's side.

        Returns:
          Whether the moments were enough. The default is False: the flow then calls
          `adapt` or `adapt_inverted` with points.
        """
        return False

    def outside(self, y: Any) -> tf.Tensor | None:
        """Returns which points the part cannot bend, because they are out of reach.

        Args:
          y: points `(..., event_size)` on the data's side.

        Returns:
          Booleans `(...)`; None, the default, for a part that reaches every point.
        """
        return None

    def warn_of_cost(self, *, forward: bool) -> None:
        """Warns, once, if one direction of the part is very slow; never by default.

        Args:
          forward: whether forward is about to be computed, or else the inverse.
        """


_DEFAULTS = FlowPart()


def hooks_of(part: Any) -> FlowPart:
    """Returns the part itself, or the default hooks for one that has none.

    Args:
      part: a bijector or a distribution, ours, TFP's or the user's own.
    """
    return part if isinstance(part, FlowPart) else _DEFAULTS
