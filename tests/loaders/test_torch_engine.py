"""The torch engine: a DataLoader that never duplicates, leaks, hangs or dies of one bad file."""

import threading
from collections import Counter

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from xraycls.data.folder import read_folder
from xraycls.errors import DataError, UsageError
from xraycls.loaders.choose import build_loader
from xraycls.loaders.recipe import find_recipe

CPU = torch.device("cpu")


@pytest.fixture
def table(tiny):
    return read_folder(tiny).split("train")


def load(table, *, training=True, batch_size=5, **options):
    return build_loader(
        table, find_recipe("radiograph", 32), batch_size=batch_size, training=training, device=CPU, **options
    )


def drawn(batches):
    return Counter(i for b in batches for i in b.indices[b.weights > 0].tolist())


@pytest.mark.parametrize("threads", [0, 1, 3])
def test_batches_do_not_depend_on_the_number_of_threads(table, threads):
    expected = list(load(table, threads=0))
    found = list(load(table, threads=threads))
    assert len(found) == len(expected) == 5
    for a, b in zip(found, expected, strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.labels, b.labels)
        assert torch.equal(a.indices, b.indices)


def test_it_is_a_dataloader_as_users_know_it(table):
    loader = load(table)
    assert isinstance(loader, DataLoader)
    assert len(loader) == 5
    assert len(loader.dataset) == 24
    assert loader.dataset[3].shape == (32, 32)
    batch = next(iter(loader))
    assert batch.images.shape == (5, 1, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert torch.equal(batch.labels, torch.from_numpy(table.labels)[batch.indices])


def test_every_epoch_has_every_sample_once_also_after_an_early_break(table):
    loader = load(table)
    for epoch in range(3):
        loader.set_epoch(epoch)
        for _ in loader:
            break
        assert drawn(loader) == Counter(range(24))


def test_starting_in_mid_epoch_gives_exactly_the_remaining_pixels(table):
    loader = load(table)
    loader.set_epoch(4)
    whole = list(loader)
    loader.set_epoch(4, start=2)
    rest = list(loader)
    assert len(rest) == 3
    for a, b in zip(rest, whole[2:], strict=True):
        assert torch.equal(a.images, b.images)
        assert torch.equal(a.indices, b.indices)


def test_training_views_change_every_epoch_and_evaluation_views_never(table):
    training, evaluation = load(table), load(table, training=False)
    first = {int(i): image for b in training for i, image in zip(b.indices, b.images, strict=True)}
    training.set_epoch(1)
    second = {int(i): image for b in training for i, image in zip(b.indices, b.images, strict=True)}
    assert sum(torch.equal(first[i], second[i]) for i in first) == 0
    assert all(torch.equal(a.images, b.images) for a, b in zip(evaluation, evaluation, strict=True))


def test_a_corrupt_file_costs_its_own_picture_and_is_named(tmp_path, draw_folder, caplog):
    folder = draw_folder(tmp_path / "data", {"train": 4})
    table = read_folder(folder)
    bad = table[2].path
    bad.write_bytes(b"\xff\xd8\xff garbage")
    loader = load(table, training=False, batch_size=3)
    batches = list(loader)
    assert drawn(batches) == Counter(i for i in range(8) if i != 2)
    assert list(loader.failures) == [bad]
    assert not batches[0].images[2].any()
    assert str(bad) in caplog.text


def test_strict_stops_at_the_corrupt_file(tmp_path, draw_folder):
    table = read_folder(draw_folder(tmp_path / "data", {"train": 4}))
    table[5].path.write_bytes(b"")
    with pytest.raises(DataError, match=table[5].path.name):
        list(load(table, training=False, strict=True))


def test_twenty_loaders_leave_no_threads(table):
    before = threading.active_count()
    for _ in range(20):
        for _ in load(table, threads=3):
            break
    list(load(table, threads=3))
    assert threading.active_count() == before


def test_one_sample_is_enough_for_evaluation(table):
    batches = list(load(table.with_samples([table[0]]), training=False))
    assert [b.indices.tolist() for b in batches] == [[0]]


def test_a_batch_larger_than_the_data_is_one_sentence(table):
    with pytest.raises(UsageError, match="Lower --batch-size to at most 24"):
        load(table, batch_size=25)
    with pytest.raises(UsageError, match="Lower --batch-size to at most 12"):
        load(table, batch_size=13, world=2)


def test_medmnist_samples_arrive_like_any_other(tmp_path):
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    from xraycls.data.medmnist import read_medmnist

    table = read_medmnist(tmp_path / "pneumoniamnist.npz").split("train")
    loader = build_loader(table, find_recipe("none", 28), batch_size=6, training=False, device=CPU)
    (batch,) = loader
    assert np.array_equal(batch.images[:, 0].numpy(), arrays["train_images"])
