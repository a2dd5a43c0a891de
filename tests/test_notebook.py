"""The notebooks run from top to bottom and show what they promise."""

from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"


def outputs_of(name: str, folder: Path) -> list:
    """What the cells of a notebook give when it is run in a folder."""
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text_of(outputs: list) -> str:
    return " ".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.mark.walkthrough
def test_the_quickstart_notebook_runs(tmp_path):
    outputs = outputs_of("quickstart.ipynb", tmp_path)
    assert sum("image/png" in o.get("data", {}) for o in outputs) >= 4
    assert "'value'" in text_of(outputs)
    assert (tmp_path / "runs").is_dir()


@pytest.mark.walkthrough
def test_the_rsna_notebook_runs(tmp_path):
    outputs = outputs_of("rsna_exploration.ipynb", tmp_path)
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 6
    text = text_of(outputs)
    assert "boxes" in text
    assert "'PatientAge'" in text
    assert (tmp_path / "features" / "train.csv").is_file()
