import logging
from dataclasses import replace

import cv2
import pytest

from xraycls.data.audit import warn_of_faults
from xraycls.data.open import read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.source import load_table, read_source
from xraycls.types import Box


@pytest.fixture
def folder(tmp_path):
    write_phantom(tmp_path / "films", images=48, size=96, threads=1)
    return tmp_path / "films"


def told(caplog, folder):
    """What the short form says of a data set when a training loads it."""
    with caplog.at_level(logging.INFO):
        load_table(folder)
    return [(r.levelname, r.getMessage()) for r in caplog.records if r.name.startswith("xraycls.data.audit")]


def test_clean_data_is_counted_and_no_more(folder, caplog):
    lines = told(caplog, folder)
    assert [level for level, _ in lines] == ["INFO"] * 3
    table = read_source(folder)
    for (_, line), split in zip(lines, ("train", "val", "test"), strict=True):
        counts = table.split(split).counts()
        assert line == f"{split}: {counts['NORMAL']} NORMAL, {counts['PNEUMONIA']} PNEUMONIA"


def test_one_sentence_a_fault_and_the_command_once(folder, caplog):
    moved = sorted((folder / "train/NORMAL").glob("*_2.jpeg"))[0]
    moved.rename(folder / "test/NORMAL" / moved.name)
    for path in folder.glob("*/NORMAL/*.jpeg"):
        cv2.imwrite(str(path), cv2.resize(read_grey(path), None, fx=2, fy=2))
    warnings = [line for level, line in told(caplog, folder) if level == "WARNING"]
    assert len(warnings) == 4
    patient, shortcut, way_out, command = warnings
    assert patient.startswith("1 patient with ")
    assert f"test/NORMAL/{moved.name} (test) and train/NORMAL/" in patient
    assert " tells PNEUMONIA without the picture (AUC " in shortcut
    assert way_out == f"xraycls data split {folder} --redraw writes splits that keep patients apart."
    assert command == f"xraycls data audit {folder} shows more."
    assert all(line.endswith(".") and not line.endswith("..") for line in warnings)


def test_boxes(folder, caplog):
    table = read_source(folder)
    samples = [replace(table[0], boxes=(Box("Opacity", 50, 50, 2000, 60),)), *table.samples[1:]]
    with caplog.at_level(logging.WARNING):
        warn_of_faults(table.with_samples(samples), folder)
    assert caplog.messages[0].startswith("Boxes reach beyond their picture: 1 box on 1 picture: ")
    assert caplog.messages[-1].endswith("shows more.")


def test_other_processes_are_silent_and_spared(folder, monkeypatch):
    monkeypatch.setattr("xraycls.data.audit.quick_check.picture_headers", None)  # would raise if called
    logger = logging.getLogger("xraycls.data")
    level = logger.level
    try:
        logger.setLevel(logging.ERROR)
        warn_of_faults(read_source(folder))
    finally:
        logger.setLevel(level)


def test_no_picture_is_decoded(folder, monkeypatch):
    monkeypatch.setattr(cv2, "imdecode", None)
    warn_of_faults(read_source(folder))
