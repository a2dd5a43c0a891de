"""Options that the commands of TAO's networks share."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from xraycls.cli.secrets import KEY_VARIABLE
from xraycls.errors import UsageError

EXTRA, MACHINE = "Not of TAO", "Machine"
"""The panels of flags that TAO doesn't have; the second is that of :mod:`xraycls.cli.options`."""

_TOO_SMALL = 32  # pixels

SpecOption = Annotated[
    str, typer.Option("--experiment-spec", "-e", "--experiment-spec-file", help="Text spec of TLT or TAO.")
]
KeyOption = Annotated[
    str | None,
    typer.Option(
        "--key",
        "-k",
        "--enc-key",
        envvar=KEY_VARIABLE,
        help="Saved models are encrypted with it; $NAME takes a variable's.",
    ),
]
OptionalModelOption = Annotated[str | None, typer.Option("--model", "-m", "--model-path", help="A saved model.")]
MountOption = Annotated[
    list[str] | None,
    typer.Option(metavar="CONTAINER=FOLDER", help="Where a folder of TAO's container lies.", rich_help_panel=EXTRA),
]
SizeOption = Annotated[
    str | None,
    typer.Option(
        "--size", metavar="N|WxH", help="Of the network's input, pixels, instead of the spec's.", rich_help_panel=EXTRA
    ),
]


def size_of(text: str | None) -> tuple[int, int] | None:
    """Width and height of ``--size``: one number for both, or two with an x between; None for None.

    Raises:
        UsageError: it is something else, or no more than 32 pixels, which TAO refuses.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x×*,](\d+))?", text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(f"--size {text} is no size", "Write --size 256 or, width first, --size 320x256")
    size = int(match[1]), int(match[2] or match[1])
    if min(size) <= _TOO_SMALL:
        raise UsageError(f"--size {text} is too small: width and height must be above {_TOO_SMALL}")
    return size
