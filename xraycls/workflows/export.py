"""Export a trained model as an ONNX file that was compared with it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xraycls.data.box_sources import read_boxes
from xraycls.data.open import open_content, open_image
from xraycls.data.phantom import draw_radiograph
from xraycls.errors import DataError, UsageError, XrayclsError, unknown
from xraycls.export.deepstream import write_deepstream
from xraycls.export.engine import build_engine
from xraycls.export.folder import (
    LABELS,
    Exported,
    Input,
    Source,
    check_input,
    export_file,
    export_in_8_bits,
    export_u8s8,
    input_of_frames,
    note_in_listing,
    remove_file,
)
from xraycls.export.graph import PRECISIONS
from xraycls.export.quantized import RANGES, quantized_copy, ranges_of, write_ranges
from xraycls.export.ranges import METHODS
from xraycls.export.triton import BACKENDS, Backend, write_repository
from xraycls.inference.adjust import calibration_file, read_calibration, write_calibration
from xraycls.inference.classification import TrainedModel
from xraycls.inference.inputs import samples_of
from xraycls.inference.load import load_model
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Suppression
from xraycls.models.quantization import plan_of, unquantized
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder
from xraycls.types import Sample
from xraycls.workflows.calibration import COUNT, calibration_pictures, samples_to_calibrate
from xraycls.workflows.run_data import run_table
from xraycls.workflows.validation import Validation

if TYPE_CHECKING:
    from xraycls.inference.inputs import Picture

logger = logging.getLogger(__name__)

IN_8_BITS = ("int8", "u8s8")
"""For TensorRT and OpenVINO, and for onnxruntime on CPUs."""

_PICTURES = 5  # that a file is compared with torch on
_DRAWN = 320  # pixels across


def export_model(
    model: str | Path,
    output: str | Path,
    *,
    form: str | None = None,
    precision: str = "fp32",
    input: Input = "uint8",  # noqa: A002 (the name of the flag)
    images: Picture | Iterable[Picture] | None = None,
    key: str = "",
    suppression: Suppression | None = None,
    calibration: Path | str | None = None,
    calibration_images: int = COUNT,
    calibration_method: str | None = None,
    max_drop: float | None = None,
    deepstream: bool = False,
) -> Exported:
    """Export a classifier or a detector, pruned ones too, and compare what was written with it.

    The folder gets the ONNX file, ``labels.txt`` and ``export.json``; exports of the same model in other forms and
    precisions may share it. The input is grey levels 0–255 at the size of the network, the normalisation is within.

    In 8 bits two files are written, the same network in fp32 beside it. ``int8`` is for TensorRT and OpenVINO, with a
    calibration cache for TensorRT up to 10; ``u8s8`` is for onnxruntime on CPUs.

    Args:
        model: a run folder or a file of weights; of a classifier also its name, as :func:`xraycls.load_model`.
        output: the folder.
        form: of a detector "nms", "heads", "tao" or "trt", of a classifier "logits" or "probabilities", of a U-Net
            "maps"; None for the first.
        precision: "fp32", "fp16", "bf16", "int8" or "u8s8", of the network within; inputs and outputs don't depend on
            it.
        input: "uint8" or "float" for grey levels; "bgr" for float32 levels of blue, green and red, of a detector with
            a mean for each.
        images: pictures to compare on; None takes some of the run's validation split, or drawn ones where they aren't
            there.
        key: of an encrypted detector; the exported file is not encrypted.
        suppression: which predicted boxes become detections, instead of the detector's own.
        calibration: data whose pictures 8-bit ranges are chosen on, its training split where it has splits; None takes
            the training split of the run, and of a model that was trained with quantisation the ranges that it has.
        calibration_images: how many of them; fewer are an error.
        calibration_method: "entropy", "percentile" or "max"; None for the first, and in "u8s8" for "max".
        deepstream: take the form and the input that DeepStream reads where nothing else is said: "tao" or
            "probabilities", and "bgr" or, of networks of grey pictures, "float".
        max_drop: how much AUROC or mAP on the run's validation images may fall in 8 bits, 0–1; None for any amount.

    Raises:
        RunError: no such model.
        UsageError: no such form, precision or method; too few pictures to calibrate with, or some of the test split.
        MissingExtra: onnx or onnxruntime isn't installed.
        XrayclsError: the network can't be exported, or the file doesn't agree with it, or it falls by more than
            ``max_drop``; nothing is left behind.

    Example:
        >>> import xraycls
        >>> done = xraycls.export_model("runs/first", "exported")
        >>> done.path.as_posix(), done.file.outputs["logits"]
        ('exported/model.onnx', ['batch', 2])
        >>> all(each.passed for each in done.parity)
        True
    """
    _check(precision, calibration_method, max_drop)
    opened = _open(model, key, suppression)
    check_input(opened.source.model, input)
    if deepstream:
        classifies = isinstance(opened.source.model, Classifier)
        form = form or ("probabilities" if classifies else "tao")
        if input == "uint8":  # which nvinfer can't feed
            input = input_of_frames(opened.source.model)  # noqa: A001 (the name of the flag)
    samples = opened.validation_samples() if images is None else samples_of(images)
    pictures = pictures_for(opened.source.recipe, samples)
    folder = Path(output)
    if precision not in IN_8_BITS:
        written = export_file(opened.source, folder, pictures, form=form, precision=precision, kind=input)
        _carry_calibration(opened.source.weights, [written.path])
        return written
    if max_drop is not None and opened.validation is None:
        raise UsageError("There are no validation images to measure --max-drop on", "Export from the run folder")
    ranges = opened.calibrated(calibration, calibration_images, calibration_method, precision)
    if precision == "int8":
        whole, done = export_in_8_bits(ranges.source, folder, pictures, ranges.described, form=form, kind=input)
        write_ranges(ranges_of(done.model), *(done.path.with_suffix(suffix) for suffix in RANGES))
    else:
        whole = export_file(opened.source, folder, pictures, form=form, kind=input)
        done = export_u8s8(opened.source, whole, pictures, ranges.pictures, ranges.described)
    _carry_calibration(opened.source.weights, [whole.path, done.path])
    return _judged(whole, done, opened.validation, max_drop)


def _carry_calibration(weights: Path, files: Sequence[Path]) -> None:
    """Put the calibration beside weights beside what was made from them, too, whose own outputs stay the network's."""
    calibration = read_calibration(weights)
    for file in files:
        if calibration is None:
            calibration_file(file).unlink(missing_ok=True)  # an earlier export may have left one
        else:
            logger.info("The calibration of %s lies in %s.", weights, write_calibration(calibration, file))


def serve_settings(
    done: Exported,
    *,
    deepstream: bool = False,
    triton: Path | None = None,
    name: str = "xraycls",
    backend: str = "",
    engine: bool = False,
) -> list[Path]:
    """Write what servers need to know of an exported file, or an engine of it; returns the files and folders.

    Args:
        done: the export.
        deepstream: whether to write DeepStream's settings beside the file.
        triton: a model repository to write the model into; None for none.
        name: the model's name in it.
        backend: one of :data:`xraycls.export.triton.BACKENDS`; "" for the first.
        engine: whether to build the engine of TensorRT, see :func:`xraycls.export.engine.build_engine`.

    Raises:
        UsageError: the file is of a form that DeepStream doesn't read, or the repository has such a model, or there is
            no TensorRT or no GPU to build an engine with.
    """
    written = write_deepstream(done.path, done.file, LABELS) if deepstream else []
    if engine:
        built = build_engine(done.path, done.file)
        note_in_listing(replace(done, file=replace(done.file, engine=built.described())))
        written.append(done.path.with_name(built.file))
    if triton is not None:
        chosen: Backend = backend or BACKENDS[0]  # type: ignore[assignment]
        written += write_repository(done.path, done.file, triton, name=name, backend=chosen)
    return written


def pictures_for(recipe: ViewRecipe, samples: Sequence[Sample], count: int = _PICTURES) -> npt.NDArray[np.uint8]:
    """Returns some pictures as a model takes them, uint8 [n, 1, H, W], spread over the samples; drawn without any.

    Raises:
        DataError: none of the pictures that were given can be read.
    """
    found = []
    for row in np.unique(np.linspace(0, len(samples) - 1, count).round().astype(int)) if samples else ():
        try:
            image = open_image(samples[int(row)])
            found.append(render(image, recipe.evaluation_views((image.width, image.height))[0], recipe.canvas))
        except DataError as error:
            logger.warning("%s; it is left out.", error.message)
    if samples and not found:
        raise DataError(f"None of {len(samples)} pictures could be read", samples[0].path)
    for patient in range(1, 1 + (0 if samples else count)):
        radiograph = draw_radiograph(0, patient, 1, pneumonia=patient % 2 == 1, size=_DRAWN)
        drawn = open_content(radiograph.grey(8), Path("drawn"))
        found.append(render(drawn, recipe.evaluation_views((drawn.width, drawn.height))[0], recipe.canvas))
    return np.stack(found)[:, None]


@dataclass(frozen=True, slots=True)
class _Ranges:
    """A model with what its 8-bit ranges are chosen on.

    Attributes:
        source: its model computes in 8 bits, where xraycls chooses the ranges.
        pictures: uint8 [n, 1, H, W]; none of a model that was trained with quantisation.
        described: method and number of pictures, for the listing.
    """

    source: Source
    pictures: npt.NDArray[np.uint8]
    described: dict[str, Any]


@dataclass(frozen=True, slots=True)
class _Opened:
    """A model to export, and the data of its run.

    Attributes:
        source: the model.
        validation: its labelled validation images; None where they aren't known.
        training: its training samples.
        tested: the samples of its test split.
    """

    source: Source
    validation: Validation | None = None
    training: Sequence[Sample] = ()
    tested: Sequence[Sample] = ()

    def validation_samples(self) -> list[Sample]:
        """Returns the samples of the validation images; none where they aren't known."""
        return list(self.validation.table) if self.validation else []

    def calibrated(self, data: Path | str | None, count: int, method: str | None, precision: str) -> _Ranges:
        """Returns the model with ranges; see :func:`export_model`."""
        trained = bool(plan_of(self.source.model.net)) and data is None and precision == "int8"
        if trained:
            made = quantized_copy(self.source.model, None)
            return _Ranges(replace(self.source, model=made), np.zeros(0, np.uint8), {"method": "trained"})
        samples = self.training if data is None else samples_to_calibrate(Path(data))
        if data is None and not samples:
            raise UsageError(
                "INT8 needs pictures to choose ranges on, and the training data of the model aren't known",
                "Give --calibration DATA",
            )
        pictures = calibration_pictures(samples, self.source.recipe, count, () if data is None else self.tested)
        chosen = method or ("max" if precision == "u8s8" else next(iter(METHODS)))
        described = {"method": chosen, "images": count}
        made = quantized_copy(self.source.model, pictures, chosen)
        if precision == "int8":
            return _Ranges(replace(self.source, model=made), pictures, described)
        return _Ranges(self.source, pictures, {**described, "in_floating_point": unquantized(made.net)})


def _check(precision: str, method: str | None, max_drop: float | None) -> None:
    if precision not in (*PRECISIONS, "u8s8"):
        raise unknown("precision", precision, (*PRECISIONS, "u8s8"), "--precision")
    if method is not None and method not in METHODS:
        raise unknown("calibration method", method, METHODS, "--calibration-method")
    if precision == "u8s8" and method not in (None, "max"):
        raise UsageError("onnxruntime's ranges for u8s8 are those of --calibration-method max", "Leave it out")
    if max_drop is not None and precision not in IN_8_BITS:
        raise UsageError(f"--max-drop is of 8 bits and not of --precision {precision}", "Leave it out")


def _judged(whole: Exported, done: Exported, validation: Validation | None, max_drop: float | None) -> Exported:
    """The export in 8 bits with its figure on validation images beside that in fp32, unless it falls too far."""
    if validation is None or done.file.form == "trt":  # which only TensorRT computes
        return done
    before, after = validation.score(whole), validation.score(done)
    figures = {
        "metric": validation.metric,
        "images": len(validation.table),
        "fp32": before,
        done.file.precision: after,
    }
    done = replace(done, file=replace(done.file, figures=figures))
    if max_drop is not None and not before - after <= max_drop:
        remove_file(done)
        raise XrayclsError(
            f"{validation.metric} on {len(validation.table)} validation images falls from {before:.4f} to "
            f"{after:.4f} in {done.file.precision}, by more than --max-drop {max_drop:g}, and the file was not kept",
            "Try another --calibration-method or more --calibration-images, or train with quantisation (--qat)",
        )
    note_in_listing(done)
    return done


def _open(model: str | Path, key: str, suppression: Suppression | None) -> _Opened:
    """A model, and the data of its run where they are there."""
    trained = load_model(model, key=key)
    if isinstance(trained, TrainedModel):
        source = Source(
            model=trained.classifier,
            recipe=trained.recipe,
            weights=trained.weights,
            threshold=trained.threshold,
            bits=trained.bits,
            thresholds=trained.thresholds,
            prevalence=trained.prevalence or {},
        )
        if trained.run:
            with contextlib.suppress(XrayclsError):  # the data of its training may be elsewhere by now
                table = run_table(trained.run.read_config())
                found = Validation(table.split("val")) if len(table.split("val")) else None
                return _Opened(source, found, list(table.split("train")), list(table.split("test")))
        return _Opened(source)
    if suppression is not None:
        trained.detector.config = replace(trained.detector.config, suppression=suppression)
    source = Source(
        model=trained.detector,
        recipe=trained.recipe,
        weights=trained.weights,
        threshold=trained.detector.config.reported,
    )
    folder = trained.weights.resolve().parent
    runs = (RunFolder(each) for each in (folder, folder.parent))  # models of a spec lie beside config.yaml, or below it
    run = next((each for each in runs if each.is_of_detector() and each.config.is_file()), None)
    if run is not None:
        with contextlib.suppress(XrayclsError):
            job = DetectionJob.read(run.config)
            data = read_boxes(job.data)
            same = len(data.validation) and data.classes == trained.detector.config.classes
            return _Opened(source, Validation(data.validation, job.evaluation) if same else None, list(data.training))
    return _Opened(source)
