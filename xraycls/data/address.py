"""Addresses of data in object storage and on web servers, told from paths of this machine."""

from __future__ import annotations

import re
from pathlib import Path
from urllib.parse import urlsplit

_ADDRESS = re.compile(r"(s3|gs|https?):/+(.+)", re.IGNORECASE)


def address_of(source: Path | str) -> str | None:
    """The address that a path stands for, with the slashes that :class:`~pathlib.Path` took away; None for a path.

    >>> address_of(Path("s3://bucket/films"))
    's3://bucket/films'
    """
    match = _ADDRESS.fullmatch(str(source))
    return f"{match[1].lower()}://{match[2]}" if match else None


def masked(address: str) -> str:
    """An address without user, password and query, for messages.

    >>> masked("https://user:secret@host/films/a.csv?signature=abc")
    'https://host/films/a.csv'
    """
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc.rpartition('@')[2]}{parts.path}"
