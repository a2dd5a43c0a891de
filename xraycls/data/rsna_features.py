"""The tables that the RSNA pneumonia U-Net was trained from: boxes and classes beside the facts of DICOM headers."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from pathlib import Path

from xraycls.data.dicom.header import Header, read_header
from xraycls.data.folder import image_files
from xraycls.data.formats.format import first_few
from xraycls.data.formats.rsna import DETAILS, IMAGES, LABELS, read_rsna
from xraycls.data.plain import from_plain, to_plain
from xraycls.data.processors import pool_size
from xraycls.data.records import header_of, read_records
from xraycls.data.rows import write_rows, written_box
from xraycls.data.shards import Shard, ShardDone, Shards, open_shard
from xraycls.errors import DataError, UsageError
from xraycls.types import Sample

logger = logging.getLogger(__name__)

COMMAND = "rsna-features"
TEST_IMAGES = "stage_2_test_images"
PREDICT_COLUMNS = ("patientId", "PatientSex", "PatientAge", "ViewPosition")
TRAIN_COLUMNS = (*PREDICT_COLUMNS, "x", "y", "width", "height", "Target", "class")

Progress = Callable[[int, int], None]

_OLDEST = 120  # years; RSNA's headers have ages up to 155
_THREADS = 16  # headers are small: their files are waited for
_CLASS_COLUMNS = {"patientId": ("patientId",), "class": ("class",)}


@dataclass(frozen=True, slots=True)
class RsnaSources:
    """Where the files of the challenge lie; None for what is absent.

    Attributes:
        images: the folder of the training images.
        labels: the table of boxes.
        classes: the table of detailed classes.
        test_images: the folder of the test images.
    """

    images: Path | None
    labels: Path | None
    classes: Path | None
    test_images: Path | None

    @classmethod
    def below(cls, root: Path) -> RsnaSources:
        """Those that a folder holds under the names that Kaggle gives them; raises DataError where there is none."""
        if not root.is_dir():
            raise DataError(f"There is no folder {root}", root)
        paths = (root / name for name in (IMAGES, LABELS, DETAILS, TEST_IMAGES))
        return cls(*(path if path.exists() else None for path in paths))


@dataclass(frozen=True, slots=True)
class RsnaFeatures:
    """What was written.

    Attributes:
        train: the table of training images; None without their folder.
        predict: the table of test images; None without their folder.
        images: whose headers stand in one of the tables.
        boxes: in the training table.
        unreadable: files whose headers couldn't be read, in neither table.
    """

    train: Path | None
    predict: Path | None
    images: int
    boxes: int
    unreadable: tuple[Path, ...]


def write_rsna_features(
    sources: RsnaSources, output: Path, *, merged: Shards | None = None, progress: Progress | None = None
) -> RsnaFeatures:
    """Write ``train.csv`` and ``predict.csv`` into a folder, for as much as the sources allow.

    ``train.csv`` has a row a box, and one with empty cells for an image without. Sex, age in whole years (empty above
    120) and view come from the headers; ``predict.csv`` has nothing else. An image is called by its name without
    suffix. Warnings count images without a label and labels without an image, which are left out.

    Args:
        sources: the files of the challenge.
        output: made when missing; older tables of this kind are replaced.
        merged: shards that have read the headers already; None reads them.
        progress: called with the number of headers read and their total.

    Raises:
        UsageError: no images at all, or training images without one of their tables.
        DataError: a table that can't be read or contradicts itself, an image without a class, or another table in the
            place of one of these.
        XrayclsError: the output can't be written.
    """
    train = output / "train.csv" if sources.images else None
    predict = output / "predict.csv" if sources.test_images else None
    for path, columns in ((train, TRAIN_COLUMNS), (predict, PREDICT_COLUMNS)):
        _require_replaceable(path, columns)
    labelled, test, paths = _images(sources)
    headers = _merged_headers(paths, merged) if merged else _headers(paths, progress)
    unreadable = tuple(path for path in paths if path not in headers)
    if unreadable:
        names = first_few(path.name for path in unreadable)
        logger.warning("%s of %s headers could not be read: %s", f"{len(unreadable):,}", f"{len(paths):,}", names)
    known = [(sample, name) for sample, name in labelled if sample.path in headers]
    rows = [row for sample, name in known for row in _rows(sample, name, headers[sample.path])]
    if train:
        write_rows(train, TRAIN_COLUMNS, rows)
    if predict:
        write_rows(predict, PREDICT_COLUMNS, (_of_header(path, headers[path]) for path in test if path in headers))
    return RsnaFeatures(train, predict, len(headers), sum(len(sample.boxes) for sample, _ in known), unreadable)


def shard_rsna_features(
    sources: RsnaSources, output: Path, shard: Shard, *, progress: Progress | None = None
) -> ShardDone:
    """Read the headers of one shard's images, for ``data merge``; arguments as of :func:`write_rsna_features`."""
    _, _, paths = _images(sources)
    settings = {name: None if path is None else str(path.resolve()) for name, path in asdict(sources).items()}
    with open_shard(output, shard, COMMAND, settings, [path.name for path in paths]) as part:
        own = [paths[index] for index in part.indices]
        headers = _headers(own, progress)
        part.results = [None if path not in headers else to_plain(headers[path]) for path in own]
    return ShardDone(output, shard, len(own), len(paths))


def _images(sources: RsnaSources) -> tuple[list[tuple[Sample, str]], list[Path], list[Path]]:
    """The training images with their classes, the test images, and all of both."""
    labelled = _labelled(sources) if sources.images else []
    test = list(image_files(sources.test_images)) if sources.test_images else []
    paths = [*(sample.path for sample, _ in labelled), *test]
    if not paths:
        raise UsageError("There are no images", f"Give a folder that holds {IMAGES}, or name it with --images")
    return labelled, test, paths


def _merged_headers(paths: Sequence[Path], merged: Shards) -> dict[Path, Header]:
    """The headers that the shards could read."""
    merged.require([path.name for path in paths])
    read = ((path, merged.result(index)) for index, path in enumerate(paths))
    return {path: from_plain(Header, header) for path, header in read if header is not None}


def _require_replaceable(path: Path | None, columns: Sequence[str]) -> None:
    if path is not None and path.exists() and tuple(header_of(path)) != tuple(columns):
        raise DataError(f"{path} is another table, and is not replaced", path, "Name another folder with --output")


def _labelled(sources: RsnaSources) -> list[tuple[Sample, str]]:
    """The training images with their boxes, each with the name of its class."""
    if sources.labels is None or sources.classes is None:
        flag, name = ("--labels", LABELS) if sources.labels is None else ("--classes", DETAILS)
        raise UsageError(f"The training images of {sources.images} need {name}", f"Name it with {flag}")
    names = _class_names(sources.classes)
    samples = read_rsna(sources.labels, images=sources.images).samples
    nameless = next((sample.path.stem for sample in samples if not names.get(sample.path.stem)), None)
    if nameless is not None:
        raise DataError(f"{sources.classes} has no class for {nameless}", sources.classes)
    return [(sample, names[sample.path.stem]) for sample in samples]


def _class_names(path: Path) -> dict[str, str]:
    """The class of every patient, whose row is repeated for each of its boxes."""
    names: dict[str, str] = {}
    for record in read_records(path, _CLASS_COLUMNS, required=_CLASS_COLUMNS):
        if names.setdefault(record["patientId"], record["class"]) != record["class"]:
            raise DataError(f"Line {record.line} of {path} gives {record['patientId']} another class", path)
    return names


def _headers(paths: Sequence[Path], progress: Progress | None) -> dict[Path, Header]:
    """The headers that can be read."""
    headers = {}
    with ThreadPoolExecutor(pool_size(_THREADS)) as pool:
        for done, (path, header) in enumerate(zip(paths, pool.map(_header, paths), strict=True), start=1):
            if header is not None:
                headers[path] = header
            if progress:
                progress(done, len(paths))
    return headers


def _header(path: Path) -> Header | None:
    try:
        return read_header(path)
    except DataError:
        return None


def _rows(sample: Sample, name: str, header: Header) -> list[tuple[str, ...]]:
    first = _of_header(sample.path, header)
    if not sample.boxes:
        return [(*first, "", "", "", "", "0", name)]
    return [(*first, *written_box(box), "1", name) for box in sample.boxes]


def _of_header(path: Path, header: Header) -> tuple[str, ...]:
    age = "" if header.age is None or header.age > _OLDEST else str(int(header.age))
    return path.stem, header.sex or "", age, header.view or ""
