"""Keys on a command line, which every user of the machine could read in the list of processes."""

from __future__ import annotations

import contextlib
import ctypes
from collections.abc import Sequence
from pathlib import Path

_FLAGS = (b"-k", b"--key")


def hide_keys(process: Path = Path("/proc/self")) -> None:
    """Overwrite the values of ``-k`` and ``--key`` where the system keeps this process's arguments.

    They can be read there for the moment until this is called. ``sys.argv`` stays as it is; where the system isn't
    Linux, nothing is changed.
    """
    with contextlib.suppress(OSError, ValueError, IndexError):
        arguments = (process / "cmdline").read_bytes().split(b"\0")
        # After the name, which may hold blanks and brackets: field 48 is where the arguments begin.
        start = int((process / "stat").read_bytes().rpartition(b")")[2].split()[48 - 3])
        for offset, length in keys_in(arguments):
            ctypes.memset(start + offset, ord("*"), length)


def keys_in(arguments: Sequence[bytes]) -> list[tuple[int, int]]:
    """Where the keys stand in arguments that are joined by one byte each, and how long they are.

    Example:
        >>> keys_in([b"xraycls", b"ssd", b"-k", b"secret", b"--key=other"])
        [(15, 6), (28, 5)]
    """
    found, offset = [], 0
    for number, argument in enumerate(arguments):
        name, equals, value = argument.partition(b"=")
        if number and arguments[number - 1] in _FLAGS:
            found.append((offset, len(argument)))
        elif equals and name in _FLAGS:
            found.append((offset + len(name) + 1, len(value)))
        elif argument.startswith(b"-k") and len(argument) > 2:
            found.append((offset + 2, len(argument) - 2))
        offset += len(argument) + 1
    return found
