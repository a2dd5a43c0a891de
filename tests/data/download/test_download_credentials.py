"""Signing in: the same credentials as the `kaggle` command takes, and a sentence where there are none."""

import errno
import json
import os
import subprocess
import sys
import traceback

import pytest

from tests.data.download.kaggle_stand_in import CORONAHACK
from xraycls.data.download import download
from xraycls.data.download.credentials import Credential
from xraycls.errors import XrayclsError

pytestmark = pytest.mark.usefixtures("waits")
PAIR = {"username": "ann", "key": "k123"}
LOGIN = {"refresh_token": "refresh", "access_token": "", "access_token_expiration": "", "username": "ann"}
AS_COMMAND = """
import sys
from kagglesdk import kaggle_env
kaggle_env._env_to_endpoint[kaggle_env.KaggleEnv.PROD] = sys.argv[1]
import kaggle
kaggle.api.authenticate()
kaggle.api.dataset_download_files("praveengovi/coronahack-chest-xraydataset", path=sys.argv[2])
"""

# What lies in the home folder, and what is in the environment.
WAYS = {
    "token in a variable": ({}, {"KAGGLE_API_TOKEN": "KGAT_1"}),
    "a variable that names a file": ({"token.txt": "KGAT_2\n"}, {"KAGGLE_API_TOKEN": "HOME/token.txt"}),
    "access_token": ({".kaggle/access_token": "KGAT_3\n"}, {}),
    "access_token.txt": ({".kaggle/access_token.txt": "KGAT_4"}, {}),
    "kaggle.json": ({".kaggle/kaggle.json": json.dumps(PAIR)}, {}),
    "kaggle.json of the desktop": ({".config/kaggle/kaggle.json": json.dumps(PAIR)}, {}),
    "kaggle.json elsewhere": ({"other/kaggle.json": json.dumps(PAIR)}, {"KAGGLE_CONFIG_DIR": "HOME/other"}),
    "two variables": ({}, {"KAGGLE_USERNAME": "bob", "KAGGLE_KEY": "k456"}),
    "variables before the file": (
        {".kaggle/kaggle.json": json.dumps(PAIR)},
        {"KAGGLE_USERNAME": "bob", "KAGGLE_KEY": "k456"},
    ),
    "a variable beside the file": ({".kaggle/kaggle.json": json.dumps(PAIR)}, {"KAGGLE_USERNAME": "bob"}),
    "login": ({".kaggle/credentials.json": json.dumps(LOGIN)}, {}),
    "all of them": (
        {
            ".kaggle/access_token": "KGAT_5",
            ".kaggle/kaggle.json": json.dumps(PAIR),
            ".kaggle/credentials.json": json.dumps(LOGIN),
        },
        {},
    ),
    "file before login": (
        {".kaggle/kaggle.json": json.dumps(PAIR), ".kaggle/credentials.json": json.dumps(LOGIN)},
        {},
    ),
}


def furnish(home, files, variables, monkeypatch):
    for name, text in files.items():
        (home / name).parent.mkdir(parents=True, exist_ok=True)
        (home / name).write_text(text)
        (home / name).chmod(0o600)
    for name, value in variables.items():
        monkeypatch.setenv(name, value.replace("HOME", str(home)))


def signatures(stand_in):
    downloads = [one for one in stand_in.asked("interface") if one.path.endswith("/DownloadDataset")]
    return {one.headers.get("authorization") for one in downloads}


@pytest.mark.walkthrough
@pytest.mark.parametrize(
    "way", [pytest.param(way, marks=[] if way in ("all of them", "login") else pytest.mark.exhaustive) for way in WAYS]
)
def test_requests_are_signed_as_the_kaggle_command_signs_them(stand_in, home, tmp_path, monkeypatch, way):
    furnish(home, *WAYS[way], monkeypatch)
    download("coronahack", tmp_path / "ours")
    ours = signatures(stand_in)
    stand_in.seen.clear()
    command = [sys.executable, "-c", AS_COMMAND, stand_in.address, str(tmp_path / "theirs")]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=dict(os.environ))
    assert done.returncode == 0, done.stderr
    assert (tmp_path / "theirs" / f"{CORONAHACK}.zip").read_bytes() == stand_in.files[CORONAHACK]
    assert ours == signatures(stand_in)
    assert len(ours) == 1
    assert None not in ours


def test_without_credentials_the_steps_are_told_and_nobody_is_asked(stand_in, home, tmp_path, capfd):
    with pytest.raises(XrayclsError) as caught:
        download("coronahack", tmp_path / "set")
    for step in ("kaggle auth login", "https://www.kaggle.com/settings/api", "KAGGLE_API_TOKEN", "kaggle.json"):
        assert step in str(caught.value)
    assert stand_in.seen == []
    assert capfd.readouterr() == ("", "")
    assert list(home.iterdir()) == []  # the client's own import would have made a folder
    assert not sys.stdin.closed


@pytest.mark.parametrize(
    ("files", "variables", "sentence"),
    [
        ({".kaggle/kaggle.json": "{"}, {}, r"kaggle\.json can't be read"),
        ({".kaggle/kaggle.json": "[]"}, {}, r"kaggle\.json holds no username and key"),
        ({".kaggle/kaggle.json": '{"username": "ann", "key": 3}'}, {}, "holds no username and key"),
        ({}, {"KAGGLE_API_TOKEN": "two words"}, "KAGGLE_API_TOKEN holds something that is no Kaggle credential"),
        ({}, {"KAGGLE_API_TOKEN": "“quoted”"}, "KAGGLE_API_TOKEN holds something that is no Kaggle credential"),
        ({}, {"KAGGLE_USERNAME": "ann\r\nX: y", "KAGGLE_KEY": "k"}, "KAGGLE_USERNAME and KAGGLE_KEY holds something"),
        ({".kaggle/access_token/x": ""}, {}, "access token can't be read: Is a directory"),
        ({".kaggle/credentials.json": "[]"}, {}, r"credentials\.json can't be read.*kaggle auth login"),
        (
            {".kaggle/credentials.json": '{"refresh_token": "old"}'},
            {},
            r"does not accept the login in ~/\.kaggle/credentials\.json any more.*kaggle auth login",
        ),
    ],
)
def test_credentials_that_are_none(stand_in, home, tmp_path, monkeypatch, files, variables, sentence):
    furnish(home, files, variables, monkeypatch)
    with pytest.raises(XrayclsError, match=sentence) as caught:
        download("coronahack", tmp_path / "set")
    assert "two words" not in str(caught.value)
    assert not signatures(stand_in)


def test_credentials_keep_their_secrets(stand_in, tmp_path, monkeypatch):
    shown = repr(Credential("here", token="s3cr3t", username="ann", key="s3cr3t"))
    assert "ann" in shown
    assert "s3cr3t" not in shown

    def too_long():  # what the client makes of a token of 300 letters, before Python 3.12
        raise OSError(errno.ENAMETOOLONG, "File name too long", "s3cr3t")

    monkeypatch.setattr("kagglesdk.get_access_token_from_env", too_long)
    with pytest.raises(XrayclsError, match="access token can't be read: File name too long") as caught:
        download("coronahack", tmp_path / "set")
    assert "s3cr3t" not in "".join(traceback.format_exception(caught.value))


def test_a_login_that_cannot_be_renewed_offline(stand_in, home, tmp_path, monkeypatch):
    from kagglesdk import kaggle_env

    furnish(home, {".kaggle/credentials.json": json.dumps(LOGIN)}, {}, monkeypatch)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, "http://127.0.0.1:9")
    with pytest.raises(XrayclsError, match="Kaggle can't be reached"):
        download("coronahack", tmp_path / "set")


def test_refused_credentials_are_named_by_where_they_came_from(stand_in, home, tmp_path, monkeypatch):
    furnish(home, {".kaggle/kaggle.json": json.dumps(PAIR)}, {}, monkeypatch)
    stand_in.refusals.append((401, {}, {"code": 401, "message": "Unauthenticated"}))
    with pytest.raises(XrayclsError, match=r"credentials in .*home/\.kaggle/kaggle\.json \(401\)") as caught:
        download("coronahack", tmp_path / "set")
    assert "k123" not in str(caught.value)
