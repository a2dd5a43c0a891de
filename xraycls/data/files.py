"""Writing files so that a kill at any instant leaves either the old file or the new one."""

import contextlib
import errno
import glob
import hashlib
import os
import re
import shutil
import stat
import tempfile
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from xraycls.errors import DataError, UsageError, XrayclsError

LONGEST_NAME = 255
"""Bytes of a file's name, on the file systems in use."""

_LONGEST_PATH = 4096  # bytes, of Linux
_LONGEST_STEM = 150  # bytes
_TEMPORARY = re.compile(r"\..+\.[0-9a-f]{8}(\.\w+)?")
_SPECIAL = (
    (stat.S_ISFIFO, "named pipe"),
    (stat.S_ISSOCK, "socket"),
    (stat.S_ISCHR, "device"),
    (stat.S_ISBLK, "device"),
)


@contextmanager
def atomic_write(path: Path) -> Iterator[Path]:
    """Give a temporary path beside ``path``, and move it into place when the block ends without an error.

    The temporary file has the same suffix, can be read by its owner alone, is flushed to disk before the move and
    removed when the block fails. Missing parent folders are made.

    Raises:
        XrayclsError: the disk is full or the folder can't be written; the old file is untouched.
    """
    # Cut short, so that a name as long as file systems allow leaves room for the rest.
    stem = os.fsencode(path.stem)[:_LONGEST_STEM].decode(errors="ignore")
    temporary = path.with_name(f".{stem}.{uuid.uuid4().hex[:8]}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with temporary.open("xb") as handle:
            mode = stat.S_IMODE(os.fstat(handle.fileno()).st_mode)
            temporary.chmod(0o600)
        yield temporary
        with temporary.open("rb") as handle:
            os.fsync(handle.fileno())
        if temporary.stat().st_nlink == 1:  # of a file with two names, the mode is the other's
            temporary.chmod(mode)
        temporary.replace(path)
    except OSError as error:
        raise write_error(error, path) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_private(path: Path) -> None:
    """Make a file that only its owner can read, or make one that is there so: a file in the making."""
    path.touch(0o600)
    path.chmod(0o600)


def make_usual(path: Path) -> None:
    """Give a finished file the permissions that any new file has here."""
    mask = os.umask(0o077)  # can only be read by setting it; what other threads make meanwhile is private
    os.umask(mask)
    path.chmod(0o666 & ~mask)


def share_file(source: Path, target: Path) -> None:
    """Give a finished file a second name, atomically: a hard link, or a copy where the file system has none."""
    with atomic_write(target) as temporary:
        temporary.unlink()
        try:
            temporary.hardlink_to(source)
        except OSError:
            shutil.copyfile(source, temporary)


def remove_leftovers(folder: Path, name: str = "") -> None:
    """Remove the temporary files that a killed :func:`atomic_write` left below a folder.

    With the beginning of a name, only those of files of such a name, in the folder itself.
    """
    for path in folder.glob(f".{glob.escape(name)}*") if name else folder.rglob(".*"):
        if _TEMPORARY.fullmatch(path.name) and path.is_file():
            path.unlink(missing_ok=True)


def is_special(path: Path) -> str | None:
    """What a path is that must not be opened, such as "a named pipe"; None for files, folders and what isn't there."""
    try:
        mode = os.stat(path).st_mode  # noqa: PTH116 - called for every file, and twice as fast
    except (OSError, ValueError):
        return None
    if stat.S_ISREG(mode):
        return None
    return next((f"a {kind}" for test, kind in _SPECIAL if test(mode)), None)


def name_problem(name: str) -> str | None:
    """Why a path can't be one on this system, in words that follow it: "holds a NUL character"; None where it can."""
    if "\0" in name:
        return "holds a NUL character, which no name can have"
    try:
        encoded = os.fsencode(name)
    except UnicodeEncodeError:
        return "is not valid Unicode"
    if max(map(len, encoded.split(b"/"))) > LONGEST_NAME or len(encoded) >= _LONGEST_PATH:
        return "has a name that is too long: names have at most 255 bytes, and paths 4,096"
    return None


def fitting_name(stem: str, suffix: str) -> str:
    """A file name that is no longer than file systems take: a stem that is too long ends with a digest of itself.

    Example:
        >>> fitting_name("film", ".txt")
        'film.txt'
        >>> len(fitting_name("é" * 200, ".txt").encode())
        255
    """
    encoded = os.fsencode(stem)
    if len(encoded) + len(os.fsencode(suffix)) <= LONGEST_NAME:
        return stem + suffix
    digest = f"-{hashlib.blake2b(encoded, digest_size=4).hexdigest()}"
    room = LONGEST_NAME - len(digest) - len(os.fsencode(suffix))
    return encoded[:room].decode(errors="ignore") + digest + suffix


def readable_name(name: str) -> str:
    """A file name that can be printed and written as UTF-8: bytes of another encoding become ``\\xe9``."""
    return name.encode(errors="surrogateescape").decode(errors="backslashreplace")


def require_writable(folder: Path) -> None:
    """Find out before long work whether files can be written to a folder, which needn't exist yet.

    Raises:
        XrayclsError: they can't.
    """
    try:
        existing = next(place for place in (folder.absolute(), *folder.absolute().parents) if place.exists())
        tempfile.TemporaryFile(dir=existing).close()  # os.access knows nothing of read-only mounts for root
    except OSError as error:
        raise write_error(error, folder) from error


def require_other(output: Path, source: Path) -> None:
    """Raise UsageError where a result would replace what it is made from."""
    if output.exists() and source.exists() and output.samefile(source):
        raise UsageError(f"{output} is the file that is read, and would be lost", "Name another file with -o")


def read_whole(path: Path) -> bytes:
    """The content of a file, without a buffer that would only be copied from; raises OSError."""
    with path.open("rb", buffering=0) as handle:
        return handle.readall()


def require_regular(path: Path) -> None:
    """Raise DataError for a named pipe, a socket or a device: to open one may wait for ever."""
    if special := is_special(path):
        raise DataError(f"{path} is {special}, not a file", path)


def write_error(error: OSError, path: Path) -> XrayclsError:
    """Returns the sentence for a file or folder that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return XrayclsError(
            f"The disk is full: {path} could not be written",
            "What stood there before is untouched; free some space or choose another --output",
        )
    return XrayclsError(f"{path} could not be written: {error.strerror or error}", "Choose another folder")
