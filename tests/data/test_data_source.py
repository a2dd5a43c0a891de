import logging
import shutil
import sys
import types
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from xraycls.data.pictures import list_images
from xraycls.data.source import load_table, read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample


def draw(path: Path, seed: int) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    pixels = np.random.default_rng(seed).integers(0, 256, (8, 8), dtype=np.uint8)
    Image.fromarray(pixels).save(path)
    return path


@pytest.fixture
def folder(tmp_path):
    """Two classes of 20 patients with two images each."""
    for label, name in enumerate(("NORMAL", "PNEUMONIA")):
        for i in range(40):
            draw(tmp_path / "set" / name / f"p{label}{i // 2:03}_{i % 2}.png", seed=label * 40 + i)
    return tmp_path / "set"


def test_a_folder_ready_to_train_on(folder, caplog):
    with caplog.at_level(logging.WARNING):
        table = load_table(folder, val_fraction=0.2, test_fraction=0.1)
    assert {s: table.split(s).counts() for s in table.splits} == {
        "train": {"NORMAL": 28, "PNEUMONIA": 28},
        "val": {"NORMAL": 8, "PNEUMONIA": 8},
        "test": {"NORMAL": 4, "PNEUMONIA": 4},
    }
    patients = [{s.patient for s in table.split(split)} for split in table.splits]
    assert len(set.union(*patients)) == sum(map(len, patients)) == 40
    assert not caplog.records


def test_reading_alone_draws_nothing(folder):
    table = read_table(folder)
    assert table.splits == ()
    assert table[0].patient == "p0000"


def test_a_csv_and_an_archive(folder, tmp_path):
    lines = [f"{p.name},{p.parent.name}\n" for p in folder.rglob("*.png")]
    (tmp_path / "labels.csv").write_text("path,label\n" + "".join(lines))
    table = load_table(tmp_path / "labels.csv", images=folder)
    assert (len(table), table.source, table.splits) == (80, "csv", ("train", "val", "test"))
    images = np.random.default_rng(0).integers(0, 256, (40, 8, 8), dtype=np.uint8)
    np.savez(tmp_path / "a.npz", train_images=images, train_labels=np.arange(40) % 2)
    assert load_table(tmp_path / "a.npz").source == "medmnist"


def test_the_phantom_is_the_default(folder, monkeypatch):
    phantom = read_table(folder)
    module = types.SimpleNamespace(phantom_table=lambda progress: phantom)
    monkeypatch.setitem(sys.modules, "xraycls.data.phantom", module)
    assert len(load_table(None)) == len(phantom)


def test_damaged_files_are_left_out_or_stop(folder, caplog):
    (folder / "NORMAL/p0000_0.png").write_bytes(b"")
    told = []
    with caplog.at_level(logging.WARNING):
        assert len(load_table(folder, progress=lambda *n: told.append(n))) == 79
    assert "1 of 80 files could not be read and are left out: NORMAL/p0000_0.png (empty)" in caplog.text
    assert told[-1] == (80, 80)
    with pytest.raises(DataError, match="1 of 80 files"):
        load_table(folder, strict=True)


def test_missing_images_of_a_csv_stop_when_strict(folder):
    (folder / "labels.csv").write_text("path,label\nNORMAL/p0000_0.png,x\nnowhere.png,y\n")
    with pytest.raises(DataError, match="1 of 2 images"):
        load_table(folder / "labels.csv", strict=True)


def test_the_same_image_in_two_splits_is_told(folder, tmp_path, caplog):
    for split in ("train", "test"):
        shutil.copytree(folder, tmp_path / "leak" / split)
    with caplog.at_level(logging.WARNING):
        load_table(tmp_path / "leak")
    assert "80 images stand in more than one split: " in caplog.text
    assert "test/NORMAL/p0000_0.png (test) = train/NORMAL/p0000_0.png (" in caplog.text
    assert "; …." in caplog.text
    assert caplog.text.rstrip().endswith(f"xraycls data audit {tmp_path / 'leak'} shows more.")


def test_one_class_cannot_be_trained(tmp_path):
    draw(tmp_path / "NORMAL" / "a.png", 0)
    with pytest.raises(DataError, match=r"has one class only \(NORMAL\)"):
        load_table(tmp_path)
    assert read_table(tmp_path).classes == ("NORMAL",)


def test_boxes_in_every_picture_leave_nothing_to_tell_apart(tmp_path):
    for name in ("images/a.png", "images/b.png"):
        draw(tmp_path / name, 0)
        label = (tmp_path / name.replace("images", "labels")).with_suffix(".txt")
        label.parent.mkdir(exist_ok=True)
        label.write_text("opacity 0 0 0 1 2 5 6" + " 0" * 7)
    with pytest.raises(DataError, match=r"has one class only \(POSITIVE\).*Boxes alone need pictures without any"):
        load_table(tmp_path)


def test_a_class_that_only_the_test_has(folder, tmp_path):
    shutil.copytree(folder, tmp_path / "new" / "train")
    draw(tmp_path / "new/test/Tumour/a.png", 99)
    with pytest.raises(DataError, match=r"Class Tumour of .* has images in test but none to train on"):
        load_table(tmp_path / "new")


def test_sources_that_are_none(folder, tmp_path):
    (tmp_path / "data.zip").touch()
    with pytest.raises(DataError, match=r"data\.zip is no data source\. Give a folder of images, .* or Parquet"):
        load_table(tmp_path / "data.zip")
    with pytest.raises(DataError, match="There is no file or folder"):
        load_table(tmp_path / "nowhere")
    with pytest.raises(UsageError, match="--images goes with a CSV"):
        load_table(folder, images=folder)


def test_images_to_predict(folder, tmp_path, caplog):
    (tmp_path / "nothing").mkdir()
    odd = tmp_path / "scan.bin"
    missing = tmp_path / "missing.jpg"
    with caplog.at_level(logging.WARNING):
        samples = list_images([odd, folder, missing, tmp_path / "nothing"])
    assert samples[0] == Sample(odd)
    assert samples[-1] == Sample(missing)
    assert [s.path for s in samples[1:-1]] == sorted(folder.rglob("*.png"))
    assert "nothing holds no images" in caplog.text


def test_no_images_to_predict(tmp_path):
    with pytest.raises(DataError, match="There are no images in"):
        list_images([tmp_path])
    with pytest.raises(DataError, match="an empty list"):
        list_images([])


def test_no_torch_is_imported():
    import subprocess

    code = "import sys, xraycls.data.source; assert not {'torch', 'sklearn', 'matplotlib'} & set(sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.exhaustive
def test_the_real_sets(shared, caplog):
    with caplog.at_level(logging.WARNING):
        table = load_table(shared / "data/kermany_224", redraw_val=True)
    assert isinstance(table, SampleTable)
    assert not caplog.records
    assert table.split("test").counts() == {"NORMAL": 234, "PNEUMONIA": 390}
    assert sum(table.split("val").counts().values()) == pytest.approx(0.15 * 5232, abs=2)
    with caplog.at_level(logging.WARNING):
        load_table(shared / "data/pneumoniamnist/pneumoniamnist.npz")
    assert "8 images stand in more than one split: train_images[289] (train) = " in caplog.text
