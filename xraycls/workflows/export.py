"""Export a trained model as an ONNX file that was compared with it."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from xraycls.data.box_sources import read_validation
from xraycls.data.open import open_content, open_image
from xraycls.data.phantom import draw_radiograph
from xraycls.errors import DataError, UsageError, XrayclsError
from xraycls.export.folder import Exported, Input, Source, export_file
from xraycls.export.graph import PRECISIONS
from xraycls.inference.classification import TrainedModel
from xraycls.inference.inputs import samples_of
from xraycls.inference.load import load_model
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.render import render
from xraycls.models.detection.base import Suppression
from xraycls.training.job import DetectionJob
from xraycls.training.run_folder import RunFolder
from xraycls.types import Sample
from xraycls.workflows.train import run_table

if TYPE_CHECKING:
    from xraycls.inference.inputs import Picture

logger = logging.getLogger(__name__)

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
) -> Exported:
    """Export a classifier or a detector, pruned ones too, and compare what was written with it.

    The folder gets the ONNX file, ``labels.txt`` and ``export.json``; exports of the same model in other forms and
    precisions may share it. The input is grey levels 0–255 at the size of the network, the normalisation is within.

    Args:
        model: a run folder or a file of weights; of a classifier also its name, as :func:`xraycls.load_model`.
        output: the folder.
        form: of a detector "nms", "heads", "tao" or "trt", of a classifier "logits" or "probabilities"; None for the
            first.
        precision: "fp32", "fp16" or "bf16", of the network within; inputs and outputs don't depend on it.
        input: "uint8" or "float", the number format of the input.
        images: pictures to compare on; None takes some of the run's validation split, or drawn ones where they aren't
            there.
        key: of an encrypted detector; the exported file is not encrypted.
        suppression: which predicted boxes become detections, instead of the detector's own.

    Raises:
        RunError: no such model.
        UsageError: no such form or precision.
        MissingExtra: onnx or onnxruntime isn't installed.
        XrayclsError: the network can't be exported, or the file doesn't agree with it; nothing is left behind.

    Example:
        >>> import xraycls
        >>> done = xraycls.export_model("runs/first", "exported")
        >>> done.path.as_posix(), done.file.outputs["logits"]
        ('exported/model.onnx', ['batch', 2])
        >>> all(each.passed for each in done.parity)
        True
    """
    if precision not in PRECISIONS:
        raise UsageError(f"Unknown --precision {precision!r}", f"Choose {', '.join(PRECISIONS)}")
    if input not in ("uint8", "float"):
        raise UsageError(f"Unknown --input {input!r}", "Choose uint8 or float")
    source, validation = _source(model, key, suppression)
    samples = validation if images is None else samples_of(images)
    return export_file(
        source, Path(output), pictures_for(source.recipe, samples), form=form, precision=precision, kind=input
    )


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


def _source(model: str | Path, key: str, suppression: Suppression | None) -> tuple[Source, list[Sample]]:
    """A model, and validation pictures of its run where they are there."""
    trained = load_model(model, key=key)
    samples: list[Sample] = []
    if isinstance(trained, TrainedModel):
        if trained.run:
            with contextlib.suppress(XrayclsError):  # the data of its training may be elsewhere by now
                samples = list(run_table(trained.run.read_config()).split("val"))
        source = Source(
            model=trained.classifier,
            recipe=trained.recipe,
            weights=trained.weights,
            threshold=trained.threshold,
            bits=trained.bits,
            thresholds=trained.thresholds,
        )
        return source, samples
    run = RunFolder(trained.weights.resolve().parent.parent)
    if run.is_of_detector() and run.config.is_file():
        with contextlib.suppress(XrayclsError):
            samples = list(read_validation(DetectionJob.read(run.config).data).validation)
    if suppression is not None:
        trained.detector.config = replace(trained.detector.config, suppression=suppression)
    source = Source(
        model=trained.detector,
        recipe=trained.recipe,
        weights=trained.weights,
        threshold=trained.detector.config.reported,
    )
    return source, samples
