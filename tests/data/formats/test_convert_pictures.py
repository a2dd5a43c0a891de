"""DICOM folders become PNG or JPEG in one command."""

import csv
import logging

import cv2
import numpy as np
import pytest

from xraycls.cli import main
from xraycls.data.audit import audit
from xraycls.data.formats.convert import HEADERS, convert
from xraycls.data.open import read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.source import read_source

pydicom = pytest.importorskip("pydicom")


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """DICOM files in folders of patients, as an archive exports them; one says that text is burnt in."""
    root = tmp_path_factory.mktemp("films")
    write_phantom(root / "drawn", images=6, size=64, dicom=True)
    for number, path in enumerate(sorted((root / "drawn" / "dicom").rglob("*.dcm"))):
        dataset = pydicom.dcmread(path)
        dataset.PatientName = "Doe^Jane"
        dataset.PatientAge, dataset.PatientSex, dataset.ViewPosition = "061Y", "F", "PA"
        dataset.BurnedInAnnotation = "YES" if number == 0 else "NO"
        dataset.save_as(root / f"{number}.dcm")
    return root


@pytest.fixture(scope="module")
def flat(films, tmp_path_factory):
    folder = tmp_path_factory.mktemp("flat")
    for path in films.glob("*.dcm"):
        (folder / path.name).write_bytes(path.read_bytes())
    return folder


@pytest.mark.parametrize(("to", "suffix", "tolerance"), [("png", ".png", 0), ("jpeg", ".jpg", 12)])
def test_a_folder_of_dicom_files_becomes_pictures_of_the_same_levels(flat, tmp_path, caplog, to, suffix, tolerance):
    made = convert(flat, tmp_path / "out", to=to)
    assert made.pictures == made.decoded == 6
    for path in sorted(flat.iterdir()):
        written = cv2.imread(str(tmp_path / "out" / f"{path.stem}{suffix}"), cv2.IMREAD_UNCHANGED)
        assert (written.dtype, written.ndim) == (np.uint8, 2)
        assert np.abs(written.astype(int) - read_grey(path)).max() <= tolerance
    assert "1 files say that text is burnt into their pixels" in caplog.text


@pytest.mark.parametrize("keep", [True, False])
def test_headers_are_kept_under_a_pseudonym_or_dropped(flat, tmp_path, keep):
    convert(flat, tmp_path / "out", to="png", headers=keep)
    everything = b"".join(path.read_bytes() for path in (tmp_path / "out").iterdir())
    assert b"Doe" not in everything
    assert (b"anon-" in everything) is keep
    if keep:
        rows = list(csv.DictReader((tmp_path / "out" / HEADERS).open()))
        assert {"path", "patient", "sex", "age", "view"} <= rows[0].keys()
        assert {row["path"] for row in rows} == {f"{number}.png" for number in range(6)}
    else:
        assert not (tmp_path / "out" / HEADERS).exists()


def test_classes_and_splits_of_folders_are_read_back(films, tmp_path):
    source = tmp_path / "source"
    for number in range(6):
        folder = source / ("test" if number > 3 else "train") / ("NORMAL" if number % 2 else "PNEUMONIA")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dcm").write_bytes((films / f"{number}.dcm").read_bytes())
    before = read_source(source)
    convert(source, tmp_path / "out", to="png", headers=False)
    after = read_source(tmp_path / "out")
    assert after.classes == before.classes
    assert {split: after.split(split).counts() for split in after.splits} == {
        split: before.split(split).counts() for split in before.splits
    }


def test_the_audit_notes_text_in_pictures(films, tmp_path):
    for number in range(4):
        folder = tmp_path / "data" / ("A" if number % 2 else "B")
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number}.dcm").write_bytes((films / f"{number}.dcm").read_bytes())
    (found,) = [each for each in audit(read_source(tmp_path / "data"), quick=True).findings if "burnt" in each.kind]
    assert found.title == "1 file of 4 say that text is burnt into the picture"


def test_the_command_says_what_comes_next(flat, tmp_path, capsys, caplog):
    caplog.set_level(logging.WARNING)
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", str(flat), str(tmp_path / "my films"), "--to", "png"])
    assert end.value.code in (0, None)
    assert f"xraycls data show '{tmp_path / 'my films'}'" in capsys.readouterr().out
    with pytest.raises(SystemExit) as end:
        main(["data", "convert", str(flat), str(tmp_path / "other"), "--to", "png", "--headers", "some"])
    assert end.value.code == 2
