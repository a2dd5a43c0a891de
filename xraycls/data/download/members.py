"""Which members of an archive may be unpacked, and where they go."""

from __future__ import annotations

import re
import stat
import unicodedata
from dataclasses import dataclass
from pathlib import Path
from zipfile import ZipFile, ZipInfo

from xraycls.errors import DataError

_DRIVE = re.compile(r"[A-Za-z]:")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
_LOCAL_HEADER = 30
_LONGEST_NAME = 255
_LONGEST_PATH = 1000


@dataclass(frozen=True, slots=True)
class Limits:
    """What an archive may grow to: a bomb of some kilobytes would fill the disk otherwise.

    Attributes:
        ratio: bytes unpacked for each byte of the archive. Pictures and tables stay below 30; deflate reaches 1,000.
        free: an archive that unpacks to no more bytes than this is let through at any ratio.
    """

    ratio: float = 100.0
    free: int = 100_000_000


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive.

    Attributes:
        info: what the archive says of it.
        parts: its path below the folder.
    """

    info: ZipInfo
    parts: tuple[str, ...]

    def below(self, folder: Path) -> Path:
        """Where it goes."""
        return folder.joinpath(*self.parts)


def checked_members(bundle: ZipFile, archive: Path, *, folds_case: bool, limits: Limits) -> list[Member]:
    """The files of an archive, none of which leads out of the folder or overwrites another.

    Args:
        bundle: the open archive.
        archive: its path.
        folds_case: whether the disk takes ``a`` and ``A`` for the same name.
        limits: how much it may grow.

    Raises:
        DataError: absolute path, "..", drive, link, device, encryption, names that are too long or collide, members
            that share bytes of the archive, or more data than the limits allow; names the member.
    """
    size = archive.stat().st_size
    infos = bundle.infolist()
    _refuse_overlap(infos, archive, size)
    total = sum(info.file_size for info in infos)
    if total > limits.free and total > limits.ratio * size:
        raise DataError(
            f"{archive} claims to unpack to {total:,} bytes, {total / size:,.0f} times its size, and is refused as a "
            "zip bomb",
            archive,
        )
    twice = "is there twice" + (" (upper and lower case don't count on this disk)" if folds_case else "")
    files: dict[tuple[str, ...], Member] = {}
    folders: set[tuple[str, ...]] = set()
    for info in infos:
        _refuse_kind(info, archive)
        parts = safe_parts(info.orig_filename, archive)
        keys = [_key(part, folds_case) for part in parts]
        is_folder = info.is_dir() or info.orig_filename.endswith("\\")
        key = tuple(keys)
        if not is_folder:
            if key in files:
                raise _refused(info.orig_filename, archive, twice)
            files[key] = Member(info, parts)
        folders.update(tuple(keys[:depth]) for depth in range(1, len(keys) + is_folder))
    if clash := files.keys() & folders:
        raise _refused(files[min(clash)].info.orig_filename, archive, "is a file and a folder at once")
    return list(files.values())


def safe_parts(name: str, where: Path | str) -> tuple[str, ...]:
    r"""The parts of a relative path with / or \ between them.

    Args:
        name: the path as an archive or a user gives it.
        where: what it comes from, for the message.

    Raises:
        DataError: it leads out of the folder, or can't be a file name.
    """
    # Some programs for Windows write \ where the format wants /, and there \ would lead out just as well.
    path = name.replace("\\", "/")
    parts = tuple(part for part in path.split("/") if part not in ("", "."))
    if path.startswith("/") or ".." in parts or any(map(_DRIVE.match, parts)):  # Windows takes a/C:b for C:b
        raise _refused(name, where, "leads out of the folder")
    if not parts or _CONTROL.search(name):
        raise _refused(name, where, "is no file name")
    if len(path) > _LONGEST_PATH or any(len(part.encode("utf-8", "replace")) > _LONGEST_NAME for part in parts):
        raise _refused(name, where, "is too long for a file name")
    return parts


def _refuse_kind(info: ZipInfo, archive: Path) -> None:
    kind = stat.S_IFMT(info.external_attr >> 16)
    if kind not in (0, stat.S_IFREG, stat.S_IFDIR):
        raise _refused(info.orig_filename, archive, "is a link" if kind == stat.S_IFLNK else "is no plain file")
    if info.flag_bits & 0x1:
        raise _refused(info.orig_filename, archive, "is encrypted")


def _refuse_overlap(infos: list[ZipInfo], archive: Path, size: int) -> None:
    """Members that share bytes make a bomb that no ratio of a single member shows (Fifield, WOOT 2019)."""
    ordered = sorted(infos, key=lambda info: info.header_offset)
    ends = [info.header_offset for info in ordered[1:]] + [size]
    for info, end in zip(ordered, ends, strict=True):
        if info.header_offset + _LOCAL_HEADER + len(info.orig_filename) + info.compress_size > end:
            raise _refused(info.orig_filename, archive, "shares bytes of the archive with another member")


def _key(part: str, folds_case: bool) -> str:
    return unicodedata.normalize("NFC", part).casefold() if folds_case else part


def _refused(name: str, where: Path | str, why: str) -> DataError:
    shown = name if len(name) <= 80 else f"{name[:77]}…"
    if isinstance(where, Path):
        return DataError(f"{where}: {shown!r} {why}; nothing of it is unpacked", where)
    return DataError(f"{where}: {shown!r} {why}")
