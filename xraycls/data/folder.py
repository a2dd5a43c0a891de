"""An image folder: class folders, with a ``train|val|test`` level above or below them, or none."""

from __future__ import annotations

import logging
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import attrgetter
from pathlib import Path

from xraycls.data.aside import log_set_aside, set_aside
from xraycls.data.dicom.sniff import named_like_dicom, other_object
from xraycls.data.processors import in_threads, pool_size
from xraycls.data.scan import IMAGE_SUFFIXES, Listing, PassedOver, list_folder, subfolders
from xraycls.data.spelling import in_order, one_spelling
from xraycls.data.split import split_of_folder
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Sample, Split

__all__ = ["IMAGE_SUFFIXES", "image_files", "images_of", "pictures_below", "read_folder"]

logger = logging.getLogger(__name__)

_WAITING = 16  # files at a time that wait for the disk
_NAMED = 3


@dataclass(frozen=True, slots=True)
class _LabelledFile:
    path: Path
    label: str
    split: Split | None


def read_folder(root: Path, *, keep_masks: bool = False) -> SampleTable:
    """Read an image folder such as ``root/train/NORMAL/a.jpeg``, ``root/NORMAL/a.jpeg`` or ``NORMAL/train/a.jpeg``.

    Classes are the names of the class folders over all splits, in the order of
    :func:`xraycls.data.spelling.in_order`; upper and lower case make no difference. Folders below a class folder
    belong to it; those that are named like a split tell the split. Folders that only wrap the data, as Kaggle's
    archives do (``chest_xray/chest_xray/train``), are passed through. Split folders go by any name that
    :func:`xraycls.data.split.split_of_folder` knows; folders beside them are ignored. DICOM objects that hold no
    picture, such as presentation states and reports, are passed over, and so are masks, thumbnails and heat maps
    (:func:`xraycls.data.aside.set_aside`).

    Args:
        root: the folder.
        keep_masks: keep masks, thumbnails and heat maps as pictures.

    Raises:
        DataError: no such folder, no images below it, a split without images, or images outside class folders.
    """
    if not root.is_dir():
        what = "is a file, not a folder of images" if root.exists() else "does not exist"
        raise DataError(f"{root} {what}", root)
    passed = PassedOver()
    base = _inside_wrappers(root)
    folders = subfolders(base)
    splits: list[tuple[Path, Split | None]] = [(f, split) for f in folders if (split := split_of_folder(f.name))]
    found: list[_LabelledFile] = []
    for folder, split in splits or [(base, None)]:
        found += _labelled_images(folder, split, passed)
    _log_passed_over(passed, root)
    others = _other_objects([each.path for each in found], root)
    found = [each for each in found if each.path not in others]
    if not found:
        raise DataError(f"{root} holds no images, but DICOM objects of other kinds", root)
    found = _without_aside(found, root, keep_masks)
    spelt = one_spelling((each.label for each in found), root)
    classes = in_order(spelt.values())
    index = {name: label for label, name in enumerate(classes)}
    samples = tuple(Sample(each.path, label=index[spelt[each.label]], split=each.split) for each in found)
    return SampleTable(samples, classes, root, source="folder")


def image_files(folder: Path, passed: PassedOver | None = None) -> Iterator[Path]:
    """Every image below a folder, folder by folder in the order of names.

    Hidden names and the folders of systems, such as ``__MACOSX`` and ``@eaDir``, are skipped. Links are followed,
    except those that lead back up.

    Args:
        folder: where to look.
        passed: counts the files that are no pictures.

    Raises:
        DataError: a folder can't be listed.
    """
    yield from _walk(folder, (), PassedOver() if passed is None else passed, folder)


def pictures_below(folder: Path, *, keep_masks: bool = False) -> list[Path]:
    """The images of :func:`image_files` but for DICOM objects without a picture, masks, thumbnails and heat maps.

    Messages count what is left out.
    """
    passed = PassedOver()
    images = list(image_files(folder, passed))
    _log_passed_over(passed, folder)
    others = _other_objects(images, folder)
    images = [path for path in images if path not in others]
    aside = {} if keep_masks else set_aside(images, folder)
    if len(aside) == len(images):  # a folder of nothing else is what the user asked for
        return images
    log_set_aside(aside, len(images), folder)
    return [path for path in images if path not in aside]


def images_of(folder: Path) -> list[Path]:
    """The images of one folder, not of those below it, in the order of names; raises DataError as above."""
    return list_folder(folder).images


def _other_objects(images: Sequence[Path], root: Path) -> set[Path]:
    """The presentation states, reports and so on among the images: hospitals export them along, they are no fault."""
    candidates = [path for path in images if named_like_dicom(path.name)]
    kinds = in_threads(other_object, candidates, pool_size(_WAITING))
    others = {path: kind for path, kind in zip(candidates, kinds, strict=True) if kind}
    if others:
        named = [f"{path.relative_to(root)} ({kind})" for path, kind in list(others.items())[:_NAMED]]
        dots = ", …" if len(others) > _NAMED else ""
        logger.info("%d DICOM files of %s hold no picture: %s%s.", len(others), root, ", ".join(named), dots)
    return set(others)


def _without_aside(found: list[_LabelledFile], root: Path, keep_masks: bool) -> list[_LabelledFile]:
    """What is left without masks, thumbnails and heat maps, unless nothing but those would be lost with a class."""
    if keep_masks:
        return found
    aside = set_aside([each.path for each in found], root, [each.label for each in found])
    kept = [each for each in found if each.path not in aside]
    if not kept:
        return found
    log_set_aside(aside, len(found), root)
    return kept


def _log_passed_over(passed: PassedOver, root: Path) -> None:
    if sentence := passed.sentence(root):
        logger.warning("%s.", sentence)


def _walk(folder: Path, above: tuple[Path, ...], passed: PassedOver, root: Path) -> Iterator[Path]:
    here = folder.resolve()
    if any(visited.is_relative_to(here) for visited in above):
        return
    listing = _listed(folder, passed, root)
    yield from listing.images
    for child in listing.folders:
        yield from _walk(child, (*above, here), passed, root)


def _listed(folder: Path, passed: PassedOver, root: Path) -> Listing:
    listing = list_folder(folder)
    for name, kind in listing.others:
        passed.add(kind, (folder / name).relative_to(root).as_posix())
    return listing


def _inside_wrappers(root: Path) -> Path:
    """Go down while there is nothing but one folder, which holds more folders and is no split itself.

    Folders without any picture beside one that holds split folders, such as ``docs``, don't count.
    """
    base = root
    while True:
        listing = list_folder(base)
        folders = listing.folders
        if listing.images or any(split_of_folder(folder.name) for folder in folders):
            return base
        if len(folders) > 1:
            split = [f for f in folders if any(split_of_folder(child.name) for child in subfolders(f))]
            if split and split == [folder for folder in folders if next(image_files(folder), None) is not None]:
                folders = split
        if len(folders) != 1 or not subfolders(folders[0]):
            return base
        if len(listing.folders) == 1 and _is_class(folders[0]):
            return base
        base = folders[0]


def _is_class(folder: Path) -> bool:
    """Whether split folders below hold pictures themselves, so that the folder above them is a class."""
    splits = [child for child in subfolders(folder) if split_of_folder(child.name)]
    return bool(splits) and all(list_folder(child).images for child in splits)


def _labelled_images(folder: Path, split: Split | None, passed: PassedOver) -> list[_LabelledFile]:
    """The images of every class folder, with its name; ``folder`` is a split, or the root when there are none."""
    listing = _listed(folder, passed, folder)
    found: list[_LabelledFile] = []
    empty = []
    inner = None if split else _classes_below_splits(listing.folders)
    for class_folder in listing.folders:
        images = list(image_files(class_folder, passed))
        for parent, paths in groupby(images, key=attrgetter("parent")):
            below = parent.relative_to(class_folder).parts
            level = None if split else next((at for at, part in enumerate(below) if split_of_folder(part)), None)
            own = split if level is None else split_of_folder(below[level])
            label = class_folder.name if inner is None or level is None else below[level + 1]
            found += [_LabelledFile(path, label, own) for path in paths]
        if not images:
            empty.append(class_folder.name)
    stray = listing.images
    if stray and not found:
        raise DataError(
            f"The {len(stray):,} images of {folder} lie in it directly, not in one folder a class",
            folder,
            "Move them into class folders such as NORMAL and PNEUMONIA, or give a CSV with the columns path and label",
        )
    if not found:
        raise DataError(
            f"{folder} holds no images",
            folder,
            f"Looked for {', '.join(sorted(IMAGE_SUFFIXES))}" + (f"; {s}" if (s := passed.sentence(folder)) else ""),
        )
    if stray:
        logger.warning("%d images of %s lie outside its class folders and are ignored.", len(stray), folder)
    if empty:
        logger.warning("The folders %s of %s hold no images and are ignored.", ", ".join(empty), folder)
    if split is None and (counts := Counter(each.split for each in found if each.split)):
        listed = ", ".join(f"{count:,} {name}" for name, count in counts.items())
        logger.info("Folders below the classes of %s tell the split: %s.", folder, listed)
    return found


def _classes_below_splits(folders: Sequence[Path]) -> set[str] | None:
    """The classes where they stand below the splits of several parts: ``part1/train/NORMAL``, ``part2/test/NORMAL``.

    None where the folders are classes themselves: what lies below their splits, such as patients, differs.
    """
    below: list[set[str]] = []
    for folder in folders:
        children = subfolders(_inside_wrappers(folder))
        splits = [child for child in children if split_of_folder(child.name)]
        if not splits or any(list_folder(child).images for child in splits):
            return None
        below.append({each.name for child in splits for each in subfolders(child)})
    return below[0] if len(below) > 1 and len(below[0]) > 1 and all(names == below[0] for names in below) else None
