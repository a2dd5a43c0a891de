"""The protobuf library behind one door: messages from a compiled schema, and their text form.

No generated Python: a schema is a compiled ``FileDescriptorSet`` that any version of the library reads, and lives in a
pool of its own, so that it never meets TensorFlow's or TAO's own definitions in the same process.
"""

from __future__ import annotations

import re
from importlib.resources import files
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


class Schema:
    """The messages of a compiled schema.

    Args:
        package: the Python package that holds the file.
        file: a ``FileDescriptorSet``, written by ``protoc --descriptor_set_out --include_imports``.

    Raises:
        MissingExtra: protobuf isn't installed.
    """

    def __init__(self, package: str, file: str) -> None:
        try:
            from google.protobuf import descriptor_pb2, descriptor_pool, message_factory
        except ImportError as error:
            raise MissingExtra("protobuf", "tao") from error
        compiled = descriptor_pb2.FileDescriptorSet.FromString((files(package) / file).read_bytes())
        self.files = tuple(compiled.file)
        self._pool = descriptor_pool.DescriptorPool()
        self._message_class = message_factory.GetMessageClass
        for each in self.files:
            self._pool.Add(each)

    def message(self, name: str) -> type[Message]:
        """The class of a message, by its full name."""
        return self._message_class(self._pool.FindMessageTypeByName(name))


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
