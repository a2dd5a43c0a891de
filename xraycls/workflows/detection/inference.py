"""Find objects in pictures: KITTI labels and annotated copies of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.files import atomic_write
from xraycls.data.image import GreyImage
from xraycls.data.lettering import write_picture
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors
from xraycls.errors import DataError, RunError, UsageError
from xraycls.explain.boxes import annotated as drawn
from xraycls.loaders.recipes.ssd import SSDRecipe
from xraycls.loaders.render import render
from xraycls.loaders.views import Canvas
from xraycls.models.detection.base import Detector, DetectorConfig
from xraycls.models.detection.files import load_detector
from xraycls.tao.detection_labels import detection_labels
from xraycls.tao.programs import open_spec
from xraycls.tao.results import reported
from xraycls.tao.ssd import SSDSpec
from xraycls.tao.ssd_setup import suppression_setup
from xraycls.training.memory import explained_out_of_memory
from xraycls.training.precision import Precision, autocast, choose_device, choose_precision
from xraycls.types import Detections
from xraycls.workflows.detection.places import ResultPlace, result_places

logger = logging.getLogger(__name__)

ANNOTATED, LABELS = "images_annotated", "labels"
"""Folders of TAO's results."""


@dataclass(frozen=True, slots=True)
class Inference:
    """What was done.

    Attributes:
        images: pictures that were looked at.
        objects: found in them.
        failures: why a picture could not be read, by its :attr:`~xraycls.types.Sample.name`.
        folders: that were written to.
    """

    images: int
    objects: int
    failures: Mapping[str, str]
    folders: tuple[Path, ...] = ()


class _Seen(NamedTuple):
    """A picture that could be read."""

    place: ResultPlace
    input: GreyImage
    pixels: GreyImage | None
    width: int
    height: int
    matrix: npt.NDArray[np.float64]


def infer(
    model: Path,
    images: Path,
    results: Path | None = None,
    *,
    annotated: Path | None = None,
    labels: Path | None = None,
    spec: Path | None = None,
    threshold: float = 0.3,
    key: str = "",
    batch_size: int = 8,
    device: str = "auto",
    precision: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inference:
    """Look for objects in pictures and write what was found, as TAO's ``ssd inference`` does.

    Every picture gets a KITTI label file, empty when nothing is found, and a copy with frames at its own size. Pictures
    in folders below the first keep their folder. The network sees the evaluation view of its training, the whole
    picture squeezed onto its input with antialiasing; TAO's inference resizes with a Lanczos filter instead, so scores
    can differ a little from what it would say.

    Args:
        model: a detector's file, as :func:`~xraycls.models.detection.files.find_model` takes it.
        images: a picture, or a folder; all formats that can be read, DICOM included.
        results: gets the folders ``images_annotated`` and ``labels``, and a ``status.json``.
        annotated: folder of the annotated pictures, instead of that in the results; DICOM becomes PNG.
        labels: folder of the label files, instead of that in the results.
        spec: whose ``nms_config`` counts instead of that of the training.
        threshold: what an object must score, 0–1 exclusive.
        key: that the model was saved with.
        batch_size: pictures at a time.
        device: as in training.
        precision: likewise.
        threads: that read and write pictures; None for one a processor.
        progress: told how many pictures are done, of how many.

    Raises:
        UsageError: a threshold out of range, no folder to write to, or a wrong key.
        RunError: no such model.
        SpecError: the spec isn't one of SSD, or has a mistake.
        DataError: there are no pictures.
        XrayclsError: a file can't be written.
        TrainingError: out of memory.
    """
    if not 0 < threshold < 1:
        raise UsageError(f"--threshold must lie between 0 and 1, not be {threshold:g}")
    if results:
        annotated, labels = annotated or results / ANNOTATED, labels or results / LABELS
    _check_folders(images, annotated, labels)
    with reported(results, "SSD inference"):
        on = choose_device(device)
        detector, _ = load_detector(model, key=key)
        if spec:
            detector.config = replace(detector.config, suppression=suppression_setup(open_spec(spec, SSDSpec)))
        look = _Looker(detector.to(on), choose_precision(precision, on), threshold)
        writer = _Writer(detector.config.classes, annotated, labels)
        places = result_places(images, annotated)
        objects, done, failures = 0, 0, dict[str, str]()
        hint = f"Try --batch-size {max(batch_size // 2, 1)}"
        with ThreadPoolExecutor(threads or available_processors()) as pool, explained_out_of_memory(hint, batch_size):
            for batch in _batches(places, batch_size):
                read = list(pool.map(partial(_seen, plan=detector.config, whole=annotated is not None), batch))
                told = zip(batch, read, strict=True)
                failures |= {place.sample.name: why for place, why in told if isinstance(why, str)}
                seen = [each for each in read if isinstance(each, _Seen)]
                found = look(seen)
                list(pool.map(writer, seen, found))
                objects += sum(len(each) for each in found)
                done += len(batch)
                progress(done, len(places))
    folders = tuple(folder for folder in (labels, annotated) if folder)
    return Inference(len(places) - len(failures), objects, failures, folders)


def _check_folders(images: Path, annotated: Path | None, labels: Path | None) -> None:
    if not (annotated or labels):
        raise UsageError("Nothing says where the results go", "Give a folder with -r")
    source = images if images.is_dir() else images.parent
    if annotated and annotated.resolve() == source.resolve():
        raise UsageError(f"The annotated pictures would take the place of those in {source}", "Give another folder")


@dataclass(frozen=True, slots=True)
class _Looker:
    """A detector at work."""

    detector: Detector
    precision: Precision
    threshold: float

    @torch.inference_mode()
    def __call__(self, seen: list[_Seen]) -> list[Detections]:
        if not seen:
            return []
        device = self.detector.mean.device
        images = torch.from_numpy(np.stack([each.input for each in seen])[:, None]).to(device)
        with autocast(device, self.precision):
            found = self.detector.detect(self.detector(images))
        return [self._checked(each, what.above(self.threshold)) for each, what in zip(seen, found, strict=True)]

    def _checked(self, seen: _Seen, found: Detections) -> Detections:
        if not np.isfinite(found.boxes).all():
            raise RunError(
                f"The model gives boxes that aren't numbers for {seen.place.sample.name}",
                "Its weights are broken or the precision too low; try --precision fp32",
            )
        return found.mapped(seen.matrix)


def _seen(place: ResultPlace, plan: DetectorConfig, whole: bool) -> _Seen | str:
    """A picture as the network sees it and, where it is to be annotated, as it is; or why it can't be read."""
    canvas = Canvas(plan.height, plan.width)
    try:
        image = open_image(place.sample)
        view = SSDRecipe(canvas).evaluation_views((image.width, image.height))[0]
        pixels = image.pixels() if whole else None
        return _Seen(place, render(image, view, canvas), pixels, image.width, image.height, view.matrix)
    except DataError as error:
        logger.warning("%s; it is left out.", error.message)
        return error.message


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes what was found; a folder that is None gets nothing."""

    classes: Sequence[str]
    annotated: Path | None
    labels: Path | None

    def __call__(self, seen: _Seen, found: Detections) -> None:
        names = [self.classes[label] for label in found.labels]
        if self.labels:
            text = detection_labels(found.boxes, names, found.scores)
            with atomic_write(self.labels / seen.place.label) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
        if self.annotated and seen.pixels is not None:
            # A prepared picture was stored smaller than its source, which boxes belong to.
            height, width = seen.pixels.shape
            own = found.mapped(np.array([[width / seen.width, 0.0, 0.0], [0.0, height / seen.height, 0.0]]))
            # TAO's SSD counts the background as well, so its first class has the second colour.
            picture = drawn(seen.pixels, own.to_boxes(self.classes), [label + 1 for label in found.labels.tolist()])
            write_picture(picture, self.annotated / seen.place.picture)


def _batches(places: Sequence[ResultPlace], size: int) -> Iterator[Sequence[ResultPlace]]:
    return (places[start : start + size] for start in range(0, len(places), size))
