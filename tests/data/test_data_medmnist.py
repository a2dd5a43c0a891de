import os
import random
import threading
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from xraycls.data import medmnist
from xraycls.data.medmnist import read_medmnist, read_pixels
from xraycls.errors import DataError


def arrays(n=4, shape=(5, 6), seed=0):
    rng = np.random.default_rng(seed)
    made = {}
    for split in ("train", "val", "test"):
        made[f"{split}_images"] = rng.integers(0, 256, (n, *shape), dtype=np.uint8)
        made[f"{split}_labels"] = (np.arange(n, dtype=np.uint8) % 2)[:, None]
    return made


def save(path, **changes):
    made = arrays() | changes
    np.savez_compressed(path, **{name: array for name, array in made.items() if array is not None})
    return path


def test_samples_point_at_rows(tmp_path):
    path = save(tmp_path / "pneumoniamnist_224.npz")
    table = read_medmnist(path)
    assert table.classes == ("normal", "pneumonia")
    assert (len(table), table.splits, table.source) == (12, ("train", "val", "test"), "medmnist")
    for sample in table:
        stored = arrays()[f"{sample.split}_images"][sample.row]
        pixels = read_pixels(sample.path, sample.member, sample.row)
        assert pixels.dtype == np.uint8
        assert np.array_equal(pixels, stored)
        assert sample.label == sample.row % 2


def test_unknown_sets_number_their_classes(tmp_path):
    labels = np.array([0, 2, 1, 1])
    assert read_medmnist(save(tmp_path / "other.npz", train_labels=labels)).classes == ("0", "1", "2")
    assert read_medmnist(save(tmp_path / "pneumoniamnist.npz", train_labels=labels)).classes == ("0", "1", "2")


def test_a_split_may_be_absent(tmp_path):
    path = save(tmp_path / "a.npz", val_images=None, val_labels=None)
    assert read_medmnist(path).splits == ("train", "test")


def test_colour_becomes_the_grey_that_pillow_gives(tmp_path):
    path = tmp_path / "colour.npz"
    np.savez(path, **arrays(shape=(5, 6, 3)))
    grey = read_pixels(path, "train_images", 1)
    oracle = np.asarray(Image.fromarray(arrays(shape=(5, 6, 3))["train_images"][1]).convert("L"))
    assert np.abs(grey.astype(int) - oracle).max() <= 1


def test_pixels_are_a_copy(tmp_path):
    path = save(tmp_path / "a.npz")
    read_pixels(path, "train_images", 0)[:] = 0
    assert read_pixels(path, "train_images", 0).any()


def test_each_array_is_decompressed_once_for_many_threads_until_the_file_changes(tmp_path, monkeypatch):
    reads = []
    original = medmnist._member
    monkeypatch.setattr(medmnist, "_member", lambda archive, member: reads.append(member) or original(archive, member))
    path = save(tmp_path / "a.npz")
    start = threading.Barrier(8)

    def read(row):
        start.wait()
        return read_pixels(path, "test_images", row % 4)

    with ThreadPoolExecutor(8) as pool:
        pixels = list(pool.map(read, range(8)))
    assert reads == ["test_images"]
    assert all(np.array_equal(p, arrays()["test_images"][i % 4]) for i, p in enumerate(pixels))

    np.savez(path, **arrays(seed=1))
    os.utime(path, ns=(0, 0))
    assert np.array_equal(read_pixels(path, "test_images", 0), arrays(seed=1)["test_images"][0])
    assert len(reads) == 2


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"val_labels": None}, "no array val_labels; it has train_images, "),
        ({"val_images": None}, "no array val_images"),
        ({"val_labels": np.zeros(3, int)}, "4 images and 3 labels in val"),
        ({"train_labels": np.full((4, 14), 2)}, "14 columns of other numbers than 0 and 1"),
        ({"train_labels": np.zeros((4, 14), int)}, "splits of .* have labels of 1 and 14 columns"),
        ({"train_labels": np.zeros(4)}, "must hold one whole number"),
        ({"train_labels": np.array([0, 1, -1, 0])}, "must hold one whole number"),
        ({"train_labels": np.array(1)}, "must hold one whole number"),
        ({"train_labels": np.array([0, 1, "x", {}], dtype=object)}, "Python objects, which are never loaded"),
        ({"train_images": np.array([{}] * 4, dtype=object)}, "Python objects, which are never loaded"),
        ({"train_images": np.zeros((4, 5, 6))}, r"train_images of .* is float64 \[4, 5, 6\]; expected uint8"),
        ({"train_images": np.zeros((4, 5, 6, 7), np.uint8)}, r"uint8 \[4, 5, 6, 7\]; expected"),
    ],
)
def test_archives_that_cannot_be_used(tmp_path, changes, message):
    with pytest.raises(DataError, match=message):
        read_medmnist(save(tmp_path / "a.npz", **changes))


def test_archives_of_something_else(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.zeros(3))
    with pytest.raises(DataError, match=r"no images; expected train_images, .* found x"):
        read_medmnist(tmp_path / "other.npz")
    np.save(tmp_path / "array.npy", np.zeros(3))
    with pytest.raises(DataError, match="it holds a single array"):
        read_medmnist(tmp_path / "array.npy")
    with zipfile.ZipFile(tmp_path / "text.npz", "w") as archive:
        archive.writestr("train_images", "no array")
        archive.writestr("train_labels", "no array")
    with pytest.raises(DataError, match="train_labels is not an array"):
        read_medmnist(tmp_path / "text.npz")
    with pytest.raises(DataError, match="No such file"):
        read_medmnist(tmp_path / "nowhere.npz")


@pytest.mark.parametrize(
    "content", [b"", b"text", b"PK\x03\x04", b"\x80\x04N."], ids=["empty", "text", "zip", "pickle"]
)
def test_files_that_are_no_archives(tmp_path, content):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"a\.npz is not a readable \.npz archive"):
        read_medmnist(path)


def test_a_truncated_archive(tmp_path):
    path = save(tmp_path / "a.npz")
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(DataError, match="not a readable"):
        read_medmnist(path)


def test_damage_anywhere_gives_a_table_or_one_sentence(tmp_path):
    whole = save(tmp_path / "a.npz").read_bytes()
    rng = random.Random(0)
    refused = 0
    for number in range(300):
        content = bytearray(whole)
        content[rng.randrange(len(content))] ^= rng.randrange(1, 256)
        path = tmp_path / f"{number}.npz"
        path.write_bytes(content)
        try:
            read_medmnist(path)
        except DataError:
            refused += 1
    assert refused > 200


def test_pneumoniamnist(shared):
    path = shared / "data/pneumoniamnist/pneumoniamnist.npz"
    table = read_medmnist(path)
    assert {split: tuple(table.split(split).counts().values()) for split in table.splits} == {
        "train": (1214, 3494),
        "val": (135, 389),
        "test": (234, 390),
    }
    with np.load(path) as archive:
        assert np.array_equal(table.split("test").labels, archive["test_labels"][:, 0])
        assert np.array_equal(read_pixels(path, "val_images", 7), archive["val_images"][7])
