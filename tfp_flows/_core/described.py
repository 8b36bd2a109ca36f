"""Described: base of plain objects that a saved flow may contain."""

import inspect
from typing import Any

__all__ = ["Described"]


class Described:
    """Base of objects that their constructor's arguments describe entirely.

    Each argument is kept as an attribute of the same name, so that an object can be
    copied, saved and loaded like a bijector.
    """

    def get_config(self) -> dict[str, Any]:
        """Returns the constructor's arguments by name."""
        names = inspect.signature(type(self)).parameters
        return {name: getattr(self, name) for name in names}

    def __repr__(self) -> str:
        arguments = ", ".join(f"{k}={v!r}" for k, v in self.get_config().items())
        return f"{type(self).__name__}({arguments})"
