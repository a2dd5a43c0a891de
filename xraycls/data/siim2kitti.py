"""The SIIM challenge as KITTI for TAO's detectors: square 8-bit PNGs, a label file each, and who is who.

It does what the converter of that name in older tutorials was meant to do, with its flags, folders and numbers.
"""

from __future__ import annotations

import hashlib
import logging
import random
import re
from collections.abc import Generator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, replace
from pathlib import Path

import cv2
from pydantic import BaseModel, ConfigDict, ValidationError

from xraycls.data.files import atomic_write, remove_leftovers
from xraycls.data.formats.format import first_few
from xraycls.data.formats.kitti import KittiObject, format_kitti
from xraycls.data.formats.siim import read_siim
from xraycls.data.lock import sole_writer
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors, one_thread_a_picture
from xraycls.data.siim_mapping import STATE, Numbered, append_to_journal, read_mapping, write_mapping
from xraycls.data.table import SampleTable
from xraycls.data.verify import Progress
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.types import Box, Sample

logger = logging.getLogger(__name__)

_LEAST, _MOST = 8, 8192  # pixels
_PLAIN = re.compile(r"\w[\w.-]{0,199}", re.ASCII)  # a name of a file that can't leave its folder


@dataclass(frozen=True, slots=True)
class Converted:
    """A conversion that is complete.

    Attributes:
        folder: where it lies.
        images: how many it holds.
        positives: those with a box.
        boxes: in all of them.
        written: images that this run wrote; the others were there.
        left_out: id of an image → why it could not be read.
    """

    folder: Path
    images: int
    positives: int
    boxes: int
    written: int
    left_out: dict[str, str]


class _State(BaseModel):
    """What makes two conversions the same; ``table`` is a hash of ids, studies and boxes."""

    model_config = ConfigDict(extra="forbid")

    table: str
    pixels: int
    seed: int


def siim2kitti(
    label: Path,
    train: Path,
    folder: Path,
    *,
    pixels: int = 256,
    seed: int = 0,
    threads: int | None = None,
    strict: bool = False,
    progress: Progress | None = None,
) -> Converted:
    """Write the pictures of ``train_image_level.csv`` as KITTI, or finish an earlier run of the same that was stopped.

    ``formatted/images/NNNNNN.png`` are grey levels as a viewer shows them, squeezed to a square;
    ``formatted/labels/NNNNNN.txt`` the boxes on that square, empty for a negative picture. Numbers run from 1 in an
    order that the seed draws, with a gap for a picture that can't be read. ``formatted/mapping.csv`` tells the id,
    study and original size behind each number, ``studies/<StudyInstanceUID>.txt`` the ids of a study.

    Args:
        label: the table of images, with boxes in pixels of the original.
        train: the folder of the DICOMs, with sub-folders.
        folder: of the result; absent, empty, or of the same conversion.
        pixels: side of the pictures.
        seed: of the order.
        threads: that decode; None for one a processor.
        strict: raise for a picture that is missing or can't be read instead of leaving it out.
        progress: told of (images done, images).

    Raises:
        UsageError: a size below 8 or above 8,192 pixels.
        DataError: the table can't be read, ``folder`` holds something else, or no picture can be read.
        LockedError: another process converts there.
        XrayclsError: the folder can't be written.
    """
    if not _LEAST <= pixels <= _MOST:
        raise UsageError(f"--px {pixels} is not between {_LEAST} and {_MOST}", "Detectors usually take 512")
    table = read_siim(label, images=train, strict=strict)
    _require_plain_names(table, label)
    samples = _numbered(table, seed)
    with sole_writer(folder, "choose another folder with --kf"):
        _claim(folder, _State(table=_digest(table), pixels=pixels, seed=seed))
        rows = {n: row for n, row in read_mapping(folder).items() if n in samples and _is_written(folder, n)}
        missing = {number: sample for number, sample in samples.items() if number not in rows}
        left_out: dict[str, str] = {}
        try:
            with closing(_convert(missing, folder, pixels, threads or available_processors())) as results:
                for number, result in results:
                    if isinstance(result, Numbered):
                        append_to_journal(folder, result)
                        rows[number] = result
                    elif strict:
                        raise result
                    else:
                        left_out[samples[number].path.stem] = result.message
                    if progress:
                        progress(len(rows) + len(left_out), len(samples))
            if not rows:
                raise DataError(f"No picture of {label} could be read, such as: {next(iter(left_out.values()))}", label)
            write_mapping(folder, rows.values())
        except OSError as error:
            raise XrayclsError(f"{folder} could not be written: {error.strerror or error}") from error
        _log_left_out(left_out, len(samples))
        boxes = [len(samples[number].boxes) for number in rows]
        positives = sum(count > 0 for count in boxes)
        return Converted(folder, len(rows), positives, sum(boxes), len(missing) - len(left_out), left_out)


def _numbered(table: SampleTable, seed: int) -> dict[int, Sample]:
    """The samples by number, from 1, in an order that depends on their names and the seed alone."""
    order = sorted(table, key=lambda sample: sample.path.stem)
    random.Random(seed).shuffle(order)
    return dict(enumerate(order, start=1))


def _convert(
    samples: Mapping[int, Sample], folder: Path, pixels: int, threads: int
) -> Generator[tuple[int, Numbered | DataError], None, None]:
    """Write the files of every sample; gives its row of the mapping, or why there is none."""
    with one_thread_a_picture(), ThreadPoolExecutor(threads, thread_name_prefix="xraycls-siim2kitti") as pool:
        futures = {number: pool.submit(_write, number, sample, folder, pixels) for number, sample in samples.items()}
        try:
            for number, future in futures.items():
                yield number, future.result()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)  # stopped in between, don't decode the rest


def _write(number: int, sample: Sample, folder: Path, pixels: int) -> Numbered | DataError:
    """Write one picture, then its labels: where these are, both are."""
    try:
        image = open_image(sample)
        grey = image.decode(1)
    except DataError as error:
        return error
    _, encoded = cv2.imencode(".png", cv2.resize(grey, (pixels, pixels), interpolation=cv2.INTER_AREA))
    picture, labels = _files(folder, number)
    with atomic_write(picture) as temporary:
        temporary.write_bytes(encoded.tobytes())
    scaled = (_scaled(box, pixels / image.width, pixels / image.height) for box in sample.boxes)
    with atomic_write(labels) as temporary:
        temporary.write_text(format_kitti(map(KittiObject.of, scaled)), encoding="ascii", newline="")
    return Numbered(number, sample.path.stem, sample.patient or "", image.width, image.height)


def _scaled(box: Box, across: float, down: float) -> Box:
    return replace(box, left=box.left * across, top=box.top * down, right=box.right * across, bottom=box.bottom * down)


def _files(folder: Path, number: int) -> tuple[Path, Path]:
    """The picture and the labels of a number."""
    formatted = folder / "formatted"
    return formatted / "images" / f"{number:06d}.png", formatted / "labels" / f"{number:06d}.txt"


def _is_written(folder: Path, number: int) -> bool:
    return all(path.is_file() for path in _files(folder, number))


def _digest(table: SampleTable) -> str:
    """A hash of all that the labels come from."""
    known = sorted((sample.path.stem, sample.patient, sample.boxes) for sample in table)
    return hashlib.sha256(repr(known).encode()).hexdigest()[:16]


def _require_plain_names(table: SampleTable, label: Path) -> None:
    """Studies become names of files."""
    wrong = next((s.patient for s in table if not _PLAIN.fullmatch(s.patient or "")), None)
    if wrong is not None:
        raise DataError(f"{label} has the StudyInstanceUID {wrong!r}, which can't name a file", label)


def _claim(folder: Path, state: _State) -> None:
    """Make the folder ours, or find that it is; raises DataError where it holds something else."""
    hint = "Choose another folder with --kf"
    if folder.exists() and not folder.is_dir():
        raise DataError(f"{folder} is a file", folder, hint)
    if any(folder.glob("[!.]*")):
        try:
            earlier = _State.model_validate_json((folder / STATE).read_bytes())
        except (OSError, ValidationError) as error:
            raise DataError(f"{folder} holds something else, and nothing is deleted", folder, hint) from error
        if earlier != state:
            same_table = "the same images" if earlier.table == state.table else "other images"
            raise DataError(
                f"{folder} holds {same_table} converted with --px {earlier.pixels} --seed {earlier.seed}", folder, hint
            )
        remove_leftovers(folder)
        return
    remove_leftovers(folder)  # of a run that was killed at its first file
    with atomic_write(folder / STATE) as temporary:
        temporary.write_text(state.model_dump_json(), encoding="utf-8")


def _log_left_out(left_out: dict[str, str], images: int) -> None:
    if left_out:
        named = first_few(left_out.values())
        logger.warning("%d of %d images could not be read and are left out: %s", len(left_out), images, named)
