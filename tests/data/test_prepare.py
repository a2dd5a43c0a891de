import json
import logging
import os
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image

from xraycls.data import partial_store
from xraycls.data import prepare as preparing
from xraycls.data.open import open_image, read_grey
from xraycls.data.phantom import write_phantom
from xraycls.data.prepare import prepare
from xraycls.data.source import read_table
from xraycls.data.square import central_region, prepared_picture
from xraycls.data.store import read_store, stored_pixels
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.types import Box, Sample

SIZE = 24


@pytest.fixture
def source(tmp_path, draw_folder) -> Path:
    """An image folder of 12 pictures of different sizes."""
    root = draw_folder(tmp_path / "source", {"train": 4, "test": 2})
    for number, path in enumerate(sorted(root.rglob("*.jpeg"))):
        cv2.imwrite(str(path), cv2.resize(read_grey(path), (30 + 7 * number, 90 - 5 * number)))
    return root


@pytest.fixture
def decoded(monkeypatch) -> list[str]:
    """The names of the files that are decoded."""
    names: list[str] = []
    for opens in ("open_image", "open_file"):
        original = getattr(preparing, opens)
        spy = lambda sample, *rest, original=original: names.append(sample.path.name) or original(sample, *rest)  # noqa: E731
        monkeypatch.setattr(preparing, opens, spy)
    return names


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory) -> list[Image.Image]:
    folder = tmp_path_factory.mktemp("phantom")
    write_phantom(folder, images=6, size=512)
    return [Image.open(sample.path).convert("L") for sample in read_table(folder)][:3]


def contents(store: Path) -> tuple[np.ndarray, dict]:
    assert {p.name for p in store.iterdir()} == {"pixels.npy", "store.json"}
    return np.load(store / "pixels.npy"), json.loads((store / "store.json").read_text())


def same(first: Path, second: Path) -> bool:
    (pixels, described), (others, description) = contents(first), contents(second)
    return np.array_equal(pixels, others) and described == description


def test_a_store_holds_every_picture_as_prepared_picture_gives_it(source, tmp_path):
    told: list[tuple[int, int]] = []
    made = prepare(source, tmp_path / "store", size=SIZE, threads=2, progress=lambda *n: told.append(n))
    pixels, _ = contents(tmp_path / "store")
    table = read_table(source)
    assert (made.pictures, made.decoded, made.is_new, made.left_out) == (12, 12, True, {})
    assert made.bytes == sum(p.stat().st_size for p in (tmp_path / "store").iterdir())
    assert (pixels.dtype, pixels.shape, pixels.flags.c_contiguous) == (np.uint8, (12, SIZE, SIZE), True)
    for sample, picture in zip(table, pixels, strict=True):
        assert np.array_equal(picture, prepared_picture(open_image(sample), SIZE))
    assert told[-1] == (12, 12)


def test_the_number_of_threads_changes_nothing(source, tmp_path):
    prepare(source, tmp_path / "one", size=SIZE, threads=1)
    prepare(source, tmp_path / "many", size=SIZE, threads=5)
    assert same(tmp_path / "one", tmp_path / "many")


def test_again_nothing_is_decoded_or_written(source, tmp_path, decoded):
    prepare(source, tmp_path / "store", size=SIZE)
    before = {p: p.stat().st_mtime_ns for p in (tmp_path / "store").iterdir()}
    decoded.clear()
    again = prepare(source, tmp_path / "store", size=SIZE)
    assert (again.pictures, again.decoded, again.is_new) == (12, 0, False)
    assert decoded == []
    assert {p: p.stat().st_mtime_ns for p in (tmp_path / "store").iterdir()} == before


def test_changed_new_and_removed_files_are_noticed(source, tmp_path, decoded):
    prepare(source, tmp_path / "store", size=SIZE)
    decoded.clear()
    cv2.imwrite(str(source / "train/NORMAL/train-NORMAL-0.jpeg"), np.full((50, 50), 77, np.uint8))
    cv2.imwrite(str(source / "train/NORMAL/another.jpeg"), np.full((50, 50), 99, np.uint8))
    (source / "test/NORMAL/test-NORMAL-0.jpeg").unlink()
    made = prepare(source, tmp_path / "store", size=SIZE)
    assert (made.pictures, made.decoded, made.is_new) == (12, 2, True)
    assert sorted(decoded) == ["another.jpeg", "train-NORMAL-0.jpeg"]
    prepare(source, tmp_path / "fresh", size=SIZE)
    assert same(tmp_path / "store", tmp_path / "fresh")


def test_a_file_only_touched_is_not_decoded_again(source, tmp_path, decoded):
    prepare(source, tmp_path / "store", size=SIZE)
    decoded.clear()
    os.utime(source / "train/NORMAL/train-NORMAL-0.jpeg", ns=(1, 1))
    assert prepare(source, tmp_path / "store", size=SIZE).is_new
    assert decoded == []
    assert not prepare(source, tmp_path / "store", size=SIZE).is_new


def test_verify_finds_a_change_that_size_and_time_hide(source, tmp_path):
    prepare(source, tmp_path / "store", size=SIZE)
    path = source / "train/NORMAL/train-NORMAL-0.jpeg"
    before, content = path.stat(), bytearray(path.read_bytes())
    content[-20] ^= 1
    path.write_bytes(content)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    assert prepare(source, tmp_path / "store", size=SIZE).decoded == 0
    assert prepare(source, tmp_path / "store", size=SIZE, verify=True).decoded == 1


def test_damaged_pixels_are_noticed_and_mended(source, tmp_path):
    prepare(source, tmp_path / "store", size=SIZE)
    shutil.copytree(tmp_path / "store", tmp_path / "good")
    with (tmp_path / "store/pixels.npy").open("r+b") as handle:
        handle.seek(-5, os.SEEK_END)
        handle.write(b"\xaa\x55")
    assert prepare(source, tmp_path / "store", size=SIZE).decoded == 1
    assert same(tmp_path / "store", tmp_path / "good")


@pytest.mark.parametrize("damage", [{"format": 99}, {"pictures": {}}, None], ids=["version", "columns", "cut short"])
def test_a_store_that_cannot_be_opened_is_prepared_again(source, tmp_path, damage, caplog):
    prepare(source, tmp_path / "store", size=SIZE)
    shutil.copytree(tmp_path / "store", tmp_path / "good")
    if damage is None:
        os.truncate(tmp_path / "store/pixels.npy", 1_000)
    else:
        described = json.loads((tmp_path / "store/store.json").read_text())
        (tmp_path / "store/store.json").write_text(json.dumps(described | damage))
    assert prepare(source, tmp_path / "store", size=SIZE).decoded == 12
    assert "all of it is prepared again" in caplog.text
    assert same(tmp_path / "store", tmp_path / "good")


def test_other_labels_alone_need_no_decoding(source, tmp_path, decoded):
    prepare(source, tmp_path / "store", size=SIZE)
    decoded.clear()
    (source / "train/NORMAL").rename(source / "train/HEALTHY")
    (source / "test/NORMAL").rename(source / "test/HEALTHY")
    prepare(source, tmp_path / "store", size=SIZE)
    assert read_store(tmp_path / "store").classes == ("HEALTHY", "PNEUMONIA")
    csv = tmp_path / "labels.csv"
    files = [p.relative_to(source).as_posix() for p in sorted(source.rglob("*.jpeg"))]
    csv.write_text("path,label\n" + "".join(f"{f},a\n" for f in files))
    prepare(csv, tmp_path / "of_csv", size=SIZE, images=source)
    decoded.clear()
    csv.write_text("path,label,patient\n" + "".join(f"{f},{'ab'[i % 2]},p{i}\n" for i, f in enumerate(files)))
    made = prepare(csv, tmp_path / "of_csv", size=SIZE, images=source)
    assert (made.is_new, decoded) == (True, [])
    table = read_store(tmp_path / "of_csv")
    assert (table.classes, [s.label for s in table][:3], table[3].patient) == (("a", "b"), [0, 1, 0], "p3")


KILLED = """
import os, signal, sys
from pathlib import Path
from xraycls.data.prepare import prepare
signal.signal(signal.SIGINT, signal.default_int_handler)  # a background job inherits one that is ignored
def progress(done, total):
    if done == {at}:
        os.kill(os.getpid(), signal.{signal})
prepare(Path(sys.argv[1]), Path(sys.argv[2]), size={size}, threads=2, progress=progress)
"""


@pytest.mark.parametrize("name", ["SIGKILL", "SIGINT"])
def test_a_killed_run_goes_on_where_it_stopped(source, tmp_path, decoded, name):
    (source / "train/NORMAL/bad.png").write_bytes(b"\x89PNG\r\n\x1a\n, but no more IEND\xaeB`\x82")
    code = KILLED.format(at=8, size=SIZE, signal=name)
    # The check of all files reports its progress too, with 13 files, so the eighth picture counts after it.
    code = code.replace(
        "def progress(done, total):\n", "seen = []\ndef progress(done, total):\n    seen.append(done)\n"
    )
    code = code.replace("done == 8", "done == 8 and seen.count(8) == 2")
    done = subprocess.run([sys.executable, "-c", code, source, tmp_path / "store"], capture_output=True, check=False)
    assert done.returncode == -getattr(signal, name), done.stderr
    assert not (tmp_path / "store/store.json").exists()
    with pytest.raises(DataError, match=r"is not prepared to the end: .* Prepare it again with: xraycls data prepare"):
        read_table(tmp_path / "store")
    made = prepare(source, tmp_path / "store", size=SIZE)
    assert made.pictures == 12
    assert made.decoded < 8
    assert len(decoded) == made.decoded + 1, "the damaged file is tried again, pictures that are done are not"
    prepare(source, tmp_path / "fresh", size=SIZE)
    assert same(tmp_path / "store", tmp_path / "fresh")


@pytest.mark.parametrize("journal", ["cut", "garbage", "absent"])
def test_what_a_kill_leaves_of_the_journal_is_enough(source, tmp_path, monkeypatch, journal):
    prepare(source, tmp_path / "good", size=SIZE)
    with monkeypatch.context() as patch:
        patch.setattr(partial_store.PartialStore, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(source, tmp_path / "store", size=SIZE)
    path = tmp_path / "store/journal.jsonl"
    text = path.read_text()
    path.write_text({"cut": text[:-30], "garbage": text + '[0, "\n[]\n7\n', "absent": ""}[journal])
    made = prepare(source, tmp_path / "store", size=SIZE)
    assert made.decoded == {"cut": 1, "garbage": 0, "absent": 12}[journal]
    assert same(tmp_path / "store", tmp_path / "good")


def test_a_partial_store_with_other_settings_or_sources_is_not_gone_on_with(source, tmp_path, monkeypatch):
    def stopped(**settings):
        with monkeypatch.context() as patch:
            patch.setattr(partial_store.PartialStore, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                prepare(source, tmp_path / "store", **settings)

    stopped(size=SIZE)
    stopped(size=SIZE + 8)
    stopped(size=SIZE + 8, central_crop=0.5)
    cv2.imwrite(str(source / "train/NORMAL/train-NORMAL-0.jpeg"), np.full((50, 50), 77, np.uint8))
    assert prepare(source, tmp_path / "store", size=SIZE + 8, central_crop=0.5).decoded == 1
    prepare(source, tmp_path / "fresh", size=SIZE + 8, central_crop=0.5)
    assert same(tmp_path / "store", tmp_path / "fresh")


def test_a_kill_between_pixels_and_description_costs_nothing(source, tmp_path, monkeypatch):
    for changed in (False, True):  # a new store, and one that is brought up to date
        if changed:
            (source / "train/NORMAL/train-NORMAL-1.jpeg").unlink()
        with monkeypatch.context() as patch:
            patch.setattr(preparing, "atomic_write", lambda _: (_ for _ in ()).throw(KeyboardInterrupt))
            with pytest.raises(KeyboardInterrupt):
                prepare(source, tmp_path / "store", size=SIZE)
        assert not (tmp_path / "store/store.json").exists()
        assert prepare(source, tmp_path / "store", size=SIZE).decoded == 0
        prepare(source, tmp_path / f"fresh{changed}", size=SIZE)
        assert same(tmp_path / "store", tmp_path / f"fresh{changed}")


def test_the_old_store_serves_until_the_new_one_is_complete(source, tmp_path, monkeypatch):
    prepare(source, tmp_path / "store", size=SIZE)
    before = read_table(tmp_path / "store").fingerprint()
    cv2.imwrite(str(source / "train/NORMAL/another.jpeg"), np.full((50, 50), 99, np.uint8))
    with monkeypatch.context() as patch:
        patch.setattr(partial_store.PartialStore, "finish", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            prepare(source, tmp_path / "store", size=SIZE)
    assert read_table(tmp_path / "store").fingerprint() == before
    assert prepare(source, tmp_path / "store", size=SIZE).decoded == 0
    assert len(read_table(tmp_path / "store")) == 13


def test_pixels_that_do_not_reach_the_disk_are_found(source, tmp_path, monkeypatch):
    original = partial_store.PartialStore._write

    def failing(self, index, pixels):
        original(self, index, bytes(len(pixels)) if index == 5 else pixels)

    with monkeypatch.context() as patch:
        patch.setattr(partial_store.PartialStore, "_write", failing)
        with pytest.raises(DataError, match=r"1 of 12 pictures in .* read back other than they were written"):
            prepare(source, tmp_path / "store", size=SIZE)
    assert not (tmp_path / "store/store.json").exists()
    assert prepare(source, tmp_path / "store", size=SIZE).decoded == 1


def test_a_full_disk_is_one_sentence_and_loses_nothing(source, tmp_path, monkeypatch):
    original = partial_store.PartialStore.put

    def full(self, index, row, picture):
        if len(self.rows) == 7:
            raise OSError(28, "No space left on device")
        original(self, index, row, picture)

    with monkeypatch.context() as patch:
        patch.setattr(partial_store.PartialStore, "put", full)
        with pytest.raises(XrayclsError, match=r"could not be written: No space left on device\. When that is mended"):
            prepare(source, tmp_path / "store", size=SIZE)
    assert prepare(source, tmp_path / "store", size=SIZE).decoded == 5


def spoil(source: Path) -> list[str]:
    """Add files that can't be read, before, among and after good ones; the last only shows when it is decoded."""
    bad = {
        "test/NORMAL/a.jpeg": b"",
        "train/NORMAL/train-NORMAL-15.png": b"text",
        "train/PNEUMONIA/z.png": b"\x89PNG\r\n\x1a\n, but no more IEND\xaeB`\x82",
    }
    for name, content in bad.items():
        (source / name).write_bytes(content)
    return list(bad)


def test_files_that_cannot_be_read_are_left_out_counted_and_named(source, tmp_path, caplog):
    prepare(source, tmp_path / "good", size=SIZE)
    names = spoil(source)
    with caplog.at_level(logging.WARNING):
        made = prepare(source, tmp_path / "store", size=SIZE, threads=2)
    assert (made.pictures, list(made.left_out)) == (12, names)
    assert "3 of 15 images could not be read and are left out: test/NORMAL/a.jpeg (empty), " in caplog.text
    assert "train/PNEUMONIA/z.png (is not an image that OpenCV can read" in caplog.text
    assert same(tmp_path / "store", tmp_path / "good")
    again = prepare(source, tmp_path / "store", size=SIZE)
    assert (again.is_new, list(again.left_out)) == (False, names)
    shutil.copyfile(source / "test/NORMAL/test-NORMAL-1.jpeg", source / names[0])
    assert prepare(source, tmp_path / "store", size=SIZE).pictures == 13


def test_strict_stops_at_a_file_that_cannot_be_read(source, tmp_path):
    names = spoil(source)
    with pytest.raises(DataError, match=r"a\.jpeg \(empty\)"):
        prepare(source, tmp_path / "store", size=SIZE, strict=True)
    for name in names[:2]:
        (source / name).unlink()
    with pytest.raises(DataError, match=r"train/PNEUMONIA/z\.png is not an image"):
        prepare(source, tmp_path / "store", size=SIZE, strict=True)
    assert not (tmp_path / "store/store.json").exists()


def test_no_picture_at_all_is_an_error(tmp_path):
    (tmp_path / "source/A").mkdir(parents=True)
    (tmp_path / "source/A/a.png").write_bytes(b"text")
    with pytest.raises(DataError, match=r"No image of .* could be read"):
        prepare(tmp_path / "source", tmp_path / "store", size=SIZE)


def test_folders_that_are_not_ours_are_left_alone(source, tmp_path):
    (tmp_path / "file").touch()
    (tmp_path / "other").mkdir()
    (tmp_path / "other/thesis.docx").touch()
    for folder, words in {
        tmp_path / "file": "is a file",
        tmp_path / "other": r"holds something else, such as thesis\.docx",
        source: "holds something else, such as test",
        source / "prepared": "lies inside",
    }.items():
        with pytest.raises(DataError, match=words):
            prepare(source, folder, size=SIZE)
    assert [p.name for p in (tmp_path / "other").iterdir()] == ["thesis.docx"]
    prepare(source, tmp_path / "store", size=SIZE)
    with pytest.raises(DataError, match=r"holds other prepared data: .*source with --size 24\. Choose another folder"):
        prepare(source, tmp_path / "store", size=SIZE + 1)
    with pytest.raises(DataError, match="holds other prepared data"):
        prepare(source / "train", tmp_path / "store", size=SIZE)
    with pytest.raises(DataError, match="is prepared data itself"):
        prepare(tmp_path / "store", tmp_path / "again", size=SIZE)


def test_settings_out_of_range(source, tmp_path):
    for settings, words in (
        ({"size": 7}, "--size 7"),
        ({"central_crop": 0.0}, "--central-crop 0"),
        ({"central_crop": 1.1}, "--central-crop 1.1"),
        ({"images": tmp_path}, "--images goes with a CSV"),
    ):
        with pytest.raises(UsageError, match=words):
            prepare(source, tmp_path / "store", **settings)


def test_rows_of_an_archive(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (10, 28, 28), dtype=np.uint8)
    archive = tmp_path / "set.npz"
    np.savez(
        archive, train_images=images[:6], train_labels=np.arange(6) % 2, test_images=images[6:], test_labels=[0] * 4
    )
    prepare(archive, tmp_path / "store", size=28)
    assert np.array_equal(stored_pixels(tmp_path / "store/pixels.npy"), images)
    assert read_store(tmp_path / "store")[7].member == "test_images[1]"
    assert not prepare(archive, tmp_path / "store", size=28).is_new
    np.savez(archive, train_images=images, train_labels=np.arange(10) % 2)
    with pytest.raises(DataError, match=r"1 of 1 files changed since .* prepared from them: set\.npz"):
        read_table(tmp_path / "store")
    assert prepare(archive, tmp_path / "store", size=28).decoded == 10


def test_boxes_move_with_the_crop(tmp_path, monkeypatch):
    (tmp_path / "source/A").mkdir(parents=True)
    Image.new("L", (100, 80)).save(tmp_path / "source/A/a.png")
    table = read_table(tmp_path / "source")
    boxes = (Box("a", 0, 0, 15, 80), Box("b", 30, 40.5, 60, 50), Box("gone", 0, 0, 9, 9))
    monkeypatch.setattr(preparing, "read_source", lambda *_, **__: table.with_samples([replace(table[0], boxes=boxes)]))
    prepare(tmp_path / "source", tmp_path / "store", size=SIZE, central_crop=0.8)
    (sample,) = read_table(tmp_path / "store")
    assert sample.boxes == (Box("a", 0, 0, 5, 64), Box("b", 20, 32.5, 50, 42))
    image = open_image(sample)
    assert (image.width, image.height, image.grid) == (80, 64, (SIZE / 80, SIZE / 64))


def test_the_middle_of_an_image():
    assert central_region(1000, 500, None) == (0, 0, 1000, 500)
    assert central_region(1000, 500, 1.0) == (0, 0, 1000, 500)
    assert central_region(1000, 501, 0.5) == (250, 125, 500, 250)
    assert central_region(1, 1, 0.1) == (0, 0, 1, 1)


@pytest.mark.parametrize("suffix", [".jpg", ".png"])
@pytest.mark.parametrize("factor", [2, 4, 7, 8, 16])
def test_phantoms_are_squashed_as_pillow_does(phantoms, tmp_path, suffix, factor):
    path = tmp_path / f"a{suffix}"
    for phantom in phantoms:
        phantom.crop((0, 0, 448, 448)).save(path, quality=90)
        expected = np.asarray(Image.open(path).convert("L").reduce(factor), dtype=float)
        picture = prepared_picture(open_image(Sample(path)), 448 // factor)
        assert np.abs(picture - expected).mean() < 1.0


@pytest.mark.parametrize("size", [224, 320])
@pytest.mark.parametrize("crop", [None, 0.9])
def test_real_radiographs_are_squashed_as_pillow_does(shared, size, crop):
    files = sorted((shared / "data/kermany_native").rglob("*.jpeg"))[::12]
    assert len(files) >= 8
    differences = []
    for path in files:
        whole = Image.open(path).convert("L")
        left, top, width, height = central_region(*whole.size, crop)
        expected = whole.resize((size, size), Image.Resampling.BOX, box=(left, top, left + width, top + height))
        found = prepared_picture(open_image(Sample(path)), size, crop)
        differences.append(np.abs(found - np.asarray(expected, dtype=float)).mean())
    assert max(differences) < 1.0


def test_an_image_smaller_than_the_square_is_enlarged(tmp_path):
    path = tmp_path / "small.png"
    levels = np.arange(12, dtype=np.uint8).reshape(3, 4) * 20
    Image.fromarray(levels).save(path)
    expected = np.asarray(Image.open(path).resize((16, 16), Image.Resampling.BILINEAR), dtype=float)
    assert np.abs(prepared_picture(open_image(Sample(path)), 16) - expected).max() <= 1


def test_a_stored_picture_can_be_squashed_again(source, tmp_path):
    prepare(source, tmp_path / "store", size=64)
    sample = read_table(tmp_path / "store")[0]
    picture = prepared_picture(open_image(sample), 16)
    expected = np.asarray(Image.fromarray(open_image(sample).decode(1)).reduce(4), dtype=float)
    assert np.abs(picture - expected).max() <= 1
