"""The contract of every engine: the same samples, the same pictures, and no surprises between epochs."""

import gc
import os
import threading
from collections import Counter
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torchvision.transforms.functional import normalize

from tests.loaders.engines import ENGINES, build
from xraycls.data.folder import read_folder
from xraycls.errors import DataError
from xraycls.loaders.engine import Engine
from xraycls.loaders.normalization import Normalization
from xraycls.loaders.recipes.classification import find_recipe
from xraycls.loaders.sampler import Sampler
from xraycls.types import Batch

RECIPE = find_recipe("radiograph", 32)


@pytest.fixture(scope="module")
def table(tiny):
    return read_folder(tiny).split("train")


@pytest.fixture(params=ENGINES)
def kind(request):
    return request.param


@pytest.fixture
def load(kind, table):
    def make(table=table, *, training=True, batch_size=5, recipe=RECIPE, **options) -> Engine:
        of_sampler = {name: options.pop(name) for name in ("seed", "rank", "world", "balance") if name in options}
        sampler = Sampler(table.labels, batch_size, training=training, **of_sampler)
        return build(kind, table, recipe, sampler, **options)

    return make


def drawn(batches) -> Counter:
    return Counter(i for b in batches for i in b.indices[b.weights > 0].tolist())


def assert_same(found: list[Batch], expected: list[Batch]) -> None:
    assert len(found) == len(expected)
    for a, b in zip(found, expected, strict=True):
        for field in ("images", "labels", "indices", "weights"):
            assert torch.equal(getattr(a, field), getattr(b, field)), field


@pytest.mark.parametrize("training", [True, False])
def test_every_epoch_yields_exactly_the_multiset_of_the_sampler(load, training):
    loader = load(training=training, batch_size=7)
    for epoch in range(2):
        loader.set_epoch(epoch)
        found = list(loader)
        assert len(found) == len(loader) == 4
        assert drawn(found) == Counter(range(24))
        expected = list(loader.index_sampler.batches(epoch))
        assert [b.indices.tolist() for b in found] == [b.indices.tolist() for b in expected]


def test_balanced_epochs_follow_the_sampler_too(load):
    loader = load(balance=True, batch_size=7)
    assert drawn(loader) == Counter(loader.index_sampler.order(0).tolist())


def test_batches_are_grey_levels_with_the_labels_of_the_table(load, kind, table):
    batch = next(iter(load()))
    assert batch.images.shape == (5, 1, 32, 32)
    assert batch.images.dtype == torch.uint8
    assert batch.images.is_contiguous()
    assert batch.images.device.type == (kind[1].type if kind[0] != "torch" else "cpu")
    assert torch.equal(batch.labels, torch.from_numpy(table.labels)[batch.indices])
    assert batch.weights.dtype == torch.float32


def test_normalized_batches_are_those_of_torchvision(load):
    mean, std = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
    grey, loader = load(training=False, batch_size=7), load(training=False, batch_size=7)
    loader.normalization = Normalization(mean, std)
    for expected, found in zip(grey, loader, strict=True):
        assert found.images.dtype == torch.float32
        channels = (expected.images / 255).expand(-1, 3, -1, -1)
        torch.testing.assert_close(found.images, normalize(channels, mean, std), rtol=0, atol=2e-6)


def test_evaluation_keeps_the_order_and_ends_with_a_short_batch(load):
    found = list(load(training=False, batch_size=7))
    assert torch.cat([b.indices for b in found]).tolist() == list(range(24))
    assert [len(b.indices) for b in found] == [7, 7, 7, 3]
    assert len(found[-1].images) == 3


def test_training_batches_are_always_full_and_padding_counts_nothing(load):
    found = list(load(batch_size=7))
    assert [len(b.images) for b in found] == [7, 7, 7, 7]
    assert found[-1].weights.tolist() == [1, 1, 1, 0, 0, 0, 0]


@pytest.mark.parametrize("leave_at", [1, 2, 5])
def test_leaving_an_epoch_early_leaves_nothing_behind(load, leave_at):
    loader = load()
    loader.set_epoch(1)
    expected = list(load_epoch(loader, 1))
    loader.set_epoch(0)
    for number, _ in enumerate(loader, start=1):
        if number == leave_at:
            break
    assert_same(list(load_epoch(loader, 1)), expected)


def load_epoch(loader: Engine, epoch: int):
    loader.set_epoch(epoch)
    return iter(loader)


def test_two_iterations_at_once_do_not_disturb_each_other(load):
    loader = load()
    expected = list(loader)
    pairs = list(zip(loader, loader, strict=True))
    assert_same([a for a, _ in pairs], expected)
    assert_same([b for _, b in pairs], expected)
    assert_same(list(loader), expected)


def test_epochs_repeat_exactly_and_differ_from_each_other(load):
    loader, again = load(), load()
    first, second = list(load_epoch(loader, 0)), list(load_epoch(loader, 1))
    assert_same(list(load_epoch(again, 1)), second)
    assert_same(list(load_epoch(again, 0)), first)
    seen = [{int(i): p for b in e for i, p in zip(b.indices, b.images, strict=True)} for e in (first, second)]
    assert not any(torch.equal(seen[0][i], seen[1][i]) for i in range(24))


def test_evaluation_pictures_never_change(load):
    loader = load(training=False)
    assert_same(list(load_epoch(loader, 3)), list(load_epoch(loader, 0)))


def test_the_seed_changes_order_and_views(load):
    seen = [{int(i): p for b in load(seed=s) for i, p in zip(b.indices, b.images, strict=True)} for s in (0, 1)]
    assert list(seen[0]) != list(seen[1])
    assert not any(torch.equal(seen[0][i], seen[1][i]) for i in range(24))


def test_real_radiographs_shard_and_resume_exactly(load, shared):
    table = read_folder(shared / "data" / "kermany_native")
    table = table.with_samples(table[i] for i in range(0, len(table), 9))
    options = {"recipe": find_recipe("radiograph", 96), "batch_size": 3}
    ranks = [load(table, rank=rank, world=2, **options) for rank in range(2)]
    found = [list(rank) for rank in ranks]
    assert sum((drawn(batches) for batches in found), Counter()) == Counter(range(len(table)))
    ranks[1].load_state_dict({"epoch": 0, "batch": 1})
    assert_same(list(ranks[1]), found[1][1:])


@pytest.mark.parametrize("world", [2, 3])
def test_shards_cover_the_data_once_over_all_ranks(load, world):
    ranks = [list(load(batch_size=2, rank=rank, world=world)) for rank in range(world)]
    assert sum((drawn(batches) for batches in ranks), Counter()) == Counter(range(24))
    assert len({len(batches) for batches in ranks}) == 1


def test_shards_of_evaluation_repeat_no_sample(load):
    ranks = [list(load(training=False, batch_size=5, rank=rank, world=2)) for rank in range(2)]
    assert sum((drawn(batches) for batches in ranks), Counter()) == Counter(range(24))


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize("done", [0, 1, 3, 5])
def test_a_state_taken_in_mid_epoch_gives_exactly_the_rest(load, training, done):
    loader = load(training=training)
    loader.set_epoch(4)
    found, state = [], loader.state_dict()
    for batch in loader:
        found.append(batch)
        if len(found) == done:
            state = loader.state_dict()
    resumed = load(training=training)
    resumed.load_state_dict(state)
    assert resumed.state_dict() == state == {"epoch": 4, "batch": done}
    assert_same(list(resumed), found[done:])
    assert_same(list(resumed), found)  # the next epoch is whole again


def test_one_sample_is_enough(load, table):
    one = table.with_samples([table[3]])
    assert [b.indices.tolist() for b in load(one, training=False)] == [[0]]
    assert [b.weights.tolist() for b in load(one, training=True, batch_size=1)] == [[1.0]]


def test_a_corrupt_file_is_replaced_counted_and_named(load, tmp_path, draw_folder, caplog):
    table = read_folder(draw_folder(tmp_path / "data", {"train": 6}))
    garbage, empty = table[2].path, table[7].path
    garbage.write_bytes(b"\xff\xd8\xff garbage")
    empty.write_bytes(b"")
    loader = load(table, training=False, batch_size=5)
    for _ in range(2):
        found = list(loader)
        assert drawn(found) == Counter(i for i in range(12) if i not in (2, 7))
        assert torch.equal(found[0].images[2], found[0].images[0])
        assert torch.equal(found[1].images[2], found[1].images[0])
    assert sorted(loader.failures) == sorted([str(garbage), str(empty)])
    assert caplog.text.count(str(garbage)) == caplog.text.count(str(empty)) == 1
    others = [0, 1, 3, 4]
    alone = load(table.with_samples([table[i] for i in others]), training=False, batch_size=4)
    assert torch.equal(next(iter(alone)).images, found[0].images[others])


def test_a_batch_of_corrupt_files_only_is_black_and_counts_nothing(load, tmp_path, draw_folder):
    table = read_folder(draw_folder(tmp_path / "data", {"train": 2}))
    for sample in table:
        sample.path.write_bytes(b"\xff\xd8\xff\xe0 no")
    (batch,) = load(table, training=False)
    assert not batch.images.any()
    assert not batch.weights.any()


@pytest.mark.parametrize("content", [b"", b"\xff\xd8\xff garbage"])
def test_strict_stops_with_the_name_of_the_file(load, tmp_path, draw_folder, content):
    table = read_folder(draw_folder(tmp_path / "data", {"train": 4}))
    table[5].path.write_bytes(content)
    with pytest.raises(DataError, match=table[5].path.name):
        list(load(table, training=False, strict=True))


@pytest.mark.parametrize("training", [True, False])
def test_a_jpeg_cut_short_in_its_scan_fails_in_every_engine(load, tmp_path, draw_folder, training):
    """Its header is sound, and a decoder that stops at the end of its region would not even notice."""
    table = read_folder(draw_folder(tmp_path / "data", {"train": 6}, side=200))
    cut = table[4].path
    cut.write_bytes(cut.read_bytes()[: cut.stat().st_size * 9 // 10])
    loader = load(table, training=training)
    for epoch in range(2):
        assert drawn(load_epoch(loader, epoch)) == Counter(i for i in range(12) if i != 4)
    assert list(loader.failures) == [str(cut)]


def count(folder: str) -> int:
    return len(list(Path(folder).iterdir()))


def children() -> set[str]:
    """Processes that this one started and that still are."""
    stats = [path.read_text(errors="replace") for path in Path("/proc").glob("[0-9]*/stat") if path.exists()]
    return {text.split()[0] for text in stats if text.rpartition(")")[2].split()[1] == str(os.getpid())}


def taken_on(device: torch.device) -> int:
    """Bytes taken on a GPU, by torch and DALI alike."""
    if device.type != "cuda":
        return 0
    free, total = torch.cuda.mem_get_info(device)
    return total - free


@pytest.mark.exhaustive
@pytest.mark.skipif(not Path("/proc/self/fd").is_dir(), reason="needs /proc to count open files")
def test_twenty_loaders_leave_nothing_open(load, kind):
    def use() -> None:
        for _ in load():
            break
        list(load(training=False))

    use()  # what is opened once for good
    gc.collect()
    files, threads, tasks = count("/proc/self/fd"), threading.active_count(), count("/proc/self/task")
    processes, memory = children(), taken_on(kind[1])
    for _ in range(20):
        use()
    gc.collect()
    assert threading.active_count() == threads
    assert count("/proc/self/fd") <= files
    assert count("/proc/self/task") <= tasks
    assert children() == processes
    assert taken_on(kind[1]) <= memory + 2**26


def test_batches_carry_the_findings_of_their_pictures(load, table):
    shown = [(float(number % 2), None if number % 5 == 0 else 0.5) for number in range(len(table))]
    samples = (replace(sample, findings=values) for sample, values in zip(table, shown, strict=True))
    loader = load(replace(table, findings=("Edema", "Mass"), samples=tuple(samples)), batch_size=7)
    expected = torch.tensor([[a, float("nan") if b is None else b] for a, b in shown])
    for batch in loader:
        assert batch.targets is not None
        assert torch.equal(batch.targets.isnan(), expected[batch.indices].isnan())
        assert torch.equal(batch.targets.nan_to_num(), expected[batch.indices].nan_to_num())
    assert all(batch.targets is None for batch in load())
