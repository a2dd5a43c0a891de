"""Downloads against a stand-in for Kaggle, over real sockets, with the real client."""

import json
import shutil
import threading
import traceback

import pytest

from tests.data.download.kaggle_stand_in import CORONAHACK, FILES, RSNA, archive_of, noise
from xraycls.data.download import Patience, download, retry
from xraycls.data.download.partial import Partial
from xraycls.data.lock import sole_writer
from xraycls.errors import DataError, LockedError, XrayclsError

pytestmark = pytest.mark.usefixtures("signed_in", "waits")
ARCHIVE = archive_of(FILES)


def contents(folder):
    return {
        path.relative_to(folder).as_posix(): path.read_bytes()
        for path in folder.rglob("*")
        if path.is_file() and path.name != "download.json"
    }


def test_a_data_set_arrives_whole_and_nothing_else_is_left(stand_in, tmp_path, waits):
    got = download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == FILES
    assert (got.files, got.bytes, got.is_new, got.archive) == (3, sum(map(len, FILES.values())), True, None)
    assert stand_in.asked("interface")[0].body == {"ownerSlug": "praveengovi", "datasetSlug": CORONAHACK}
    assert waits == []
    assert json.loads((tmp_path / "set" / "download.json").read_text())["archive"] == len(ARCHIVE)


def test_credentials_do_not_travel_to_the_storage(stand_in, tmp_path):
    download("coronahack", tmp_path / "set")
    assert {one.headers.get("authorization") for one in stand_in.asked("interface")} == {"Bearer KGAT_secret"}
    assert len(stand_in.asked("storage")) == 2
    for one in stand_in.asked("storage"):
        assert "authorization" not in one.headers
        assert "KGAT_secret" not in str(one)


def test_a_competition_is_asked_for_by_its_name(stand_in, tmp_path):
    download("rsna", tmp_path / "set")
    assert stand_in.asked("interface")[0].path.endswith("/competitions.CompetitionApiService/DownloadDataFiles")
    assert contents(tmp_path / "set") == FILES


def test_the_second_time_there_is_nothing_to_do(stand_in, tmp_path):
    download("coronahack", tmp_path / "set")
    (tmp_path / "set" / "images" / "notes.txt").write_text("mine")
    stand_in.seen.clear()
    again = download("coronahack", tmp_path / "set")
    assert (again.is_new, again.files) == (False, 3)
    assert stand_in.seen == []


def test_files_that_were_removed_are_fetched_again(stand_in, tmp_path):
    download("coronahack", tmp_path / "set")
    (tmp_path / "set" / "images" / "train" / "a.jpeg").unlink()
    assert download("coronahack", tmp_path / "set").is_new
    assert contents(tmp_path / "set") == FILES


def test_a_cut_line_is_taken_up_where_it_broke(stand_in, tmp_path, waits, caplog):
    stand_in.cuts.extend([100_000, 50_000])
    download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == FILES
    assert [r.getMessage() for r in caplog.records] == [f"{CORONAHACK}.zip: the line broke; trying again in 1 s"] * 2
    assert stand_in.parts == [None, "bytes=100000-", "bytes=150000-"]
    assert waits == [1.0, 1.0]  # each had brought something new


def test_a_line_that_brings_nothing_is_given_up_and_what_came_is_kept(stand_in, tmp_path, waits):
    stand_in.cuts.extend([100_000, 0, 0, 0])
    with pytest.raises(XrayclsError, match=r"broke again and again.*goes on from where it was"):
        download("coronahack", tmp_path / "set")
    assert waits == [1.0, 2.0, 4.0]
    assert (tmp_path / "set" / f"{CORONAHACK}.zip.part").stat().st_size == 100_000
    assert not (tmp_path / "set" / f"{CORONAHACK}.zip").exists()
    download("coronahack", tmp_path / "set")
    assert stand_in.parts[-1] == "bytes=100000-"
    assert contents(tmp_path / "set") == FILES


def test_a_server_without_ranges_sends_all_again(stand_in, tmp_path):
    stand_in.ranges = False
    stand_in.cuts.append(100_000)
    download("coronahack", tmp_path / "set")
    assert stand_in.parts == [None, "bytes=100000-"]
    assert contents(tmp_path / "set") == FILES


def test_bytes_without_a_strong_tag_are_not_built_upon(stand_in, tmp_path):
    stand_in.validator = "weak"
    stand_in.cuts.append(100_000)
    download("coronahack", tmp_path / "set")
    assert stand_in.parts == [None, None]
    assert contents(tmp_path / "set") == FILES


def test_a_file_that_changed_meanwhile_is_fetched_anew(stand_in, tmp_path):
    stand_in.cuts.extend([100_000, 0, 0, 0])
    with pytest.raises(XrayclsError):
        download("coronahack", tmp_path / "set")
    newer = {"images/a.jpeg": noise(150_000, 9)}
    stand_in.files[CORONAHACK] = archive_of(newer)
    download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == newer


def test_a_part_that_was_not_asked_for_is_not_taken(stand_in, tmp_path):
    stand_in.cuts.append(100_000)
    stand_in.shifted = True
    download("coronahack", tmp_path / "set")
    assert stand_in.parts == [None, "bytes=100000-", None]
    assert contents(tmp_path / "set") == FILES


def test_damaged_notes_of_an_earlier_run_start_again(stand_in, tmp_path):
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / f"{CORONAHACK}.zip.part").write_bytes(b"x" * 1000)
    (folder / f"{CORONAHACK}.zip.part.json").write_text('{"tag": "x", "total": "many", "md5": ""}')
    download("coronahack", folder)
    assert contents(folder) == FILES


@pytest.mark.parametrize("ranges", [True, False])
def test_a_length_that_is_wrong_is_not_a_finished_file(stand_in, tmp_path, ranges):
    stand_in.announced, stand_in.ranges = len(ARCHIVE) + 1000, ranges
    with pytest.raises(XrayclsError, match="announced" if ranges else "broke again"):
        download("coronahack", tmp_path / "set")
    assert not (tmp_path / "set" / f"{CORONAHACK}.zip").exists()
    stand_in.announced = None
    download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == FILES


def test_a_file_that_ends_too_early_by_its_own_account_is_damaged(stand_in, tmp_path):
    stand_in.announced, stand_in.md5 = len(ARCHIVE) - 1000, ""
    with pytest.raises(DataError, match="damaged"):
        download("coronahack", tmp_path / "set")


def test_a_wrong_checksum_throws_the_file_away(stand_in, tmp_path):
    stand_in.md5 = "A" * 22 + "=="
    with pytest.raises(XrayclsError, match=r"arrived damaged.*MD5"):
        download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == {}


def test_a_length_that_is_not_told_is_no_obstacle(stand_in, tmp_path):
    stand_in.chunked = True
    download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == FILES


def test_the_server_says_how_long_to_wait(stand_in, tmp_path, waits):
    stand_in.refusals.extend([(429, {"Retry-After": "7"}, {}), (429, {}, {}), (503, {"Retry-After": "rubbish"}, {})])
    download("coronahack", tmp_path / "set")
    assert waits == [7.0, 2.0, 4.0]
    assert contents(tmp_path / "set") == FILES


def test_too_many_requests_for_too_long(stand_in, tmp_path, waits):
    stand_in.refusals.extend([(429, {"Retry-After": "3"}, {})] * 4)
    with pytest.raises(XrayclsError, match=r"too many requests \(429\)\. Try again in a few minutes"):
        download("coronahack", tmp_path / "set")
    assert waits == [3.0, 3.0, 3.0]


def test_a_wait_of_an_hour_is_left_to_the_user(stand_in, tmp_path, waits):
    stand_in.refusals.append((429, {"Retry-After": "3600"}, {}))
    with pytest.raises(XrayclsError, match="Try again in 60 minutes"):
        download("coronahack", tmp_path / "set")
    assert waits == []


def test_an_address_that_has_expired_is_asked_for_again(stand_in, tmp_path, waits, caplog):
    stand_in.storage_refusals.append(403)
    download("coronahack", tmp_path / "set")
    assert f"{CORONAHACK}.zip: Kaggle's storage answers 403; trying again in 1 s" in caplog.text
    assert len(stand_in.asked("interface")) == 2
    assert waits == [1.0]


@pytest.mark.parametrize(
    ("name", "status", "sentence"),
    [
        ("coronahack", 401, r"does not accept the credentials in KAGGLE_API_TOKEN \(401\).*settings/api"),
        ("coronahack", 403, r"\(403: Permission denied\).*datasets/praveengovi/coronahack"),
        ("rsna", 403, rf"rules.*\(403\).*https://www.kaggle.com/competitions/{RSNA}/rules"),
        ("coronahack", 404, rf"has no dataset praveengovi/{CORONAHACK} \(404\)"),
        ("rsna", 404, rf"has no competition {RSNA} \(404\)"),
        ("coronahack", 418, r"refuses praveengovi/.* \(418: Permission denied\)"),
    ],
)
def test_a_refusal_is_one_sentence_at_once(stand_in, tmp_path, waits, name, status, sentence):
    stand_in.refusals.append((status, {}, {"code": status, "message": "Permission denied."}))
    with pytest.raises(XrayclsError, match=sentence) as caught:
        download(name, tmp_path / "set")
    assert "KGAT_secret" not in str(caught.value)
    assert waits == []


@pytest.mark.parametrize("body", [[], "text", {"message": "x" * 500}, {"message": {}}])
def test_a_refusal_may_say_anything(stand_in, tmp_path, body):
    stand_in.refusals.append((418, {}, body))
    with pytest.raises(XrayclsError, match=r"\(418"):
        download("coronahack", tmp_path / "set")


def test_a_server_in_trouble(stand_in, tmp_path, waits):
    stand_in.refusals.extend([(500, {}, {})] * 4)
    with pytest.raises(XrayclsError, match=r"trouble of its own \(500\)"):
        download("coronahack", tmp_path / "set")
    assert waits == [1.0, 2.0, 4.0]


def test_signed_addresses_are_in_no_traceback(stand_in, tmp_path):
    stand_in.storage_refusals.extend([403] * 4)
    with pytest.raises(XrayclsError, match=r"storage refuses .* \(403\)") as caught:
        download("coronahack", tmp_path / "set")
    told = "".join(traceback.format_exception(caught.value))
    assert "Failure" in told
    assert "Signature" not in told


@pytest.mark.parametrize(
    ("variable", "value", "sentence"),
    [
        (
            "REQUESTS_CA_BUNDLE",
            "/no/such/file",
            r"No line to Kaggle .*/no/such/file\. Check the variables REQ",
        ),
        ("HTTPS_PROXY", "nonsense:port", r"The proxy does not let requests through.*HTTPS_PROXY"),
        ("HTTPS_PROXY", "http://127.0.0.1:9", r"The proxy does not let requests through.*HTTPS_PROXY"),
    ],
)
def test_settings_of_the_line_that_are_wrong(stand_in, tmp_path, waits, monkeypatch, variable, value, sentence):
    from kagglesdk import kaggle_env

    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "https://127.0.0.1:9")
    monkeypatch.setenv(variable, value)
    with pytest.raises(XrayclsError, match=sentence):
        download("coronahack", tmp_path / "set")
    assert waits == []


def test_offline_is_said_at_once(stand_in, tmp_path, waits, monkeypatch):
    from kagglesdk import kaggle_env

    closed = "http://127.0.0.1:9"
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, closed)
    with pytest.raises(XrayclsError, match=r"Kaggle can't be reached.*Check the connection"):
        download("coronahack", tmp_path / "set")
    assert waits == []


def test_a_line_that_goes_down_on_the_way_is_waited_for(stand_in, tmp_path, waits):
    stand_in.cuts.append(100_000)
    storage, stand_in.storage = stand_in.storage, stand_in.storage

    def wait(seconds):
        waits.append(seconds)
        stand_in.storage = "http://127.0.0.1:9" if len(waits) == 1 else storage

    download("coronahack", tmp_path / "set", patience=Patience(tries=4, timeout=(5, 5), wait=wait))
    assert waits == [1.0, 2.0]
    assert contents(tmp_path / "set") == FILES


def test_a_server_that_never_answers(stand_in, tmp_path):
    stand_in.hold = threading.Event()
    with pytest.raises(XrayclsError, match="does not answer"):
        download("coronahack", tmp_path / "set", patience=Patience(tries=2, timeout=(0.2, 0.2), wait=lambda s: None))
    stand_in.hold.set()


def test_a_date_to_wait_for():
    for text, seconds in {"Wed, 21 Oct 2015 07:28:00 GMT": 0.0, "": None, "-1": None, "nonsense": None}.items():
        assert retry.asked_wait(text) == seconds


def free(monkeypatch, count):
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, count))


def test_a_disk_too_small_for_siim_is_told_before_anything_else(stand_in, tmp_path, monkeypatch):
    free(monkeypatch, 165 * 10**9)
    with pytest.raises(DataError, match=r"166\.0 GB are needed \(83\.0 GB to download and 83\.0 GB to unpack\), 165"):
        download("siim", tmp_path / "new" / "set")
    assert stand_in.seen == []
    assert not (tmp_path / "new").exists()


def test_without_unpacking_half_the_room_will_do(stand_in, tmp_path, monkeypatch):
    free(monkeypatch, 84 * 10**9)
    with pytest.raises(XrayclsError, match="no competition siim"):
        download("siim", tmp_path / "set", unpack=False)


def test_the_servers_own_length_counts_before_a_byte_is_written(stand_in, tmp_path, monkeypatch):
    stand_in.announced = 50 * 10**9
    free(monkeypatch, 80 * 10**9)
    with pytest.raises(DataError, match=r"50\.0 GB to download"):
        download("coronahack", tmp_path / "set")
    assert (tmp_path / "set" / f"{CORONAHACK}.zip.part").stat().st_size == 0


def test_a_disk_that_fills_up_on_the_way(stand_in, tmp_path, monkeypatch):
    import pathlib

    plain = pathlib.Path.open

    def full(path, mode="r", *arguments, **settings):
        return open("/dev/full", mode) if mode == "ab" else plain(path, mode, *arguments, **settings)  # noqa: PTH123

    monkeypatch.setattr(pathlib.Path, "open", full)
    with pytest.raises(DataError, match=r"disk is full.*\.part.*goes on"):
        download("coronahack", tmp_path / "set")


def test_a_place_that_cannot_be_written(stand_in, tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(DataError, match=r"could not be written.*another --dest"):
        download("coronahack", tmp_path / "file" / "set")
    assert stand_in.seen == []


def test_two_data_sets_do_not_share_a_folder(stand_in, tmp_path):
    download("coronahack", tmp_path / "set")
    with pytest.raises(DataError, match=r"already holds praveengovi.*Choose another --dest"):
        download("rsna", tmp_path / "set")


def test_only_one_download_at_a_time(stand_in, tmp_path):
    with (
        sole_writer(tmp_path / "set"),
        pytest.raises(LockedError, match=r"set is being written to by .*another --dest"),
    ):
        download("coronahack", tmp_path / "set")
    download("coronahack", tmp_path / "set")


def test_the_archive_is_kept_on_demand(stand_in, tmp_path):
    got = download("coronahack", tmp_path / "set", keep_archive=True)
    assert got.archive == tmp_path / "set" / f"{CORONAHACK}.zip"
    assert got.archive.read_bytes() == ARCHIVE
    assert not download("coronahack", tmp_path / "set").is_new


def test_an_archive_that_was_kept_and_removed_later_is_not_missed(stand_in, tmp_path):
    download("coronahack", tmp_path / "set", keep_archive=True).archive.unlink()
    assert not download("coronahack", tmp_path / "set").is_new


def test_a_stop_just_before_the_archive_is_removed(stand_in, tmp_path):
    download("coronahack", tmp_path / "set")
    (tmp_path / "set" / f"{CORONAHACK}.zip").write_bytes(ARCHIVE)
    assert not download("coronahack", tmp_path / "set").is_new
    assert contents(tmp_path / "set") == FILES


@pytest.mark.parametrize("named", [False, True])
def test_a_stop_around_the_moment_when_the_archive_gets_its_name(stand_in, tmp_path, monkeypatch, named):
    plain = Partial.settle

    def stopped(part):
        if named:
            plain(part)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Partial, "settle", stopped)
        with pytest.raises(KeyboardInterrupt):
            download("coronahack", tmp_path / "set")
    stand_in.seen.clear()
    download("coronahack", tmp_path / "set")
    assert contents(tmp_path / "set") == FILES
    assert stand_in.seen == []


def test_unpacking_can_be_left_for_later(stand_in, tmp_path):
    first = download("coronahack", tmp_path / "set", unpack=False)
    assert contents(tmp_path / "set") == {f"{CORONAHACK}.zip": ARCHIVE}
    assert (first.files, first.bytes, first.is_new, first.next_command) == (0, len(ARCHIVE), True, "")
    assert not download("coronahack", tmp_path / "set", unpack=False).is_new
    stand_in.seen.clear()
    assert download("coronahack", tmp_path / "set").is_new
    assert contents(tmp_path / "set") == FILES
    assert stand_in.seen == []


def test_an_archive_that_a_browser_fetched_is_unpacked_and_stays(stand_in, tmp_path):
    (tmp_path / "set").mkdir()
    archive = tmp_path / "set" / f"{CORONAHACK}.zip"
    archive.write_bytes(ARCHIVE)
    got = download("coronahack", tmp_path / "set")
    assert got.archive == archive
    assert contents(tmp_path / "set") == {**FILES, archive.name: ARCHIVE}
    assert stand_in.seen == []


def test_single_files(stand_in, tmp_path):
    labels = b"patientId,x\n1,2\n"
    stand_in.files[f"{RSNA}/labels.csv"] = labels
    stand_in.files[f"{RSNA}/deep/big.csv"] = archive_of({"big.csv": b"1" * 5000})
    names = ["labels.csv", "deep/big.csv"]
    got = download("rsna", tmp_path / "set", files=names)
    assert contents(tmp_path / "set") == {"labels.csv": labels, "deep/big.csv": b"1" * 5000}
    assert (got.files, got.bytes, got.is_new) == (2, len(labels) + 5000, True)
    stand_in.seen.clear()
    assert not download("rsna", tmp_path / "set", files=names).is_new
    assert stand_in.seen == []


def test_a_single_file_that_does_not_exist(stand_in, tmp_path):
    with pytest.raises(XrayclsError, match=r"no file x\.csv of rsna-.* \(404\)"):
        download("rsna", tmp_path / "set", files=["x.csv"])


def test_single_files_neither_lead_out_nor_overwrite(stand_in, tmp_path):
    with pytest.raises(DataError, match=r"--files: '\.\./x\.csv' leads out of the folder\.$"):
        download("rsna", tmp_path / "set", files=["../x.csv"])
    (tmp_path / "set").mkdir()
    (tmp_path / "set" / "mine.csv").write_text("mine")
    with pytest.raises(DataError, match="is there already"):
        download("rsna", tmp_path / "set", files=["mine.csv"])
    assert stand_in.seen == []
    assert (tmp_path / "set" / "mine.csv").read_text() == "mine"


def test_an_archive_that_holds_another_file(stand_in, tmp_path):
    stand_in.files[f"{RSNA}/a.csv"] = archive_of({"b.csv": b"1"})
    with pytest.raises(DataError, match=r"does not hold that file"):
        download("rsna", tmp_path / "set", files=["a.csv"])
