"""Shards of the commands that go through large data sets: all of them together are the whole, to the byte."""

import json
import shutil

import pytest

from xraycls.cli import main
from xraycls.data.merge import merge
from xraycls.data.phantom import write_phantom
from xraycls.data.shards import Shard, shards_folder
from xraycls.errors import DataError, UsageError

SHARDS = 4


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    """Phantoms in RSNA's layout, one of them twice and one damaged, and pictures in folders of their classes."""
    root = tmp_path_factory.mktemp("films")
    write_phantom(root / "rsna", images=14, size=96, layout="rsna")
    first, second, third, *_ = sorted((root / "rsna" / "stage_2_train_images").iterdir())
    shutil.copyfile(first, second)
    third.write_bytes(third.read_bytes()[:700])
    write_phantom(root / "folders", images=18, size=96)
    return root


def run(*words):
    with pytest.raises(SystemExit) as end:
        main(list(map(str, words)))
    assert not end.value.code


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes() for path in sorted(folder.rglob("*")) if path.is_file()
    }


COMMANDS = {
    "prepare": "prepare {films}/folders {target} --size 48",
    "prepare from DICOM": "prepare {films}/rsna {target} --size 48 --central-crop 0.9",
    "audit": "audit {films}/folders --output {target}",
    "audit of DICOM": "audit {films}/rsna --output {target}",
    "quick audit": "audit {films}/folders --quick --output {target}",
    "convert to KITTI": "convert {films}/rsna {target} --to kitti",
    "convert to COCO": "convert {films}/rsna {target} --to coco --pictures link",
    "convert to PNG": "convert {films}/rsna {target} --to png --headers drop",
    "rsna-features": "rsna-features {films}/rsna --output {target}",
}


LONG = ("prepare from DICOM", "audit of DICOM", "audit", "rsna-features", "convert to COCO", "convert to PNG")


@pytest.mark.parametrize(
    "command",
    [
        pytest.param(command, id=name, marks=[pytest.mark.walkthrough] if name in LONG else [])
        for name, command in COMMANDS.items()
    ],
)
def test_all_shards_merged_are_the_whole(command, films, tmp_path, monkeypatch):
    target = tmp_path / "result"  # the same name for both: some files tell their own
    words = ["data", *command.format(films=films, target=target).split()]
    run(*words)
    whole = contents(target)
    assert whole
    shutil.rmtree(target)
    for number in (3, 1, 4, 2):
        run(*words, "--shard", f"{number}/{SHARDS}")
        assert not target.exists()
    run("data", "merge", target)
    assert contents(target) == whole
    assert not shards_folder(target).exists()


@pytest.mark.parametrize("count", [0, 1, 3, 10])
def test_every_picture_belongs_to_one_shard(count):
    shared = [index for number in range(1, 5) for index in Shard(number, 4).indices(count)]
    assert sorted(shared) == list(range(count))


@pytest.mark.parametrize("text", ["0/4", "5/4", "1", "a/b", "1/0", "-1/4"])
def test_a_shard_that_isnt_one_is_refused(text):
    with pytest.raises(UsageError, match="names no part"):
        Shard.parse(text)


def test_what_is_wrong_with_shards_is_named(films, tmp_path):
    target = tmp_path / "store"
    words = ["data", "prepare", films / "folders", target, "--size", "32"]
    with pytest.raises(DataError, match="no shards that are done"):
        merge(target)
    run(*words, "--shard", "1/3")
    with pytest.raises(DataError, match="lacks 2 of 3 shards: 2/3, 3/3"):
        merge(target)
    run(*words, "--shard", "2/3")
    run(*words[:-1], "40", "--shard", "3/3")
    with pytest.raises(DataError, match=r"Shard 3 of .* is of other data or settings"):
        merge(target)
    run(*words, "--shard", "3/3")
    done = Shard(2, 3).folder(target) / "shard.json"
    kept = done.read_text()
    done.write_text(json.dumps({**json.loads(kept), "results": [[1]]}))
    with pytest.raises(DataError, match="damaged"):
        merge(target)
    done.write_text(kept)
    run(*words, "--shard", "1/2")
    with pytest.raises(DataError, match="shards of 2 and of 3 parts"):
        merge(target)
    shutil.rmtree(Shard(1, 2).folder(target))
    assert merge(target, keep=True).pictures == 18
    assert shards_folder(target).exists()


def test_data_that_changed_between_shard_and_merge_is_refused(films, tmp_path):
    data = shutil.copytree(films / "folders", tmp_path / "data")
    run("data", "prepare", data, tmp_path / "store", "--size", "32", "--shard", "1/1")
    next(data.rglob("*.jpeg")).unlink()
    with pytest.raises(DataError, match="has changed since the shards"):
        merge(tmp_path / "store")


def test_merging_counts_files_of_the_same_content(films, tmp_path, capsys):
    data = shutil.copytree(films / "folders", tmp_path / "data")
    first, *_, last = sorted(data.rglob("*.jpeg"))
    shutil.copyfile(first, last)
    for number in (1, 2):
        run("data", "prepare", data, tmp_path / "store", "--size", "32", "--shard", f"{number}/2")
    run("data", "merge", tmp_path / "store")
    assert "Groups of files with the very same content: 1." in capsys.readouterr().out


def test_what_a_shard_cant_share_is_refused(films, tmp_path, capsys):
    for words in (
        ["convert", films / "folders", tmp_path / "t.csv", "--to", "csv", "--shard", "1/2"],
        ["prepare", films / "folders", tmp_path / "s", "--strict", "--shard", "1/2"],
    ):
        with pytest.raises(SystemExit) as end:
            main(["data", *map(str, words)])
        assert end.value.code == 2
    assert "none are to be written" in " ".join(capsys.readouterr().err.split())
