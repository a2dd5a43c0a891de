import json
import logging
import os
import pickle
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from xraycls.data import duplicates
from xraycls.data.duplicates import duplicates_across_splits
from xraycls.data.open import open_image, read_grey
from xraycls.data.pictures import list_images
from xraycls.data.prepare import prepare
from xraycls.data.source import load_table, read_table
from xraycls.data.split import draw_splits
from xraycls.data.store import is_store, read_store, stored_pixels, stored_sizes
from xraycls.data.verify import find_unreadable
from xraycls.errors import DataError

SIZE = 24


def draw(root: Path, counts: dict[str, int], patients: int | None = None) -> Path:
    """Random pictures; several share a patient when there are patients."""
    rng = np.random.default_rng(0)
    for folder, count in counts.items():
        (root / folder).mkdir(parents=True, exist_ok=True)
        for number in range(count):
            stem = f"x{number}" if patients is None else f"p{len(folder):02}{number % patients:02}_{number}"
            picture = rng.integers(0, 256, (30 + number % 7, 33 + number % 5), dtype=np.uint8)
            cv2.imwrite(str(root / folder / f"{stem}.png"), picture)
    return root


@pytest.fixture(scope="module")
def source(tmp_path_factory) -> Path:
    return draw(tmp_path_factory.mktemp("source"), {"NORMAL": 30, "PNEUMONIA": 40}, patients=12)


@pytest.fixture(scope="module")
def made(source, tmp_path_factory) -> Path:
    prepare(source, tmp_path_factory.mktemp("made") / "store", size=SIZE, threads=2)
    return next(tmp_path_factory.getbasetemp().glob("made*/store"))


@pytest.fixture
def store(made, tmp_path) -> Path:
    """A store that a test may damage."""
    return shutil.copytree(made, tmp_path / "store")


def described(store: Path) -> dict:
    return json.loads((store / "store.json").read_text())


def by_name(table) -> dict[str, tuple]:
    return {table.name_of(s): (s.label, s.patient, s.split, s.boxes) for s in table}


def test_a_store_is_the_table_of_its_source(source, store):
    table, original = read_table(store), read_table(source)
    assert (table.classes, table.source, table.root) == (original.classes, "prepared", store)
    assert by_name(table) == by_name(original)
    assert [table.name_of(s) for s in table] == [original.name_of(s) for s in original]
    assert (table.counts(), table.splits) == (original.counts(), original.splits)
    assert len({s.patient for s in table}) == 24
    assert [s.row for s in table] == list(range(70))
    assert {s.path for s in table} == {store / "pixels.npy"}


@pytest.mark.parametrize("patients", [None, 12])
@pytest.mark.parametrize("split", ["", "train/"])
def test_splits_drawn_from_a_store_are_those_of_its_source(tmp_path, patients, split):
    counts = {f"{split}NORMAL": 30, f"{split}PNEUMONIA": 40} | (
        {"test/NORMAL": 5, "test/PNEUMONIA": 5} if split else {}
    )
    folder = draw(tmp_path / "source", counts, patients)
    prepare(folder, tmp_path / "store", size=SIZE)
    for seed in (0, 1):
        drawn, expected = (by_name(draw_splits(read_table(p), seed=seed)) for p in (tmp_path / "store", folder))
        assert drawn == expected
        assert len({s for _, _, s, _ in drawn.values()}) == 3


def test_splits_drawn_from_an_archive_do_not_depend_on_its_place(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    drawn = []
    for folder in (tmp_path / "here", tmp_path / "there"):
        folder.mkdir()
        np.savez(folder / "a.npz", train_images=images, train_labels=np.arange(40) % 2)
        prepare(folder / "a.npz", folder / "store", size=8)
        drawn += [by_name(draw_splits(read_table(folder / name))) for name in ("a.npz", "store")]
    assert drawn[0] == drawn[1] == drawn[2] == drawn[3]


def test_a_csv_keeps_its_patients_splits_and_names(source, tmp_path):
    files = [p.relative_to(source).as_posix() for p in sorted(source.rglob("*.png"))]
    rows = [f"{f},{f[0]},{i // 2},{('train', 'val')[i % 9 == 0]}" for i, f in enumerate(files)]
    (tmp_path / "a.csv").write_text("path,label,patient,split\n" + "\n".join(rows))
    prepare(tmp_path / "a.csv", tmp_path / "store", images=source, size=SIZE)
    assert by_name(read_table(tmp_path / "store")) == by_name(read_table(tmp_path / "a.csv", images=source))


def test_pictures_open_as_views_of_the_map_with_the_size_of_their_source(source, store):
    table, original = read_table(store), read_table(source)
    pixels = np.load(store / "pixels.npy")
    for sample, before in zip(table, original, strict=True):
        image, whole = open_image(sample), open_image(before)
        assert (image.width, image.height, image.scales) == (whole.width, whole.height, (1,))
        assert image.grid == (SIZE / whole.width, SIZE / whole.height)
        assert np.array_equal(image.decode(1), pixels[sample.row])
        assert np.shares_memory(image.decode(4), stored_pixels(sample.path))
    assert not image.decode(1).flags.writeable
    assert stored_sizes(store / "pixels.npy").tolist() == [[i.width, i.height] for i in map(open_image, original)]
    assert stored_sizes(store / "pixels.npy").dtype == np.int64


def test_the_map_is_made_once_until_the_file_changes(store):
    first = stored_pixels(store / "pixels.npy")
    with ThreadPoolExecutor(8) as pool:
        assert all(each is first for each in pool.map(stored_pixels, [store / "pixels.npy"] * 50))
    changed = np.zeros_like(first)
    np.save(store / "new.npy", changed)
    (store / "new.npy").replace(store / "pixels.npy")
    assert not stored_pixels(store / "pixels.npy").any()
    assert not open_image(read_store(store)[0]).decode(1).any()
    assert first.any(), "who holds the old map still sees the old pictures"


def test_another_process_opens_samples_that_it_is_given(store):
    code = (
        "import pickle, sys; from xraycls.data.open import open_image\n"
        "print(int(open_image(pickle.loads(sys.stdin.buffer.read())).decode(1).astype(int).sum()))"
    )
    sample = read_store(store)[3]
    done = subprocess.run([sys.executable, "-c", code], input=pickle.dumps(sample), capture_output=True, check=True)
    assert int(done.stdout) == open_image(sample).decode(1).astype(int).sum()


def test_opening_a_table_neither_decodes_nor_looks_at_every_picture(store, monkeypatch):
    table = read_table(store)
    monkeypatch.setattr(cv2, "imdecode", lambda *_: pytest.fail("decoded"))
    assert find_unreadable(table) == {}
    stats = []
    original = Path.stat
    monkeypatch.setattr(Path, "stat", lambda self, **k: stats.append(self) or original(self, **k))
    for sample in table:
        open_image(sample)
    assert stats == []


def test_names_read_well_and_are_unique(store):
    table = read_table(store)
    assert table[0].name == f"{store}:NORMAL/p0600_0.png"
    assert len({s.name for s in table}) == len(table)


def test_the_fingerprint_goes_with_the_content_not_with_the_place(source, store, tmp_path):
    before = read_table(store).fingerprint()
    moved = shutil.copytree(store, tmp_path / "elsewhere" / "moved")
    assert read_table(moved).fingerprint() == before
    prepare(source, tmp_path / "same", size=SIZE)
    assert read_table(tmp_path / "same").fingerprint() == before
    prepare(source, tmp_path / "crop", size=SIZE, central_crop=0.9)
    assert read_table(tmp_path / "crop").fingerprint() != before


def test_images_of_a_store_can_be_listed_to_predict(store):
    samples = list_images([store])
    assert samples == [replace(s, label=None) for s in read_store(store)]


def test_the_same_picture_in_two_splits_is_told(tmp_path, caplog):
    folder = draw(tmp_path / "source", {"train/A": 20, "train/B": 20, "val/A": 12, "val/B": 12, "test/A": 3})
    for twin in ("test/A/twin.png", "val/B/twin.png"):
        cv2.imwrite(str(folder / twin), read_grey(folder / "train/A/x4.png"), [cv2.IMWRITE_PNG_COMPRESSION, 1])
    prepare(folder, tmp_path / "store", size=SIZE)
    table = read_table(tmp_path / "store")
    expected = [[["test/A/twin.png", "train/A/x4.png", "val/B/twin.png"]], []]
    found = [[table.name_of(s) for s in group] for group in duplicates_across_splits(table)]
    with caplog.at_level(logging.WARNING):
        load_table(tmp_path / "store")
    assert [group for group in found if "twin" in group[0]] == expected[0]
    assert "test/A/twin.png (test) = train/A/x4.png (train)" in caplog.text


def test_pictures_whose_checksum_one_split_alone_has_are_not_read(tmp_path, monkeypatch):
    folder = draw(tmp_path / "source", {"train/A": 5, "test/A": 4})
    cv2.imwrite(str(folder / "test/A/x2.png"), np.zeros((40, 40), np.uint8))
    shutil.copyfile(folder / "train/A/x1.png", folder / "train/A/twin.png")
    for number in (0, 1, 3):
        cv2.imwrite(str(folder / f"test/A/x{number}.png"), np.full((40, 40), 50 * number + 9, np.uint8))
    prepare(folder, tmp_path / "store", size=SIZE)
    table = read_table(tmp_path / "store")
    monkeypatch.setattr(duplicates, "stored_pixels", lambda _: pytest.fail("read"))
    assert duplicates_across_splits(table) == []


def test_changed_sources_are_named(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "source")
    prepare(folder, tmp_path / "a store", size=SIZE, central_crop=0.9)
    for number in range(4):
        cv2.imwrite(str(folder / f"NORMAL/p06{number:02}_{number}.png"), np.zeros((9, 9), np.uint8))
    with pytest.raises(DataError) as error:
        read_table(tmp_path / "a store")
    assert str(error.value) == (
        f"4 of 70 files changed since {tmp_path / 'a store'} was prepared from them: NORMAL/p0600_0.png, "
        "NORMAL/p0601_1.png, NORMAL/p0602_2.png, …. Prepare it again with: xraycls data prepare "
        f"{folder} '{tmp_path / 'a store'}' --size 24 --central-crop 0.9."
    )


def test_sources_of_the_same_content_or_gone_do_not_matter(source, tmp_path):
    folder = shutil.copytree(source, tmp_path / "source")
    prepare(folder, tmp_path / "store", size=SIZE)
    os.utime(folder / "NORMAL/p0600_0.png", ns=(1, 1))
    (folder / "NORMAL/p0601_1.png").unlink()
    assert len(read_table(tmp_path / "store")) == 70
    folder.rename(tmp_path / "moved")
    assert len(read_table(tmp_path / "store")) == 70


def rewrite(store: Path, **changes) -> None:
    (store / "store.json").write_text(json.dumps(described(store) | changes))


def saved(store: Path, pixels: np.ndarray) -> None:
    np.save(store / "pixels.npy", pixels)


DAMAGE = {
    "version": (lambda s: rewrite(s, format=2), "was prepared by another version"),
    "another json": (lambda s: (s / "store.json").write_text("{}"), r"store\.json is damaged"),
    "cut json": (lambda s: os.truncate(s / "store.json", 999), r"store\.json is damaged"),
    "no json": (lambda s: (s / "store.json").write_bytes(b""), r"store\.json is damaged"),
    "not text": (lambda s: (s / "store.json").write_bytes(b"\xff\xfe\0"), r"store\.json is damaged"),
    "column": (lambda s: rewrite(s, pictures=described(s)["pictures"] | {"width": [1]}), r"store\.json is damaged"),
    "file": (
        lambda s: rewrite(s, pictures=described(s)["pictures"] | {"source": [70] * 70}),
        r"store\.json is damaged",
    ),
    "cut pixels": (lambda s: os.truncate(s / "pixels.npy", 9_999), r"pixels\.npy is cut short or damaged"),
    "cut header": (lambda s: os.truncate(s / "pixels.npy", 20), r"pixels\.npy is cut short or damaged"),
    "empty": (lambda s: os.truncate(s / "pixels.npy", 0), r"pixels\.npy is cut short or damaged"),
    "gone": (lambda s: (s / "pixels.npy").unlink(), "is not prepared to the end"),
    "rows": (lambda s: saved(s, np.zeros((69, 24, 24), np.uint8)), r"\[69, 24, 24\], but store\.json tells of uint8"),
    "type": (lambda s: saved(s, np.zeros((70, 24, 24), np.float32)), r"is float32"),
    "order": (lambda s: saved(s, np.zeros((24, 24, 70), np.uint8).T), r"\[70, 24, 24\]"),
    "pickle": (lambda s: saved(s, np.array([{}] * 70)), r"pixels\.npy is cut short or damaged"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_damage_is_one_sentence_with_the_way_out(store, damage):
    harm, words = DAMAGE[damage]
    read_store(store)
    harm(store)
    with pytest.raises(DataError, match=words) as error:
        read_table(store)
    assert "Prepare it again with: xraycls data prepare " in str(error.value)
    assert str(store) in str(error.value)


def test_other_folders_are_no_stores(tmp_path, source):
    assert not is_store(source)
    assert not is_store(tmp_path / "nowhere")
    assert not is_store(source / "NORMAL/p0600_0.png")


def test_real_radiographs(shared, tmp_path):
    source = tmp_path / "source"
    for path in sorted((shared / "data/kermany_native").rglob("*.jpeg"))[::10]:
        (source / path.parent.name).mkdir(parents=True, exist_ok=True)
        shutil.copyfile(path, source / path.parent.name / path.name)
    prepare(source, tmp_path / "store", size=64)
    table, original = read_table(tmp_path / "store"), read_table(source)
    assert by_name(table) == by_name(original)
    for sample, before in zip(table, original, strict=True):
        small, whole = open_image(sample), open_image(before)
        assert (small.width, small.height) == (whole.width, whole.height)
        assert abs(float(small.decode(1).mean()) - float(whole.decode(1).mean())) < 0.5
