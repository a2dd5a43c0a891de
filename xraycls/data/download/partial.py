"""A file that is being downloaded: the bytes so far, and which version of the file they are of."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import re
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from xraycls.data.documents import parse_json
from xraycls.data.download.errors import unwritable, wrong_length
from xraycls.data.download.kaggle import Answer
from xraycls.data.files import atomic_write, make_private, make_usual
from xraycls.errors import XrayclsError

Report = Callable[[int, int], None]
_CHUNK = 1 << 18
_PIECE = re.compile(r"bytes (\d+)-\d+/(\d+|\*)")
_MD5 = re.compile(r"\bmd5=([A-Za-z0-9+/]{22}==)")


@dataclass(slots=True)
class Version:
    """What tells a file from an earlier or later one of the same name.

    Attributes:
        tag: a strong entity tag or a date, for If-Range; empty when the server gives none: then there's no going on.
        total: bytes; None when the server doesn't say.
        md5: hex; empty when the server doesn't say.
    """

    tag: str = ""
    total: int | None = None
    md5: str = ""


class Partial:
    """``NAME.part`` beside the file it will be, and ``NAME.part.json`` with its version.

    Args:
        target: the finished file.
    """

    def __init__(self, target: Path) -> None:
        self.target = target
        self.path = target.with_name(f"{target.name}.part")
        self._note = target.with_name(f"{target.name}.part.json")
        self.version = self._read()

    @property
    def size(self) -> int:
        """Bytes that can be built upon; 0 when it isn't known what they are of."""
        return self.path.stat().st_size if self.version.tag and self.path.is_file() else 0

    @property
    def complete(self) -> bool:
        """Whether every byte is there."""
        return self.version.total is not None and self.size == self.version.total

    def discard(self) -> None:
        """Throw the bytes away."""
        # The bytes first: bytes of one version beside the note of another would be taken for its beginning.
        self.path.unlink(missing_ok=True)
        self._note.unlink(missing_ok=True)
        self.version = Version()

    def offset(self, answer: Answer) -> int | None:
        """Where the body of an answer starts in the file; None when it is not what was asked for."""
        if answer.status != 206:
            return 0
        piece = _PIECE.fullmatch(answer.headers.get("Content-Range", ""))
        if piece is None or int(piece[1]) != self.size or piece[2] not in ("*", str(self.version.total)):
            return None
        return self.size

    def begin(self, answer: Answer) -> None:
        """Start again with the file that an answer brings."""
        self.discard()
        length, found = answer.headers.get("Content-Length", ""), _MD5.search(answer.headers.get("x-goog-hash", ""))
        tag = answer.headers.get("ETag", "")
        self.version = Version(
            # A weak tag stands for files that mean the same, not for the same bytes (RFC 9110, 13.1.5).
            tag=answer.headers.get("Last-Modified", "") if tag.startswith("W/") or not tag else tag,
            total=int(length) if length.isascii() and length.isdigit() else None,
            md5=base64.b64decode(found[1]).hex() if found else "",
        )
        with atomic_write(self._note) as temporary:
            temporary.write_text(json.dumps(asdict(self.version)), "utf-8")
        make_private(self.path)

    def receive(self, answer: Answer, report: Report) -> int:
        """Append the body of an answer; gives the file's length then.

        Raises:
            Failure: the line broke; what came before is kept.
            DataError: the disk is full.
            XrayclsError: more bytes than the server announced.
        """
        total, size = self.version.total, self.path.stat().st_size
        try:
            with self.path.open("ab") as sink:
                for piece in answer.pieces:
                    size += sink.write(piece)
                    if total is not None:
                        report(size, total)
                        if size > total:
                            break
        except OSError as error:
            raise unwritable(error, self.path) from None
        if total is not None and size > total:
            self.discard()
            raise wrong_length(self.target.name, total, size)
        return size

    def verify(self, report: Report) -> None:
        """Check the whole file, and note its length if the server had not told it.

        Raises:
            XrayclsError: the checksum is wrong; the file is gone then.
        """
        size = self.path.stat().st_size
        if self.version.md5 and _md5(self.path, size, report) != self.version.md5:
            self.discard()
            raise XrayclsError(
                f"{self.target.name} arrived damaged (its MD5 is not the one that Kaggle gives): it was thrown away",
                "Run the same command again",
            )
        self.version.total = size

    def settle(self) -> None:
        """Give the file its name."""
        try:
            with self.path.open("rb") as handle:
                os.fsync(handle.fileno())
            make_usual(self.path)
            self.path.replace(self.target)
            self._note.unlink(missing_ok=True)
        except OSError as error:
            raise unwritable(error, self.target) from None

    def _read(self) -> Version:
        try:
            held = parse_json(self._note.read_text("utf-8"))
            version = Version(str(held["tag"]), held["total"], str(held["md5"]))
            if isinstance(version.total, int) and 0 <= self.path.stat().st_size <= version.total:
                return version
        except (OSError, ValueError, KeyError, TypeError):
            pass  # nothing was begun, or a note of another make: start again
        return Version()


def _md5(path: Path, size: int, report: Report) -> str:
    # Of the file on the disk, not of the bytes as they came: most of them may have come last week.
    digest, done = hashlib.md5(usedforsecurity=False), 0
    with path.open("rb") as source:
        while chunk := source.read(_CHUNK):
            digest.update(chunk)
            done += len(chunk)
            report(done, size)
    return digest.hexdigest()
