"""Unpacking a zip archive that a stranger made, in a way that can be stopped at any instant."""

from __future__ import annotations

import errno
import lzma
import shutil
import struct
import tempfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from zipfile import BadZipFile, ZipFile

from xraycls.data.download.errors import unwritable
from xraycls.data.download.members import Limits, Member, checked_members
from xraycls.data.download.partial import Report
from xraycls.data.download.room import make_writable, require_room
from xraycls.errors import DataError

STAGING = ".unpacking"
_CHUNK = 1 << 20
_BLOCK = 4096
# What Python's zipfile and its decompressors raise on damaged files, besides OSError for an impossible offset.
_DAMAGE = (BadZipFile, zlib.error, lzma.LZMAError, struct.error, EOFError, ValueError, OverflowError, IndexError)


@dataclass(frozen=True, slots=True)
class Unpacked:
    """What an archive held.

    Attributes:
        files: how many.
        bytes: their size in all.
        entries: the uppermost files and folders, sorted.
    """

    files: int
    bytes: int
    entries: tuple[str, ...]


def unpack(
    archive: Path, folder: Path, *, report: Report = lambda done, total: None, limits: Limits | None = None
) -> Unpacked:
    """Unpack an archive into a folder.

    Files are written to ``.unpacking`` within the folder and moved into place when all of them are there. Run again
    after a stop, it keeps those whose length and CRC-32 are right. Files of other names in the folder stay as they are.

    Args:
        archive: a zip file, of any size.
        folder: where its members go; made where it is missing.
        report: is told (bytes there, bytes in all).
        limits: how much it may grow.

    Raises:
        DataError: damaged archive, a member that :func:`checked_members` refuses, a file of the same name but other
            content in the folder, or a disk that is too small, full or read-only; nothing in the folder has changed.
    """
    staging = folder / STAGING
    make_writable(folder)
    with _opened(archive) as bundle:
        members = checked_members(bundle, archive, folds_case=_folds_case(folder), limits=limits or Limits())
        for member in members:
            _refuse_links(member, folder, staging)
        total, done, missing = sum(member.info.file_size for member in members), 0, []
        for member in members:
            if _is_there(member, folder, staging):
                done += member.info.file_size
                report(done, total)
            else:
                missing.append(member)
        require_room(folder, 0, sum(-(-member.info.file_size // _BLOCK) * _BLOCK for member in missing))
        if missing:
            with _explained(staging):
                staging.mkdir(0o700, exist_ok=True)
        for member in missing:
            for written in _extract(bundle, member, staging):
                done += written
                report(done, total)
    _move(members, staging, folder)
    return Unpacked(len(members), total, tuple(sorted({member.parts[0] for member in members})))


@contextmanager
def _opened(archive: Path) -> Iterator[ZipFile]:
    try:
        with ZipFile(archive) as bundle:
            yield bundle
    except NotImplementedError as error:  # zipfile's word for a compression or split archive that it can't read
        raise DataError(
            f"{archive} is packed in a way that Python can't read: {error}", archive, "Unpack it with another program"
        ) from None
    except _DAMAGE as error:
        raise DataError(
            f"{archive} is damaged: {error or 'it ends too early'}", archive, "Remove it and run the same command again"
        ) from None
    except OSError as error:
        if error.errno == errno.EINVAL:  # an offset before the beginning of the file
            raise DataError(f"{archive} is damaged", archive, "Remove it and run the same command again") from None
        raise DataError(f"{archive} can't be read: {error.strerror or error}", archive) from None


def _folds_case(folder: Path) -> bool:
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".Case") as probe:
        name = Path(probe.name).name
        return (folder / name.swapcase()).exists()


def _refuse_links(member: Member, folder: Path, staging: Path) -> None:
    """Raise DataError where a file would be written through a symbolic link, to wherever that points."""
    for base in (staging, folder):
        for depth in range(len(member.parts) + 1):
            path = base.joinpath(*member.parts[:depth])
            if path.is_symlink() and path != folder:
                raise DataError(f"{path} is a symbolic link, and was not followed", path, "Remove it first")


def _is_there(member: Member, folder: Path, staging: Path) -> bool:
    """Whether a file needn't be unpacked again, because it is in the folder or on its way there."""
    target = member.below(folder)
    if _holds(target, member):
        return True
    if target.exists():
        raise DataError(
            f"{target} is there already, and is not the file of that name in the archive",
            target,
            "Move it away, or choose another --dest",
        )
    return _holds(member.below(staging), member)


def _holds(path: Path, member: Member) -> bool:
    if not path.is_file() or path.stat().st_size != member.info.file_size:
        return False
    crc = 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            crc = zlib.crc32(chunk, crc)
    return crc == member.info.CRC


def _extract(bundle: ZipFile, member: Member, staging: Path) -> Iterator[int]:
    """Write one member, and yield the lengths of its pieces; zipfile checks its CRC-32 at the end."""
    target, left = member.below(staging), member.info.file_size
    with bundle.open(member.info) as source, _writing(target) as sink:
        while left >= 0 and (chunk := source.read(_CHUNK)):
            left -= len(chunk)
            with _explained(target):
                sink.write(chunk)
            yield len(chunk)
    if left:  # the header lied
        raise BadZipFile(f"{member.info.filename!r} has another length than the archive says")


def _move(members: list[Member], staging: Path, folder: Path) -> None:
    with _explained(folder):
        for member in members:
            source, target = member.below(staging), member.below(folder)
            if source.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                source.replace(target)
        if staging.exists():
            shutil.rmtree(staging)


@contextmanager
def _writing(target: Path) -> Iterator[BinaryIO]:
    with _explained(target):
        target.parent.mkdir(parents=True, exist_ok=True)
        sink = target.open("wb")
    with sink:
        yield sink


@contextmanager
def _explained(path: Path) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        raise unwritable(error, path) from None
