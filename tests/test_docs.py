"""Every Python snippet of the README and the docs runs, in the order of its page."""

import re
from pathlib import Path

import numpy as np
import pytest

import tfp_flows as tfpf

ROOT = Path(__file__).parents[1]
PAGES = [ROOT / "README.md", *sorted((ROOT / "docs").glob("*.md"))]
BLOCK = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
OTHERS = re.compile(r"^```py\n(.*?)^```$", re.MULTILINE | re.DOTALL)
DIRECTIVE = re.compile(r"^::: (tfp_flows[\w.]*)$", re.MULTILINE)

# Whose code takes some seconds.
SLOW = (
    "bijectors.md",
    "coming_from.md",
    "conditioning.md",
    "diagnostics.md",
    "estimator.md",
    "files.md",
    "gpu.md",
    "index.md",
    "own_bijector.md",
    "pictures.md",
    "quickstart.md",
    "recipes.md",
    "scaling.md",
    "supports.md",
    "training.md",
    "variational.md",
)


@pytest.mark.parametrize(
    "page",
    [pytest.param(p, marks=[pytest.mark.slow] * (p.name in SLOW)) for p in PAGES],
    ids=lambda page: page.name,
)
def test_snippets_run(page, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    names = {"__name__": page.stem}
    for block in BLOCK.findall(page.read_text()):
        exec(compile(block, str(page), "exec"), names)


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("library", ["zuko", "flowjax"])
def test_snippets_of_other_libraries_run(library):
    """In blocks marked `py`, where that library is installed."""
    pytest.importorskip(library)
    blocks = OTHERS.findall((ROOT / "docs" / "coming_from.md").read_text())
    (block,) = (b for b in blocks if re.search(rf"^(import|from) {library}", b, re.M))
    x = tfpf.densities.make("two_moons").sample(500, seed=0)
    names = {"x": x}
    exec(compile(block, library, "exec"), names)
    assert np.shape(names["new"]) == (1000, 2) and np.shape(names["log_prob"]) == (5,)


def test_the_quickstart_is_fifteen_lines():
    quickstart = BLOCK.findall((ROOT / "README.md").read_text())[0]
    assert len([line for line in quickstart.split("\n") if line.strip()]) <= 15


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)#:]+)(?:#[^)]*)?\)", page.read_text()):
        assert (page.parent / target).exists(), f"{page.name} links to {target}"


def test_the_reference_has_every_public_name():
    """By a line of its own, or by one for its module; a strict build looks closer."""
    pages = (ROOT / "docs" / "reference").glob("*.md")
    lines = {
        line for page in pages for line in DIRECTIVE.findall(page.read_text("utf-8"))
    }
    by_name = {line.rpartition(".")[2] for line in lines}
    missing = set(tfpf.__all__) - by_name
    one_by_one = {
        name
        for name in missing
        if by_name.issuperset(getattr(getattr(tfpf, name), "__all__", [name]))
    }
    assert missing == one_by_one
