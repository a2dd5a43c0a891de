"""The notebooks run from top to bottom and show what they promise."""

import shutil
from pathlib import Path

import nbformat
import pytest
from nbclient import NotebookClient

EXAMPLES = Path(__file__).parents[1] / "examples"


def outputs_of(name: str, folder: Path, settings: str | None = None, smaller: dict[str, str] | None = None) -> list:
    """What the cells of a notebook give when it is run in a folder.

    ``settings`` replace its first cell of code, and every text of ``smaller`` is replaced by another.
    """
    notebook = nbformat.read(EXAMPLES / name, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]
    if settings:
        cells[0].source = settings
    for old, new in (smaller or {}).items():
        assert any(old in cell.source for cell in cells)
        for cell in cells:
            cell.source = cell.source.replace(old, new)
    NotebookClient(notebook, timeout=900, resources={"metadata": {"path": str(folder)}}).execute()
    return [output for cell in notebook.cells if cell.cell_type == "code" for output in cell.outputs]


def text_of(outputs: list) -> str:
    return " ".join(o.get("text", "") + o.get("data", {}).get("text/plain", "") for o in outputs)


@pytest.mark.walkthrough
def test_the_quickstart_notebook_runs(tmp_path):
    outputs = outputs_of("quickstart.ipynb", tmp_path, smaller={"images=240": "images=80", "epochs=6": "epochs=1"})
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


@pytest.mark.exhaustive
def test_the_faster_rcnn_notebook_runs(tmp_path):
    shutil.copytree(EXAMPLES / "faster_rcnn", tmp_path / "faster_rcnn")
    shutil.copytree(EXAMPLES / "yolo_v4", tmp_path / "yolo_v4")
    for name in ("train", "retrain"):  # a walk for the test of it: a smaller network that looks at fewer regions
        spec = tmp_path / "faster_rcnn" / f"{name}.txt"
        text = spec.read_text().replace("resnet:18", "resnet:10")
        spec.write_text(text.replace("rpn_nms_max_boxes: 50", "rpn_nms_max_boxes: 8"))
    outputs = outputs_of("faster_rcnn.ipynb", tmp_path, "films, epochs, again, size = 12, 1, 1, 160")
    assert sum("image/png" in o.get("data", {}) for o in outputs) == 1
    work = tmp_path / "runs" / "faster_rcnn_notebook"
    assert len(list((work / "found" / "images_annotated").iterdir())) == 12
    assert all(name in text_of(outputs) for name in ("'trained'", "'pruned'", "'retrained'", "Pruning ratio"))
