"""Who the user is on Kaggle: every place where the ``kaggle`` command looks as well."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from xraycls.data.documents import parse_json
from xraycls.errors import XrayclsError

SETTINGS = "https://www.kaggle.com/settings/api"
_PRINTABLE = re.compile(r"[!-~]+")


@dataclass(frozen=True, slots=True)
class Credential:
    """What signs a request: an access token, or the older pair of user name and key.

    Attributes:
        origin: the variable or file it was found in, for messages.
        token: sent as bearer; None for a pair.
        username: of a pair.
        key: of a pair.
    """

    origin: str
    token: str | None = field(default=None, repr=False)
    username: str | None = None
    key: str | None = field(default=None, repr=False)

    def __post_init__(self) -> None:
        for part in (self.token, self.username, self.key):
            if part is not None and not _PRINTABLE.fullmatch(part):
                raise XrayclsError(
                    f"{self.origin} holds something that is no Kaggle credential: it has blanks or special characters",
                    f"Copy it again from {SETTINGS}",
                )


def user_and_key() -> Credential | None:
    """The pair in KAGGLE_USERNAME and KAGGLE_KEY, or in kaggle.json; a variable counts more than the file.

    Raises:
        XrayclsError: there is a kaggle.json that can't be used; the client would pass over it in silence.
    """
    username, key = os.environ.get("KAGGLE_USERNAME"), os.environ.get("KAGGLE_KEY")
    if username and key:
        return Credential("KAGGLE_USERNAME and KAGGLE_KEY", username=username, key=key)
    for path in _files("kaggle.json"):
        held = _strings(path)
        username, key = username or held.get("username"), key or held.get("key")
        if not username or not key:
            raise XrayclsError(
                f"{path} holds no username and key",
                f'Make a new one at {SETTINGS} ("Create Legacy API Key") and save it there',
            )
        return Credential(str(path), username=username, key=key)
    return None


def no_credentials() -> XrayclsError:
    """The error for someone who has not signed in, with the steps."""
    return XrayclsError(
        "Kaggle wants to know who you are, and no credentials were found",
        'Either run "kaggle auth login", or make an account at https://www.kaggle.com, press "Generate New Token" at '
        f"{SETTINGS} and save the token in ~/.kaggle/access_token or in the variable KAGGLE_API_TOKEN; "
        "a kaggle.json in ~/.kaggle works as well",
    )


def _files(name: str) -> Iterator[Path]:
    """The folders of the client in its order: one it was told, ~/.kaggle, and the desktop's standard place."""
    folders = [Path(configured)] if (configured := os.environ.get("KAGGLE_CONFIG_DIR")) else []
    folders.append(Path.home() / ".kaggle")
    if sys.platform.startswith("linux"):
        folders.append(Path(os.environ.get("XDG_CONFIG_HOME") or Path.home() / ".config") / "kaggle")
    for folder in folders:
        if (folder / name).is_file():
            yield folder / name


def _strings(path: Path) -> dict[str, str]:
    try:
        held = parse_json(path.read_text("utf-8"))
    except (OSError, ValueError) as error:
        raise XrayclsError(f"{path} can't be read: {error}", f"Make a new one at {SETTINGS}") from None
    return {name: value for name, value in held.items() if isinstance(value, str)} if isinstance(held, dict) else {}
