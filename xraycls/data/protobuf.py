"""The protobuf library behind one door: messages described in Python, and their text form.

No compiler and no generated code: descriptors are made while the program runs, and live in a pool of their own, so that
they never meet TensorFlow's or TAO's own definitions in the same process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from xraycls.errors import MissingExtra

if TYPE_CHECKING:
    from google.protobuf.message import Message


class TextError(ValueError):
    """Text that is not of the message's form.

    Args:
        message: as the library puts it.
        line: from 1; None when the library doesn't say.
        column: from 1, of the token at fault or of the one after it.
    """

    def __init__(self, message: str, line: int | None, column: int | None) -> None:
        self.line, self.column = line, column
        super().__init__(message)


@dataclass(frozen=True, slots=True)
class FieldShape:
    """A field of a message.

    Attributes:
        name: of the field.
        type: a scalar of protobuf such as "uint32", the full name of a message, or the names of an enumeration, whose
            numbers rise from 0.
        repeated: whether it may be given several times.
        key: the scalar that entries of a map are told apart by; "" when it is no map.
        oneof: the group of which one field at most may be given; "" for none.
        presence: whether an absent value can be told from a zero one.
    """

    name: str
    type: str | tuple[str, ...]
    repeated: bool = False
    key: str = ""
    oneof: str = ""
    presence: bool = False


class Schema:
    """Messages that are described while the program runs, in a pool of their own.

    Raises:
        MissingExtra: protobuf isn't installed.
    """

    def __init__(self) -> None:
        try:
            from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        except ImportError as error:
            raise MissingExtra("protobuf", "tao") from error
        self._pool = descriptor_pool.DescriptorPool()
        self._message_class = message_factory.GetMessageClass
        self._descriptors = descriptor_pb2

    def add(self, name: str, fields: Sequence[FieldShape]) -> type[Message]:
        """Describe a message; fields are numbered in their order.

        Args:
            name: in full, with its package.
            fields: messages that they hold are described before.

        Returns:
            Its class.
        """
        package, _, short = name.rpartition(".")
        needed = sorted({f"{each.type}.proto" for each in fields if isinstance(each.type, str) and "." in each.type})
        file = self._descriptors.FileDescriptorProto(
            name=f"{name}.proto", package=package, syntax="proto3", dependency=needed
        )
        _describe(file.message_type.add(name=short), name, fields)
        self._pool.Add(file)
        return self._message_class(self._pool.FindMessageTypeByName(name))


def _describe(message: Any, name: str, fields: Sequence[FieldShape]) -> None:
    oneofs = list(dict.fromkeys(each.oneof for each in fields if each.oneof))
    for group in oneofs:
        message.oneof_decl.add(name=group)
    for number, each in enumerate(fields, 1):
        field = message.field.add(name=each.name, number=number, label=3 if each.repeated or each.key else 1)
        if each.key:
            entry = f"{''.join(part.capitalize() for part in each.name.split('_'))}Entry"
            pair = (FieldShape("key", each.key), FieldShape("value", each.type))
            nested = message.nested_type.add(name=entry)
            _describe(nested, f"{name}.{entry}", pair)
            nested.options.map_entry = True
            _set_type(message, field, name, f"{name}.{entry}")
        else:
            _set_type(message, field, name, each.type)
        if each.oneof:
            field.oneof_index = oneofs.index(each.oneof)
    for field, each in zip(message.field, fields, strict=True):
        if each.presence:  # proto3 tells it by a group of its own, after all others
            field.proto3_optional, field.oneof_index = True, len(message.oneof_decl)
            message.oneof_decl.add(name=f"_{each.name}")


def _set_type(message: Any, field: Any, holder: str, kind: str | tuple[str, ...]) -> None:
    if isinstance(kind, tuple):
        choices = message.enum_type.add(name=field.name.capitalize())
        for number, choice in enumerate(kind):
            choices.value.add(name=choice, number=number)
        field.type, field.type_name = field.TYPE_ENUM, f".{holder}.{choices.name}"
    elif "." in kind:
        field.type, field.type_name = field.TYPE_MESSAGE, f".{kind}"
    else:
        field.type = field.Type.Value(f"TYPE_{kind.upper()}")


def parse_message(kind: type[Message], data: bytes) -> Any:
    """A message from its binary form; raises ValueError when the bytes are none."""
    from google.protobuf.message import DecodeError

    try:
        return kind.FromString(data)
    except DecodeError as error:
        raise ValueError(str(error)) from error


def parse_text(kind: type[Message], text: str) -> Any:
    """A message from its text form; raises TextError."""
    from google.protobuf import text_format

    try:
        return text_format.Parse(text, kind())
    except text_format.ParseError as error:
        raise TextError(_bare(str(error)), error.GetLine(), error.GetColumn()) from error
    except UnicodeError as error:  # lone surrogates
        raise TextError(f"text that is not Unicode: {error}", None, None) from error
    except ValueError as error:  # an enumeration's number of more than 32 bits
        raise TextError(str(error), None, None) from error


def print_text(message: Message) -> str:
    """The text form of a message, fields in the order of the schema, map entries in that of their keys."""
    from google.protobuf import text_format

    return text_format.MessageToString(message, as_utf8=True)


def _bare(message: str) -> str:
    """The library's sentence without the position and the line that it quotes before it."""
    return re.sub(r"^(?:[\d:]+ : )?(?:'.*?': )?", "", message, flags=re.DOTALL).rstrip(".")
