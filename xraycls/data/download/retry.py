"""What goes wrong on the line to Kaggle, which of it passes by itself, and how long to wait for that."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Literal

_PASSING = frozenset({408, 429, 500, 502, 503, 504})

Kind = Literal["refused", "cut", "unreachable", "silent", "certificate", "proxy", "strange"]


@dataclass(eq=False)
class Failure(Exception):
    """A request that failed.

    Attributes:
        kind: "refused", the server answers with an error; "cut", its answer broke off or is another part than was
            asked for; "unreachable", there is no connection; "silent", no answer in time; "certificate" and "proxy",
            these are at fault; "strange", anything else.
        status: of a refusal, as HTTP numbers them; 0 otherwise.
        reason: in the words of the server, or the kind of a strange failure; may be empty.
        wait: seconds that the server asks to wait; None when it doesn't.
        from_storage: whether the storage refused that Kaggle redirects to. The credentials don't travel there; a
            refusal means that the address, which is good for some hours, has expired.
    """

    kind: Kind
    status: int = 0
    reason: str = ""
    wait: float | None = None
    from_storage: bool = False

    def __str__(self) -> str:
        whose = "Kaggle's storage" if self.from_storage else "Kaggle"
        return f"{whose} answers {self.status}" if self.kind == "refused" else "the line broke"


@dataclass(frozen=True, slots=True)
class Patience:
    """How long to put up with a bad line.

    Attributes:
        tries: connections in a row that bring nothing new before giving up.
        longest: seconds between two tries at most; they double from one second.
        longest_asked: seconds that the server may ask to wait.
        timeout: seconds to get a connection, and between two pieces of an answer.
        wait: sleeps.
    """

    tries: int = 8
    longest: float = 60.0
    longest_asked: float = 600.0
    timeout: tuple[float, float] = (20.0, 60.0)
    wait: Callable[[float], None] = time.sleep


PATIENCE = Patience()
"""What a download is given unless told otherwise."""


def pause_after(failure: Failure, failures: int, *, met: bool, patience: Patience) -> float | None:
    """Seconds to wait before the next try; None when another one is of no use.

    Args:
        failure: what went wrong.
        failures: how often in a row, this time included; from 1.
        met: whether the server has answered before. Without that a line that can't be made means "offline", which
            a user wants to hear at once.
        patience: the limits.
    """
    if failures >= patience.tries:
        return None
    pause = min(2.0 ** (failures - 1), patience.longest)
    if failure.kind == "refused":
        if not (failure.status in _PASSING or failure.from_storage):
            return None
        if failure.wait is None:
            return pause
        return failure.wait if failure.wait <= patience.longest_asked else None
    return pause if failure.kind == "cut" or (met and failure.kind in ("unreachable", "silent")) else None


def asked_wait(retry_after: str) -> float | None:
    """Seconds that a ``Retry-After`` asks to wait (RFC 9110, 10.2.3: a number or a date); None when it doesn't."""
    text = retry_after.strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
