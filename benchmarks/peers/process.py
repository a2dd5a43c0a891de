"""The process of one library: started by ``benchmarks.peers.measure``, and asked by lines of JSON.

    python -m benchmarks.peers.process LIBRARY

It imports torch and the library, and forks for every measurement, so that each begins with nothing but imports. It
imports nothing of xraycls, unless xraycls is what is measured.
"""

from __future__ import annotations

import json
import multiprocessing
import os
import signal
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from importlib import import_module
from importlib.metadata import version
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

Answer = dict[str, Any]

LONGEST = 600.0  # seconds of a measurement
_TICKS = os.sysconf("SC_CLK_TCK")


def main() -> None:
    """Answer questions until there are no more."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # libraries print what they like
    print(json.dumps(_answer(load, sys.argv[1])), file=answers, flush=True)
    for line in sys.stdin:
        print(json.dumps(_apart(json.loads(line))), file=answers, flush=True)


def load(library: str) -> Answer:
    """Import torch, then the library; with the memory that either takes."""
    import torch  # noqa: F401

    with_torch = memory()
    import_module(f"benchmarks.peers.libraries.{library}")
    return {"memory_of_torch": with_torch, "memory_of_imports": memory()}


def prepare(pipeline: str, task: dict[str, Any]) -> Answer:
    """Make a pipeline's store."""
    from benchmarks.peers.pipelines import PIPELINES

    chosen, asked = PIPELINES[pipeline], _task(task)
    used = _used(lambda: chosen.make_store(asked))
    found = version(chosen.package) if chosen.package else None
    return {**used, "disk": _size(asked.store), "version": found}


def measure(pipeline: str, task: dict[str, Any], at_least: float) -> Answer:
    """A pipeline from its beginning: the first epoch, then others until ``at_least`` seconds have passed."""
    from benchmarks.peers.pipelines import PIPELINES

    chosen, asked, epochs = PIPELINES[pipeline], _task(task), []
    before = _status("self/status", ("VmRSS",))

    def first() -> int:
        epochs.append(chosen.set_up(asked))
        return _images(epochs[0](), asked.output, chosen.channels)

    def others() -> int:
        count, begin = 0, time.perf_counter()
        while not count or time.perf_counter() - begin < at_least:
            count += sum(len(batch) for batch in epochs[0]())
        return count

    answer = {"first": _used(first), "steady": _used(others)}
    return {**answer, "memory": memory() - before, "disk": _size(asked.work)}


def _answer(run: Callable[..., Answer], *arguments: Any) -> Answer:
    try:
        return run(*arguments)
    except Exception as error:  # whatever a library raises is why its row is missing
        first = str(error).strip().partition("\n")[0]
        return {"error": f"{type(error).__name__}: {first}"}


def _apart(question: dict[str, Any]) -> Answer:
    """The answer of a fork, which is ended with its workers."""
    context = multiprocessing.get_context("fork")
    ours, theirs = context.Pipe()
    fork = context.Process(target=_fork, args=(theirs, question))
    fork.start()
    theirs.close()
    try:
        answer: Answer = ours.recv() if ours.poll(LONGEST) else {"error": f"it takes longer than {LONGEST:.0f} s"}
    except EOFError:
        fork.join()
        answer = {"error": f"its process ended with code {fork.exitcode}"}
    with suppress(ProcessLookupError):
        os.killpg(fork.pid, signal.SIGKILL)
    fork.join()
    return answer


def _fork(answers: Connection, question: dict[str, Any]) -> None:
    os.setsid()
    run = {"prepare": prepare, "measure": measure}[question.pop("do")]
    answers.send(_answer(lambda: run(**question)))


def _task(facts: dict[str, Any]) -> Any:
    from benchmarks.peers.task import Task

    paths = {name: Path(facts[name]) for name in ("data", "store", "work")}
    for name in ("store", "work"):
        paths[name].mkdir(parents=True, exist_ok=True)
    return Task(**{**facts, **paths, "files": tuple(map(Path, facts["files"]))})


def _images(batches: Iterator[Any], output: str, channels: int) -> int:
    """Pictures of an epoch, whose batches are what was asked for."""
    count = 0
    for batch in batches:
        kind = str(batch.dtype).removeprefix("torch."), tuple(batch.shape[1:])
        if kind != (output, (channels, 224, 224)):
            raise ValueError(f"a batch is {kind[0]} {list(kind[1])}, not {output} {[channels, 224, 224]}")
        count += len(batch)
    return count


def _used(run: Callable[[], int | None]) -> Answer:
    before, begin = processor_seconds(), time.perf_counter()
    images = run()
    return {"images": images, "seconds": time.perf_counter() - begin, "cpu_seconds": processor_seconds() - before}


def processor_seconds() -> float:
    """Of this process and its workers, those that ended included."""
    living = 0
    for worker in multiprocessing.active_children():
        with suppress(OSError):
            fields = Path(f"/proc/{worker.pid}/stat").read_text().rpartition(")")[2].split()
            living += int(fields[11]) + int(fields[12])
    return time.process_time() + sum(os.times()[2:4]) + living / _TICKS


def memory() -> int:
    """Bytes: the most that this process ever had resident, and what its workers have for themselves."""
    return _status("self/status", ("VmHWM",)) + sum(
        _status(f"{worker.pid}/smaps_rollup", ("Private_Clean", "Private_Dirty"))
        for worker in multiprocessing.active_children()
    )


def _status(name: str, fields: tuple[str, ...]) -> int:
    with suppress(OSError):
        lines = Path("/proc", name).read_text().splitlines()
        return 1024 * sum(int(line.split()[1]) for line in lines if line.partition(":")[0] in fields)
    return 0


def _size(folder: Path) -> int:
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())


if __name__ == "__main__":
    main()
