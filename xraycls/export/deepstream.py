"""DeepStream's settings of an exported file: nvinfer's, and those of the application that shows what it finds."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from xraycls.data.files import atomic_write
from xraycls.errors import UsageError
from xraycls.inference.exported import ExportedFile

NVINFER, APPLICATION, LABELS_LINE = "nvinfer_config.txt", "deepstream_app.txt", "labels_line.txt"
_COLOURS = {"float": 2, "bgr": 1}
_MODES = {"fp32": 0, "int8": 1, "fp16": 2}
_PARSERS: Mapping[str, str] = {
    "rows": "NvDsInferParseCustomNMSTLT",
    "four": "NvDsInferParseCustomBatchedNMSTLT",
    "trt": "NvDsInferParseCustomEfficientNMSTLT",
}
"""DeepStream's own parsers, and that of TAO's sample applications, by the layout of the outputs."""


def nvinfer_settings(
    file: ExportedFile,
    *,
    labels: str,
    data_type: str = "fp32",
    cache: Path | None = None,
    threshold: float = 0.3,
) -> str:
    """Returns the text of nvinfer's configuration.

    nvinfer feeds float32 levels, grey or blue, green and red, and the normalisation is part of the file, so nothing is
    scaled or subtracted.

    Args:
        file: with the input "float" or "bgr", of a form that DeepStream reads: ``tao`` or ``trt`` of a detector,
            ``probabilities`` of a classifier.
        labels: name of the file of labels beside it: one a line with the background where TAO has it, or of a
            classifier all in one line.
        data_type: "fp32", "fp16" or "int8", of the engine that nvinfer builds.
        cache: the calibration cache of "int8", which DeepStream up to 9.2 reads.
        threshold: what a detection or a class must score.

    Raises:
        UsageError: the file is of another form or input.
    """
    if file.input == "uint8" or file.form not in ("tao", "trt", "probabilities"):
        form = "probabilities" if file.kind == "classifier" else "tao"
        raise UsageError(f"{file.file} isn't for DeepStream", f"Export it with --form {form} --input float")
    letterboxed = int(file.rendering == "letterboxed")
    settings: dict[str, object] = {
        "gpu-id": 0,
        "onnx-file": file.file,
        "model-engine-file": f"{file.file}_b1_gpu0_{data_type}.engine",
        "labelfile-path": labels,
        "network-mode": _MODES[data_type],
        **({} if cache is None else {"int8-calib-file": cache}),
        "batch-size": 1,
        "gie-unique-id": 1,
        "net-scale-factor": "1.0",
        "offsets": ";".join(["0"] * file.channels),
        "infer-dims": f"{file.channels};{file.height};{file.width}",
        "model-color-format": _COLOURS[file.input],
        "maintain-aspect-ratio": letterboxed,
        "symmetric-padding": letterboxed,
        "output-blob-names": ";".join(file.outputs),
        "output-tensor-meta": 0,
        **(_of_classifier(threshold) if file.kind == "classifier" else _of_detector(file)),
    }
    lines = ["[property]", *(f"{name}={value}" for name, value in settings.items())]
    if file.kind == "classifier":
        return "\n".join([*lines, ""])
    lines += ["# custom-lib-path= the library with the parser: libnvds_infercustomparser.so or that of the TAO apps"]
    return "\n".join([*lines, "", "[class-attrs-all]", f"pre-cluster-threshold={threshold:g}", ""])


def _of_classifier(threshold: float) -> dict[str, object]:
    """Without a parser: nvinfer takes the class of the largest output, of whole frames."""
    return {"network-type": 1, "process-mode": 1, "classifier-threshold": f"{threshold:g}"}


def _of_detector(file: ExportedFile) -> dict[str, object]:
    rows = file.form == "tao" and file.background is not None
    return {
        "network-type": 0,
        "num-detected-classes": len(file.classes) + rows,
        "parse-bbox-func-name": _PARSERS["trt" if file.form == "trt" else "rows" if rows else "four"],
        "cluster-mode": 4,
    }


def application_settings(file: ExportedFile, source: str = "file:///path/to/films.mp4") -> str:
    """Returns the text of deepstream-app's configuration: one source, the model, boxes drawn, a file as its sink.

    Args:
        file: that nvinfer's configuration describes.
        source: URI of the pictures or the film.
    """
    groups: dict[str, dict[str, object]] = {
        "application": {"enable-perf-measurement": 1, "perf-measurement-interval-sec": 5},
        "tiled-display": {"enable": 0},
        "source0": {"enable": 1, "type": 3, "uri": source, "num-sources": 1, "gpu-id": 0},
        "streammux": {
            "gpu-id": 0,
            "batch-size": 1,
            "batched-push-timeout": 40000,
            "width": file.width,
            "height": file.height,
        },
        "primary-gie": {"enable": 1, "gpu-id": 0, "batch-size": 1, "gie-unique-id": 1, "config-file": NVINFER},
        "osd": {"enable": 1, "gpu-id": 0, "border-width": 2, "text-size": 12},
        "sink0": {"enable": 1, "type": 3, "container": 1, "codec": 1, "sync": 0, "output-file": "found.mp4"},
    }
    lines = [
        line
        for group, settings in groups.items()
        for line in (f"[{group}]", *(f"{name}={value}" for name, value in settings.items()), "")
    ]
    return "\n".join(lines)


def write_deepstream(path: Path, file: ExportedFile, labels: str) -> list[Path]:
    """Write what DeepStream needs beside an exported file; returns the files.

    Args:
        path: the exported file.
        file: its description.
        labels: name of the labels beside it, one a line.

    Raises:
        UsageError: the file isn't for DeepStream.
    """
    texts = {APPLICATION: application_settings(file)}
    if file.kind == "classifier":
        labels = LABELS_LINE
        texts[labels] = ";".join(file.classes) + "\n"
    threshold = 0.3 if file.threshold is None or file.kind == "classifier" else file.threshold
    texts[NVINFER] = nvinfer_settings(file, labels=labels, threshold=threshold)
    return [write_text(path.parent / name, text) for name, text in texts.items()]


def write_text(path: Path, text: str) -> Path:
    """Write a configuration atomically, and return where."""
    with atomic_write(path) as temporary:
        temporary.write_text(text, encoding="utf-8")
    return path
