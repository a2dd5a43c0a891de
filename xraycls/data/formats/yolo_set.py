"""Where the pictures of a YOLO data set lie and what its classes are called: ``data.yaml``, lists or folders."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

import yaml

from xraycls.data.documents import parse_yaml
from xraycls.data.files import atomic_write
from xraycls.data.folder import image_files
from xraycls.data.formats.format import first_few, tell_missing
from xraycls.data.formats.pairs import LABELS, NAME_FILES, PICTURES, Pair, find_folders, label_text, pairs_in
from xraycls.data.formats.pictures import is_there
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import SPLITS, Split

logger = logging.getLogger(__name__)

CONFIG = "data.yaml"

_CONFIGS = (CONFIG, "data.yml", "dataset.yaml")
_NAMES_KEY = re.compile(r"^names\s*:", re.MULTILINE)
_ENOUGH = 1 << 16  # characters of a file within which its keys stand
_LISTS: dict[Split, tuple[str, ...]] = {
    "train": ("train.txt",),
    "val": ("val.txt", "valid.txt"),
    "test": ("test.txt",),
}


@dataclass(frozen=True, slots=True)
class YoloSet:
    """What a data set consists of.

    Attributes:
        pairs: every picture once.
        folders: that the pictures lie below.
        names: of the classes, by index.
    """

    pairs: list[Pair]
    folders: list[Path]
    names: dict[int, str]


def is_config(path: Path) -> bool:
    """Whether this is a ``data.yaml``, by any name, or a folder that holds one."""
    if path.is_dir():
        return any(is_config(path / name) for name in _CONFIGS)
    if path.suffix.lower() not in (".yaml", ".yml") or not path.is_file():
        return False
    with path.open(encoding="utf-8", errors="replace") as handle:
        return bool(_NAMES_KEY.search(handle.read(_ENOUGH)))


def find_set(path: Path, images: Path | None = None, strict: bool = False) -> YoloSet:
    """The pictures, labels and class names of a data set.

    Args:
        path: ``data.yaml``, the folder that holds it, or any folder of pictures and labels.
        images: the folder of pictures; ``path`` is then that of the labels.
        strict: raise where a picture is missing that labels or lists belong to.

    Raises:
        DataError: the files that say so can't be read.
    """
    folder = path if path.is_dir() else path.parent
    file = next((folder / name for name in _CONFIGS if is_config(folder / name)), None) if path == folder else path
    config, names = parse_config(label_text(file), file) if file else ({}, _names_in(folder, images))
    if images is not None:
        return _of_folders(folder, images, names, strict)
    listed = _unique(folder, {split: list(_configured(folder, config, split, strict)) for split in SPLITS})
    listed = listed or _unique(folder, {split: list(_darknet(folder, split, strict)) for split in SPLITS})
    in_folders = _of_folders(folder, None, names, strict)  # which tells of labels without a picture
    if listed:
        return YoloSet(listed, sorted({pair.picture.parent for pair in listed}), names)
    if in_folders.folders:
        return in_folders
    beside = [Pair(picture, label_file(picture), None) for picture in image_files(folder)]
    return YoloSet(beside, [folder], names)


def _of_folders(folder: Path, images: Path | None, names: dict[int, str], strict: bool) -> YoloSet:
    folders = find_folders(folder, images)
    pairs = [pair for each in folders for pair in pairs_in(each, strict)]
    return YoloSet(pairs, [each.pictures for each in folders], names)


def label_file(picture: Path) -> Path:
    """Where the labels of a picture are looked for: in ``labels`` instead of ``images``, or else beside it."""
    parts = picture.parts
    for at in reversed(range(len(parts) - 1)):
        if parts[at] in PICTURES:
            above = Path(*parts[:at])
            labels = next((above / name for name in LABELS if (above / name).is_dir()), None)
            if labels:
                return labels.joinpath(*parts[at + 1 :]).with_suffix(".txt")
    return picture.with_suffix(".txt")


def parse_config(text: str, path: Path) -> tuple[dict[str, Any], dict[int, str]]:
    """The keys of a ``data.yaml``, and its class names by index.

    Args:
        text: of the file.
        path: names it in messages.

    Raises:
        DataError: no YAML with keys, or names that aren't classes.
    """
    try:
        config = parse_yaml(text)
    except ValueError as error:
        raise DataError(f"{path} is not YAML: {error}", path) from error
    if not isinstance(config, dict):
        raise DataError(f"{path} is no description of a YOLO data set: it has no keys", path)
    names = config.get("names")
    pairs = enumerate(names) if isinstance(names, list) else names.items() if isinstance(names, dict) else None
    if pairs is None:
        raise DataError(f"names in {path} is neither a list of classes nor a table from number to class", path)
    try:
        return config, {int(index): str(name) for index, name in pairs}
    except (TypeError, ValueError, OverflowError) as error:
        raise DataError(f"names in {path} has a class whose number isn't a whole number", path) from error


def _names_in(folder: Path, images: Path | None) -> dict[int, str]:
    """The classes of a names file, a line each, in the data set's folder or among its labels."""
    places = [folder, *(each.labels for each in find_folders(folder, images)), folder / "obj_train_data"]
    file = next((place / name for place in places for name in NAME_FILES if (place / name).is_file()), None)
    if file is None:
        return {}
    lines = [line.strip() for line in label_text(file).splitlines()]
    return {index: line for index, line in enumerate(lines) if line}


def _configured(folder: Path, config: dict[str, Any], split: Split, strict: bool) -> Iterator[Path]:
    """The pictures of a split that the configuration names: folders, lists and single files."""
    base = resolved(folder, str(config.get("path") or ".")) or folder
    entries = config.get(split)
    for entry in entries if isinstance(entries, list) else [entries] if entries else []:
        found = resolved(base, str(entry)) or resolved(folder, str(entry))
        if found:
            yield from _pictures_of(found, strict)
        else:
            tell_missing(f"The {split} pictures of {folder} are not there ({entry})", folder, strict)


def _darknet(folder: Path, split: Split, strict: bool) -> Iterator[Path]:
    for name in _LISTS[split]:
        if (folder / name).is_file():
            yield from _listed(folder / name, strict)


def _pictures_of(entry: Path, strict: bool) -> Iterator[Path]:
    if entry.is_dir():
        yield from image_files(entry)
    elif entry.suffix == ".txt":
        yield from _listed(entry, strict)
    else:
        yield entry


def _listed(file: Path, strict: bool) -> Iterator[Path]:
    """The pictures that a list names; those that aren't there are counted in a warning, or raise when strict."""
    lines = [line.strip() for line in label_text(file).splitlines() if line.strip()]
    found = {line: resolved(file.parent, line) for line in lines}
    missing = [line for line, picture in found.items() if picture is None]
    if missing:
        count = f"{len(missing):,} of {len(lines):,} pictures"
        tell_missing(f"{count} that {file} names are missing: {first_few(missing)}", file, strict)
    yield from (picture for picture in found.values() if picture is not None)


def resolved(base: Path, name: str) -> Path | None:
    """The file or folder that a path written elsewhere means here: without its leading folders where need be."""
    parts = PurePosixPath(name.replace("\\", "/")).parts
    tails = (base.joinpath(*parts[at:]) for at in range(max(len(parts), 1)))
    return next((path for path in tails if is_there(path)), None)


def _unique(folder: Path, listed: dict[Split, list[Path]]) -> list[Pair]:
    """Every picture once, with the first split that names it; without a split where all name the same pictures."""
    present = {split: pictures for split, pictures in listed.items() if pictures}
    first: dict[Path, Split] = {}
    for split, pictures in present.items():
        for picture in pictures:
            first.setdefault(picture, split)
    if len(present) > 1 and all(set(pictures) == set(first) for pictures in present.values()):
        return [Pair(picture, label_file(picture), None) for picture in first]
    repeated = sum(map(len, present.values())) - len(first)
    if repeated:
        logger.warning("%d pictures of %s are in several splits and stay in the first of them.", repeated, folder)
    return [Pair(picture, label_file(picture), split) for picture, split in first.items()]


def write_config(table: SampleTable, names: Sequence[str], folder: Path) -> None:
    """Write ``data.yaml``: the pictures of each split, from the folder of that file, and the classes.

    Without splits there is no ``val``, which Ultralytics asks for: the same pictures for both would hide that nothing
    is validated. A warning says so.
    """
    root = table.root.relative_to(folder) if table.root.is_relative_to(folder) else table.root.absolute()
    config: dict[str, Any] = {split: (root / split).as_posix() for split in table.splits}
    if not config:
        config["train"] = root.as_posix()
        logger.warning(
            "%s has no splits, so %s names no pictures for validation: give every picture a split first with "
            "xraycls data split.",
            table.root,
            folder / CONFIG,
        )
    config["names"] = dict(enumerate(names))
    text = yaml.safe_dump(config, allow_unicode=True, sort_keys=False)
    with atomic_write(folder / CONFIG) as temporary:
        temporary.write_text(text, encoding="utf-8")
