"""Export a model into a folder, where nothing is left that doesn't agree with torch."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from xraycls.data.files import atomic_write
from xraycls.errors import RunError, XrayclsError
from xraycls.export.graph import Graph, graph_of
from xraycls.export.onnx_file import before_plugin, onnx_of, shapes_of, write_onnx
from xraycls.export.parity import Parity, compare
from xraycls.inference.exported import FORMAT, LISTING, ExportedFile, read_listing, rendering_of, sha256_of
from xraycls.inference.runtimes import open_session
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector

logger = logging.getLogger(__name__)

LABELS = "labels.txt"
Input = Literal["uint8", "float"]
_PACKAGES = ("xraycls", "torch", "onnx", "onnxscript", "onnxruntime")


@dataclass(frozen=True, slots=True, kw_only=True)
class Source:
    """A trained model and what is known of it.

    Attributes:
        model: in evaluation mode.
        recipe: how its pictures are rendered.
        weights: the file it came from.
        threshold: the operating threshold of two classes; None without one.
        bits: of the grey levels in 16-bit pictures that it was trained with; None when unknown.
        thresholds: of a classifier of several findings a picture; None of all others.
    """

    model: Classifier | Detector
    recipe: ViewRecipe
    weights: Path
    threshold: float | None = None
    bits: int | None = None
    thresholds: tuple[float, ...] | None = None


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        file: its description.
        parity: the comparisons with torch.
    """

    path: Path
    file: ExportedFile
    parity: list[Parity]


def file_name(form: str, default: str, precision: str, kind: str) -> str:
    """The name of an exported file: ``model.onnx``, with what differs from the defaults before the suffix."""
    parts = [form] * (form != default) + ["float"] * (kind == "float") + [precision] * (precision != "fp32")
    return ".".join(["model", *parts, "onnx"])


def export_file(
    source: Source,
    folder: Path,
    images: npt.NDArray[np.uint8],
    *,
    form: str | None = None,
    precision: str = "fp32",
    kind: Input = "uint8",
    name: str | None = None,
) -> Exported:
    """Write one ONNX file, labels.txt and the file's entry in export.json, and compare the file with torch.

    Args:
        source: the model.
        folder: made when it isn't there.
        images: uint8 [n, 1, H, W], pictures as the model takes them, to compare on.
        form: the set of outputs, see :mod:`xraycls.export.graph`; None for the default.
        precision: "fp32", "fp16" or "bf16".
        kind: number format of the input.
        name: of the file; None for :func:`file_name`.

    Raises:
        UsageError: no such form or precision.
        MissingExtra: onnx, or a runtime to check with, isn't installed.
        XrayclsError: the file doesn't agree with torch; it is not left behind.
        RunError: the folder holds another model.
    """
    graph = graph_of(source.model, form, precision)  # type: ignore[arg-type]
    name = name or file_name(graph.form, graph_of_default(source.model), precision, kind)
    others = [each for each in read_listing(folder) if each.file != name]
    source_sha256 = sha256_of(source.weights)
    if others and others[0].source_sha256 != source_sha256:
        raise RunError(f"{folder} holds exports of another model, {others[0].source}", "Choose another folder with -o")
    described = _described(source, graph, precision, kind)
    model = onnx_of(graph, kind, {key: described[key] for key in _IN_METADATA})
    path = folder / name
    with tempfile.TemporaryDirectory(prefix="xraycls-export-") as temporary:
        draft = Path(temporary) / name
        write_onnx(model, draft)
        file = ExportedFile(
            **described, file=name, sha256=sha256_of(draft), outputs=shapes_of(model), source_sha256=source_sha256
        )
        runnable = draft
        if graph.form == "trt":
            runnable = draft.with_name("before-plugin.onnx")
            write_onnx(before_plugin(model), runnable)
        parity = _checked(source, runnable, file, images)
    write_onnx(model, path)
    file = replace(file, parity=[each.described() for each in parity], trtexec=trtexec_commands(file))
    _write_texts(folder, [*others, file], file)
    return Exported(path, file, parity)


_IN_METADATA = (
    "kind",
    "network",
    "classes",
    "form",
    "threshold",
    "thresholds",
    "confidence",
    "iou",
    "top_k",
    "rendering",
    "versions",
)


def graph_of_default(model: Classifier | Detector) -> str:
    """The form that a model is exported in when none is named."""
    return "logits" if isinstance(model, Classifier) else "nms"


def _described(source: Source, graph: Graph, precision: str, kind: Input) -> dict[str, Any]:
    model, detector = source.model, isinstance(source.model, Detector)
    rules = model.config.suppression if isinstance(model, Detector) else None
    return {
        "kind": "detector" if detector else "classifier",
        "network": model.config.network if isinstance(model, Detector) else model.architecture.name,
        "classes": tuple(model.config.classes if isinstance(model, Detector) else model.classes),
        "height": graph.height,
        "width": graph.width,
        "input": kind,
        "form": graph.form,
        "precision": precision,
        "opset": graph.opset,
        "rendering": rendering_of(source.recipe),
        "fill": source.recipe.canvas.fill,
        "threshold": source.threshold,
        "confidence": rules and rules.confidence,
        "iou": rules and rules.iou,
        "top_k": rules and rules.top_k,
        "cuts_boxes": isinstance(model, Detector) and model.cuts_boxes,
        "background": model.tao_background if isinstance(model, Detector) else None,
        "bits": source.bits,
        "thresholds": source.thresholds,
        "source": source.weights.name,
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _checked(source: Source, path: Path, file: ExportedFile, images: npt.NDArray[np.uint8]) -> list[Parity]:
    # onnxruntime has no convolution in bf16 for CPUs.
    session = open_session(path, "openvino" if file.precision == "bf16" else "onnxruntime", device="cpu")
    model = source.model.to("cpu").eval()
    parity = compare(model, session, file, images)
    if failed := [each for each in parity if not each.passed]:
        worst = failed[0]
        raise XrayclsError(
            f"The exported file doesn't agree with torch: its {worst.what} differ by {worst.difference:.2g} in a batch "
            f"of {worst.batch}, more than {worst.limit:.2g}, and it was not kept",
            "Try --precision fp32" if file.precision != "fp32" else "Please report this network",
        )
    if not any(each.compared for each in parity):
        logger.warning("No detections on these pictures, so none were compared: give --images that show objects.")
    return parity


def trtexec_commands(file: ExportedFile) -> dict[str, str]:
    """The commands that build an engine of TensorRT, by its version."""
    shape = f"1x{file.height}x{file.width}"
    engine = Path(file.file).with_suffix(".engine")
    shapes = f"--minShapes=image:1x{shape} --optShapes=image:8x{shape} --maxShapes=image:32x{shape}"
    command = f"trtexec --onnx={file.file} {shapes} --saveEngine={engine}"
    older = command if file.precision == "fp32" else f"{command} --stronglyTyped"
    return {"11": command, "10": older}


def _write_texts(folder: Path, files: Sequence[ExportedFile], latest: ExportedFile) -> None:
    background = ["background"] if latest.kind == "detector" else []
    first = background if latest.background == "first" else []
    last = background if latest.background == "last" else []
    with atomic_write(folder / LABELS) as temporary:
        temporary.write_text("".join(f"{name}\n" for name in (*first, *latest.classes, *last)), encoding="utf-8")
    listing = {"format": FORMAT, "files": [each.described() for each in files]}
    with atomic_write(folder / LISTING) as temporary:
        temporary.write_text(json.dumps(listing, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _version(package: str) -> str:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return ""
