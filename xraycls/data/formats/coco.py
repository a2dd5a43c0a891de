"""COCO object detection: one JSON with pictures, boxes and classes (Lin et al., ECCV 2014; cocodataset.org)."""

from __future__ import annotations

import json
import logging
import re
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any

from pydantic import AllowInfNan, BaseModel, ConfigDict, ValidationError, field_validator

from xraycls.data.files import atomic_write
from xraycls.data.formats.format import boxed_sample, boxed_table, first_few, read_bytes, tell_missing
from xraycls.data.formats.outlines import around, around_mask
from xraycls.data.formats.pictures import common_folder, is_there, names_below_root, required_sizes
from xraycls.data.split import split_named
from xraycls.data.table import SampleTable
from xraycls.errors import DataError
from xraycls.types import Box, Sample, Split

logger = logging.getLogger(__name__)

_HEAD = 1 << 16  # bytes
_MARK = re.compile(rb'"(?:images|annotations|categories)"\s*:\s*\[')
_TRIED = 20  # pictures, to find their folder

_Number = Annotated[float, AllowInfNan(False)]
_Id = int | str


class _Entry(BaseModel):
    model_config = ConfigDict(extra="ignore", frozen=True)


class _Image(_Entry):
    id: _Id
    file_name: str


class _Category(_Entry):
    id: _Id
    name: str


class _Annotation(_Entry):
    image_id: _Id
    category_id: _Id
    bbox: tuple[_Number, _Number, _Number, _Number] | None = None
    segmentation: Any = None
    iscrowd: int = 0
    score: _Number | None = None

    @field_validator("bbox", mode="before")
    @classmethod
    def _none_if_empty(cls, value: Any) -> Any:
        return None if value == [] else value

    @property
    def corners(self) -> tuple[float, float, float, float] | None:
        """Left, top, right and bottom: of the box, else around outline or mask; None where there is none of them."""
        if self.bbox is not None:
            left, top, width, height = self.bbox
            return left, top, left + width, top + height
        return around(self.segmentation) if isinstance(self.segmentation, list) else around_mask(self.segmentation)


class Coco(_Entry):
    """A file: the lists that we need of it."""

    images: list[_Image]
    annotations: list[_Annotation] = []
    categories: list[_Category] = []


def detect_coco(path: Path) -> bool:
    """Whether this is a JSON file with COCO's lists, or a folder with such files in it or in ``annotations``."""
    return any(_is_coco(file) for file in (_candidates(path) if path.is_dir() else [path]))


def _is_coco(path: Path) -> bool:
    if path.suffix.lower() != ".json" or not path.is_file():
        return False
    with path.open("rb") as handle:
        return bool(_MARK.search(handle.read(_HEAD)))


def _candidates(folder: Path) -> Iterator[Path]:
    """The JSON files of a data set: in ``annotations``, in the folder itself or in its split folders."""
    for place in [folder / "annotations", folder, *sorted(folder.iterdir())]:
        if place == folder or place.name == "annotations" or split_named(place.name):
            yield from sorted(place.glob("*.json"))


def read_coco(path: Path, *, images: Path | None = None, strict: bool = False) -> SampleTable:
    """Read a COCO file, or every one of a folder: ``annotations/instances_train2017.json`` and so on.

    A box is [x, y, width, height] in pixels; a crowd is difficult. The split is told from the name of the file or of
    its folder. Pictures are looked for around the file. Boxes of pictures or classes that the file doesn't list, and
    pictures that aren't there, are left out with a warning that counts them.

    Raises:
        DataError: no JSON, an entry that isn't as it should be (names it), no picture is there, or, when strict, one
            is missing.
    """
    files = _files(path)
    samples: list[Sample] = []
    folders: list[Path] = []
    for file in files:
        coco = parse_coco(read_bytes(file), file)
        folder = _folder_of(file, coco, images)
        folders.append(folder)
        samples += _samples(coco, file, folder, strict)
    return boxed_table(samples, common_folder(folders), "coco", path)


def _files(path: Path) -> list[Path]:
    if path.is_file():
        return [path]
    found = [file for file in _candidates(path) if _is_coco(file)] if path.is_dir() else []
    instances = [file for file in found if file.name.startswith("instances")]
    files = list(dict.fromkeys(instances or found))  # beside them lie captions and keypoints of the same pictures
    if not files:
        raise DataError(f"{path} holds no COCO file (.json)", path)
    splits = [_split_of(file) for file in files]
    if len(set(splits)) < len(splits):
        raise DataError(
            f"{path} holds several COCO files of one split: {first_few(file.relative_to(path) for file in files)}",
            path,
            "Give the one that is meant",
        )
    return files


def _split_of(file: Path) -> Split | None:
    words = [*reversed(re.split(r"[^A-Za-z]+", file.stem)), file.parent.name]
    return next((split for word in words if (split := split_named(word))), None)


def parse_coco(data: bytes, file: Path) -> Coco:
    """What a COCO file holds.

    Args:
        data: the JSON.
        file: names it in messages.

    Raises:
        DataError: no JSON, or an entry that isn't as it should be; names it.
    """
    try:
        wide = data.startswith((b"\xff\xfe", b"\xfe\xff"))
        coco = Coco.model_validate_json(data.decode("utf-16" if wide else "utf-8-sig", "replace"))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        raise DataError(_problem(file, first["loc"], first["msg"]), file) from error
    _require_unique("images", [image.id for image in coco.images], file)
    _require_unique("categories", [category.id for category in coco.categories], file)
    return coco


def _require_unique(name: str, ids: list[_Id], file: Path) -> None:
    seen: set[_Id] = set()
    for at, each in enumerate(ids):
        if each in seen:
            raise DataError(f"{name}[{at}] of {file} has the id {each} of an earlier one", file)
        seen.add(each)


def _problem(file: Path, location: tuple[int | str, ...], problem: str) -> str:
    """Such as: annotations[3].bbox[2] of a.json: input should be a valid number."""
    if not location:
        return f"{file} is not COCO JSON: {problem}"
    where = "".join(f"[{part}]" if isinstance(part, int) else f".{part}" for part in location).lstrip(".")
    return f"{where} of {file}: {problem[:1].lower()}{problem[1:]}"


def _folder_of(file: Path, coco: Coco, images: Path | None) -> Path:
    """The folder that the file names of the pictures start from."""
    base = images or (file.parent.parent if file.parent.name == "annotations" else file.parent)
    part = file.stem.removeprefix("instances_")
    names = [image.file_name for image in coco.images[:_TRIED]]
    places = [base / "images" / part, base / part, base / "images", base]
    return next((place for place in places if any(is_there(place / name) for name in names)), base)


def _samples(coco: Coco, file: Path, folder: Path, strict: bool) -> Iterator[Sample]:
    names = {category.id: category.name for category in coco.categories}
    known = {image.id for image in coco.images}
    boxes: dict[_Id, list[Box]] = defaultdict(list)
    stray: list[_Id] = []
    nameless: list[_Id] = []
    without: list[_Id] = []
    for at, each in enumerate(coco.annotations):
        corners = each.corners
        if each.image_id not in known:
            stray.append(each.image_id)
        elif each.category_id not in names:
            nameless.append(each.category_id)
        elif corners is None:
            without.append(each.image_id)
        elif corners[2] < corners[0] or corners[3] < corners[1]:
            raise DataError(
                f"annotations[{at}] of {file} has a box of negative size: {each.bbox}",
                file,
                "A box is [x, y, width, height]; correct it or take it out",
            )
        else:
            label = names[each.category_id]
            boxes[each.image_id].append(Box(label, *corners, score=each.score, difficult=each.iscrowd != 0))
    missing = []
    for image in coco.images:
        picture = folder / image.file_name.replace("\\", "/")
        if is_there(picture):
            yield boxed_sample(picture, boxes[image.id], _split_of(file))
        else:
            missing.append(image.file_name)
    _warn("%d boxes of %s are of pictures that it doesn't list (image_id %s) and are left out.", stray, file)
    _warn("%d boxes of %s are of classes that it doesn't list (category_id %s) and are left out.", nameless, file)
    _warn("%d annotations of %s have neither a box nor an outline (image_id %s) and are left out.", without, file)
    if missing:
        count = f"{len(missing):,} of {len(coco.images):,} pictures"
        tell_missing(f"{count} of {file} are missing: {first_few(missing)}", file, strict)


def _warn(message: str, ids: list[_Id], file: Path) -> None:
    if ids:
        logger.warning(message, len(ids), file, first_few(dict.fromkeys(ids)))


def write_coco(table: SampleTable, folder: Path) -> None:
    """Write ``annotations/instances_train.json`` and so on, or ``instances.json`` for a table without splits.

    Pictures are named by their path below ``images/train`` or wherever all of a split lie. Predicted boxes have a
    ``score``. Numbers of pictures and classes start at 1; all files have the same classes.

    Raises:
        DataError: a picture can't be read.
        XrayclsError: a file can't be written.
    """
    labels = sorted({box.label for sample in table for box in sample.boxes})
    numbers = {label: number for number, label in enumerate(labels, start=1)}
    for split in table.splits or (None,):
        part = table.split(split) if split else table
        file = f"instances_{split}.json" if split else "instances.json"
        with atomic_write(folder / "annotations" / file) as temporary:
            temporary.write_text(json.dumps(_as_coco(part, numbers, split), ensure_ascii=False), encoding="utf-8")


def _as_coco(part: SampleTable, numbers: dict[str, int], split: Split | None) -> dict[str, Any]:
    images: list[dict[str, Any]] = []
    annotations: list[dict[str, Any]] = []
    sizes = required_sizes(part)
    names = list(names_below_root(part))
    below = all(name.parts[0] == split for name in names)
    for number, (sample, name, (width, height)) in enumerate(zip(part, names, sizes, strict=True), start=1):
        file_name = name.relative_to(split).as_posix() if split and below else name.as_posix()
        images.append({"id": number, "file_name": file_name, "width": width, "height": height})
        for box in sample.boxes:
            annotations.append(_annotation(box, len(annotations) + 1, number, numbers[box.label]))
    categories = [{"id": number, "name": label, "supercategory": ""} for label, number in numbers.items()]
    return {"images": images, "annotations": annotations, "categories": categories}


def _annotation(box: Box, number: int, image: int, category: int) -> dict[str, Any]:
    width, height = box.right - box.left, box.bottom - box.top
    score = {} if box.score is None else {"score": box.score}
    return {
        "id": number,
        "image_id": image,
        "category_id": category,
        "bbox": [box.left, box.top, width, height],
        "area": width * height,
        "iscrowd": int(box.difficult),
        "segmentation": [],
        **score,
    }
