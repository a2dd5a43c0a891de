"""Options that the commands of TAO's networks share."""

from __future__ import annotations

import re
from typing import Annotated

import typer

from xraycls.errors import UsageError

EXTRA = "Not of TAO"

SpecOption = Annotated[
    str, typer.Option("--experiment-spec", "-e", "--experiment-spec-file", help="Text spec of TLT or TAO.")
]
KeyOption = Annotated[
    str | None,
    typer.Option("--key", "-k", "--enc-key", help="Saved models are encrypted with it; $NAME takes a variable's."),
]
ModelOption = Annotated[str, typer.Option("--model", "-m", "--model-path", help="A saved model.")]
MountOption = Annotated[
    list[str] | None,
    typer.Option(metavar="CONTAINER=FOLDER", help="Where a folder of TAO's container lies.", rich_help_panel=EXTRA),
]
SizeOption = Annotated[
    str | None, typer.Option("--size", metavar="N|WxH", help="Of the input, pixels, instead.", rich_help_panel=EXTRA)
]


def size_of(text: str | None) -> tuple[int, int] | None:
    """Width and height of ``--size``: one number for both, or two with an x between; None for None.

    Raises:
        UsageError: it is something else.
    """
    if text is None:
        return None
    match = re.fullmatch(r"(\d+)(?:[x×*,](\d+))?", text.strip().lower())
    if match is None or not int(match[1]):
        raise UsageError(f"--size {text} is no size", "Write --size 256 or, width first, --size 320x256")
    return int(match[1]), int(match[2] or match[1])
