"""Starts a process for every library, and lets the pipelines take turns."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from benchmarks.peers.environments import interpreter
from benchmarks.peers.pipelines import PIPELINES, Pipeline
from xraycls.errors import DataError, XrayclsError

_ROOT = Path(__file__).parents[2]
_PROGRAM = ("-m", "benchmarks.peers.process")
_SETTINGS = {"NO_ALBUMENTATIONS_UPDATE": "1"}  # albumentations would look for a newer version whenever it is imported

Figures = dict[str, Any]
Reasons = dict[str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Setup:
    """What all pipelines are asked.

    Attributes:
        data: folder or CSV of image files.
        files: of an epoch.
        work: folder for stores and caches.
        environments: folder of the peers' environments.
        own_torch: whether these have a torch of their own.
        batch_size: pictures.
        workers: processes or threads.
        rounds: in each of which every pipeline is set up anew.
        at_least: seconds of a steady measurement, and at least one epoch.
    """

    data: Path
    files: tuple[Path, ...]
    work: Path
    environments: Path
    own_torch: bool
    batch_size: int
    workers: int
    rounds: int
    at_least: float


def measured(names: Sequence[str], setup: Setup) -> tuple[dict[str, Figures], Reasons]:
    """The answers of every pipeline, round by round, and why others have none."""
    missing: Reasons = {}
    found: dict[str, Figures] = {}
    processes: dict[str, _Process] = {}

    try:
        pythons = {PIPELINES[name].library: python for name, python in _interpreters(names, setup, missing).items()}
        processes = {library: _Process(python, library, setup) for library, python in pythons.items()}
        with ThreadPoolExecutor(setup.workers) as pool:  # imports take longer than measurements
            list(pool.map(_Process.start, processes.values()))
        for name in names:
            if name not in missing:
                with _noted(missing, name):
                    found[name] = _prepared(processes[PIPELINES[name].library], setup, name)
        for number in range(setup.rounds):
            # Backwards in every second round: what one leaves behind doesn't always meet the same one.
            for name in names[:: -1 if number % 2 else 1]:
                if name not in missing:
                    with _noted(missing, name):
                        found[name]["rounds"].append(_round(processes[PIPELINES[name].library], setup, name, number))
    finally:
        for process in processes.values():
            process.end()
    return {name: figures for name, figures in found.items() if name not in missing}, missing


@contextmanager
def _noted(missing: Reasons, name: str) -> Iterator[None]:
    """Note why a pipeline isn't measured."""
    try:
        yield
    except XrayclsError as error:
        missing[name] = str(error)


def _interpreters(names: Sequence[str], setup: Setup, missing: Reasons) -> dict[str, Path]:
    """The Python of every pipeline whose environment is there or can be made."""
    made: dict[str | None, Path | str] = {None: Path(sys.executable)}
    for name in names:
        environment = PIPELINES[name].environment
        if environment is not None and environment not in made:
            try:
                made[environment] = interpreter(setup.environments, environment, own_torch=setup.own_torch)
            except XrayclsError as error:
                made[environment] = str(error)
    found = {name: made[PIPELINES[name].environment] for name in names}
    missing.update({name: reason for name, reason in found.items() if isinstance(reason, str)})
    return {name: python for name, python in found.items() if isinstance(python, Path)}


def _prepared(process: _Process, setup: Setup, name: str) -> Figures:
    """What a pipeline's imports and its store take; its figures, before the first round."""
    task = _task(PIPELINES[name], setup, name, "store", "uint8")
    answer = process.ask({"do": "prepare", "pipeline": name, "task": task})
    found = answer.pop("version")
    prepared = answer if PIPELINES[name].prepare else None
    return {"version": found, **process.loaded, "prepared": prepared, "rounds": []}


def _round(process: _Process, setup: Setup, name: str, number: int) -> Figures:
    """Every output from the beginning."""
    answers = {}
    for output in PIPELINES[name].outputs:
        task = _task(PIPELINES[name], setup, name, f"{output}-{number}", output)
        question = {"do": "measure", "pipeline": name, "task": task, "at_least": setup.at_least}
        answers[output] = process.ask(question)
    return answers


def _task(pipeline: Pipeline, setup: Setup, name: str, work: str, output: str) -> Mapping[str, Any]:
    own = setup.work / "".join(letter if letter.isalnum() else "-" for letter in name)
    return {
        "data": str(setup.data),
        "files": [str(file) for file in setup.files[: pipeline.most]],
        "store": str(own / "store"),
        "work": str(own / work),
        "batch_size": setup.batch_size,
        "workers": setup.workers,
        "output": output,
    }


class _Process:
    """The process of a library, see ``benchmarks.peers.process``."""

    def __init__(self, python: Path, library: str, setup: Setup) -> None:
        self.loaded: Figures = {}
        self._command = [str(python), *_PROGRAM, library]
        self._setup = setup
        self._running: subprocess.Popen[str] | None = None

    def start(self) -> None:
        """Wait until everything is imported; an error is what later questions get for an answer."""
        self._running = subprocess.Popen(
            self._command,
            cwd=self._setup.work,
            env={**os.environ, **_SETTINGS, "OMP_NUM_THREADS": str(self._setup.workers), "PYTHONPATH": str(_ROOT)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
        )
        self.loaded = self._read()

    def ask(self, question: Mapping[str, Any]) -> Figures:
        """The answer to a question.

        Raises:
            DataError: there is none, or it is an error.
        """
        answer = self.loaded
        if "error" not in answer:
            assert self._running
            with suppress(BrokenPipeError):
                print(json.dumps(question), file=self._running.stdin, flush=True)
            answer = self._read()
        if "error" in answer:
            raise DataError(answer["error"])
        return answer

    def _read(self) -> Figures:
        assert self._running
        assert self._running.stdout
        line = self._running.stdout.readline()
        answer: Figures = json.loads(line) if line else {"error": "its process ended"}
        return answer

    def end(self) -> None:
        """Stop it; forks end with their answers."""
        if self._running:
            self._running.kill()
            self._running.communicate()
