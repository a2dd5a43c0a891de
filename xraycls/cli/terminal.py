"""Standard output, standard error and the log: no name of a file or class commands them, and no reader is required."""

from __future__ import annotations

import errno
import io
import logging
import os
import sys
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from typing import Any, TextIO

from typer.core import TyperGroup

from xraycls.errors import XrayclsError, shown
from xraycls.progress import console, printable

logger = logging.getLogger(__name__)

_READER_IS_GONE = (errno.EPIPE, errno.EIO)  # of a pipe into `head`, of a terminal that was closed


class Stream:
    """A text stream whose reader may leave: the work goes on, and what is written from then on is dropped.

    Args:
        stream: to write to.
        name: for errors; "" where errors can't be told either.
    """

    def __init__(self, stream: TextIO, name: str) -> None:
        self.stream, self.name = stream, name

    def write(self, text: str) -> int:
        """Write a text; raises XrayclsError when it can't be written though its reader is there."""
        try:
            self.stream.write(text)
        except OSError as error:
            self._failed(error)
        return len(text)

    def writelines(self, lines: Iterable[str]) -> None:
        """Write every one of some texts."""
        for line in lines:
            self.write(line)

    def flush(self) -> None:
        """Hand on what is held back; raises as :meth:`write`."""
        try:
            self.stream.flush()
        except OSError as error:
            self._failed(error)

    def _failed(self, error: OSError) -> None:
        # What is still held back would fail again, and be told of by Python itself, when the program ends.
        with suppress(OSError, ValueError), open(os.devnull, "w", encoding="utf-8") as nowhere:  # noqa: PTH123
            os.dup2(nowhere.fileno(), self.stream.fileno())
        if self.name and error.errno not in _READER_IS_GONE:
            raise XrayclsError(f"{self.name} could not be written: {error.strerror}") from error

    def __getattr__(self, name: str) -> Any:
        return getattr(self.stream, name)


class PrintableStream(Stream):
    """A stream that shows control characters as escapes; consoles of rich, which format, write past that."""

    def __init__(self, stream: TextIO, name: str) -> None:
        super().__init__(stream, name)
        self.rich_proxied_file = Stream(stream, name)  # where rich looks for the stream behind

    def write(self, text: str) -> int:
        """Write a text, escaped."""
        super().write(printable(text))
        return len(text)


class PrintableGroup(TyperGroup):
    """The commands of the program; what the parser says of their arguments can be printed, whatever was given."""

    def make_context(self, *args: Any, **options: Any) -> Any:
        """Parse what stands before the verb."""
        with _printable_errors():
            return super().make_context(*args, **options)

    def invoke(self, ctx: Any) -> Any:
        """Parse and run the verb."""
        with _printable_errors():
            return super().invoke(ctx)


@contextmanager
def _printable_errors() -> Iterator[None]:
    try:
        yield
    except Exception as error:
        if hasattr(error, "format_message") and isinstance(getattr(error, "message", None), str):
            error.message = shown(error.message)  # type: ignore[attr-defined]
        raise


class _OneLine(logging.Formatter):
    """A message of a log is one line of bounded length, but for the tracebacks that --debug asks for."""

    def format(self, record: logging.LogRecord) -> str:
        text = super().format(record)
        return printable(text) if record.exc_info else shown(text)


@contextmanager
def standard_streams(*, quiet: bool) -> Iterator[None]:
    """Prepare standard output, standard error and the log for the duration of a block.

    Either stream may be closed, as those of a daemon are: then what is written there is dropped.

    Args:
        quiet: log warnings and errors alone.

    Raises:
        XrayclsError: standard output could not be written to the end.
    """
    _occupy_closed_descriptors()
    before = sys.stdout, sys.stderr
    sys.stdout, sys.stderr = _opened(sys.stdout, "Standard output"), _opened(sys.stderr, "")
    _log(quiet=quiet)
    if before[0] is None:
        logger.warning("Standard output is closed: what would be printed there is dropped.")
    try:
        try:
            yield
        except SystemExit:  # how every command of typer ends
            sys.stdout.flush()
            raise
        sys.stdout.flush()
    finally:
        sys.stderr.flush()
        sys.stdout, sys.stderr = before


def _occupy_closed_descriptors() -> None:
    """Keep files that are opened later from becoming standard output where that is closed."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        pass
    os.close(descriptor)


def _opened(stream: TextIO | None, name: str) -> PrintableStream:
    if isinstance(stream, io.TextIOWrapper):  # what the locale can't write is shown with escapes
        stream.reconfigure(errors="backslashreplace")
    return PrintableStream(stream or io.StringIO(), name)


def _log(*, quiet: bool) -> None:
    errors = console()
    if errors.is_terminal:
        from rich.logging import RichHandler

        handler: logging.Handler = RichHandler(
            console=errors, show_time=False, show_path=False, show_level=True, markup=False
        )
        form = "%(message)s"
    else:  # a line a message: programs read it
        handler, form = logging.StreamHandler(), "%(levelname)-8s %(message)s"
    handler.setFormatter(_OneLine(form))
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.getLogger("xraycls").setLevel(logging.WARNING if quiet else logging.INFO)
