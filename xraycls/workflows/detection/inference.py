"""Find objects in pictures: KITTI labels and annotated copies of them."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from xraycls.data.files import atomic_write
from xraycls.data.folder import IMAGE_SUFFIXES
from xraycls.data.lettering import write_picture
from xraycls.data.lock import sole_writer
from xraycls.data.open import open_image
from xraycls.data.pictures import list_images
from xraycls.data.processors import available_processors
from xraycls.errors import DataError, UsageError
from xraycls.explain.boxes import annotated as drawn
from xraycls.inference.choose import check_runtime, predictor_of_detector
from xraycls.inference.detection import TrainedDetector
from xraycls.inference.exported import is_exported
from xraycls.inference.exported_predictor import ExportedModel, load_exported
from xraycls.inference.load import load_detector_model
from xraycls.inference.results import Result, overlapped
from xraycls.models.detection.base import DetectorConfig
from xraycls.tao.detection_labels import detection_labels
from xraycls.tao.mounts import Mounts
from xraycls.tao.networks import is_network, network_of
from xraycls.tao.networks.base import InferencePlan, TaoNetwork
from xraycls.tao.programs import network_of_spec, open_spec
from xraycls.tao.results import reported
from xraycls.training.precision import choose_device
from xraycls.types import Detections, Sample
from xraycls.workflows.detection.spec import config_of_spec
from xraycls.workflows.detection.start import check_network

logger = logging.getLogger(__name__)

_WRITTEN = frozenset({".jpg", ".jpeg", ".jpe", ".png", ".bmp", ".tif", ".tiff", ".webp"})  # others become PNG

ANNOTATED, LABELS = "images_annotated", "labels"
"""Folders of TAO's results."""
_REPORTED = 0.3  # score from which detections of networks count that keep none


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


def infer(
    model: Path,
    images: Path,
    results: Path | None = None,
    *,
    annotated: Path | None = None,
    labels: Path | None = None,
    spec: Path | None = None,
    threshold: float | None = None,
    captions: bool = True,
    key: str = "",
    batch_size: int = 8,
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    runtime: str = "auto",
    title: str = "SSD",
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> Inference:
    """Look for objects in pictures and write what was found, as TAO's ``ssd inference`` does.

    Every picture gets a KITTI label file, empty when nothing is found, and a copy with frames at its own size. Pictures
    in folders below the first keep their folder. The network sees the evaluation view of its training, the whole
    picture squeezed onto its input with antialiasing; TAO's inference resizes with a Lanczos filter instead, so scores
    can differ a little from what it would say.

    Args:
        model: a detector's file, as :func:`~xraycls.models.files.find_model` takes it, or an exported folder or file.
        images: a picture, or a folder; all formats that can be read, DICOM included.
        results: gets the folders ``images_annotated`` and ``labels``, and a ``status.json``.
        annotated: folder of the annotated pictures, instead of that in the results; DICOM becomes PNG.
        labels: folder of the label files, instead of that in the results.
        spec: whose suppression (and proposals) count instead of those of the training.
        threshold: what an object must score, 0–1 exclusive; None for what was chosen on validation, else 0.3.
        captions: whether class and score stand at the boxes of annotated pictures.
        key: that the model was saved with.
        batch_size: pictures at a time.
        device: as in training.
        precision: likewise.
        loader: likewise.
        threads: that read and write pictures; None for one a processor.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; all but the first two of exported models.
        title: of the network, in the status file.
        progress: told how many pictures are done, of how many.

    Raises:
        UsageError: a threshold out of range, no folder to write to, or a wrong key.
        RunError: no such model.
        SpecError: the spec isn't one of SSD, or has a mistake.
        DataError: there are no pictures.
        XrayclsError: a file can't be written.
        TrainingError: out of memory.
    """
    if threshold is not None and not 0 < threshold < 1:
        raise UsageError(f"--threshold must lie between 0 and 1, not be {threshold:g}")
    if results:
        annotated, labels = annotated or results / ANNOTATED, labels or results / LABELS
    _check_folders(images, annotated, labels)
    with ExitStack() as stack:
        stack.enter_context(reported(results, f"{title} inference"))
        for folder in dict.fromkeys(filter(None, (annotated, labels))):
            stack.enter_context(sole_writer(folder, "choose another folder for the results"))
        trained = _opened(model, spec, key, device, runtime)
        targets = output_paths(images, annotated)
        predictor = predictor_of_detector(
            trained, batch_size=batch_size, precision=precision, loader=loader, threads=threads
        )
        decimals = network_of(trained.network).decimals if is_network(trained.network) else None
        reported_from = trained.reported if threshold is None else threshold
        least = _REPORTED if reported_from is None else reported_from
        write = _Writer(trained.classes, least, annotated, labels, captions, decimals)
        pairs = zip(targets, predictor([target.sample for target in targets]), strict=True)
        objects, failures = 0, dict[str, str]()
        written = overlapped(pairs, write, threads=max(threads or available_processors(), 1))
        for done, (target, outcome) in enumerate(zip(targets, written, strict=True), start=1):
            if isinstance(outcome, str):
                failures[target.sample.name] = outcome
            else:
                objects += outcome
            progress(done, len(targets))
    folders = tuple(folder for folder in (labels, annotated) if folder)
    return Inference(len(targets) - len(failures), objects, failures, folders)


def plan_of(network: TaoNetwork, spec: Path | None, mounts: Mounts) -> tuple[InferencePlan, str]:
    """Returns what a spec says of inference, and the key of its models; what it leaves open where there is none.

    Raises:
        SpecError: the spec has a mistake.
    """
    if spec is None or network.inference is None:
        return InferencePlan(), ""
    opened = open_spec(spec, network.spec)
    return network.inference(opened, mounts), opened.config.enc_key


def _opened(model: Path, spec: Path | None, key: str, device: str, runtime: str) -> TrainedDetector | ExportedModel:
    """A detector with what a spec says of predictions; an exported one keeps to what it was exported with."""
    if is_exported(model):
        exported = load_exported(model, "detector", device=device, runtime=runtime)
        if spec:
            check_network(network_of_spec(spec), exported.network, model)
            logger.info("%s suppresses by the rules that it was exported with, not by those of the spec.", model)
        return exported
    check_runtime(model, runtime)
    described = partial(config_of_spec, spec) if spec else None
    trained = load_detector_model(model, choose_device(device), key=key, config=described)
    if spec:
        trained.detector.config = _configured(spec, trained.detector.config, model)
    return trained


def _configured(spec: Path, config: Any, model: Path) -> DetectorConfig:
    """The configuration of a detector with what a spec says of predictions."""
    network = network_of_spec(spec)
    check_network(network, config.network, model)
    if network.suppression is None:
        raise UsageError(f"Specs of {network.title} aren't read for this yet", "Leave out the spec")
    opened = open_spec(spec, network.spec)
    changes: dict[str, Any] = {"suppression": network.suppression(opened)}
    if network.proposals:
        changes["proposals"] = network.proposals(opened, "inference")
    configured: DetectorConfig = replace(config, **changes)
    return configured


def _check_folders(images: Path, annotated: Path | None, labels: Path | None) -> None:
    if not (annotated or labels):
        raise UsageError("Nothing says where the results go", "Give a folder with -r")
    source = images if images.is_dir() else images.parent
    if annotated and annotated.resolve() == source.resolve():
        raise UsageError(f"The annotated pictures would take the place of those in {source}", "Give another folder")


@dataclass(frozen=True, slots=True)
class _Writer:
    """Writes the detections of a picture; a folder that is None gets nothing."""

    classes: Sequence[str]
    threshold: float
    annotated: Path | None
    labels: Path | None
    captions: bool
    decimals: tuple[int, int] | None

    def __call__(self, work: tuple[OutputPaths, Result[Detections]]) -> int | str:
        """Returns the number of objects, or why the picture could not be read."""
        target, result = work
        if result.output is None:
            return result.error or ""
        detections = result.output.above(self.threshold)
        try:
            if self.annotated:
                self._annotate(target, detections, self.annotated)
        except DataError as error:
            logger.warning("%s; it is left out.", error.message)
            return error.message
        if self.labels:
            names = [self.classes[label] for label in detections.labels]
            text = detection_labels(detections.boxes, names, detections.scores, self.decimals)
            with atomic_write(self.labels / target.label) as temporary:
                temporary.write_text(text, encoding="utf-8", newline="\n")
        return len(detections)

    def _annotate(self, target: OutputPaths, detections: Detections, folder: Path) -> None:
        image = open_image(target.sample)
        pixels = image.pixels()
        # A prepared picture was stored smaller than its source, which boxes belong to.
        height, width = pixels.shape
        own = detections.mapped(np.array([[width / image.width, 0.0, 0.0], [0.0, height / image.height, 0.0]]))
        # TAO's SSD counts the background as well, so its first class has the second colour.
        ids = [label + 1 for label in detections.labels.tolist()]
        picture = drawn(pixels, own.to_boxes(self.classes), ids, captions=self.captions)
        write_picture(picture, folder / target.picture)


@dataclass(frozen=True, slots=True)
class OutputPaths:
    """Where the results of a picture go, below their folders.

    Attributes:
        sample: the picture.
        label: its label file.
        picture: its annotated copy, in the same format where that can be written, else PNG.
    """

    sample: Sample
    label: Path
    picture: Path


def output_paths(images: Path, written: Path | None = None) -> list[OutputPaths]:
    """All pictures of a folder, or the one picture, with names for their results that no two of them share.

    Pictures in folders below the given one keep their folder.

    Args:
        images: the folder or the picture.
        written: a folder of results, whose pictures of earlier runs don't count where it lies in ``images``.

    Raises:
        DataError: there is no such folder or file, or no picture in it.
    """
    if not images.exists():
        raise DataError(f"There is no file or folder {images}", images)
    samples = list_images([images])
    if written and images.resolve() in written.resolve().parents:
        samples = [sample for sample in samples if written.resolve() not in sample.path.resolve().parents]
        if not samples:
            raise DataError(f"There are no images in {images} but results in {written}", images)
    taken: set[Path] = set()
    targets = []
    for sample in samples:
        name = _name(sample, images)
        # DICOM files from a hospital have names such as 1.2.840.113619.2, without a suffix.
        stem = name.with_suffix("") if name.suffix.lower() in IMAGE_SUFFIXES else name
        if stem in taken:  # a.jpg beside a.png
            stem = name
            logger.warning("%s shares its name with another picture: its label file is %s.txt.", sample.name, stem)
        taken.add(stem)
        suffix = name.suffix if name.suffix.lower() in _WRITTEN else ".png"
        targets.append(OutputPaths(sample, Path(f"{stem}.txt"), Path(f"{stem}{suffix}")))
    return targets


def _name(sample: Sample, images: Path) -> Path:
    """The name of a picture below the folder that was given."""
    if sample.member is not None:
        return Path(sample.member)
    return sample.path.relative_to(images) if images.is_dir() else Path(sample.path.name)
