"""One file over an unreliable line: it goes on where it was cut, and bears its name only when it is whole."""

from __future__ import annotations

import logging
from collections.abc import Callable
from contextlib import AbstractContextManager
from pathlib import Path

from xraycls.data.download.errors import wrong_length
from xraycls.data.download.kaggle import Answer
from xraycls.data.download.partial import Partial, Report
from xraycls.data.download.retry import Failure, Patience, pause_after

logger = logging.getLogger(__name__)

Open = Callable[[int, str], AbstractContextManager[Answer]]
"""Opens the file at an offset, if it is still of the version with this tag."""


# The client has a download_file of its own (2.2.4), which this replaces. It writes into the final name, so that half a
# file looks like a whole one; while going on it takes any answer that isn't 206 for the file, even an error page; it
# asks an address that has expired again and again; five failures end 83 GB, however much came in between; it knows no
# checksum; and it prints.
def fetch(
    open_at: Open,
    target: Path,
    *,
    room: Callable[[int, int], None],
    report: Report,
    patience: Patience,
) -> Partial:
    """Download a file, or the rest of it.

    Args:
        open_at: asks for the file; called again after every cut.
        target: where it goes; the bytes so far are kept beside it.
        room: is told (bytes still to come, bytes in all) before any come; raises when they won't fit.
        report: is told (bytes there, bytes in all).
        patience: how often to try again, and how long to wait.

    Returns:
        All the bytes, not yet verified, and not yet under the file's name.

    Raises:
        Failure: it can't be had; what has come is kept for the next time.
        XrayclsError: wrong length, disk full.
    """
    part = Partial(target)
    met, failures, farthest = False, 0, part.size
    while not part.complete:
        try:
            with open_at(part.size, part.version.tag) as answer:
                met = True
                _take(answer, part, room, report)
            break
        except Failure as failure:
            if failure.status == 416 and part.version.total is not None:
                announced, found = part.version.total, part.size
                part.discard()
                raise wrong_length(target.name, announced, found) from None
            failures = 1 if part.size > farthest else failures + 1
            farthest = max(farthest, part.size)
            pause = pause_after(failure, failures, met=met, patience=patience)
            if pause is None:
                raise
            what = str(failure)
        logger.warning("%s: %s; trying again in %.0f s", target.name, what, pause)
        patience.wait(pause)
    return part


def _take(answer: Answer, part: Partial, room: Callable[[int, int], None], report: Report) -> None:
    """Add what an answer brings; raises Failure where it ends too early or is another part than was asked for."""
    start = part.offset(answer)
    if start is None:
        part.discard()
        raise Failure("cut")
    if start == 0:
        part.begin(answer)
    total = part.version.total or 0
    room(total - start, total)
    if part.receive(answer, report) < total:
        raise Failure("cut")
