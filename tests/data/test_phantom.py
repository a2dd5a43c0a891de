import json
from collections import defaultdict
from pathlib import Path

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from sklearn.metrics import roc_auc_score

from xraycls.data.cache import cache_folder
from xraycls.data.phantom import draw_radiograph, phantom_table, write_phantom
from xraycls.data.phantom.plan import plan
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import SPLITS

SMALL = 96  # pixels across: quick to draw, with the anatomy of a large one


@pytest.fixture(scope="module")
def table(tmp_path_factory: pytest.TempPathFactory) -> SampleTable:
    return write_phantom(tmp_path_factory.mktemp("phantom"), images=160, seed=3, size=SMALL)


@pytest.fixture
def drawn(tmp_path: Path) -> Path:
    write_phantom(tmp_path / "phantom", images=8, size=SMALL)
    return tmp_path / "phantom"


def contents(folder: Path) -> dict[str, bytes]:
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in folder.rglob("*") if p.is_file()}


def redrawn(folder: Path, **options: bool) -> int:
    calls = []
    write_phantom(folder, images=8, size=SMALL, progress=lambda done, total: calls.append((done, total)), **options)
    assert calls == [(done, len(calls)) for done in range(1, len(calls) + 1)]
    return len(calls)


@pytest.mark.parametrize("images", [6, 7, 13, 100, 600])
def test_plan_keeps_patients_together_and_fills_every_group(images):
    planned = plan(images, seed=1)
    assert len(planned) == images
    assert len({(image.patient, image.image) for image in planned}) == images
    homes = defaultdict(set)
    for image in planned:
        homes[image.patient].add((image.split, image.label))
    assert all(len(groups) == 1 for groups in homes.values())
    assert len(set().union(*homes.values())) == 6


def test_plan_is_balanced():
    planned = plan(600, seed=0)
    for split, share in zip(SPLITS, (0.70, 0.15, 0.15), strict=True):
        labels = [image.label for image in planned if image.split == split]
        assert len(labels) == pytest.approx(600 * share, abs=6)
        assert sum(labels) == pytest.approx(len(labels) / 2, abs=3)
    assert {image.image for image in planned} == {1, 2, 3, 4}


def test_plan_refuses_what_cannot_be_split():
    with pytest.raises(UsageError, match="6 or more"):
        plan(5, seed=0)
    with pytest.raises(UsageError, match="negative"):
        plan(600, seed=-1)


def test_layout_and_table(table):
    assert table.classes == ("NORMAL", "PNEUMONIA")
    assert table.source == "phantom"
    assert len(table) == 160
    assert list(table.samples) == sorted(table, key=lambda s: s.path)
    for sample in table:
        split, name, file = sample.path.relative_to(table.root).parts
        assert (split, name) == (sample.split, table.classes[sample.label])
        assert file.startswith(f"{sample.patient}_")
        assert file.endswith(".jpeg")
        assert sample.path.read_bytes()[:2] == b"\xff\xd8"
        picture = cv2.imread(str(sample.path), cv2.IMREAD_UNCHANGED)
        assert picture.ndim == 2
        assert bool(sample.boxes) == bool(sample.label)
        for box in sample.boxes:
            assert 0 <= box.left < box.right <= picture.shape[1]
            assert 0 <= box.top < box.bottom <= picture.shape[0]


def test_kitti_labels_hold_the_boxes(table):
    for sample in table:
        lines = (table.root / "labels" / sample.split / f"{sample.path.stem}.txt").read_text().splitlines()
        fields = [line.split() for line in lines]
        assert all(len(tokens) == 15 for tokens in fields)
        read = [(tokens[0], *map(float, tokens[4:8])) for tokens in fields]
        assert read == [(b.label, b.left, b.top, b.right, b.bottom) for b in sample.boxes]
        assert {float(t) for tokens in fields for t in tokens[1:4] + tokens[8:]} <= {0.0}


def test_sizes_and_pictures_vary(table):
    pictures = [cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE) for sample in table]
    assert len({picture.shape for picture in pictures}) > 40
    assert len({picture.tobytes() for picture in pictures}) == len(pictures)


def test_simple_statistics_do_not_tell_the_classes_apart(table):
    pictures = [cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE) for sample in table]
    statistics = {
        "mean": [p.mean() for p in pictures],
        "deviation": [p.std() for p in pictures],
        "width": [p.shape[1] for p in pictures],
        **{f"percentile {q}": [np.percentile(p, q) for p in pictures] for q in (5, 25, 50, 75, 95)},
    }
    for name, values in statistics.items():
        auc = roc_auc_score(table.labels, values)
        assert 0.3 < auc < 0.7, name


def test_the_same_bytes_whatever_the_threads(tmp_path):
    write_phantom(tmp_path / "a", images=10, seed=5, size=SMALL, dicom=True, threads=1)
    write_phantom(tmp_path / "b", images=10, seed=5, size=SMALL, dicom=True, threads=4)
    one = contents(tmp_path / "a")
    assert one == contents(tmp_path / "b")
    write_phantom(tmp_path / "c", images=10, seed=6, size=SMALL, dicom=True)
    other = contents(tmp_path / "c")
    assert not {one[name] for name in one if name.endswith("jpeg")} & set(other.values())


def test_an_image_depends_on_its_own_numbers_alone():
    alone = draw_radiograph(2, 7, 3, pneumonia=True, size=SMALL)
    for image in (1, 2):
        draw_radiograph(2, 7, image, pneumonia=True, size=SMALL)
    again = draw_radiograph(2, 7, 3, pneumonia=True, size=SMALL)
    assert again.boxes == alone.boxes
    np.testing.assert_array_equal(again.signal, alone.signal)


@pytest.mark.parametrize("patient", range(1, 9))
def test_the_opacity_lies_in_its_box(patient):
    with_opacity = draw_radiograph(0, patient, 1, pneumonia=True, size=256)
    without = draw_radiograph(0, patient, 1, pneumonia=False, size=256)
    assert without.boxes == ()
    assert 1 <= len(with_opacity.boxes) <= 3
    brighter = with_opacity.signal - without.signal
    inside = np.zeros(brighter.shape, bool)
    for box in with_opacity.boxes:
        inside[int(box.top) : int(box.bottom), int(box.left) : int(box.right)] = True
    assert np.abs(brighter[inside]).mean() > 6 * np.abs(brighter[~inside]).mean()
    for box in with_opacity.boxes:
        patch = brighter[int(box.top) : int(box.bottom), int(box.left) : int(box.right)]
        assert patch.mean() > 0.02
        # Tight: every edge of the box touches something that got visibly brighter.
        smooth = cv2.GaussianBlur(patch, (0, 0), 1.0)
        edges = (smooth[:6], smooth[-6:], smooth[:, :6], smooth[:, -6:])
        assert all(edge.max() > 0.015 for edge in edges)


def test_grey_levels_use_the_range():
    radiograph = draw_radiograph(0, 1, 1, pneumonia=False, size=SMALL)
    assert radiograph.signal.dtype == np.float32
    assert 0.0 <= radiograph.signal.min() < 0.05
    assert 0.95 < radiograph.signal.max() <= 1.0
    assert radiograph.grey(8).dtype == np.uint8
    np.testing.assert_allclose(radiograph.grey(12) / 4095, radiograph.signal, atol=1.3e-4)


def test_dicom_holds_the_same_picture_in_12_bits(tmp_path):
    table = write_phantom(tmp_path, images=6, size=SMALL, dicom=True)
    identifiers = set()
    for sample in table:
        dataset = dcmread(tmp_path / "dicom" / sample.split / f"{sample.path.stem}.dcm")
        assert dataset.PatientID == sample.patient
        assert dataset.PhotometricInterpretation == "MONOCHROME2"
        assert (dataset.BitsAllocated, dataset.BitsStored, dataset.HighBit) == (16, 12, 11)
        pixels = dataset.pixel_array
        assert pixels.dtype == np.uint16
        image = int(sample.path.stem.rpartition("_")[2])
        number = int(sample.patient.removeprefix("p"))
        radiograph = draw_radiograph(0, number, image, pneumonia=sample.label == 1, size=SMALL)
        np.testing.assert_array_equal(pixels, radiograph.grey(12))
        jpeg = cv2.imread(str(sample.path), cv2.IMREAD_GRAYSCALE)
        assert np.abs(pixels / 4095 * 255 - jpeg).mean() < 4
        identifiers.add(dataset.SOPInstanceUID)
    assert len(identifiers) == 6


def test_what_is_there_is_not_drawn_again(drawn):
    before = contents(drawn)
    assert redrawn(drawn) == 0
    assert contents(drawn) == before


def test_what_is_missing_or_cut_short_is_drawn_again(drawn):
    before = contents(drawn)
    pictures = sorted(drawn.rglob("*.jpeg"))
    pictures[0].unlink()
    pictures[1].write_bytes(pictures[1].read_bytes()[:100])
    next(drawn.glob("labels/*/*.txt")).unlink()
    assert 2 <= redrawn(drawn) <= 3
    assert contents(drawn) == before


@pytest.mark.parametrize("text", [None, "", "{", "[]", '{"version": 1}'])
def test_a_folder_without_a_sound_manifest_is_not_trusted(drawn, text):
    before = contents(drawn)
    manifest = drawn / "phantom.json"
    manifest.unlink()
    if text is not None:
        manifest.write_text(text)
    next(drawn.rglob("*.jpeg")).write_bytes(b"half a pict")
    assert redrawn(drawn) == 8
    assert contents(drawn) == before


def test_another_version_is_drawn_anew(drawn):
    manifest = drawn / "phantom.json"
    manifest.write_text(json.dumps(json.loads(manifest.read_text()) | {"version": 0}))
    assert redrawn(drawn) == 8


def test_dicom_can_be_added_later(drawn):
    pictures = {name: data for name, data in contents(drawn).items() if name != "phantom.json"}
    assert redrawn(drawn, dicom=True) == 8
    assert redrawn(drawn, dicom=True) == 0
    assert len(list(drawn.glob("dicom/*/*.dcm"))) == 8
    assert pictures.items() <= contents(drawn).items()


def test_a_folder_with_other_pictures_is_refused(drawn):
    with pytest.raises(DataError, match="not of this phantom") as caught:
        write_phantom(drawn, images=6, size=SMALL)
    assert caught.value.path == drawn


def test_the_cache_holds_the_default(monkeypatch, tmp_path):
    monkeypatch.setenv("XRAYCLS_CACHE", str(tmp_path))
    calls = []
    first = phantom_table(images=6, seed=9, progress=lambda done, total: calls.append((done, total)))
    assert calls[-1] == (6, 6)
    assert first.root == tmp_path / "phantom-v1-6-9"
    second = phantom_table(images=6, seed=9, progress=lambda done, total: calls.append((done, total)))
    assert len(calls) == 6
    assert second == first
    assert second.fingerprint() == first.fingerprint()


def test_cache_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("XRAYCLS_CACHE", str(tmp_path / "own"))
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "shared"))
    assert cache_folder() == tmp_path / "own"
    monkeypatch.delenv("XRAYCLS_CACHE")
    assert cache_folder() == tmp_path / "shared" / "xraycls"
    monkeypatch.setenv("XDG_CACHE_HOME", "")
    monkeypatch.setenv("HOME", str(tmp_path))
    assert cache_folder() == tmp_path / ".cache" / "xraycls"
