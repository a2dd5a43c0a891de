import itertools
from pathlib import Path

import numpy as np

from xraycls.data.duplicates import duplicates, duplicates_across_splits
from xraycls.data.folder import read_folder
from xraycls.data.medmnist import read_medmnist
from xraycls.data.table import SampleTable


def write(root: Path, **contents: bytes) -> SampleTable:
    for name, content in contents.items():
        split, label, stem = name.split("_")
        path = root / split / label / f"{stem}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    return read_folder(root)


def names(table: SampleTable) -> list[list[str]]:
    return [[s.path.relative_to(table.root).as_posix() for s in g] for g in duplicates_across_splits(table)]


def test_only_the_same_content_in_different_splits_counts(tmp_path):
    table = write(
        tmp_path,
        train_A_a=b"one",
        train_A_b=b"one",
        test_B_c=b"one",
        train_A_d=b"two",
        train_B_e=b"two",  # a repeat within a split
        val_A_f=b"six",  # the same size, another content
        val_A_g=b"other",
        test_A_h=b"other",
    )
    assert names(table) == [["test/A/h.png", "val/A/g.png"], ["test/B/c.png", "train/A/a.png", "train/A/b.png"]]


def test_the_same_content_within_a_split_counts_where_asked(tmp_path):
    table = write(tmp_path, train_A_a=b"one", train_A_b=b"two", train_B_c=b"one", test_A_d=b"three", test_B_e=b"two")
    groups = [[table.name_of(table[row]) for row in group] for group in duplicates(table.samples)]
    assert groups == [["test/B/e.png", "train/A/b.png"], ["train/A/a.png", "train/B/c.png"]]
    assert duplicates([]) == []


def test_files_of_a_size_that_one_split_alone_has_are_not_read(tmp_path, monkeypatch):
    table = write(tmp_path, train_A_a=b"1", train_A_b=b"1", test_A_c=b"22", val_A_d=b"333")
    monkeypatch.delattr(Path, "read_bytes")
    assert names(table) == []


def test_rows_of_an_archive(tmp_path):
    images = np.random.default_rng(0).integers(0, 256, (9, 4, 4), dtype=np.uint8)
    images[7] = images[2]
    images[1] = images[0]
    np.savez(
        tmp_path / "a.npz",
        train_images=images[:5],
        train_labels=np.arange(5) % 2,
        test_images=images[5:],
        test_labels=np.arange(4) % 2,
    )
    groups = duplicates_across_splits(read_medmnist(tmp_path / "a.npz"))
    assert [[s.name.split(":")[-1] for s in group] for group in groups] == [["train_images[2]", "test_images[2]"]]


def test_pneumoniamnist_against_brute_force(shared):
    path = shared / "data/pneumoniamnist/pneumoniamnist.npz"
    found = {(s.member, s.row) for group in duplicates_across_splits(read_medmnist(path)) for s in group}
    members = ("train_images", "val_images", "test_images")
    with np.load(path) as archive:
        flat = {member: archive[member].reshape(len(archive[member]), -1) for member in members}
    expected = set()
    for first, second in itertools.combinations(members, 2):
        for row, pixels in enumerate(flat[second]):
            equal = np.flatnonzero((flat[first] == pixels).all(axis=1))
            expected |= {(first, int(other)) for other in equal} | ({(second, row)} if len(equal) else set())
    assert found == expected
    assert found
