"""A Kaggle on this machine, and a user who is signed in there."""

import os
import shutil

import pytest

from tests.data.download.kaggle_stand_in import CORONAHACK, FILES, RSNA, StandIn, archive_of, serve
from xraycls.data.download import Patience, retry


@pytest.fixture
def home(tmp_path, monkeypatch):
    """An empty home folder, and no trace of Kaggle or of a proxy in the environment."""
    for name in list(os.environ):
        if name.startswith(("KAGGLE_", "XDG_CONFIG_HOME")) or name.lower().endswith("_proxy"):
            monkeypatch.delenv(name)
    folder = tmp_path / "home"
    folder.mkdir()
    monkeypatch.setenv("HOME", str(folder))
    return folder


@pytest.fixture
def stand_in(home, monkeypatch):
    """Kaggle's two servers, to which the real client turns."""
    kaggle_env = pytest.importorskip("kagglesdk.kaggle_env", reason="needs Kaggle's client (the extra `kaggle`)")
    monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(10**12, 0, 10**12))
    stand_in = StandIn(files={CORONAHACK: archive_of(FILES), RSNA: archive_of(FILES)})
    servers = serve(stand_in)
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, stand_in.address)
    yield stand_in
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def signed_in(monkeypatch, home):
    monkeypatch.setenv("KAGGLE_API_TOKEN", "KGAT_secret")


@pytest.fixture
def waits(monkeypatch):
    """The pauses that a download would have made, instead of making them."""
    made = []
    monkeypatch.setattr(retry, "PATIENCE", Patience(tries=4, timeout=(5, 5), wait=made.append))
    return made
