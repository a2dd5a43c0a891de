"""Engines of TensorRT, built where it and a GPU are."""

from __future__ import annotations

import ctypes
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from xraycls.data.files import atomic_write
from xraycls.errors import UsageError, XrayclsError
from xraycls.inference.exported import ExportedFile, sha256_of
from xraycls.inference.tensorrt_runtime import gpu_name, logger_of, tensorrt_module

BATCHES = (1, 8, 32)
"""The least, the usual and the most pictures at a time."""


@dataclass(frozen=True, slots=True)
class Engine:
    """A built engine. Only the version of TensorRT and the kind of GPU that built it can compute it.

    Attributes:
        file: its name, beside the ONNX file.
        sha256: of its content, hexadecimal.
        tensorrt: version.
        gpu: name of the GPU.
    """

    file: str
    sha256: str
    tensorrt: str
    gpu: str

    def described(self) -> dict[str, str]:
        """The description as values of JSON."""
        return asdict(self)


def build_engine(path: Path, file: ExportedFile) -> Engine:
    """Build the engine of an exported file beside it, in the precision that the file is written in.

    Args:
        path: the ONNX file.
        file: its description.

    Raises:
        UsageError: there is no GPU.
        XrayclsError: TensorRT isn't installed, or can't build the file; its first reason is told.
    """
    command = file.trtexec.get("11", "trtexec")
    tensorrt = tensorrt_module(f", or build the engine where it is: {command}")
    if not _has_gpu():
        raise UsageError(
            "An engine is built on the GPU that will compute it, and there is none here",
            f"Build it where there is one: {command}",
        )
    target = path.with_suffix(".engine")
    content = serialized_engine(tensorrt, path.read_bytes(), (file.channels, file.height, file.width))
    with atomic_write(target) as temporary:
        temporary.write_bytes(content)
    return Engine(target.name, sha256_of(target), tensorrt.__version__, gpu_name())


def serialized_engine(tensorrt: Any, onnx: bytes, shape: tuple[int, int, int]) -> bytes:
    """Returns an engine of any batch up to the last of :data:`BATCHES`.

    Args:
        tensorrt: the module; that of TensorRT for RTX has the same functions, and builds without a GPU.
        onnx: content of the file.
        shape: of one picture, [channels, height, width].

    Raises:
        XrayclsError: TensorRT can't read or build it.
    """
    log = logger_of(tensorrt)
    builder = tensorrt.Builder(log)
    typed = getattr(tensorrt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED", None)  # a flag up to version 10
    network = builder.create_network(0 if typed is None else 1 << int(typed))
    parser = tensorrt.OnnxParser(network, log)
    if not parser.parse(onnx) or not network.num_inputs:
        told = [parser.get_error(0).desc()] if parser.num_errors else log.errors
        reason = next(iter(told), "it is no graph")
        raise XrayclsError(f"TensorRT {tensorrt.__version__} can't read the file: {reason}")
    config = builder.create_builder_config()
    profile = builder.create_optimization_profile()
    profile.set_shape(network.get_input(0).name, *((batch, *shape) for batch in BATCHES))
    config.add_optimization_profile(profile)
    engine = builder.build_serialized_network(network, config)
    if engine is None:
        reason = next(iter(log.errors), "no reason was given")
        raise XrayclsError(f"TensorRT {tensorrt.__version__} can't build the file: {reason}")
    return bytes(engine)


def _has_gpu() -> bool:
    """Whether NVIDIA's driver is there and finds a GPU."""
    try:
        driver = ctypes.CDLL("libcuda.so.1")
    except OSError:
        return False
    count = ctypes.c_int()
    return driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 and count.value > 0
