"""Files in 8 bits for onnxruntime on CPUs, by its own tool: activations without a sign, weights with one."""

from __future__ import annotations

import logging
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from xraycls.errors import MissingExtra
from xraycls.export.onnx_file import INPUT
from xraycls.inference.exported import ExportedFile

_OF_DETECTORS = ["Conv", "MaxPool"]
"""Operators of the network; those of decoding and suppression stay in floating point."""

_BATCH = 8


def u8s8_of(
    path: Path, file: ExportedFile, pictures: npt.NDArray[np.uint8], in_floating_point: Sequence[str] = ()
) -> Any:
    """Returns a model of ONNX in 8 bits; ranges go from the least to the largest value that was seen.

    Weights have 7 of their 8 bits: CPUs without VNNI would overflow with more.

    Args:
        path: the file in fp32.
        file: its description.
        pictures: uint8 [n, 1, H, W], what ranges are chosen on.
        in_floating_point: layers of the network that are not quantised.

    Raises:
        MissingExtra: onnxruntime or what its tool needs isn't installed.
    """
    try:
        from onnxruntime.quantization import (
            CalibrationDataReader,
            CalibrationMethod,
            QuantType,
            quant_pre_process,
            quantize_static,
        )
    except ImportError as error:
        raise MissingExtra("onnxruntime's quantisation", "export") from error
    import onnx

    class Pictures(CalibrationDataReader):  # type: ignore[misc]
        def __init__(self) -> None:
            self._batches = self._all()

        def get_next(self) -> dict[str, npt.NDArray[Any]] | None:
            return next(self._batches, None)

        def _all(self) -> Iterator[dict[str, npt.NDArray[Any]]]:
            for first in range(0, len(pictures), _BATCH):
                yield {INPUT: file.input_of(pictures[first : first + _BATCH])}

    level = logging.root.manager.disable
    logging.disable(logging.WARNING)  # the tool talks to the root logger
    try:
        with tempfile.TemporaryDirectory(prefix="xraycls-export-") as temporary:
            inferred, quantized = Path(temporary) / "inferred.onnx", Path(temporary) / "quantized.onnx"
            quant_pre_process(path, inferred, skip_symbolic_shape=True)
            quantize_static(
                inferred,
                quantized,
                Pictures(),
                op_types_to_quantize=_OF_DETECTORS if file.kind == "detector" else None,
                nodes_to_exclude=_nodes_of(onnx.load(inferred), in_floating_point),
                per_channel=True,
                reduce_range=True,
                activation_type=QuantType.QUInt8,
                weight_type=QuantType.QInt8,
                calibrate_method=CalibrationMethod.MinMax,
            )
            model = onnx.load(quantized)
    finally:
        logging.disable(level)
    return model


def _nodes_of(model: Any, layers: Sequence[str]) -> list[str]:
    """The names of the nodes that compute some layers, which their weights tell."""
    weights = tuple(f".net.{layer}.weight" for layer in layers)
    return [node.name for node in model.graph.node if any(name.endswith(weights) for name in node.input if weights)]
