"""Explain predictions: class activation maps over radiographs."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.image import GreyImage, open_image
from xraycls.data.source import list_images
from xraycls.errors import DataError, unknown
from xraycls.evaluation.cases import predicted_classes
from xraycls.explain.cam import class_activation_map
from xraycls.explain.overlay import save_cam, side_by_side
from xraycls.loaders.render import render
from xraycls.training.precision import choose_device
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
    progress: Callable[[int, int], None] | None = None,
) -> tuple[list[Explanation], TrainedModel]:
    """Explain image files, one at a time, and give the model that was explained.

    Args:
        model: a run folder, a model's name or a weights file.
        paths: files and folders.
        method: any of :data:`xraycls.explain.cam.METHODS`.
        target: the class to explain; None takes the one predicted at the operating threshold.
        device: as in training.
        progress: told of (images done, images).

    Raises:
        UsageError: no such method or class.
        RunError: no such model.
    """
    trained = load_model(model, choose_device(device))
    samples = list_images([Path(p) for p in paths])
    found = []
    for done, sample in enumerate(samples, start=1):
        try:
            image = open_image(sample)
            original = image.decode(1)
            view = trained.recipe.evaluation_view(image.width, image.height)
            picture = render(image, view, trained.recipe.size)
        except DataError as error:
            found.append(Explanation(sample.name, None, None, "", float("nan"), None, error.message))
        else:
            found.append(_explain(trained, sample.name, original, picture, method, target))
        if progress:
            progress(done, len(samples))
    return found, trained


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
    probabilities = trained.classifier(images).double().softmax(1).cpu().numpy()
    return int(predicted_classes(probabilities, 0.5 if trained.threshold is None else trained.threshold)[0])


def _class_index(classes: tuple[str, ...], target: str) -> int:
    lowered = [name.lower() for name in classes]
    if target.lower() not in lowered:
        raise unknown("class", target, classes, "--target")
    return lowered.index(target.lower())


def write_cams(explanations: Sequence[Explanation], model_name: str, folder: Path) -> list[Path]:
    """Write ``CAM_<Model>.jpg`` for one image, ``CAM_<Model>_<image>.jpg`` for several; nothing for unreadable ones."""
    model_name = model_name.replace(":", "-").replace("/", "-")
    files = []
    for explanation in explanations:
        if explanation.picture is not None:
            suffix = "" if len(explanations) == 1 else f"_{Path(explanation.name).stem}"
            path = folder / f"CAM_{model_name}{suffix}.jpg"
            number = 2
            while path in files:  # images of the same name in several folders
                path = folder / f"CAM_{model_name}{suffix}-{number}.jpg"
                number += 1
            save_cam(path, explanation.picture)
            files.append(path)
    return files
