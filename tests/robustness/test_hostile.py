"""Names, archives, signals and keys that mean no good."""

import json
import os
import signal
import stat
import subprocess
import sys
import zipfile
import zlib
from pathlib import Path

import cv2
import numpy as np
import pydicom.data
import pytest
import typer
from typer.main import get_command

from tests.robustness.writers import all_writers
from xraycls.cli import detector, main
from xraycls.cli.secrets import hide_keys, keys_in
from xraycls.data.dicom import dataset as dicom
from xraycls.data.dicom.header import read_header
from xraycls.data.dicom.open import open_dicom
from xraycls.data.download.extract import STAGING, unpack
from xraycls.data.files import LONGEST_NAME, atomic_write, fitting_name, name_problem, share_file
from xraycls.data.formats.whole import complete_or_not
from xraycls.data.lock import LOCK
from xraycls.data.partial_store import PartialStore
from xraycls.data.pictures import list_images
from xraycls.data.prepare import prepare
from xraycls.data.store import read_store
from xraycls.errors import DataError, UsageError, XrayclsError, as_user_error
from xraycls.tao.mounts import Mounts
from xraycls.training.interrupt import stop_on_signal
from xraycls.types import Sample
from xraycls.workflows.cam import cam_path


@pytest.mark.parametrize("name", ["a" * 256, "é" * 128, "a\0b", "\ud800", "b/" * 2100])
def test_a_name_that_no_file_can_have_is_told_and_others_go_on(name, tmp_path):
    assert name_problem(name)
    with pytest.raises(UsageError):
        Mounts().path(name)
    good = tmp_path / "good.png"
    good.write_bytes(b"")
    assert [sample.path for sample in list_images([Path(name), good])] == [Path(name), good]


def test_names_of_results_fit_and_stay_apart(tmp_path):
    samples = [Sample(tmp_path / f"{'é' * 120}{end}.png") for end in "ab"]
    taken: set[Path] = set()
    paths = [cam_path("ResNet18", sample, tmp_path, alone=False, taken=taken) for sample in samples]
    for path in paths:
        path.write_bytes(b"")
    assert len({path.name for path in paths}) == 2
    assert len(os.fsencode(fitting_name("a" * 300, ".png"))) == LONGEST_NAME


@pytest.mark.parametrize(
    "error",
    [
        ValueError("embedded null byte"),
        UnicodeEncodeError("utf-8", "\ud800", 0, 1, "surrogates not allowed"),
        MemoryError(),
        RecursionError(),
        FileNotFoundError(2, "No such file or directory"),
        OSError(28, "No space left on device"),
        ImportError("libtorch.so: failed to map segment from shared object"),
    ],
)
def test_errors_of_the_system_are_sentences(error):
    assert str(as_user_error(error)).endswith(".")
    assert as_user_error(KeyError("a bug")) is None


@pytest.mark.parametrize("place", ["a", STAGING, f"{STAGING}/a"])
def test_an_archive_is_not_unpacked_through_a_symbolic_link(tmp_path, place):
    with zipfile.ZipFile(tmp_path / "a.zip", "w") as bundle:
        bundle.writestr("a/file.txt", "content")
    outside, folder = tmp_path / "outside", tmp_path / "folder"
    outside.mkdir()
    (folder / place).parent.mkdir(parents=True)
    (folder / place).symlink_to(outside)
    with pytest.raises(DataError, match="is a symbolic link, and was not followed"):
        unpack(tmp_path / "a.zip", folder)
    assert not any(outside.iterdir())


def test_a_deflated_dicom_is_refused_while_it_unpacks(tmp_path, monkeypatch):
    content = Path(str(pydicom.data.get_testdata_file("image_dfl.dcm", download=False))).read_bytes()
    end = 144 + int.from_bytes(content[140:144], "little")
    packer = zlib.compressobj(9, zlib.DEFLATED, -zlib.MAX_WBITS)
    body = zlib.decompress(content[end:], -zlib.MAX_WBITS)
    (tmp_path / "bomb.dcm").write_bytes(content[:end] + packer.compress(body + bytes(4 << 20)) + packer.flush())
    (tmp_path / "sound.dcm").write_bytes(content)
    monkeypatch.setattr(dicom, "MOST_INFLATED", 1 << 20)
    assert open_dicom(tmp_path / "sound.dcm").pixels().shape == (512, 512)
    for read in (open_dicom, read_header):
        with pytest.raises(DataError, match="unpacks to more than 1 MB, and was refused"):
            read(tmp_path / "bomb.dcm")


def _modes(folder):
    return [(path.name, stat.S_IMODE(path.stat().st_mode)) for path in folder.iterdir()]


def test_temporary_files_are_read_by_their_owner_alone(tmp_path, monkeypatch):
    before = os.umask(0o022)
    try:
        with atomic_write(tmp_path / "file") as temporary:
            assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
            temporary.write_text("content")
        share_file(tmp_path / "file", tmp_path / "second")
        with complete_or_not(tmp_path / "folder", {}) as partial:
            assert stat.S_IMODE(partial.stat().st_mode) == 0o700
        source = tmp_path / "films" / "a"
        source.mkdir(parents=True)
        cv2.imwrite(str(source / "film.png"), np.zeros((16, 16), np.uint8))
        found = []
        with monkeypatch.context() as patch:
            patch.setattr(PartialStore, "put", lambda store, *_: found.extend(_modes(store.folder)) or 1 / 0)
            with pytest.raises(ZeroDivisionError):
                prepare(source.parent, tmp_path / "store", size=8)
        assert {name: mode for name, mode in found if name != LOCK} == {"pixels.partial": 0o600, "journal.jsonl": 0o600}
        prepare(source.parent, tmp_path / "store", size=8)
        assert dict(_modes(tmp_path / "store")) == {"pixels.npy": 0o644, "store.json": 0o644}
    finally:
        os.umask(before)
    modes = [stat.S_IMODE((tmp_path / name).stat().st_mode) for name in ("file", "second", "folder")]
    assert modes == [0o644, 0o644, 0o755]
    assert (tmp_path / "file").samefile(tmp_path / "second")


def test_what_a_kill_left_aside_is_put_back_before_it_is_replaced(tmp_path):
    (tmp_path / ".folder.replaced").mkdir()
    (tmp_path / ".folder.replaced" / "old").write_text("old")
    with pytest.raises(RuntimeError), complete_or_not(tmp_path / "folder", {}):
        raise RuntimeError
    assert (tmp_path / "folder" / "old").read_text() == "old"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_training_stops_at_the_next_step_on(number):
    before = signal.signal(number, signal.SIG_DFL)  # nohup ignores SIGHUP, and what is ignored stays so
    try:
        with stop_on_signal() as wish:
            os.kill(os.getpid(), number)
            assert wish.wanted
    finally:
        signal.signal(number, before)


def test_a_hangup_that_nohup_ignores_stays_ignored():
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with stop_on_signal() as wish:
            os.kill(os.getpid(), signal.SIGHUP)
            assert not wish.wanted
    finally:
        signal.signal(signal.SIGHUP, before)


def test_keys_are_found_in_every_spelling():
    words = [b"xraycls", b"-k", b"one", b"--key", b"two", b"--key=three", b"-kfour", b"-o", b"out"]
    words += [b"--enc_key", b"five", b"--enc-key=six", b"--ke", b"seven", b"--epochs", b"8"]
    joined = b"\0".join(words)
    assert [joined[at : at + length] for at, length in keys_in(words)] == [
        b"one",
        b"two",
        b"three",
        b"four",
        b"five",
        b"six",
        b"seven",
    ]


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="needs /proc")
def test_keys_vanish_from_the_list_of_processes():
    code = f"from {hide_keys.__module__} import hide_keys\nhide_keys()\nprint(open('/proc/self/cmdline').read())"
    command = [sys.executable, "-c", code, "-k", "SECRET", "--key=SECRET", "-kSECRET"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert "SECRET" not in done.stdout
    assert done.stdout.count("*" * 6) == 3


@pytest.mark.slow
def test_a_key_is_in_no_file_log_or_message(tmp_path, capfd, monkeypatch):
    key = "KEY-THAT-NOBODY-SEES"
    for variable in ("KAGGLE_KEY", "KAGGLE_API_TOKEN", "HF_TOKEN", "HUGGING_FACE_HUB_TOKEN"):
        monkeypatch.setenv(variable, key)
    (tmp_path / "sources").mkdir()
    all_writers(tmp_path / "sources")
    spec, results, log = tmp_path / "sources" / "spec.txt", tmp_path / "results", tmp_path / "log.txt"
    machine = "--device cpu --precision fp32 --loader torch --threads 1".split()
    with pytest.raises(SystemExit) as end:
        main(["ssd", "train", "-e", str(spec), "-r", str(results), "-k", key, "--log-file", str(log), *machine])
    assert not end.value.code
    assert len(list(results.rglob("*.tlt"))) == 2
    written = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert [path.name for path in written if key.encode() in path.read_bytes()] == []
    with pytest.raises(SystemExit):
        main(["doctor", "--json"])
    assert key not in "".join(capfd.readouterr())


def test_a_key_is_taken_from_the_environment(monkeypatch):
    monkeypatch.setenv("XRAYCLS_KEY", "of the environment")
    monkeypatch.setenv("OTHER", "of another")
    for command, given, expected in (
        (detector.evaluate, [], "of the environment"),
        (detector.evaluate, ["-k", "$OTHER"], "of another"),
        (detector.evaluate, ["-k", "plain"], "plain"),
    ):
        app = typer.Typer()
        app.command()(command)
        with get_command(app).make_context("evaluate", ["model", *given]) as context:
            assert context.params["key"] == expected


def test_passwords_in_addresses_are_shown_to_nobody():
    said = str(XrayclsError("No way to http://me:secret@proxy:8080/a", "Ask https://user:token@mirror/x?a=b:c@d"))
    assert said == "No way to http://***@proxy:8080/a. Ask https://***@mirror/x?a=b:c@d."


@pytest.mark.parametrize("field", ["crc32", "root", "name"])
def test_a_store_with_absurd_numbers_and_names_is_read_or_refused_in_a_sentence(tmp_path, field):
    (tmp_path / "films" / "a").mkdir(parents=True)
    cv2.imwrite(str(tmp_path / "films" / "a" / "film.png"), np.zeros((16, 16), np.uint8))
    prepare(tmp_path / "films", tmp_path / "store", size=8)
    file = tmp_path / "store" / "store.json"
    held = json.loads(file.read_text())
    if field == "crc32":
        held["pictures"]["crc32"] = [2**64]
    elif field == "root":
        held["settings"]["root"] = "/" + "a" * 300
    else:
        held["sources"]["name"] = ["a\0b"]
    file.write_text(json.dumps(held))
    if field == "crc32":
        with pytest.raises(DataError, match="is damaged: a checksum"):
            read_store(file.parent)
    else:
        assert len(read_store(file.parent)) == 1
