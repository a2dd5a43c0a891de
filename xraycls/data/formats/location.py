"""Pictures on their way into another data set: what each is called there, and its file."""

from __future__ import annotations

import shutil
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath

import cv2

from xraycls.data.dicom.header import read_header
from xraycls.data.dicom.sniff import DICOM_SUFFIXES, is_dicom_file
from xraycls.data.files import atomic_write, fitting_name, share_file
from xraycls.data.formats.format import Format
from xraycls.data.formats.pairs import PICTURES
from xraycls.data.formats.pictures import is_deep, is_upright, size_of
from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.types import PIXELS, Box, Sample

_LONGEST_END = "-123456.jpeg"
"""What may still be put behind a name: a number, where it is taken, and a suffix."""

_QUALITY = 95  # of JPEG, 0-100

_EVERY_READER_KNOWS = (".jpg", ".jpeg", ".png", ".bmp")


@dataclass(frozen=True, slots=True)
class Location:
    """A picture and where it goes.

    Attributes:
        sample: as the source has it.
        name: its path below the folder of pictures.
        as_png: whether it is decoded and written as 8-bit grey PNG, or JPEG where the name says so; otherwise the
            file itself goes there.
        is_renamed: whether its own name was taken.
    """

    sample: Sample
    name: PurePosixPath
    as_png: bool
    is_renamed: bool


def plan_locations(table: SampleTable, into: Format) -> list[Location]:
    """A location for every picture, no two of which differ in the suffix or in upper and lower case alone.

    As 8-bit PNG go DICOM files and PNGs of 16 bits, unless readers of ``into`` expect the former, rows of archives and
    of prepared data, pictures that EXIF turns, as not every reader of boxes heeds it, and files that not every reader
    opens.
    """
    last_number: dict[str, int] = {}  # of each name without its suffix
    locations = []
    for sample in table:
        is_dicom = sample.member is None and _is_dicom(sample.path)
        as_png = bool(into.suffix) or (not into.dicom if is_dicom else _needs_decoding(sample, into))
        suffix = (into.suffix or ".png") if as_png else ".dcm" if is_dicom else sample.path.suffix
        wanted = _name(table, sample, into)
        name, number = wanted, last_number.get(_key(wanted), 0) + 1
        while number > 1 and _key(name := wanted.with_name(f"{wanted.name}_{number}")) in last_number:
            number += 1
        last_number[_key(wanted)] = number
        last_number.setdefault(_key(name), 1)
        locations.append(Location(sample, name.with_name(name.name + suffix), as_png, is_renamed=number > 1))
    return locations


def _key(name: PurePosixPath) -> str:
    return str(name).casefold()


def _is_dicom(path: Path) -> bool:
    return path.suffix.lower() in DICOM_SUFFIXES or is_dicom_file(path)


def _needs_decoding(sample: Sample, into: Format) -> bool:
    if sample.member is not None or sample.path.suffix.lower() not in _EVERY_READER_KNOWS:
        return True
    return not is_upright(sample.path) or (is_deep(sample.path) and not into.dicom)


def _name(table: SampleTable, sample: Sample, into: Format) -> PurePosixPath:
    """The name of a picture without its suffix and without regard to the others."""
    name = PurePosixPath(table.name_of(sample))
    if sample.member is not None and sample.path.name != PIXELS:
        stem, above = f"{sample.member}_{sample.row}", []
    else:
        # The last part of a DICOM's 1.2.840.113619.2 is no suffix.
        stem = name.name if name.suffix[1:].isdigit() else name.stem
        # Annotations may name ../../a.png; it is written below the target all the same.
        above = [] if name.is_absolute() else [part for part in name.parent.parts if part != ".."]
    while above and (above[0] in PICTURES or (sample.split and split_named(above[0]) == sample.split)):
        del above[0]
    stem = fitting_name(stem, _LONGEST_END).removesuffix(_LONGEST_END)
    split = [sample.split] if sample.split and into.folders != "none" else []
    return PurePosixPath(*split, *(above if into.folders == "kept" else []), stem)


def put(location: Location, folder: Path, *, link: bool = False) -> Sample:
    """Write a picture to its location below ``folder`` and give its sample there.

    Args:
        location: of the picture.
        folder: of all pictures.
        link: give the file a second name instead of copying it, where the disk can.

    Raises:
        DataError: the picture can't be read.
        XrayclsError: it can't be written.
    """
    target = folder / location.name
    sample = replace(location.sample, path=target, member=None, row=None)
    if location.as_png:
        image = open_image(location.sample)
        pixels = image.pixels()
        _write_encoded(pixels, target)
        # A prepared picture is smaller than its source, of which the boxes speak.
        across, down = pixels.shape[1] / image.width, pixels.shape[0] / image.height
        boxes = tuple(_scaled(box, across, down) for box in sample.boxes)
        return replace(sample, boxes=boxes, attributes=_with_header(location.sample))
    size_of(location.sample)
    if link:
        share_file(location.sample.path, target)
    else:
        with atomic_write(target) as temporary:
            shutil.copyfile(location.sample.path, temporary)
    return sample


def _with_header(sample: Sample) -> tuple[tuple[str, str], ...]:
    """What is known of a picture, with what only the header of a DICOM file tells: pixel spacing, view, age and sex."""
    if sample.member is not None or not _is_dicom(sample.path):
        return sample.attributes
    known = {name for name, _ in sample.attributes}
    return (*sample.attributes, *(pair for pair in read_header(sample.path).attributes if pair[0] not in known))


def _write_encoded(pixels: GreyImage, path: Path) -> None:
    _, encoded = cv2.imencode(path.suffix, pixels, [cv2.IMWRITE_JPEG_QUALITY, _QUALITY])
    with atomic_write(path) as temporary:
        temporary.write_bytes(encoded.tobytes())


def _scaled(box: Box, across: float, down: float) -> Box:
    if across == down == 1:
        return box
    return replace(box, left=box.left * across, top=box.top * down, right=box.right * across, bottom=box.bottom * down)
