"""Folders of TAO's container, found on this machine."""

import contextlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from xraycls.errors import DataError, UsageError
from xraycls.tao.mounts import Mounts, read_mounts


@pytest.fixture
def mounted(tmp_path):
    """Reads mounts from two folders that stand for the working folder and home."""
    here, home = tmp_path / "here", tmp_path / "home"
    here.mkdir()
    home.mkdir()

    def read(*given: str) -> Mounts:
        return read_mounts(given, folder=here, home=home)

    return read


def mounts_file(folder: Path, name: str = ".tao_mounts.json", variables: dict | None = None, **mounts: str) -> None:
    entries = [{"source": source, "destination": f"/workspace/{name}"} for name, source in mounts.items()]
    envs = [{"variable": name, "value": value} for name, value in (variables or {}).items()]
    content = json.dumps({"Mounts": entries, "Envs": envs, "DockerOptions": {"user": "1000:1000"}})
    (folder / name).write_text(content, encoding="utf-8-sig")  # as editors on Windows save it


def test_a_path_that_no_mount_covers_is_left_as_it_is(mounted):
    assert mounted().path("/data/x.txt") == Path("/data/x.txt")
    assert mounted("/workspace/a=/b").path("relative/x") == Path("relative/x")


def test_the_deepest_mount_wins_and_parts_of_names_do_not_count(mounted):
    mounts = mounted("/workspace/tlt-experiments=/one", "/workspace/tlt-experiments/data=/two")
    assert mounts.path("/workspace/tlt-experiments/specs/a.txt") == Path("/one/specs/a.txt")
    assert mounts.path("/workspace/tlt-experiments/data/a") == Path("/two/a")
    assert mounts.path("/workspace/tlt-experiments/database") == Path("/one/database")
    assert mounts.path("/workspace/tlt-experiments") == Path("/one")


@pytest.mark.parametrize("spelling", ["/data/x/data", "/data/x/data/", "/data//x/data", "//data/x/data"])
def test_slashes_too_many_change_nothing(mounted, spelling):
    assert mounted("/data/x/=/here//").path(spelling) == Path("/here/data")
    assert mounted(f"{spelling}=/here").path("/data/x/data/a") == Path("/here/a")
    with pytest.raises(DataError, match=r"There is no folder /data/x/data\. Say where .*--mount /data/x=FOLDER"):
        mounted().existing(spelling, "folder")


@pytest.mark.parametrize("name", [".tao_mounts.json", ".tlt_mounts.json"])
def test_the_launchers_file_is_honoured(mounted, tmp_path, name):
    mounts_file(tmp_path / "home", name, tao="/from-home", old="/kept")
    assert mounted().path("/workspace/tao/x") == Path("/from-home/x")
    mounts_file(tmp_path / "here", name, tao="/from-here")
    assert mounted().path("/workspace/tao/x") == Path("/from-here/x")
    assert mounted().path("/workspace/old/x") == Path("/kept/x")
    assert mounted("/workspace/tao=/given").path("/workspace/tao/x") == Path("/given/x")


def test_variables_come_from_the_file_and_the_environment(mounted, tmp_path, monkeypatch):
    monkeypatch.setenv("DATA", "/outside")
    assert mounted().path("$DATA/a/${DATA}") == Path("/outside/a/outside")
    mounts_file(tmp_path / "here", variables={"DATA": "/workspace/tao/data"}, tao="/mine")
    assert mounted().path("$DATA/a") == Path("/mine/data/a")


def test_home_is_expanded(mounted, monkeypatch):
    monkeypatch.setenv("HOME", "/home/me")
    assert mounted("/workspace/a=~/data").path("/workspace/a/b") == Path("/home/me/data/b")
    assert mounted().path("~/c") == Path("/home/me/c")
    assert mounted().path("~nobody/c") == Path("~nobody/c")


def test_what_is_wrong_is_one_sentence(mounted, tmp_path):
    with pytest.raises(UsageError, match=r"The variable \$NOWHERE_AT_ALL in \$NOWHERE_AT_ALL/a is not set. Set it"):
        mounted().path("$NOWHERE_AT_ALL/a")
    with pytest.raises(UsageError, match=r"--mount /workspace is no mount\. Write --mount"):
        mounted("/workspace")
    with pytest.raises(DataError, match=r"There is no folder /workspace/tlt-experiments/data. Say where it lies here: "
                                        r"--mount /workspace/tlt-experiments=FOLDER"):  # fmt: skip
        mounted().existing("/workspace/tlt-experiments/data", "folder")
    with pytest.raises(DataError, match=r"There is no folder /gone/data\.$"):
        mounted("/workspace/a=/gone").existing("/workspace/a/data", "folder")
    (tmp_path / "here" / ".tao_mounts.json").write_text('{"Mounts": [{"from": "here"}]}')
    with pytest.raises(DataError, match=r"\.tao_mounts\.json is no mounts file of TAO's launcher. It needs"):
        mounted()


ENTRIES = st.dictionaries(st.sampled_from(["source", "destination", "variable", "value"]), st.text() | st.integers())
FILES = st.dictionaries(st.sampled_from(["Mounts", "Envs"]), st.lists(ENTRIES) | st.text() | st.none())


@given(st.binary() | (FILES | st.lists(ENTRIES)).map(lambda content: json.dumps(content).encode()))
def test_any_mounts_file_is_mounts_or_one_error(tmp_path_factory, content):
    folder = tmp_path_factory.getbasetemp() / "any-mounts"
    folder.mkdir(exist_ok=True)
    (folder / ".tao_mounts.json").write_bytes(content)
    with contextlib.suppress(DataError):
        assert isinstance(read_mounts(folder=folder, home=folder), Mounts)
