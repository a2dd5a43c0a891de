"""A training that is stopped in mid-epoch goes on as if nothing had been, whatever loads its pictures."""

import os
import signal

import pytest

import xraycls
from tests.robustness.writers import NETWORK
from xraycls.loaders.dali_graph import is_installed
from xraycls.training.interrupt import Interrupted
from xraycls.training.reporter import Silent

SETTINGS = {
    "base_model": NETWORK,
    "weights": "none",
    "size": 32,
    "batch_size": 5,
    "epochs": 2,
    "precision": "fp32",
    "device": "cpu",
    "threads": 2,
}


class SignalAt(Silent):
    """Sends this process a signal after a step."""

    def __init__(self, number, epoch, step):
        self.number, self.at = number, (epoch, step)

    def step(self, report):
        if (report.epoch, report.step) == self.at:
            os.kill(os.getpid(), self.number)


def outcome(run):
    weights = {path.name: path.read_bytes() for path in sorted(run.path.rglob("*.safetensors"))}
    names = ("train_loss", "val_loss", "val_auroc")
    return weights, [[row[name] for name in names] for row in run.read_metrics()]


@pytest.mark.walkthrough
@pytest.mark.slow
@pytest.mark.parametrize("loader", ["dali", "resident"])
def test_a_training_stopped_in_mid_epoch_ends_as_one_that_was_not(tiny, tmp_path, loader):
    if loader == "dali" and not is_installed():
        pytest.skip("needs NVIDIA DALI")
    data = tmp_path / "store"
    xraycls.prepare(tiny, data, size=40)
    settings = {"data": data, "loader": loader, **SETTINGS}
    whole = outcome(xraycls.train(output=tmp_path / "whole", **settings).run)
    for number, at in ((signal.SIGTERM, (0, 2)), (signal.SIGINT, (1, 3))):
        run = tmp_path / str(number)
        with pytest.raises(Interrupted):
            xraycls.train(output=run, reporter=SignalAt(number, *at), **settings)
        assert outcome(xraycls.train(output=run, resume="auto").run) == whole
