"""What is done to a classifier's probabilities after training: calibration on a site, kept beside the weights."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, cast

from xraycls.data.documents import read_json_object
from xraycls.data.files import atomic_write
from xraycls.errors import RunError
from xraycls.evaluation.cases import FloatArray
from xraycls.evaluation.recalibration import ProbabilityMap, mapped, mapped_threshold, parse_map
from xraycls.inference.exported import sha256_of

if TYPE_CHECKING:
    from xraycls.inference.classification import TrainedModel
    from xraycls.inference.exported_predictor import ExportedModel

logger = logging.getLogger(__name__)

FORMAT = 1
SUFFIX = ".calibration.json"
SEEN_SUFFIX = ".calibration.safetensors"

AnyModel = TypeVar("AnyModel", "TrainedModel", "ExportedModel")


@dataclass(frozen=True, slots=True)
class Adjustment:
    """A map for each output of a classifier.

    Attributes:
        maps: in the order of the outputs.
        said: what was done, for messages and tables, such as "calibrated on site.csv (platt)".
        described: the same as values of JSON.
        prevalence: of each output, that its probabilities stand for afterwards; None where that is as before.
    """

    maps: tuple[ProbabilityMap, ...]
    said: str
    described: Mapping[str, Any] = field(default_factory=dict)
    prevalence: tuple[float | None, ...] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Calibration:
    """How a classifier's probabilities were calibrated; a JSON file beside its weights.

    Attributes:
        classes: of the model, in the order of its outputs.
        method: by which maps were chosen.
        maps: of each output.
        data: that they were chosen on.
        images: of these with a known label.
        prevalence: of each output, the share of the images with a known label that show it.
        date: in ISO 8601.
        threshold: of two classes on the calibrated scale; None without one.
        thresholds: of findings on the calibrated scale; else None.
        threshold_method: by which thresholds were chosen anew; None where those of the weights were carried over.
    """

    classes: tuple[str, ...]
    method: str
    maps: tuple[ProbabilityMap, ...]
    data: str
    images: int
    prevalence: tuple[float | None, ...]
    date: str
    threshold: float | None = None
    thresholds: tuple[float, ...] | None = None
    threshold_method: str | None = None

    def described(self) -> dict[str, Any]:
        """The calibration as values of JSON."""
        return {
            "method": self.method,
            "data": self.data,
            "images": self.images,
            "date": self.date,
            "classes": list(self.classes),
            "prevalence": list(self.prevalence),
            "maps": [each.described() for each in self.maps],
            "threshold": self.threshold,
            "thresholds": None if self.thresholds is None else list(self.thresholds),
            "threshold_method": self.threshold_method,
        }

    @classmethod
    def parse(cls, values: Mapping[str, Any]) -> Calibration:
        """Returns what :meth:`described` described; raises ValueError, LookupError or TypeError for anything else."""
        classes, maps = tuple(map(str, values["classes"])), tuple(map(parse_map, values["maps"]))
        prevalence = tuple(None if each is None else float(each) for each in values["prevalence"])
        thresholds = None if values["thresholds"] is None else tuple(map(float, values["thresholds"]))
        if not len(classes) == len(maps) == len(prevalence) == len(thresholds or classes):
            raise ValueError("lists of different lengths")
        return cls(
            classes=classes,
            method=str(values["method"]),
            maps=maps,
            data=str(values["data"]),
            images=int(values["images"]),
            prevalence=prevalence,
            date=str(values["date"]),
            threshold=None if values["threshold"] is None else float(values["threshold"]),
            thresholds=thresholds,
            threshold_method=values["threshold_method"],
        )

    def adjustment(self) -> Adjustment:
        """Returns what it does to probabilities."""
        said = f"calibrated on {Path(self.data).name} ({self.method}, {self.images:,} images)"
        kept = ("method", "data", "images", "date", "threshold_method")
        described = self.described()
        prevalence = None if self.method == "temperature" else self.prevalence  # a temperature has no offset
        return Adjustment(self.maps, said, {"calibration": {name: described[name] for name in kept}}, prevalence)


def calibration_file(weights: Path) -> Path:
    """Where the calibration of weights or of an exported file lies: ``best.calibration.json`` beside its file."""
    return weights.with_suffix(SUFFIX)


def calibrated_with(weights: Path) -> Path:
    """Where the images lie that a calibration was chosen on, by content."""
    return weights.with_suffix(SEEN_SUFFIX)


def write_calibration(calibration: Calibration, weights: Path) -> Path:
    """Write a calibration beside its weights, whose checksum it keeps; returns the file."""
    path = calibration_file(weights)
    content = {"format": FORMAT, "weights": weights.name, "sha256": sha256_of(weights), **calibration.described()}
    with atomic_write(path) as temporary:
        temporary.write_text(json.dumps(content, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
    return path


def read_calibration(weights: Path) -> Calibration | None:
    """The calibration beside weights; None where there is none, or with a warning where it is of other weights.

    Raises:
        RunError: the file is damaged or of a newer version.
    """
    path = calibration_file(weights)
    if not path.is_file():
        return None
    try:
        values = read_json_object(path)
        if values["format"] > FORMAT:
            raise RunError(f"{path} was written by a newer xraycls", "Take the checkout of a newer version")
        found, of = Calibration.parse(values), values["sha256"]
    except (OSError, ArithmeticError, LookupError, TypeError, ValueError) as error:
        raise RunError(
            f"{path} is damaged ({error})", f"Calibrate again, or xraycls calibrate {weights} --remove"
        ) from error
    if of != sha256_of(weights):
        logger.warning("%s was made for other weights than %s now holds and is not used.", path, weights)
        return None
    return found


def with_calibration(model: AnyModel) -> AnyModel:
    """The model with the calibration beside its weights, where there is one, which is said.

    Raises:
        RunError: it is damaged, or of other classes.
    """
    found = read_calibration(Path(model.weights))
    if found is None:
        return model
    if found.classes != model.classes:
        raise RunError(f"{calibration_file(Path(model.weights))} is of other classes", "Calibrate again")
    adjustment = found.adjustment()
    logger.info("Probabilities of %s are %s.", model.weights, adjustment.said)
    return _with(model, adjustment, found.threshold, found.thresholds)


def adjusted(model: AnyModel, adjustment: Adjustment) -> AnyModel:
    """The model with its probabilities mapped, and its thresholds with them, so that it calls the same images."""
    threshold = None if model.threshold is None else mapped_threshold(model.threshold, adjustment.maps[-1])
    thresholds = None
    if model.thresholds is not None:
        pairs = zip(model.thresholds, adjustment.maps, strict=True)
        thresholds = tuple(mapped_threshold(each, map_) for each, map_ in pairs)
    return _with(model, adjustment, threshold, thresholds)


def _with(
    model: AnyModel, adjustment: Adjustment, threshold: float | None, thresholds: Sequence[float] | None
) -> AnyModel:
    changed: Any = {"threshold": threshold, "thresholds": None if thresholds is None else tuple(thresholds)}
    of: Any = model
    if hasattr(of, "file"):  # an exported model, whose thresholds are those of its file
        changed = {"file": replace(of.file, **changed)}
    return cast("AnyModel", replace(of, adjustments=(*of.adjustments, adjustment), **changed))


def adjusted_probabilities(
    probabilities: FloatArray, adjustments: Sequence[Adjustment], *, multi_label: bool
) -> FloatArray:
    """Probabilities [..., C] after all that is done to them, in order."""
    for each in adjustments:
        probabilities = mapped(probabilities, each.maps, multi_label=multi_label)
    return probabilities
