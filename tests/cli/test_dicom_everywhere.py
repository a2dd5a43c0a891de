"""A DICOM behaves like any image in every verb, and no identifier of a patient leaves it."""

import importlib.util
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from pydicom import config
from pydicom.dataelem import DataElement

from tests.data.dicoms import dataset_of

SECRET = "Mustermann"
NAMES = ("{}.dcm", "{}.DICOM", "IM{:0>6}", "1.2.840.113619.2.{}")  # with suffixes, and as hospitals export them
FAST = "--base-model ResNet18 --weights none --size 32 --batch-size 6 --warmup-epochs 0 --device cpu --threads 1"
PROGRAM = """
import sys
from xraycls.cli import main
for line in sys.argv[1:]:
    try:
        main(line.split())
    except SystemExit as end:
        if end.code:
            sys.exit(f"{line}: {end.code}")
"""


def write_film(path: Path, pixels: np.ndarray, patient: int) -> None:
    """A film whose header names the patient, in values that break the standard: of those pydicom warns."""
    dataset = dataset_of(pixels, PhotometricInterpretation="MONOCHROME1", PatientName=f"{SECRET}^{patient}")
    for keyword, vr, value in (
        ("PatientID", "LO", f"{SECRET}-{patient}-" + "9" * 70),
        ("PatientSex", "CS", f"{SECRET.lower()} female"),
        ("PatientAge", "AS", f"{SECRET} 62"),
        ("StudyInstanceUID", "UI", f"{SECRET}.1"),
    ):
        dataset.add(DataElement(keyword, vr, value, validation_mode=config.IGNORE))
    dataset.save_as(path, enforce_file_format=True)


@pytest.fixture(scope="module")
def films(tmp_path_factory) -> Path:
    """An image folder of DICOM files alone: 24 training, 8 validation and 8 test films of 40 patients."""
    rng = np.random.default_rng(0)
    root = tmp_path_factory.mktemp("films")
    number = 0
    for split, count in (("train", 12), ("val", 4), ("test", 4)):
        for label, name in enumerate(("NORMAL", "PNEUMONIA")):
            folder = root / split / name
            folder.mkdir(parents=True)
            for _ in range(count):
                pixels = rng.integers(300, 2000, (40, 46), dtype=np.uint16)
                pixels[:18, :18] += np.uint16(1600 * label)
                write_film(folder / NAMES[number % 4].format(number), pixels, number)
                number += 1
    (root / "train" / "NORMAL" / "DICOMDIR").write_bytes(b"\0" * 128 + b"DICM")
    (root / "train" / "NORMAL" / "README").write_text("films")
    return root


def run_program(*lines: str) -> str:
    """All that the program prints for some command lines, one after the other; fails with the first that does."""
    done = subprocess.run(
        [sys.executable, "-c", PROGRAM, *lines], capture_output=True, text=True, check=False, timeout=300
    )
    printed = done.stdout + done.stderr
    assert done.returncode == 0, printed
    return printed


@pytest.mark.walkthrough
def test_every_verb_takes_dicom_and_keeps_its_secrets(films, tmp_path):
    run, one = tmp_path / "run", films / "test" / "PNEUMONIA" / "1.2.840.113619.2.39"
    lines = [
        f"data list {films}",
        f"train --data {films} -o {run} --loader torch --epochs 2 {FAST}",
        f"test {run} --resamples 20",
        f"predict {run} {one} {films / 'test'} -o {tmp_path / 'predicted'}",
        f"cam {run} {one} -o {tmp_path / 'cams'}",
        f"data prepare {films} {tmp_path / 'prepared'} --size 40",
        f"test {run} --data {tmp_path / 'prepared'} -o {tmp_path / 'tested'} --resamples 20",
        f"data split {films} -o {tmp_path / 'split.csv'}",
        f"data convert {films} {tmp_path / 'nih'} --to nih",
    ]
    if importlib.util.find_spec("nvidia"):  # the extra dali
        lines.append(f"train --data {films} -o {tmp_path / 'dali'} --loader dali --epochs 1 {FAST}")
    printed = run_program(*lines)
    assert "train: 12 NORMAL, 12 PNEUMONIA" in printed
    assert len((tmp_path / "predicted" / "predictions.csv").read_text().splitlines()) == 1 + 1 + 8
    assert list((tmp_path / "cams").rglob("CAM_*.jpg"))
    assert "could not be read" not in printed
    assert SECRET.lower() not in printed.lower()
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(written) > 10
    for path in written:
        assert SECRET.lower().encode() not in path.read_bytes().lower(), path
        assert SECRET.lower() not in path.name.lower()
