"""The same radiographs as files of several kinds, in a temporary folder: what the speed benchmarks read."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from contextlib import suppress
from dataclasses import replace
from importlib.util import find_spec
from itertools import chain, cycle, islice
from pathlib import Path
from typing import TypeVar

import cv2

from xraycls.data.open import open_image
from xraycls.data.phantom import write_phantom
from xraycls.data.pictures import list_images
from xraycls.data.prepare import prepare
from xraycls.data.source import read_table
from xraycls.data.store import read_store, stored_pixels
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.types import PIXELS, Sample

T = TypeVar("T")

PREPARED_SIZE = 320
_PHANTOMS, _PHANTOM_DICOMS, _PHANTOM_SIZE = 120, 30, 1024


def original_files(data: Path | None, work: Path) -> tuple[Path, SampleTable]:
    """The data source and its table; phantoms in the folder ``work`` when none is given.

    Raises:
        UsageError: the pictures are rows of an archive, which other pipelines can't read.
    """
    if data is None:
        data = draw_phantoms(work / "phantom")
    table = read_table(data)
    if any(sample.member is not None for sample in table):
        raise UsageError(f"--data {data} holds no image files", "Give a folder or a CSV of JPEGs")
    return data, table


def draw_phantoms(folder: Path | str) -> Path:
    """Draw phantoms of about a radiograph's size into a folder."""
    return write_phantom(Path(folder), images=_PHANTOMS, size=_PHANTOM_SIZE).root


def prepared_table(data: Path, work: Path, size: int = PREPARED_SIZE) -> SampleTable:
    """The same pictures as a prepared store in ``work``."""
    folder = work / f"prepared-{size}"
    prepare(data, folder, size=size)
    return read_store(folder)


def png_copies(table: SampleTable, folder: Path) -> SampleTable:
    """The same pictures in grey PNGs of 8 bits and full size, as data sets for TAO have them; with their boxes."""
    folder.mkdir()
    samples = []
    for number, sample in enumerate(table):
        samples.append(replace(sample, path=folder / f"{number:05d}.png"))
        cv2.imwrite(str(samples[-1].path), open_image(sample).decode(1))
    return table.with_samples(samples)


def small_jpegs(prepared: SampleTable, work: Path) -> list[Path]:
    """The prepared pictures as grey JPEGs of quality 95: the best case of a pipeline that must decode."""
    folder = work / "small"
    folder.mkdir()
    paths = []
    for row, pixels in enumerate(stored_pixels(prepared.root / PIXELS)):
        paths.append(folder / f"{row:05d}.jpeg")
        cv2.imwrite(str(paths[-1]), pixels, (cv2.IMWRITE_JPEG_QUALITY, 95))
    return paths


def dicom_table(dicom: Path | None, work: Path) -> SampleTable:
    """The DICOM files of a folder that can be read here; uncompressed phantoms when none is given.

    Raises:
        UsageError: pydicom isn't installed, or no file can be read.
    """
    if find_spec("pydicom") is None:
        raise UsageError("DICOM files need pydicom, which is not installed", "Install it with: pip install pydicom")
    if dicom is None:
        write_phantom(work / "phantom-dicom", images=_PHANTOM_DICOMS, size=_PHANTOM_SIZE, dicom=True)
        dicom = work / "phantom-dicom" / "dicom"
    samples = tuple(_readable(sample for sample in list_images([dicom]) if sample.path.suffix.lower() == ".dcm"))
    if not samples:
        raise UsageError(f"--dicom {dicom} holds no DICOM file that can be read here")
    return SampleTable(samples, ("unknown",), dicom, "files")


def repeated(items: Iterable[T], count: int) -> list[T]:
    """``count`` items: the same ones over and over, for epochs as long as real ones."""
    return list(islice(cycle(items), count))


def linked_folder(table: SampleTable, folder: Path, train: int) -> Path:
    """An image folder of links to the files of a table: two a class for validation, the others for training.

    Args:
        table: the files.
        folder: to be made.
        train: training images, the classes in turns; a file is linked as often as it takes.

    Raises:
        UsageError: a class has fewer than three files.
    """
    classes = [[sample for sample in table if sample.label == label] for label in range(len(table.classes))]
    if min(map(len, classes)) < 3:
        raise UsageError(f"--data {table.root} has fewer than three files of a class")
    _link(folder / "val", table.classes, [sample for members in classes for sample in members[:2]])
    alternating = chain.from_iterable(zip(*(members[2:] for members in classes), strict=False))
    _link(folder / "train", table.classes, repeated(alternating, train))
    return folder


def links_to_files(table: SampleTable, folder: Path, count: int) -> Path:
    """An image folder with so many links to the files of a table, each with a name of its own.

    Args:
        table: the files.
        folder: to be made.
        count: links; a file is linked as often as it takes.
    """
    _link(folder, table.classes, repeated(table, count))
    return folder


def _link(folder: Path, classes: Sequence[str], samples: Sequence[Sample]) -> None:
    for name in classes:
        (folder / name).mkdir(parents=True)
    for number, sample in enumerate(samples):
        link = folder / classes[sample.label or 0] / f"{number:06d}{sample.path.suffix}"
        link.symlink_to(sample.path.resolve())


def _readable(samples: Iterator[Sample]) -> Iterator[Sample]:
    for sample in samples:
        with suppress(DataError):
            open_image(sample)
            yield sample
