"""Engines of TensorRT, built by the commands that `xraycls export` prints and compared with torch as exports are.

    python -m benchmarks.tensorrt_engines --json benchmarks/results/gpu/tensorrt.json

Every model is exported with random weights, its engine is built by `trtexec`, and what it computes for 1, 2 and 5
pictures is held against torch with the limits of the export. Needs a GPU and trtexec of TensorRT 10 or 11 on the path;
without them all rows are not measured.
"""

from __future__ import annotations

import argparse
import json
import re
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import xraycls
from benchmarks.common import in_sentences, show, show_not_measured, write_json
from xraycls.data.phantom import write_phantom
from xraycls.errors import XrayclsError
from xraycls.export.folder import Exported
from xraycls.export.onnx_file import INPUT
from xraycls.export.parity import Parity, compare
from xraycls.inference.load import load_model
from xraycls.inference.runtimes import Arrays
from xraycls.models.classifier import Classifier, build_classifier, save_classifier
from xraycls.models.detection.base import Detector
from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
from xraycls.models.detection.files import save_detector
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.ssd import SSDConfig
from xraycls.models.detection.yolo_v4 import YOLOv4Config

_AS_NMS = {
    "num_dets": "num_detections",
    "det_boxes": "detection_boxes",
    "det_scores": "detection_scores",
    "det_classes": "detection_classes",
}
"""Outputs of the plugin, by those of the form ``nms`` that hold the same."""

CASES = (
    *(("classifier", "logits", precision) for precision in ("fp32", "fp16", "int8")),
    *(("ssd", form, precision) for form in ("heads", "nms", "tao", "trt") for precision in ("fp32", "fp16")),
    ("ssd", "tao", "int8"),
    ("yolo_v4", "tao", "fp32"),
    ("faster_rcnn", "tao", "fp32"),
)
"""Model, form and precision of each row."""


@dataclass(frozen=True, slots=True)
class Engine:
    """An engine that trtexec computes, a process for every batch.

    Args:
        trtexec: the program.
        path: the engine.
        names: of outputs that have another name in the form ``nms``.
    """

    trtexec: str
    path: Path
    names: Mapping[str, str]

    def run(self, images: npt.NDArray[Any]) -> Arrays:
        """Returns the outputs by name for pictures [B, C, H, W]."""
        images.tofile(self.path.with_suffix(".bin"))
        found = self.path.with_suffix(".json")
        shape = "x".join(map(str, images.shape))
        _run(
            f"{self.trtexec} --loadEngine={self.path.name} --shapes={INPUT}:{shape} --iterations=1 --duration=0 "
            f"--warmUp=0 --loadInputs={INPUT}:{self.path.stem}.bin --exportOutput={found.name}",
            self.path.parent,
        )
        outputs = {}
        for each in json.loads(found.read_text()):
            dims = [int(size) for size in each["dimensions"].split("x")]
            outputs[self.names.get(each["name"], each["name"])] = np.array(each["values"], np.float32).reshape(dims)
        return outputs


def main() -> None:
    """Build, compare, print a table and write JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", type=int, default=224, help="of the inputs, pixels; a multiple of 32")
    parser.add_argument("--trtexec", default=shutil.which("trtexec") or "", help="the program; that on the path")
    parser.add_argument("--json", type=Path)
    given = parser.parse_args()
    if not given.trtexec:
        show_not_measured({f"{name} {form} {precision}": "There is no trtexec." for name, form, precision in CASES})
        write_json(given.json, {"trtexec": None, "engines": []})
        return
    version = release(given.trtexec)
    with tempfile.TemporaryDirectory() as folder:
        films = Path(folder) / "films"
        write_phantom(films, images=32, size=given.size)
        models = save_models(Path(folder), given.size)
        found = [measured(case, models[case[0]], films, given.trtexec, version) for case in CASES]
    rows = [
        (each["model"], each["form"], each["precision"], each["result"], f"{each['milliseconds'] or '–'}")
        for each in found
    ]
    show(f"TensorRT {version}", ("model", "form", "precision", "against torch", "ms, batch 1"), rows)
    write_json(given.json, {"trtexec": version, "engines": found})


def measured(case: tuple[str, str, str], model: Path, films: Path, trtexec: str, version: str) -> dict[str, Any]:
    """Returns a row: whether the engine was built and agrees with torch, and how long it computes a picture."""
    name, form, precision = case
    row = {"model": name, "form": form, "precision": precision, "milliseconds": None, "parity": []}
    eight = {"calibration": films, "calibration_images": 16} if precision == "int8" else {}
    done = xraycls.export_model(model, model.parent / f"{name}-exported", form=form, precision=precision, **eight)
    command = done.file.trtexec[version].replace("trtexec", trtexec, 1)
    try:
        log = _run(command, done.path.parent)
        parity = compared(done, model, Engine(trtexec, done.path.with_suffix(".engine"), _AS_NMS))
    except XrayclsError as error:
        return {**row, "result": f"failed: {error.message}"}
    failed = [each for each in parity if not each.passed]
    spent = re.search(r"GPU Compute Time:.*?median = ([\d.]+) ms", log)
    return {
        **row,
        "result": f"{failed[0].what} differ by {failed[0].difference:.2g}" if failed else "agrees",
        "milliseconds": float(spent[1]) if spent else None,
        "parity": [each.described() for each in parity],
    }


def compared(done: Exported, model: Path, engine: Engine) -> list[Parity]:
    """Returns the comparison of an engine with the model in torch, in batches of 1, 2 and 5."""
    trained: Any = load_model(model)
    whole: Classifier | Detector = trained.classifier if done.file.kind == "classifier" else trained.detector
    random = np.random.default_rng(0)
    pictures = random.integers(0, 256, (5, 1, done.file.height, done.file.width), dtype=np.uint8)
    file = replace(done.file, form="nms") if done.file.form == "trt" else done.file
    return compare(whole, engine, file, pictures)


def save_models(folder: Path, size: int) -> dict[str, Path]:
    """Write a model of every kind, with random weights."""
    torch.manual_seed(0)
    common: dict[str, Any] = {"classes": ("nodule", "opacity"), "height": size, "width": size}
    detectors = {
        "ssd": SSDConfig(backbone="resnet18", **common),
        "yolo_v4": YOLOv4Config(backbone="cspdarknet_tiny", **common),
        "faster_rcnn": FasterRCNNConfig(backbone="resnet18", **common),
    }
    paths = {name: folder / f"{name}.safetensors" for name in ("classifier", *detectors)}
    classifier, _ = build_classifier("resnet18", ("NORMAL", "PNEUMONIA"), weights="none", size=size)
    save_classifier(classifier, paths["classifier"])
    for name, config in detectors.items():
        save_detector(build_detector(config), paths[name])
    return paths


def release(trtexec: str) -> str:
    """Returns the key of the commands for the TensorRT of a trtexec, "10" or "11"."""
    text = _run(f"{trtexec} --help", Path.cwd())
    number = re.search(r"TensorRT v(\d+)", text)
    return "11" if number and int(number[1]) >= 110000 else "10"


def _run(command: str, folder: Path) -> str:
    """What a program prints; raises XrayclsError with its last error."""
    done = subprocess.run(shlex.split(command), cwd=folder, capture_output=True, text=True, check=False)
    if done.returncode:
        said = [line for line in (done.stdout + done.stderr).splitlines() if "[E]" in line] or ["no word of why"]
        raise XrayclsError(f"trtexec ended with {done.returncode}: {said[-1]}")
    return done.stdout


if __name__ == "__main__":
    in_sentences(main)
