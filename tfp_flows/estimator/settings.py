"""Settings: what `FlowDensity` fits, once every choice is made."""

import dataclasses

__all__ = ["Settings"]


@dataclasses.dataclass(frozen=True)
class Settings:
    """The parameters of a fit; `FlowDensity` documents each under the same name."""

    layers: int
    hidden: tuple[int, ...]
    bins: int
    batch_size: int
    learning_rate: float
    validation_fraction: float
    seed: int
    verbose: int
