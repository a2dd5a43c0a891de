"""Settings of DeepStream's nvinfer for an exported detector in the form of TAO."""

from __future__ import annotations

from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.errors import UsageError
from xraycls.inference.exported import ExportedFile

NVINFER = "nvinfer_config.txt"
_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
_ROWS, _FOUR = "NvDsInferParseCustomNMSTLT", "NvDsInferParseCustomBatchedNMSTLT"


def nvinfer_settings(file: ExportedFile, *, labels: str, data_type: str = "fp32", threshold: float = 0.3) -> str:
    """Returns the text of nvinfer's configuration.

    nvinfer feeds float32 grey levels, and the normalisation is part of the file, so nothing is scaled or subtracted.
    The two parsers are those of DeepStream's and of TAO's sample applications.

    Args:
        file: of the form ``tao`` with a float input.
        labels: name of the file of labels beside it, the background among them where TAO has it there.
        data_type: "fp32" or "fp16", of the engine that nvinfer builds.
        threshold: what a detection must score.

    Raises:
        UsageError: the file is of another form or input.
    """
    if file.form != "tao" or file.input != "float":
        raise UsageError(f"{file.file} isn't for DeepStream", "Export it with --form tao --input float")
    with_background = file.background is not None
    settings = {
        "gpu-id": 0,
        "onnx-file": file.file,
        "model-engine-file": f"{file.file}_b1_gpu0_{data_type}.engine",
        "labelfile-path": labels,
        "network-type": 0,
        "network-mode": _MODES[data_type],
        "batch-size": 1,
        "gie-unique-id": 1,
        "net-scale-factor": "1.0",
        "offsets": "0",
        "infer-dims": f"1;{file.height};{file.width}",
        "model-color-format": 2,
        "maintain-aspect-ratio": int(file.rendering == "letterboxed"),
        "symmetric-padding": int(file.rendering == "letterboxed"),
        "num-detected-classes": len(file.classes) + with_background,
        "output-blob-names": ";".join(file.outputs),
        "parse-bbox-func-name": _ROWS if with_background else _FOUR,
        "cluster-mode": 4,
        "output-tensor-meta": 0,
    }
    lines = ["[property]", *(f"{name}={value}" for name, value in settings.items())]
    lines += ["# custom-lib-path= the library with the parser: libnvds_infercustomparser.so or that of the TAO apps"]
    return "\n".join([*lines, "", "[class-attrs-all]", f"pre-cluster-threshold={threshold:g}", ""])


def write_nvinfer(path: Path, text: str) -> Path:
    """Write a configuration atomically, and return where."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
