"""YAML, JSON and XML of any origin: whatever is wrong with a text is a ValueError of one sentence."""

from __future__ import annotations

import json
import tokenize
import zipfile
import zlib
from pathlib import Path
from typing import TYPE_CHECKING, Any

from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xml.etree.ElementTree import Element

    import yaml

DAMAGED_ARRAY = (
    EOFError,
    KeyError,
    MemoryError,
    OSError,
    OverflowError,
    RecursionError,
    RuntimeError,
    SyntaxError,
    TypeError,
    ValueError,
    tokenize.TokenError,
    zipfile.BadZipFile,
    zlib.error,
)
"""What NumPy raises on a damaged .npy or .npz: it reads the header of an array as Python's literals."""

LARGEST = 1_000_000
"""Values that a YAML document may hold, those counted again that its aliases repeat."""


def parse_json(text: str | bytes) -> Any:
    """The values of a JSON text.

    Raises:
        ValueError: no JSON, or nested deeper than Python's stack.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def read_json_object(path: Path) -> dict[str, Any]:
    """The values of a JSON file that holds an object.

    Raises:
        OSError: the file can't be read.
        ValueError: it holds something else.
    """
    content = parse_json(path.read_bytes())
    if not isinstance(content, dict):
        raise ValueError("it holds no object")
    return content


def parse_yaml(text: str) -> Any:
    """The values of a YAML text of plain values, at most ``LARGEST`` of them.

    Raises:
        ValueError: no YAML, nested too deeply, a date that there isn't, or aliases that repeat themselves into more.

    Example:
        >>> parse_yaml("epochs: 3")
        {'epochs': 3}
        >>> parse_yaml("a: &a [*a]")
        Traceback (most recent call last):
        ...
        ValueError: it holds itself: line 1
    """
    import yaml  # most programs read JSON alone

    try:
        loader = yaml.SafeLoader(text)
        node = loader.get_single_node()
        if node is None:
            return None
        if _size(node, {}) > LARGEST:
            raise ValueError(f"its aliases make more than {LARGEST:,} values of it")
        return loader.construct_document(node)
    except RecursionError:
        raise ValueError("it is nested too deeply") from None
    except (yaml.YAMLError, AttributeError, LookupError, OverflowError, TypeError) as error:
        raise ValueError(" ".join(str(error).split()) or type(error).__name__) from error


def parse_xml(data: bytes) -> Element:
    """The root of an XML text without a document type, whose entities could make it grow without end.

    Raises:
        ValueError: no XML, or it declares a document type.

    Example:
        >>> parse_xml(b"<size><width>64</width></size>").findtext("width")
        '64'
    """
    from xml.etree.ElementTree import TreeBuilder
    from xml.parsers import expat

    builder, parser = TreeBuilder(), expat.ParserCreate()
    parser.StartElementHandler = builder.start
    parser.EndElementHandler = builder.end
    parser.CharacterDataHandler = builder.data

    def refuse(*_: object) -> None:
        raise ValueError("it declares a document type: remove <!DOCTYPE …>")

    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(data, True)
        return builder.close()
    except (expat.ExpatError, LookupError) as error:
        raise ValueError(f"it is not XML ({error})") from error


def read_settings(path: Path, *, hint: str, example: str) -> dict[str, Any]:
    """The values of a YAML file in which somebody wrote settings.

    Args:
        path: of the file.
        hint: what to name instead where there is no such file.
        example: what to begin with where the file holds no settings.

    Raises:
        UsageError: no such file, not YAML, or no settings by name.
    """
    try:
        values = parse_yaml(path.read_text(encoding="utf-8"))
    except FileNotFoundError as error:
        raise UsageError(f"There is no file {path}", hint) from error
    except (ValueError, OSError) as error:
        raise UsageError(f"{path} is not a YAML file: {error}") from error
    if not isinstance(values, dict):
        raise UsageError(f"{path} holds no settings", example)
    return values


def _size(node: yaml.Node, known: dict[int, int]) -> int:
    """How many values a node stands for; ``known`` holds those of others, 0 of those that it lies in."""
    size = known.get(id(node))
    if size == 0:
        raise ValueError(f"it holds itself: line {node.start_mark.line + 1}")
    if size is None:
        known[id(node)] = 0
        parts = node.value if isinstance(node.value, list) else ()
        pairs = (part if isinstance(part, tuple) else (part,) for part in parts)
        size = 1 + sum(_size(each, known) for pair in pairs for each in pair)
        known[id(node)] = size
    return size
