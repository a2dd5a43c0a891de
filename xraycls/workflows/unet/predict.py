"""Boxes of new films by one or more trained U-Nets: pictures, annotations, the challenge's table, KITTI and COCO."""

from __future__ import annotations

import json
import logging
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from xraycls.data.files import atomic_write
from xraycls.data.lettering import write_picture
from xraycls.data.lock import sole_writer
from xraycls.data.open import open_image
from xraycls.data.processors import available_processors
from xraycls.data.rows import write_rows
from xraycls.data.source import read_table
from xraycls.data.table import SampleTable
from xraycls.errors import DataError, UsageError
from xraycls.explain.boxes import annotated
from xraycls.explain.overlay import overlay
from xraycls.inference.choose import open_detector
from xraycls.inference.detection import TrainedDetector
from xraycls.inference.exported import is_exported
from xraycls.inference.exported_predictor import ExportedModel, ExportedPredictor, read_detections
from xraycls.inference.fusion import weighted_boxes_fusion
from xraycls.inference.predictor import Predictor
from xraycls.inference.results import Result, overlapped
from xraycls.inference.runtimes import Arrays
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.views import Floats
from xraycls.models.detection.base import Detector, Raw
from xraycls.models.detection.map_detector import MapDetector
from xraycls.models.folding import fold_batch_norms
from xraycls.tao.detection_labels import detection_labels
from xraycls.types import Batch, Box, Detections, Sample
from xraycls.workflows.detection.evaluate import model_of
from xraycls.workflows.detection.inference import OutputPaths, output_paths

logger = logging.getLogger(__name__)

Annotations = Literal["plain", "original"]
Found = tuple[Detections, NDArray[np.float32]]
"""Boxes in pixels of the film, and the map of the network, 0–1 [h, w]."""

PICTURES, LABELS = "images", "labels"
ANNOTATIONS, SUBMISSION, COCO = "annotations.json", "submission.csv", "coco_results.json"
FUSED_IOU = 0.4
"""Above which the boxes of several models are one."""
_TRUTH, _FOUND = 3, 1  # colours of boxes: gold and red


@dataclass(frozen=True, slots=True)
class BoxPredictions:
    """What was found.

    Attributes:
        detections: by the name of the film, in pixels of the film.
        failures: why a film could not be read, by its name.
        classes: names of the labels.
        files: what was written.
    """

    detections: Mapping[str, Detections]
    failures: Mapping[str, str]
    classes: tuple[str, ...]
    files: tuple[Path, ...]


@dataclass(frozen=True, slots=True)
class _WithMaps:
    """A detector of maps whose output of a picture are its detections and its map."""

    trained: TrainedDetector
    classes: tuple[str, ...]
    recipe: ViewRecipe
    engine: str | None
    precision: str | None
    device: torch.device

    def launch(self, images: torch.Tensor) -> Raw:
        return self.trained.launch(images)

    def outputs(self, raw: Raw, batch: Batch, names: Sequence[str]) -> list[Found]:
        detector = self.trained.detector
        assert isinstance(detector, MapDetector)
        maps = detector.maps(raw).amax(dim=1).cpu().numpy()
        return list(zip(self.trained.outputs(raw, batch, names), maps, strict=True))


def predict_boxes(
    models: Path | str | Sequence[Path | str],
    images: Path | str | SampleTable,
    output: Path | str,
    *,
    labels: Path | str | None = None,
    annotations: Annotations = "plain",
    pictures: bool = True,
    threshold: float | None = None,
    key: str = "",
    batch_size: int = 8,
    runtime: str = "auto",
    device: str = "auto",
    precision: str = "auto",
    loader: str = "auto",
    threads: int | None = None,
    progress: Callable[[int, int], None] = lambda done, total: None,
) -> BoxPredictions:
    """Find boxes in films with one U-Net, or with several whose boxes are fused.

    The folder gets ``annotations.json``, ``submission.csv`` as the challenge takes it, ``labels/`` in KITTI's format,
    ``coco_results.json`` and a picture of every film in ``images/``. All boxes are in pixels of the film's file.

    Args:
        models: run folders, whose best epoch counts, or files; exported folders or files, too.
        images: a film, a folder of films, or the samples of a table, whose boxes are drawn, too.
        output: the folder.
        labels: data with the true boxes, in any format: they are drawn, too.
        annotations: "plain" lists boxes with names; "original" writes the challenge's string for every film.
        pictures: whether pictures are written.
        threshold: from which score on a box is reported, 0–1; None for what was chosen on validation, of several
            models the mean.
        key: of encrypted models.
        batch_size: films at a time.
        runtime: what computes exported models: "auto", "onnxruntime" or "openvino"; "torch" computes the others.
        device: as in training.
        precision: likewise; an exported model has its own.
        loader: likewise.
        threads: that read and write films; None for one a processor.
        progress: told how many films are done, of how many.

    Raises:
        UsageError: no model, a detector without maps, models of different classes, or a threshold out of range.
        DataError: there are no films.
    """
    listed = [models] if isinstance(models, str | Path) else list(models)
    folder = Path(output)
    if not listed:
        raise UsageError("There is no model", "Name a run folder or a file")
    if threshold is not None and not 0 <= threshold <= 1:
        raise UsageError(f"--threshold must lie between 0 and 1, not be {threshold:g}")
    opened = [_opened(Path(each), runtime, device, key) for each in listed]
    classes = opened[0].classes
    if other := next((each for each in opened if each.classes != classes), None):
        raise UsageError(
            f"{other.weights} finds {', '.join(other.classes)}, and {opened[0].weights} {', '.join(classes)}",
            "Only boxes of the same classes can be fused",
        )
    chosen = float(np.mean([each.reported or 0.0 for each in opened]))
    least = chosen if threshold is None else threshold
    with sole_writer(folder, "choose another folder with --output"):
        targets, truths = _targets(images, folder, labels)
        samples = [target.sample for target in targets]
        streams = [_stream(each, samples, batch_size, precision, loader, threads) for each in opened]
        write = _Writer(classes, least, folder, pictures, truths)
        work = zip(targets, _fused(streams), strict=True)
        detections, failures, highest = dict[str, Detections](), dict[str, str](), 0.0
        written = overlapped(work, write, threads=max(threads or available_processors(), 1))
        for done, (target, outcome) in enumerate(zip(targets, written, strict=True), start=1):
            name = target.label.with_suffix("").as_posix()
            if isinstance(outcome, str):
                failures[name] = outcome
            else:
                detections[name], best = outcome
                highest = max(highest, best)
            progress(done, len(targets))
        if threshold is not None and detections and not any(map(len, detections.values())):
            logger.warning("No box is reported: the highest score is %.4g, and --threshold %.4g", highest, threshold)
        files = _summaries(folder, detections, classes, annotations)
    return BoxPredictions(detections, failures, classes, (*files, *(folder / part for part in (LABELS, PICTURES))))


def prediction_string(detections: Detections) -> str:
    """Returns the challenge's string of a film: confidence, left, top, width and height of every box; "" for none.

    Example:
        >>> from xraycls import Detections
        >>> from xraycls.workflows.unet.predict import prediction_string
        >>> prediction_string(Detections.of([[10.2, 20.0, 110.4, 220.0]], [0], [0.875]))
        '0.875 10 20 100 200'
    """
    rows = zip(detections.scores.tolist(), np.round(detections.boxes).astype(int).tolist(), strict=True)
    return " ".join(f"{score:.4g} {x} {y} {right - x} {bottom - y}" for score, (x, y, right, bottom) in rows)


def _opened(path: Path, runtime: str, device: str, key: str) -> TrainedDetector | ExportedModel:
    """A U-Net, trained or exported."""
    model = path if is_exported(path) else model_of(path)
    opened = open_detector(model, key=key, runtime=runtime, device=device)
    if isinstance(opened, ExportedModel):
        has_maps = opened.file.form == "maps"
    else:
        has_maps = isinstance(opened.detector, MapDetector)
    if not has_maps:
        raise UsageError(f"{path} is a {opened.network}, which has no maps", "xraycls detector detect takes it")
    if isinstance(opened, TrainedDetector) and opened.device.type == "cpu":
        _quicken(opened.detector)
    return opened


def _quicken(detector: Detector) -> None:
    """Let a network that learns no more compute with fewer steps, to rounding the same."""
    blank = torch.zeros(1, 1, detector.config.height, detector.config.width, dtype=torch.uint8)
    fold_batch_norms(detector.net, lambda: detector(blank))
    detector.to(memory_format=torch.channels_last)


def _stream(
    model: TrainedDetector | ExportedModel,
    samples: Sequence[Sample],
    batch_size: int,
    precision: str,
    loader: str,
    threads: int | None,
) -> Iterator[Result[Found]]:
    """The boxes and the map that a model gives of every film."""
    if isinstance(model, ExportedModel):
        detections, mask = read_detections(model.file), next(iter(model.file.outputs))

        def read(outputs: Arrays, views: Floats) -> list[Found]:
            return list(zip(detections(outputs, views), outputs[mask].max(axis=1), strict=True))

        return ExportedPredictor(model=model, read=read, batch_size=batch_size, threads=threads)(samples)
    return Predictor(
        model=_WithMaps(model, model.classes, model.recipe, model.engine, model.precision, model.device),
        batch_size=batch_size,
        precision=precision,
        loader=loader,
        threads=threads,
    )(samples)


def _targets(
    images: Path | str | SampleTable, folder: Path, labels: Path | str | None
) -> tuple[list[OutputPaths], dict[Path, tuple[Box, ...]]]:
    """The films with the names of their results, and the true boxes by film where they are known."""
    if isinstance(images, SampleTable):
        stems = [Path(sample.member or sample.path.name).stem for sample in images]
        taken = Counter(stems)
        names = [stem if taken[stem] == 1 else f"{stem}-{row}" for row, stem in enumerate(stems)]
        targets = [
            OutputPaths(sample, Path(f"{name}.txt"), Path(f"{name}.png"))
            for sample, name in zip(images, names, strict=True)
        ]
        return targets, {sample.path.resolve(): sample.boxes for sample in images}
    source = Path(images)
    targets = output_paths(source, folder)
    known = () if labels is None else read_table(Path(labels), images=source if source.is_dir() else None)
    return targets, {sample.path.resolve(): sample.boxes for sample in known}


def _fused(streams: Sequence[Iterator[Result[Found]]]) -> Iterator[Result[Found]]:
    """The results of several models as one a film: boxes by weighted fusion, maps averaged at the size of the first."""
    for results in zip(*streams, strict=True):
        first = results[0]
        outputs = [result.output for result in results if result.output is not None]
        if len(outputs) < 2 or len(outputs) < len(results):
            yield first
            continue
        boxes = weighted_boxes_fusion([found for found, _ in outputs], iou_threshold=FUSED_IOU)
        maps = [m for _, m in outputs if m.shape == outputs[0][1].shape]
        yield Result(first.index, first.sample, (boxes, np.mean(maps, axis=0)), None, first.error)


@dataclass(frozen=True, slots=True)
class _Writer:
    classes: tuple[str, ...]
    threshold: float
    folder: Path
    pictures: bool
    truths: Mapping[Path, tuple[Box, ...]]

    def __call__(self, work: tuple[OutputPaths, Result[Found]]) -> tuple[Detections, float] | str:
        """Write the label file and the picture of a film.

        Returns its boxes and the highest score of any, reported or not; or why it could not be read.
        """
        target, result = work
        if result.output is None:
            return result.error or ""
        found, heat = result.output
        detections = found.above(self.threshold)
        if self.pictures:
            try:
                self._draw(target, detections, heat)
            except DataError as error:
                logger.warning("%s; it is left out.", error.message)
                return error.message
        names = [self.classes[label] for label in detections.labels]
        with atomic_write(self.folder / LABELS / target.label) as temporary:
            text = detection_labels(detections.boxes, names, detections.scores)
            temporary.write_text(text, encoding="utf-8", newline="\n")
        return detections, float(found.scores.max(initial=0.0))

    def _draw(self, target: OutputPaths, detections: Detections, heat: NDArray[np.float32]) -> None:
        image = open_image(target.sample)
        pixels = image.pixels()
        height, width = pixels.shape
        own = detections.mapped(np.array([[width / image.width, 0.0, 0.0], [0.0, height / image.height, 0.0]]))
        found = own.to_boxes(self.classes)
        truth = self.truths.get(target.sample.path.resolve(), ())
        boxes = (*found, *truth)
        picture = annotated(overlay(pixels, heat), boxes, [_FOUND] * len(found) + [_TRUTH] * len(truth))
        write_picture(picture, (self.folder / PICTURES / target.label).with_suffix(".png"))


def _summaries(
    folder: Path, detections: Mapping[str, Detections], classes: tuple[str, ...], annotations: Annotations
) -> tuple[Path, ...]:
    strings = {name: prediction_string(found) for name, found in detections.items()}
    described = {
        name: [
            {"class": b.label, "x": b.left, "y": b.top, "width": b.right - b.left, "height": b.bottom - b.top}
            | {"score": b.score}
            for b in found.to_boxes(classes)
        ]
        for name, found in detections.items()
    }
    coco = [
        {"image_id": name, "category_id": classes.index(str(box["class"])) + 1}
        | {"bbox": [box[side] for side in ("x", "y", "width", "height")], "score": box["score"]}
        for name, boxes in described.items()
        for box in boxes
    ]
    contents: dict[str, object] = {ANNOTATIONS: strings if annotations == "original" else described, COCO: coco}
    for name, content in contents.items():
        with atomic_write(folder / name) as temporary:
            temporary.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    write_rows(folder / SUBMISSION, ("patientId", "PredictionString"), strings.items())
    return tuple(folder / name for name in (ANNOTATIONS, SUBMISSION, COCO))
