"""What computes an ONNX file: onnxruntime or OpenVINO. Only this file imports them.

Engines of TensorRT are computed by :mod:`xraycls.inference.tensorrt_runtime`.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from xraycls.data.processors import available_processors
from xraycls.errors import MissingExtra, RunError, UsageError, unknown

Arrays = dict[str, npt.NDArray[Any]]

_FEW = 4
"""Pictures for which onnxruntime's rearranging of weights costs more than it saves, in a ResNet-18 at 224 pixels."""


class Session(Protocol):
    """A loaded file."""

    def run(self, images: npt.NDArray[Any]) -> Arrays:
        """Returns the outputs by name for pictures [B, 1, H, W]."""


class OnnxRuntime:
    """A file in onnxruntime.

    Args:
        path: the file.
        precision: "auto" or that of the file; onnxruntime computes in no other.
        threads: of one computation; None for one a processor.
        device: "auto", "cpu" or "cuda".
        pictures: how many are to be computed; None for many. For a few, weights are left in the order that they have in
            the file: to rearrange them for the processor takes as long as some pictures, and their memory again.
        as_written: compute node by node, as a file of 8 bits is written, instead of with kernels of its own.
    """

    def __init__(
        self,
        path: Path,
        *,
        precision: str,
        threads: int | None,
        device: str,
        pictures: int | None = None,
        as_written: bool = False,
    ) -> None:
        import onnxruntime

        if precision != "auto":
            raise UsageError(
                f"onnxruntime computes in the precision of the file, not in --precision {precision}",
                "Export the model in it, or choose --runtime openvino",
            )
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = threads or available_processors()
        options.add_session_config_entry("session.intra_op.allow_spinning", "0")  # leaves waiting cores to others
        options.log_severity_level = 3
        levels = onnxruntime.GraphOptimizationLevel
        if pictures is not None and pictures <= _FEW:
            options.graph_optimization_level = levels.ORT_ENABLE_EXTENDED
        if as_written:
            options.graph_optimization_level = levels.ORT_DISABLE_ALL
        there = onnxruntime.get_available_providers()
        if device.startswith("cuda") and "CUDAExecutionProvider" not in there:
            raise UsageError(f"This onnxruntime can't compute on --device {device}", "Install onnxruntime-gpu instead")
        wanted = ("CUDAExecutionProvider",) * (device != "cpu") + ("CPUExecutionProvider",)
        self._session = _opened(
            path,
            lambda: onnxruntime.InferenceSession(str(path), options, providers=[p for p in wanted if p in there]),
        )
        self._input = self._session.get_inputs()[0].name
        self._names = [output.name for output in self._session.get_outputs()]

    def run(self, images: npt.NDArray[Any]) -> Arrays:
        """Returns the outputs by name."""
        return dict(zip(self._names, self._session.run(None, {self._input: images}), strict=True))


class OpenVino:
    """A file in OpenVINO, which computes in float32 unless told otherwise; arguments as of :class:`OnnxRuntime`.

    The number of pictures makes no difference.
    """

    _HINTS: Mapping[str, str] = {"auto": "f32", "fp32": "f32", "fp16": "f16", "bf16": "bf16"}

    def __init__(
        self, path: Path, *, precision: str, threads: int | None, device: str, pictures: int | None = None
    ) -> None:
        import openvino

        if precision not in self._HINTS:
            raise unknown("precision", precision, self._HINTS, "--precision")
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": self._HINTS[precision],
            "INFERENCE_NUM_THREADS": threads or available_processors(),
            "PERFORMANCE_HINT": "LATENCY",
        }
        if device not in ("auto", "cpu"):
            raise UsageError(f"OpenVINO computes on the CPU here, not on --device {device}", "Choose cpu")
        core = openvino.Core()
        self._model = _opened(path, lambda: core.compile_model(core.read_model(str(path)), "CPU", settings))

    def run(self, images: npt.NDArray[Any]) -> Arrays:
        """Returns the outputs by name."""
        found = self._model(images)
        return {name: np.array(found[output]) for output in self._model.outputs for name in output.get_names()}


RUNTIMES: Mapping[str, Callable[..., Session]] = {"onnxruntime": OnnxRuntime, "openvino": OpenVino}
"""By name, the one that is taken by default first; the names are those of the packages, too."""

RUNTIME_NAMES = ("auto", *RUNTIMES, "tensorrt", "torch")
"""What ``--runtime`` takes."""


def open_session(
    path: Path,
    runtime: str = "auto",
    *,
    precision: str = "auto",
    threads: int | None = None,
    device: str = "auto",
    pictures: int | None = None,
) -> Session:
    """Returns a file, ready to compute.

    Args:
        path: an ONNX file.
        runtime: one of :data:`RUNTIMES`; "auto" for the first that is installed.
        precision: that OpenVINO computes in; "auto" for float32, or that of the file.
        threads: of one computation; None for one a processor.
        device: "auto", "cpu" or "cuda".
        pictures: how many are to be computed; None for many.

    Raises:
        UsageError: no such runtime, precision or device.
        MissingExtra: the runtime isn't installed.
        RunError: it can't read the file.
    """
    installed = [name for name in RUNTIMES if find_spec(name)]
    if runtime == "torch":
        raise UsageError(
            f"{path} is an ONNX file, which --runtime torch can't compute", "Give the run folder that it was made from"
        )
    if runtime == "tensorrt":
        raise UsageError("TensorRT computes engines, not ONNX files", "Give a folder that was exported with --engine")
    if runtime != "auto" and runtime not in RUNTIMES:
        raise unknown("runtime", runtime, RUNTIME_NAMES, "--runtime")
    chosen = runtime if runtime != "auto" else next(iter(installed), "onnxruntime")
    if chosen not in installed:
        raise MissingExtra(chosen, "openvino" if chosen == "openvino" else "runtime")
    return RUNTIMES[chosen](path, precision=precision, threads=threads, device=device, pictures=pictures)


def _opened(path: Path, open_file: Callable[[], Any]) -> Any:
    try:
        return open_file()
    except Exception as error:  # the runtimes' own classes, with the reason on the first line
        reason = (str(error).strip().splitlines() or [type(error).__name__])[0]
        raise RunError(
            f"{path} can't be loaded: {reason}", "Export the model again, or try another --runtime"
        ) from error
