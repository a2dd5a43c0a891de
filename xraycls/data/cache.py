"""Where files lie that xraycls makes or fetches once and reads again."""

import os
import re
from pathlib import Path

_UNITS = {"": 1, "K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


def cache_folder() -> Path:
    """``$XRAYCLS_CACHE``, else ``$XDG_CACHE_HOME/xraycls``, else ``~/.cache/xraycls``; it may not exist yet."""
    if own := os.environ.get("XRAYCLS_CACHE"):
        return Path(own).expanduser()
    shared = os.environ.get("XDG_CACHE_HOME")
    return (Path(shared) if shared else Path.home() / ".cache") / "xraycls"


def size_in_bytes(text: str) -> int | None:
    """The bytes that a size such as ``50GB`` stands for; None for what is no size.

    >>> size_in_bytes("1.5 KB"), size_in_bytes("large")
    (1536, None)
    """
    matched = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?)i?B?", text.strip(), re.IGNORECASE)
    return int(float(matched[1]) * _UNITS[matched[2].upper()]) if matched else None
