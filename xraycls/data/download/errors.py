"""Failures of line, server and disk, each as a sentence with the way out."""

from __future__ import annotations

import errno
from pathlib import Path

from xraycls.data.download.catalogue import Source
from xraycls.data.download.credentials import SETTINGS
from xraycls.data.download.retry import Failure, Kind
from xraycls.errors import DataError, XrayclsError

_AGAIN = "The same command goes on from where it was"
_SENTENCES: dict[Kind, tuple[str, str]] = {
    "certificate": (
        "Kaggle's certificate was not accepted",
        "Behind a proxy that opens encrypted lines, set REQUESTS_CA_BUNDLE to its certificate; "
        "otherwise check the clock of this machine",
    ),
    "proxy": (
        "The proxy does not let requests through to Kaggle",
        "Check the variables HTTPS_PROXY and NO_PROXY",
    ),
    "unreachable": ("Kaggle can't be reached", f"Check the connection to the internet. {_AGAIN}"),
    "silent": ("Kaggle does not answer", f"Try again later. {_AGAIN}"),
    "cut": ("The connection to Kaggle broke again and again", _AGAIN),
}


def explained(failure: Failure, source: Source, *, file: str | None = None, origin: str = "") -> XrayclsError:
    """The sentence for a request that failed for good.

    Args:
        failure: of the last try.
        source: what was asked for.
        file: the single file of it; None for all.
        origin: where the credentials came from.
    """
    if failure.kind == "refused":
        return _refused(failure, source, file, origin)
    if failure.kind in _SENTENCES:
        return XrayclsError(*_SENTENCES[failure.kind])
    return XrayclsError(f"Kaggle's answer can't be understood ({failure.reason})", f"Try again later. {_AGAIN}")


def _refused(failure: Failure, source: Source, file: str | None, origin: str) -> XrayclsError:
    status, what = failure.status, source.reference if file is None else f"{file} of {source.reference}"
    reason = f": {failure.reason}" if failure.reason else ""
    if status == 429:
        minutes = (failure.wait or 0) / 60
        when = f"in {minutes:,.0f} minutes" if minutes >= 1 else "in a few minutes"
        return XrayclsError("Kaggle says that there were too many requests (429)", f"Try again {when}. {_AGAIN}")
    if status >= 500:
        return XrayclsError(f"Kaggle has trouble of its own ({status})", f"Try again later. {_AGAIN}")
    if failure.from_storage:
        return XrayclsError(f"Kaggle's storage refuses {what} ({status})", f"Try again later. {_AGAIN}")
    if status == 401:
        return XrayclsError(
            f"Kaggle does not accept the credentials in {origin} (401)",
            f"They may have expired: make new ones at {SETTINGS}, and remove the old ones",
        )
    if status == 403 and source.kind == "competition":
        return XrayclsError(
            f"Kaggle refuses {what} until you have accepted the rules of the competition (403)",
            f'Open {source.page}/rules, sign in, press "I Understand and Accept" (or "Late Submission"), '
            "and run the same command again",
        )
    if status == 403:
        return XrayclsError(
            f"Kaggle refuses {what} (403{reason})", f"See {source.page}, signed in with the same account"
        )
    if status == 404 and file is not None:
        return XrayclsError(f"Kaggle has no file {what} (404)", f"The names are listed at {source.page}/data")
    if status == 404:
        return XrayclsError(f"Kaggle has no {source.kind} {what} (404)", f"It may have moved: see {source.page}")
    return XrayclsError(f"Kaggle refuses {what} ({status}{reason})", f"See {source.page}")


def unwritable(error: OSError, path: Path) -> DataError:
    """The sentence for a file that could not be written."""
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return DataError(
            f"The disk is full: {path} could not be written",
            path,
            f"Free some space, or choose another --dest. {_AGAIN}",
        )
    return DataError(f"{path} could not be written: {error.strerror or error}", path, "Choose another --dest")


def wrong_length(name: str, announced: int, found: int) -> XrayclsError:
    """The sentence for a file whose length is not what the server announced."""
    return XrayclsError(
        f"{name} is {found:,} bytes long where Kaggle announced {announced:,}: it was thrown away",
        "Run the same command again; if that doesn't help, the file on Kaggle is broken",
    )
