"""Whole trainings on tiny pictures: they learn, stop, resume exactly, and fail in one sentence."""

import multiprocessing
import os
import random
import signal
import time
from functools import partial
from pathlib import Path
from typing import ClassVar

import pytest
import torch
from safetensors.torch import load_file

import xraycls
from xraycls.errors import RunError, TrainingError, UsageError
from xraycls.training.interrupt import Interrupted
from xraycls.training.reporter import Silent
from xraycls.training.run_folder import RunFolder

FAST = {
    "base_model": "ResNet18",
    "weights": "none",
    "size": 32,
    "batch_size": 6,
    "epochs": 3,
    "warmup_epochs": 0,
    "precision": "fp32",
    "device": "cpu",
    "threads": 1,
}


def same_weights(first: Path, second: Path) -> bool:
    a, b = load_file(first), load_file(second)
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


@pytest.fixture(scope="module")
def whole(tiny, tmp_path_factory) -> RunFolder:
    """An uninterrupted training that others are compared with."""
    return xraycls.train(data=tiny, output=tmp_path_factory.mktemp("whole") / "run", **FAST).run


class StopAt(Silent):
    """Presses Ctrl-C after a step."""

    def __init__(self, epoch: int, step: int) -> None:
        self.at = (epoch, step)

    def step(self, report):
        if (report.epoch, report.step) == self.at:
            os.kill(os.getpid(), signal.SIGINT)


def test_a_training_learns_and_leaves_a_complete_run_folder(tiny, tmp_path):
    result = xraycls.train(data=tiny, output=tmp_path / "run", **FAST | {"epochs": 8, "patience": 8})
    rows = result.run.read_metrics()
    assert max(row["val_auroc"] for row in rows) == 1.0
    assert rows[-1]["train_loss"] < rows[0]["train_loss"]
    names = {path.relative_to(tmp_path / "run").as_posix() for path in (tmp_path / "run").rglob("*") if path.is_file()}
    assert any(name.startswith("events.") for name in names)
    assert {n for n in names if not n.startswith("events.")} == {
        "config.yaml",
        "environment.json",
        "metrics.csv",
        "samples.csv",
        "checkpoints/best.safetensors",
        "checkpoints/last.safetensors",
        "checkpoints/last.pt",
        "seen.safetensors",
    }
    assert len((tmp_path / "run" / "samples.csv").read_text().splitlines()) == 41


@pytest.mark.exhaustive
def test_the_same_seed_trains_the_same_weights_and_another_does_not(tiny, whole, tmp_path):
    again = xraycls.train(data=tiny, output=tmp_path / "again", **FAST).run
    other = xraycls.train(data=tiny, output=tmp_path / "other", **FAST | {"seed": 1, "epochs": 1}).run
    assert same_weights(again.last, whole.last)
    assert not same_weights(other.last, whole.last)


@pytest.mark.exhaustive
def test_the_config_of_a_run_trains_it_again(tiny, whole, tmp_path):
    from xraycls.training.config import read_config

    again = xraycls.train(output=tmp_path / "again", **read_config(whole.config)).run
    assert same_weights(again.last, whole.last)


@pytest.mark.walkthrough
@pytest.mark.parametrize(
    "stop", [(0, 1), (1, 3), *(pytest.param(each, marks=pytest.mark.exhaustive) for each in ((1, 4), (2, 4)))]
)
def test_ctrl_c_saves_and_the_resumed_run_ends_with_the_same_weights(tiny, whole, tmp_path, stop):
    run = tmp_path / "run"
    before = signal.getsignal(signal.SIGINT)
    with pytest.raises(Interrupted, match="resume=") as caught:
        xraycls.train(data=tiny, output=run, reporter=StopAt(*stop), **FAST)
    assert caught.value.exit_code == 130
    assert signal.getsignal(signal.SIGINT) is before
    result = xraycls.train(output=run, resume="auto")
    assert [row["epoch"] for row in result.run.read_metrics()] == [1, 2, 3]
    assert same_weights(result.run.last, whole.last)
    assert same_weights(result.run.best, whole.best)


@pytest.mark.walkthrough
@pytest.mark.parametrize(
    "settings",
    [
        {"ema": 0.9, "accumulate": 3, "clip_norm": 1.0, "optimizer": "sgd"},
        pytest.param(
            {"base_model": "GoogleNet", "schedule": "plateau", "balance": True, "label_smoothing": 0.1},
            marks=pytest.mark.exhaustive,
        ),
        {"freeze": "backbone", "class_weights": "balanced", "schedule": "step", "step_epochs": 1},
    ],
)
def test_resuming_is_exact_with_every_part_that_has_a_state(tiny, tmp_path, settings):
    settings = FAST | settings
    whole = xraycls.train(data=tiny, output=tmp_path / "whole", **settings).run
    with pytest.raises(Interrupted):
        xraycls.train(data=tiny, output=tmp_path / "run", reporter=StopAt(1, 3), **settings)
    resumed = xraycls.train(output=tmp_path / "run", resume="auto").run
    assert same_weights(resumed.last, whole.last)
    assert resumed.read_metrics()[-1]["val_loss"] == whole.read_metrics()[-1]["val_loss"]


@pytest.mark.exhaustive
def test_training_two_epochs_and_two_more_is_training_four(tiny, tmp_path):
    settings = FAST | {"schedule": "constant", "patience": 9}
    whole = xraycls.train(data=tiny, output=tmp_path / "whole", **settings | {"epochs": 4}).run
    xraycls.train(data=tiny, output=tmp_path / "run", **settings | {"epochs": 2})
    longer = xraycls.train(output=tmp_path / "run", resume="auto", epochs=4).run
    assert same_weights(longer.last, whole.last)


def _train_once(data: Path, run: Path, started: Path) -> None:
    started.touch()
    xraycls.train(data=data, output=run, resume="auto", save_minutes=1e-6, **FAST)


@pytest.mark.exhaustive
def test_a_run_killed_again_and_again_still_ends_with_the_same_weights(tiny, whole, tmp_path):
    """SIGKILL at random instants, also in the middle of writing, as every step saves."""
    rng = random.Random(0)
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(["xraycls.workflows.train"])
    run, killed_after = tmp_path / "run", []
    for attempt in range(8):
        started = tmp_path / f"started-{attempt}"
        process = context.Process(target=_train_once, args=(tiny, run, started))
        process.start()
        while not started.exists():
            time.sleep(0.01)
        process.join(rng.uniform(0.1, 0.8) if attempt < 7 else None)
        if process.exitcode is not None:
            break
        process.kill()
        process.join()
        killed_after.append(len(RunFolder(run).read_metrics()))
    assert process.exitcode == 0
    assert killed_after, "the training was over before the first kill"
    assert same_weights(RunFolder(run).last, whole.last)
    assert [row["epoch"] for row in RunFolder(run).read_metrics()] == [1, 2, 3]
    assert not list(run.rglob(".*")), "temporary files of killed writes are left"


@pytest.mark.walkthrough
def test_a_run_without_a_checkpoint_may_start_over_with_other_settings(tiny, tmp_path):
    run = tmp_path / "run"
    xraycls.train(data=tiny, output=run, **FAST | {"epochs": 1})
    RunFolder(run).state.unlink()
    again = xraycls.train(data=tiny, output=run, resume="auto", **FAST | {"epochs": 1, "batch_size": 4})
    assert again.config.batch_size == 4


@pytest.mark.exhaustive
def test_a_compiled_step_trains_the_same_weights(tiny, whole, tmp_path, monkeypatch):
    monkeypatch.setattr(torch, "compile", partial(torch.compile, backend="eager"))  # the compiler itself is torch's
    compiled = xraycls.train(data=tiny, output=tmp_path / "run", **FAST | {"compile": True}).run
    for (name, a), b in zip(load_file(compiled.last).items(), load_file(whole.last).values(), strict=True):
        torch.testing.assert_close(a, b, msg=name)


@pytest.mark.walkthrough
def test_a_longer_cosine_is_announced(tiny, tmp_path, caplog):
    xraycls.train(data=tiny, output=tmp_path / "run", **FAST | {"epochs": 1})
    xraycls.train(output=tmp_path / "run", resume="auto", epochs=2)
    assert "cosine schedule now spans 2 epochs" in caplog.text


def test_early_stopping_ends_the_training_and_says_so(tiny, tmp_path):
    outcome = xraycls.train(
        data=tiny, output=tmp_path / "run", **FAST | {"epochs": 20, "patience": 1, "min_delta": 10.0}
    ).outcome
    assert outcome.stopped_early
    assert len(outcome.rows) == 2
    assert outcome.best_epoch == 1


def test_a_loss_that_is_no_number_names_epoch_and_batch(tiny, tmp_path):
    with pytest.raises(TrainingError, match=r"epoch \d, batch \d.*learning_rate"):
        xraycls.train(data=tiny, output=tmp_path / "run", **FAST | {"learning_rate": 1e30, "optimizer": "sgd"})


def test_out_of_memory_while_training_says_which_batch_size_to_try(tiny, tmp_path, monkeypatch):
    from xraycls.training.task import Classification

    def exhausted(*_):
        raise torch.OutOfMemoryError("CUDA out of memory")

    monkeypatch.setattr(Classification, "loss", exhausted)
    with pytest.raises(TrainingError, match="batch_size=3"):
        xraycls.train(data=tiny, output=tmp_path / "run", **FAST)


def test_a_finished_run_is_not_overwritten(tiny, whole):
    with pytest.raises(UsageError, match="already holds a run"):
        xraycls.train(data=tiny, output=whole.path, **FAST)


def test_weights_without_their_training_state_are_not_overwritten(tiny, whole, tmp_path):
    run = RunFolder(tmp_path / "run")
    run.best.parent.mkdir(parents=True)
    run.best.write_bytes(whole.best.read_bytes())
    with pytest.raises(UsageError, match="Its weights would be lost: choose another output"):
        xraycls.train(data=tiny, output=run.path, **FAST)
    assert run.best.read_bytes() == whole.best.read_bytes()


@pytest.mark.parametrize("resume", [None, "auto"])
def test_results_of_a_detector_are_left_alone(tiny, tmp_path, resume):
    (tmp_path / "status.json").touch()
    with pytest.raises(UsageError, match=r"holds results of xraycls ssd\. Choose another folder with output"):
        xraycls.train(data=tiny, output=tmp_path, resume=resume, **FAST)
    assert [path.name for path in tmp_path.iterdir()] == ["status.json"]


def test_resuming_nothing_is_one_sentence(tiny, tmp_path, monkeypatch, caplog):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(RunError, match="Nothing to resume"):
        xraycls.train(data=tiny, resume=tmp_path / "gone", **FAST)
    with pytest.raises(RunError, match="Nothing to resume"):
        xraycls.train(data=tiny, resume="auto", **FAST)
    xraycls.train(data=tiny, resume="auto", output=tmp_path / "new", **FAST | {"epochs": 1})
    assert "Nothing to resume" in caplog.text


def test_resuming_with_another_setting_names_the_flag(tiny, whole):
    with pytest.raises(UsageError, match="batch_size=7 differs from 6"):
        xraycls.train(output=whole.path, resume="auto", batch_size=7)


def test_resuming_with_other_data_is_refused(tmp_path, draw_folder):
    folder = draw_folder(tmp_path / "data", {"train": 6, "val": 3, "test": 3})
    with pytest.raises(Interrupted):
        xraycls.train(data=folder, output=tmp_path / "run", reporter=StopAt(0, 1), **FAST)
    next((folder / "train" / "NORMAL").iterdir()).unlink()
    with pytest.raises(RunError, match="has changed since"):
        xraycls.train(output=tmp_path / "run", resume="auto")


@pytest.mark.walkthrough
def test_resuming_needs_no_starting_weights(tiny, tmp_path):
    start = xraycls.train(data=tiny, output=tmp_path / "start", **FAST | {"epochs": 1}).run
    weights = tmp_path / "weights.safetensors"
    start.best.rename(weights)
    settings = FAST | {"weights": str(weights)}
    with pytest.raises(Interrupted):
        xraycls.train(data=tiny, output=tmp_path / "run", reporter=StopAt(0, 2), **settings)
    weights.unlink()
    assert len(xraycls.train(output=tmp_path / "run", resume="auto").outcome.rows) == 3


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"base_model": "resnet19"}, "Did you mean ResNet"),
        ({"gpus": 2}, "xraycls train --gpus 2"),
        ({"optimizer": "adan"}, "adam"),
        ({"monitor": "auc"}, "auroc"),
        ({"schedule": "cosin"}, "cosine"),
        ({"augment": "classic"}, "classic2021"),
        ({"threshold": "yuden"}, "youden"),
        ({"batch_size": 99}, "Lower batch_size to at most 24"),
        ({"weights": "no/such/file.pth"}, "no/such/file.pth"),
        ({"freeze": "99"}, "99"),
    ],
)
def test_bad_settings_are_one_sentence_and_leave_no_run(tiny, tmp_path, settings, words):
    with pytest.raises(xraycls.XrayclsError, match=words):
        xraycls.train(data=tiny, output=tmp_path / "run", **FAST | settings)
    assert not (tmp_path / "run").exists()


def test_a_picture_that_turns_unreadable_is_counted_and_named(tmp_path, draw_folder):
    folder = draw_folder(tmp_path / "data", {"train": 8, "val": 3, "test": 3})
    bad = sorted((folder / "train" / "NORMAL").iterdir())[3]

    class Spoil(Silent):
        messages: ClassVar[list[str]] = []

        def epoch(self, row, improved):
            bad.write_bytes(b"")

        def message(self, text):
            self.messages.append(text)

    settings = FAST | {"epochs": 2, "cache": "off"}
    result = xraycls.train(data=folder, output=tmp_path / "run", reporter=Spoil(), **settings)
    assert len(result.outcome.rows) == 2
    assert Spoil.messages[-1] == f"1 files could not be read and were left out: {bad}"
