"""Explain predictions: class activation maps over radiographs."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import chain, count
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.data.source import list_images
from xraycls.errors import DataError, unknown
from xraycls.evaluation.cases import predicted_classes
from xraycls.explain.cam import class_activation_map
from xraycls.explain.overlay import side_by_side
from xraycls.loaders.render import render
from xraycls.training.precision import choose_device
from xraycls.training.run_folder import safe_name
from xraycls.types import Sample
from xraycls.workflows.locate import TrainedModel, load_model


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
    paths: Sequence[str | Path],
    *,
    method: str = "gradcam",
    target: str | None = None,
    device: str = "auto",
) -> list[Explanation]:
    """Explain image files and folders.

    Args:
        model: a run folder, a model's name or a weights file.
        paths: files and folders.
        method: any of :data:`xraycls.explain.cam.METHODS`.
        target: the class to explain; None takes the one predicted at the operating threshold.
        device: as in training.

    Raises:
        UsageError: no such method or class.
        RunError: no such model.
    """
    trained = load_model(model, choose_device(device))
    return list(explain(trained, list_images([Path(p) for p in paths]), method=method, target=target))


def explain(
    trained: TrainedModel, samples: Iterable[Sample], *, method: str = "gradcam", target: str | None = None
) -> Iterator[Explanation]:
    """Explain samples one by one, so that any number of them needs the memory of one."""
    for sample in samples:
        try:
            image = open_image(sample)
            original = image.pixels()
            view = trained.recipe.evaluation_view(image.width, image.height)
            picture = render(image, view, trained.recipe.canvas)
        except DataError as error:
            yield Explanation(sample.name, None, None, "", float("nan"), None, error.message)
        else:
            yield _explain(trained, sample.name, original, picture, method, target)


def _explain(
    trained: TrainedModel, name: str, original: GreyImage, picture: GreyImage, method: str, target: str | None
) -> Explanation:
    classifier = trained.classifier
    images = torch.from_numpy(picture)[None, None].to(next(classifier.parameters()).device)
    index = _class_index(classifier.classes, target) if target else _predicted(trained, images)
    result = class_activation_map(classifier, images, method=method, target=index)
    class_name, probability = classifier.classes[index], float(result.probabilities[0][index])
    title = f"{classifier.architecture.name}, {method}"
    rgb = side_by_side(original, result.maps[0], class_name, probability, title)
    return Explanation(name, original, result.maps[0], class_name, probability, rgb)


@torch.inference_mode()
def _predicted(trained: TrainedModel, images: torch.Tensor) -> int:
    probabilities = trained.classifier(images).cpu().double().softmax(1).numpy()
    return int(predicted_classes(probabilities, 0.5 if trained.threshold is None else trained.threshold)[0])


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
        taken: paths given so far, to which this one is added; images of the same name get a number.
    """
    stem = f"CAM_{safe_name(model_name)}" + ("" if alone else f"_{sample.path.stem}")
    numbered = (folder / f"{stem}{suffix}.jpg" for suffix in chain([""], (f"-{n}" for n in count(2))))
    path = next(path for path in numbered if path not in taken)
    taken.add(path)
    return path
