"""Damaged files for every reader: each is read, or refused by an error of ours; nothing else comes out of it.

A reader runs in a process of its own, with bounded memory, so that a crash or a hang of a library is found and counted.
"""

import contextlib
import logging
import mmap
import os
import random
import resource
import signal
import tempfile
import time
import traceback
import unicodedata
import warnings
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from types import FrameType
from typing import Any, NoReturn

import xraycls
from tests.robustness.mutations import of_bytes
from xraycls.errors import LONGEST, XrayclsError

PACKAGE = Path(xraycls.__file__).parent
SECONDS = 20  # of a processor that a reader may take for a file
PATIENCE = 600  # seconds by the clock, for one that waits for what never comes
MEMORY = 3 << 30  # bytes that it may take

Mutation = Callable[[bytes, Sequence[bytes], random.Random], bytes]


@dataclass(frozen=True)
class Reader:
    """A reader and sound files for it.

    Attributes:
        name: for the table.
        files: that are damaged, one at a time, where they lie.
        read: reads what they belong to.
        mutation: the damage.
        weight: how many inputs it gets, against the others.
    """

    name: str
    files: Sequence[Path]
    read: Callable[[Path], Any]
    mutation: Mutation = of_bytes
    weight: float = 1.0


@dataclass
class Counts:
    """What became of the inputs of a reader; ``bad`` holds the first line and the number of each kind of failure."""

    inputs: int = 0
    read: int = 0
    refused: int = 0
    bad: Counter[str] = field(default_factory=Counter)
    examples: dict[str, str] = field(default_factory=dict)


class Hang(BaseException):
    """A reader took longer than ``SECONDS``."""


def fuzz(reader: Reader, count: int, seed: int = 0) -> Counts:
    """Give damaged files to a reader.

    Args:
        reader: sound files and what reads them.
        count: inputs.
        seed: of the damage; each input has its own, so that a failure can be repeated alone.
    """
    for file in reader.files:
        reader.read(file)  # what isn't read whole would be refused for any reason
    counts = Counts()
    with tempfile.NamedTemporaryFile("w+") as log:
        done = 0
        progress = mmap.mmap(-1, 8)
        while done < count:
            child = os.fork()
            if child == 0:
                _child(reader, range(done, count), seed, Path(log.name), progress)
            code = _ended(child, progress)
            if code == 0:
                break
            at = int.from_bytes(progress[:8], "little")
            with Path(log.name).open("a") as file:
                file.write(f"bad\t{at}\tthe process died of {code}\t\n")
            done = at + 1
        for line in Path(log.name).read_text(errors="replace").splitlines():
            kind, at, what, where = line.split("\t", 3)
            counts.inputs += 1
            counts.read += kind == "read"
            counts.refused += kind == "refused"
            if kind == "bad":
                counts.bad[what] += 1
                counts.examples.setdefault(what, f"input {at}: {where}")
    return counts


def _ended(child: int, progress: mmap.mmap) -> int:
    """The exit code of a process, which is killed when it stays at one input for ``PATIENCE``."""
    seen, since = b"", time.monotonic()
    while True:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            return os.waitstatus_to_exitcode(status)
        if progress[:8] != seen:
            seen, since = progress[:8], time.monotonic()
        elif time.monotonic() - since > PATIENCE:
            os.kill(child, signal.SIGKILL)
        time.sleep(0.05)


def _child(reader: Reader, numbers: range, seed: int, log: Path, progress: mmap.mmap) -> NoReturn:
    """Read all inputs of these numbers, and end the process, whatever happens: it is a copy of one that runs tests."""
    code = 1
    try:
        _read_all(reader, numbers, seed, log, progress)
        code = 0
    finally:
        os._exit(code)


def _read_all(reader: Reader, numbers: range, seed: int, log: Path, progress: mmap.mmap) -> None:
    logging.disable(logging.CRITICAL)
    warnings.simplefilter("ignore")
    silence = os.open(os.devnull, os.O_WRONLY)
    os.dup2(silence, 2)  # of libraries in C
    pages = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (pages + MEMORY, pages + MEMORY))
    signal.signal(signal.SIGPROF, _hang)
    sound = {file: file.read_bytes() for file in reader.files}
    with log.open("a") as out:
        for number in numbers:
            progress[:8] = number.to_bytes(8, "little")
            draw = random.Random(f"{reader.name} {seed} {number}")
            file = draw.choice(list(sound))
            file.write_bytes(reader.mutation(sound[file], list(sound.values()), draw))
            signal.setitimer(signal.ITIMER_PROF, SECONDS)
            kind, what, where = _outcome(reader, file)
            signal.setitimer(signal.ITIMER_PROF, 0)
            file.write_bytes(sound[file])
            out.write(f"{kind}\t{number}\t{what}\t{where}\n")
            out.flush()


def _hang(number: int, frame: FrameType | None) -> None:
    raise Hang


def _outcome(reader: Reader, file: Path) -> tuple[str, str, str]:
    try:
        with contextlib.redirect_stderr(None):
            reader.read(file)
    except XrayclsError as error:
        if len(str(error)) > 3 * LONGEST or any(
            unicodedata.category(c) in ("Cc", "Cs", "Zl", "Zp") for c in str(error)
        ):
            return "bad", f"message of {type(error).__name__} is no line of bounded length", repr(str(error))[:300]
        return "refused", "", ""
    except BaseException as error:
        frames = [f for f in traceback.extract_tb(error.__traceback__) if PACKAGE in Path(f.filename).parents]
        ours = f"{Path(frames[-1].filename).name}:{frames[-1].name}" if frames else "?"
        text = " ".join(str(error).split())[:150]
        return "bad", f"{type(error).__name__} in {ours}", f"{file.name}: {text}"
    return "read", "", ""
