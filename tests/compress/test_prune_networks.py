"""Every backbone of the detector and every family of classifiers can be pruned, stored and built anew."""

import json

import pytest
import torch
from torch import nn

from xraycls.compress.groups import channel_groups
from xraycls.compress.prune import count_parameters, prune
from xraycls.errors import UsageError
from xraycls.models.build import build_net, head_name
from xraycls.models.classifier import Classifier, build_classifier, save_classifier
from xraycls.models.detection.ssd import SSD, SSD_BACKBONES, ssd_backbone
from xraycls.models.pruning_plan import PrunePlan, apply_plan
from xraycls.models.zoo import find

# One of each family: what is in them differs, not in how many layers.
CLASSIFIERS = (
    "ResNet18",
    "ResNet50",
    "Alexnet",
    "VGG11",
    "GoogleNet",
    "Inception",
    "timm:efficientnet_b0",
    "timm:densenet121",
    "timm:mobilenetv3_small_050",
    "timm:legacy_seresnet18",
    "torchvision:mnasnet0_5",
)
# Deeper ones of a family that is there: what is in them is the same.
DEEPER = {"resnet34", "resnet50", "resnet101", "vgg19", "efficientnet_b1", "ResNet50", "VGG11", "Inception"}
LAYERS = (nn.Conv2d, nn.Linear, nn.modules.batchnorm._BatchNorm)
HEADS = tuple(f"heads.ssd_{kind}_{number}" for kind in ("conf", "loc") for number in range(6))


def detector(name):
    return SSD(ssd_backbone(name), 1, [6] * 6)


def dssd(name):
    return SSD(ssd_backbone("resnet10"), 1, [6] * 6, prediction_channels=256, deconvolved=(96, 128))


def classifier_net(name):
    architecture = find(name)
    return build_net(architecture, 3, size=max(architecture.min_size, architecture.auxiliary_size, 64))


def trained(build, name):
    """A network with filters of different strength, whose batch normalisation has seen data."""
    torch.manual_seed(7)
    net = build(name)
    for module in net.modules():
        if isinstance(module, nn.Conv2d | nn.Linear):
            module.weight.data *= 2 * torch.rand(len(module.weight)).view(-1, *[1] * (module.weight.ndim - 1))
        elif isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.running_mean.normal_(0, 0.3)
            module.running_var.uniform_(0.5, 2)
            nn.init.normal_(module.bias, std=0.3)
    return net


def outputs(net, images):
    with torch.no_grad():
        found = net.eval()(images)
    return found if isinstance(found, tuple) else (found,)


NETWORKS = [
    *((detector, name) for name in SSD_BACKBONES),
    (dssd, "dssd"),
    *((classifier_net, name) for name in CLASSIFIERS),
]
CASES = [
    pytest.param(build, name, id=name, marks=[pytest.mark.exhaustive] if name in DEEPER else [])
    for build, name in NETWORKS
]
SIZES = {detector: (128, 128), dssd: (96, 128)}
WHOLE = {detector: {*HEADS}, dssd: {*HEADS, *(f"deconvolutions.blocks.{n}.coarse.0.corners" for n in range(5))}}


@pytest.mark.exhaustive
@pytest.mark.parametrize(("build", "name"), CASES)
def test_pruned_stored_built_anew_and_loaded_it_gives_the_same_outputs(build, name):
    net = trained(build, name)
    size = SIZES.get(build) or (max(find(name).min_size, find(name).auxiliary_size, 64),) * 2
    report = prune(net, torch.zeros(1, 3, *size), threshold=0.5)
    assert report.ratio < 0.62
    assert report.after == count_parameters(report.model)
    whole = {layer.name for layer in report.layers if layer.note}
    assert whole == (WHOLE.get(build) or {head_name(net, find(name)), *auxiliary_heads(name)})
    assert all(n.after == n.before or n.after % 8 == 0 for n in report.layers)

    anew = build(name)
    apply_plan(anew, PrunePlan.parse(json.loads(json.dumps(report.plan.layers))))
    anew.load_state_dict(report.model.state_dict(), strict=True)
    images = torch.rand(2, 3, *size)
    for found, expected in zip(outputs(anew, images), outputs(report.model, images), strict=True):
        assert torch.equal(found, expected)
    for one, other in zip(anew.modules(), report.model.modules(), strict=True):
        if isinstance(one, LAYERS):  # the widths that a layer says it has
            assert repr(one) == repr(other)
    assert_trains(anew, images)


def auxiliary_heads(name):
    return {"GoogleNet": ("aux1.fc2", "aux2.fc2"), "Inception": ("AuxLogits.fc",)}.get(name, ())


def assert_trains(net, images):
    """A step reaches every weight, those of auxiliary heads included."""
    answers = net.train()(images)
    answers = [answers] if isinstance(answers, torch.Tensor) else answers
    sum(answer.square().mean() for answer in answers).backward()
    assert all(parameter.grad is not None for parameter in net.parameters())


def test_the_residual_groups_of_ssd_are_those_of_upstream():
    groups = channel_groups(detector("resnet18"), torch.zeros(1, 3, 128, 128))
    tied = {frozenset(group.producers) for group in groups if len(group.producers) > 1 and not group.fixed}
    blocks = [f"backbone.layer{stage}.{block}" for stage in (1, 2, 3, 4) for block in (0, 1)]
    assert tied == {frozenset({f"{block}.conv2", f"{block}.downsample.0"}) for block in blocks}


def test_products_and_sums_of_dssd_are_groups():
    groups = channel_groups(dssd("resnet10"), torch.zeros(1, 3, 96, 128))
    tied = {frozenset(group.producers) for group in groups if len(group.producers) > 1 and not group.fixed}
    products = [{f"deconvolutions.blocks.{n}.{side}.1" for side in ("fine", "coarse")} for n in range(5)]
    sums = [{f"predictions.blocks.{n}.{side}" for side in ("residual.2", "skip.0")} for n in range(6)]
    residual = [{f"backbone.layer{n}.0.conv2", f"backbone.layer{n}.0.downsample.0"} for n in range(1, 5)]
    assert tied == {frozenset(group) for group in (*products, *sums, *residual)}


def test_a_classifiers_stage_is_one_group():
    groups = channel_groups(classifier_net("ResNet18"), torch.zeros(1, 3, 64, 64))
    tied = {frozenset(group.producers) for group in groups if len(group.producers) > 1}
    stages = [{f"layer{n}.0.conv2", f"layer{n}.1.conv2", f"layer{n}.0.downsample.0"} for n in (2, 3, 4)]
    assert tied == {frozenset({"conv1", "layer1.0.conv2", "layer1.1.conv2"}), *map(frozenset, stages)}


def test_a_depthwise_convolution_goes_with_its_parent_and_its_gate():
    groups = channel_groups(detector("efficientnet_b0"), torch.zeros(1, 3, 128, 128))
    block = "backbone.network.2.0.block"
    (group,) = (g for g in groups if f"{block}.0.0" in g.producers)
    assert set(group.producers) == {f"{block}.0.0", f"{block}.1.0", f"{block}.2.fc2"}


def test_pruning_twice_is_one_plan():
    net = trained(detector, "mobilenet_v1")
    example = torch.zeros(1, 3, 128, 128)
    first = prune(net, example, threshold=0.3)
    second = prune(first.model, example, threshold=0.8)
    anew = detector("mobilenet_v1")
    apply_plan(anew, first.plan.then(second.plan))
    anew.load_state_dict(second.model.state_dict(), strict=True)
    assert second.after < first.after
    assert first.plan.then(second.plan) == PrunePlan({**first.plan.layers, **second.plan.layers})


def test_a_transformer_keeps_its_channels():
    net = build_net(find("timm:vit_tiny_patch16_224"), 2)
    report = prune(net, torch.zeros(1, 3, 224, 224), threshold=0.99)
    assert report.ratio == 1
    assert report.plan.layers == {}


def test_a_network_that_torch_pruning_cannot_follow_is_one_sentence():
    net = build_net(find("torchvision:shufflenet_v2_x0_5"), 2)
    with pytest.raises(UsageError, match="ShuffleNetV2 can't be pruned: Torch-Pruning can't follow"):
        prune(net, torch.zeros(1, 3, 64, 64))


def test_a_pruned_network_without_its_auxiliary_head_loads(tmp_path):
    whole, _ = build_classifier("Inception", ("A", "B"), weights="none", size=299)
    report = prune(whole.net, torch.zeros(1, 3, 299, 299), threshold=0.95)
    assert any(name.startswith("AuxLogits") for name in report.plan.layers)
    slim = Classifier(report.model, whole.architecture, whole.classes, whole.size, report.plan)
    save_classifier(slim, tmp_path / "slim.safetensors")
    smaller, _ = build_classifier("Inception", ("A", "B"), weights=tmp_path / "slim.safetensors", size=96)
    assert smaller.net.AuxLogits is None
    assert smaller.net.Conv2d_3b_1x1.conv.weight.shape == report.model.Conv2d_3b_1x1.conv.weight.shape
