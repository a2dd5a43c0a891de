"""Several processes, and what becomes of the error of one."""

import json

import pytest
import torch

from xraycls.cli.invocation import tell_error
from xraycls.errors import TrainingError
from xraycls.training.distributed import World, joined
from xraycls.training.launch import launch

# In the place of the program: the second process fails alone, or both fail alike.
PROGRAM = """
import json, os, sys, time
rank = os.environ["RANK"]
if rank == "1" or sys.argv[1] == "both":
    told = {"message": "Out of memory.", "timestamp": str(int(time.time()))}
    open(os.environ["TORCHELASTIC_ERROR_FILE"], "w").write(json.dumps(told))
    time.sleep(1)  # so that both are done with it
    sys.exit(3)
"""


@pytest.fixture
def program(tmp_path, monkeypatch):
    (tmp_path / "xraycls").mkdir()
    (tmp_path / "xraycls/__init__.py").write_text("")  # without it, a package on PYTHONPATH comes first
    (tmp_path / "xraycls/__main__.py").write_text(PROGRAM)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("PYTHONSAFEPATH", raising=False)


@pytest.mark.usefixtures("program")
def test_a_process_that_fails_alone_is_told_of():
    with pytest.raises(TrainingError, match=r"^Process 2 of 2 failed: Out of memory\.$"):
        launch(2, "cpu", ["alone"])


@pytest.mark.usefixtures("program")
def test_what_the_first_process_has_said_is_not_said_again():
    assert launch(2, "cpu", ["both"]) == 3


def test_an_error_lies_where_the_launcher_looks_for_it(tmp_path, monkeypatch, capsys):
    monkeypatch.setenv("RANK", "1")
    monkeypatch.setenv("TORCHELASTIC_ERROR_FILE", str(tmp_path / "error.json"))
    tell_error(TrainingError("Out of memory", "Use --size"))
    assert capsys.readouterr().err == ""
    assert json.loads((tmp_path / "error.json").read_text())["message"] == "Out of memory. Use --size."


def test_a_lost_connection_is_told_in_a_sentence(monkeypatch):
    monkeypatch.setattr(torch.distributed, "init_process_group", lambda _: None)
    world, cpu = World(1, 2, 1), torch.device("cpu")
    said = r"Process 2 of 2 lost the connection to another one\. Start all again"
    with pytest.raises(TrainingError, match=said), joined(world, cpu):
        raise torch.distributed.DistNetworkError("The client socket has timed out")
    with pytest.raises(TrainingError, match="lost the connection"), joined(world, cpu):
        raise RuntimeError("[gloo/transport/tcp/pair.cc:545] Connection closed by peer")
    with pytest.raises(RuntimeError, match="shapes differ"), joined(world, cpu):
        raise RuntimeError("shapes differ")
