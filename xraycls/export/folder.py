"""Export a model into a folder, where nothing is left that doesn't agree with torch."""

from __future__ import annotations

import importlib.metadata
import json
import logging
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Literal, get_args

import numpy as np
import numpy.typing as npt

from xraycls.data.files import atomic_write
from xraycls.errors import RunError, UsageError, XrayclsError, unknown
from xraycls.export.graph import Graph, forms_of, graph_of
from xraycls.export.onnx_file import before_plugin, onnx_of, shapes_of, write_onnx
from xraycls.export.parity import Parity, compare
from xraycls.export.quantized import RANGES, float_copy, with_whole_weights, without_quantization
from xraycls.export.u8s8 import u8s8_of
from xraycls.inference.exported import FORMAT, LISTING, ExportedFile, read_listing, rendering_of, sha256_of
from xraycls.inference.runtimes import OnnxRuntime, Session, open_session
from xraycls.loaders.recipes.protocol import ViewRecipe
from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.detection.map_detector import MapDetector
from xraycls.models.quantization import plan_of, unquantized

logger = logging.getLogger(__name__)

LABELS = "labels.txt"
Input = Literal["uint8", "float", "bgr"]
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
        prevalence: of each class or finding in its training; empty when unknown.
    """

    model: Classifier | Detector
    recipe: ViewRecipe
    weights: Path
    threshold: float | None = None
    bits: int | None = None
    thresholds: tuple[float, ...] | None = None
    prevalence: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Exported:
    """What was written.

    Attributes:
        path: the file.
        file: its description.
        parity: the comparisons with torch.
        model: the graph, a message of ONNX.
    """

    path: Path
    file: ExportedFile
    parity: list[Parity]
    model: Any


def input_of_frames(model: Classifier | Detector) -> Input:
    """Returns the kind of input for readers of frames, such as DeepStream: colours where the network has them."""
    coloured = isinstance(model, Detector) and not isinstance(model, MapDetector) and len(model.config.mean) == 3
    return "bgr" if coloured else "float"


def check_input(model: Classifier | Detector, kind: str) -> None:
    """Raise UsageError for a kind of input that a model doesn't take."""
    if kind not in get_args(Input):
        raise unknown("input", kind, get_args(Input), "--input")
    if kind == "bgr" and input_of_frames(model) != "bgr":
        raise UsageError("The network takes grey pictures, not the three channels of --input bgr", "Choose float")


def file_name(form: str, default: str, precision: str, kind: str) -> str:
    """The name of an exported file: ``model.onnx``, with what differs from the defaults before the suffix."""
    parts = [form] * (form != default) + [kind] * (kind != "uint8") + [precision] * (precision != "fp32")
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
        source: the model; one that was trained with quantisation is exported without it.
        folder: made when it isn't there.
        images: uint8 [n, 1, H, W], pictures as the model takes them, to compare on.
        form: the set of outputs, see :mod:`xraycls.export.graph`; None for the default.
        precision: "fp32", "fp16" or "bf16".
        kind: of input; "bgr" only of a detector that takes three channels.
        name: of the file; None for :func:`file_name`.

    Raises:
        UsageError: no such form or precision.
        MissingExtra: onnx, or a runtime to check with, isn't installed.
        XrayclsError: the file doesn't agree with torch; it is not left behind.
        RunError: the folder holds another model.
    """
    check_input(source.model, kind)
    source = replace(source, model=float_copy(source.model))
    graph = graph_of(source.model, form, precision)  # type: ignore[arg-type]
    writing = _Writing(source, folder, graph, kind)
    return writing.write(onnx_of(graph, kind, writing.metadata(precision)), precision, name, images)


def export_in_8_bits(
    source: Source,
    folder: Path,
    images: npt.NDArray[np.uint8],
    quantization: dict[str, Any],
    *,
    form: str | None = None,
    kind: Input = "uint8",
    names: tuple[str, str] | tuple[None, None] = (None, None),
) -> tuple[Exported, Exported]:
    """Write a model that computes in 8 bits, and the same network in fp32, whose tensors have the same names.

    Args:
        source: its model is that of :func:`xraycls.export.quantized.quantized_copy`.
        folder: as of :func:`export_file`, whose errors are raised, too.
        images: likewise.
        quantization: how the ranges were chosen, for the description.
        form: likewise.
        kind: likewise.
        names: of the file in fp32 and of that in 8 bits; None for :func:`file_name`.

    Returns:
        The file in fp32, and the one in 8 bits, as pairs of QuantizeLinear and DequantizeLinear.
    """
    check_input(source.model, kind)
    graph = graph_of(source.model, form, "int8")
    writing = _Writing(source, folder, graph, kind)
    model = onnx_of(graph, kind, writing.metadata("int8"))
    plain = replace(source, model=float_copy(source.model))
    whole = _Writing(plain, folder, graph, kind).write(without_quantization(model), "fp32", names[0], images)
    plan = plan_of(source.model.net)
    counts = {"layers": len(plan.layers), "activations": len(plan.inputs) + len(plan.outputs)}
    described = {**quantization, **counts, "in_floating_point": unquantized(source.model.net)}
    return whole, writing.write(with_whole_weights(model), "int8", names[1], images, quantization=described)


def export_u8s8(
    source: Source,
    whole: Exported,
    images: npt.NDArray[np.uint8],
    pictures: npt.NDArray[np.uint8],
    quantization: dict[str, Any],
) -> Exported:
    """Write a model in 8 bits for onnxruntime on CPUs, but for the layers that the description names.

    Args:
        source: the model.
        whole: the file in fp32 that it is made from.
        images: as of :func:`export_file`.
        pictures: uint8 [n, 1, H, W], what ranges are chosen on.
        quantization: how they were chosen, for the description.
    """
    graph = graph_of(source.model, whole.file.form)
    model = u8s8_of(whole.path, whole.file, pictures, quantization.get("in_floating_point", ()))
    writing = _Writing(source, whole.path.parent, graph, whole.file.input)
    return writing.write(model, "u8s8", None, images, quantization=quantization)


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


@dataclass(frozen=True, slots=True)
class _Writing:
    """Writes files of a graph into a folder.

    Attributes:
        source: what the files are compared with.
        folder: where they go.
        graph: that they hold.
        kind: of their input.
    """

    source: Source
    folder: Path
    graph: Graph
    kind: Input

    def metadata(self, precision: str) -> dict[str, Any]:
        """What a file itself says of the model."""
        described = self._described(precision)
        return {key: described[key] for key in _IN_METADATA}

    def write(
        self, model: Any, precision: str, name: str | None, images: npt.NDArray[np.uint8], **more: Any
    ) -> Exported:
        """Check a model of ONNX and write it; see :func:`export_file`."""
        name = name or file_name(self.graph.form, forms_of(self.source.model)[0], precision, self.kind)
        others = [each for each in read_listing(self.folder) if each.file != name]
        source_sha256 = sha256_of(self.source.weights)
        if others and others[0].source_sha256 != source_sha256:
            raise RunError(
                f"{self.folder} holds exports of another model, {others[0].source}", "Choose another folder with -o"
            )
        with tempfile.TemporaryDirectory(prefix="xraycls-export-") as temporary:
            draft = Path(temporary) / name
            write_onnx(model, draft)
            file = ExportedFile(
                **self._described(precision),
                file=name,
                sha256=sha256_of(draft),
                outputs=shapes_of(model),
                source_sha256=source_sha256,
                **more,
            )
            runnable = draft
            if self.graph.form == "trt":
                runnable = draft.with_name("before-plugin.onnx")
                write_onnx(before_plugin(model), runnable)
            parity = _checked(self.source, runnable, file, images)
        write_onnx(model, self.folder / name)
        file = replace(file, parity=[each.described() for each in parity], trtexec=trtexec_commands(file))
        _write_texts(self.folder, [*others, file], file)
        return Exported(self.folder / name, file, parity, model)

    def _described(self, precision: str) -> dict[str, Any]:
        source, model = self.source, self.source.model
        detector = isinstance(model, Detector)
        rules = model.config.suppression if isinstance(model, Detector) else None
        return {
            "kind": "detector" if detector else "classifier",
            "network": model.config.network if isinstance(model, Detector) else model.architecture.name,
            "classes": tuple(model.config.classes if isinstance(model, Detector) else model.classes),
            "height": self.graph.height,
            "width": self.graph.width,
            "input": self.kind,
            "form": self.graph.form,
            "precision": precision,
            "opset": self.graph.opset,
            "rendering": rendering_of(source.recipe),
            "fill": source.recipe.canvas.fill,
            "threshold": source.threshold,
            "confidence": rules and rules.confidence,
            "iou": rules and rules.iou,
            "top_k": rules and rules.top_k,
            "cuts_boxes": isinstance(model, Detector) and model.cuts_boxes,
            "background": model.tao_background if isinstance(model, Detector) else None,
            "boxes": model.rule if isinstance(model, MapDetector) else None,
            "bits": source.bits,
            "thresholds": source.thresholds,
            "prevalence": dict(source.prevalence),
            "source": source.weights.name,
            "versions": {name: _version(name) for name in _PACKAGES},
        }


def _checked(source: Source, path: Path, file: ExportedFile, images: npt.NDArray[np.uint8]) -> list[Parity]:
    model = source.model.to("cpu").eval()
    parity = compare(model, _session(path, file.precision), file, images)
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


def _session(path: Path, precision: str) -> Session:
    """What computes a file to compare it: onnxruntime, which has no convolution in bf16 for CPUs."""
    if precision == "int8":
        return OnnxRuntime(path, precision="auto", threads=None, device="cpu", as_written=True)
    return open_session(path, "openvino" if precision == "bf16" else "onnxruntime", device="cpu")


def trtexec_commands(file: ExportedFile) -> dict[str, str]:
    """The commands that build an engine of TensorRT, by its version."""
    shape = f"{file.channels}x{file.height}x{file.width}"
    engine = Path(file.file).with_suffix(".engine")
    shapes = f"--minShapes=image:1x{shape} --optShapes=image:8x{shape} --maxShapes=image:32x{shape}"
    command = f"trtexec --onnx={file.file} {shapes} --saveEngine={engine}"
    older = command if file.precision == "fp32" else f"{command} --stronglyTyped"
    if file.precision != "int8":
        return {"11": command, "10": older}
    cache = Path(file.file).with_suffix(RANGES[0])
    of_cache = command.replace(file.file, file.file.replace(".int8.onnx", ".onnx"))
    return {"11": command, "10": older, "10, with the cache": f"{of_cache} --int8 --calib={cache}"}


def note_in_listing(done: Exported) -> None:
    """Take the changed description of a file into the listing of its folder."""
    others = [each for each in read_listing(done.path.parent) if each.file != done.file.file]
    _write_texts(done.path.parent, [*others, done.file], done.file)


def remove_file(done: Exported) -> None:
    """Remove a file in 8 bits, its ranges and its description."""
    for path in (done.path, *(done.path.with_suffix(suffix) for suffix in RANGES)):
        path.unlink(missing_ok=True)
    others = [each for each in read_listing(done.path.parent) if each.file != done.file.file]
    _write_texts(done.path.parent, others, done.file)


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
