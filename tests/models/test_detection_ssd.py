"""SSD on every backbone: maps and parameters as upstream's graphs have them; DSSD on top of it by hand."""

import json
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.deeper import deeper_are_exhaustive
from tests.models.detectors import small_detector
from xraycls.errors import UsageError
from xraycls.models.backbones import build_backbone
from xraycls.models.detection.dssd import Deconvolutions, Doubling, Predictions
from xraycls.models.detection.ssd import SSD, SSD_BACKBONES, SSDConfig, SSDDetector, set_momentum, ssd_backbone
from xraycls.models.detection.transfer import transfer_detector

GOLDEN = json.loads((Path(__file__).parents[1] / "golden" / "ssd_networks.json").read_text())


def build(name: str, *arguments: object) -> SSD:
    return SSD(ssd_backbone(name), 1, [6] * 6, *arguments)


def parameters(model: nn.Module) -> int:
    buffers = sum(b.numel() for name, b in model.named_buffers() if "num_batches" not in name)
    return sum(p.numel() for p in model.parameters()) + buffers


@pytest.mark.parametrize("name", deeper_are_exhaustive(GOLDEN))
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
    assert set(GOLDEN) | {"efficientnet_b1"} == set(SSD_BACKBONES)
    with pytest.raises(UsageError, match="Did you mean resnet"):
        build_backbone("resnets")
    with pytest.raises(UsageError, match="Unknown stage of resnet18"):
        build_backbone("resnet18", taps=("block_5",))
    with pytest.raises(UsageError, match=r"resnet18 has no map of stride 32\. It has the strides 2, 4, 8, 16"):
        build_backbone("resnet18", strides=(32,))


# Height of the picture, and of the kernels that bring twice a map to the finer one: 3 where that fits, else 2.
DSSD = {
    "resnet18": (300, [3, 2, 3, 2, 2]),  # maps of 38, 19, 10, 5, 3, 2
    "resnet10": (512, [3, 3, 3, 3, 3]),  # 64, 32, 16, 8, 4, 2
    "darknet19": (200, [2, 3, 3, 2, 3]),  # 25, 12, 6, 3, 2, 1
}


@torch.no_grad()
@pytest.mark.parametrize("name", DSSD)
def test_parameters_of_dssd(name):
    height, kernels = DSSD[name]
    channels = GOLDEN[name]["channels"]
    plain = GOLDEN[name]["params_total"] - sum(9 * c * 6 * (2 + 4) + 6 * (2 + 4) for c in channels)
    shrunk = 0
    if name == "resnet10":  # a light one
        shrunk, channels = 128 * 256, [256, *channels[1:]]
    deconvolutions = sum(
        2 * 9 * fine**2 + 4 * coarse * fine + 3 * kernel * fine**2 + 3 * 4 * fine
        for fine, coarse, kernel in zip(channels, channels[1:], kernels, strict=False)
    )
    predictions = sum(c * 128 + 128**2 + 128 * 512 + c * 512 + 4 * (128 + 128 + 512 + 512) for c in channels)
    heads = 6 * (9 * 512 * 6 * (2 + 4) + 6 * (2 + 4))
    model = build(name, 512, (height, 256))
    assert parameters(model) == plain + shrunk + deconvolutions + predictions + heads
    logits, offsets = model.eval()(torch.zeros(1, 3, height, 256))
    assert logits.shape[:2] == offsets.shape[:2] == (1, 6 * sum(h * w for h, w in model.map_sizes(height, 256)))


def test_a_prediction_module_may_stand_on_an_ssd():
    channels = GOLDEN["squeezenet"]["channels"]
    added = sum(c * 64 + 64**2 + 64 * 256 + c * 256 + 4 * (64 + 64 + 256 + 256) for c in channels)
    added += sum(9 * (256 - c) * 6 * (2 + 4) for c in channels)
    assert parameters(build("squeezenet", 256)) == GOLDEN["squeezenet"]["params_total"] + added


def seen(module: nn.Module) -> nn.Module:
    """Batch normalisation that has seen data, so that its place counts."""
    for layer in module.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1), layer.running_var.uniform_(0.5, 2)
            nn.init.uniform_(layer.weight, 0.5, 1.5), nn.init.normal_(layer.bias)
    return module.eval()


def normalised(x: torch.Tensor, layer: nn.Module) -> torch.Tensor:
    return F.batch_norm(x, layer.running_mean, layer.running_var, layer.weight, layer.bias, eps=layer.eps)


def test_doubling_is_a_transposed_convolution():
    layer, images = Doubling(5, 3), torch.randn(2, 5, 4, 7)
    kernel = layer.corners.weight.detach().view(3, 2, 2, 5).permute(3, 0, 1, 2)
    torch.testing.assert_close(layer(images), F.conv_transpose2d(images, kernel, stride=2))


@torch.no_grad()
def test_a_deconvolution_module_is_that_of_the_paper():
    """Odd sizes: 5 of twice 3 by a kernel of 2 without padding, 9 of twice 4 by one with padding on both sides."""
    torch.manual_seed(0)
    module = seen(Deconvolutions((4, 6), ((5, 9), (3, 4))))
    fine, coarse = torch.randn(2, 4, 5, 9), torch.randn(2, 6, 3, 4)
    (block,) = module.blocks
    left = normalised(F.conv2d(fine, block.fine[0][0].weight, padding=1), block.fine[0][1]).relu()
    left = normalised(F.conv2d(left, block.fine[1].weight, padding=1), block.fine[2])
    kernel = block.coarse[0].corners.weight.view(4, 2, 2, 6).permute(3, 0, 1, 2)
    right = F.conv2d(F.pad(F.conv_transpose2d(coarse, kernel, stride=2), (1, 1, 0, 0)), block.coarse[1].weight)
    expected = (left * normalised(right, block.coarse[2])).relu()
    given = module([fine, coarse])
    torch.testing.assert_close(given[0], expected)
    assert given[1] is coarse


@torch.no_grad()
def test_a_prediction_module_is_that_of_the_paper():
    torch.manual_seed(0)
    module, features = seen(Predictions((6,), 16)), torch.randn(2, 6, 3, 4)
    (block,) = module.blocks
    inner = features
    for convolution, normalisation in ((block.residual[n][0], block.residual[n][1]) for n in (0, 1)):
        inner = normalised(F.conv2d(inner, convolution.weight), normalisation).relu()
    inner = normalised(F.conv2d(inner, block.residual[2].weight), block.residual[3])
    skip = normalised(F.conv2d(features, block.skip[0].weight), block.skip[1])
    torch.testing.assert_close(module([features])[0], (inner + skip).relu())


def test_maps_that_do_not_double_are_refused():
    with pytest.raises(ValueError, match="a map of 3 cells can't be deconvolved to 8"):
        Deconvolutions((4, 4), ((8, 6), (3, 3)))


def test_a_dssd_starts_from_an_ssd():
    ssd = small_detector()
    dssd = small_detector(seed=1, network="dssd", prediction_channels=256, mean=(117.0,))
    lines = transfer_detector(dssd, ssd)
    own, given = dssd.net.state_dict(), ssd.net.state_dict()
    shared = {n for n in own if n in given and n != "backbone.conv1.weight" and not n.startswith("heads.")}
    assert shared > {"backbone.layer4.0.conv2.weight", "extras.ssd_expand_block_4.2.weight"}
    assert all(torch.equal(own[name], given[name]) for name in shared)
    assert lines[1].endswith("the first being backbone.conv1.weight.")


@pytest.mark.parametrize(("steps", "of_tao", "of_mobilenet"), [(5, 0.1, 0.1), (100, 0.02, 0.02), (5000, 0.01, 0.001)])
def test_running_statistics_are_no_slower_than_taos_own(steps, of_tao, of_mobilenet):
    with torch.device("meta"):
        net = SSDDetector(SSDConfig(backbone="mobilenet_v2", classes=("a",), height=64, width=64)).net
    set_momentum(net, steps)
    assert net.extras["ssd_expand_block_1"][3].momentum == pytest.approx(of_tao)
    assert net.backbone.get_submodule("network.0.1").momentum == pytest.approx(of_mobilenet)
