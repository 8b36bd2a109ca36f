"""Imports point one way: the layers of the package, read from its source."""

import ast
from pathlib import Path

PACKAGE = Path(__file__).parents[1] / "tfp_flows"

# Each may import those before it. Leaves may use a Flow, and nothing uses them but
# the command line.
LAYERS = [
    {"_checks", "_clock", "_devices", "_files", "_replicas", "_workers"},
    {"_chunked", "_row_files"},
    {"serialization", "networks"},
    {"bijectors"},
    {"bases"},
    {"conditioning"},
    {"adaptation"},
    {"_culprit", "_fused_adam", "_gradients", "_guard", "batches"},
    {"_checkpoint", "summaries"},
    {"streams"},
    {"composition", "tracking", "data", "stages", "exporting"},
    {"likelihood"},
    {"density_model"},
    {"flow"},
    {"diagnostics"},  # plotting draws what it finds
    {
        "recipes",
        "supports",
        "log_prob",
        "densities",
        "testing",
        "plotting",
        "variational",
    },
    {"callbacks"},  # draws its records, for TensorBoard
    {"reporting"},
    {"orders"},  # its result draws itself, with plotting
    {"_mixture_starts"},
    {"_race", "_few_rows"},
    {"_warm_fit"},
    {"estimator"},
    {"_tables"},
    {"_fitting"},
    {"cli"},
    {"__main__"},
]
LEVEL = {name: i for i, layer in enumerate(LAYERS) for name in layer}


def imports(path):
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.ImportFrom) and (node.module or "").startswith(
            "tfp_flows"
        ):
            parts = node.module.split(".")
            yield from [parts[1]] if len(parts) > 1 else [a.name for a in node.names]
        elif isinstance(node, ast.Import):
            yield from (
                a.name.split(".")[1] for a in node.names if "tfp_flows." in a.name
            )


def test_imports_point_one_way():
    for path in PACKAGE.rglob("*.py"):
        room = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
        if room == "__init__":
            continue
        for other in imports(path):
            if other == room or other in ("Flow", "Stage"):
                continue
            assert LEVEL[other] < LEVEL[room], f"{path.name} imports {other}"


def test_only_plotting_imports_matplotlib():
    for path in PACKAGE.rglob("*.py"):
        if "plotting" not in path.parts:
            assert "import matplotlib" not in path.read_text()
            assert "from matplotlib" not in path.read_text()
