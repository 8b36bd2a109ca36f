"""What is installed: everything that is imported, and every file of the package."""

import ast
import configparser
import re
import sys
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "tfp_flows"
CONFIG = configparser.ConfigParser()
CONFIG.read(ROOT / "setup.cfg")

# Distributions whose name is not that of their module.
DISTRIBUTION = {
    "PIL": "pillow",
    "sklearn": "scikit-learn",
    "tensorflow_probability": "tensorflow-probability",
}


def declared(section, option):
    names = re.findall(r"^[A-Za-z0-9_.-]+", CONFIG[section][option], re.MULTILINE)
    return {name.lower() for name in names}


def imported():
    """Returns the distributions that the package imports, and whether at once.

    Imports within functions and `try` blocks are of what may be missing.
    """
    found = {}
    for path in PACKAGE.rglob("*.py"):
        tree = ast.parse(path.read_text(encoding="utf-8"))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom):
                modules = [node.module or ""] if not node.level else []
            elif isinstance(node, ast.Import):
                modules = [alias.name for alias in node.names]
            else:
                continue
            for module in modules:
                name = module.partition(".")[0]
                if name not in (*sys.stdlib_module_names, "tfp_flows", ""):
                    name = DISTRIBUTION.get(name, name)
                    found[name] = found.get(name, False) or node in tree.body
    return found


def test_what_is_imported_is_declared():
    required = declared("options", "install_requires")
    optional = declared("options.extras_require", "tables")
    found = imported()
    assert {"pandas", "tensorflow"} <= set(found)  # the search does find imports
    assert {name for name, at_once in found.items() if at_once} <= required
    assert set(found) <= required | optional


def test_every_file_of_the_package_is_installed():
    patterns = {
        package.replace(".", "/"): globs.split()
        for package, globs in CONFIG["options.package_data"].items()
    }
    others = [
        path.relative_to(ROOT)
        for path in PACKAGE.rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    ]
    assert Path("tfp_flows/py.typed") in others
    for path in others:
        globs = patterns.get(path.parent.as_posix(), [])
        assert any(fnmatch(path.name, glob) for glob in globs), path
    for folder in {path.parent for path in PACKAGE.rglob("*.py")}:
        assert (folder / "__init__.py").exists(), folder
