"""Imports point one way: the layers of the package, read from its source."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "tfp_flows"

# A room may import those of the lines above it. The rooms from `testing` on use a Flow,
# and nothing that makes one uses them.
LAYERS = """
_core
networks densities
bijectors
bases data
training
flow
recipes supports posterior testing diagnostics
plotting variational
callbacks reporting orders
estimator
cli
__main__
"""
LEVEL = {room: i for i, line in enumerate(LAYERS.split("\n")) for room in line.split()}


def imported(path):
    """Yields the rooms that a file imports, at its top or inside of a function."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and node.module:
            first, *rest = node.module.split(".")
            if first == "tfp_flows":
                yield from rest[:1] or [alias.name for alias in node.names]
        elif isinstance(node, ast.Import):
            yield from (
                alias.name.split(".")[1]
                for alias in node.names
                if alias.name.startswith("tfp_flows.")
            )


def test_imports_point_one_way():
    wrong = []
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room != "__init__":
            wrong += [
                f"{path.relative_to(PACKAGE)} imports {other}"
                for other in imported(path)
                if other not in (room, "Flow", "Stage") and LEVEL[other] >= LEVEL[room]
            ]
    assert not wrong


def test_the_package_has_at_most_two_dozen_entries():
    entries = [p for p in PACKAGE.iterdir() if p.name != "__pycache__"]
    assert len(entries) <= 24


def test_no_file_holds_two_ideas():
    lines = {p.name: len(p.read_text().split("\n")) for p in PACKAGE.rglob("*.py")}
    assert {name: count for name, count in lines.items() if count > 460} == {}


def test_only_plotting_imports_matplotlib():
    for path in PACKAGE.rglob("*.py"):
        if "plotting" not in path.parts:
            assert "import matplotlib" not in path.read_text()
            assert "from matplotlib" not in path.read_text()
