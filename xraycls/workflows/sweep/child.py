"""A trial as a child process: an ordinary training by the command line, which ends with the process that started it."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Mapping

from xraycls.data.lock import sole_writer
from xraycls.data.processors import available_processors
from xraycls.errors import LockedError
from xraycls.workflows.sweep.folder import OUTPUT, Trial

PROGRAM = (sys.executable, "-m", "xraycls")
"""What runs a trial's command."""

INTERRUPTED = (130, -signal.SIGTERM, -signal.SIGINT)
"""Exit codes of a training that was asked to stop; all is saved, or nothing had begun."""

RESTARTS = 2
"""How often a trial is started again that was killed."""

_SAVING = 60.0  # seconds that a process gets to save and stop
_DIES_WITH_PARENT = 1  # PR_SET_PDEATHSIG


def start(
    trial: Trial, threads: int | None = None, environment: Mapping[str, str] | None = None
) -> subprocess.Popen[bytes]:
    """Start a trial, or go on with it; what it prints goes to ``output.txt`` in its folder.

    Args:
        trial: whose folder is there.
        threads: of every pool; None for the training's own choice.
        environment: variables beside those of this process.
    """
    _wait_for_writer(trial)
    words = [*trial.command]
    if threads is not None and "--threads" not in words:
        words += ["--threads", str(threads)]
    variables = {**os.environ, **(environment or {})}
    if threads is not None:
        variables.setdefault("OMP_NUM_THREADS", str(threads))
    # A group of its own: Ctrl-C reaches the sweep alone, which asks its trials to save and stop.
    with (trial.folder / OUTPUT).open("ab") as output:
        return subprocess.Popen(
            [*PROGRAM, *words],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=subprocess.STDOUT,
            env=variables,
            start_new_session=True,
            preexec_fn=_end_with_parent(),
        )


def _wait_for_writer(trial: Trial) -> None:
    """Wait until nobody writes to a trial's folder: its process before may still be saving, as its sweep was killed."""
    deadline = time.monotonic() + _SAVING
    while time.monotonic() < deadline:
        with contextlib.suppress(LockedError), sole_writer(trial.folder):
            return
        time.sleep(0.2)


def share_of_processors(workers: int) -> int | None:
    """Returns the threads of each of several trials at a time; None for one alone, which takes what it wants."""
    return None if workers == 1 else max(available_processors() // workers, 1)


def reason_of(trial: Trial, code: int) -> str:
    """Returns why a trial has failed: the sentence of its error, else the last line that it printed.

    Args:
        trial: that ended.
        code: its exit code; below 0 the signal that killed it.
    """
    if code < 0:
        return f"Killed by signal {-code} ({signal.Signals(-code).name})"
    text = (trial.folder / OUTPUT).read_text(encoding="utf-8", errors="replace")
    errors = re.findall(r"^Error: (.+)$", text, re.MULTILINE)
    lines = text.strip().splitlines()
    return str(errors[-1] if errors else lines[-1] if lines else f"Exit code {code}")


def _end_with_parent() -> Callable[[], object] | None:
    """What makes a child save and stop when its parent is gone, however that ended; on Linux alone."""
    if not sys.platform.startswith("linux"):
        return None
    import ctypes

    set_option = ctypes.CDLL(None).prctl  # looked up here: a child may not load libraries before it is a program
    return lambda: set_option(_DIES_WITH_PARENT, signal.SIGTERM)
