"""Engines of TensorRT, computed on the GPU that built them; torch holds their memory there. Only this imports tensorrt.

The calls are those of TensorRT 10 and 11, by name and address of a tensor:
https://docs.nvidia.com/deeplearning/tensorrt/latest/_static/python-api/infer/Core/ExecutionContext.html
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from xraycls.errors import RunError, UsageError, XrayclsError
from xraycls.inference.exported import LISTING, ExportedFile, sha256_of
from xraycls.inference.runtimes import Arrays

if TYPE_CHECKING:
    import torch

_AGAIN = "Export the model again with --engine, on the machine that is to compute it"


def open_engine(path: Path, file: ExportedFile, *, precision: str = "auto", device: str = "auto") -> TensorRT:
    """Returns the engine that was built of an exported file, ready to compute.

    Args:
        path: the ONNX file.
        file: its description.
        precision: "auto"; engines compute in that of the file.
        device: "auto", "cuda" or "cuda:1".

    Raises:
        UsageError: another precision or device, or no GPU.
        RunError: there is no engine, it was changed, or another GPU or version of TensorRT built it.
        XrayclsError: TensorRT isn't installed.
    """
    if precision != "auto":
        raise UsageError(
            f"TensorRT computes in the precision of the engine, not in --precision {precision}",
            "Export the model in it, with --engine",
        )
    if not file.engine:
        raise RunError(f"{path} has no engine of TensorRT: {LISTING} lists none", _AGAIN)
    tensorrt, gpu = tensorrt_module(), _gpu(device)
    engine = path.parent / file.engine.get("file", "")
    if not engine.is_file():
        raise RunError(f"There is no engine {engine}, which {LISTING} lists", _AGAIN)
    built, here = file.engine.get("tensorrt"), tensorrt.__version__
    if built != here:
        raise RunError(f"{engine} was built by TensorRT {built}, which {here} can't read", _AGAIN)
    built, here = file.engine.get("gpu"), gpu_name(gpu)
    if built not in (None, here):
        raise RunError(f"{engine} was built on {built}, and the GPU here is {here}", _AGAIN)
    if sha256_of(engine) != file.engine.get("sha256"):
        raise RunError(f"{engine} was changed since it was built: its sha256 isn't that of {LISTING}", _AGAIN)
    return TensorRT(engine, gpu)


class TensorRT:
    """An engine in TensorRT.

    Args:
        path: the engine.
        gpu: the device that computes it.

    Raises:
        RunError: TensorRT can't read it; its first reason is told.
    """

    def __init__(self, path: Path, gpu: torch.device) -> None:
        import torch

        tensorrt = tensorrt_module()
        self._path, self._gpu, self._log = path, gpu, logger_of(tensorrt)
        self._runtime = tensorrt.Runtime(self._log)
        engine = self._runtime.deserialize_cuda_engine(path.read_bytes())
        if engine is None:
            raise RunError(f"TensorRT {tensorrt.__version__} can't read {path}: {self._reason()}", _AGAIN)
        self._engine, self._context = engine, engine.create_execution_context()
        names = [engine.get_tensor_name(number) for number in range(engine.num_io_tensors)]
        (self._input,) = (name for name in names if engine.get_tensor_mode(name) == tensorrt.TensorIOMode.INPUT)
        kinds = {name: np.zeros(0, tensorrt.nptype(engine.get_tensor_dtype(name))) for name in names}
        self._outputs = {name: torch.from_numpy(kinds[name]).dtype for name in names if name != self._input}
        self._most = engine.get_tensor_profile_shape(self._input, 0)[-1][0]  # least, usual and largest shape
        self._stream = torch.cuda.Stream(gpu)  # type: ignore[no-untyped-call]

    def run(self, images: npt.NDArray[Any]) -> Arrays:
        """Returns the outputs by name; more pictures than the engine takes at a time are computed in parts."""
        parts = [self._computed(images[start : start + self._most]) for start in range(0, len(images), self._most)]
        return {name: np.concatenate([part[name] for part in parts]) for name in self._outputs}

    def _computed(self, images: npt.NDArray[Any]) -> Arrays:
        import torch

        with torch.cuda.stream(self._stream):
            held = {self._input: torch.from_numpy(np.ascontiguousarray(images)).to(self._gpu)}
            if not self._context.set_input_shape(self._input, images.shape):
                raise RunError(f"{self._path} takes no input of {list(images.shape)}: {self._reason()}", _AGAIN)
            for name, kind in self._outputs.items():
                shape = tuple(self._context.get_tensor_shape(name))
                held[name] = torch.empty(shape, dtype=kind, device=self._gpu)
            for name, tensor in held.items():
                self._context.set_tensor_address(name, tensor.data_ptr())
            if not self._context.execute_async_v3(self._stream.cuda_stream):
                raise RunError(f"TensorRT could not compute {self._path}: {self._reason()}", _AGAIN)
            return {name: held[name].cpu().numpy() for name in self._outputs}  # waits for the stream

    def _reason(self) -> str:
        return next(iter(self._log.errors), "no reason was given").rstrip(".")


def tensorrt_module(otherwise: str = "") -> Any:
    """Returns the package; raises XrayclsError, with what may be done ``otherwise``, where it isn't installed."""
    try:
        import tensorrt
    except (ImportError, OSError) as error:  # its wheel without its libraries is not to be found, either
        raise XrayclsError("TensorRT is not installed", f"Install it with: pip install tensorrt{otherwise}") from error
    return tensorrt


def logger_of(tensorrt: Any) -> Any:
    """Returns a logger that keeps the first line of each error in its ``errors``, for one sentence; plugins are loaded.

    Args:
        tensorrt: the module; that of TensorRT for RTX has the same functions.
    """

    class Log(tensorrt.ILogger):  # type: ignore[misc]
        def __init__(self) -> None:
            super().__init__()
            self.errors: list[str] = []

        def log(self, severity: Any, message: str) -> None:
            if severity in (tensorrt.ILogger.ERROR, tensorrt.ILogger.INTERNAL_ERROR):
                self.errors.append(message.splitlines()[0])

    made = Log()
    if hasattr(tensorrt, "init_libnvinfer_plugins"):
        tensorrt.init_libnvinfer_plugins(made, "")
    return made


def gpu_name(gpu: torch.device | None = None) -> str:
    """The name of a GPU, such as "NVIDIA H200"; None for the current one."""
    import torch

    return torch.cuda.get_device_name(gpu)


def _gpu(device: str) -> torch.device:
    """Returns the GPU of that name, which becomes the current one, where TensorRT computes."""
    import torch

    if device != "auto" and not device.startswith("cuda"):
        raise UsageError(f"TensorRT computes on a GPU, not on --device {device}", "Choose cuda, or another --runtime")
    if not torch.cuda.is_available():
        raise UsageError(
            "TensorRT computes on a GPU, and there is none here", "Choose --runtime onnxruntime or openvino"
        )
    gpu = torch.device("cuda" if device == "auto" else device)
    torch.cuda.set_device(gpu)
    return gpu
