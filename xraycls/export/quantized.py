"""Models that compute in 8 bits, and what of their ONNX files TensorRT wants: pairs of QuantizeLinear and
DequantizeLinear with zero points of 0, or a calibration cache for the file without them."""

from __future__ import annotations

import copy
import json
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

from xraycls.data.files import atomic_write
from xraycls.errors import UsageError
from xraycls.export.onnx_file import array_of, initializer_of
from xraycls.export.ranges import calibrate
from xraycls.export.sensitivity import without_sensitive_layers
from xraycls.models.classifier import Classifier
from xraycls.models.detection.base import Detector
from xraycls.models.folding import fold_batch_norms
from xraycls.models.quantization import LARGEST, plan_of, plan_quantization, quantize, remove_quantization

Model = Classifier | Detector

RANGES = (".cache", ".json")
"""Suffixes of the files of ranges beside a file in 8 bits: TensorRT's cache, and TAO's JSON."""

_HEADER = "TRT-101600-EntropyCalibration2"
"""The first line of a cache: of TensorRT 10.16, the last that reads one."""


def quantized_copy(model: Model, pictures: npt.NDArray[np.uint8] | None, method: str = "entropy") -> Model:
    """Returns a copy of a model that computes in 8 bits, its batch normalisation within the convolutions.

    Layers that rounding hurts most stay in floating point, see :mod:`xraycls.export.sensitivity`; which they are,
    :func:`xraycls.models.quantization.unquantized` tells.

    Args:
        model: in evaluation mode; one that was trained with quantisation keeps its ranges where no pictures are given.
        pictures: uint8 [n, 1, H, W], what ranges are chosen on; None for a model that has them.
        method: one of :data:`xraycls.export.ranges.METHODS`.

    Raises:
        UsageError: the model has no ranges and there are no pictures, or no layer that can be quantised.
    """
    made = copy.deepcopy(model).to("cpu").eval()
    if pictures is not None:
        remove_quantization(made.net)
    height, width = (made.size, made.size) if isinstance(made, Classifier) else (made.config.height, made.config.width)
    blank = torch.zeros(1, 1, height, width, dtype=torch.uint8)
    fold_batch_norms(made.net, lambda: made(blank))
    if plan_of(made.net):
        return made
    if pictures is None:
        raise UsageError("INT8 needs pictures to choose ranges on", "Give --calibration DATA")
    plan = plan_quantization(made.net, lambda: made(blank))
    if not plan:
        raise UsageError("The network has no layer that can be quantised", "Choose --precision fp16")
    quantize(made.net, plan)
    calibrate(made, pictures, method)
    return without_sensitive_layers(made, pictures)


def float_copy(model: Model) -> Model:
    """Returns a copy of a model that computes in floating point."""
    made = copy.deepcopy(model)
    remove_quantization(made.net)
    return made


def with_whole_weights(model: Any) -> Any:
    """Returns a model of ONNX whose quantised weights are kept as 8-bit integers."""
    made = _copied(model)
    graph = made.graph
    constants = {each.name: each for each in graph.initializer}
    for node in [each for each in graph.node if each.op_type == "QuantizeLinear" and each.input[0] in constants]:
        weight, scale = (array_of(constants[name]) for name in node.input[:2])
        axis = next((each.i for each in node.attribute if each.name == "axis"), 0)
        shape = [-1 if index == axis else 1 for index in range(weight.ndim)]
        steps = np.rint(weight / scale.reshape(shape)).clip(-LARGEST - 1, LARGEST).astype(np.int8)
        graph.initializer.append(initializer_of(node.output[0], steps))
        graph.node.remove(node)
    _drop_unused(graph)
    return made


def without_quantization(model: Any) -> Any:
    """Returns a model of ONNX less its pairs of QuantizeLinear and DequantizeLinear: the same network in fp32."""
    made = _copied(model)
    graph = made.graph
    source = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "QuantizeLinear"}
    pairs = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    values = {node.output[0]: source[node.input[0]] for node in pairs if node.op_type == "DequantizeLinear"}
    for node in pairs:
        graph.node.remove(node)
    for node in graph.node:
        for index, name in enumerate(node.input):
            while name in values:
                name = values[name]
            node.input[index] = name
    _drop_unused(graph)
    return made


def ranges_of(model: Any) -> dict[str, float]:
    """Returns the largest value of each quantised activation by the name of its tensor."""
    constants = {each.name: each for each in model.graph.initializer}
    activations = (n for n in model.graph.node if n.op_type == "QuantizeLinear" and n.input[0] not in constants)
    return {node.input[0]: float(array_of(constants[node.input[1]])) * LARGEST for node in activations}


def cache_text(ranges: Mapping[str, float]) -> str:
    """Returns TensorRT's calibration cache: the scale of each tensor, range / 127, as the digits of its float32."""
    lines = (f"{name}: {struct.pack('>f', limit / LARGEST).hex()}" for name, limit in ranges.items())
    return "\n".join([_HEADER, *lines, ""])


def write_ranges(ranges: Mapping[str, float], cache: Path | None, as_json: Path | None) -> list[Path]:
    """Write TensorRT's calibration cache and TAO's JSON of ranges, atomically; returns what was written.

    Args:
        ranges: by tensor, see :func:`ranges_of`.
        cache: the file, or None.
        as_json: likewise.
    """
    texts = {
        cache: cache_text(ranges),
        as_json: json.dumps({"tensor_scales": dict(ranges)}, indent=2) + "\n",
    }
    written = []
    for path, text in texts.items():
        if path is not None:
            with atomic_write(path) as temporary:
                temporary.write_text(text, encoding="utf-8")
            written.append(path)
    return written


def _copied(model: Any) -> Any:
    made = type(model)()
    made.CopyFrom(model)
    return made


def _drop_unused(graph: Any) -> None:
    used = {name for node in graph.node for name in _inputs(node)} | {each.name for each in graph.output}
    for each in [each for each in graph.initializer if each.name not in used]:
        graph.initializer.remove(each)


def _inputs(node: Any) -> Iterator[str]:
    """What a node takes, the nodes of its subgraphs included."""
    yield from node.input
    for attribute in node.attribute:
        for inner in attribute.g.node:
            yield from _inputs(inner)
