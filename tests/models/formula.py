"""Weights and pictures by formula, as the networks in ../shared/reference/golden_networks were filled with."""

import re
import zlib

import numpy as np
import torch
from torch import nn


def formula(count: int, key: str) -> np.ndarray:
    """``count`` pseudo-random numbers in [-1, 1), float64: formula U of the reference's README."""
    h = np.arange(count, dtype=np.uint32) * np.uint32(0x9E3779B1) + np.uint32(zlib.crc32(key.encode()))
    h ^= h >> np.uint32(16)
    h *= np.uint32(0x85EBCA6B)
    h ^= h >> np.uint32(13)
    h *= np.uint32(0xC2B2AE35)
    h ^= h >> np.uint32(16)
    return h / 2147483648.0 - 1.0


def formula_tensor(shape: tuple[int, ...], key: str, scale: float = 1.0) -> torch.Tensor:
    return torch.from_numpy((scale * formula(int(np.prod(shape)), key)).astype(np.float32).reshape(shape))


def fill(layers: dict[str, nn.Module], gain_rules: list[tuple[str, float]]) -> None:
    """Fill convolutions, linear layers and batch normalisation, given by TAO's names, as the reference was filled."""
    with torch.no_grad():
        for name, layer in layers.items():
            gain = next((gain for pattern, gain in gain_rules if re.match(pattern, name)), 1.0)
            if isinstance(layer, nn.BatchNorm2d):
                shape = (layer.num_features,)
                layer.weight.copy_(1.0 + formula_tensor(shape, f"{name}/gamma", 0.25))
                layer.bias.copy_(formula_tensor(shape, f"{name}/beta", 0.1))
                layer.running_mean.copy_(formula_tensor(shape, f"{name}/moving_mean", 0.1))
                layer.running_var.copy_(1.0 + formula_tensor(shape, f"{name}/moving_variance", 0.5))
                continue
            out, into, *size = layer.weight.shape
            scale = float(np.sqrt(3.0 * gain / (into * np.prod(size))))
            kernel = formula_tensor((*size, into, out), f"{name}/kernel", scale)
            layer.weight.copy_(kernel.permute(3, 2, 0, 1) if size else kernel.T)
            if layer.bias is not None:
                layer.bias.copy_(formula_tensor((out,), f"{name}/bias", 0.1))


def sampled(tensor: torch.Tensor, like: np.ndarray) -> np.ndarray:
    """The elements of a tensor that the reference keeps: every k-th, k odd, in its order."""
    flat = tensor.detach().cpu().numpy().ravel()
    if flat.size == like.size:
        return flat.reshape(like.shape)
    return flat[:: next(k for k in range(1, flat.size, 2) if len(flat[::k]) == like.size)]


def close(found: np.ndarray, expected: np.ndarray, tolerance: float) -> None:
    """Within the tolerance, as a share of the largest expected value."""
    difference = np.abs(found - expected).max() / np.abs(expected).max()
    assert difference <= tolerance, f"differs by {difference:.2e}"


def filled(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """A state dict of torch's layers with the same names and shapes, its values by formula."""
    return {name: _by_name(name, tensor) for name, tensor in state.items()}


def _by_name(name: str, tensor: torch.Tensor) -> torch.Tensor:
    shape, kind = tuple(tensor.shape), name.rpartition(".")[2]
    if not tensor.is_floating_point():
        return tensor
    if kind == "running_var":
        return 1 + formula_tensor(shape, name, 0.5)
    if tensor.ndim > 1:
        return formula_tensor(shape, name, float(np.sqrt(6 / np.prod(shape[1:]))))
    return formula_tensor(shape, name, 0.25 if kind == "weight" else 0.1) + (kind == "weight")
