"""Data in object storage and on web servers: a copy of it in the user's cache, which is kept as long as it is current.

What lies at an address is listed, and every file that the cache lacks, or whose version there is another one, is
fetched by several threads before anything is read. All else works on the copy, as on any folder. A file appears whole,
by renaming, and is noted in a journal after that; so a killed run leaves nothing that is taken for a file, and the next
one goes on. Processes that want the same data take turns. Where all copies together take more than they may, those go
that were used the longest ago, but none that a process uses.

Credentials come from the environment. What an address carries of them is neither shown nor written.
"""

from __future__ import annotations

import errno
import hashlib
import json
import logging
import os
import shutil
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Any
from urllib.parse import unquote, urlsplit

from xraycls.data.address import address_of, masked
from xraycls.data.cache import cache_folder, size_in_bytes
from xraycls.data.documents import parse_json
from xraycls.data.files import atomic_write, name_problem, remove_leftovers
from xraycls.data.lock import sole_writer
from xraycls.data.processors import in_threads, pool_size
from xraycls.data.scan import IMAGE_SUFFIXES
from xraycls.errors import DataError, LockedError, MissingExtra, UsageError, XrayclsError

if TYPE_CHECKING:
    from xraycls.data.verify import Progress

logger = logging.getLogger(__name__)

_TABLES = (".csv", ".tsv", ".txt", ".json")
_SINGLE = (*_TABLES, ".npz", ".parquet")
_VERSIONS = ("ETag", "etag", "md5Hash", "generation", "LastModified", "Last-Modified", "updated", "mtime")
_JOURNAL = ".journal.jsonl"
_IN_USE = ".in_use"  # locked by every process that uses a copy
_LIMIT = "XRAYCLS_REMOTE_SIZE"
_SIZE = 100 * 2**30  # bytes of all copies by default
_THREADS = 16
_ROOM = 2**30  # bytes that stay free on the disk
_WAIT = 0.5  # seconds between two looks at another process
_REFUSED = (401, 403)
_held: dict[Path, int] = {}  # open lock files of the copies that this process uses, as long as it lives


@dataclass(frozen=True, slots=True)
class _File:
    """A file at an address.

    Attributes:
        name: as the file system calls it.
        path: below the folder.
        size: bytes; None where the server doesn't tell.
        version: changes when the content does.
    """

    name: str
    path: str
    size: int | None
    version: str


def local_copy(source: Path, *, alone: bool = False, progress: Progress | None = None) -> Path:
    """A path of this machine for a data source: itself, or for an address a current copy of what lies there.

    A table, or a JSON file of boxes, is fetched with the folder that it lies in.

    Args:
        source: a path, or an address that begins with ``s3://``, ``gs://``, ``http://`` or ``https://``.
        alone: fetch a table without its folder, as its pictures lie elsewhere.
        progress: told of the files that were fetched, and of how many there are to fetch.

    Raises:
        DataError: nothing lies there, it may not be read, the server can't be reached or broke off.
        MissingExtra: the package for such an address isn't installed.
        XrayclsError: the disk has no room.
    """
    address = address_of(source)
    if address is None:
        return source
    path = PurePosixPath(urlsplit(address).path)
    single = path.suffix.lower() in _SINGLE or path.suffix.lower() in IMAGE_SUFFIXES
    with_folder = path.suffix.lower() in _TABLES and not alone
    wanted = masked(address).rpartition("/")[0] if with_folder else masked(address)
    limit = _limit()
    place = cache_folder() / "remote" / hashlib.blake2b(wanted.rstrip("/").encode(), digest_size=12).hexdigest()
    folder = place / (PurePosixPath(urlsplit(wanted).path).name or urlsplit(wanted).netloc)
    with _in_turn(place, address):
        with _reached(address):
            system, root = _file_system(address)
            if single and not with_folder:
                folder, files = place, [_versioned(system, root, path.name, {})]
            else:
                files = _below(system, root.rpartition("/")[0] if with_folder else root)
        if path.name not in {file.path for file in files} if single else not files:
            raise DataError(f"There is no file at {masked(address)}", hint="Look at the spelling of the address")
        _hold(place)
        _bring_up_to_date(system, files, folder, place / _JOURNAL, masked(wanted), limit, progress)
    return folder / path.name if single else folder


def _file_system(address: str) -> tuple[Any, str]:
    """fsspec's file system for an address, and its name for it."""
    scheme = address.partition(":")[0]
    try:
        from fsspec.core import url_to_fs

        # The listing of an earlier call in this process may be out of date.
        system, root = url_to_fs(address, **({"use_listings_cache": False} if scheme == "s3" else {}))
    except ImportError as error:
        if scheme == "gs":
            raise XrayclsError("gcsfs is not installed", "Install it with: pip install gcsfs") from error
        raise MissingExtra("s3fs" if scheme == "s3" else "fsspec with its part for http", "remote") from error
    return system, str(root).rstrip("/")


def _below(system: Any, root: str) -> list[_File]:
    """The files below a folder, without hidden ones."""
    found: dict[str, dict[str, Any]] = {}
    folders, seen = [root], {root}
    while folders:
        folder = folders.pop()
        for entry in system.ls(f"{folder}/" if "://" in folder else folder, detail=True):
            name = str(entry["name"]).rstrip("/")
            if not name.startswith(f"{folder}/") or PurePosixPath(name).name.startswith(".") or name in seen:
                continue
            seen.add(name)
            if entry["type"] == "directory":
                folders.append(name)
            elif "?" not in name:  # links that sort the page of a web server
                found[name] = entry
    paths = {name: unquote(name[len(root) + 1 :]) if "://" in root else name[len(root) + 1 :] for name in found}
    for path in paths.values():
        if ".." in PurePosixPath(path).parts or path.startswith("/") or name_problem(path):
            raise DataError(f"{path} in {masked(root)} can't be the name of a file here", hint="Rename it there")
    names = sorted(found)
    return list(in_threads(lambda name: _versioned(system, name, paths[name], found[name]), names, _threads()))


def _versioned(system: Any, name: str, path: str, entry: dict[str, Any]) -> _File:
    """A file with its size and version, which web servers only tell for each file."""
    if entry.get("size") is None:
        entry = system.info(name)
    version = [str(entry[field]) for field in _VERSIONS if entry.get(field)]
    size = None if entry.get("size") is None else int(entry["size"])
    return _File(name, path, size, " ".join([str(size), *version]))


def _bring_up_to_date(
    system: Any, files: list[_File], folder: Path, journal: Path, shown: str, limit: int, progress: Progress | None
) -> None:
    """Fetch what is missing or has changed, and remove what is there no longer."""
    folder.mkdir(parents=True, exist_ok=True)
    remove_leftovers(folder)
    known = _read_journal(journal)
    current = [file for file in files if known.get(file.path) == file.version and _is_whole(folder / file.path, file)]
    at_hand = {file.path for file in current}
    with atomic_write(journal) as temporary:
        temporary.write_text("".join(_line(file) for file in current), encoding="utf-8")
    wanted = {file.path for file in files}
    for path in known.keys() - wanted:
        (folder / path).unlink(missing_ok=True)
    needed = [file for file in files if file.path not in at_hand]
    size = sum(file.size or 0 for file in needed)
    if needed:
        _make_room(journal.parent, size, limit)
    if shutil.disk_usage(folder).free < size + _ROOM:
        raise XrayclsError(
            f"The disk of {folder} has no room for the {size / 2**30:.1f} GiB of {shown}",
            "Free some space, or name another folder by the variable XRAYCLS_CACHE",
        )
    with journal.open("a", encoding="utf-8") as handle:
        fetched = in_threads(lambda file: _fetch(system, file, folder, shown), needed, _threads())
        for done, file in enumerate(fetched, start=1):
            handle.write(_line(file))
            handle.flush()
            if progress:
                progress(done, len(needed))
    logger.info("%s: %d files, of which %d were fetched (%.1f MiB).", shown, len(files), len(needed), size / 2**20)


def _limit() -> int:
    """Bytes that all copies together may take.

    Raises:
        UsageError: the variable holds no size.
    """
    given = os.environ.get(_LIMIT)
    limit = size_in_bytes(given) if given else _SIZE
    if limit is None:
        raise UsageError(f"{_LIMIT} is {given}, and that is no size", f"Write a size such as {_LIMIT}=200GB")
    return limit


def _make_room(place: Path, needed: int, limit: int) -> None:
    """Remove the copies that were used the longest ago until the others and ``needed`` bytes fit, limit and disk.

    What is needed comes in any case: the limit bounds what is kept beside it. A copy is used as a whole, so all its
    files were used at the same time, when its journal was written.
    """
    others = sorted((each for each in place.parent.iterdir() if each != place), key=_last_use)
    sizes = {each: _bytes_below(each) for each in (*others, place)}
    taken, removed = sum(sizes.values()) + needed, []
    for other in others:
        if taken <= limit and shutil.disk_usage(place).free >= needed + _ROOM:
            break
        if _remove_unused(other):
            taken -= sizes[other]
            removed.append(sizes[other])
    if removed:
        logger.warning(
            "%d copies of remote data, %.1f GiB, were used the longest ago and are removed: together they may take "
            "%.1f GiB (%s), and 1 GiB of the disk stays free.",
            len(removed),
            sum(removed) / 2**30,
            limit / 2**30,
            _LIMIT,
        )


def _last_use(place: Path) -> float:
    try:
        return (place / _JOURNAL).stat().st_mtime
    except OSError:  # killed before anything came
        return 0.0


def _bytes_below(place: Path) -> int:
    total = 0
    for folder, _, names in os.walk(place):
        for name in names:
            with suppress(OSError):  # another process fetches or removes it
                total += os.lstat(os.path.join(folder, name)).st_size  # noqa: PTH118 - a Path a file is slow
    return total


def _hold(place: Path) -> None:
    """Keep other processes from removing a copy for as long as this one lives."""
    if place in _held and (place / _IN_USE).exists():
        return
    _held[place] = os.open(place / _IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
    with suppress(ImportError, OSError):  # no such locks here: nothing is removed either
        import fcntl

        fcntl.flock(_held[place], fcntl.LOCK_SH)


def _remove_unused(place: Path) -> bool:
    """Remove a copy, unless a process uses it, or that can't be known."""
    try:
        import fcntl

        with sole_writer(place):
            handle = os.open(place / _IN_USE, os.O_RDWR | os.O_CREAT, 0o666)
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
                shutil.rmtree(place)
            finally:
                os.close(handle)
    except (ImportError, OSError, XrayclsError):
        return False
    return True


def _fetch(system: Any, file: _File, folder: Path, shown: str) -> _File:
    target = folder / file.path
    with atomic_write(target) as temporary:
        with _reached(f"{shown}, {file.path}"):
            system.get_file(file.name, str(temporary))
        size = temporary.stat().st_size
        if file.size is not None and size != file.size:
            raise DataError(
                f"{file.path} of {shown} came with {size:,} of {file.size:,} bytes: cut short, or changed meanwhile",
                hint="Run the same command again: what has come whole is kept",
            )
    return file


def _is_whole(path: Path, file: _File) -> bool:
    try:
        return file.size is None or path.stat().st_size == file.size
    except OSError:
        return False


def _line(file: _File) -> str:
    return json.dumps([file.path, file.version]) + "\n"


def _read_journal(path: Path) -> dict[str, str]:
    """Path → version of the files that came; the line that a kill cut short is passed over."""
    known = {}
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, ValueError):
        return {}
    for line in lines:
        try:
            name, version = parse_json(line)
        except (ValueError, TypeError):
            continue
        known[str(name)] = str(version)
    return known


def _threads() -> int:
    return pool_size(_THREADS)


@contextmanager
def _in_turn(place: Path, address: str) -> Iterator[None]:
    """Wait until no other process fetches to a folder, and keep the others waiting for the duration of a block."""
    with ExitStack() as stack:
        for attempt in count():
            try:
                stack.enter_context(sole_writer(place))
                break
            except LockedError:
                if attempt == 0:
                    logger.info("Waiting for another process that fetches %s.", masked(address))
                time.sleep(_WAIT)
        yield


@contextmanager
def _reached(address: str) -> Iterator[None]:
    """Turn what goes wrong with a server into one sentence; its own words may hold what an address must not show."""
    shown = masked(address) if "://" in address else address
    try:
        yield
    except XrayclsError:
        raise
    except Exception as error:  # of fsspec, aiohttp, botocore and the system
        status, kind = getattr(error, "status", None), type(error).__name__
        if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise
        if isinstance(error, FileNotFoundError):
            raise DataError(f"There is nothing at {shown}", hint="Look at the spelling of the address") from None
        if isinstance(error, PermissionError) or status in _REFUSED or "Credentials" in kind:
            raise DataError(
                f"{shown} may not be read: the server refuses it",
                hint="Credentials come from the environment, such as AWS_PROFILE; FSSPEC_S3_ANON=true asks without any",
            ) from None
        raise DataError(
            f"{shown} could not be reached, or broke off ({kind}{f' {status}' if status else ''})",
            hint="Run the same command again when the server is there: what has come whole is kept",
        ) from None
