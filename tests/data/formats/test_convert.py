import csv
import json
import os
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image
from pydicom import dcmread

from xraycls.data.csv import read_csv
from xraycls.data.formats import FORMATS
from xraycls.data.formats.coco import write_coco
from xraycls.data.formats.convert import convert
from xraycls.data.open import read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.prepare import prepare
from xraycls.data.source import load_table, read_source
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.types import Box

BOXES = ("kitti", "coco", "yolo", "voc")


@pytest.fixture(scope="module")
def phantom(tmp_path_factory):
    """Class folders with KITTI labels beside them, and patients with several images."""
    return write_phantom(tmp_path_factory.mktemp("phantom") / "p", images=18, size=96)


@pytest.fixture
def coco(pictures, tmp_path):
    """The small data set, in a format that keeps all of it."""
    (tmp_path / "in").mkdir()
    root = pictures.root.rename(tmp_path / "in/images")
    moved = (replace(sample, path=root / sample.path.relative_to(pictures.root)) for sample in pictures)
    write_coco(replace(pictures, samples=tuple(moved), root=root), tmp_path / "in")
    return tmp_path / "in"


def files(folder: Path) -> list[str]:
    return sorted(path.relative_to(folder).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize("to", BOXES)
def test_every_format_of_boxes_keeps_pictures_boxes_splits_patients_and_negatives(phantom, told, tmp_path, to):
    made = convert(phantom.root, tmp_path / "out", to=to)
    assert (made.pictures, made.left_out, made.decoded, made.renamed) == (18, {}, 0, 0)
    assert made.negatives == sum(not sample.boxes for sample in phantom) > 0
    assert made.boxes == {"PNEUMONIA": sum(len(sample.boxes) for sample in phantom)}
    assert made.splits == {split: len(phantom.split(split)) for split in phantom.splits}
    found = read_source(tmp_path / "out")
    assert found.source == to
    assert told(found) == told(phantom)
    assert {s.path.stem: s.patient for s in found} == {s.path.stem: s.patient for s in phantom}
    assert all(
        s.path.read_bytes() == p.path.read_bytes() for s, p in zip(by_stem(found), by_stem(phantom), strict=True)
    )
    load_table(tmp_path / "out")  # ready to train on


def by_stem(table):
    return sorted(table, key=lambda sample: sample.path.stem)


@pytest.mark.parametrize("to", [name for name, each in FORMATS.items() if each.write])
def test_every_format_is_written_and_read(phantom, tmp_path, to):
    convert(phantom.root, tmp_path / "out", to=to)
    found = {s.path.stem: [(b.left, b.top, b.right, b.bottom) for b in s.boxes] for s in read_source(tmp_path / "out")}
    expected = {s.path.stem: [(b.left, b.top, b.right, b.bottom) for b in s.boxes] for s in phantom}
    if to == "nih":  # training and validation are one list there
        assert {s.split for s in read_source(tmp_path / "out")} == {"train", "test"}
    assert found == expected


def test_a_chain_of_formats_comes_back_to_the_same_files(phantom, tmp_path):
    source = phantom.root
    for number, to in enumerate((*BOXES, "kitti")):
        convert(source, target := tmp_path / f"{number}", to=to)
        source = target
    assert files(tmp_path / "0/labels") == files(tmp_path / "4/labels")
    for name in files(tmp_path / "0/labels"):
        assert (tmp_path / "0/labels" / name).read_text() == (tmp_path / "4/labels" / name).read_text()


@pytest.mark.exhaustive
@pytest.mark.parametrize("source", ["nih", "rsna"])
def test_real_radiographs_through_every_format(shared, tmp_path, source):
    folder = shared / "data/nih_rsna_bbox"
    table = folder / "nih_boxes_subset.csv"
    if source == "rsna":
        table = rsna_with_the_names_of_nih(folder, tmp_path / "stage_2_train_labels.csv")
    first = tmp_path / "kitti"
    convert(table, first, to="kitti", read_as=source, images=folder / "images", pictures="link")
    expected = read_source(first)
    assert sum(bool(sample.boxes) for sample in expected) > 60
    last = first
    for to in ("coco", "yolo", "voc", "kitti"):
        convert(last, last := tmp_path / f"then-{to}", to=to, pictures="link")
    found = read_source(last)
    assert [s.path.name for s in found] == [s.path.name for s in expected]
    for ours, theirs in zip(found, expected, strict=True):
        assert [box.label for box in ours.boxes] == [box.label for box in theirs.boxes]
        assert corners(ours.boxes) == pytest.approx(corners(theirs.boxes), abs=1e-5)


def corners(boxes: tuple[Box, ...]) -> list[float]:
    return [at for box in boxes for at in (box.left, box.top, box.right, box.bottom)]


def rsna_with_the_names_of_nih(folder: Path, path: Path) -> Path:
    with (folder / "rsna_labels_subset.csv").open() as handle:
        rows = list(csv.DictReader(handle))
    with path.open("w", newline="") as handle:
        writer = csv.writer(handle)
        writer.writerow(["patientId", "x", "y", "width", "height", "Target"])
        for row in rows:
            writer.writerow([Path(row["image"]).stem, *(row[k] for k in ("x", "y", "width", "height", "Target"))])
    return path


@pytest.mark.parametrize("to", [name for name, each in FORMATS.items() if each.write])
def test_no_format_loses_patients_and_splits(phantom, tmp_path, to):
    """RSNA's tables take every file for a patient of its own and know no split: images of one patient would part."""
    convert(phantom.root, tmp_path / "out", to=to)
    found = read_source(tmp_path / "out")
    assert {s.path.stem: s.patient for s in found} == {s.path.stem: s.patient for s in phantom}
    assert len({s.patient for s in found}) < len(found)
    if to != "nih":  # whose lists tell two splits
        assert {s.path.stem: s.split for s in found} == {s.path.stem: s.split for s in phantom}


@pytest.mark.parametrize(
    ("to", "name"),
    [
        ("yolo", "data.yaml"),
        ("coco", "annotations/instances_train.json"),
        ("rsna", "stage_2_train_labels.csv"),
        ("siim", "train_image_level.csv"),
        ("nih", "BBox_List_2017.csv"),
    ],
)
def test_a_file_of_the_data_set_tells_the_same_as_its_folder(phantom, tmp_path, to, name):
    convert(phantom.root, tmp_path / "out", to=to)
    all_of_it = {sample.path: sample for sample in read_source(tmp_path / "out")}
    found = read_source(tmp_path / "out" / name)
    assert len(found) > 6
    assert all(sample == all_of_it[sample.path] for sample in found)


def test_the_folder_of_a_csv_is_read_by_it(phantom, tmp_path):
    convert(phantom.root, tmp_path / "out", to="csv")
    assert read_source(tmp_path / "out") == read_csv(tmp_path / "out/pictures.csv")
    next((tmp_path / "out/images").rglob("*.jpeg")).unlink()
    with pytest.raises(DataError, match="1 of 18 images"):
        read_source(tmp_path / "out", strict=True)


@pytest.mark.parametrize("layout", ["rsna", "siim"])
def test_what_is_healthy_has_no_finding(tmp_path, layout):
    source = write_phantom(tmp_path / layout, images=18, size=64, layout=layout).root
    healthy = {"rsna": "Normal", "siim": "Negative for Pneumonia"}[layout]
    convert(source, tmp_path / "out", to="nih")
    before, after = read_source(source), read_source(tmp_path / "out")
    assert {s.path.stem for s in after if s.label == 0} == {
        s.path.stem for s in before if before.classes[s.label] == healthy
    }
    assert after.counts()["No Finding"] > 0


@pytest.mark.parametrize("to", ["rsna", "csv"])
def test_the_positive_class_stays_positive(tmp_path, to):
    source = write_phantom(tmp_path / "nih", images=12, size=64, layout="nih").root
    convert(source, tmp_path / "out", to=to)
    assert read_source(tmp_path / "out").classes == read_source(source).classes == ("No Finding", "Finding")


def test_films_of_12_bits_in_a_png_become_8_bits(tmp_path):
    for name in ("images", "labels"):
        (tmp_path / "in" / name).mkdir(parents=True)
    levels = np.tile(np.arange(0, 4096, 64, dtype=np.uint16), (40, 1))
    cv2.imwrite(str(tmp_path / "in/images/deep.png"), levels)
    cv2.imwrite(str(tmp_path / "in/images/colours.png"), np.dstack([levels] * 3))
    for name in ("deep", "colours"):
        (tmp_path / "in/labels" / f"{name}.txt").write_text("x 0 0 0 1 2 30 20" + " 0" * 7)
    for to in BOXES:
        assert convert(tmp_path / "in", tmp_path / to, to=to).decoded == 2
        for name in ("deep", "colours"):
            (written,) = (tmp_path / to).rglob(f"{name}.png")
            pixels = cv2.imread(str(written), cv2.IMREAD_UNCHANGED)  # as a program that knows nothing of depths
            assert (pixels.dtype, pixels.max()) == (np.uint8, read_grey(tmp_path / f"in/images/{name}.png").max())
            assert pixels.max() > 250
    assert convert(tmp_path / "in", tmp_path / "csv", to="csv").decoded == 0
    assert (tmp_path / "csv/images/deep.png").read_bytes() == (tmp_path / "in/images/deep.png").read_bytes()


def test_pixel_spacing_stays_and_names_go(tmp_path):
    source = write_phantom(tmp_path / "rsna", images=9, size=64, layout="rsna").root
    convert(source, tmp_path / "out", to="yolo")
    for sample in read_source(tmp_path / "out"):
        told = dict(sample.attributes)
        header = dcmread(source / "stage_2_train_images" / f"{sample.path.stem}.dcm")
        assert told["spacing"] == "\\".join(f"{float(mm):g}" for mm in header.PixelSpacing)
        assert (told["view"], told["sex"]) == (header.ViewPosition, header.PatientSex)
    assert b"Phantom^" not in (tmp_path / "out/pictures.csv").read_bytes()


def test_pictures_csv_tells_what_the_format_does_not(phantom, tmp_path):
    convert(phantom.root, tmp_path / "out", to="yolo")
    table = read_csv(tmp_path / "out/pictures.csv")
    assert table.classes == phantom.classes
    assert table.counts() == phantom.counts()
    assert {(s.path.stem, s.patient, s.split) for s in table} == {(s.path.stem, s.patient, s.split) for s in phantom}
    assert {dict(s.attributes)["source"] for s in table} == {phantom.name_of(s) for s in phantom}


@pytest.mark.parametrize("to", BOXES)
def test_names_that_meet_get_a_number(tmp_path, draw, to):
    """Of the same stem in two folders, in two suffixes, and with blanks, accents and 200 characters."""
    names = ["a/1.png", "b/1.png", "b/1.jpg", "b/1_2.png", f"c/{'n' * 200}.png", "c/é ü [1].png"]
    lines = {name: f"x 0 0 0 1 2 {10 + at} 20" + " 0" * 7 for at, name in enumerate(names)}
    for name, line in lines.items():
        draw(tmp_path / "in/images" / name)
        label = (tmp_path / "in/labels" / name).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text(line)
    made = convert(tmp_path / "in", tmp_path / "out", to=to)
    found = read_source(tmp_path / "out")
    assert (len(found), made.renamed) == (6, 2 if to in ("coco", "yolo") else 3)
    origin = {s.path.name: dict(s.attributes)["source"] for s in found}
    assert sorted(origin.values()) == sorted(names)
    written = {origin[s.path.name]: s.boxes[0].right for s in found}
    # b/1.png and b/1.jpg shared one label file already.
    assert written == {name: 12 if name == "b/1.png" else 10 + at for at, name in enumerate(names)}
    if to in ("coco", "yolo"):  # those keep folders, and the second of 1.jpg and 1.png takes the number of 1_2.png
        renamed = {"b/1.png": "b/1_2.png", "b/1_2.png": "b/1_2_2.png"}
        assert files(tmp_path / "out/images") == sorted(renamed.get(name, name) for name in names)


def test_nothing_is_written_outside_the_target(tmp_path, draw):
    draw(tmp_path / "elsewhere/a.png")
    (tmp_path / "in").mkdir()
    entry = {"id": 1, "file_name": "../elsewhere/a.png"}
    box = {"image_id": 1, "category_id": 1, "bbox": [1, 2, 3, 4]}
    categories = [{"id": 1, "name": "x"}]
    text = json.dumps({"images": [entry], "annotations": [box], "categories": categories})
    (tmp_path / "in/coco.json").write_text(text)
    before = files(tmp_path)
    for to in BOXES:
        convert(tmp_path / "in", tmp_path / "out" / to, to=to)
        with pytest.raises(DataError, match=r"elsewhere/a\.png is no file below"):
            convert(tmp_path / "in", tmp_path / "none" / to, to=to, pictures="none")
    assert [name for name in files(tmp_path) if not name.startswith("out/")] == before
    assert "out/coco/images/elsewhere/a.png" in files(tmp_path)


def test_what_not_every_reader_opens_becomes_png(tmp_path, draw):
    labels = tmp_path / "in/labels"
    labels.mkdir(parents=True)
    images = tmp_path / "in/images"
    levels = np.arange(60 * 40, dtype=np.uint8).reshape(40, 60)
    draw(images / "plain.png")
    cv2.imwrite(str(images / "deflated.tif"), levels)
    Image.fromarray(levels).save(images / "turned.jpg", exif=turned(), quality=95)
    for name in ("plain", "deflated", "turned"):
        (labels / f"{name}.txt").write_text("x 0 0 0 1 2 30 20" + " 0" * 7)
    made = convert(tmp_path / "in", tmp_path / "out", to="coco")
    assert made.decoded == 2
    assert files(tmp_path / "out/images") == ["deflated.png", "plain.png", "turned.png"]
    np.testing.assert_array_equal(read_grey(tmp_path / "out/images/deflated.png"), levels)
    turned_picture = read_grey(images / "turned.jpg")
    assert turned_picture.shape == (60, 40)
    np.testing.assert_array_equal(read_grey(tmp_path / "out/images/turned.png"), turned_picture)
    entries = json.loads((tmp_path / "out/annotations/instances.json").read_text())["images"]
    assert {entry["file_name"]: (entry["width"], entry["height"]) for entry in entries} == {
        "deflated.png": (60, 40),
        "plain.png": (60, 40),
        "turned.png": (40, 60),
    }


def turned() -> Image.Exif:
    exif = Image.Exif()
    exif[274] = 6
    return exif


@pytest.mark.parametrize(("to", "names"), [("yolo", ["images/a.png"]), ("rsna", ["stage_2_train_images/a.dcm"])])
def test_dicom_goes_where_its_readers_are(tmp_path, to, names):
    write_phantom(tmp_path / "phantom", images=6, size=64, dicom=True)
    source = tmp_path / "in/images/a.dcm"
    source.parent.mkdir(parents=True)
    next((tmp_path / "phantom/dicom").rglob("*.dcm")).rename(source)
    (tmp_path / "in/labels").mkdir()
    (tmp_path / "in/labels/a.txt").write_text("x 0 0 0 1 2 30 20" + " 0" * 7)
    made = convert(tmp_path / "in", tmp_path / "out", to=to)
    assert [name for name in files(tmp_path / "out") if "/a." in name and "label" not in name] == names
    assert made.decoded == (to == "yolo")
    np.testing.assert_array_equal(read_grey(tmp_path / "out" / names[0]), read_grey(source))


def test_prepared_data_and_its_boxes(phantom, told, tmp_path):
    prepare(phantom.root, tmp_path / "store", size=64)
    made = convert(tmp_path / "store", tmp_path / "out", to="kitti")
    assert made.decoded == 18
    for before, after in zip(by_stem(phantom), by_stem(read_source(tmp_path / "out")), strict=True):
        height, width = read_grey(before.path).shape
        small_height, small_width = read_grey(after.path).shape
        assert len(before.boxes) == len(after.boxes)
        for box, small in zip(before.boxes, after.boxes, strict=True):
            assert small.left / small_width == pytest.approx(box.left / width)
            assert small.bottom / small_height == pytest.approx(box.bottom / height)


def test_pictures_can_be_linked_or_left(coco, tmp_path, told):
    convert(coco, tmp_path / "linked", to="voc", pictures="link")
    assert (tmp_path / "linked/JPEGImages/a.png").samefile(coco / "images/train/a.png")
    for to in BOXES:
        made = convert(coco, tmp_path / f"none-{to}", to=to, pictures="none")
        assert made.pictures == 4
        assert not any(name.endswith((".png", ".jpg")) for name in files(tmp_path / f"none-{to}"))
        found = read_source(tmp_path / f"none-{to}", images=coco / "images")
        expected = told(read_source(coco))
        assert {n: (s, corners(b)) for n, (s, b) in told(found).items()} == {
            n: (s, pytest.approx(corners(b))) for n, (s, b) in expected.items()
        }


def test_annotations_alone_that_could_not_be_told_apart(tmp_path, draw):
    for name in ("a/1.png", "b/1.png"):
        draw(tmp_path / "in/images" / name)
        (tmp_path / "in/labels" / name).parent.mkdir(parents=True)
        (tmp_path / "in/labels" / name).with_suffix(".txt").write_text("x 0 0 0 1 2 30 20 0")
    convert(tmp_path / "in", tmp_path / "yolo", to="yolo", pictures="none")
    with pytest.raises(DataError, match=r"a/1\.png and b/1\.png of .* would have the same annotations in Pascal VOC"):
        convert(tmp_path / "in", tmp_path / "voc", to="voc", pictures="none")
    assert not (tmp_path / "voc").exists()


def test_a_csv(coco, phantom, tmp_path):
    made = convert(phantom.root, tmp_path / "set.csv", to="csv")
    assert made.pictures == 18
    assert read_csv(tmp_path / "set.csv").counts() == phantom.counts()
    with pytest.raises(DataError, match=r"set\.csv exists"):
        convert(coco, tmp_path / "set.csv", to="csv")
    convert(coco, tmp_path / "set.csv", to="csv", overwrite=True)
    assert len(read_csv(tmp_path / "set.csv")) == 4
    (tmp_path / "mine.csv").write_text("a,b\n1,2\n")
    with pytest.raises(DataError, match=r"mine\.csv holds something else"):
        convert(coco, tmp_path / "mine.csv", to="csv", overwrite=True)
    with pytest.raises(UsageError, match=r"--pictures copy needs a folder"):
        convert(coco, tmp_path / "new.csv", to="csv", pictures="copy")
    convert(coco, tmp_path / "folder", to="csv")
    assert len(read_csv(tmp_path / "folder/pictures.csv")) == 4


def test_pictures_that_cannot_be_read_are_left_out_and_told(coco, tmp_path, caplog):
    (coco / "images/train/a.png").write_bytes(b"")
    damaged = coco / "images/test/d.png"
    damaged.write_bytes(damaged.read_bytes()[:30] + b"\0" * 60 + damaged.read_bytes()[90:])
    made = convert(coco, tmp_path / "out", to="kitti")
    assert made.left_out["train/a.png"] == "empty"
    assert len(made.left_out) + made.pictures == 4
    assert "could not be read and are left out: train/a.png (empty)" in caplog.text


def test_classes_are_no_boxes(tiny, tmp_path):
    with pytest.raises(DataError, match=r"has classes but no boxes, and COCO is made of boxes\. Try --to csv"):
        convert(tiny, tmp_path / "out", to="coco")
    assert not (tmp_path / "out").exists()


def test_pictures_without_a_split_train_where_others_have_one(tmp_path, draw):
    for name in ("images/a.png", "images/test/b.png"):
        draw(tmp_path / "in" / name)
        label = (tmp_path / "in" / name.replace("images", "labels")).with_suffix(".txt")
        label.parent.mkdir(parents=True, exist_ok=True)
        label.write_text("x 0 0 0 1 2 30 20 0")
    assert [s.split for s in read_source(tmp_path / "in")] == [None, "test"]
    for to in BOXES:
        convert(tmp_path / "in", tmp_path / to, to=to)
        assert {s.path.stem: s.split for s in read_source(tmp_path / to)} == {"a": "train", "b": "test"}


def test_positives_without_boxes_are_told(tmp_path, draw, caplog):
    for name in ("NORMAL/a.png", "SICK/b.png", "SICK/c.png"):
        draw(tmp_path / "in" / name)
    (tmp_path / "in/labels").mkdir()
    (tmp_path / "in/labels/b.txt").write_text("x 0 0 0 1 2 30 20 0")
    convert(tmp_path / "in", tmp_path / "out", to="kitti")
    assert "1 pictures of class SICK have no box and are written as negatives." in caplog.text


def test_what_is_there_stays(coco, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("mine")
    for overwrite in (False, True):
        with pytest.raises(DataError, match=r"out holds something else, such as thesis\.txt"):
            convert(coco, out, to="kitti", overwrite=overwrite)
    (out / "thesis.txt").unlink()
    convert(coco, out, to="kitti")
    with pytest.raises(DataError, match="holds an earlier conversion"):
        convert(coco, out, to="yolo")
    convert(coco, out, to="yolo", overwrite=True)
    assert read_source(out).source == "yolo"
    assert not (out / "labels/test/d.txt").read_text().startswith("opacity")
    (out / "notes").mkdir()
    with pytest.raises(DataError, match="such as notes"):
        convert(coco, out, to="yolo", overwrite=True)


def test_source_and_target_stay_apart(coco, tmp_path):
    with pytest.raises(DataError, match=r"lies inside .*in\. Name a new folder outside it"):
        convert(coco, coco / "kitti", to="kitti")
    for target in (coco, coco.parent):
        with pytest.raises(DataError, match="is what is to be converted, or holds it"):
            convert(coco, target, to="kitti", overwrite=True)
    with pytest.raises(DataError, match="There is no file or folder"):
        convert(tmp_path / "nothing", tmp_path / "out", to="kitti")


def test_a_stop_leaves_nothing_that_looks_finished(coco, tmp_path):
    def stop(done: int, total: int) -> None:
        if done == 2:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        convert(coco, tmp_path / "out", to="kitti", progress=stop)
    assert not (tmp_path / "out").exists()
    (tmp_path / ".out.converting/images").mkdir(parents=True)  # as a kill leaves it
    convert(coco, tmp_path / "out", to="kitti")
    assert len(read_source(tmp_path / "out")) == 4
    assert [path.name for path in tmp_path.glob(".*")] == []


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(coco, tmp_path):
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o500)
    with pytest.raises(XrayclsError, match=r"closed/out could not be written: Permission denied"):
        convert(coco, closed / "out", to="kitti")


def test_what_was_there_comes_back_when_the_last_step_fails(coco, tmp_path, monkeypatch):
    out = tmp_path / "out"
    convert(coco, out, to="kitti")
    before = files(out)
    rename = Path.rename

    def stop(self: Path, target: Path) -> Path:
        if self.name == ".out.converting":
            raise KeyboardInterrupt
        return rename(self, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(KeyboardInterrupt):
        convert(coco, out, to="yolo", overwrite=True)
    assert files(out) == before
    assert [path.name for path in tmp_path.glob(".*")] == []


def test_a_full_disk_leaves_nothing(coco, tmp_path, monkeypatch):
    def full(self: Path, *_: object, **__: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(XrayclsError, match="disk is full"):
        convert(coco, tmp_path / "out", to="kitti")
    monkeypatch.undo()
    assert files(tmp_path) == files_of(coco, tmp_path)


def files_of(folder: Path, root: Path) -> list[str]:
    return sorted(path.relative_to(root).as_posix() for path in folder.rglob("*") if path.is_file())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"to": "cocos"}, r"Unknown format 'cocos' for --to\. Did you mean coco"),
        ({"to": "kitti", "read_as": "voc2"}, "Unknown format 'voc2' for --from"),
        ({"to": "kitti", "pictures": "move"}, "for --pictures"),
    ],
)
def test_unknown_names(coco, tmp_path, arguments, message):
    with pytest.raises(UsageError, match=message):
        convert(coco, tmp_path / "out", **arguments)


def test_the_format_can_be_named(coco, tmp_path):
    convert(coco, tmp_path / "kitti", to="KITTI", read_as="COCO")
    with pytest.raises(DataError, match=r"holds no Pascal VOC annotations"):
        convert(coco, tmp_path / "out", to="kitti", read_as="voc")


@pytest.mark.parametrize("source", ["kitti", "voc"])
def test_boxes_whose_edges_are_exchanged_are_counted_and_left_out(tmp_path, caplog, source):
    folder = tmp_path / "in"
    (folder / "images").mkdir(parents=True)
    cv2.imwrite(str(folder / "images" / "a.png"), np.full((80, 100), 90, np.uint8))
    good, wrong = (10, 20, 40, 60), (70, 20, 50, 60)
    if source == "kitti":
        lines = [f"opacity 0 0 0 {' '.join(map(str, box))} 0 0 0 0 0 0 0\n" for box in (good, wrong)]
        written = {"labels/a.txt": "".join(lines)}
    else:
        tags = ("xmin", "ymin", "xmax", "ymax")
        sides = ["".join(f"<{tag}>{at}</{tag}>" for tag, at in zip(tags, box, strict=True)) for box in (good, wrong)]
        objects = "".join(f"<object><name>opacity</name><bndbox>{each}</bndbox></object>" for each in sides)
        written = {"Annotations/a.xml": f"<annotation>{objects}</annotation>"}
    for name, text in written.items():
        (folder / name).parent.mkdir()
        (folder / name).write_text(text)
    made = convert(folder, tmp_path / "out", to="coco", read_as=source)
    assert made.boxes == {"opacity": 1}
    assert "1 boxes whose right or lower edge comes first are left out, of a.png" in caplog.text
