from collections import Counter
from dataclasses import replace

import cv2
import numpy as np
import pytest

from xraycls.data.phantom import write_phantom
from xraycls.data.prepare import prepare
from xraycls.data.sheet import contact_sheet
from xraycls.data.show import TILE, require_no_picture, sample_sheet, shown_table, tile_of
from xraycls.data.source import read_source
from xraycls.errors import DataError, UsageError
from xraycls.types import Box, Sample

AMBER = (255, 176, 0)


@pytest.fixture
def seen(monkeypatch):
    """The tiles of every sheet that is drawn."""
    sheets = []

    def drawing(tiles, **arguments):
        sheets.append(list(tiles))
        return contact_sheet(tiles, **arguments)

    monkeypatch.setattr("xraycls.data.show.contact_sheet", drawing)
    return sheets


def classes_of(tiles):
    return Counter(tile.caption.split(" · ")[0] for tile in tiles)


def test_every_class_is_shown_as_often(tiny, seen):
    table = shown_table(tiny)
    sheet = sample_sheet(table, n=16)
    assert sheet.shape[1] == 14 + 4 * (TILE + 14)
    assert classes_of(seen[0]) == {"NORMAL": 8, "PNEUMONIA": 8}
    assert list(classes_of(seen[0])) == ["NORMAL", "PNEUMONIA"]
    assert len({tile.caption for tile in seen[0]}) == 16
    name = seen[0][0].caption.split("\n")[1]
    assert seen[0][0].caption == f"NORMAL · {name.split('/')[0]}\n{name}"
    assert (tiny / name).is_file()


def test_a_small_class_leaves_its_places_to_the_others(tiny, seen):
    table = shown_table(tiny)
    few = table.with_samples(s for i, s in enumerate(table) if s.label == 0 or i == len(table) - 1)
    sample_sheet(few, n=9)
    assert classes_of(seen[0]) == {"NORMAL": 8, "PNEUMONIA": 1}
    sample_sheet(few, n=400)
    assert len(seen[1]) == len(few)


def test_the_seed_draws_and_the_order_of_the_table_does_not_matter(tiny, seen):
    table = shown_table(tiny)
    first = sample_sheet(table, n=6, seed=1)
    assert (sample_sheet(table.with_samples(reversed(table.samples)), n=6, seed=1) == first).all()
    sample_sheet(table, n=6, seed=2)
    assert [tile.caption for tile in seen[2]] != [tile.caption for tile in seen[0]]


def test_only_what_is_wanted_is_shown(tiny):
    table = shown_table(tiny, split="Validation", label="pneumonia")
    assert len(table) == 4
    assert {(s.split, s.label) for s in table} == {("val", 1)}


def test_a_picture_that_cannot_be_read_gives_way_to_another(draw_folder, tmp_path, seen, caplog):
    folder = draw_folder(tmp_path / "data", {"train": 3})
    (folder / "train/NORMAL/train-NORMAL-1.jpeg").write_bytes(b"no picture")
    sample_sheet(shown_table(folder), n=4)
    sample_sheet(shown_table(folder), n=6)
    assert [len(tiles) for tiles in seen] == [4, 5]
    assert "train-NORMAL-1.jpeg" in caplog.text


def test_a_single_picture_can_be_looked_at(tiny, seen):
    file = tiny / "train/NORMAL/train-NORMAL-0.jpeg"
    sample_sheet(shown_table(file))
    assert [tile.caption for tile in seen[0]] == ["train-NORMAL-0.jpeg"]


def test_a_folder_of_pictures_without_classes_can_be_looked_at(tiny, seen):
    folder = tiny / "train/NORMAL"
    sample_sheet(shown_table(folder), n=4)
    assert len(seen[0]) == 4
    assert {tile.caption for tile in seen[0]} <= {path.name for path in folder.iterdir()}
    with pytest.raises(DataError, match=r"NORMAL has no classes\. Leave out --class"):
        shown_table(folder, label="NORMAL")
    with pytest.raises(DataError, match=r"NORMAL has no splits\. Leave out --split"):
        shown_table(folder, split="train")
    assert shown_table(tiny).classes == ("NORMAL", "PNEUMONIA")


def frame(tile):
    """Where the first class's box is drawn on a tile of 308 pixels, in pixels of the source."""
    sheet = contact_sheet([tile], side=TILE)[14 : 14 + TILE, 14 : 14 + TILE]
    rows, columns = ((sheet == AMBER).all(axis=2).sum(axis=axis) for axis in (1, 0))
    width, height = tile.size
    scale = max(width, height) / TILE
    # Below the name, which stands above the box or in it, the frame alone is amber.
    left, right = np.flatnonzero(columns)[[0, -1]] + (0, 1) - (TILE - width / scale) / 2
    bottom = np.flatnonzero(rows > 3)[-1] + 1 - (TILE - height / scale) / 2
    return left * scale, right * scale, bottom * scale


def test_boxes_are_right_at_every_size_and_in_prepared_data(tmp_path):
    source = write_phantom(tmp_path / "phantom", images=12, size=700)
    wide = [replace(s, boxes=(Box("x", 100.0, 200.0, 500.0, 400.0),)) for s in source]
    prepare(tmp_path / "phantom", tmp_path / "store", size=64)
    prepare(tmp_path / "phantom", tmp_path / "cropped", size=64, central_crop=0.8)
    stored, cropped = read_source(tmp_path / "store"), read_source(tmp_path / "cropped")
    for sample, in_store, in_cropped in zip(wide, stored, cropped, strict=True):
        tile = tile_of(sample, "")
        width, height = tile.size
        assert max(tile.picture.shape) < 2 * TILE  # decoded no larger than needed
        assert frame(tile) == pytest.approx((100, 500, 400), abs=5)
        assert frame(tile_of(replace(in_store, boxes=sample.boxes), "")) == pytest.approx((100, 500, 400), abs=5)
        left, top = (width - round(0.8 * width)) // 2, (height - round(0.8 * height)) // 2
        moved = Box("x", 100.0 - left, 200.0 - top, 500.0 - left, 400.0 - top)
        tile = tile_of(replace(in_cropped, boxes=(moved,)), "")
        assert tile.size == (round(0.8 * width), round(0.8 * height))
        assert frame(tile) == pytest.approx((100 - left, 500 - left, 400 - top), abs=5)


def test_the_boxes_of_a_data_set_are_shown(tmp_path, seen):
    table = write_phantom(tmp_path / "phantom", images=12, size=128)
    sample_sheet(table, n=12)
    assert Counter(box for tile in seen[0] for box in tile.boxes) == Counter(box for s in table for box in s.boxes)
    assert any(tile.boxes for tile in seen[0])


def test_real_radiographs_of_any_size(shared, seen):
    sheet = sample_sheet(shown_table(shared / "data/kermany_native"), n=6)
    assert [tile.caption.split("\n")[0] for tile in seen[0]] == ["NORMAL"] * 3 + ["PNEUMONIA"] * 3
    assert sheet.std() > 30


def test_a_sheet_replaces_no_picture_of_the_data(tiny):
    table = shown_table(tiny)
    with pytest.raises(UsageError, match="would be lost"):
        require_no_picture(table, table[0].path)
    require_no_picture(table, tiny / table[0].path.name)  # of that name, but elsewhere


def test_what_cannot_be_shown_is_one_sentence(tiny, tmp_path):
    with pytest.raises(UsageError, match="Unknown split 'tset' for --split"):
        shown_table(tiny, split="tset")
    with pytest.raises(UsageError, match=r"Unknown class 'PNEUMNIA' for --class\. Did you mean PNEUMONIA"):
        shown_table(tiny, label="PNEUMNIA")
    with pytest.raises(DataError, match="has no splits"):
        shown_table(tiny / "train", split="test")
    file = tmp_path / "a.png"
    file.write_bytes(b"")
    with pytest.raises(DataError, match="could be read"):
        sample_sheet(shown_table(file))
    cv2.imwrite(str(file), np.zeros((9, 9), np.uint8))
    assert sample_sheet(replace(shown_table(file), samples=(Sample(file, split="train"),))).any()
