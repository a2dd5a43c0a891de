"""An image folder: class folders, with or without a ``train|val|test`` level above them."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from xraycls.data.dicom import DICOM_SUFFIXES, is_dicom_file, named_like_dicom, other_object
from xraycls.data.spelling import in_order, one_spelling
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample, Split

logger = logging.getLogger(__name__)

_WAITING = 16  # files at a time that wait for the disk
_NAMED = 3

# What OpenCV reads, and DICOM.
# fmt: off
IMAGE_SUFFIXES = DICOM_SUFFIXES | frozenset({
    ".jpg", ".jpeg", ".jpe", ".jp2", ".png", ".bmp", ".dib", ".tif", ".tiff", ".webp", ".avif", ".gif",
    ".pgm", ".ppm", ".pnm", ".pbm", ".pfm", ".sr", ".ras",
})
# fmt: on


def read_folder(root: Path) -> SampleTable:
    """Read an image folder such as ``root/train/NORMAL/a.jpeg`` or ``root/NORMAL/a.jpeg``.

    Classes are the names of the class folders over all splits, in the order of
    :func:`xraycls.data.spelling.in_order`; upper and lower case make no difference. Folders below a class folder
    belong to it. Folders that only wrap the data, as Kaggle's archives do (``chest_xray/chest_xray/train``), are
    passed through. Split folders go by any name that :func:`xraycls.data.split.split_named` knows; folders beside
    them are ignored. DICOM objects that hold no picture, such as presentation states and reports, are passed over.

    Raises:
        DataError: no such folder, no images below it, a split without images, or images outside class folders.
    """
    if not root.is_dir():
        what = "is a file, not a folder of images" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}", root)
    base = _inside_wrappers(root)
    folders, _ = _scan(base)
    splits: list[tuple[Path, Split | None]] = [(f, split) for f in folders if (split := split_named(f.name))]
    found: list[tuple[Path, str, Split | None]] = []
    for folder, split in splits or [(base, None)]:
        found += [(path, name, split) for path, name in _labelled_images(folder)]
    others = _other_objects([path for path, _, _ in found], root)
    found = [each for each in found if each[0] not in others]
    if not found:
        raise DataError(f"{root} holds no images, but DICOM objects of other kinds", root)
    spelt = one_spelling((name for _, name, _ in found), root)
    classes = in_order(spelt.values())
    index = {name: label for label, name in enumerate(classes)}
    samples = tuple(Sample(path, label=index[spelt[name]], split=split) for path, name, split in found)
    return SampleTable(samples, classes, root, source="folder")


def image_files(folder: Path) -> Iterator[Path]:
    """Every image below a folder, by suffix, folder by folder in the order of names.

    Hidden names and ``__MACOSX`` are skipped. Links are followed, except those that lead back up.

    Raises:
        DataError: a folder can't be listed.
    """
    yield from _walk(folder, above=())


def pictures_below(folder: Path) -> list[Path]:
    """The images of :func:`image_files` but for DICOM objects that hold no picture; a message counts those."""
    images = list(image_files(folder))
    others = _other_objects(images, folder)
    return [path for path in images if path not in others]


def _other_objects(images: Sequence[Path], root: Path) -> set[Path]:
    """The presentation states, reports and so on among the images: hospitals export them along, they are no fault."""
    candidates = [path for path in images if named_like_dicom(path.name)]
    with ThreadPoolExecutor(_WAITING) as pool:
        kinds = list(pool.map(other_object, candidates))
    others = {path: kind for path, kind in zip(candidates, kinds, strict=True) if kind}
    if others:
        named = [f"{path.relative_to(root)} ({kind})" for path, kind in list(others.items())[:_NAMED]]
        dots = ", …" if len(others) > _NAMED else ""
        logger.info("%d DICOM files of %s hold no picture: %s%s.", len(others), root, ", ".join(named), dots)
    return set(others)


def images_of(folder: Path) -> list[Path]:
    """The images of one folder, not of those below it, in the order of names; raises DataError as above."""
    return _scan(folder)[1]


def _walk(folder: Path, above: tuple[Path, ...]) -> Iterator[Path]:
    here = folder.resolve()
    if any(visited.is_relative_to(here) for visited in above):
        return
    folders, images = _scan(folder)
    yield from images
    for child in folders:
        yield from _walk(child, (*above, here))


def _scan(folder: Path) -> tuple[list[Path], list[Path]]:
    """The sub-folders and the image files of one folder, each sorted by name."""
    try:
        with os.scandir(folder) as listing:
            entries = sorted(listing, key=lambda entry: entry.name)
    except OSError as error:
        raise DataError(f"{folder} could not be listed: {error.strerror}", folder) from error
    folders, images = [], []
    for entry in entries:
        if entry.name.startswith(".") or entry.name == "__MACOSX":
            continue
        # Path.is_dir takes a link to itself for a file, where DirEntry.is_dir raises.
        if Path(entry.path).is_dir() if entry.is_symlink() else entry.is_dir():
            folders.append(Path(entry.path))
        elif _is_image(entry):
            images.append(Path(entry.path))
    return folders, images


def _is_image(entry: os.DirEntry[str]) -> bool:
    """By its suffix; names without one, or with numbers such as 1.2.840.113619.2, may be DICOM from a hospital."""
    if os.path.splitext(entry.name)[1].lower() in IMAGE_SUFFIXES:  # noqa: PTH122 - a Path a file is slow
        return True
    return named_like_dicom(entry.name) and entry.name.upper() != "DICOMDIR" and is_dicom_file(Path(entry.path))


def _inside_wrappers(root: Path) -> Path:
    """Go down while there is nothing but one folder, which holds more folders and is no split itself."""
    base = root
    while True:
        folders, images = _scan(base)
        if images or len(folders) != 1 or split_named(folders[0].name) or not _scan(folders[0])[0]:
            return base
        base = folders[0]


def _labelled_images(folder: Path) -> list[tuple[Path, str]]:
    """The images of every class folder, with its name; ``folder`` is a split, or the root when there are none."""
    class_folders, stray = _scan(folder)
    found: list[tuple[Path, str]] = []
    empty = []
    for class_folder in class_folders:
        images = list(image_files(class_folder))
        found += [(path, class_folder.name) for path in images]
        if not images:
            empty.append(class_folder.name)
    if stray and not found:
        raise DataError(
            f"The {len(stray):,} images of {folder} lie in it directly, not in one folder a class",
            folder,
            "Move them into class folders such as NORMAL and PNEUMONIA, or give a CSV with the columns path and label",
        )
    if not found:
        raise DataError(f"{folder} holds no images", folder, f"Looked for {', '.join(sorted(IMAGE_SUFFIXES))}")
    if stray:
        logger.warning("%d images of %s lie outside its class folders and are ignored.", len(stray), folder)
    if empty:
        logger.warning("The folders %s of %s hold no images and are ignored.", ", ".join(empty), folder)
    return found
