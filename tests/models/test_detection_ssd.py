"""SSD on every backbone: maps and parameters as upstream's graphs have them."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn

from xraycls.errors import UsageError
from xraycls.models.detection.backbones import backbone_names, build_backbone
from xraycls.models.detection.ssd import SSD

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ssd_networks.json").read_text())


def build(name: str) -> SSD:
    digits = name.removeprefix(name.rstrip("0123456789"))
    numbered = name.startswith(("resnet", "vgg", "darknet"))
    arch, layers = (name.removesuffix(digits), int(digits)) if numbered else (name, 0)
    return SSD(build_backbone(arch, layers), 1, [6] * 6)


def parameters(model: nn.Module) -> int:
    buffers = sum(b.numel() for name, b in model.named_buffers() if "num_batches" not in name)
    return sum(p.numel() for p in model.parameters()) + buffers


@pytest.mark.parametrize("name", GOLDEN)
def test_parameters_and_maps(name):
    model, golden = build(name), GOLDEN[name]
    assert parameters(model) == golden["params_total"]
    model.eval()
    with torch.inference_mode():
        maps = model.maps(torch.zeros(1, 3, 512, 512))
        logits, offsets = model(torch.zeros(1, 3, 128, 128))
    assert [list(m.shape[2:]) for m in maps] == golden["feature_maps_512"]
    assert [m.shape[1] for m in maps] == golden["channels"]
    assert logits.shape == (1, (16**2 + 8**2 + 4**2 + 2**2 + 1 + 1) * 6, 2)
    assert offsets.shape == (*logits.shape[:2], 4)


def test_every_backbone_is_offered_and_others_are_refused():
    assert set(GOLDEN) | {"efficientnet_b1"} == set(backbone_names())
    with pytest.raises(UsageError, match="Did you mean resnet"):
        build_backbone("resnets")
    with pytest.raises(UsageError, match="no resnet of 20 layers"):
        build_backbone("resnet", 20)
