import os
from pathlib import Path

import pytest

from xraycls.data.files import is_special, readable_name, require_other, require_regular
from xraycls.errors import DataError, RunError, UsageError
from xraycls.evaluation.predictions import write_predictions
from xraycls.models.files import find_model
from xraycls.types import Prediction

ODD = os.fsdecode(b"gr\xfc\xdf.png")


def test_names_that_are_not_utf8_can_be_written(tmp_path):
    assert readable_name(ODD) == "gr\\xfc\\xdf.png"
    assert readable_name("grüß.png") == "grüß.png"
    rows = [
        Prediction(ODD, (0.2, 0.8), 1),
        Prediction("b.png", (0.9, 0.1), 0),
        Prediction(ODD, (), None, None, f"{ODD}!"),
    ]
    written = write_predictions(rows, ("A", "B"), tmp_path / "predictions.csv").read_text(encoding="utf-8")
    assert [line.split(",")[0] for line in written.splitlines()[1:]] == [
        "gr\\xfc\\xdf.png",
        "b.png",
        "gr\\xfc\\xdf.png",
    ]


def test_a_result_never_replaces_what_it_is_made_from(tmp_path):
    (tmp_path / "model").touch()
    (tmp_path / "link").symlink_to(tmp_path / "model")
    for output in (tmp_path / "model", tmp_path / "link", tmp_path / "x" / ".." / "model"):
        (tmp_path / "x").mkdir(exist_ok=True)
        with pytest.raises(UsageError, match="would be lost"):
            require_other(output, tmp_path / "model")
    require_other(tmp_path / "other", tmp_path / "model")


def test_an_empty_name_of_a_model_is_told(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(UsageError, match=r"name of the model is empty\. Give a model, or leave the flag out"):
        find_model(Path())
    with pytest.raises(RunError, match="is a folder and no model"):
        find_model(tmp_path)


def test_only_regular_files_are_regular(tmp_path):
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(DataError, match="is a named pipe, not a file"):
        require_regular(tmp_path / "pipe")
    assert [is_special(path) for path in (tmp_path, tmp_path / "none", Path("/dev/null"))] == [None, None, "a device"]
