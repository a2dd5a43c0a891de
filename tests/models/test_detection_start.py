"""What a detector starts from: weights of a classifier, and blocks that stay as they are."""

import json

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torchvision.models import mobilenet_v2, resnet18, squeezenet1_0, vgg11_bn, vgg16_bn

from tests.models.detectors import config_of, small_detector
from xraycls.errors import WeightsError
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from xraycls.models.detection.ssd import SSDDetector
from xraycls.models.detection.transfer import transfer_classifier
from xraycls.models.detection.unet import UNetConfig, UNetDetector
from xraycls.models.files import METADATA_KEY

# The first letters of what TAO calls the convolutions of a block, of some blocks of each backbone.
BLOCKS = {
    ("resnet", 10, 0): ("conv1",),
    ("resnet", 10, 4): ("block_4",),
    ("vgg", 16, 1): ("block_1",),
    ("vgg", 19, 5): ("block_5",),
    ("darknet", 19, 1): ("b1_",),
    ("darknet", 53, 5): ("conv6", "b5_"),
    ("mobilenet_v1", 0, 0): ("conv1",),
    ("mobilenet_v1", 0, 11): ("conv_dw_11", "conv_pw_11"),
    ("mobilenet_v2", 0, 1): ("expanded_conv_",),
    ("mobilenet_v2", 0, 13): ("block_12_",),
    ("squeezenet", 0, 8): ("fire9_",),
    ("googlenet", 0, 0): ("conv",),
    ("googlenet", 0, 9): ("inception_5b",),
    ("efficientnet_b0", 0, 7): ("block7",),
    ("efficientnet_b0", 0, 8): ("top_conv",),
}


@pytest.mark.parametrize(("arch", "layers", "number"), BLOCKS)
def test_frozen_blocks_are_those_of_tao(arch, layers, number):
    with torch.device("meta"):
        detector = SSDDetector(config_of(f"{arch}{layers or ''}"))
    detector.freeze((number,), statistics=False)
    convolutions = {name: m for name, m in detector.net.named_modules() if isinstance(m, nn.Conv2d)}
    names = {name: path for path, name in detector.layer_names.items() if path in convolutions}
    frozen = {tao for tao, path in names.items() if not convolutions[path].weight.requires_grad}
    assert frozen == {tao for tao in names if tao.startswith(BLOCKS[arch, layers, number])}
    assert frozen


def test_statistics_are_frozen_where_that_is_asked_for(caplog):
    detector = small_detector()
    norms = [m for m in detector.net.backbone.modules() if isinstance(m, nn.BatchNorm2d)]
    for statistics in (False, True):
        detector.freeze((1, 9), statistics=statistics)
        detector.train()
        assert {norm.training for norm in norms} == {not statistics}
        assert all(norm.weight.requires_grad for norm in norms)
        assert all(m.training for m in detector.net.extras.modules())
    assert "resnet10 has the blocks 0 to 4: freeze_blocks 9 freezes nothing." in caplog.text


MEAN, STD = (torch.tensor(values).view(1, 3, 1, 1) for values in ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225)))


def seen_by_a_classifier(grey: torch.Tensor, mean: torch.Tensor = MEAN, std: torch.Tensor = STD) -> torch.Tensor:
    return (grey.float() / 255 - mean) / std


def learnt(classifier: nn.Module, pictures: torch.Tensor) -> nn.Module:
    """With the statistics of these pictures, which differ from colour to colour by next to nothing."""
    for module in classifier.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = 1.0
    classifier.train()(pictures)
    return classifier.eval()


@torch.no_grad()
@pytest.mark.parametrize("mean", [(103.53, 116.28, 123.675), (103.939, 116.779, 123.68), (117.0,) * 3, (114.0,)])
def test_a_backbone_computes_what_the_classifier_has_learnt(tmp_path, mean):
    torch.manual_seed(0)
    grey = torch.randint(0, 256, (4, 1, 64, 64), dtype=torch.uint8)
    classifier = learnt(mobilenet_v2().features[:14], seen_by_a_classifier(grey))
    torch.save({f"features.{name}": tensor for name, tensor in classifier.state_dict().items()}, tmp_path / "net.pth")
    detector = small_detector("mobilenet_v2", mean=mean, arithmetic="torchvision").eval()
    lines = transfer_classifier(detector, tmp_path / "net.pth")
    assert lines[1:] == ["8 projections that net.pth doesn't have start as the identity."]
    seen = detector.normalized(grey)
    inside = (..., slice(1, -1), slice(1, -1))  # around a picture each has its own mean
    found = detector.net.backbone.get_submodule("network.0")(seen)[inside]
    torch.testing.assert_close(found, classifier[0](seen_by_a_classifier(grey))[inside], rtol=1e-3, atol=1e-3)
    if mean[-1] == 123.675:  # the classifier's own
        *_, whole = detector.net.backbone(seen)
        torch.testing.assert_close(whole, classifier(seen_by_a_classifier(grey)), rtol=1e-2, atol=1e-2)


@torch.no_grad()
def test_a_classifier_of_ours_says_how_it_sees_pictures(tmp_path):
    """Its own mean and deviation count, and a detector that divides grey levels needs no larger statistics."""
    classifier, _ = build_classifier("resnet18", ("NORMAL", "PNEUMONIA"), weights="none", normalize="0.5/0.25")
    grey = torch.randint(0, 256, (4, 1, 160, 160), dtype=torch.uint8)
    learnt(classifier, grey)
    save_classifier(classifier, tmp_path / "net.safetensors")
    for order in ("bgr", "rgb"):
        config = FasterRCNNConfig(
            backbone="resnet18",
            classes=("nodule",),
            height=160,
            width=160,
            mean=(127.5,) * 3,
            scaling=57.6,
            channel_order=order,
            arithmetic="torchvision",
        )
        detector = FasterRCNN(config).eval()
        transfer_classifier(detector, tmp_path / "net.safetensors")
        backbone, net = detector.net.backbone, classifier.net
        found = backbone.get_submodule("bn1")(backbone.get_submodule("conv1")(detector.normalized(grey)))
        torch.testing.assert_close(found, net.bn1(net.conv1(classifier.prepare(grey))), rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("std", [[0.0, 0.2, 0.2], [0.2, 0.2], [float("nan"), 0.2, 0.2], [-0.2, 0.2, 0.2]])
def test_a_file_of_ours_with_a_deviation_that_no_picture_has_is_refused(tmp_path, std):
    classifier, _ = build_classifier("resnet18", ("NORMAL", "PNEUMONIA"), weights="none", size=32)
    path = tmp_path / "net.safetensors"
    save_classifier(classifier, path)
    with safe_open(path, "pt") as file:
        metadata = file.metadata()
    about = json.loads(metadata[METADATA_KEY])
    about["config"]["std"] = std
    save_file(load_file(path), path, metadata | {METADATA_KEY: json.dumps(about)})
    detector = small_detector("resnet18")
    with pytest.raises(WeightsError, match=r"net.safetensors is damaged: pictures can't have a mean"):
        transfer_classifier(detector, path)


@torch.no_grad()
def test_a_grey_classifier_counts_as_one_of_equal_colours(tmp_path):
    tensors = resnet18().state_dict()
    tensors["conv1.weight"] = tensors["conv1.weight"].sum(dim=1, keepdim=True)
    torch.save(tensors, tmp_path / "net.pth")
    detector = small_detector("resnet18", mean=(117.0,))
    lines = transfer_classifier(detector, tmp_path / "net.pth")
    assert lines[0].startswith("120 of 150")
    expected = F.conv2d(torch.ones(1, 1, 7, 7), tensors["conv1.weight"]).flatten() * 255 * 0.226
    found = F.conv2d(torch.full((1, 1, 7, 7), 255 * 0.226), detector.net.backbone.get_submodule("conv1").weight)
    torch.testing.assert_close(found.flatten(), expected, rtol=1e-3, atol=1e-2)


@torch.no_grad()
def test_a_film_of_its_own_contrast_is_seen_as_one_with_that_of_imagenet(tmp_path):
    grey = torch.randint(0, 128, (4, 1, 64, 64), dtype=torch.uint8)
    levels = grey.float()
    middle, apart = levels.mean(dim=(1, 2, 3), keepdim=True), levels.std(dim=(1, 2, 3), keepdim=True)
    rescaled = (levels - middle) / (apart + 1) * 255 * 0.226 + 255 * 0.449
    classifier = learnt(resnet18(), seen_by_a_classifier(rescaled))
    torch.save(classifier.state_dict(), tmp_path / "net.pth")
    config = UNetConfig(
        backbone="resnet18", classes=("a",), height=64, width=64, standardize=True, arithmetic="torchvision"
    )
    detector = UNetDetector(config).eval()
    transfer_classifier(detector, tmp_path / "net.pth")
    backbone = detector.extractors[0]
    found = backbone.get_submodule("bn1")(backbone.get_submodule("conv1")(detector.normalized(grey)))
    expected = classifier.bn1(classifier.conv1(seen_by_a_classifier(rescaled)))
    inside = (..., slice(2, -2), slice(2, -2))  # around a picture each has its own mean
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-2, atol=1e-2)


@torch.no_grad()
@pytest.mark.parametrize("channels", [1, 3])
def test_a_network_without_normalisation_takes_in_grey_levels(tmp_path, channels):
    classifier = squeezenet1_0()
    torch.save(classifier.state_dict(), tmp_path / "net.pth")
    detector = small_detector("squeezenet", mean=(117.0,) * channels)
    transfer_classifier(detector, tmp_path / "net.pth")
    grey = torch.randint(0, 256, (2, 1, 64, 64), dtype=torch.uint8)
    found = detector.net.backbone.get_submodule("network.0")(detector.normalized(grey))
    theirs = classifier.features[0]
    expected = F.conv2d(seen_by_a_classifier(grey), theirs.weight, theirs.bias, stride=2, padding=3)
    inside = (..., slice(2, -2), slice(2, -2))  # around a picture each has its own mean
    torch.testing.assert_close(found[inside], expected[inside], rtol=1e-4, atol=1e-4)


@torch.no_grad()
def test_a_shortcut_that_strides_where_the_classifier_pools_takes_every_second_pixel(tmp_path):
    torch.save(resnet18().state_dict(), tmp_path / "net.pth")
    detector = small_detector("resnet18").eval()
    lines = transfer_classifier(detector, tmp_path / "net.pth")
    assert lines == [
        f"120 of 150 tensors of the backbone come from {tmp_path}/net.pth.",
        "5 projections that net.pth doesn't have start as the identity.",
    ]
    maps = torch.randn(2, 64, 8, 8)
    found = detector.net.backbone.get_submodule("layer1.0.downsample")(maps)
    torch.testing.assert_close(found, maps[:, :, ::2, ::2])


@torch.no_grad()
def test_what_looks_at_regions_takes_the_last_layers_of_the_classifier(tmp_path):
    """A region as large as the map, without pooling in front, is what the last layers of torchvision's network see."""
    classifier = resnet18().eval()
    torch.save(classifier.state_dict(), tmp_path / "net.pth")
    config = FasterRCNNConfig(
        backbone="resnet18", classes=("nodule",), height=160, width=160, pool_size_2x=True, arithmetic="torchvision"
    )
    detector = FasterRCNN(config).eval()
    lines = transfer_classifier(detector, tmp_path / "net.pth")
    assert lines[0] == f"120 of 150 tensors of the backbone come from {tmp_path}/net.pth."
    assert not any("random" in line for line in lines)
    crops = torch.rand(3, 256, 14, 14)
    expected = classifier.layer4(crops).mean(dim=(2, 3))
    torch.testing.assert_close(detector.net.body(crops), expected, rtol=1e-3, atol=1e-3)


def test_what_a_classifier_lacks_is_told(tmp_path):
    every = resnet18().state_dict().items()
    tensors = {name: tensor for name, tensor in every if not name.startswith("layer3.0.conv1")}
    torch.save(tensors, tmp_path / "net.pth")
    lines = transfer_classifier(small_detector("resnet18"), tmp_path / "net.pth")
    assert lines[-1] == "1 tensors of the backbone stay random, the first being layer3.0.conv1.weight."


def test_weights_of_another_network_are_refused(tmp_path):
    torch.save(vgg11_bn().features.state_dict(), tmp_path / "other.pth")
    with pytest.raises(WeightsError, match=r"Nothing in .*other.pth has the name .* of the backbone resnet10\. Give"):
        transfer_classifier(small_detector(), tmp_path / "other.pth")


@torch.no_grad()
def test_vgg_takes_the_weights_of_torchvision_by_their_order(tmp_path):
    with torch.device("meta"):
        names = vgg16_bn().features.state_dict()
    theirs = {f"features.{name}": torch.randn(tensor.shape) for name, tensor in names.items()}
    torch.save(theirs, tmp_path / "vgg.pth")
    detector = small_detector("vgg16")
    lines = transfer_classifier(detector, tmp_path / "vgg.pth")
    own = detector.net.backbone.state_dict()
    assert lines == [f"{len(own)} of {len(own)} tensors of the backbone come from {tmp_path}/vgg.pth."]
    convolutions = [tensor for tensor in own.values() if tensor.ndim == 4]
    expected = [tensor for tensor in theirs.values() if tensor.ndim == 4]
    assert len(convolutions) == len(expected)
    assert all(map(torch.equal, convolutions[1:], expected[1:]))  # the first knows how pictures are seen
