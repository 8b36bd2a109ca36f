"""The names that `tfp-flows list` shows, read without importing TensorFlow."""

import ast
import inspect
from pathlib import Path

from tfp_flows import densities

__all__ = ["densities_by_name", "flows_by_name"]

_RECIPES = Path(__file__).parents[1] / "recipes"


def densities_by_name() -> dict[str, str]:
    """Returns the first line on each named density."""
    return {
        name: _first_line(inspect.getdoc(getattr(densities, name)))
        for name in densities.names()
    }


def flows_by_name() -> dict[str, str]:
    """Returns the first line on each recipe.

    Recipes build on TensorFlow, which takes seconds to import; their names and
    docstrings are read from their source instead.
    """
    summaries = {
        function.name: _first_line(ast.get_docstring(function))
        for path in _RECIPES.glob("*.py")
        for function in _tree(path).body
        if isinstance(function, ast.FunctionDef)
    }
    return {name: summaries[name] for name in _public_names()}


def _public_names() -> list[str]:
    for node in _tree(_RECIPES / "__init__.py").body:
        if isinstance(node, ast.Assign) and ast.unparse(node.targets[0]) == "__all__":
            return list(ast.literal_eval(node.value))
    raise LookupError("tfp_flows.recipes names no public functions.")


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def _first_line(docstring: str | None) -> str:
    return (docstring or "").partition("\n")[0]
