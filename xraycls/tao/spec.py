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
from xraycls.tao.dataset_export import DatasetExport
from xraycls.tao.dialects import DIALECTS, Dialect, versions_with
from xraycls.tao.explain import explained
from xraycls.tao.faster_rcnn import FasterRCNNSpec
from xraycls.tao.kinds import kind_of_spec
from xraycls.tao.messages import UnknownNumber, from_message, message_of, to_message
from xraycls.tao.outline import Place, line_of, outline
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.yolo_v4 import YOLOv4Spec

Config = TypeVar("Config")

KINDS: dict[type[Any], str] = {
    DatasetExport: "dataset_convert",
    SSDSpec: "ssd",
    YOLOv4Spec: "yolo_v4",
    FasterRCNNSpec: "faster_rcnn",
}
"""The specs that can be read: the class of the outermost message, and the program that takes the spec."""


@dataclass(frozen=True, slots=True)
class Spec(Generic[Config]):
    """A spec that was read, and where in its file everything stands.

    Attributes:
        path: the file.
        config: what it says.
        dialects: the versions of TLT and TAO that know all of its fields, oldest first.
        places: its fields, in order.
        renamed: fields of ``config`` that the file has under other names, longest first: (here, in the file).
    """

    path: Path
    config: Config
    dialects: tuple[Dialect, ...]
    places: tuple[Place, ...]
    renamed: tuple[tuple[str, str], ...] = ()

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
        return line_of(self.places, self.written(field))

    def changed(self, field: str, value: Any) -> Spec[Config]:
        """The same spec with another value of a field such as "training_config.num_epochs"."""
        return replace(self, config=_changed(self.config, field, value))

    def mistake(self, field: str, message: str, hint: str | None = None) -> SpecError:
        """The error for a value that parses but can't mean anything.

        Args:
            field: at fault; its line, or that of the message that should hold it, is looked up.
            message: what is wrong; the field's name is put before it.
            hint: the way out.
        """
        return _wrong(self.path, self.places, self.written(field), f"{self.written(field)} {message}", hint)


def open_spec(path: Path, kind: type[Config]) -> Spec[Config]:
    """Read a text spec, and keep where everything stands in it.

    Args:
        path: the spec.
        kind: what it should be, a class of :data:`KINDS`.

    Raises:
        SpecError: the file can't be read, is a spec of another program, has a mistake or fields that no version of
            TLT or TAO knows together; names file, line and field.
        MissingExtra: protobuf isn't installed.
    """
    text = _read(path)
    places = tuple(outline(text))
    _check_kind(path, places, KINDS[kind])
    try:
        message = parse_text(message_of(kind), text)
        return Spec(path, from_message(kind, message), _dialects(path, places, KINDS[kind]), places)
    except TextError as error:
        raise explained(error, path, places, message_of(kind), KINDS[kind]) from error
    except UnknownNumber as error:
        raise _wrong(path, places, error.field, str(error), None) from error


def read_spec(path: Path, kind: type[Config]) -> Config:
    """What a text spec says; raises as :func:`open_spec`."""
    return open_spec(path, kind).config


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
    return _wrong(path, outline(_read(path)), field, message, hint)


def _renamed(field: str, names: Sequence[tuple[str, str]]) -> str:
    for old, new in names:
        if field == old or field.startswith((f"{old}.", f"{old}[")):
            return new + field.removeprefix(old)
    return field


def _changed(config: Any, field: str, value: Any) -> Any:
    name, _, rest = field.partition(".")
    return replace(config, **{name: _changed(getattr(config, name), rest, value) if rest else value})


def _wrong(path: Path, places: Sequence[Place], field: str, message: str, hint: str | None) -> SpecError:
    line, holder = line_of(places, field), field
    while line is None and "." in holder:
        holder = holder.rpartition(".")[0]
        line = line_of(places, holder)
    return SpecError(message, path, line, field, hint)


def _read(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise SpecError(f"the spec could not be read: {error.strerror}", path) from error
    except UnicodeDecodeError as error:
        raise SpecError("the spec is not UTF-8 text", path, hint="Save it as UTF-8") from error


def _check_kind(path: Path, places: Sequence[Place], program: str) -> None:
    found = kind_of_spec({place.path[0] for place in places if len(place.path) == 1})
    taken_by = {"dssd": "ssd"}.get(found or "", found)
    if taken_by in (None, program):
        return
    article = "an" if found in ("ssd", "lprnet", "efficientdet") else "a"
    way = f"use xraycls {taken_by}" if taken_by in KINDS.values() else f"xraycls has no {taken_by}"
    raise SpecError(f"this is {article} {found} spec: {way}", path)


def _dialects(path: Path, places: Sequence[Place], program: str) -> tuple[Dialect, ...]:
    left, told = frozenset(DIALECTS), None
    for place in places:
        field = ".".join(place.path)
        known_to = versions_with(program, field)
        if not left & known_to:
            raise SpecError(
                f"{field} is of {_listed(known_to)}, but {told} of {_listed(left)}: no version takes both",
                path,
                place.line,
                field,
                "Leave one of them out",
            )
        if left - known_to:
            left, told = left & known_to, f"{field} in line {place.line}"
    return tuple(each for each in DIALECTS if each in left)


def _listed(dialects: frozenset[Dialect]) -> str:
    return " and ".join(each for each in DIALECTS if each in dialects)
