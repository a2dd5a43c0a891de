"""Which run to go on with, and with which settings."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from xraycls.data.classes import with_class_order
from xraycls.data.table import SampleTable
from xraycls.errors import RunError, UsageError
from xraycls.inference.load import runs_of
from xraycls.training.config import RESUMABLE, TrainConfig
from xraycls.training.loop import Training
from xraycls.training.reporter import Reporter
from xraycls.training.run_folder import RUNS, RunFolder

logger = logging.getLogger(__name__)


def resumed_config(
    resume: Path | str, output: RunFolder | None, config: TrainConfig, given: Mapping[str, Any]
) -> tuple[RunFolder, TrainConfig] | None:
    """The run to resume and its settings, changed only where a change can't alter what is already trained.

    Args:
        resume: "auto" or a run folder.
        output: the run folder of ``--output``.
        config: the settings of the command line.
        given: the settings that the user named.

    Returns:
        None when "auto" finds no run in ``output`` yet, so that one command line serves every start of a job.

    Raises:
        RunError: nothing to resume.
        UsageError: a setting differs that can't change in the middle of a run.
    """
    run = _find(resume, output, config)
    if run is None:
        return None
    before = run.read_config()
    # "auto" means what it meant at the start.
    changes = {name: getattr(config, name) for name, value in given.items() if value != "auto" and value is not None}
    after = before.updated(changes)
    if not run.state.is_file():  # nothing is trained yet that a setting could disagree with
        return run, after
    if after.epochs != before.epochs and after.schedule == "cosine":
        logger.warning("The cosine schedule now spans %d epochs, so the learning rate jumps.", after.epochs)
    for name in changes:
        if name not in RESUMABLE and getattr(after, name) != getattr(before, name):
            raise UsageError(
                f"--{name.replace('_', '-')} {changes[name]} differs from {getattr(before, name)} in {run.config}",
                "A resumed run keeps its settings; start a new run with another --output",
            )
    return run, after


def _find(resume: Path | str, output: RunFolder | None, config: TrainConfig) -> RunFolder | None:
    if str(resume) != "auto":
        run = RunFolder(Path(resume))
        if not run.exists():
            raise RunError(
                f"Nothing to resume: {run.path} is not a run folder", "Leave out --resume to start a new run"
            )
        return run
    if output:
        if output.exists():
            return output
        logger.warning("Nothing to resume in %s yet: a new run starts there.", output.path)
        return None
    runs = runs_of(config.base_model)
    if runs:
        return runs[0]
    raise RunError(
        f"Nothing to resume: {RUNS}/ holds no run of {config.base_model}", "Leave out --resume to start a new run"
    )


def in_order_of(run: RunFolder, table: SampleTable) -> SampleTable:
    """The table with its classes in the order that a run was started with, where they are the same."""
    before = run.read_environment().classes
    return with_class_order(table, before) if set(before) == set(table.classes) else table


def check_same_data(
    run: RunFolder, table: SampleTable, *, boxes: bool = False, hint: str = "to test on other data, name it with --data"
) -> None:
    """Raise RunError when the images, labels or splits are not those that the run was started with.

    Args:
        run: of any model.
        table: its data.
        boxes: whether the boxes must be the same, too.
        hint: what else the user may have wanted; "" for nothing.
    """
    before = run.read_environment().dataset
    if before not in (None, table.fingerprint(boxes=boxes)):
        raise RunError(
            f"{table.root} has changed since {run.path} was started: it no longer holds the same images and labels",
            "Restore it, or start a new run in another folder" + (f"; {hint}" if hint else ""),
        )


def check_same_processes(run: RunFolder, processes: int) -> None:
    """Raise UsageError when the run was started with another number of processes: its batches would differ."""
    before = run.read_environment().processes
    if before not in (None, processes):
        raise UsageError(f"{run.path} was started with {before} processes, not {processes}", f"Add --gpus {before}")


def report_failures(training: Training, reporter: Reporter) -> None:
    """Name the pictures that could not be read, when a training has ended."""
    if names := training.failures:
        more = ", …" if len(names) > 5 else ""
        reporter.message(f"{len(names)} files could not be read and were left out: {', '.join(names[:5])}{more}")
