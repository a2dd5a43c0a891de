"""Which device computes, and in which number format."""

from __future__ import annotations

from typing import Literal

import torch
from torch import nn

from xraycls.errors import UsageError

Precision = Literal["bf16", "fp16", "fp32"]
_DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}


def choose_device(name: str = "auto", local_rank: int = 0) -> torch.device:
    """The device of a name: "auto" (a GPU where there is one), "cpu", "cuda", "cuda:1", "mps".

    Raises:
        UsageError: no such device on this machine.
    """
    if name == "auto":
        if torch.cuda.is_available():
            return torch.device("cuda", local_rank)
        return torch.device("mps" if torch.backends.mps.is_available() else "cpu")
    try:
        device = torch.device(name)
    except RuntimeError as error:
        raise UsageError(f"Unknown device {name!r} for --device", "Choose auto, cpu, cuda, cuda:N or mps") from error
    if device.type == "cuda":
        count = torch.cuda.device_count() if torch.cuda.is_available() else 0
        if (device.index or 0) >= count:
            raise UsageError(
                f"--device {name} was asked for, but this machine has {count} CUDA GPUs", "Try --device auto"
            )
        return device if device.index is not None else torch.device("cuda", local_rank)
    if device.type == "mps" and not torch.backends.mps.is_available():
        raise UsageError("--device mps was asked for, but this machine has none", "Try --device auto")
    return device


def choose_precision(asked: str, device: torch.device) -> Precision:
    """The number format: "auto" takes bf16 wherever the device computes in it, else fp32.

    Raises:
        UsageError: fp16 asked for on a CPU, where its gradients can't be scaled.
    """
    if asked == "auto":
        return "bf16" if computes_bf16(device) else "fp32"
    if asked == "fp16" and device.type == "cpu":
        raise UsageError("--precision fp16 needs a GPU", "On a CPU choose bf16 or fp32")
    if asked in ("bf16", "fp16", "fp32"):
        return asked  # type: ignore[return-value]
    raise UsageError(f"Unknown --precision {asked!r}", "Choose auto, bf16, fp16 or fp32")


def validated_precision(asked: str, validated: str | None, device: torch.device) -> Precision:
    """The number format in which a trained model answers.

    Args:
        asked: "auto" takes the one that it was validated in, so that its figures and thresholds hold.
        validated: that one; None when unknown. Where the device doesn't compute in it, "auto" is that of
            :func:`choose_precision`.
        device: that computes.

    Raises:
        UsageError: as :func:`choose_precision`.

    Example:
        >>> validated_precision("auto", "fp32", torch.device("cpu"))
        'fp32'
    """
    able = {"fp32": True, "bf16": computes_bf16(device), "fp16": device.type != "cpu"}
    return choose_precision(validated if asked == "auto" and validated and able.get(validated) else asked, device)


def computes_bf16(device: torch.device) -> bool:
    """Whether the device has bf16 arithmetic of its own: Ampere and later, CPUs with AMX or AVX512-BF16."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    if device.type == "cpu":
        able = torch.cpu.get_capabilities()
        return bool(able.get("amx_bf16") or able.get("avx512_bf16"))
    return False


def memory_format_of_detectors(device: torch.device, precision: Precision, detector: nn.Module) -> torch.memory_format:
    """How the maps of a detector in training lie in memory.

    Channels last wherever convolutions run in 16 bits or on a GPU, and where there are depthwise ones; contiguous in
    fp32 on a CPU otherwise, where a step takes less time so (``python -m benchmarks.memory_format``).
    """
    depthwise = any(isinstance(m, nn.Conv2d) and m.groups == m.in_channels > 1 for m in detector.modules())
    contiguous = device.type == "cpu" and precision == "fp32" and not depthwise
    return torch.contiguous_format if contiguous else torch.channels_last


def autocast(device: torch.device, precision: Precision) -> torch.autocast:
    """The autocast context of a format; with fp32 it does nothing."""
    enabled = precision != "fp32"
    return torch.autocast(device.type, _DTYPES[precision] if enabled else torch.bfloat16, enabled=enabled)
