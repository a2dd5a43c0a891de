import logging
from collections import Counter
from pathlib import Path

import pytest

from xraycls.data.folder import IMAGE_SUFFIXES, image_files, read_folder
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError


def make(root: Path, *names: str) -> Path:
    for name in names:
        path = root / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    return root


def listed(table: SampleTable, below: Path) -> list[tuple[str, str, str | None]]:
    return [
        (s.path.relative_to(below).as_posix(), table.classes[s.label], s.split) for s in table if s.label is not None
    ]


def test_without_a_split_level(tmp_path):
    make(tmp_path, "PNEUMONIA/b.jpeg", "PNEUMONIA/a.JPEG", "NORMAL/c.png", "notes.txt", "NORMAL/Thumbs.db")
    table = read_folder(tmp_path)
    assert table.classes == ("NORMAL", "PNEUMONIA")
    assert listed(table, tmp_path) == [
        ("NORMAL/c.png", "NORMAL", None),
        ("PNEUMONIA/a.JPEG", "PNEUMONIA", None),
        ("PNEUMONIA/b.jpeg", "PNEUMONIA", None),
    ]
    assert (table.root, table.source) == (tmp_path, "folder")


def test_classes_are_the_union_over_splits_and_folders_beside_them_are_ignored(tmp_path):
    make(tmp_path, "train/A/1.png", "train/C/1.png", "test/A/1.png", "test/B/1.png", "labels/D/1.png", "dicom/x.dcm")
    table = read_folder(tmp_path)
    assert table.classes == ("A", "B", "C")
    assert {(name, split) for _, name, split in listed(table, tmp_path)} == {
        ("A", "train"),
        ("C", "train"),
        ("A", "test"),
        ("B", "test"),
    }


@pytest.mark.parametrize(
    ("name", "split"),
    [("TRAIN", "train"), ("Training", "train"), ("valid", "val"), ("Validation", "val"), ("Testing", "test")],
)
def test_split_folders_go_by_their_usual_names_in_any_case(tmp_path, name, split):
    make(tmp_path, f"{name}/A/1.png")
    assert read_folder(tmp_path)[0].split == split == split_named(name)


def test_of_two_classes_the_second_is_the_positive_one(tmp_path):
    make(tmp_path, "COVID/1.png", "Normal/1.png")
    assert read_folder(tmp_path).classes == ("Normal", "COVID")


def test_wrapping_folders_of_an_archive_are_passed_through(tmp_path):
    wrapped = tmp_path / "chest_xray" / "chest_xray"
    make(wrapped, "train/NORMAL/1.png", "train/PNEUMONIA/._1.png", "train/PNEUMONIA/2.png", ".DS_Store")
    make(tmp_path / "__MACOSX", "chest_xray/train/NORMAL/1.png")
    assert listed(read_folder(tmp_path), wrapped) == [
        ("train/NORMAL/1.png", "NORMAL", "train"),
        ("train/PNEUMONIA/2.png", "PNEUMONIA", "train"),
    ]


def test_an_archive_that_repeats_itself_inside_is_read_once(tmp_path):
    make(tmp_path, "train/A/1.png", "chest_xray/train/A/1.png")
    assert len(read_folder(tmp_path)) == 1


def test_one_class_folder_is_not_taken_for_a_wrapper(tmp_path):
    make(tmp_path, "NORMAL/1.png", "NORMAL/2.png")
    assert read_folder(tmp_path).classes == ("NORMAL",)


def test_one_split_folder_is_not_taken_for_a_wrapper(tmp_path):
    make(tmp_path, "test/A/1.png", "test/B/1.png")
    assert read_folder(tmp_path).splits == ("test",)


def test_folders_below_a_class_belong_to_it(tmp_path):
    make(tmp_path, "A/0.png", "A/patient1/study/1.png", "B/1.png")
    assert [name for _, name, _ in listed(read_folder(tmp_path), tmp_path)] == ["A", "A", "B"]


def test_links_are_followed_but_never_in_circles(tmp_path):
    make(tmp_path / "elsewhere", "3.png")
    make(tmp_path / "data", "A/1.png", "A/deep/2.png", "B/1.png")
    (tmp_path / "data/A/up").symlink_to(tmp_path / "data", target_is_directory=True)
    (tmp_path / "data/A/deep/self").symlink_to(tmp_path / "data/A", target_is_directory=True)
    (tmp_path / "data/A/broken.png").symlink_to(tmp_path / "nowhere.png")
    (tmp_path / "data/A/itself.png").symlink_to(tmp_path / "data/A/itself.png")
    (tmp_path / "data/B/more").symlink_to(tmp_path / "elsewhere", target_is_directory=True)
    names = [name for name, _, _ in listed(read_folder(tmp_path / "data"), tmp_path / "data")]
    # A broken link is a file that can't be read, so it is listed and told about when files are checked.
    assert names == ["A/1.png", "A/broken.png", "A/itself.png", "A/deep/2.png", "B/1.png", "B/more/3.png"]


def test_two_folders_that_link_to_each_other_end(tmp_path):
    make(tmp_path, "a/1.png", "b/2.png")
    (tmp_path / "a/to_b").symlink_to(tmp_path / "b", target_is_directory=True)
    (tmp_path / "b/to_a").symlink_to(tmp_path / "a", target_is_directory=True)
    assert Counter(path.name for path in image_files(tmp_path)) == {"1.png": 2, "2.png": 2}


def test_every_suffix_that_opencv_writes_is_an_image():
    cv2 = pytest.importorskip("cv2")
    candidates = ("jpg", "jpeg", "jpe", "jp2", "png", "bmp", "dib", "tif", "tiff", "webp", "avif", "gif")
    candidates += ("pgm", "ppm", "pnm", "pbm", "pfm", "sr", "ras")
    written = {f".{suffix}" for suffix in candidates if cv2.haveImageWriter(f"a.{suffix}")}
    assert written <= IMAGE_SUFFIXES


def test_stray_images_and_empty_class_folders_are_told(tmp_path, caplog):
    make(tmp_path, "A/1.png", "B/1.png", "cover.png")
    (tmp_path / "C").mkdir()
    with caplog.at_level(logging.WARNING):
        assert read_folder(tmp_path).classes == ("A", "B")
    assert "1 images of" in caplog.text
    assert "The folders C of" in caplog.text


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ([], r"holds no images\. Looked for \.avif, .*\.tiff"),
        (["A/notes.txt"], "holds no images"),
        (["1.png", "2.png"], "The 2 images of .* lie in it directly"),
        (["train/1.png", "test/A/2.png"], "The 1 images of .*train lie in it directly"),
        (["train/A/1.png", "test/A/notes.txt"], "test holds no images"),
    ],
)
def test_folders_that_cannot_be_used(tmp_path, names, message):
    make(tmp_path, *names)
    with pytest.raises(DataError, match=message):
        read_folder(tmp_path)


def test_no_folder_and_a_file(tmp_path):
    make(tmp_path, "file.png")
    with pytest.raises(DataError, match=r"nowhere does not exist\.$"):
        read_folder(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"file\.png is a file, not a folder"):
        read_folder(tmp_path / "file.png")


@pytest.mark.walkthrough
def test_the_paediatric_set(shared):
    table = read_folder(shared / "data/kermany_224")
    assert {split: tuple(table.split(split).counts().values()) for split in table.splits} == {
        "train": (1341, 3875),
        "val": (8, 8),
        "test": (234, 390),
    }
    assert read_folder(shared / "data/kermany_native").counts() == {"NORMAL": 60, "PNEUMONIA": 60}


def test_class_folders_that_differ_in_case_are_one_class(tmp_path, caplog):
    make(tmp_path, "train/Normal/1.png", "train/Normal/2.png", "test/NORMAL/3.png", "test/OTHER/4.png")
    with caplog.at_level(logging.WARNING):
        table = read_folder(tmp_path)
    assert table.counts() == {"Normal": 3, "OTHER": 1}
    assert "all count as Normal" in caplog.text
