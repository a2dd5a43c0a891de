"""Unpacking: what comes out, what is refused, and what a stop leaves behind."""

import shutil
import stat
import struct
import zipfile
from itertools import accumulate
from pathlib import Path, PurePosixPath, PureWindowsPath

import pytest
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from tests.data.download.kaggle_stand_in import FILES, archive_of, noise
from xraycls.data.download import Limits, unpack
from xraycls.data.download.members import safe_parts
from xraycls.errors import DataError, XrayclsError


def contents(folder):
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


@pytest.fixture
def packed(tmp_path):
    """Writes an archive of (name or ZipInfo, content) pairs, in their order and with repetitions."""

    def write(*members, compression=zipfile.ZIP_DEFLATED):
        path = tmp_path / "set.zip"
        with zipfile.ZipFile(path, "w", compression) as bundle:
            for name, content in members:
                bundle.writestr(name, content)
        return path

    return write


def entry(name, **attributes):
    info = zipfile.ZipInfo(name)
    for key, value in attributes.items():
        setattr(info, key, value)
    return info


@pytest.mark.parametrize("compression", [zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_the_same_files_as_pythons_own_unpacking(packed, tmp_path, compression):
    archive = packed(*FILES.items(), ("empty/", b""), ("empty.txt", b""), compression=compression)
    shutil.unpack_archive(archive, tmp_path / "theirs")
    told = []
    got = unpack(archive, tmp_path / "ours", report=lambda *at: told.append(at))
    assert contents(tmp_path / "ours") == contents(tmp_path / "theirs")
    total = sum(map(len, FILES.values()))
    assert (got.files, got.bytes) == (4, total)
    assert got.entries == ("Chest_xray_Corona_Metadata.csv", "empty.txt", "images")
    assert told[-1] == (total, total)
    assert told == sorted(told)


def test_archives_in_the_64_bit_format(tmp_path, monkeypatch):
    monkeypatch.setattr(zipfile, "ZIP64_LIMIT", 1000)
    monkeypatch.setattr(zipfile, "ZIP_FILECOUNT_LIMIT", 1)
    archive = tmp_path / "set.zip"
    with zipfile.ZipFile(archive, "w") as bundle:
        for name, content in FILES.items():
            with bundle.open(name, "w", force_zip64=True) as sink:
                sink.write(content)
    monkeypatch.undo()
    assert b"PK\x06\x06" in archive.read_bytes()  # the record that only zip64 has
    unpack(archive, tmp_path / "out")
    assert contents(tmp_path / "out") == FILES


def test_backslashes_of_windows_programs_part_folders(packed, tmp_path):
    unpack(packed((entry("a\\b\\c.txt"), b"1"), (entry("d\\"), b"")), tmp_path / "out")
    assert contents(tmp_path / "out") == {"a/b/c.txt": b"1"}


LINK = (stat.S_IFLNK | 0o777) << 16
DEVICE = (stat.S_IFCHR | 0o666) << 16
HOSTILE = {
    "absolute": ([("/etc/x", b"")], "leads out"),
    "up": ([("a/../../x", b"")], "leads out"),
    "up with backslashes": ([("a\\..\\..\\x", b"")], "leads out"),
    "up and mixed": ([("a/..\\..", b"")], "leads out"),
    "drive": ([("C:/x", b"")], "leads out"),
    "drive without slash": ([("c:x", b"")], "leads out"),
    "drive further in": ([("a/c:x", b"")], "leads out"),
    "drive after a dot": ([(".\\c:x", b"")], "leads out"),
    "share": ([("\\\\host\\x", b"")], "leads out"),
    "link": ([(entry("a", external_attr=LINK), b"/etc/passwd")], "is a link"),
    "device": ([(entry("a", external_attr=DEVICE), b"")], "no plain file"),
    "control": ([("a\x1b[2Jb", b"")], "no file name"),
    "nothing": ([("./", b"")], "no file name"),
    "long": ([("ä" * 130, b"")], "too long"),
    "deep": ([("a/" * 600 + "b", b"")], "too long"),
    "file and folder": ([("a", b""), ("a/b", b"")], "file and a folder"),
    "folder and file": ([("a/b", b""), ("a", b"")], "file and a folder"),
    "twice by another way": ([("a/b", b"1"), ("a//./b", b"2")], "is there twice"),
}


@pytest.mark.filterwarnings("ignore:Duplicate name")
@pytest.mark.parametrize("kind", HOSTILE)
def test_hostile_members_are_refused_and_nothing_is_written(packed, tmp_path, kind):
    members, sentence = HOSTILE[kind]
    archive = packed(("good.txt", b"good"), *members)
    with pytest.raises(DataError, match=sentence) as caught:
        unpack(archive, tmp_path / "deep" / "out")
    assert "nothing of it is unpacked" in str(caught.value)
    assert "\x1b" not in str(caught.value)
    assert contents(tmp_path) == {"set.zip": archive.read_bytes()}


@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_name_that_is_there_twice(packed, tmp_path):
    with pytest.raises(DataError, match="is there twice"):
        unpack(packed(("a", b"1"), ("a", b"2")), tmp_path / "out")


@pytest.mark.parametrize("folds_case", [True, False])
def test_upper_and_lower_case_collide_only_where_the_disk_says_so(packed, tmp_path, monkeypatch, folds_case):
    monkeypatch.setattr("xraycls.data.download.extract._folds_case", lambda folder: folds_case)
    archive = packed(("a/É.txt", b"1"), ("A/é.txt", b"2"))
    if folds_case:
        with pytest.raises(DataError, match="upper and lower case"):
            unpack(archive, tmp_path / "out")
    else:
        assert unpack(archive, tmp_path / "out").files == 2


def test_this_disk_is_judged_rightly(tmp_path):
    from xraycls.data.download.extract import _folds_case

    (tmp_path / "probe").touch()
    assert _folds_case(tmp_path) == (tmp_path / "PROBE").exists()


def test_an_encrypted_member(packed, tmp_path):
    archive = packed(("a", b"1"), compression=zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 8] |= 1
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="is encrypted"):
        unpack(archive, tmp_path / "out")


def test_a_bomb_is_refused_by_what_it_claims(packed, tmp_path):
    archive = packed(("zeros", bytes(3_000_000)))
    with pytest.raises(DataError, match=r"3,000,000 bytes.*zip bomb"):
        unpack(archive, tmp_path / "out", limits=Limits(free=1_000_000))
    assert unpack(archive, tmp_path / "out").bytes == 3_000_000  # small enough in all


def test_a_bomb_that_claims_less_than_it_holds(packed, tmp_path):
    archive = packed(("zeros", bytes(3_000_000)))
    raw = bytearray(archive.read_bytes())
    struct.pack_into("<I", raw, raw.index(b"PK\x01\x02") + 24, 1000)
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="damaged"):
        unpack(archive, tmp_path / "out")
    assert sum(map(len, contents(tmp_path / "out").values())) <= 1000


def test_members_that_share_their_bytes(packed, tmp_path):
    archive = packed(("a", noise(1000)), ("b", noise(1000)), compression=zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    first = raw.index(b"PK\x01\x02")
    second = raw.index(b"PK\x01\x02", first + 4)
    raw[second + 42 : second + 46] = raw[first + 42 : first + 46]  # both begin at the same place
    archive.write_bytes(raw)
    with pytest.raises(DataError, match="shares bytes"):
        unpack(archive, tmp_path / "out")


def test_a_flipped_bit_is_found(packed, tmp_path):
    archive = packed(*FILES.items(), compression=zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    raw[200_000] ^= 1
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"set\.zip is damaged: Bad CRC-32.*same command again"):
        unpack(archive, tmp_path / "out")
    assert not (tmp_path / "out" / "images").exists()


def test_a_kind_of_packing_that_python_lacks(packed, tmp_path):
    archive = packed(("a", b"1"), compression=zipfile.ZIP_STORED)
    raw = bytearray(archive.read_bytes())
    raw[raw.index(b"PK\x01\x02") + 10] = 9  # deflate64
    archive.write_bytes(raw)
    with pytest.raises(DataError, match=r"can't read.*another program"):
        unpack(archive, tmp_path / "out")


def test_what_is_there_already_is_kept_and_not_written_again(packed, tmp_path):
    archive, folder = packed(*FILES.items()), tmp_path / "out"
    unpack(archive, folder)
    stamps = {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpeg")}
    (folder / "Chest_xray_Corona_Metadata.csv").unlink()
    (folder / "mine.txt").write_text("mine")
    told = []
    unpack(archive, folder, report=lambda *at: told.append(at))
    table, *pictures = map(len, FILES.values())
    assert [done for done, _ in told] == list(accumulate([*pictures, table]))  # checking 83 GB takes a while, too
    assert contents(folder) == {**FILES, "mine.txt": b"mine"}
    assert stamps == {path: path.stat().st_mtime_ns for path in folder.rglob("*.jpeg")}


def test_a_file_of_the_same_name_is_not_overwritten(packed, tmp_path):
    folder = tmp_path / "out"
    (folder / "images" / "train").mkdir(parents=True)
    (folder / "images" / "train" / "a.jpeg").write_bytes(b"mine")
    with pytest.raises(DataError, match=r"a\.jpeg is there already.*Move it away"):
        unpack(packed(*FILES.items()), folder)
    assert contents(folder) == {"images/train/a.jpeg": b"mine"}


class Stopped(BaseException):
    pass


def test_a_stop_at_any_instant_loses_nothing(packed, tmp_path, monkeypatch):
    """Every call that changes the folder is a place to be stopped at; the next run ends with the same files."""
    wanted = {**FILES, "x/y/z.txt": b"zzz"}
    archive = packed(*wanted.items())
    plain = {name: getattr(Path, name) for name in ("mkdir", "open", "replace")}

    def stop_after(calls, patch):
        left = iter(range(calls))

        def watched(name):
            def call(*arguments, **options):
                if next(left, None) is None:
                    raise Stopped
                return plain[name](*arguments, **options)

            return call

        for name in plain:
            patch.setattr(Path, name, watched(name))

    for calls in range(100):
        folder = tmp_path / f"out{calls}"
        try:
            with monkeypatch.context() as patch:
                stop_after(calls, patch)
                unpack(archive, folder)
        except Stopped:
            there = contents(folder) if folder.exists() else {}
            finished = {name: content for name, content in there.items() if not name.startswith(".unpacking")}
            assert finished.items() <= wanted.items()  # what has its name is whole
            assert unpack(archive, folder).files == 4
            assert contents(folder) == wanted
        else:
            break
    assert 15 < calls < 99


def test_half_a_file_from_before_is_written_again(packed, tmp_path):
    archive, folder = packed(*FILES.items()), tmp_path / "out"
    half = folder / ".unpacking" / "images" / "train" / "a.jpeg"
    half.parent.mkdir(parents=True)
    half.write_bytes(FILES["images/train/a.jpeg"][:1000] + bytes(299_000))  # the right length, after a power cut
    unpack(archive, folder)
    assert contents(folder) == FILES


def test_a_disk_that_is_too_small(packed, tmp_path, monkeypatch):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 400_000))
    with pytest.raises(DataError, match=r"too small: 0\.5 MB are needed \(0\.5 MB to unpack\), 0\.4 MB are free"):
        unpack(packed(*FILES.items()), tmp_path / "out")
    assert contents(tmp_path / "out") == {}


def test_a_disk_that_fills_up(packed, tmp_path, monkeypatch):
    plain = Path.open

    def full(path, mode="r", *arguments, **options):
        target = Path("/dev/full") if path.suffix == ".jpeg" and "w" in mode else path
        return plain(target, mode, *arguments, **options)

    monkeypatch.setattr(Path, "open", full)
    with pytest.raises(DataError, match=r"disk is full: .*\.jpeg could not be written"):
        unpack(packed(*FILES.items()), tmp_path / "out")
    assert not (tmp_path / "out" / "images").exists()


def test_what_is_no_archive(tmp_path):
    (tmp_path / "set.zip").write_text("<html>")
    with pytest.raises(DataError, match="is damaged: File is not a zip file"):
        unpack(tmp_path / "set.zip", tmp_path / "out")
    with pytest.raises(DataError, match="can't be read: No such file"):
        unpack(tmp_path / "none.zip", tmp_path / "out")


@settings(max_examples=300, deadline=None)
@given(st.text(st.sampled_from("./\\:aCé\x00\n "), max_size=12) | st.text(max_size=20))
@example("a/C:b")
@example("..")
@example("a/..")
@example("\\..")
def test_any_name_stays_below_the_folder_or_is_refused(name):
    try:
        parts = safe_parts(name, "x.zip")
    except DataError:
        return
    for folder in (PurePosixPath("/folder"), PureWindowsPath("D:/folder")):
        below = folder.joinpath(*parts)
        assert below.is_relative_to(folder)
        assert below != folder
        assert ".." not in below.parts
    assert not any(set(part) & set("/\\\x00\n") for part in parts)


@pytest.mark.filterwarnings("ignore:Duplicate name")
@settings(max_examples=200, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(st.sampled_from("./\\:aB\n"), min_size=1, max_size=8), min_size=1, max_size=4))
@example(["a", "a/../../b"])
@example(["a/b", "a"])
def test_archives_of_any_names_unpack_below_the_folder_or_not_at_all(tmp_path, names):
    place = tmp_path / "place"
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir()
    with zipfile.ZipFile(place / "set.zip", "w") as bundle:
        for number, name in enumerate(names):
            bundle.writestr(zipfile.ZipInfo(name), str(number))
    try:
        got = unpack(place / "set.zip", place / "in" / "out")
    except DataError:
        assert contents(place).keys() == {"set.zip"}
        return
    there = contents(place)
    del there["set.zip"]
    assert all(name.startswith("in/out/") for name in there)
    folders = [name for name in names if name.endswith(("/", "\\"))]
    assert got.files == len(there) == len(names) - len(folders)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.data())
def test_any_damage_is_a_sentence_and_never_a_wrong_file(tmp_path, data):
    members = {"a.txt": b"hello " * 50, "b/c.bin": bytes(range(256))}
    raw = bytearray(archive_of(members))
    for _ in range(data.draw(st.integers(1, 4))):
        raw[data.draw(st.integers(0, len(raw) - 1))] = data.draw(st.integers(0, 255))
    raw = raw[: data.draw(st.integers(len(raw) // 2, len(raw)))]
    archive, folder = tmp_path / "set.zip", tmp_path / "out"
    archive.write_bytes(raw)
    shutil.rmtree(folder, ignore_errors=True)
    try:
        unpack(archive, folder)
    except XrayclsError:
        return
    assert set(contents(folder).values()) <= set(members.values()) | {b""}
