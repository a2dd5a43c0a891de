"""Text specs of TLT/TAO: read into configuration objects, with mistakes named by file, line and field; written back.

The text form is protobuf's, so ``name { }`` and ``name: { }``, ``1.0f``, ``<>`` and ``[a, b]`` are all read; an unknown
field, a value given twice and two members of a oneof are mistakes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Generic, TypeVar

from xraycls.data.files import atomic_write
from xraycls.data.protobuf import TextError, parse_text, print_text
from xraycls.errors import SpecError
from xraycls.tao.fields import DIALECTS, Dialect, versions_with
from xraycls.tao.messages import UnknownNumber, from_message, message_of, to_message
from xraycls.tao.text import Token, explained, line_of, tokens

Config = TypeVar("Config")


@dataclass(frozen=True, slots=True)
class Spec(Generic[Config]):
    """A spec that was read, and where in its file everything stands.

    Attributes:
        path: the file.
        config: what it says.
        dialects: the versions of TLT and TAO that know all of its fields, oldest first.
        fields: of the file, in order.
        renamed: fields of ``config`` that the file has under other names, longest first: (here, in the file).
        assumed: fields that the file leaves out though they must have a value, with the reason: (field, reason).
    """

    path: Path
    config: Config
    dialects: tuple[Dialect, ...]
    fields: tuple[Token, ...]
    renamed: tuple[tuple[str, str], ...] = ()
    assumed: tuple[tuple[str, str], ...] = ()

    @property
    def dialect(self) -> Dialect:
        """The newest version that the spec may have been written for."""
        return self.dialects[-1]

    def written(self, field: str) -> str:
        """The file's own name of a field, such as "ssd_config.scales"."""
        return _renamed(field, self.renamed)

    def here(self, written: str) -> str:
        """The name in ``config`` of a field of the file; the way back from :meth:`written`."""
        return _renamed(written, tuple((there, here) for here, there in self.renamed))

    def line(self, field: str) -> int | None:
        """The line of a field, from 1; None when the spec doesn't have it."""
        return line_of(self.fields, self.written(field))

    def changed(self, field: str, value: Any) -> Spec[Config]:
        """The same spec with another value of a field such as "training_config.num_epochs"."""
        return replace(self, config=_changed(self.config, field, value))

    def assuming(self, field: str, value: Any, reason: str) -> Spec[Config]:
        """The same spec with a value for a field that the file leaves out."""
        return replace(self.changed(field, value), assumed=(*self.assumed, (field, reason)))

    def mistake(self, field: str, message: str, hint: str | None = None) -> SpecError:
        """The error for a value that parses but can't mean anything.

        Args:
            field: at fault; its line, or that of the message that should hold it, is looked up.
            message: what is wrong; the field's name is put before it.
            hint: the way out.
        """
        return _wrong(self.path, self.fields, self.written(field), f"{self.written(field)} {message}", hint)


def parse_spec(path: Path, text: str, kind: type[Config], program: str) -> Spec[Config]:
    """What the text of a spec says, and where everything stands in it.

    Args:
        path: of the spec, for messages.
        text: the spec.
        kind: the class of the outermost message.
        program: that takes such a spec, such as "ssd".

    Raises:
        SpecError: there is a mistake, or fields that no version of TLT or TAO knows together; names file, line and
            field.
        MissingExtra: protobuf isn't installed.
    """
    fields = tuple(tokens(text))
    try:
        message = parse_text(message_of(kind), text)
        return Spec(path, from_message(kind, message), _dialects(path, fields, kind), fields)
    except TextError as error:
        raise explained(error, path, fields, message_of(kind), program) from error
    except UnknownNumber as error:
        raise _wrong(path, fields, error.field, str(error), None) from error


def read_text(path: Path) -> str:
    """The text of a spec; raises SpecError when it can't be read."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"the spec could not be read: {error.strerror}", path) from error
    except UnicodeDecodeError as error:
        raise SpecError("the spec is not UTF-8 text", path, hint="Save it as UTF-8") from error


def value_at(config: Any, field: str) -> Any:
    """The value of a field, such as "ssd_config.scales"; None when a message that holds it isn't given."""
    for part in field.split(".") if field else ():
        name, _, index = part.rstrip("]").partition("[")
        config = getattr(config, name)
        if index:
            config = config[int(index)]
        if config is None:
            return None
    return config


def spec_text(config: Any) -> str:
    """A configuration object as a text spec; values that are the defaults are left out."""
    return print_text(to_message(config))


def write_spec(config: Any, path: Path) -> None:
    """Write a configuration object as a text spec; raises XrayclsError when the file can't be written."""
    with atomic_write(path) as temporary:
        temporary.write_text(spec_text(config), encoding="utf-8", newline="\n")


def wrong_value(path: Path, field: str, message: str, hint: str | None = None) -> SpecError:
    """The error for a value that parses but can't mean anything, without a :class:`Spec` at hand.

    Args:
        path: the spec, to look the line up.
        field: after the messages that hold it, such as "kitti_config.val_split".
        message: what is wrong, naming the field.
        hint: the way out.
    """
    return _wrong(path, tokens(read_text(path)), field, message, hint)


def _renamed(field: str, names: Sequence[tuple[str, str]]) -> str:
    for old, new in names:
        if field == old or field.startswith((f"{old}.", f"{old}[")):
            return new + field.removeprefix(old)
    return field


def _changed(config: Any, field: str, value: Any) -> Any:
    name, _, rest = field.partition(".")
    return replace(config, **{name: _changed(getattr(config, name), rest, value) if rest else value})


def _wrong(path: Path, fields: Sequence[Token], field: str, message: str, hint: str | None) -> SpecError:
    line, holder = line_of(fields, field), field
    while line is None and "." in holder:
        holder = holder.rpartition(".")[0]
        line = line_of(fields, holder)
    return SpecError(message, path, line, field, hint)


def _dialects(path: Path, fields: Sequence[Token], kind: type[Any]) -> tuple[Dialect, ...]:
    left, since = frozenset(DIALECTS), None
    for token in fields:
        field = ".".join(token.path)
        known_to = versions_with(kind, field)
        if not left & known_to:
            raise SpecError(
                f"{field} is of {_listed(known_to)}, but {since} of {_listed(left)}: no version takes both",
                path,
                token.line,
                field,
                "Leave one of them out",
            )
        if left - known_to:
            left, since = left & known_to, f"{field} in line {token.line}"
    return tuple(each for each in DIALECTS if each in left)


def _listed(dialects: frozenset[Dialect]) -> str:
    return " and ".join(each for each in DIALECTS if each in dialects)
