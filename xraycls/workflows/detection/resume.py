"""Whether a training may begin in a results folder, and where one that is there goes on."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import torch

from xraycls.errors import RunError, UsageError
from xraycls.models.encryption import WrongKey, decrypt, is_encrypted
from xraycls.tao.results import Results
from xraycls.training.checkpoint import load_state
from xraycls.training.loop import Training
from xraycls.training.run_folder import RunFolder

_ELSEWHERE = "choose another folder with -r"


def check_folder(results: Results, *, resume: bool) -> None:
    """Keep a training from being mixed up with another one.

    Args:
        results: where it is to be written.
        resume: whether it goes on with the one that is there.

    Raises:
        UsageError: there is another training in the folder.
    """
    run = RunFolder(results.folder)
    if run.exists():
        raise UsageError(f"{run.path} holds a run of xraycls train", _ELSEWHERE.capitalize())
    weights = results.weights(0, "").parent
    if not resume and (run.state.is_file() or any(weights.glob(f"{results.network}_{results.arch}_epoch_*"))):
        raise UsageError(f"{run.path} already holds a training", f"Go on with it with --continue, or {_ELSEWHERE}")


def go_on(training: Training, run: RunFolder, key: str, epoch: int | None, model: Path | None) -> str:
    """Take up a training where it was stopped.

    Args:
        training: of the same network.
        run: the results folder.
        key: that the training was saved with.
        epoch: the next one, counted from 1; None for whichever it is.
        model: that an epoch before ended with. Where ``run`` holds no training, the state that lies beside the model
            is taken if it is of the same epoch; else the optimiser starts anew.

    Returns:
        A sentence for the log.

    Raises:
        RunError: there is nothing to go on with, it isn't the epoch before, or it is of another network.
        UsageError: a wrong key, or nothing is left to do.
    """
    epochs = training.config.epochs
    if epoch and epoch > epochs:
        raise UsageError(f"--initial-epoch {epoch} is above the {epochs} epochs of the training", "Give more: --epochs")
    if run.state.is_file():
        state = _read(run.state, key)
        if epoch not in (None, state["epoch"] + 1):
            raise RunError(
                f"The training in {run.path} has finished {state['epoch']} epochs, so it goes on with epoch "
                f"{state['epoch'] + 1}, not {epoch}",
                f"Give --continue or --initial-epoch {state['epoch'] + 1}",
            )
        _take_up(training, state, run.path)
    elif epoch and model:
        beside = RunFolder(model.parent.parent)
        state = _read(beside.state, key) if beside.state.is_file() else {"epoch": -1}
        if state["epoch"] != epoch - 1:
            training.epoch = epoch - 1
            return f"Going on with epoch {epoch} of {epochs} from {model}; the momentum of its training isn't known."
        _take_up(training, state, beside.path)
    else:
        hint = "Name the model to go on with: -m MODEL" if epoch else "Begin one without --continue"
        raise RunError(f"There is no training in {run.path} to go on with", hint)
    within = f", batch {training.step + 1}" if training.step else ""
    return f"Going on with epoch {training.epoch + 1} of {epochs}{within}."


def _read(path: Path, key: str) -> dict[str, Any]:
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
        raise RunError(message, f"Start a new training, or {_ELSEWHERE}") from error


def _take_up(training: Training, state: dict[str, Any], folder: Path) -> None:
    """Load a state that is of the same network and, in the middle of an epoch, of the same batches."""
    done, steps = state["epoch"], len(training.train)
    if done >= training.config.epochs:
        raise UsageError(f"The training in {folder} has finished all of its {done} epochs", "Give more: --epochs")
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
    except (RuntimeError, ValueError, KeyError) as error:
        raise RunError(
            f"The training in {folder} is of another network than the spec describes",
            "Give the spec, the --size and the model that it began with",
        ) from error
    if training.stopping.should_stop:
        raise UsageError(f"The training in {folder} has stopped early, so nothing is left to do")
