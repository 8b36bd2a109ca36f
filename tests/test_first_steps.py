"""The notebook runs, and shows again what it was committed with."""

import os
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

NOTEBOOK = Path(__file__).parents[1] / "examples" / "first_steps.ipynb"
MOST_BYTES = 1_000_000
SHORTER = {"epochs=20": "epochs=4", "time_limit=60": "time_limit=16"}


def kinds(notebook):
    """Returns the kinds of output of each cell; of stderr, none."""
    return [
        [
            sorted(output.get("data", {output.get("name"): None}))
            for output in cell.outputs
            if output.get("name") != "stderr"
        ]
        for cell in notebook.cells
        if cell.cell_type == "code"
    ]


def test_the_notebook_is_committed_with_its_outputs():
    assert NOTEBOOK.stat().st_size < MOST_BYTES
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    nbformat.validate(notebook)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    assert [cell.execution_count for cell in cells] == [*range(1, len(cells) + 1)]
    shown = [kind for cell in kinds(notebook) for output in cell for kind in output]
    assert shown.count("image/png") == 4  # orders, history, density, samples
    assert shown.count("text/html") == 4  # two flows, a film, a report
    assert "%" not in "".join(cell.source[:1] for cell in cells)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")  # of the kernel's own machinery
def test_the_notebook_runs(tmp_path):
    committed = nbformat.read(NOTEBOOK, as_version=4)
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    for cell in notebook.cells:
        cell["outputs"] = []
    for long, short in SHORTER.items():
        (cell,) = (cell for cell in notebook.cells if long in cell.source)
        cell.source = cell.source.replace(long, short)
    client = NotebookClient(
        notebook, timeout=600, resources={"metadata": {"path": tmp_path}}
    )
    client.execute(env={**os.environ, "PYTHONPATH": str(NOTEBOOK.parents[1])})
    assert kinds(notebook) == kinds(committed)
    assert (tmp_path / "moons.html").exists()
