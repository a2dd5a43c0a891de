"""Folders that ``xraycls export`` writes: what their files hold, read without torch."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xraycls.data.plain import from_plain, to_plain
from xraycls.errors import RunError
from xraycls.loaders.recipes.classification import Recipe
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.loaders.views import Canvas
from xraycls.models.detection.map_boxes import BoxRule

LISTING = "export.json"
"""The file of an exported folder that describes the others."""

FORMAT = 2
_MODEL = "model.onnx"
_ENGINES = (".engine", ".plan")


@dataclass(frozen=True, kw_only=True)
class ExportedFile:
    """All that there is to know of an exported file, as plain values that JSON holds.

    Attributes:
        file: its name in the folder.
        sha256: of its content, hexadecimal.
        kind: "classifier" or "detector".
        network: such as "ResNet18" or "ssd".
        classes: names, in the order of the outputs.
        height: of the input, pixels.
        width: of the input, pixels.
        input: what the input [batch, channels, height, width] holds: grey levels 0–255, "uint8" or "float", or "bgr",
            the levels of blue, green and red as float32.
        form: name of the set of outputs.
        precision: number format of the network within.
        opset: version of ONNX's operators.
        outputs: shape by name; the first dimension of each is the batch.
        rendering: how pictures are put on the input: "stretched", "squeezed" or "letterboxed".
        fill: grey level of what lies outside of a picture; None for the picture's mean.
        threshold: the operating threshold of two classes, or what reported detections score; None without one.
        confidence: detections score more, 0–1; None of a classifier.
        iou: above which overlapping detections were suppressed, 0–1; None of a classifier.
        top_k: most detections of a picture; None of a classifier.
        cuts_boxes: whether detections end at the input's edges.
        boxes: how the maps of a U-Net become boxes; None of all others.
        background: where TAO's labels list the background; None where they don't.
        bits: of the grey levels in 16-bit pictures that it was trained with; None when unknown.
        thresholds: of a classifier of several findings a picture, from which each is called; None of all others.
        prevalence: of each class or finding in its training; empty when unknown.
        source: the file of weights that it was made from.
        source_sha256: of that file.
        versions: of the packages that wrote it.
        parity: the check against torch, a mapping for each batch size.
        trtexec: the commands that build an engine, by version of TensorRT.
        engine: that was built of it: its file, sha256, the version of TensorRT and the GPU; empty without one.
        quantization: of a file that computes in 8 bits how its ranges were chosen: method, pictures, layers.
        figures: of such a file what it scores on the validation images: metric, images, fp32, and its own; else empty.
    """

    file: str
    sha256: str
    kind: Literal["classifier", "detector"]
    network: str
    classes: tuple[str, ...]
    height: int
    width: int
    input: Literal["uint8", "float", "bgr"]
    form: str
    precision: str
    opset: int
    outputs: dict[str, list[int | str]]
    rendering: Literal["stretched", "squeezed", "letterboxed"]
    fill: int | None
    threshold: float | None = None
    confidence: float | None = None
    iou: float | None = None
    top_k: int | None = None
    cuts_boxes: bool = False
    boxes: BoxRule | None = None
    background: Literal["first", "last"] | None = None
    bits: int | None = None
    thresholds: tuple[float, ...] | None = None
    prevalence: dict[str, float] = field(default_factory=dict)
    source: str = ""
    source_sha256: str = ""
    versions: dict[str, str] = field(default_factory=dict)
    parity: list[dict[str, Any]] = field(default_factory=list)
    trtexec: dict[str, str] = field(default_factory=dict)
    engine: dict[str, str] = field(default_factory=dict)
    quantization: dict[str, Any] = field(default_factory=dict)
    figures: dict[str, Any] = field(default_factory=dict)

    def described(self) -> dict[str, Any]:
        """The description as values of JSON."""
        values: dict[str, Any] = to_plain(self)
        return values

    @property
    def channels(self) -> int:
        """Of the input."""
        return 3 if self.input == "bgr" else 1

    def input_of(self, pictures: npt.NDArray[np.uint8]) -> npt.NDArray[Any]:
        """Returns grey pictures uint8 [B, 1, H, W] as the input takes them."""
        if self.input == "uint8":
            return pictures
        return pictures.astype(np.float32).repeat(self.channels, axis=1)

    @property
    def recipe(self) -> ViewRecipe:
        """How pictures are rendered."""
        if self.rendering == "stretched":
            return Recipe(self.width)
        recipe: ViewRecipe = _recipes()[self.rendering][0](Canvas(self.height, self.width, self.fill))
        return recipe


def rendering_of(recipe: ViewRecipe) -> str:
    """The name of how a recipe renders pictures for evaluation.

    Raises:
        RunError: it has none, so that no runtime could follow it.
    """
    for name, kinds in _recipes().items():
        if isinstance(recipe, kinds):
            return name
    raise RunError(f"Pictures of the recipe {type(recipe).__name__} can't be rendered without torch")


def _recipes() -> dict[str, tuple[Any, ...]]:
    """By name of a rendering the recipes that render so for evaluation; those of detectors are imported for them."""
    from xraycls.loaders.recipes.ssd import SSDRecipe
    from xraycls.loaders.recipes.unet import UNetRecipe
    from xraycls.loaders.recipes.yolo_v4 import YoloV4Recipe

    return {"stretched": (Recipe,), "squeezed": (SSDRecipe, UNetRecipe), "letterboxed": (YoloV4Recipe,)}


def is_exported(name: str | Path) -> bool:
    """Whether a model's name means an exported folder, whoever exported it, an ONNX file or an engine of TensorRT."""
    path = Path(name)
    if path.suffix in (".onnx", *_ENGINES) or (path / LISTING).is_file():
        return True
    return (path / _MODEL).is_file() and not (path / "checkpoints").is_dir()


def read_listing(folder: Path) -> list[ExportedFile]:
    """Returns the descriptions of the files of a folder; none where there is no listing.

    Raises:
        RunError: the listing is damaged or of a newer version.
    """
    listing = folder / LISTING
    if not listing.is_file():
        return []
    try:
        values = json.loads(listing.read_text(encoding="utf-8"))
        if values["format"] > FORMAT:
            raise RunError(f"{listing} was written by a newer xraycls", "Take the checkout of a newer version")
        return [from_plain(ExportedFile, each) for each in values["files"]]
    except (OSError, LookupError, TypeError, ValueError) as error:
        raise RunError(f"{listing} is damaged ({error})", "Export the model again") from error


def find_exported(name: str | Path) -> tuple[Path, ExportedFile]:
    """Returns the file that a name means, and its description, once its content is found to be that described.

    Args:
        name: an exported folder, which stands for its only file or else for ``model.onnx``; or a file in one.

    Raises:
        RunError: there is no such file, xraycls didn't write it, or it was changed since; or it is an engine.
    """
    path = Path(name)
    if path.suffix in _ENGINES:
        raise RunError(
            f"{path} is an engine of TensorRT, which is computed by the name of the ONNX file that it was built from",
            f"Give {path.with_suffix('.onnx')} with --runtime tensorrt, or have Triton or DeepStream compute it",
        )
    folder = path if path.is_dir() else path.parent
    files = {each.file: each for each in read_listing(folder)}
    if path.is_dir():
        chosen = _MODEL if _MODEL in files or not files else next(iter(files)) if len(files) == 1 else ""
        if not chosen:
            raise RunError(f"{path} holds several models: {', '.join(files)}", f"Name one: {path / next(iter(files))}")
        path = path / chosen
    if not path.is_file():
        raise RunError(f"There is no file {path}", f"Export it again with: xraycls export MODEL -o {folder}")
    if path.name not in files:
        raise RunError(
            f"{path} is an ONNX file that xraycls export didn't write: no {LISTING} beside it describes it",
            "Give a folder of xraycls export",
        )
    described = files[path.name]
    if sha256_of(path) != described.sha256:
        raise RunError(
            f"{path} was changed since it was exported: its sha256 isn't that of {LISTING}", "Export the model again"
        )
    return path, described


def sha256_of(path: Path) -> str:
    """The sha256 of a file, hexadecimal."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
