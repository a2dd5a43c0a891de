"""How the program was called, for commands that start it anew, and how it tells of an error."""

from __future__ import annotations

import json
import os
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.markup import escape

from xraycls.errors import XrayclsError
from xraycls.progress import console

if TYPE_CHECKING:
    from rich.table import Table

_WIDE = 1000  # characters, more than any row has


@dataclass(frozen=True, slots=True)
class Invocation:
    """A call of the program.

    Attributes:
        arguments: after the program's name, in today's spelling.
        debug: whether errors are shown with their traceback.
    """

    arguments: tuple[str, ...]
    debug: bool = False


def invocation_of(context: Any) -> Invocation:
    """The call that a command's context belongs to."""
    given = context.find_object(Invocation)
    return given or Invocation(tuple(sys.argv[1:]))


def print_table(table: Table) -> None:
    """Print a table on standard output: as wide as the terminal, and with a row a line where programs read it."""
    console(stderr=False, width=None if sys.stdout.isatty() else _WIDE).print(table)


def tell_error(error: XrayclsError) -> None:
    """Print an error's sentence on standard error; the first of several processes says it for all.

    Each leaves it where torch's launcher looks for it, in case that another fails alone.
    """
    if file := os.environ.get("TORCHELASTIC_ERROR_FILE"):
        Path(file).write_text(json.dumps({"message": str(error), "timestamp": str(int(time.time()))}))
    if os.environ.get("RANK", "0") != "0":
        return
    head = "" if error.exit_code == 130 else "[bold red]Error:[/] "
    console().print(f"{head}{escape(str(error))}", soft_wrap=True)
