"""Explain predictions: class activation maps over radiographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.files import fitting_name
from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.errors import DataError, unknown
from xraycls.evaluation.cases import FloatArray
from xraycls.explain.cam import CamResult, class_activation_map
from xraycls.explain.overlay import side_by_side
from xraycls.inference.classification import TrainedModel
from xraycls.inference.inputs import samples_of
from xraycls.inference.load import load_classifier_model
from xraycls.inference.predictor import Predictor
from xraycls.inference.results import Result, overlapped
from xraycls.training.precision import choose_device
from xraycls.training.run_folder import safe_name
from xraycls.types import Sample

if TYPE_CHECKING:
    from xraycls.inference.inputs import Picture

_AT_A_TIME, _THREADS = 8, 2  # pictures of a forward pass; threads that read them and, as many again, draw


@dataclass(frozen=True, slots=True)
class Explanation:
    """Where a classifier looked in one image.

    Attributes:
        name: the image.
        image: uint8 [H, W], at its own size.
        map: float32 [S, S], 0–1, over the whole image stretched to a square.
        class_name: the class that the map explains.
        probability: of that class, 0–1.
        picture: uint8 [h, w, 3] RGB, original and overlay side by side; None when the image could not be read.
        error: why the image could not be read; None when it could.
    """

    name: str
    image: GreyImage | None
    map: npt.NDArray[np.float32] | None
    class_name: str
    probability: float
    picture: npt.NDArray[np.uint8] | None
    error: str | None = None


def cam(
    model: str | Path,
    paths: Picture | Iterable[Picture],
    *,
    method: str = "gradcam",
    target: str | None = None,
    device: str = "auto",
) -> list[Explanation]:
    """Returns an explanation of each picture, in order.

    Args:
        model: a run folder, a model's name or a weights file, as :func:`xraycls.load_model` takes it.
        paths: pictures, as :func:`xraycls.predict` takes them.
        method: any of :data:`xraycls.explain.cam.METHODS`.
        target: the class to explain; None takes the one predicted at the operating threshold.
        device: as in training.

    Raises:
        UsageError: no such method or class, or something that is no picture.
        RunError: no such model.

    Example:
        >>> import xraycls
        >>> (explanation,) = xraycls.cam("runs/first", "film.jpeg", method="gradcam++", target="PNEUMONIA")
        >>> explanation.class_name, explanation.map.shape
        ('PNEUMONIA', (32, 32))
    """
    trained = load_classifier_model(model, choose_device(device))
    return list(explain(trained, samples_of(paths), method=method, target=target))


def explain(
    trained: TrainedModel, samples: Sequence[Sample], *, method: str = "gradcam", target: str | None = None
) -> Iterator[Explanation]:
    """Explain samples as they come, so that any number of them needs the memory of a few.

    Pictures are drawn while the maps of the next ones are computed.
    """
    index = None if target is None else _class_index(trained.classes, target)
    predictor = Predictor(
        model=trained, batch_size=_AT_A_TIME, precision="fp32", loader="torch", threads=_THREADS, keep_inputs=True
    )
    results = ((result, _map_of(trained, result, method, index)) for result in predictor(samples))
    return overlapped(results, partial(_drawn, trained, method), threads=_THREADS)


def _map_of(trained: TrainedModel, result: Result[FloatArray], method: str, index: int | None) -> CamResult | None:
    """The map of the class to explain, of the one that is decided for by default; None for a bad file."""
    if result.output is None or result.input is None:
        return None
    images = torch.from_numpy(result.input)[None, None].to(trained.device)
    chosen = trained.decide(result.output) if index is None else index
    return class_activation_map(trained.classifier, images, method=method, target=chosen)


def _drawn(trained: TrainedModel, method: str, explained: tuple[Result[FloatArray], CamResult | None]) -> Explanation:
    result, found = explained
    name, error = result.sample.name, result.error
    if found is not None:
        try:
            original = open_image(result.sample).pixels()
        except DataError as damaged:
            error = damaged.message
        else:
            index = int(found.classes[0])
            class_name, probability = trained.classes[index], float(found.probabilities[0][index])
            title = f"{trained.classifier.architecture.name}, {method}"
            picture = side_by_side(original, found.maps[0], class_name, probability, title)
            return Explanation(name, original, found.maps[0], class_name, probability, picture)
    return Explanation(name, None, None, "", float("nan"), None, error)


def _class_index(classes: tuple[str, ...], target: str) -> int:
    lowered = [name.lower() for name in classes]
    if target.lower() not in lowered:
        raise unknown("class", target, classes, "--target")
    return lowered.index(target.lower())


def cam_path(model_name: str, sample: Sample, folder: Path, *, alone: bool, taken: set[Path]) -> Path:
    """``CAM_<Model>.jpg`` for a single image, ``CAM_<Model>_<image>.jpg`` for one of several.

    Args:
        model_name: as :attr:`Architecture.name`.
        sample: the image.
        folder: where the picture will go.
        alone: whether it is the only one.
        taken: paths given so far, to which this one is added; images of the same name get a number, and so
            does one that would replace an earlier picture.
    """
    stem = f"CAM_{safe_name(model_name)}" + ("" if alone else f"_{sample.path.stem}")
    numbered = (folder / fitting_name(stem, f"{suffix}.jpg") for suffix in chain([""], (f"-{n}" for n in count(2))))
    path = next(path for path in numbered if path not in taken and not path.exists())
    taken.add(path)
    return path
