"""Model repositories of Triton Inference Server: configuration, versions, labels, and an ensemble that takes files."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, get_args

from xraycls.data.files import atomic_write
from xraycls.data.protobuf import FieldShape, Schema, print_text
from xraycls.errors import UsageError
from xraycls.inference.exported import FORMAT, LISTING, ExportedFile

if TYPE_CHECKING:
    from google.protobuf.message import Message

Backend = Literal["onnxruntime", "tensorrt", "python"]
BACKENDS: tuple[Backend, ...] = get_args(Backend)
"""What computes the file: Triton's own for ONNX, an engine of TensorRT, or onnxruntime in Triton's Python backend."""

_MODELS = Path(__file__).parent / "triton_models"
_TYPES = ("TYPE_INVALID", "TYPE_BOOL", "TYPE_UINT8", "TYPE_INT32", "TYPE_FP32", "TYPE_STRING")
_INPUTS = {"uint8": "TYPE_UINT8", "float": "TYPE_FP32", "bgr": "TYPE_FP32"}
_WHOLE = ("num_detections", "detection_classes", "num_dets", "det_classes", "NMS_1", "nms_out_1", "BatchedNMS")
"""Outputs that are int32; the others are float32."""
_LABELLED = ("probabilities", "logits")
_PACKAGE = "xraycls.triton"


def write_repository(
    path: Path,
    file: ExportedFile,
    repository: Path,
    *,
    name: str,
    backend: Backend = "onnxruntime",
    max_batch_size: int = 32,
) -> list[Path]:
    """Write a model, and an ensemble ``NAME_file`` that takes the bytes of picture and DICOM files, into a repository.

    The ensemble's first step draws pictures as the evaluation of the model does. It needs Triton's Python backend with
    ``pip install xraycls[runtime]``; the model itself needs nothing.

    Args:
        path: the exported file.
        file: its description.
        repository: made when it isn't there; other models in it stay.
        name: of the model.
        backend: what computes it. For "tensorrt" the engine ``model.plan`` is still to be built by ``trtexec``.
        max_batch_size: pictures that Triton puts together.

    Returns:
        The folders of the models.

    Raises:
        UsageError: the name is taken or impossible, or the backend can't compute the file.
        MissingExtra: protobuf isn't installed.
    """
    _check(file, repository, name, backend)
    labels = "".join(f"{each}\n" for each in file.classes)
    folders = [repository / name, repository / f"{name}_draw", repository / f"{name}_file"]
    model = model_config(file, name, backend, max_batch_size)
    draw = drawing_config(file, f"{name}_draw", max_batch_size)
    ensemble = ensemble_config(file, name, max_batch_size)
    for folder, config in zip(folders, (model, draw, ensemble), strict=True):
        (folder / "1").mkdir(parents=True)
        _write(folder / "config.pbtxt", print_text(config))
        _write(folder / "labels.txt", labels)
    if backend != "tensorrt":
        shutil.copyfile(path, folders[0] / "1" / "model.onnx")
    if backend == "python":
        shutil.copyfile(_MODELS / "compute.py", folders[0] / "1" / "model.py")
    shutil.copyfile(_MODELS / "draw.py", folders[1] / "1" / "model.py")
    listing = {"format": FORMAT, "files": [file.described()]}
    _write(folders[1] / "1" / LISTING, json.dumps(listing, indent=2, ensure_ascii=False) + "\n")
    return folders


def model_config(file: ExportedFile, name: str, backend: Backend, max_batch_size: int) -> Any:
    """Returns the configuration of a model, a message of Triton's ``ModelConfig``."""
    return _messages()["ModelConfig"](
        name=name,
        backend=backend,
        max_batch_size=max_batch_size,
        input=[_tensor("ModelInput", "image", _INPUTS[file.input], (file.channels, file.height, file.width))],
        output=_outputs(file),
        version_policy={"latest": {"num_versions": 1}},
        dynamic_batching={"preferred_batch_size": [max_batch_size], "max_queue_delay_microseconds": 2000},
        instance_group=[{"count": 1, "kind": "KIND_GPU" if backend == "tensorrt" else "KIND_AUTO"}],
        model_warmup=[_warmup(file)],
    )


def drawing_config(file: ExportedFile, name: str, max_batch_size: int) -> Any:
    """Returns the configuration of the step that draws files as the model takes them."""
    return _messages()["ModelConfig"](
        name=name,
        backend="python",
        max_batch_size=max_batch_size,
        input=[_tensor("ModelInput", "file", "TYPE_STRING", (1,))],
        output=[_tensor("ModelOutput", "image", _INPUTS[file.input], (file.channels, file.height, file.width))],
        instance_group=[{"count": 1, "kind": "KIND_CPU"}],
    )


def ensemble_config(file: ExportedFile, name: str, max_batch_size: int) -> Any:
    """Returns the configuration of the ensemble of drawing and computing."""
    steps = [
        {
            "model_name": f"{name}_draw",
            "model_version": -1,
            "input_map": {"file": "file"},
            "output_map": {"image": "image"},
        },
        {
            "model_name": name,
            "model_version": -1,
            "input_map": {"image": "image"},
            "output_map": {each: each for each in file.outputs},
        },
    ]
    return _messages()["ModelConfig"](
        name=f"{name}_file",
        platform="ensemble",
        max_batch_size=max_batch_size,
        input=[_tensor("ModelInput", "file", "TYPE_STRING", (1,))],
        output=_outputs(file),
        ensemble_scheduling={"step": steps},
    )


def _check(file: ExportedFile, repository: Path, name: str, backend: str) -> None:
    if not name or not all(c.isalnum() or c in "-_." for c in name):
        raise UsageError(f"A model of Triton can't be named {name!r}", "Use letters, digits, - and _")
    if backend not in BACKENDS:
        raise UsageError(f"Unknown backend {backend!r}", f"Choose {', '.join(BACKENDS)}")
    if file.form == "trt" and backend != "tensorrt":
        raise UsageError(f"{file.file} has the form trt, which only TensorRT computes", "Choose the backend tensorrt")
    for each in (name, f"{name}_draw", f"{name}_file"):
        if (repository / each).exists():
            raise UsageError(f"{repository / each} exists already", "Remove it, or choose another name")


def _outputs(file: ExportedFile) -> list[Any]:
    found = []
    for name, (_, *shape) in file.outputs.items():
        kind = "TYPE_INT32" if name in _WHOLE else "TYPE_FP32"
        dims = [each if isinstance(each, int) else -1 for each in shape]
        more = {"label_filename": "labels.txt"} if name in _LABELLED else {}
        found.append(_tensor("ModelOutput", name, kind, dims, more))
    return found


def _tensor(kind: str, name: str, data_type: str, dims: Sequence[int], more: Mapping[str, str] | None = None) -> Any:
    return _messages()[kind](name=name, data_type=data_type, dims=dims, **(more or {}))


def _warmup(file: ExportedFile) -> dict[str, Any]:
    shape = {"data_type": _INPUTS[file.input], "dims": [file.channels, file.height, file.width], "zero_data": True}
    return {"name": "zeros", "batch_size": 1, "inputs": {"image": shape}}


def _write(path: Path, text: str) -> None:
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


@cache
def _messages() -> dict[str, type[Message]]:
    """Triton's messages as far as they are written here, with the names of its ``model_config.proto``."""
    schema, found = Schema(), {}
    dims = FieldShape("dims", "int64", repeated=True)
    string, kind = "string", FieldShape("data_type", _TYPES)

    def add(name: str, *fields: FieldShape) -> str:
        found[name] = schema.add(f"{_PACKAGE}.{name}", fields)
        return f"{_PACKAGE}.{name}"

    taken = add("ModelInput", FieldShape("name", string), kind, dims)
    given = add("ModelOutput", FieldShape("name", string), kind, dims, FieldShape("label_filename", string))
    latest = add("Latest", FieldShape("num_versions", "uint32"))
    policy = add("ModelVersionPolicy", FieldShape("latest", latest))
    batching = add(
        "ModelDynamicBatching",
        FieldShape("preferred_batch_size", "int32", repeated=True),
        FieldShape("max_queue_delay_microseconds", "uint64"),
    )
    instances = add(
        "ModelInstanceGroup",
        FieldShape("count", "int32"),
        FieldShape("kind", ("KIND_AUTO", "KIND_GPU", "KIND_CPU", "KIND_MODEL")),
    )
    warm = add("WarmupInput", kind, dims, FieldShape("zero_data", "bool"))
    warmup = add(
        "ModelWarmup",
        FieldShape("name", string),
        FieldShape("batch_size", "uint32"),
        FieldShape("inputs", warm, key=string),
    )
    step = add(
        "Step",
        FieldShape("model_name", string),
        FieldShape("model_version", "int64"),
        FieldShape("input_map", string, key=string),
        FieldShape("output_map", string, key=string),
    )
    ensemble = add("ModelEnsembling", FieldShape("step", step, repeated=True))
    add(
        "ModelConfig",
        FieldShape("name", string),
        FieldShape("platform", string),
        FieldShape("backend", string),
        FieldShape("version_policy", policy),
        FieldShape("max_batch_size", "int32"),
        FieldShape("input", taken, repeated=True),
        FieldShape("output", given, repeated=True),
        FieldShape("dynamic_batching", batching),
        FieldShape("instance_group", instances, repeated=True),
        FieldShape("model_warmup", warmup, repeated=True),
        FieldShape("ensemble_scheduling", ensemble),
    )
    return found
