"""Which failures pass by themselves, and how long to wait for it."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from requests import RequestException, Response

_PASSING = frozenset({408, 429, 500, 502, 503, 504})


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


def pause_after(error: RequestException, failures: int, *, met: bool, patience: Patience) -> float | None:
    """Seconds to wait before the next try; None when another one is of no use.

    Args:
        error: what went wrong.
        failures: how often in a row, this time included; from 1.
        met: whether the server has answered before. Without that a line that can't be made means "offline", which
            a user wants to hear at once.
        patience: the limits.
    """
    from requests import exceptions

    if failures >= patience.tries:
        return None
    pause = min(2.0 ** (failures - 1), patience.longest)
    if isinstance(error, exceptions.HTTPError):
        response = error.response
        if not (response.status_code in _PASSING or from_storage(response)):
            return None
        asked = retry_after(response)
        if asked is None:
            return pause
        return asked if asked <= patience.longest_asked else None
    # A certificate or proxy that is wrong now will be wrong in a minute; both are kinds of ConnectionError.
    if isinstance(error, exceptions.SSLError | exceptions.ProxyError):
        return None
    if isinstance(error, exceptions.ConnectionError | exceptions.Timeout):
        return pause if met else None
    return pause if isinstance(error, exceptions.ChunkedEncodingError | exceptions.ContentDecodingError) else None


def from_storage(response: Response) -> bool:
    """Whether the answer came from the storage that Kaggle redirects to.

    The credentials don't travel there; a refusal means that the address, which is good for some hours, has expired.
    """
    return "Authorization" not in response.request.headers


def retry_after(response: Response) -> float | None:
    """Seconds that the server asks to wait (RFC 9110, 10.2.3: a number or a date); None when it doesn't."""
    text = response.headers.get("Retry-After", "").strip()
    if text.isascii() and text.isdigit():
        return float(text)
    try:
        date = parsedate_to_datetime(text)
    except ValueError:
        return None
    return max(0.0, (date.replace(tzinfo=date.tzinfo or UTC) - datetime.now(UTC)).total_seconds())
