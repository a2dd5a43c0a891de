"""Folds of images to TFRecord files."""

from __future__ import annotations

import json
import logging
import re
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.data.formats.kitti import KittiObject
from xraycls.data.tfrecord import encode_example, write_index, write_tfrecord
from xraycls.data.tfrecord.example import Example, Feature
from xraycls.errors import DataError
from xraycls.tao.dataset_convert.classes import ClassNumbers
from xraycls.tao.dataset_convert.folds import shard_name, shards
from xraycls.tao.dataset_convert.frame import Dataset, Frame, Log
from xraycls.tao.dataset_convert.sample_modifier import Modifier

logger = logging.getLogger(__name__)

_FLOATS = {
    "truncation": "truncation",
    "observation_angle": "alpha",
    "world_bbox_h": "height",
    "world_bbox_w": "width",
    "world_bbox_l": "length",
    "world_bbox_x": "x",
    "world_bbox_y": "y",
    "world_bbox_z": "z",
    "world_bbox_rot_y": "rotation",
}
_CORNERS = {"x1": "left", "y1": "top", "x2": "right", "y2": "bottom"}


@dataclass(frozen=True, slots=True)
class Shard:
    """A file to write: where, and the images in it."""

    path: Path
    fold: int
    number: int
    frames: Sequence[Frame]


def planned_shards(dataset: Dataset, output: Path) -> list[Shard]:
    """The files of a data set. A fold without images has none; the others keep their numbers.

    Raises:
        DataError: there are files of a conversion with other numbers, which a loader's ``*`` would read as well.
    """
    planned = []
    for fold, (frames, count) in enumerate(zip(dataset.folds, dataset.shards, strict=True)):
        if not frames:
            logger.warning(
                "Fold %d has no images, so no file is written for it; the others keep their numbers "
                "(TAO's converter would move them up).",
                fold,
            )
            continue
        for number, part in enumerate(shards(frames, count)):
            name = shard_name(output.name, fold, dataset.count, number, count)
            planned.append(Shard(output.with_name(name), fold, number, part))
    _refuse_leftovers(output, {shard.path.name for shard in planned})
    return planned


def _refuse_leftovers(output: Path, names: set[str]) -> None:
    ours = re.compile(rf"(idx-)?({re.escape(output.name)}(-fold-\d{{3,}}-of-\d{{3,}})?(-shard-\d{{5,}}-of-\d{{5,}})?)")
    there = output.parent.iterdir() if output.parent.is_dir() else ()
    old = sorted(file for file in there if (m := ours.fullmatch(file.name)) and m[2] not in names and file.is_file())
    if old:
        raise DataError(
            f"{output.parent} holds {len(old)} files of another conversion named {output.name}, such as {old[0].name}",
            old[0],
            f"Remove {output.name}-* there or choose another -o: a loader would read both",
        )


@dataclass
class Writer:
    """Writes shards, and keeps count of what went into them.

    Attributes:
        modifier: says how often each image is written.
        classes: for records of SSD; None writes class names.
        log: called for every shard.
        names: classes in the records by class of the annotations, as they come.
        refused: boxes without area, as [x1, y1, x2, y2] in whole pixels, by what the annotations call them.
        unmapped: objects whose class has no number.
        records: written, by fold.
    """

    modifier: Modifier
    classes: ClassNumbers | None
    log: Log
    names: dict[str, str] = field(default_factory=dict)
    refused: dict[str, list[int]] = field(default_factory=dict)
    unmapped: Counter[str] = field(default_factory=Counter)
    records: Counter[int] = field(default_factory=Counter)

    def write(self, shard: Shard) -> Counter[str]:
        """Write one file, with its index if it is for SSD; gives the number of objects by class.

        Raises:
            DataError: an image that can't be read.
            XrayclsError: the file can't be written.
        """
        self.log(f"Writing partition {shard.fold}, shard {shard.number}", {})
        counts: Counter[str] = Counter()
        self.records[shard.fold] += write_tfrecord(shard.path, self._records(shard, counts))
        if self.classes is not None:
            write_index(shard.path)
        else:
            shard.path.with_name(f"idx-{shard.path.name}").unlink(missing_ok=True)
        return counts

    def _records(self, shard: Shard, counts: Counter[str]) -> Iterator[bytes]:
        for frame in shard.frames:
            objects = self._kept(frame)
            labels = [each.name.lower() for each in objects]
            times = self.modifier.times(labels, shard.fold)
            if not times:
                continue
            if self.classes is None:
                example = plain_example(frame, objects)
            else:
                example = dali_example(frame, objects, self.classes.ids)
                labels = [self.classes.names[self.classes.ids[label] - 1] for label in labels]
            record = encode_example(example)
            for _ in range(times):
                counts.update(labels)
                yield record

    def _kept(self, frame: Frame) -> list[KittiObject]:
        """The objects that a record holds: with an area in whole pixels, and with a number if it needs one."""
        kept = []
        for each, key in zip(frame.objects, frame.keys, strict=True):
            x1, y1, x2, y2 = map(int, (each.left, each.top, each.right, each.bottom))
            if not (x1 < x2 and y1 < y2):
                self.refused[key] = [x1, y1, x2, y2]
                logger.debug("Object %s has no area: x1 = %d, x2 = %d, y1 = %d, y2 = %d.", key, x1, x2, y1, y2)
                continue
            label = each.name.lower()
            self.names[each.name] = label
            if self.classes is not None and label not in self.classes.ids:
                self.unmapped[label] += 1
                continue
            kept.append(each)
        return kept

    def write_refused(self, output: Path) -> Path | None:
        """Write the boxes without area to ``<output>_warning.json``, or remove such a file of an earlier conversion."""
        path = output.with_name(f"{output.name}_warning.json")
        if not self.refused:
            path.unlink(missing_ok=True)
            return None
        with atomic_write(path) as temporary:
            temporary.write_text(json.dumps(self.refused, indent=2), encoding="utf-8", newline="\n")
        return path


def plain_example(frame: Frame, objects: Sequence[KittiObject]) -> Example:
    """A record for DetectNet_v2, YOLO and Faster R-CNN: pixels, and class names in small letters."""
    classes: Feature = [each.name.lower().encode() for each in objects]
    return _common(frame, objects, (1, 1)) | {"target/object_class": classes}


def dali_example(frame: Frame, objects: Sequence[KittiObject], ids: Mapping[str, int]) -> Example:
    """A record for SSD on DALI: the image file itself, boxes as shares of width and height, and class numbers.

    Raises:
        DataError: the image can't be read.
    """
    numbers = np.array([ids[each.name.lower()] for each in objects], np.float32)
    return _common(frame, objects, (frame.width, frame.height)) | {
        "frame/encoded": [_bytes(frame.path)],
        "target/object_class_id": numbers,
    }


def _common(frame: Frame, objects: Sequence[KittiObject], size: tuple[int, int]) -> dict[str, Feature]:
    features: dict[str, Feature] = {
        "frame/id": [frame.id.encode("utf-8", "surrogateescape")],
        "frame/height": np.array([frame.height], np.int64),
        "frame/width": np.array([frame.width], np.int64),
        "target/occlusion": np.array([int(each.occlusion) for each in objects], np.int64),
    }
    for name, attribute in _FLOATS.items():
        features[f"target/{name}"] = np.array([getattr(each, attribute) for each in objects], np.float32)
    for name, attribute in _CORNERS.items():
        values = [getattr(each, attribute) / size[name[0] == "y"] for each in objects]
        features[f"target/coordinates_{name}"] = np.array(values, np.float32)
    return features


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise DataError(f"{path} could not be read: {error.strerror}", path) from error
