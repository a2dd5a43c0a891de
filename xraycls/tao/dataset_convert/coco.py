"""Images with COCO annotations: a folder and an annotation file a fold."""

from __future__ import annotations

import posixpath
from collections import defaultdict
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from xraycls.data.documents import parse_json
from xraycls.data.formats.kitti import KittiObject
from xraycls.data.formats.pairs import label_text
from xraycls.errors import DataError
from xraycls.tao.dataset_convert.frame import LARGEST, Dataset, Frame, Log
from xraycls.tao.dataset_export import CocoConfig
from xraycls.tao.mounts import Mounts
from xraycls.tao.spec import wrong_value


def coco_dataset(config: CocoConfig, spec: Path, mounts: Mounts, log: Log) -> Dataset:
    """Read the annotations of every fold: images in the order of the file, crowds like any object.

    Sizes come from the annotations; the image files themselves aren't opened.

    Raises:
        SpecError: lists of the spec that don't fit together.
        DataError: an annotation file without images, annotations or categories, or with others than the first.
    """
    _check(config, spec)
    root = mounts.existing(config.root_directory_path, "folder")
    folds, categories = [], None
    for folder, name in zip(config.img_dir_names, config.annotation_files, strict=True):
        file = root / mounts.path(name)
        content = _read(file)
        names = {each["id"]: each["name"].replace(" ", "") for each in content["categories"]}
        if categories is not None and names.keys() != categories.keys():
            raise DataError(f"The categories of {file} are not those of {config.annotation_files[0]}", file)
        categories = names
        folds.append(_frames(content, names, root, folder, file))
    log(f"Total number of images: {sum(map(len, folds))}", {"kpi": {"num_images": sum(map(len, folds))}})
    counts = config.num_shards * config.num_partitions if len(config.num_shards) == 1 else config.num_shards
    return Dataset(folds, config.num_partitions, counts)


def _check(config: CocoConfig, spec: Path) -> None:
    folders, files, folds = len(config.img_dir_names), len(config.annotation_files), config.num_partitions
    if not folders == files == folds or not folds:
        raise wrong_value(
            spec,
            "coco_config.num_partitions",
            f"coco_config has {folders} img_dir_names, {files} annotation_files and num_partitions {folds}",
            "Give a folder and an annotation file for each partition",
        )
    if len(config.num_shards) not in (1, folds):
        raise wrong_value(
            spec,
            "coco_config.num_shards",
            f"num_shards has {len(config.num_shards)} numbers for {folds} partitions",
            "Give one number for all, or one for each",
        )


def _read(file: Path) -> dict[str, Any]:
    try:
        content: Any = parse_json(label_text(file))
    except ValueError as error:
        raise DataError(f"{file} is not JSON", file) from error
    for part in ("images", "annotations", "categories"):
        entries = content.get(part) if isinstance(content, dict) else None
        if not isinstance(entries, list) or not entries:
            raise DataError(f"{file} has no {part}, so it is no COCO annotation file", file)
        for entry in entries:
            _require(entry, part, file)
    return dict(content)


def _require(entry: Any, part: str, file: Path) -> None:
    """That an entry has what a record takes from it."""
    for name, fits in _WANTED[part].items():
        if not isinstance(entry, dict) or not fits(entry.get(name)):
            shown = entry.get("id", "?") if isinstance(entry, dict) else "?"
            raise DataError(f"{file}: entry {shown} of {part} has no usable {name}", file)


def _is_key(value: Any) -> bool:
    return isinstance(value, int | str)


def _is_text(value: Any) -> bool:
    return isinstance(value, str) and bool(value)


def _is_size(value: Any) -> bool:
    return isinstance(value, int | float) and 1 <= value <= LARGEST


def _is_box(value: Any) -> bool:
    if not isinstance(value, list) or len(value) != 4:
        return False
    return all(isinstance(number, int | float) and abs(number) <= LARGEST for number in value)


_WANTED: Mapping[str, Mapping[str, Callable[[Any], bool]]] = {
    "images": {"id": _is_key, "file_name": _is_text, "width": _is_size, "height": _is_size},
    "annotations": {"id": _is_key, "image_id": _is_key, "category_id": _is_key, "bbox": _is_box},
    "categories": {"id": _is_key, "name": _is_text},
}


def _frames(content: dict[str, Any], names: dict[Any, str], root: Path, folder: str, file: Path) -> list[Frame]:
    by_image = defaultdict(list)
    for annotation in {each["id"]: each for each in content["annotations"]}.values():
        if annotation["category_id"] not in names:
            raise DataError(f"{file}: annotation {annotation['id']} has a category that isn't listed", file)
        by_image[annotation["image_id"]].append(annotation)
    frames = []
    for image in {each["id"]: each for each in content["images"]}.values():
        found = by_image[image["id"]]
        objects = [_object(names[each["category_id"]], each["bbox"]) for each in found]
        path = root / folder / image["file_name"]
        frame_id = posixpath.join(folder, image["file_name"].rsplit(".", 1)[0])
        size = int(image["width"]), int(image["height"])
        frames.append(Frame(frame_id, path, *size, objects, [str(each["id"]) for each in found]))
    return frames


def _object(name: str, box: list[float]) -> KittiObject:
    left, top, width, height = box
    return KittiObject(name, left, top, left + width, top + height)
