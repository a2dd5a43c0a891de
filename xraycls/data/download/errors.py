"""Failures of line, server and disk, each as a sentence with the way out."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import TYPE_CHECKING

from xraycls.data.download.catalogue import Source
from xraycls.data.download.credentials import SETTINGS
from xraycls.data.download.retry import from_storage, retry_after
from xraycls.errors import DataError, XrayclsError

if TYPE_CHECKING:
    from requests import RequestException, Response

_AGAIN = "The same command goes on from where it was"


def explained(error: RequestException, source: Source, *, file: str | None = None, origin: str = "") -> XrayclsError:
    """The sentence for a request that failed for good.

    Args:
        error: what the client or the transfer raised.
        source: what was asked for.
        file: the single file of it; None for all.
        origin: where the credentials came from.
    """
    from requests import exceptions

    if isinstance(error, exceptions.HTTPError):
        return _refused(error.response, source, file, origin)
    if isinstance(error, exceptions.SSLError):
        return XrayclsError(
            "Kaggle's certificate was not accepted",
            "Behind a proxy that opens encrypted lines, set REQUESTS_CA_BUNDLE to its certificate; "
            "otherwise check the clock of this machine",
        )
    if isinstance(error, exceptions.ProxyError):
        return XrayclsError(
            "The proxy does not let requests through to Kaggle", "Check the variables HTTPS_PROXY and NO_PROXY"
        )
    if isinstance(error, exceptions.ConnectTimeout | exceptions.ConnectionError):
        return XrayclsError("Kaggle can't be reached", f"Check the connection to the internet. {_AGAIN}")
    if isinstance(error, exceptions.Timeout):
        return XrayclsError("Kaggle does not answer", f"Try again later. {_AGAIN}")
    return XrayclsError(f"The connection to Kaggle broke again and again ({type(error).__name__})", _AGAIN)


def _refused(response: Response, source: Source, file: str | None, origin: str) -> XrayclsError:
    status, what = response.status_code, source.reference if file is None else f"{file} of {source.reference}"
    if status == 429:
        asked = retry_after(response)
        when = f"in {asked / 60:,.0f} minutes" if asked and asked >= 60 else "in a few minutes"
        return XrayclsError("Kaggle says that there were too many requests (429)", f"Try again {when}. {_AGAIN}")
    if status >= 500:
        return XrayclsError(f"Kaggle has trouble of its own ({status})", f"Try again later. {_AGAIN}")
    if from_storage(response):
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
            f"Kaggle refuses {what} (403{_reason(response)})", f"See {source.page}, signed in with the same account"
        )
    if status == 404 and file is not None:
        return XrayclsError(f"Kaggle has no file {what} (404)", f"The names are listed at {source.page}/data")
    if status == 404:
        return XrayclsError(f"Kaggle has no {source.kind} {what} (404)", f"It may have moved: see {source.page}")
    return XrayclsError(f"Kaggle refuses {what} ({status}{_reason(response)})", f"See {source.page}")


def _reason(response: Response) -> str:
    """What Kaggle says itself, when it is short enough for a sentence."""
    try:
        said = " ".join(str(response.json()["message"]).split())
    except (ValueError, KeyError, TypeError, OSError):  # no JSON, another kind of JSON, or cut
        return ""
    return f": {said.rstrip('.')}" if 0 < len(said) <= 200 else ""


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
