"""A folder that appears when all of it is there, and is known again as ours."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from xraycls.data.documents import parse_json
from xraycls.data.files import atomic_write
from xraycls.errors import DataError, XrayclsError

_MARK = "converted.json"
_HINT = "Name a new folder for the converted data"


@contextmanager
def complete_or_not(target: Path, description: dict[str, Any]) -> Iterator[Path]:
    """Give a hidden folder beside ``target`` to fill; when the block ends without an error it takes that name.

    What a killed run left there is removed first.

    Args:
        target: absent, empty, or allowed by :func:`require_ours`: then it is replaced.
        description: goes into ``converted.json``, by which the folder is known as ours; the block may add to it.

    Raises:
        XrayclsError: the disk is full or the folder can't be written; what stood there is untouched.
    """
    final = target.resolve()
    partial, earlier = (final.with_name(f".{final.name}.{state}") for state in ("converting", "replaced"))
    try:
        if earlier.exists() and not final.exists():  # a kill came between the two renames
            earlier.rename(final)
        for leftover in (partial, earlier):
            shutil.rmtree(leftover, ignore_errors=True)
        partial.mkdir(parents=True)
        mode = partial.stat().st_mode
        partial.chmod(0o700)
        yield partial
        entries = sorted(path.name for path in partial.iterdir())
        with atomic_write(partial / _MARK) as temporary:
            temporary.write_text(json.dumps({**description, "entries": entries}, default=str), encoding="utf-8")
        partial.chmod(mode)
        if final.exists():
            final.rename(earlier)
        partial.rename(final)
        shutil.rmtree(earlier, ignore_errors=True)
    except OSError as error:
        raise XrayclsError(
            f"{target} could not be written: {error.strerror or error}", "Choose another folder"
        ) from error
    finally:
        if earlier.exists() and not final.exists():  # stopped between the two
            earlier.rename(final)
        shutil.rmtree(partial, ignore_errors=True)


def is_ours(folder: Path) -> bool:
    """Whether :func:`complete_or_not` made a folder."""
    return (folder / _MARK).is_file()


def require_ours(target: Path, *, overwrite: bool) -> None:
    """Raise DataError when a folder isn't absent or empty, or, to overwrite, one that :func:`complete_or_not` made."""
    if target.exists() and not target.is_dir():
        raise DataError(f"{target} is a file", target, _HINT)
    found = [path.name for path in target.iterdir() if not path.name.startswith(".")] if target.exists() else []
    strangers = sorted(set(found) - _entries(target))
    if strangers:
        raise DataError(f"{target} holds something else, such as {strangers[0]}", target, _HINT)
    if found and not overwrite:
        raise DataError(
            f"{target} holds an earlier conversion",
            target,
            f"Replace it with --overwrite, or {_HINT[:1].lower()}{_HINT[1:]}",
        )


def _entries(folder: Path) -> set[str]:
    """The names in a folder that we wrote; none where it isn't ours."""
    try:
        mark: Mapping[str, Any] = parse_json((folder / _MARK).read_bytes())
        return {_MARK, *map(str, mark["entries"])}
    except (OSError, ValueError, LookupError, TypeError, RecursionError):
        return set()
