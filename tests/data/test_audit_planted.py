"""Each fault is planted into a copy of a clean data set: it has to be found, by name, and nothing else."""

import shutil
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data.audit import audit
from xraycls.data.open import read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.source import read_source
from xraycls.types import Box

pytestmark = pytest.mark.walkthrough


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("clean") / "films"
    write_phantom(folder, images=60, size=192, threads=1)
    shutil.rmtree(folder / "labels")  # boxes are planted where a test needs them
    return folder


@pytest.fixture
def folder(films, tmp_path):
    return Path(shutil.copytree(films, tmp_path / "films"))


def findings(table, **options):
    """The kind of each finding, with the names of its pictures, group by group."""
    made = audit(table, **options)
    return {
        finding.kind: [[table.name_of(table[row]) for row in group.samples] for group in finding.groups]
        for finding in made.findings
    }


def names(folder, pattern="*/*/*.jpeg"):
    return sorted(path.relative_to(folder).as_posix() for path in folder.glob(pattern))


def rewrite(path, change, quality=90):
    cv2.imwrite(str(path), change(read_grey(path)), [cv2.IMWRITE_JPEG_QUALITY, quality])


@pytest.mark.parametrize("quick", [False, True])
def test_clean_data(folder, quick):
    made = audit(read_source(folder), quick=quick)
    assert made.findings == ()
    assert made.quick == quick


@pytest.mark.parametrize("quick", [False, True])
def test_unreadable_files(folder, quick):
    first, second, third = (folder / name for name in names(folder)[10:13])
    first.write_bytes(b"")
    second.write_bytes(second.read_bytes()[:-2000])
    third.write_text("not a picture")
    expected = [[path.relative_to(folder).as_posix()] for path in (first, second, third)]
    assert findings(read_source(folder), quick=quick) == {"unreadable": expected}
    finding = audit(read_source(folder), quick=quick).findings[0]
    assert [group.note for group in finding.groups] == ["empty", "truncated", "not an image"]


def test_damage_inside_a_file_needs_the_decoder(folder):
    damaged = folder / names(folder)[20]
    picture = read_grey(damaged)
    damaged.unlink()
    damaged = damaged.with_suffix(".png")
    cv2.imwrite(str(damaged), picture)
    encoded = bytearray(damaged.read_bytes())
    encoded[60:90] = bytes(30)  # within the compressed pixels
    damaged.write_bytes(encoded)
    found = findings(read_source(folder))
    assert found == {"unreadable": [[damaged.relative_to(folder).as_posix()]]}
    assert findings(read_source(folder), quick=True) == {}


@pytest.mark.parametrize("quick", [False, True])
def test_the_same_file_in_two_splits(folder, quick):
    source = folder / names(folder, "train/NORMAL/*")[0]
    shutil.copy(source, folder / "test/NORMAL/p0900_1.jpeg")
    groups = [["test/NORMAL/p0900_1.jpeg", source.relative_to(folder).as_posix()]]
    assert findings(read_source(folder), quick=quick) == {"duplicate-across-splits": groups}


@pytest.mark.parametrize("quick", [False, True])
def test_the_same_file_twice_in_a_split(folder, quick):
    source = folder / names(folder, "train/NORMAL/*")[0]
    shutil.copy(source, folder / "train/NORMAL/p0900_1.jpeg")
    groups = [[source.relative_to(folder).as_posix(), "train/NORMAL/p0900_1.jpeg"]]
    assert findings(read_source(folder), quick=quick) == {"duplicate": groups}


def test_the_same_file_with_two_labels(folder):
    source = folder / names(folder, "train/NORMAL/*")[0]
    shutil.copy(source, folder / "train/PNEUMONIA/p0900_1.jpeg")
    groups = [[source.relative_to(folder).as_posix(), "train/PNEUMONIA/p0900_1.jpeg"]]
    assert findings(read_source(folder)) == {"duplicate": groups, "duplicate-label": groups}


COPIES = {
    "encoded again": (lambda p: p, 60),
    "scaled": (lambda p: cv2.resize(p, None, fx=0.8, fy=0.8, interpolation=cv2.INTER_AREA), 90),
    "cropped": (lambda p: p[: round(0.95 * p.shape[0]), round(0.05 * p.shape[1]) :], 90),
    "brightened": (lambda p: cv2.add(p, 25), 90),
}


@pytest.mark.parametrize("how", COPIES)
def test_an_edited_copy_in_another_split(folder, how):
    source = folder / names(folder, "train/NORMAL/*")[3]
    copy = folder / "test/NORMAL/p0900_1.jpeg"
    shutil.copy(source, copy)
    rewrite(copy, *COPIES[how])
    groups = [[copy.relative_to(folder).as_posix(), source.relative_to(folder).as_posix()]]
    assert findings(read_source(folder)) == {"near-duplicate-across-splits": groups}


def test_an_edited_copy_within_a_split(folder):
    source = folder / names(folder, "val/PNEUMONIA/*")[0]
    copies = [folder / "val/PNEUMONIA" / name for name in ("p0900_1.jpeg", "p0901_1.jpeg")]
    for copy, how in zip(copies, ("scaled", "brightened"), strict=True):
        shutil.copy(source, copy)
        rewrite(copy, *COPIES[how])
    groups = [[path.relative_to(folder).as_posix() for path in (source, *copies)]]
    assert findings(read_source(folder)) == {"near-duplicate": groups}


@pytest.mark.parametrize("quick", [False, True])
def test_a_patient_in_two_splits(folder, quick):
    moved = next(path for path in sorted((folder / "train/NORMAL").glob("*_2.jpeg")))
    rest = sorted(path for path in moved.parent.glob(f"{moved.stem[:-1]}*") if path != moved)
    target = folder / "test/NORMAL" / moved.name
    moved.rename(target)
    groups = [[path.relative_to(folder).as_posix() for path in (target, *rest)]]
    assert findings(read_source(folder), quick=quick) == {"patient-across-splits": groups}


def test_a_number_that_two_series_share(folder):
    """person7_virus and person7_bacteria: one patient for a split that is drawn, perhaps two for one that is given."""
    one, other = folder / names(folder, "train/PNEUMONIA/*")[0], folder / names(folder, "test/PNEUMONIA/*")[0]
    one, other = one.rename(one.with_stem("person7_virus_12")), other.rename(other.with_stem("person7_bacteria_20"))
    found = findings(read_source(folder))
    groups = [[other.relative_to(folder).as_posix(), one.relative_to(folder).as_posix()]]
    assert found == {"patient-number-across-splits": groups}
    other.rename(other.with_stem("person7_virus_13"))
    assert set(findings(read_source(folder))) == {"patient-across-splits"}


def test_a_class_that_a_split_lacks(folder):
    shutil.rmtree(folder / "val/NORMAL")
    made = audit(read_source(folder))
    assert [finding.kind for finding in made.findings] == ["class-missing"]
    assert made.findings[0].title == "A split lacks a class: NORMAL in val"


def test_class_shares_that_shift(folder):
    table = read_source(folder)
    labels = [int(sample.split == "test" or row % 8 == 0) for row, sample in enumerate(table)]
    labels[table.samples.index(table.split("test")[0])] = 0
    made = audit(table.with_samples(replace(s, label=y) for s, y in zip(table, labels, strict=True)), quick=True)
    assert [finding.kind for finding in made.findings] == ["class-shares"]
    assert made.findings[0].title.startswith("Class shares differ between splits: test has 90% PNEUMONIA, train 11%")


@pytest.mark.parametrize("quick", [False, True])
def test_resolution_that_tells_the_label(folder, quick):
    for name in names(folder, "*/NORMAL/*.jpeg"):
        rewrite(folder / name, lambda p: cv2.resize(p, None, fx=1.6, fy=1.6), 90)
    table = read_source(folder)
    made = audit(table, quick=quick)
    assert [finding.kind for finding in made.findings] == ["shortcut"]
    finding = made.findings[0]
    assert finding.figures["auc"] > 0.99
    assert set(finding.figures["features"]) <= {"width", "height", "file size", "bytes a pixel"}
    sides = {frozenset(table[row].label for row in group.samples) for group in finding.groups}
    assert sides == {frozenset({0}), frozenset({1})}  # each branch is of one class
    assert set(finding.samples) == set(range(len(table)))


def test_a_border_that_tells_the_label(folder):
    for name in names(folder, "*/PNEUMONIA/*.jpeg"):
        picture = read_grey(folder / name)
        picture[:14] = picture[-14:] = 0
        picture[:, :12] = picture[:, -12:] = 0
        cv2.imwrite(str(folder / name), picture, [cv2.IMWRITE_JPEG_QUALITY, 92])
    made = audit(read_source(folder))
    assert [finding.kind for finding in made.findings] == ["shortcut"]
    assert "border" in made.findings[0].figures["features"]


def test_age_that_tells_the_label(folder, tmp_path):
    """As in CoronaHack: the normal are children, the sick are adults."""
    rng = np.random.default_rng(0)
    lines = ["path,label,split,Patient Age,Sex\n"]
    for name in names(folder):
        split, label, _ = name.split("/")
        age = rng.integers(1, 12) if label == "NORMAL" else rng.integers(28, 80)
        lines.append(f"{name},{label},{split},{age},{rng.choice(['F', 'M'])}\n")
    (tmp_path / "films.csv").write_text("".join(lines))
    made = audit(read_source(tmp_path / "films.csv", images=folder), quick=True)
    assert [finding.kind for finding in made.findings] == ["shortcut"]
    finding = made.findings[0]
    assert finding.figures["features"] == ["age"]
    assert finding.title.startswith("Age tells PNEUMONIA without the picture (AUC 1.00): age ")
    assert "age above 21 → PNEUMONIA (100% of 28)" in finding.title
    assert {group.note[:12] for group in finding.groups} == {"age below 21", "age above 21"}


BOXES = {
    "box-outside": (Box("Opacity", 150, 20, 400, 60), {}),
    "box-empty": (Box("Opacity", 50, 60, 20, 30), {}),
    "box-class": (Box("opacity", 20, 20, 60, 60), {}),
}


@pytest.fixture
def boxed(folder):
    """Every film of pneumonia has a box of its own."""
    table = read_source(folder)
    rng = np.random.default_rng(0)

    def with_box(sample):
        left, top = rng.integers(5, 60, 2).tolist()
        return replace(sample, boxes=(Box("Opacity", left, top, left + 40, top + 50),) if sample.label else ())

    return table.with_samples(map(with_box, table))


def planted(table, row, *boxes):
    samples = list(table.samples)
    samples[row] = replace(samples[row], boxes=(*samples[row].boxes, *boxes))
    return table.with_samples(samples)


@pytest.mark.parametrize("quick", [False, True])
@pytest.mark.parametrize("kind", BOXES)
def test_a_box_that_cannot_be_right(boxed, kind, quick):
    assert findings(boxed, quick=quick) == {}
    box, options = BOXES[kind]
    row = next(row for row, sample in enumerate(boxed) if sample.label == 1)
    table = planted(boxed, row, box)
    assert findings(table, quick=quick, **options) == {kind: [[table.name_of(table[row])]]}


def test_a_box_drawn_twice(boxed):
    row = next(row for row, sample in enumerate(boxed) if sample.boxes)
    table = planted(boxed, row, boxed[row].boxes[0])
    assert findings(table, quick=True) == {"box-repeated": [[table.name_of(table[row])]]}


def test_a_box_on_a_negative(boxed):
    row = next(row for row, sample in enumerate(boxed) if sample.label == 0)
    table = planted(boxed, row, Box("Opacity", 20, 20, 50, 50))
    assert findings(table, quick=True) == {"box-on-negative": [[table.name_of(table[row])]]}


def test_a_box_of_a_class_that_was_not_named(boxed):
    row = next(row for row, sample in enumerate(boxed) if sample.label == 1)
    table = planted(boxed, row, Box("Opacty", 20, 20, 60, 60))
    made = audit(table, quick=True, classes=["Opacity"])
    assert [finding.kind for finding in made.findings] == ["box-class"]
    assert made.findings[0].samples == (row,)
    assert made.findings[0].advice == "Did you mean Opacity?"


def test_markers_that_tell_the_label(folder):
    """An R on every film of pneumonia; the phantom's own letters are painted over."""
    for name in names(folder):
        label = name.split("/")[1]

        def paint(picture, label=label):
            picture = picture.copy()
            picture[: picture.shape[0] // 2, : picture.shape[1] // 5] = 20
            picture[: picture.shape[0] // 2, -picture.shape[1] // 5 :] = 20
            if label == "PNEUMONIA":
                cv2.putText(picture, "R", (10, 30), cv2.FONT_HERSHEY_SIMPLEX, 0.5, 250, 2, cv2.LINE_AA)
            return picture

        rewrite(folder / name, paint, 95)
    table = read_source(folder)
    made = audit(table)
    assert [finding.kind for finding in made.findings] == ["marker"]
    finding = made.findings[0]
    assert "a marker is there → PNEUMONIA" in finding.title
    marked = next(group for group in finding.groups if group.note.startswith("a marker is there"))
    assert {row for row, sample in enumerate(table) if sample.label} <= set(marked.samples)
    assert finding.figures["counts"]["PNEUMONIA"] == {"R": 28, "L": 0, "none": 0}


def test_place_of_markers_that_tells_the_label(folder):
    for name in names(folder):
        label = name.split("/")[1]

        def paint(picture, label=label):
            picture = picture.copy()
            picture[: picture.shape[0] // 2, : picture.shape[1] // 5] = 20
            picture[: picture.shape[0] // 2, -picture.shape[1] // 5 :] = 20
            place = (8, 24) if label == "PNEUMONIA" else (8, 70)
            cv2.putText(picture, "R", place, cv2.FONT_HERSHEY_SIMPLEX, 0.5, 250, 2, cv2.LINE_AA)
            return picture

        rewrite(folder / name, paint, 95)
    made = audit(read_source(folder))
    assert [finding.kind for finding in made.findings] == ["marker"]
    assert made.findings[0].title.startswith("Place and size of laterality markers tell PNEUMONIA")
    assert "from the top below" in made.findings[0].title


def test_inverted_pictures(folder):
    chosen = names(folder)[5::20]
    for name in chosen:
        rewrite(folder / name, lambda p: 255 - p, 92)
    assert findings(read_source(folder)) == {"polarity": [[name] for name in chosen]}
