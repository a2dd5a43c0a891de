"""Trials on this machine: a few child processes at a time, one GPU or a share of the processors each."""

from __future__ import annotations

import os
import time
from dataclasses import dataclass
from subprocess import Popen

import torch

from xraycls.training.interrupt import Interrupted, stop_on_signal
from xraycls.workflows.sweep.board import Board
from xraycls.workflows.sweep.child import INTERRUPTED, RESTARTS, reason_of, share_of_processors, start
from xraycls.workflows.sweep.folder import Trial

_PAUSE = 0.25  # seconds between two looks at the processes


@dataclass
class _Running:
    """A trial and its process.

    Attributes:
        trial: as last seen.
        process: of its training.
        restarts: how often it was killed and started again.
        given_up: whether it was asked to stop as hopeless.
    """

    trial: Trial
    process: Popen[bytes]
    restarts: int = 0
    given_up: bool = False


class LocalPool:
    """Runs the trials of a board.

    Args:
        board: hands out the trials.
        workers: trials at a time, 1 or more.
    """

    def __init__(self, board: Board, workers: int) -> None:
        self.board = board
        self.threads = share_of_processors(workers)
        self.gpus = visible_gpus()
        self.slots: list[_Running | None] = [None] * workers

    def run(self) -> None:
        """Run all trials.

        Raises:
            Interrupted: Ctrl-C or SIGTERM; every trial is saved.
        """
        with stop_on_signal() as wish:
            try:
                while not wish.wanted and self._fill():
                    time.sleep(_PAUSE)
                    self._look()
            finally:
                self._stop()
        if wish.wanted:
            over = sum(trial.is_over for trial in self.board.trials)
            raise Interrupted(
                f"Stopped with {over} of {len(self.board.trials)} trials done",
                f"All is saved; go on with: xraycls sweep {self.board.folder}",
            )

    def _fill(self) -> bool:
        """Start trials in free slots; whether any runs."""
        for number, running in enumerate(self.slots):
            if running is None and (trial := self.board.next_trial()):
                self.slots[number] = _Running(trial, self._start(trial, number))
        return any(self.slots)

    def _start(self, trial: Trial, slot: int) -> Popen[bytes]:
        gpu = {"CUDA_VISIBLE_DEVICES": self.gpus[slot % len(self.gpus)]} if self.gpus else {}
        return start(trial, self.threads, gpu)

    def _look(self) -> None:
        """Note how far all have come, start killed ones again, and ask the hopeless ones to stop."""
        for number, running in enumerate(self.slots):
            if running is None:
                continue
            running.trial = self.board.look(running.trial)
            code = running.process.poll()
            if code is None:
                if not running.given_up and self.board.is_hopeless(running.trial):
                    running.given_up = True
                    running.process.terminate()
            elif code < 0 and code not in INTERRUPTED and running.restarts < RESTARTS:
                running.restarts += 1
                running.process = self._start(running.trial, number)
            else:
                self._end(running, code)
                self.slots[number] = None

    def _end(self, running: _Running, code: int) -> None:
        if code == 0:
            self.board.end(running.trial, "finished")
        elif code in INTERRUPTED:
            self.board.end(running.trial, "stopped" if running.given_up else "waiting")
        else:
            self.board.end(running.trial, "failed", reason_of(running.trial, code))

    def _stop(self) -> None:
        """Ask what still runs to save and stop, and wait for it."""
        left = [running for running in self.slots if running is not None]
        for running in left:
            running.process.terminate()
        for running in left:
            self._end(running, running.process.wait())


def visible_gpus() -> list[str]:
    """Returns the GPUs that this process may use, as CUDA_VISIBLE_DEVICES names them."""
    if named := os.environ.get("CUDA_VISIBLE_DEVICES"):
        return [name for name in named.split(",") if name]
    return [str(number) for number in range(torch.cuda.device_count())] if torch.cuda.is_available() else []
