"""Where a training in a results folder goes on, with a loop that only takes its state."""

from functools import partial
from types import SimpleNamespace

import pytest
import torch

from xraycls.errors import RunError, UsageError
from xraycls.models.encryption import encrypt
from xraycls.training.checkpoint import save_state
from xraycls.training.run_folder import RunFolder
from xraycls.workflows.detection.resume import take_up


class Loop:
    """Ten epochs of four batches."""

    def __init__(self, *, stopped=False):
        self.config = SimpleNamespace(epochs=10)
        self.train = range(4)
        self.stopping = SimpleNamespace(should_stop=stopped)
        self.epoch = self.step = 0

    @property
    def is_finished(self):
        return self.epoch >= self.config.epochs or self.stopping.should_stop

    def load_state_dict(self, state):
        assert len(state["losses"]) == 4
        self.epoch, self.step = state["epoch"], state["step"]


def saved(folder, *, epoch=3, step=0, steps=4, key=""):
    run = RunFolder(folder)
    seal = partial(encrypt, key=key) if key else None
    state = {"epoch": epoch, "step": step, "plateaus": 0, "losses": torch.zeros(steps), "model": {}}
    save_state(state, run.state, seal)
    return run


@pytest.mark.parametrize(
    ("state", "epoch", "sentence"),
    [
        ({}, None, "Going on with epoch 4 of 10."),
        ({}, 4, "Going on with epoch 4 of 10."),
        ({"epoch": 0, "step": 2}, None, "Going on with epoch 1 of 10, batch 3."),
        ({"epoch": 10}, None, "The training in {folder} has finished all of its 10 epochs."),
        ({"steps": 7}, None, "Going on with epoch 4 of 10."),  # between epochs the number of batches may change
    ],
)
def test_a_training_goes_on_where_it_stopped(tmp_path, state, epoch, sentence):
    loop = Loop()
    assert take_up(loop, saved(tmp_path, **state), "", epoch, None, "choose another folder with -r") == sentence.format(
        folder=tmp_path
    )
    assert (loop.epoch, loop.step) == (state.get("epoch", 3), state.get("step", 0))


@pytest.mark.parametrize(
    ("state", "given", "kind", "sentence"),
    [
        ({}, {"epoch": 3}, RunError, r"has finished 3 epochs, so it goes on with epoch 4, not 3\. Give --continue or"),
        ({}, {"epoch": 11}, UsageError, r"--initial-epoch 11 is above the 10 epochs of the training"),
        (
            {"step": 2, "steps": 7},
            {},
            UsageError,
            r"stopped in an epoch of 7 batches, and now it has 4\. Give the same",
        ),
        ({"key": "k"}, {}, UsageError, r"last\.pt is encrypted, and no key is given"),
        ({"key": "k"}, {"key": "x"}, UsageError, r"The key doesn't open .*last\.pt"),
        (None, {"epoch": 4}, RunError, r"There is no training in .* to go on with\. Name the model to go on with: -m"),
    ],
)
def test_what_a_training_can_not_go_on_with(tmp_path, state, given, kind, sentence):
    run = RunFolder(tmp_path) if state is None else saved(tmp_path, **state)
    with pytest.raises(kind, match=sentence):
        take_up(Loop(), run, given.get("key", ""), given.get("epoch"), None, "choose another folder with -r")


def test_a_training_that_stopped_early_is_over(tmp_path):
    sentence = take_up(Loop(stopped=True), saved(tmp_path), "", None, None, "choose another folder with -r")
    assert sentence.endswith("has stopped early after 3 epochs: nothing is left to do.")


def test_a_training_that_is_not_there_begins(tmp_path):
    loop = Loop()
    sentence = take_up(loop, RunFolder(tmp_path), "", None, None, "choose another folder with -r")
    assert sentence.endswith("to go on with: it begins.")
    assert (loop.epoch, loop.step) == (0, 0)


def test_a_training_of_another_network(tmp_path):
    class Other(Loop):
        def load_state_dict(self, state):
            raise ValueError("size mismatch for conv1.weight")

    with pytest.raises(RunError, match=r"is of another network than the one asked for"):
        take_up(Other(), saved(tmp_path), "", None, None, "choose another folder with -r")


def test_a_state_that_is_cut_short(tmp_path):
    run = saved(tmp_path)
    run.state.write_bytes(run.state.read_bytes()[:100])
    with pytest.raises(RunError, match=r"last\.pt .*cut short.*Start a new training, or choose another folder with -r"):
        take_up(Loop(), run, "", None, None, "choose another folder with -r")


@pytest.mark.parametrize(("epoch", "known"), [(4, True), (3, False)])
def test_a_model_of_another_folder_goes_on_with_its_own_training(tmp_path, epoch, known):
    """As TAO has it: ``-r new -m old/weights/ssd_resnet18_epoch_003.tlt --initial_epoch 4``."""
    saved(tmp_path / "old")
    loop, model = Loop(), tmp_path / "old" / "weights" / "ssd_resnet18_epoch_003.tlt"
    sentence = take_up(loop, RunFolder(tmp_path / "new"), "", epoch, model, "choose another folder with -r")
    assert sentence.startswith(f"Going on with epoch {epoch} of 10")
    assert ("momentum of its training isn't known" in sentence) != known
    assert loop.epoch == epoch - 1
