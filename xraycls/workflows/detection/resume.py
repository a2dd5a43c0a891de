"""Whether a detector's training may begin in a folder, and where one that is there goes on."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any

import torch

from xraycls.errors import RunError, UsageError
from xraycls.models.encryption import WrongKey, decrypt, is_encrypted
from xraycls.training.checkpoint import load_state
from xraycls.training.job import DetectionJob
from xraycls.training.loop import Training
from xraycls.training.run_folder import RunFolder

_RESUMABLE = (
    "data.",
    "weights",
    "tensorboard",
    "threads",
    "checkpoint_every",
    "evaluation.batch_size",
    "evaluation.curves",
    "loop.epochs",
    "loop.patience",
    "loop.min_delta",
    "loop.save_minutes",
    "rate.epochs",
)
"""Beginnings of the settings that may differ when a training goes on."""


def check_folder(run: RunFolder, elsewhere: str, *, resume: bool) -> None:
    """Keep a training from being mixed up with another one.

    Args:
        run: where it is to be written.
        elsewhere: how to choose another folder.
        resume: whether it goes on with the one that is there.

    Raises:
        UsageError: there is another training in the folder.
    """
    if run.exists():
        raise UsageError(f"{run.path} holds a run of xraycls train", elsewhere.capitalize())
    if not resume and (run.holds_model() or any((run.path / "weights").glob("*_epoch_*"))):
        raise UsageError(f"{run.path} already holds a training", f"Go on with it with --continue, or {elsewhere}")


def check_same_job(run: RunFolder, job: DetectionJob, elsewhere: str) -> None:
    """Keep a training from going on with other settings than it began with.

    Only such may differ that don't change what is already trained: how long it goes on, when it stops, what it writes
    and where its data lie. That the data themselves are the same is checked apart.

    Args:
        run: its folder; a training of an earlier version, which has written no settings there, isn't checked.
        job: with the classes of its data.
        elsewhere: how to choose another folder.

    Raises:
        UsageError: a setting differs.
    """
    if not run.config.is_file():
        return
    before, after = (_fields(each.described()) for each in (DetectionJob.read(run.config), job))
    for name in (*before, *(name for name in after if name not in before)):
        if before.get(name) != after.get(name) and not name.startswith(_RESUMABLE):
            raise UsageError(
                f"{name} is {after.get(name)}, and the training in {run.path} began with {before.get(name)}",
                f"Give the settings of {run.config}, or {elsewhere}",
            )


def _fields(values: Mapping[str, Any], above: str = "") -> dict[str, Any]:
    """The values of nested mappings by their path."""
    found: dict[str, Any] = {}
    for name, value in values.items():
        found |= _fields(value, f"{above}{name}.") if isinstance(value, Mapping) else {above + name: value}
    return found


def take_up(training: Training, run: RunFolder, key: str, epoch: int | None, model: Path | None, elsewhere: str) -> str:
    """Take up a training where it was stopped; where there is nothing to go on with, it begins.

    Args:
        training: of the same network.
        run: its folder.
        key: that the training was saved with.
        epoch: the next one, counted from 1; None for whichever it is.
        model: that an epoch before ended with. Where ``run`` holds no training, the state that lies beside the model
            is taken if it is of the same epoch; else the optimiser starts anew.
        elsewhere: how to choose another folder.

    Returns:
        A sentence for the log.

    Raises:
        RunError: an epoch is named and there is nothing to go on with, it isn't the epoch before, or the training is
            of another network.
        UsageError: a wrong key, or an epoch beyond the last.
    """
    epochs = training.config.epochs
    if epoch and epoch > epochs:
        raise UsageError(f"--initial-epoch {epoch} is above the {epochs} epochs of the training", "Give more: --epochs")
    if run.state.is_file():
        state = _read(run.state, key, elsewhere)
        if epoch not in (None, state["epoch"] + 1):
            raise RunError(
                f"The training in {run.path} has finished {state['epoch']} epochs, so it goes on with epoch "
                f"{state['epoch'] + 1}, not {epoch}",
                f"Give --continue or --initial-epoch {state['epoch'] + 1}",
            )
        _load(training, state, run.path)
    elif epoch and model:
        beside = _run_beside(model)
        state = _read(beside.state, key, elsewhere) if beside.state.is_file() else {"epoch": -1}
        if state["epoch"] != epoch - 1:
            training.epoch = epoch - 1
            return f"Going on with epoch {epoch} of {epochs} from {model}; the momentum of its training isn't known."
        _load(training, state, beside.path)
    elif epoch:
        raise RunError(f"There is no training in {run.path} to go on with", "Name the model to go on with: -m MODEL")
    else:
        return f"There is no training in {run.path} to go on with: it begins."
    if training.stopping.should_stop:
        return f"The training in {run.path} has stopped early after {training.epoch} epochs: nothing is left to do."
    if training.is_finished:
        return f"The training in {run.path} has finished all of its {training.epoch} epochs."
    within = f", batch {training.step + 1}" if training.step else ""
    return f"Going on with epoch {training.epoch + 1} of {epochs}{within}."


def _run_beside(model: Path) -> RunFolder:
    """The run that a model is of: that of the folder above its own, of its own, or of one with its name."""
    folders = (model.parent.parent, model.parent, model.parent / model.name.partition(".epoch")[0])
    return next((run for run in map(RunFolder, folders) if run.state.is_file()), RunFolder(folders[0]))


def _read(path: Path, key: str, elsewhere: str) -> dict[str, Any]:
    with path.open("rb") as file:
        sealed = is_encrypted(file.read(8))
    if sealed and not key:
        raise UsageError(
            f"{path} is encrypted, and no key is given", "Give the one that the training began with: -k KEY"
        )
    try:
        return load_state(path, partial(decrypt, key=key) if sealed else None)
    except WrongKey as error:
        raise UsageError(f"The key doesn't open {path}", "Give the one that the training began with") from error
    except (ValueError, RunError) as error:
        message = error.message if isinstance(error, RunError) else f"{path} is cut short ({error})"
        raise RunError(message, f"Start a new training, or {elsewhere}") from error


def _load(training: Training, state: dict[str, Any], folder: Path) -> None:
    """Load a state that is of the same network and, in the middle of an epoch, of the same batches."""
    steps = len(training.train)
    if len(state["losses"]) != steps:
        if state["step"]:
            raise UsageError(
                f"The training in {folder} was stopped in an epoch of {len(state['losses'])} batches, and now it has "
                f"{steps}",
                "Give the same data, --batch-size and --gpus as before",
            )
        state["losses"] = torch.zeros(steps)
    try:
        training.load_state_dict(state)
    except ValueError as error:
        raise RunError(
            f"The training in {folder} is of another network than the one asked for",
            "Give the spec or job, the --size and the model that it began with",
        ) from error
