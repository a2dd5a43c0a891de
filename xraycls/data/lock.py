"""One writer at a time: a lock on what is written to, which names its holder and ends with the holder's process.

The system gives up such a lock (``flock``) when its process ends, however it ends, so that none has to be removed by
hand. Where a file system has no such locks, the holder that the lock file names counts for as long as it is alive.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from pydantic import BaseModel, ValidationError

from xraycls.data.files import write_error
from xraycls.errors import LockedError, XrayclsError

LOCK = ".lock"
"""The lock file in a folder that has one; hidden, so that no reader takes it for data."""


class _Holder(BaseModel):
    """The process that writes."""

    host: str
    pid: int
    command: str
    since: str

    @classmethod
    def this(cls) -> _Holder:
        # Words alone: what follows a flag may be a key.
        words = [Path(sys.argv[0]).name]
        for word in sys.argv[1:4]:
            if word.startswith("-"):
                break
            words.append(word)
        return cls(
            host=socket.gethostname(),
            pid=os.getpid(),
            command=" ".join(words),
            since=time.strftime("%Y-%m-%d %H:%M:%S"),
        )

    def is_alive(self) -> bool:
        """Whether the process still runs; True where that can't be known."""
        if self.host != socket.gethostname() or os.name != "posix":
            return True
        try:
            os.kill(self.pid, 0)
        except ProcessLookupError:
            return False
        except PermissionError:
            return True
        return True


@contextmanager
def sole_writer(target: Path, elsewhere: str = "choose another folder with --output") -> Iterator[None]:
    """Keep every other process that asks for the same folder out of it for the duration of a block.

    Args:
        target: a folder, which is made when missing, and removed again where nothing was written to it.
        elsewhere: how to choose another one, for the error.

    Raises:
        LockedError: another process writes there; names it.
        XrayclsError: the folder can't be written to.

    Example:
        >>> from pathlib import Path
        >>> from xraycls.data.lock import sole_writer
        >>> with sole_writer(Path("results")):
        ...     written = Path("results", "figures.csv").write_text("epoch,loss")
        >>> sorted(path.name for path in Path("results").iterdir())
        ['figures.csv']
    """
    with contextlib.suppress(OSError):  # missing, or not to be reached: told when the lock is made
        if not stat.S_ISDIR(target.stat().st_mode):  # asked once: others make and remove the folder meanwhile
            raise XrayclsError(f"{target} is a file and not a folder", elsewhere.capitalize())
    missing = [folder for folder in (target, *target.parents) if not folder.exists()]
    try:
        with _locked(target / LOCK, target, elsewhere):
            yield
    finally:
        for folder in missing:
            with contextlib.suppress(OSError):  # it holds something
                folder.rmdir()


@contextmanager
def sole_writer_of(target: Path, elsewhere: str) -> Iterator[None]:
    """As :func:`sole_writer`, for a file, or a folder that appears when all of it is there: the lock lies beside it."""
    final = target.resolve()
    with _locked(final.with_name(f".{final.name}{LOCK}"), target, elsewhere):
        yield


@contextmanager
def _locked(path: Path, target: Path, elsewhere: str) -> Iterator[None]:
    try:
        handle = _acquired(path)
    except OSError as error:
        raise write_error(error, target) from error
    if handle is None:
        raise _refusal(path, target, elsewhere)
    try:
        yield
    finally:
        with contextlib.suppress(OSError):
            path.unlink(missing_ok=True)  # before the lock is given up: afterwards it may be another's
        os.close(handle)


def _acquired(path: Path) -> int | None:
    """Returns the open lock file, which is ours now; None where another process has it.

    Raises:
        OSError: the folder can't be written to.
    """
    attempts = 1000
    while True:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle = os.open(path, os.O_RDWR | os.O_CREAT, 0o666)
        except (FileNotFoundError, FileExistsError):
            # A holder that has just ended took away a folder that it had made: between two looks at it, even.
            attempts -= 1
            if not attempts:
                raise
            continue
        if not _lock(handle, path):
            os.close(handle)
            return None
        with contextlib.suppress(FileNotFoundError):
            # Its last holder may have removed the file after it was opened here: then nobody else sees this lock.
            if os.path.samestat(os.fstat(handle), path.stat()):
                os.truncate(handle, 0)
                os.write(handle, _Holder.this().model_dump_json().encode())
                return handle
        os.close(handle)


def _lock(handle: int, path: Path) -> bool:
    """Whether nobody else has the lock; where there are no locks, whether its holder is dead."""
    try:
        import fcntl

        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except (ImportError, OSError):  # Windows and some network drives know no such locks
        holder = _holder(path)
        return holder is None or holder.pid == os.getpid() or not holder.is_alive()
    return True


def _holder(path: Path) -> _Holder | None:
    try:
        return _Holder.model_validate_json(path.read_bytes())
    except (OSError, ValidationError):
        return None


def _refusal(path: Path, target: Path, elsewhere: str) -> LockedError:
    holder = _holder(path)
    who = (
        f"process {holder.pid} on {holder.host} ({holder.command}, since {holder.since})"
        if holder
        else "another process"
    )
    hint = f"Wait for it, or {elsewhere}"
    if holder and holder.host != socket.gethostname():
        hint += f"; if no such process runs there any more, remove {path}"
    return LockedError(f"{target} is being written to by {who}", hint)
