"""Keys on a command line: what they stand for, and how they leave the list of processes, which every user can read."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from xraycls.errors import UsageError

logger = logging.getLogger(__name__)

KEY_VARIABLE = "XRAYCLS_KEY"
"""Holds the key where ``-k`` isn't given; other users can't read it."""

_FLAGS = (b"--key", b"--enc-key")  # and whatever is short for them


def key_of(text: str | None, variables: Mapping[str, str] | None = None) -> str:
    """The key that ``-k`` names: itself, or the value of ``$NAME`` where the shell left that as it was; "" for none.

    Raises:
        UsageError: the variable isn't set; the message doesn't repeat what was given.
    """
    if match := re.fullmatch(r"\$(?:(\w+)|\{(\w+)\})", text or ""):
        name = match[1] or match[2]
        key = (variables or {}).get(name, os.environ.get(name))
        if key is None:
            raise UsageError("-k names a variable that is not set", "Set it with export, or give the key itself")
    else:
        key = text
    if key == "":
        logger.warning("The key of -k is empty, so nothing will be encrypted.")
    return key or ""


def hide_keys(process: Path = Path("/proc/self")) -> None:
    """Overwrite the values of ``-k``, ``--key`` and ``--enc-key`` where the system keeps this process's arguments.

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
        if number and _takes_key(arguments[number - 1]):
            found.append((offset, len(argument)))
        elif equals and _takes_key(name):
            found.append((offset + len(name) + 1, len(value)))
        elif argument.startswith(b"-k") and len(argument) > 2:
            found.append((offset + 2, len(argument) - 2))
        offset += len(argument) + 1
    return found


def _takes_key(flag: bytes) -> bool:
    """Whether a flag is followed by a key, or may be: TAO's commands take beginnings of flags, and ``_`` for ``-``."""
    return flag == b"-k" or (len(flag) > 2 and any(name.startswith(flag.replace(b"_", b"-")) for name in _FLAGS))
