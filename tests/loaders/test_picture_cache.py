"""Kept pictures: nothing is decoded twice, nothing wrong is ever shown, and what a run sees doesn't depend on them."""

import os

import cv2
import numpy as np
import pytest
import torch

from benchmarks.exact import exact_rendering
from tests.loaders.engines import CPU, needs_dali
from xraycls.data.folder import read_folder
from xraycls.data.open import open_image
from xraycls.errors import UsageError
from xraycls.loaders.cache import CacheSettings, PictureCache, cache_settings
from xraycls.loaders.choose import build_loader
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.views import Canvas

RECIPE = find_recipe("radiograph", 32)
PLENTY = 2**24


@pytest.fixture
def table(tmp_path, draw_folder):
    return read_folder(draw_folder(tmp_path / "data", {"train": 6}, side=120))


def cache_of(table, folder=None, memory=PLENTY, **options) -> PictureCache:
    return PictureCache(table, RECIPE.canvas, CacheSettings(memory, folder, **options))


def epochs(table, cache, count=2, engine="torch", recipe=RECIPE):
    loader = build_loader(table, recipe, batch_size=5, training=True, device=CPU, engine=engine, threads=2, cache=cache)
    for epoch in range(count):
        loader.set_epoch(epoch)
        yield torch.cat([batch.images for batch in loader])


@pytest.mark.parametrize("engine", ["torch", pytest.param("dali", marks=needs_dali)])
def test_no_file_is_decoded_twice(table, engine):
    cache = cache_of(table)
    assert len(list(epochs(table, cache, 3, engine))) == 3
    assert cache.decoded == len(table)


def test_pictures_are_the_same_whether_kept_in_memory_on_disk_or_not_at_all(table, tmp_path):
    nowhere = list(epochs(table, cache_of(table, memory=0)))
    on_disk, partly = {"memory": 0, "folder": tmp_path / "a"}, {"memory": 9000, "folder": tmp_path / "b"}
    for settings in ({"memory": PLENTY}, on_disk, partly):
        assert all(map(torch.equal, epochs(table, cache_of(table, **settings)), nowhere))


def test_a_later_run_decodes_nothing_that_is_on_disk(table, tmp_path):
    first = cache_of(table, tmp_path / "kept", all_on_disk=True)
    expected = list(epochs(table, first))
    second = cache_of(table, tmp_path / "kept", all_on_disk=True)
    assert all(map(torch.equal, epochs(table, second), expected))
    assert (first.decoded, second.decoded) == (len(table), 0)


def test_what_fits_in_memory_stays_off_the_disk(table, tmp_path):
    list(epochs(table, cache_of(table, tmp_path / "kept")))
    assert not (tmp_path / "kept").exists()


def test_a_file_that_changed_is_decoded_anew(table, tmp_path):
    cache_of(table, tmp_path / "kept", all_on_disk=True).open(0)
    cv2.imwrite(str(table[0].path), np.full((120, 126), 200, np.uint8))
    os.utime(table[0].path, ns=(1, 1))
    again = cache_of(table, tmp_path / "kept", all_on_disk=True)
    assert np.abs(again.open(0).decode(1).astype(int) - 200).max() <= 1
    assert again.decoded == 1


HARMS = [lambda b: b[:40], lambda b: b"", lambda b: b[:-1] + bytes([b[-1] ^ 1]), lambda b: b[:10]]


@pytest.mark.parametrize("harm", HARMS)
def test_a_damaged_file_of_the_cache_is_made_again(table, tmp_path, harm, caplog):
    folder = tmp_path / "kept"
    expected = cache_of(table, folder, all_on_disk=True).open(3).decode(1)
    (path,) = folder.glob("??/*")
    path.write_bytes(harm(path.read_bytes()))
    again = cache_of(table, folder, all_on_disk=True)
    assert np.array_equal(again.open(3).decode(1), expected)
    assert again.decoded == 1
    assert "is damaged and is made again" in caplog.text
    assert np.array_equal(cache_of(table, folder).disk.read(path.parent.name + path.name).decode(1), expected)


def test_other_settings_share_no_pictures(table, tmp_path):
    cache_of(table, tmp_path / "kept", all_on_disk=True).open(0)
    other = PictureCache(table, Canvas(64, 64), CacheSettings(PLENTY, tmp_path / "kept"))
    other.open(0)
    assert other.decoded == 1


def test_a_full_cache_goes_on_without_and_says_so_once(table, tmp_path, caplog):
    cache = cache_of(table, tmp_path / "kept", memory=0, size=8000)
    whole = list(epochs(table, cache))
    assert len(whole) == 2
    assert caplog.text.count("as many as --cache allows; further pictures are decoded in every epoch") == 1
    assert sum(path.stat().st_size for path in (tmp_path / "kept").glob("??/*")) <= 8000


def test_pictures_of_earlier_runs_make_room_for_new_ones(table, tmp_path):
    folder = tmp_path / "kept"
    cache_of(table, folder, all_on_disk=True).open(0)
    (old,) = folder.glob("??/*")
    os.utime(old, (1, 1))
    cache_of(table, folder, all_on_disk=True, size=old.stat().st_size + 10).open(1)
    (new,) = folder.glob("??/*")
    assert new != old


def test_a_folder_that_cannot_be_written_to_costs_one_line(table, tmp_path, caplog):
    (tmp_path / "kept").write_text("a file in the way")
    assert len(list(epochs(table, cache_of(table, tmp_path / "kept", memory=0)))) == 2
    assert caplog.text.count("can't be written to") == 1


def test_two_runs_at_once_share_a_folder(table, tmp_path):
    caches = [cache_of(table, tmp_path / "kept", all_on_disk=True) for _ in range(2)]
    drawn = [[] for _ in caches]
    for a, b in zip(*(epochs(table, cache) for cache in caches), strict=True):
        drawn[0].append(a)
        drawn[1].append(b)
    assert all(map(torch.equal, *drawn))
    assert not list((tmp_path / "kept").glob("??/.*"))


def test_an_unreadable_picture_stays_named_and_out(table):
    table[2].path.write_bytes(table[2].path.read_bytes()[:300])
    cache = cache_of(table)
    loader = build_loader(table, RECIPE, batch_size=5, training=True, device=CPU, engine="torch", cache=cache)
    for epoch in range(2):
        loader.set_epoch(epoch)
        assert sum(int(batch.weights.sum()) for batch in loader) == len(table) - 1
    assert list(loader.failures) == [str(table[2].path)]


def test_small_pictures_are_kept_as_they_are(tmp_path, draw_folder):
    table = read_folder(draw_folder(tmp_path / "small", {"train": 2}, side=30))
    assert np.array_equal(cache_of(table).open(1).decode(1), open_image(table[1]).decode(1))


@pytest.mark.walkthrough
@pytest.mark.parametrize("preset", ["radiograph", "classic2021"])
def test_real_radiographs_from_the_cache_are_as_close_to_exact_as_from_their_files(shared, preset):
    table = read_folder(shared / "data" / "kermany_native")
    recipe = find_recipe(preset, 224)
    cache = PictureCache(table, recipe.canvas, CacheSettings(2**28, None))
    loader = build_loader(table, recipe, batch_size=10, training=True, device=CPU, engine="torch", cache=cache)
    batch = next(iter(loader))
    differences = []
    for position, index in enumerate(batch.indices.tolist()):
        image = open_image(table[index])
        view = recipe.training_view(0, 0, position, image.width, image.height)
        exact = exact_rendering(table[index].path, view, 224)
        differences.append(np.abs(batch.images[position, 0].numpy() - exact).mean())
    assert np.mean(differences) < 1.5
    assert np.max(differences) < 2.5


def test_close_views_come_from_the_file(shared):
    table = read_folder(shared / "data" / "kermany_native")
    table = table.with_samples(table[i] for i in range(0, len(table), 12))
    recipe = SSDRecipe(Canvas(96, 96), crop_scale=(0.3, 0.3), zoom_out=(1.0, 1.0))
    options = {"batch_size": 10, "training": True, "device": CPU, "engine": "torch"}
    (from_files,) = build_loader(table, recipe, **options)
    cache = PictureCache(table, recipe.canvas, CacheSettings(2**28, None))
    (kept,) = build_loader(table, recipe, cache=cache, **options)
    same = [torch.equal(a, b) for a, b in zip(kept.images, from_files.images, strict=True)]
    images = [cache.open(index) for index in kept.indices.tolist()]
    views = recipe.training_views(0, 0, 0, [(image.width, image.height) for image in images])
    close = ~cache.serves(images, views)
    assert close.any()
    assert all(s for s, c in zip(same, close, strict=True) if c)


def test_settings_are_read_from_one_word(tmp_path):
    assert cache_settings("off") is None
    auto = cache_settings("auto")
    assert auto.memory > 0
    assert not auto.all_on_disk
    assert cache_settings("50GB").size == 50 * 2**30
    assert cache_settings("1.5T").size == 3 * 2**39
    own = cache_settings(str(tmp_path / "mine"))
    assert (own.folder, own.all_on_disk) == (tmp_path / "mine", True)
    with pytest.raises(UsageError, match="--cache 0GB leaves no room"):
        cache_settings("0GB")
    (tmp_path / "file").touch()
    with pytest.raises(UsageError, match="is a file"):
        cache_settings(str(tmp_path / "file"))
