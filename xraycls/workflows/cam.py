"""Explain predictions: class activation maps over radiographs."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import chain, count
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple, cast

import cv2
import numpy as np
import numpy.typing as npt

from xraycls.data.files import fitting_name
from xraycls.data.image import GreyImage
from xraycls.data.open import open_image
from xraycls.errors import DataError, UsageError, unknown
from xraycls.evaluation.cases import FloatArray
from xraycls.explain.exact import scaled_map
from xraycls.explain.overlay import side_by_side
from xraycls.inference.choose import open_classifiers
from xraycls.inference.ensemble import Ensemble, mean_and_spread
from xraycls.inference.exported_predictor import ExportedModel, ExportedPredictor
from xraycls.inference.inputs import samples_of
from xraycls.inference.results import overlapped
from xraycls.inference.runtimes import Arrays
from xraycls.loaders.views import Floats
from xraycls.training.run_folder import safe_name
from xraycls.types import Sample

if TYPE_CHECKING:
    from xraycls.inference.classification import TrainedModel
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
    model: str | Path | Sequence[str | Path],
    paths: Picture | Iterable[Picture],
    *,
    method: str = "gradcam",
    target: str | None = None,
    device: str = "auto",
    runtime: str = "auto",
) -> list[Explanation]:
    """Returns an explanation of each picture, in order.

    Args:
        model: a run folder, a model's name, a weights file or an exported folder; of several, the mean of their
            probabilities and of their maps is taken.
        paths: pictures, as :func:`xraycls.predict` takes them.
        method: any of :data:`xraycls.explain.cam.METHODS`.
        target: the class or finding to explain; None takes the one predicted at the operating threshold, or the finding
            that lies highest above its own. "all" explains every class: so many explanations a picture follow.
        device: as in training.
        runtime: "auto", "torch", "onnxruntime", "openvino" or "tensorrt"; exported folders need no torch, and know
            gradcam alone.

    Raises:
        UsageError: no such method or class, or something that is no picture.
        RunError: no such model.

    Example:
        >>> import xraycls
        >>> (explanation,) = xraycls.cam("runs/first", "film.jpeg", method="gradcam++", target="PNEUMONIA")
        >>> explanation.class_name, explanation.map.shape
        ('PNEUMONIA', (32, 32))
    """
    models = [model] if isinstance(model, str | Path) else model
    trained = open_classifiers(models, runtime=runtime, device=device)
    return list(explain(trained, samples_of(paths), method=method, target=target))


class _Map(NamedTuple):
    """A map float32 [S, S], the class that it explains, and that class's probability."""

    values: npt.NDArray[np.float32]
    label: int
    probability: float


_Explained = tuple[Sample, str | None, _Map | None]
"""A picture, why it could not be read, and its map."""

_Indices = tuple[int | None, ...]
"""The classes to explain in each picture; None for the one that is decided for."""


class _Seen(NamedTuple):
    """A picture as a model sees it.

    Attributes:
        sample: the picture.
        error: why it could not be read; None when it could.
        probabilities: float64 [C]; None when it could not be read.
        explain: gives the map of a class, float32 [S, S].
    """

    sample: Sample
    error: str | None
    probabilities: FloatArray | None
    explain: Callable[[int], npt.NDArray[np.float32]]


def explain(
    trained: TrainedModel | ExportedModel | Ensemble,
    samples: Sequence[Sample],
    *,
    method: str = "gradcam",
    target: str | None = None,
) -> Iterator[Explanation]:
    """Explain samples as they come, so that any number of them needs the memory of a few.

    Pictures are drawn while the maps of the next ones are computed. The map of several models is the mean of theirs,
    weighted as their probabilities are, at the size of the largest.
    """
    indices = explained_classes(trained.classes, target)
    members = trained.members if isinstance(trained, Ensemble) else (trained,)
    seen = zip(*(_seen(member, samples, method) for member in members), strict=True)
    maps = chain.from_iterable(_maps(trained, each, indices) for each in seen)
    return overlapped(maps, partial(_drawn, f"{trained.network}, {method}", trained.classes), threads=_THREADS)


def _maps(
    trained: TrainedModel | ExportedModel | Ensemble, seen: Sequence[_Seen], indices: _Indices
) -> Iterator[_Explained]:
    """The maps of one picture's classes to explain, of the one decided for by default; None for a bad file."""
    told = [each.probabilities for each in seen if each.probabilities is not None]
    if len(told) < len(seen):
        bad = next(each for each in seen if each.probabilities is None)
        yield from [(bad.sample, bad.error, None)] * len(indices)
        return
    if isinstance(trained, Ensemble):
        shares, orders = trained.shares, trained.orders
    else:
        shares, orders = (1.0,), (list(range(len(told[0]))),)
    ordered = [each[order] for each, order in zip(told, orders, strict=True)]
    probabilities, _ = mean_and_spread(np.stack(ordered), shares)
    for index in indices:
        chosen = trained.decide(probabilities) if index is None else index
        maps = [each.explain(order[chosen]) for each, order in zip(seen, orders, strict=True)]
        yield seen[0].sample, None, _Map(_mean_map(maps, shares), chosen, float(probabilities[chosen]))


def _mean_map(maps: Sequence[npt.NDArray[np.float32]], shares: Sequence[float]) -> npt.NDArray[np.float32]:
    """The weighted mean of square maps at the size of the largest."""
    side = max(len(each) for each in maps)
    stretched = [each if len(each) == side else cv2.resize(each, (side, side)) for each in maps]
    mean, _ = mean_and_spread(np.stack(stretched).astype(np.float64), shares)
    return mean.astype(np.float32)


def _seen(trained: TrainedModel | ExportedModel, samples: Sequence[Sample], method: str) -> Iterator[_Seen]:
    if isinstance(trained, ExportedModel):
        return _seen_exported(trained, samples, method)
    return _seen_trained(trained, samples, method)


def _seen_trained(trained: TrainedModel, samples: Sequence[Sample], method: str) -> Iterator[_Seen]:
    import torch

    from xraycls.explain.cam import class_activation_map
    from xraycls.inference.predictor import Predictor

    predictor = Predictor(
        model=trained, batch_size=_AT_A_TIME, precision="fp32", loader="torch", threads=_THREADS, keep_inputs=True
    )

    def explained(picture: GreyImage, index: int) -> npt.NDArray[np.float32]:
        images = torch.from_numpy(picture)[None, None].to(trained.device)
        return class_activation_map(trained.classifier, images, method=method, target=index).maps.squeeze(0)

    for result in predictor(samples):
        yield _Seen(result.sample, result.error, result.output, partial(explained, cast(GreyImage, result.input)))


def _seen_exported(trained: ExportedModel, samples: Sequence[Sample], method: str) -> Iterator[_Seen]:
    file = trained.file
    if "cam" not in file.outputs:
        raise UsageError(f"{trained.path} gives no class activation maps", "Explain the model that it was made from")
    if method.lower() != "gradcam":
        raise UsageError(f"An exported model gives the maps of gradcam, not of --method {method}", "Leave it out")
    read = partial(_with_maps, trained)
    predictor = ExportedPredictor(model=trained, read=read, batch_size=_AT_A_TIME, threads=_THREADS)

    def explained(maps: FloatArray, index: int) -> npt.NDArray[np.float32]:
        return scaled_map(maps[index], file.height, file.width)

    for result in predictor(samples):
        probabilities, maps = result.output or (None, np.zeros(0))
        yield _Seen(result.sample, result.error, probabilities, partial(explained, maps))


def _with_maps(trained: ExportedModel, outputs: Arrays, views: Floats) -> list[tuple[FloatArray, FloatArray]]:
    """Probabilities [C] and maps [C, h, w] of each picture."""
    return list(zip(trained.probabilities(outputs, views), outputs["cam"], strict=True))


def _drawn(title: str, classes: tuple[str, ...], explained: _Explained) -> Explanation:
    sample, error, found = explained
    if found is not None:
        try:
            original = open_image(sample).pixels()
        except DataError as damaged:
            error = damaged.message
        else:
            name = classes[found.label]
            picture = side_by_side(original, found.values, name, found.probability, title)
            return Explanation(sample.name, original, found.values, name, found.probability, picture)
    return Explanation(sample.name, None, None, "", float("nan"), None, error)


def explained_classes(classes: tuple[str, ...], target: str | None) -> _Indices:
    """Returns the indices of the classes to explain in each picture.

    Args:
        classes: of the model.
        target: a name in any case, "all" where no class is called so, or None for the one that is decided for.

    Raises:
        UsageError: there is no such class.
    """
    if target is None:
        return (None,)
    lowered = [name.lower() for name in classes]
    if target.lower() in lowered:
        return (lowered.index(target.lower()),)
    if target.lower() == "all":
        return tuple(range(len(classes)))
    raise unknown("class", target, (*classes, "all"), "--target")


def cam_path(
    model_name: str, sample: Sample, folder: Path, *, alone: bool, taken: set[Path], class_name: str = ""
) -> Path:
    """``CAM_<Model>.jpg`` for a single image, ``CAM_<Model>_<image>.jpg`` for one of several.

    Args:
        model_name: as :attr:`Architecture.name`.
        sample: the image.
        folder: where the picture will go.
        alone: whether it is the only one.
        taken: paths given so far, to which this one is added; images of the same name get a number, and so
            does one that would replace an earlier picture.
        class_name: stands at the end of the name, where several classes of an image are explained.
    """
    stem = f"CAM_{safe_name(model_name)}" + ("" if alone else f"_{sample.path.stem}")
    stem += f"_{safe_name(class_name)}" if class_name else ""
    numbered = (folder / fitting_name(stem, f"{suffix}.jpg") for suffix in chain([""], (f"-{n}" for n in count(2))))
    path = next(path for path in numbered if path not in taken and not path.exists())
    taken.add(path)
    return path
