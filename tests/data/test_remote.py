"""Data at an address: listed, fetched once, kept as long as it is current, and never taken for whole when it isn't."""

import functools
import hashlib
import http.server
import json
import os
import shutil
import threading
from pathlib import Path

import pytest
from fsspec.implementations.memory import MemoryFileSystem
from fsspec.registry import _registry

from xraycls.cli import main
from xraycls.data import remote
from xraycls.data.address import address_of, masked
from xraycls.data.phantom import write_phantom
from xraycls.data.pictures import list_images
from xraycls.data.prepare import prepare
from xraycls.data.remote import local_copy
from xraycls.data.source import read_source
from xraycls.errors import DataError, MissingExtra, UsageError, XrayclsError


class Bucket(MemoryFileSystem):
    """Object storage in memory, with the tags of S3; ``harm`` is done to what is fetched."""

    protocol = "s3"
    store: dict = {}  # noqa: RUF012 - fsspec's own way
    pseudo_dirs: list = [""]  # noqa: RUF012
    cachable = False
    fetched: list = []  # noqa: RUF012
    harm = staticmethod(lambda path, target: None)

    @classmethod
    def _strip_protocol(cls, path):
        return super()._strip_protocol(str(path).removeprefix("s3:"))

    def ls(self, path, detail=True, **_):
        return [self._tagged(entry) for entry in super().ls(path, detail=True)]

    def info(self, path, **_):
        return self._tagged(super().info(path))

    def _tagged(self, entry):
        if entry["type"] == "directory":
            return entry
        return {**entry, "ETag": hashlib.md5(self.store[entry["name"]].getvalue()).hexdigest()}

    def get_file(self, path, target, **_):
        Bucket.fetched.append(path.rpartition("/")[2])
        Path(target).write_bytes(self.store[self._strip_protocol(path)].getvalue())
        Bucket.harm(path, Path(target))


@pytest.fixture(scope="module")
def films(tmp_path_factory):
    folder = tmp_path_factory.mktemp("films")
    write_phantom(folder, images=8, size=64, threads=1)
    return folder


@pytest.fixture
def bucket(films, tmp_path, monkeypatch):
    monkeypatch.setenv("XRAYCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(_registry, "s3", Bucket)
    monkeypatch.setattr(Bucket, "store", {})
    monkeypatch.setattr(Bucket, "pseudo_dirs", [""])
    monkeypatch.setattr(Bucket, "fetched", [])
    system = Bucket()
    put(system, films, "/bucket/films")
    return system


def put(system, folder, place):
    for path in folder.rglob("*"):
        if path.is_file():
            system.pipe_file(f"{place}/{path.relative_to(folder).as_posix()}", path.read_bytes())


def contents(folder):
    files = (path for path in folder.rglob("*") if path.is_file() and not path.name.startswith("."))
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in files}


def test_a_path_is_no_address():
    assert address_of(Path("films/s3")) is None
    assert local_copy(Path("films")) == Path("films")


def test_what_an_address_carries_of_secrets_is_not_shown():
    assert masked("s3://key:secret@bucket/films?token=abc") == "s3://bucket/films"


def test_a_folder_is_read_as_if_it_lay_here_and_fetched_once(bucket, films):
    table = read_source(Path("s3://bucket/films"))
    own = read_source(films)
    assert [(table.name_of(s), s.label, s.patient, s.split) for s in table] == [
        (own.name_of(s), s.label, s.patient, s.split) for s in own
    ]
    assert contents(table.root) == contents(films)
    first = len(bucket.fetched)
    assert first == len(contents(films))
    read_source(Path("s3://bucket/films/"))
    assert len(bucket.fetched) == first


def test_what_changed_or_went_there_changes_and_goes_here(bucket, films):
    folder = local_copy(Path("s3://bucket/films"))
    names = sorted(contents(films))
    bucket.pipe_file(f"/bucket/films/{names[0]}", b"another picture")
    bucket.rm_file(f"/bucket/films/{names[1]}")
    bucket.fetched.clear()
    assert local_copy(Path("s3://bucket/films")) == folder
    assert bucket.fetched == [Path(names[0]).name]
    assert (folder / names[0]).read_bytes() == b"another picture"
    assert not (folder / names[1]).exists()


def test_a_table_comes_with_its_folder_unless_its_pictures_lie_elsewhere(bucket, films):
    rows = [f"{path.relative_to(films).as_posix()},{path.parent.name}" for path in sorted(films.rglob("*.jp*g"))]
    bucket.pipe_file("/bucket/films/table.csv", "\n".join(["path,label", *rows]).encode())
    bucket.pipe_file("/bucket/tables/table.csv", "\n".join(["path,label", *rows]).encode())
    assert len(read_source(Path("s3://bucket/films/table.csv"))) == len(rows)
    bucket.fetched.clear()
    assert len(read_source(Path("s3://bucket/tables/table.csv"), images=films)) == len(rows)
    assert bucket.fetched == ["table.csv"]


def test_a_picture_comes_alone(bucket, films):
    name = max(contents(films))
    (sample,) = list_images([Path(f"s3://bucket/films/{name}")])
    assert sample.path.read_bytes() == contents(films)[name]
    assert bucket.fetched == [Path(name).name]


def test_a_prepared_store_is_read(bucket, films, tmp_path):
    prepare(films, tmp_path / "store", size=16)
    put(bucket, tmp_path / "store", "/bucket/store")
    table = read_source(Path("s3://bucket/store"))
    assert (table.source, len(table)) == ("prepared", 8)


def refuse(path, target):
    raise PermissionError("key AKIASECRET")


def leave(path, target):
    raise ConnectionError("https://user:AKIASECRET@host")


def cut(path, target):
    target.write_bytes(target.read_bytes()[:10])


def vanish(path, target):
    raise FileNotFoundError(path)


@pytest.mark.parametrize(
    ("harm", "said"),
    [
        (refuse, "may not be read: the server refuses it"),
        (leave, r"could not be reached, or broke off \(ConnectionError\)"),
        (cut, r"with 10 of [\d,]+ bytes: cut short, or changed meanwhile"),
        (vanish, "There is nothing at s3://bucket/films, "),
    ],
)
def test_what_fails_half_way_is_one_sentence_and_the_next_run_goes_on(bucket, films, monkeypatch, harm, said):
    monkeypatch.setattr(remote, "_THREADS", 1)
    last = max(contents(films))
    monkeypatch.setattr(Bucket, "harm", lambda path, target: harm(path, target) if path.endswith(last) else None)
    with pytest.raises(DataError, match=said) as raised:
        local_copy(Path("s3://bucket/films"))
    assert "SECRET" not in str(raised.value)
    monkeypatch.setattr(Bucket, "harm", lambda path, target: None)
    bucket.fetched.clear()
    folder = local_copy(Path("s3://bucket/films"))
    assert contents(folder) == contents(films)
    assert Path(last).name in bucket.fetched
    assert len(bucket.fetched) < len(contents(films))


@pytest.mark.parametrize("harm", ["cut short", "not noted", "noted by half a line"])
def test_what_a_kill_or_a_bad_disk_left_is_fetched_again(bucket, films, harm):
    folder = local_copy(Path("s3://bucket/films"))
    journal = folder.parent / ".journal.jsonl"
    *lines, line = journal.read_text().splitlines(keepends=True)
    path, _ = json.loads(line)
    if harm == "cut short":
        (folder / path).write_bytes(b"half")
    else:
        journal.write_text("".join(lines) + (line[:-9] if harm == "noted by half a line" else ""))
    bucket.fetched.clear()
    local_copy(Path("s3://bucket/films"))
    assert bucket.fetched == [Path(path).name]
    assert contents(folder) == contents(films)


def test_two_at_once_take_turns(bucket, films):
    done = []
    runs = [threading.Thread(target=lambda: done.append(local_copy(Path("s3://bucket/films")))) for _ in range(2)]
    for run in runs:
        run.start()
    for run in runs:
        run.join()
    assert done[0] == done[1]
    assert len(bucket.fetched) == len(contents(films))


def test_a_full_disk_is_told_before_anything_is_fetched(bucket, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda _: type("Usage", (), {"free": 2**20}))
    with pytest.raises(XrayclsError, match="has no room for the"):
        local_copy(Path("s3://bucket/films"))
    assert bucket.fetched == []


def end_of_process():
    """What the system does when a process ends."""
    for handle in remote._held.values():
        os.close(handle)
    remote._held.clear()


def test_copies_used_the_longest_ago_go_when_all_of_them_take_too_much(bucket, films, monkeypatch, caplog):
    for name in ("second", "third", "fourth"):
        put(bucket, films, f"/bucket/{name}")
    copies = [local_copy(Path(f"s3://bucket/{name}")) for name in ("films", "second", "third")]
    for age, copy in enumerate(copies):
        os.utime(copy.parent / ".journal.jsonl", (10**9 + age, 10**9 + age))
    local_copy(Path("s3://bucket/films"))  # used again
    end_of_process()
    one = sum(path.stat().st_size for path in copies[0].rglob("*") if path.is_file())
    monkeypatch.setenv("XRAYCLS_REMOTE_SIZE", str(int(3.5 * one)))
    fourth = local_copy(Path("s3://bucket/fourth"))
    assert [copy.exists() for copy in (*copies, fourth)] == [True, False, True, True]
    assert caplog.text.count("used the longest ago") == 1
    monkeypatch.setenv("XRAYCLS_REMOTE_SIZE", "1KB")  # what is asked for comes all the same
    assert contents(local_copy(Path("s3://bucket/second"))) == contents(films)
    assert fourth.exists()  # this process uses it
    assert not copies[0].exists()
    assert not copies[2].exists()


def test_copies_go_where_the_disk_has_no_room_for_others(bucket, films, monkeypatch):
    put(bucket, films, "/bucket/second")
    first = local_copy(Path("s3://bucket/films"))
    end_of_process()
    full = lambda _: shutil._ntuple_diskusage(2**40, 2**40, 0 if first.exists() else 2**40)  # noqa: E731
    monkeypatch.setattr(remote.shutil, "disk_usage", full)
    assert contents(local_copy(Path("s3://bucket/second"))) == contents(films)


def test_a_limit_that_is_no_size_is_one_sentence(bucket, monkeypatch):
    monkeypatch.setenv("XRAYCLS_REMOTE_SIZE", "much")
    with pytest.raises(UsageError, match="XRAYCLS_REMOTE_SIZE is much, and that is no size"):
        local_copy(Path("s3://bucket/films"))


def test_nothing_at_an_address(bucket):
    with pytest.raises(DataError, match="There is nothing at s3://bucket/other"):
        local_copy(Path("s3://bucket/other"))


def test_a_name_that_leads_out_of_the_folder_is_refused(bucket, monkeypatch):
    monkeypatch.setattr(
        Bucket, "ls", lambda self, path, detail=True: [{"name": f"{path}/../../x.png", "size": 1, "type": "file"}]
    )
    with pytest.raises(DataError, match="can't be the name of a file here"):
        local_copy(Path("s3://bucket/films"))


def test_a_missing_package_names_its_extra(monkeypatch, tmp_path):
    def lacking(*_, **__):
        raise ImportError("Install s3fs to access S3")

    monkeypatch.setenv("XRAYCLS_CACHE", str(tmp_path))
    monkeypatch.setattr("fsspec.core.url_to_fs", lacking)
    with pytest.raises(MissingExtra, match="s3fs is not installed"):
        local_copy(Path("s3://bucket/films"))
    with pytest.raises(XrayclsError, match="pip install gcsfs"):
        local_copy(Path("gs://bucket/films"))


def test_commands_take_addresses(bucket, capsys):
    with pytest.raises(SystemExit, match="0"):
        main(["data", "list", "s3://bucket/films", "--json"])
    listed = json.loads(capsys.readouterr().out)
    assert sum(sum(part["images"].values()) for part in listed["parts"].values()) == 8


class Half(http.server.SimpleHTTPRequestHandler):
    """A web server that breaks off in the middle of every picture."""

    def log_message(self, *_):
        pass

    def copyfile(self, source, outputfile):
        content = source.read()
        outputfile.write(content if content[:1] == b"<" or not self.server.breaks else content[: len(content) // 2])


@pytest.fixture
def server(films, tmp_path, monkeypatch):
    pytest.importorskip("aiohttp", reason="fsspec reads web servers with aiohttp, of the extra remote")
    monkeypatch.setenv("XRAYCLS_CACHE", str(tmp_path / "cache"))
    serving = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(Half, directory=str(films)))
    serving.breaks = False
    threading.Thread(target=serving.serve_forever, daemon=True).start()
    yield serving
    serving.shutdown()
    serving.server_close()


def test_a_web_server_that_lists_its_folders_is_read(server, films):
    address = f"http://127.0.0.1:{server.server_port}/train"
    assert contents(local_copy(Path(address))) == contents(films / "train")
    with pytest.raises(DataError, match="There is nothing at"):
        local_copy(Path(f"{address}/none.csv"), alone=True)


def test_a_web_server_that_breaks_off_or_is_gone_is_one_sentence(server):
    address = f"http://127.0.0.1:{server.server_port}/train"
    server.breaks = True
    with pytest.raises(DataError, match=r"broke off|cut short"):
        local_copy(Path(address))
    server.shutdown()
    server.server_close()
    with pytest.raises(DataError, match="could not be reached"):
        local_copy(Path(address))


@pytest.fixture
def storage(films, tmp_path, monkeypatch):
    moto = pytest.importorskip("moto.server", reason="a local S3 server needs moto[server]")
    pytest.importorskip("s3fs", reason="fsspec reads S3 with s3fs, of the extra remote")
    serving = moto.ThreadedMotoServer(ip_address="127.0.0.1", port=0)
    serving.start()
    monkeypatch.setenv("XRAYCLS_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://{}:{}".format(*serving.get_host_and_port()))
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIASECRET")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "SECRET")
    monkeypatch.setenv("AWS_DEFAULT_REGION", "us-east-1")
    import s3fs

    s3fs.S3FileSystem.clear_instance_cache()  # they would ask the server of another test
    system = s3fs.S3FileSystem()
    system.makedirs("bucket", exist_ok=True)
    system.put(f"{films}/", "bucket/films/", recursive=True)
    yield system
    serving.stop()


def test_a_bucket_of_a_real_server_is_read_and_kept_current(storage, films):
    folder = local_copy(Path("s3://bucket/films"))
    assert contents(folder) == contents(films)
    name = max(contents(films))
    storage.pipe_file(f"bucket/films/{name}", b"another picture")
    assert contents(local_copy(Path("s3://bucket/films"))) == contents(films) | {name: b"another picture"}


def test_a_bucket_that_isnt_there_or_a_server_that_is_gone_is_one_sentence(storage, monkeypatch):
    with pytest.raises(DataError, match="There is nothing at s3://nowhere/films"):
        local_copy(Path("s3://nowhere/films"))
    monkeypatch.setenv("AWS_ENDPOINT_URL", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_MAX_ATTEMPTS", "1")
    type(storage).clear_instance_cache()
    with pytest.raises(DataError, match="could not be reached") as raised:
        local_copy(Path("s3://bucket/films"))
    assert "SECRET" not in str(raised.value)
