"""Pascal VOC: an XML file a picture (Everingham et al., IJCV 2010; development kit 2012).

VOC counts pixels from 1 and its xmax and ymax are the last pixels inside. Ours count from 0 and right and bottom are
the first outside, so left = xmin − 1 and right = xmax: a box of one pixel, xmin = xmax = 1, goes from 0 to 1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path, PurePosixPath
from xml.etree.ElementTree import Element, indent, tostring
from xml.etree.ElementTree import SubElement as Child

from xraycls.data.documents import parse_xml
from xraycls.data.files import is_special
from xraycls.data.folder import image_files
from xraycls.data.formats.format import boxed_sample, boxed_table, finite, first_few, read_bytes, tell_missing
from xraycls.data.formats.outlines import around
from xraycls.data.formats.pairs import PICTURES, label_text, write_files
from xraycls.data.formats.pictures import Size, common_folder, names_below_root, required_sizes
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import SPLITS, Box, Sample, Split

logger = logging.getLogger(__name__)

_ANNOTATIONS = "Annotations"
_SETS = Path("ImageSets", "Main")
_FILES = "[!.]*.xml"  # but not those that macOS adds
_HEAD = 512  # bytes
_FILES_LOOKED_AT = 32
_FORBIDDEN = re.compile("[^\t\n\r\x20-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")  # in XML 1.0 (section 2.2)


@dataclass(frozen=True, slots=True)
class _Folders:
    annotations: Path
    pictures: Path
    sets: Path | None = None
    split: Split | None = None


def parse_voc(data: bytes, path: Path) -> tuple[str, tuple[Box, ...]]:
    """The file name of the picture, "" where it isn't told, and its boxes.

    Args:
        data: the XML. Document types and entities are refused, which could make it grow without end.
        path: names it in messages.

    Raises:
        DataError: no XML, or an object without a name or four numbers; names it.
    """
    try:
        root = parse_xml(data)
    except ValueError as error:
        raise DataError(f"{path} is no Pascal VOC annotation: {error}", path) from error
    if root.tag != "annotation":
        raise DataError(f"{path} is no Pascal VOC annotation: its root is <{root.tag}>", path)
    boxes = tuple(_box(each, number, path) for number, each in enumerate(root.iterfind("object"), start=1))
    return _text(root, "filename").replace("\\", "/"), boxes


def _text(element: Element | None, tag: str) -> str:
    return (element.findtext(tag) or "").strip() if element is not None else ""


def _box(each: Element, number: int, path: Path) -> Box:
    name = _text(each, "name")
    if not name:
        raise DataError(f"Object {number} of {path} has no name", path)
    difficult = _text(each, "difficult") in ("1", "true")
    if each.find("bndbox") is None and (outlined := around(_outline(each))):
        return Box(name, *outlined, difficult=difficult)
    values = {tag: _text(each.find("bndbox"), tag) for tag in ("xmin", "ymin", "xmax", "ymax")}
    numbers = []
    for tag, text in values.items():
        value = finite(text)
        if value is None:
            raise DataError(f"Object {number} ({name}) of {path} has {text!r} as {tag}, which is no number", path)
        numbers.append(value)
    left, top, right, bottom = numbers
    return Box(name, left - 1, top - 1, right, bottom, difficult=difficult)


def _outline(each: Element) -> list[list[float]]:
    """The polygons of an object, as labelling tools write them: <x1><y1><x2>… or <pt><x><y></pt>…"""
    polygons = []
    for polygon in each.iterfind("polygon"):
        sides = [
            [finite((point.text or "").strip()) for point in polygon.iter() if re.fullmatch(f"{axis}\\d*", point.tag)]
            for axis in "xy"
        ]
        points = [number for pair in zip(*sides, strict=False) for number in pair if number is not None]
        polygons.append(points if len(points) == len(sides[0]) + len(sides[1]) else [])
    return polygons


def detect_voc(path: Path) -> bool:
    """Whether a folder holds VOC annotations, in ``Annotations`` or beside the pictures."""
    if not path.is_dir():
        return False
    files = (file for each in _find(path) for file in each.annotations.rglob(_FILES))
    return any(map(_looks_right, islice(files, _FILES_LOOKED_AT)))


def _looks_right(file: Path) -> bool:
    if is_special(file):
        return False
    with file.open("rb") as handle:
        return b"<annotation" in handle.read(_HEAD)


def _find(path: Path, images: Path | None = None) -> list[_Folders]:
    """Where annotations and pictures lie: as in the development kit, or beside each other, or that in split folders."""
    annotations = path / _ANNOTATIONS
    if annotations.is_dir():
        places = [images] if images else [path / name for name in ("JPEGImages", *PICTURES)]
        return [_Folders(annotations, next((p for p in places if p.is_dir()), path), path / _SETS)]
    if any(path.glob(_FILES)):
        return [_Folders(path, images or path, path.parent / _SETS)]
    children = [child for child in sorted(path.iterdir()) if child.is_dir()]
    splits = [(child, split) for child in children if (split := split_named(child.name))]
    found = [
        _Folders(each.annotations, each.pictures, split=split)
        for child, split in splits
        for each in _find(child, images)
    ]
    return found if found or len(children) != 1 else _find(children[0], images)


def read_voc(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read ``Annotations`` and ``JPEGImages`` with the splits of ``ImageSets/Main``, or XML files beside pictures.

    A picture belongs to the annotation of the same name, or else to the one whose <filename> it is; pictures and
    annotations that stay alone are left out, with a warning that counts them.

    Raises:
        DataError: no such folders, a file that isn't an annotation (named), no picture is there, or, when strict, an
            annotation has none.
    """
    folders = _find(path, images) if path.is_dir() else []
    if not folders:
        raise DataError(f"{path} holds no Pascal VOC annotations (.xml)", path)
    samples: list[Sample] = []
    for each in folders:
        samples += _samples(each, strict)
    return boxed_table(samples, common_folder([each.pictures for each in folders]), "voc", path)


def _samples(folders: _Folders, strict: bool) -> Iterator[Sample]:
    pictures = {picture.relative_to(folders.pictures): picture for picture in image_files(folders.pictures)}
    by_stem = {name.with_suffix(""): picture for name, picture in reversed(pictures.items())}
    splits = _splits(folders.sets)
    used: set[Path] = set()
    alone = []
    for file in sorted(folders.annotations.rglob(_FILES)):
        filename, boxes = parse_voc(read_bytes(file), file)
        name = file.relative_to(folders.annotations).with_suffix("")
        # Of a.jpg and a.png, a.xml is about the one that it names.
        named = pictures.get(name.with_name(PurePosixPath(filename).name or name.name))
        picture = named if named and named.stem == name.name else by_stem.get(name) or named
        if picture is None or picture in used:
            alone.append(name)
            continue
        used.add(picture)
        yield boxed_sample(picture, boxes, folders.split or splits.get(name.as_posix()))
    if alone:
        count = f"{len(alone):,} annotations of {folders.annotations}"
        tell_missing(f"{count} have no picture: {first_few(alone)}", folders.annotations, strict)
    unread = [name for name, picture in pictures.items() if picture not in used]
    if unread:
        message = "%d pictures of %s have no annotation and are left out: %s"
        logger.warning(message, len(unread), folders.pictures, first_few(unread))


def _splits(sets: Path | None) -> dict[str, Split]:
    """The split of every picture that ``train.txt``, ``val.txt`` or ``test.txt`` lists."""
    files = [(sets / f"{split}.txt", split) for split in SPLITS] if sets else []
    return {line.strip(): split for file, split in files if file.is_file() for line in label_text(file).splitlines()}


def write_voc(table: SampleTable, folder: Path) -> None:
    """Write ``Annotations/a.xml`` for every picture ``a.png`` below the table's root, and ``ImageSets/Main/*.txt``.

    Numbers that aren't whole are written as decimals, which most readers take and the original kit doesn't. Scores
    are lost.

    Raises:
        DataError: a picture can't be read.
        XrayclsError: a file can't be written.
    """
    sizes = required_sizes(table)
    named = list(zip(table, names_below_root(table), sizes, strict=True))
    write_files(
        (folder / _ANNOTATIONS / f"{name.with_suffix('')}.xml", _annotation(sample, name, size, table.root.name))
        for sample, name, size in named
    )
    write_files(
        (
            folder / _SETS / f"{split}.txt",
            "".join(f"{n.with_suffix('')}\n" for s, n, _ in named if s.split == split).encode(),
        )
        for split in table.splits
    )


def _annotation(sample: Sample, name: PurePosixPath, size: Size, folder: str) -> bytes:
    root = Element("annotation")
    _add(root, "folder", folder)
    _add(root, "filename", name.name)
    extent = Child(root, "size")
    for tag, value in zip(("width", "height", "depth"), (*size, 1), strict=True):
        _add(extent, tag, value)
    _add(root, "segmented", 0)
    for box in sample.boxes:
        each = Child(root, "object")
        _add(each, "name", box.label)
        _add(each, "pose", "Unspecified")
        _add(each, "truncated", 0)
        _add(each, "difficult", int(box.difficult))
        corners = Child(each, "bndbox")
        values = box.left + 1, box.top + 1, box.right, box.bottom
        for tag, at in zip(("xmin", "ymin", "xmax", "ymax"), values, strict=True):
            _add(corners, tag, int(at) if float(at).is_integer() else float(at))
    indent(root)
    return bytes(tostring(root, encoding="utf-8"))


def _add(parent: Element, tag: str, value: object) -> None:
    Child(parent, tag).text = _FORBIDDEN.sub("", str(value))
