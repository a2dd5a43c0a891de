"""Errors that a user reads: one sentence that names the file, line or flag, and the way out."""

import errno
import re
import shlex
from collections.abc import Callable, Iterable
from functools import wraps
from pathlib import Path
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
R = TypeVar("R")

LONGEST = 2_000
"""Characters of a message, and of its hint; what is longer loses its middle."""

# What a terminal may obey or a log may take for another line: controls, line separators, marks that turn the writing
# direction, and halves of surrogate pairs, which no file can hold as UTF-8.
_UNPRINTABLE = re.compile("[\x00-\x1f\x7f-\x9f\u061c\u200e\u200f\u2028-\u202e\u2066-\u2069\ufeff\ud800-\udfff]")

_PASSWORD = re.compile(r"(?<=://)[^/\s:@]*:[^/\s@]+(?=@)")  # of a proxy or mirror

_COMMAND = re.compile(r"\b(?:xraycls|pip|apt|kaggle|tao) [a-z]")
_FLAG = re.compile(r"(?<![\w-])--([a-z][a-z0-9-]*)(?:[ =]((?:[\w.]*\d|[\w.]*/)[\w./-]*|auto|none|torch)(?![\w=]))?")
_SHORT = re.compile(r"(?<![\w-])-(k KEY|o|r)(?![\w-])")
_SHORT_NAMES = {"k KEY": "key", "o": "output", "r": "results"}


def shown(text: str, longest: int = LONGEST, keep: str = "") -> str:
    """Returns a text as one line that a terminal and a log can show, whatever a file or a class is called.

    Names and passwords in addresses are left out.

    Args:
        text: of any origin.
        longest: characters; a longer text loses its middle.
        keep: control characters to leave as they are, such as line breaks.

    Example:
        >>> shown("two\\nlines")
        'two\\\\nlines'
        >>> shown("abcdefghij", longest=6)
        'abcde … [4 characters left out] … j'
    """
    text = _PASSWORD.sub("***", text)
    if len(text) > longest:
        tail = longest // 4
        head = longest - tail
        text = f"{text[:head]} … [{len(text) - longest:,} characters left out] … {text[len(text) - tail :]}"
    return _UNPRINTABLE.sub(lambda found: found[0] if found[0] in keep else _escaped(found[0]), text)


def _escaped(character: str) -> str:
    byte = ord(character) - 0xDC00  # of a file name that is not UTF-8, as Python carries it
    return f"\\x{byte:02x}" if 0x80 <= byte <= 0xFF else character.encode("unicode_escape").decode()


class XrayclsError(Exception):
    """Base of every error that a user can mend.

    Args:
        message: what is wrong, naming the file, line or flag.
        hint: the way out, a sentence of its own; None when the message says it all.
    """

    exit_code = 1

    def __init__(self, message: str, hint: str | None = None) -> None:
        self.message = shown(message.rstrip("."))
        self.hint = shown(hint.rstrip(".")) if hint else None
        super().__init__(self._sentence())

    def __reduce__(self) -> tuple[Any, ...]:
        """Errors cross process borders whole, whatever their constructors take."""
        return _revived, (type(self), str(self), self.__dict__)

    def _sentence(self) -> str:
        parts = [part for part in (self.message, self.hint) if part]
        return " ".join(part if part.endswith(("?", "!")) else f"{part}." for part in parts)


def _revived(kind: type[XrayclsError], sentence: str, attributes: dict[str, Any]) -> XrayclsError:
    error = kind.__new__(kind, sentence)
    error.__dict__.update(attributes)
    return error


class UsageError(XrayclsError):
    """A flag or argument that can't mean anything (exit code 2)."""

    exit_code = 2


class DataError(XrayclsError):
    """A file or folder of data that can't be used.

    Args:
        path: the file or folder that is at fault; the message names it.
    """

    def __init__(self, message: str, path: Path | None = None, hint: str | None = None) -> None:
        self.path = path
        super().__init__(message, hint)


class SpecError(XrayclsError):
    """A TLT/TAO text spec that can't be used.

    Args:
        message: what is wrong; the file and the line are put before it.
        path: the spec.
        line: of the spec, from 1; None when no line is to blame.
        field: the field at fault, after the messages that hold it, such as "kitti_config.val_split".
    """

    def __init__(
        self, message: str, path: Path, line: int | None = None, field: str | None = None, hint: str | None = None
    ) -> None:
        self.path, self.line, self.field = path, line, field
        super().__init__(f"{path}, line {line}: {message}" if line else f"{path}: {message}", hint)


class MissingExtra(XrayclsError):
    """A feature whose optional package isn't installed.

    Args:
        package: what is missing, in words.
        extra: the extra of xraycls that installs it.
    """

    def __init__(self, package: str, extra: str) -> None:
        self.extra = extra
        super().__init__(f"{package} is not installed", f"Install it with: {install_command(extra)}")


def install_command(extra: str) -> str:
    """The command that installs what an extra brings; xraycls itself is in no package index that pip could ask."""
    from importlib.metadata import PackageNotFoundError, requires

    try:
        required = requires("xraycls") or []
    except PackageNotFoundError:
        required = []
    marker = re.compile(rf"""extra == ['"]{extra}['"]""")
    names = [line.partition(";")[0].strip() for line in required if marker.search(line)]
    return f"pip install {' '.join(map(shlex.quote, names))}" if names else f"pip install '.[{extra}]' in the checkout"


class WeightsError(XrayclsError):
    """Weights that can't be fetched, read or fitted to the network."""


class LockedError(XrayclsError):
    """A folder or file that another process is writing to."""


class RunError(XrayclsError):
    """A run folder or checkpoint that can't be used."""


class TrainingError(XrayclsError):
    """Training that can't go on: loss not finite, memory exhausted, disk full."""


def unknown(kind: str, name: object, choices: Iterable[str], flag: str | None = None) -> UsageError:
    """The error for a name outside a list, with the nearest names first.

    Args:
        kind: what the name should have been, such as "optimiser".
        name: what was given; YAML may give what is no text.
        choices: every valid name.
        flag: the flag that took the name, such as "--optimizer".
    """
    listed = list(choices)
    spelt = {c.lower(): c for c in listed}
    import difflib

    nearest = [spelt[near] for near in difflib.get_close_matches(str(name).lower(), spelt, n=3, cutoff=0.5)]
    where = f" for {flag}" if flag else ""
    hint = f"Did you mean {', '.join(nearest)}?" if nearest else f"Choose one of: {', '.join(listed)}"
    return UsageError(f"Unknown {kind} {name!r}{where}", hint)


def as_user_error(error: BaseException, path: object = None) -> XrayclsError | None:
    """Returns the sentence for an error of the system: a path or setting that can't be one, or a machine out of means.

    Args:
        error: that Python raised.
        path: what was worked on; None for the file that the error names.

    Returns:
        None for an error of another kind: it is a mistake in the program and keeps its traceback.

    Example:
        >>> print(as_user_error(OSError(errno.ENAMETOOLONG, "File name too long", "a" * 300 + ".png"), "a.png"))
        a.png has a name that is too long. A name has at most 255 bytes, and a path 4,096.
    """
    if isinstance(error, OSError):
        return _of_the_system(error, path)
    what = str(path) if path else ""
    if isinstance(error, UnicodeError):
        text = error.object if isinstance(error, UnicodeEncodeError) else what
        return UsageError(f"{_short(text)} is not valid Unicode", "Rename it, or give another setting")
    if isinstance(error, ValueError) and "embedded null" in str(error):
        return UsageError(f"{_short(what) or 'A path or setting'} holds a NUL character, which no name can have")
    if isinstance(error, MemoryError) or "can't allocate memory" in str(error) or "failed to map segment" in str(error):
        return XrayclsError("There is not enough memory", "Close other programs, raise the limit, or ask for less")
    if isinstance(error, RecursionError):
        return DataError(f"{_short(what) or 'A file'} is nested too deeply to be read")
    if isinstance(error, RuntimeError) and "can't start new thread" in str(error):
        return XrayclsError("No further thread could be started", "Raise the limit on processes, or lower --threads")
    return None


def _of_the_system(error: OSError, path: object) -> XrayclsError | None:
    names = [_short(str(name)) for name in (path, error.filename) if name not in (None, "")]
    if error.errno == errno.ENAMETOOLONG:
        what = names[0] if names else "A file"
        return UsageError(f"{what} has a name that is too long", "A name has at most 255 bytes, and a path 4,096")
    if error.errno in (errno.ENOSPC, errno.EDQUOT):
        return XrayclsError(f"The disk is full{f', writing {names[0]}' if names else ''}", "Free some space")
    if error.errno is None:
        return None
    if not names and error.errno == errno.ENOENT:
        if "temporary" in str(error.strerror):
            return XrayclsError(str(error.strerror), "Set TMPDIR to a folder that can be written to")
        return XrayclsError("The working folder is gone", "Change to one that exists")
    return XrayclsError(f"{names[0] if names else 'A file'} could not be used: {error.strerror or error}")


def _short(text: str) -> str:
    return shown(text, 120)


def with_arguments(function: Callable[P, R]) -> Callable[P, R]:
    """Returns the function with errors that name arguments, ``batch_size=8``, and not flags, ``--batch-size 8``.

    Messages are written with flags; the functions of the public API are wrapped by this, the command line calls them
    unwrapped. Errors of the system that :func:`as_user_error` knows become ours.
    """

    @wraps(function)
    def called(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            return function(*args, **kwargs)
        except XrayclsError as error:
            error.message = in_arguments(error.message)
            error.hint = error.hint and in_arguments(error.hint)
            error.args = (error._sentence(),)
            raise
        except Exception as error:
            if known := as_user_error(error):
                raise known from error
            raise

    return called


def in_arguments(text: str) -> str:
    """Returns a message with flags as arguments of Python; commands to type stay as they are.

    Example:
        >>> in_arguments("Try --batch-size 8 or another --base-model")
        'Try batch_size=8 or another base_model'
        >>> in_arguments("Give the key that it was trained with: -k KEY")
        'Give the key that it was trained with: key'
        >>> in_arguments("Train one first with: xraycls train --data DIR")
        'Train one first with: xraycls train --data DIR'
    """
    command = _COMMAND.search(text)
    end = command.start() if command else len(text)
    named = _SHORT.sub(lambda flag: _SHORT_NAMES[flag[1]], _FLAG.sub(_argument, text[:end]))
    return named + text[end:]


def _argument(flag: re.Match[str]) -> str:
    name = flag[1].rstrip("-").replace("-", "_")
    name = {"map": "class_map", "lr": "learning_rate"}.get(name, name)
    return f"{name}={flag[2]}" if flag[2] else name
