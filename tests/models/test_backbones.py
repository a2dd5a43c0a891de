"""Bodies against upstream's: numbers of parameters, layers that upstream executed, maps, gradients, arithmetic."""

import json
import re
import zlib

import numpy as np
import pytest
import torch
from torch import nn
from torchvision import models

from tests.deeper import deeper_are_exhaustive
from xraycls.errors import UsageError
from xraycls.models.backbones import (
    BACKBONES,
    ROI_BACKBONES,
    Backbone,
    BodyOptions,
    arithmetic_of_old_files,
    build_backbone,
    build_roi_network,
)
from xraycls.models.detection.proposals import crop_and_resize

# Faster R-CNN as upstream built it (golden_networks/frcnn_params.json): all parameters, biases, width of the vectors.
FASTER_RCNN = {
    ("resnet10", True): (6130301, 512),
    ("resnet10", False): (6127357, 512),
    ("resnet18", True): (12759741, 512),
    ("resnet18", False): (12753917, 512),
    ("resnet50", True): (42967997, 2048),
    ("resnet50", False): (42930173, 2048),
    ("vgg16", False): (136721661, 4096),
    ("mobilenet_v2", False): (2828989, 1280),
    ("darknet53", False): (43019933, 1024),
    ("googlenet", False): (9869245, 1024),
}
# Strides that each body has.
STRIDES = dict.fromkeys(BACKBONES, (8, 16)) | {"cspdarknet_tiny": (16, 32), "cspdarknet_tiny_3l": (16, 32)}


def parameters(module: nn.Module) -> int:
    buffers = sum(b.numel() for name, b in module.named_buffers() if "num_batches" not in name)
    return sum(p.numel() for p in module.parameters()) + buffers


def head_parameters(features: int, vector: int, anchors: int = 9, classes: int = 4) -> int:
    """Those of Faster R-CNN's two heads, by hand."""
    rpn = 9 * features * 512 + 512 + (512 + 1) * anchors * 5
    return rpn + (vector + 1) * (classes + 4 * (classes - 1))


@pytest.mark.parametrize(("name", "bias"), FASTER_RCNN)
def test_parameters_of_faster_rcnn(name, bias):
    total, vector = FASTER_RCNN[name, bias]
    with torch.device("meta"):
        backbone, body = build_roi_network(name, options=BodyOptions(bias=bias))
    assert body.channels == vector
    assert parameters(backbone) + parameters(body) + head_parameters(backbone.channels[0], vector) == total


@pytest.mark.parametrize("name", deeper_are_exhaustive(ROI_BACKBONES))
@pytest.mark.parametrize("double", [False, True])
def test_crops_become_vectors(name, double):
    with torch.device("meta"):
        backbone, body = build_roi_network(name, pool_size=3, double=double)
        crops = torch.zeros(2, backbone.channels[0], 6 if double else 3, 6 if double else 3)
        assert backbone.strides == (16,)
        assert body(crops).shape == (2, body.channels)


@pytest.mark.parametrize("name", deeper_are_exhaustive(BACKBONES))
def test_every_stage_gives_the_map_it_promises(name):
    channels = 1 if name.startswith(("resnet", "cspdarknet", "squeezenet")) else 3
    with torch.device("meta"):
        stages = [stage.name for stage in build_backbone(name).stages]
        backbone = build_backbone(name, stages, channels=channels)
        maps = backbone(torch.zeros(2, channels, 64, 96))
    expected = [(2, stage.channels, 64 // stage.stride, 96 // stage.stride) for stage in backbone.stages]
    assert [tuple(m.shape) for m in maps] == expected


@pytest.mark.parametrize("name", deeper_are_exhaustive(BACKBONES))
def test_every_layer_with_weights_has_a_name_of_its_own(name):
    with torch.device("meta"):
        backbone = build_backbone(name)
    layers = {path for path, m in backbone.named_modules() if isinstance(m, nn.Conv2d | nn.BatchNorm2d)}
    assert layers == backbone.layer_names.keys()
    assert len(set(backbone.layer_names.values())) == len(layers)


@pytest.mark.parametrize("name", ["resnet18", "cspdarknet_tiny", "mobilenet_v2", "googlenet"])
def test_gradients_reach_every_parameter(name):
    backbone = build_backbone(name, strides=STRIDES[name])
    sum(m.square().mean() for m in backbone(torch.randn(2, 3, 64, 64))).backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in backbone.parameters())


def test_nothing_after_the_last_map_is_built():
    backbone = build_backbone("resnet18", taps=("block_2",))
    assert {name.split(".")[0] for name, _ in backbone.named_parameters()} == {"conv1", "bn1", "layer1", "layer2"}
    assert backbone.blocks.keys() == {0, 1, 2}


def test_a_resnet_with_pooling_has_the_strides_of_the_paper():
    backbone = build_backbone("resnet18", strides=(4, 8, 16, 32), options=BodyOptions(pooling=True))
    assert [tuple(m.shape[2:]) for m in backbone(torch.zeros(1, 3, 64, 64))] == [(16, 16), (8, 8), (4, 4), (2, 2)]


def test_what_is_not_there_is_refused():
    with pytest.raises(UsageError, match="Did you mean resnet"):
        build_backbone("resnets")
    with pytest.raises(UsageError, match="Unknown stage of resnet18"):
        build_backbone("resnet18", taps=("block_5",))
    with pytest.raises(UsageError, match=r"resnet18 has no map of stride 32\. It has the strides 2, 4, 8, 16"):
        build_backbone("resnet18", strides=(32,))
    with pytest.raises(UsageError, match="backbone of Faster R-CNN"):
        build_roi_network("cspdarknet53")


# torchvision's networks up to a stage of ours.
TORCHVISION = {
    "resnet50": (models.resnet50, "block_4"),
    "mobilenet_v2": (models.mobilenet_v2, "block_12"),
    "googlenet": (lambda: models.googlenet(aux_logits=False, init_weights=False), "inception_4e"),
    "efficientnet_b0": (models.efficientnet_b0, "top"),
    "efficientnet_b1": (models.efficientnet_b1, "top"),
}


@torch.no_grad()
@pytest.mark.parametrize("name", TORCHVISION)
def test_the_arithmetic_of_torchvision_is_torchvisions(name):
    torch.manual_seed(0)
    build, stage = TORCHVISION[name]
    theirs = build().eval()
    for layer in theirs.modules():
        if isinstance(layer, nn.BatchNorm2d):
            layer.running_mean.normal_(0, 0.1), layer.running_var.uniform_(0.01, 2)
    options = BodyOptions(arithmetic="torchvision", all_projections=False, pooling=name.startswith("resnet"))
    ours = build_backbone(name, (stage,), options=options).eval()
    state = {key.replace("features.", "network."): tensor for key, tensor in theirs.state_dict().items()}
    ours.load_state_dict({key: state[key] for key in ours.state_dict()})
    images = torch.randn(1, 3, 90, 70)
    torch.testing.assert_close(ours(images)[0], inner(theirs, name, images), rtol=1e-4, atol=1e-4)


def inner(net: nn.Module, name: str, images: torch.Tensor) -> torch.Tensor:
    if name == "resnet50":
        return nn.Sequential(*list(net.children())[:-2])(images)
    if name == "googlenet":
        children = dict(net.named_children())
        names = list(children)
        return nn.Sequential(*(children[n] for n in names[: names.index("inception4e") + 1]))(images)
    return net.features[:14](images) if name == "mobilenet_v2" else net.features(images)


# By hand, on maps where the arithmetics differ: what TAO's weights expect.
@torch.no_grad()
def test_efficientnet_pads_even_sizes_of_tao_on_one_side():
    backbone = build_backbone("efficientnet_b0", ("stem",)).eval()
    conv = backbone.get_submodule("network.0.0")
    for size, pads in (((8, 8), (0, 1, 0, 1)), ((7, 9), (1, 1, 1, 1)), ((8, 7), (1, 1, 0, 1))):
        images = torch.randn(1, 3, *size)
        expected = nn.functional.conv2d(nn.functional.pad(images, pads), conv.weight, stride=2)
        torch.testing.assert_close(conv(images), expected)


def test_what_else_tao_computes_in_its_own_way():
    strides = {a: build_backbone("resnet50", options=BodyOptions(arithmetic=a)).get_submodule("layer2.0")
               for a in ("tao", "torchvision")}  # fmt: skip
    assert (strides["tao"].conv1.stride, strides["tao"].conv2.stride) == ((2, 2), (1, 1))
    assert (strides["torchvision"].conv1.stride, strides["torchvision"].conv2.stride) == ((1, 1), (2, 2))
    mobile = build_backbone("mobilenet_v2")
    assert not any(isinstance(m, nn.ReLU6) for m in [*mobile.modules(), *build_backbone("mobilenet_v1").modules()])
    assert {m.momentum for m in mobile.modules() if isinstance(m, nn.BatchNorm2d)} == {0.001}
    torch_own = build_backbone("mobilenet_v2", options=BodyOptions(arithmetic="torchvision"))
    assert {m.momentum for m in torch_own.modules() if isinstance(m, nn.BatchNorm2d)} == {0.1}
    pools = [m for m in build_backbone("googlenet").children() if isinstance(m, nn.MaxPool2d)]
    assert [(pool.kernel_size, pool.padding) for pool in pools] == [(2, 0)] * 3
    for name in BACKBONES:
        with torch.device("meta"):
            norms = [m for m in build_backbone(name).modules() if isinstance(m, nn.BatchNorm2d)]
        assert {norm.eps for norm in norms} <= {1e-3}


# Executed by upstream: the golden networks whose weights a formula gives.
def formula(count: int, key: str) -> np.ndarray:
    mask = np.uint64(0xFFFFFFFF)
    h = (np.arange(count, dtype=np.uint64) * np.uint64(0x9E3779B1) + np.uint64(zlib.crc32(key.encode()))) & mask
    for shift, factor in ((16, 0x85EBCA6B), (13, 0xC2B2AE35)):
        h = ((h ^ (h >> np.uint64(shift))) * np.uint64(factor)) & mask
    return (h ^ (h >> np.uint64(16))) / 2147483648.0 - 1.0


def fill(module: nn.Module, names: dict[str, str], rules: list[tuple[str, float]]) -> None:
    """Give the layers the weights of formula U."""
    for path, name in names.items():
        layer = module.get_submodule(path)
        gain = next((gain for rule, gain in rules if re.match(rule, name)), 1.0)
        shape = tuple(layer.weight.shape)
        if isinstance(layer, nn.BatchNorm2d):
            values = {"gamma": (1, 0.25), "beta": (0, 0.1), "moving_mean": (0, 0.1), "moving_variance": (1, 0.5)}
            made = {kind: a + b * formula(shape[0], f"{name}/{kind}") for kind, (a, b) in values.items()}
            layer.weight.data, layer.bias.data = map(tensor, (made["gamma"], made["beta"]))
            layer.running_mean, layer.running_var = map(tensor, (made["moving_mean"], made["moving_variance"]))
            continue
        keras = (*shape[2:], shape[1], shape[0])
        kernel = formula(layer.weight.numel(), f"{name}/kernel") * np.sqrt(3 * gain / np.prod(keras[:-1]))
        layer.weight.data = tensor(kernel.reshape(keras).transpose(3, 2, 0, 1).copy())
        if layer.bias is not None:
            layer.bias.data = tensor(0.1 * formula(shape[0], f"{name}/bias"))


def tensor(values: np.ndarray) -> torch.Tensor:
    return torch.tensor(values, dtype=torch.float32)


def assert_executed(ours: torch.Tensor, stored: np.ndarray, note: str) -> None:
    every = int(found[1]) if (found := re.match(r"flat\[::(\d+)\]", note)) else 1
    flat = ours.numpy().reshape(-1)[::every]
    assert np.abs(flat - stored.reshape(-1)).max() <= 1e-5 * np.abs(stored).max()


@torch.no_grad()
@pytest.mark.parametrize(("network", "bias"), [("ssd", False), ("yolov4", False), ("frcnn", True)])
def test_layers_are_those_that_upstream_executed(shared, network, bias):
    folder = shared / "reference" / "golden_networks"
    golden = json.loads((folder / f"{network}_resnet18.json").read_text())
    arrays = np.load(folder / f"{network}_resnet18.npz")
    options = BodyOptions(bias=bias)
    taps = ("block_2", "block_3") if network == "frcnn" else ("block_2", "block_3", "block_4")
    backbone = build_backbone("resnet18", taps, options=options).eval()
    fill(backbone, dict(backbone.layer_names), golden["gain_rules"])
    shape = golden["network"]["input_CHW"]
    images = tensor(2 * formula(int(np.prod(shape)), "input_image")).reshape(1, *shape)
    compared = 0
    for stage, found in zip(backbone.taps, backbone(images), strict=True):
        if (layer := f"{stage.name}b_relu") in golden["eval"]:
            assert_executed(found, arrays[f"eval/{layer}"], golden["eval"][layer]["stored"])
            compared += 1
    assert compared >= 2


@torch.no_grad()
def test_the_body_of_a_region_is_that_which_upstream_executed(shared):
    folder = shared / "reference" / "golden_networks"
    golden = json.loads((folder / "frcnn_resnet18.json").read_text())
    arrays = np.load(folder / "frcnn_resnet18.npz")
    backbone, body = build_roi_network("resnet18", options=BodyOptions(bias=True))
    for part in (backbone.eval(), body.eval()):
        fill(part, dict(part.layer_names), golden["gain_rules"])
    images = tensor(2 * formula(3 * 192 * 256, "input_image")).reshape(1, 3, 192, 256)
    regions = tensor(arrays["eval/rois_yxyx"])[..., [1, 0, 3, 2]]
    crops = crop_and_resize(backbone(images)[0], regions, height=192, width=256, size=7)
    assert_executed(body(crops), arrays["eval/avg_pool"], golden["eval"]["avg_pool"]["stored"])


def test_a_backbone_is_a_row_of_modules_whose_names_say_where_they_are():
    backbone = build_backbone("mobilenet_v2", ("block_6_expand",))
    assert isinstance(backbone, Backbone)
    assert "network.7.conv.0.0.weight" in backbone.state_dict()
    assert not any(name.startswith("network.7.conv.1") for name in backbone.state_dict())


def test_detectors_of_old_files_keep_their_mixture():
    assert [arithmetic_of_old_files(name) for name in ("resnet18", "vgg16", "darknet53", "squeezenet")] == ["tao"] * 4
    assert {arithmetic_of_old_files(name) for name in ("resnet50", "mobilenet_v2", "googlenet", "efficientnet_b0")} == {
        "mixed"
    }
    mixed = BodyOptions(arithmetic="mixed")
    bottleneck = build_backbone("resnet50", options=mixed).get_submodule("layer2.0")
    assert (bottleneck.conv1.stride, bottleneck.conv2.stride, bottleneck.bn1.eps) == ((1, 1), (2, 2), 1e-3)
    mobile = [*build_backbone("mobilenet_v2", options=mixed).modules()]
    assert any(isinstance(m, nn.ReLU6) for m in mobile)
    assert not any(type(m) is nn.ReLU for m in mobile)
    assert {(m.eps, m.momentum) for m in mobile if isinstance(m, nn.BatchNorm2d)} == {(1e-3, 0.01)}
