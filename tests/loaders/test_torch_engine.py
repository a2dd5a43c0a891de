"""What only the torch engine has: it is a DataLoader, and its threads change nothing."""

import os
import signal
import threading

import numpy as np
import pytest
import torch
from torch.utils.data import DataLoader

from xraycls.data.folder import read_folder
from xraycls.data.medmnist import read_medmnist
from xraycls.data.open import open_image
from xraycls.data.prepare import prepare
from xraycls.data.store import read_store
from xraycls.errors import UsageError
from xraycls.loaders.choose import build_loader, choose_engine
from xraycls.loaders.normalization import Normalization
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.render import render

CPU = torch.device("cpu")


@pytest.fixture
def table(tiny):
    return read_folder(tiny).split("train")


def load(table, *, training=True, batch_size=5, **options):
    return build_loader(
        table, find_recipe("radiograph", 32), batch_size=batch_size, training=training, device=CPU, **options
    )


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
    assert len(list(loader)) == 5


def test_a_picture_that_is_held_stays_while_later_batches_take_the_memory_of_others(table):
    loader, held, copies = load(table), [], []
    for _ in range(3):
        for batch in loader:
            if not held:
                held, copies = [batch.images[1:2], batch.images.numpy()[2]], batch.images.clone()
            del batch
    assert torch.equal(held[0], copies[1:2])
    assert np.array_equal(held[1], copies[2].numpy())


def test_epochs_and_loaders_share_their_threads(table):
    def threads() -> set[int]:
        return {thread.ident for thread in threading.enumerate() if thread.name.startswith("xraycls-loader")}

    list(load(table, threads=3))
    first = threads()
    for _ in range(2):
        list(load(table, threads=3))
    assert first <= threads()
    assert len(threads() - first) < 3  # of three threads, those that had nothing to do in the first epoch


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs forks")
@pytest.mark.filterwarnings("ignore:This process .* is multi-threaded:DeprecationWarning")
def test_a_fork_loads_with_threads_of_its_own(table):
    loader = load(table)
    expected = sum(int(batch.images.sum()) for batch in loader)
    child = os.fork()
    if not child:
        signal.alarm(60)
        os._exit(int(sum(int(batch.images.numpy().sum(dtype=np.int64)) for batch in loader) != expected))
    assert os.waitpid(child, 0)[1] == 0


@pytest.mark.parametrize("normalization", [((), ()), ((0.5,), (0.2, 0.2)), ((0.5,), (0.0,))])
def test_a_normalization_without_both_numbers_for_every_channel_is_one_sentence(normalization):
    with pytest.raises(UsageError, match="don't normalise pictures"):
        Normalization(*normalization)


@pytest.mark.parametrize("threads", [0, 2])
def test_prepared_pictures_do_not_depend_on_how_batches_are_cut(tiny, tmp_path, threads):
    prepare(tiny, tmp_path / "store", size=64)
    table = read_store(tmp_path / "store").split("train")
    recipe = find_recipe("radiograph", 32)
    assert choose_engine("auto", table, CPU) == "torch"
    batches = list(load(table, threads=threads, batch_size=12))
    drawn = [pair for batch in batches for pair in zip(batch.indices.tolist(), batch.images[:, 0].numpy(), strict=True)]
    assert len(drawn) == 24
    for position, (index, picture) in enumerate(drawn):
        image = open_image(table[index])
        view = recipe.training_view(0, 0, position, image.width, image.height)
        assert np.array_equal(picture, render(image, view, recipe.canvas))


def test_a_batch_larger_than_the_data_is_one_sentence(table):
    with pytest.raises(UsageError, match="Lower --batch-size to at most 24"):
        load(table, batch_size=25)
    with pytest.raises(UsageError, match="Lower --batch-size to at most 12"):
        load(table, batch_size=13, world=2)


@pytest.mark.parametrize("engine", ["torch", "dali", "resident"])
def test_medmnist_pictures_at_their_own_size_arrive_unchanged(tmp_path, engine):
    if engine == "dali":
        pytest.importorskip("nvidia.dali", reason="needs the extra dali")
    rng = np.random.default_rng(0)
    arrays = {}
    for split, count in (("train", 6), ("val", 2), ("test", 2)):
        arrays[f"{split}_images"] = rng.integers(0, 256, (count, 28, 28), dtype=np.uint8)
        arrays[f"{split}_labels"] = np.arange(count)[:, None] % 2
    np.savez(tmp_path / "pneumoniamnist.npz", **arrays)
    table = read_medmnist(tmp_path / "pneumoniamnist.npz").split("train")
    recipe = find_recipe("none", 28)
    (batch,) = build_loader(table, recipe, batch_size=6, training=False, device=CPU, engine=engine)
    assert np.abs(batch.images[:, 0].numpy().astype(int) - arrays["train_images"]).max() <= (engine == "dali")
