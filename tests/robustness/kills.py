"""SIGKILL before and after every rename of a writer, and when a file is written but not yet on the disk.

Writers run in forks of one warm process, so that a kill costs the work done until then and no imports. What is left is
gone on with by the same writer, and the result must be, byte for byte, that of a run that nothing disturbed.
"""

import logging
import mmap
import os
import random
import shutil
import signal
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NoReturn

SECONDS = 600  # that a run may take on a crowded machine

_MOVES = ("rename", "replace", "link")


@dataclass(frozen=True)
class Writer:
    """What writes files, and goes on where it was stopped.

    Attributes:
        name: for the table.
        write: writes below a folder; the same call goes on after a kill.
        result: what must not differ, by name, as values that compare.
        prepare: puts a folder into the state in which the writer finds it first.
    """

    name: str
    write: Callable[[Path], Any]
    result: Callable[[Path], Mapping[str, Any]]
    prepare: Callable[[Path], Any] = lambda folder: folder.mkdir()


@dataclass
class Kills:
    """The outcome for a writer; ``bad`` says of each failure at which instant the kill came and what differed."""

    instants: int = 0
    kills: int = 0
    bad: list[str] = field(default_factory=list)


def kill_everywhere(writer: Writer, folder: Path, most: int | None = None, seed: int = 0) -> Kills:
    """Kill a writer at every instant, each time in a new folder, and go on with what is left.

    Args:
        writer: to kill.
        folder: for its files.
        most: kills, drawn from all instants; None for all.
        seed: of the draw.
    """
    target = folder / "made"  # the same for all, as some files name it
    writer.prepare(target)
    instants = _in_fork(writer, target, at=None)
    if instants < 0:
        raise RuntimeError(f"{writer.name} fails without a kill ({instants}): {_told(target)}")
    expected = writer.result(target)
    numbers = list(range(instants))
    if most is not None and most < len(numbers):
        numbers = sorted(random.Random(seed).sample(numbers, most))
    found = Kills(instants)
    for number in numbers:
        shutil.rmtree(target, ignore_errors=True)
        writer.prepare(target)
        killed = _in_fork(writer, target, at=number)
        found.kills += killed == -signal.SIGKILL
        if killed != -signal.SIGKILL:
            found.bad.append(f"instant {number}: the run wasn't killed ({killed})")
        elif (code := _in_fork(writer, target, at=-1)) < 0:
            found.bad.append(f"instant {number}: going on failed ({code}): {_told(target)}")
        elif different := _different(expected, writer.result(target)):
            found.bad.append(f"instant {number}: {different}")
    return found


def _told(folder: Path) -> str:
    log = folder.with_name("error.txt")
    return log.read_text() if log.is_file() else ""


def _different(expected: Mapping[str, Any], found: Mapping[str, Any]) -> str:
    names = [name for name in expected.keys() | found.keys() if expected.get(name) != found.get(name)]
    return f"{len(names)} of {len(expected)} files differ, such as {min(names)}" if names else ""


def _in_fork(writer: Writer, folder: Path, at: int | None) -> int:
    """Run a writer in a fork of this process.

    Args:
        writer: to run.
        folder: its own.
        at: the number of the instant to be killed at; None to count them; -1 for neither.

    Returns:
        The number of instants, or below 0 the signal that ended the process, or -1000 and less for its failure.
    """
    counter = mmap.mmap(-1, 8)
    child = os.fork()
    if child == 0:
        _child(writer, folder, at, counter)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    if code > 0:
        return -1000 - code
    return code or int.from_bytes(counter[:8], "little")


def _child(writer: Writer, folder: Path, at: int | None, counter: mmap.mmap) -> NoReturn:
    code = 1
    try:
        logging.disable(logging.CRITICAL)
        warnings.simplefilter("ignore")
        os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
        signal.alarm(SECONDS)
        if at != -1:
            _watch(at, counter)
        writer.write(folder)
        code = 0
    except BaseException as error:
        folder.with_name("error.txt").write_text(f"{type(error).__name__}: {error}"[:500])
    finally:
        os._exit(code)


def _watch(at: int | None, counter: mmap.mmap) -> None:
    """Count the instants of this process, and kill it at one."""

    def instant() -> None:
        number = int.from_bytes(counter[:8], "little")
        if number == at:
            os.kill(os.getpid(), signal.SIGKILL)
        counter[:8] = (number + 1).to_bytes(8, "little")

    def around(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            instant()
            given = function(*args, **options)
            instant()
            return given

        return called

    def before(function: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **options: Any) -> Any:
            instant()
            return function(*args, **options)

        return called

    for name in _MOVES:
        setattr(os, name, around(getattr(os, name)))
    os.fsync = before(os.fsync)
