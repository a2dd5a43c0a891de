"""Weights into networks: what fits is loaded, what doesn't is told."""

import math
import re

import pytest
import torch
from torchvision import models

from xraycls.errors import WeightsError
from xraycls.models import weights as weights_module
from xraycls.models.build import build_net
from xraycls.models.classifier import build_classifier, save_classifier
from xraycls.models.weights import load_weights
from xraycls.models.zoo import find


@pytest.fixture(scope="module")
def resnet18_state():
    torch.manual_seed(1)
    return models.resnet18(weights=None).state_dict()


@pytest.fixture
def resnet18_file(tmp_path, resnet18_state):
    path = tmp_path / "resnet18.pth"
    torch.save(resnet18_state, path)
    return path


def test_a_file_of_torchvision_fills_the_backbone_and_leaves_the_head_new(resnet18_file, resnet18_state):
    net = build_net(find("resnet18"), 2)
    head = net.fc.weight.clone()
    report = load_weights(net, find("resnet18"), resnet18_file)
    assert torch.equal(net.layer4[1].conv2.weight, resnet18_state["layer4.1.conv2.weight"])
    assert torch.equal(net.layer4[1].bn2.running_var, resnet18_state["layer4.1.bn2.running_var"])
    assert torch.equal(net.fc.weight, head)
    assert len(report.loaded) == len(resnet18_state) - 2
    assert report.mismatched == (("fc.weight", (1000, 512), (2, 512)), ("fc.bias", (1000,), (2,)))
    assert report.missing == report.unexpected == ()
    assert report.lines() == [f"120 tensors loaded from {resnet18_file}; the head is new (1000 classes there, 2 here)."]


def test_imagenet_weights_take_the_same_way(monkeypatch, resnet18_state):
    monkeypatch.setattr(weights_module, "fetch_imagenet", lambda architecture, size: resnet18_state)
    net = build_net(find("resnet18"), 2)
    report = load_weights(net, find("resnet18"), "imagenet")
    assert torch.equal(net.conv1.weight, resnet18_state["conv1.weight"])
    assert report.source == "resnet18-f37072fd.pth"


def test_none_leaves_everything_random():
    assert load_weights(torch.nn.Identity(), find("resnet18"), "none").lines() == ["All weights are random."]


def test_a_smaller_network_is_refused_and_nothing_is_changed(resnet18_file):
    net = build_net(find("resnet34"), 2)
    before = net.conv1.weight.clone()
    with pytest.raises(WeightsError, match=r"doesn't fit ResNet34: 80 tensors \(layer1\.2\..*are missing"):
        load_weights(net, find("resnet34"), resnet18_file)
    assert torch.equal(net.conv1.weight, before)


def test_a_bigger_network_of_the_same_names_is_refused(tmp_path):
    torch.save(models.resnet34(weights=None).state_dict(), tmp_path / "resnet34.pth")
    with pytest.raises(WeightsError, match=r"doesn't fit ResNet18: .*have no place in it"):
        load_weights(build_net(find("resnet18"), 2), find("resnet18"), tmp_path / "resnet34.pth")


def test_another_network_altogether_is_refused(tmp_path):
    torch.save(models.squeezenet1_1(weights=None).state_dict(), tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"net\.pth doesn't fit ResNet18: .*conv1\.weight"):
        load_weights(build_net(find("resnet18"), 2), find("resnet18"), tmp_path / "net.pth")


def test_tensors_of_other_programs_are_reported_and_left(tmp_path, resnet18_state):
    torch.save({**resnet18_state, "projector.weight": torch.zeros(3)}, tmp_path / "net.pth")
    report = load_weights(build_net(find("resnet18"), 2), find("resnet18"), tmp_path / "net.pth")
    assert report.unexpected == ("projector.weight",)
    assert "no use for 1 tensor (projector.weight)" in report.lines()[1]


def test_features_alone_are_enough(tmp_path):
    state = models.mobilenet_v3_small(weights=None).features.state_dict()
    torch.save({f"features.{name}": tensor for name, tensor in state.items()}, tmp_path / "features.pth")
    architecture = find("torchvision:mobilenet_v3_small")
    report = load_weights(build_net(architecture, 2), architecture, tmp_path / "features.pth")
    assert report.missing == tuple(f"classifier.{n}" for n in ("0.weight", "0.bias", "3.weight", "3.bias"))
    assert report.head == "the head is new (the source has none)"
    del state["0.0.weight"]
    torch.save({f"features.{name}": tensor for name, tensor in state.items()}, tmp_path / "features.pth")
    with pytest.raises(WeightsError, match=r"1 tensor \(features\.0\.0\.weight\) of the network are missing"):
        load_weights(build_net(architecture, 2), architecture, tmp_path / "features.pth")


def test_values_that_are_not_finite_are_refused(tmp_path, resnet18_state):
    torch.save({**resnet18_state, "conv1.weight": torch.full((64, 3, 7, 7), math.nan)}, tmp_path / "net.pth")
    with pytest.raises(WeightsError, match=r"not finite, the first in conv1\.weight"):
        load_weights(build_net(find("resnet18"), 2), find("resnet18"), tmp_path / "net.pth")


def test_counters_that_old_files_lack_do_not_matter(tmp_path, resnet18_state):
    old = {name: tensor for name, tensor in resnet18_state.items() if "num_batches_tracked" not in name}
    torch.save(old, tmp_path / "net.pth")
    assert load_weights(build_net(find("resnet18"), 2), find("resnet18"), tmp_path / "net.pth").missing == ()


def test_the_names_that_torchvision_gave_densenets_in_2017_are_understood(tmp_path):
    state = models.densenet121(weights=None).state_dict()
    old = {re.sub(r"(denselayer\d+\.(?:norm|conv))([12])\.", r"\1.\2.", name): tensor for name, tensor in state.items()}
    assert "features.denseblock1.denselayer1.norm.1.weight" in old
    torch.save(old, tmp_path / "densenet121-a639ec97.pth")
    architecture = find("torchvision:densenet121")
    net = build_net(architecture, 2)
    assert load_weights(net, architecture, tmp_path / "densenet121-a639ec97.pth").unexpected == ()
    assert torch.equal(
        net.features.denseblock4.denselayer16.conv2.weight, state["features.denseblock4.denselayer16.conv2.weight"]
    )


def test_auxiliary_heads_may_be_absent_or_for_other_classes(tmp_path):
    state = models.googlenet(weights=None, init_weights=False).state_dict()
    architecture = find("googlenet")
    torch.save(state, tmp_path / "net.pth")
    report = load_weights(build_net(architecture, 2), architecture, tmp_path / "net.pth")
    assert {name for name, _, _ in report.mismatched} == {
        f"{head}.{kind}" for head in ("fc", "aux1.fc2", "aux2.fc2") for kind in ("weight", "bias")
    }
    torch.save({name: tensor for name, tensor in state.items() if not name.startswith("aux")}, tmp_path / "net.pth")
    report = load_weights(build_net(architecture, 2), architecture, tmp_path / "net.pth")
    assert all(name.startswith("aux") for name in report.missing)


@pytest.mark.parametrize(("classes", "kept"), [(("A", "B"), True), (("B", "A"), False), (("A", "B", "C"), False)])
def test_the_head_of_our_own_checkpoint_comes_along_for_the_same_classes_only(tmp_path, classes, kept):
    first, _ = build_classifier("torchvision:squeezenet1_1", ("A", "B"), weights="none")
    save_classifier(first, tmp_path / "checkpoints" / "best.safetensors")
    second, report = build_classifier("torchvision:squeezenet1_1", classes, weights=tmp_path)
    assert torch.equal(first.net.features[0].weight, second.net.features[0].weight)
    heads = first.net.classifier[1].weight, second.net.classifier[1].weight
    assert (heads[0].shape == heads[1].shape and torch.equal(*heads)) == kept
    assert report.head == ("the head came along" if kept else "the head is new (there the classes are A, B)")


def test_a_transformer_of_timm_takes_its_weights_at_another_size(tmp_path):
    large, _ = build_classifier("timm:test_vit", ("A", "B"), weights="none")
    torch.save(large.net.state_dict(), tmp_path / "vit.pth")
    small, report = build_classifier("timm:test_vit", ("A", "B"), weights=tmp_path / "vit.pth", size=96)
    assert report.missing == report.mismatched == ()
    assert small.net.pos_embed.shape[1] < large.net.pos_embed.shape[1]
    assert torch.equal(small.net.blocks[0].attn.qkv.weight, large.net.blocks[0].attn.qkv.weight)


def test_the_real_squeezenet_sees_the_cat(shared):
    import cv2

    path = shared / "weights" / "squeezenet1_1-ndf-deepscale-imagenet1k.pth"
    classes = [str(index) for index in range(1000)]
    classifier, report = build_classifier("torchvision:squeezenet1_1", classes, weights=path)
    assert report.head == "the head came along"
    picture = cv2.imread(str(shared / "weights" / "check_images" / "chelsea.png"))[:, :, ::-1]
    picture = cv2.resize(picture, (224, 224), interpolation=cv2.INTER_AREA)
    with torch.no_grad():
        logits = classifier.eval()(torch.from_numpy(picture.transpose(2, 0, 1).copy())[None])
    assert logits.argmax().item() == 285  # Egyptian cat


def test_the_real_mobilenet_is_features_only(shared):
    path = shared / "weights" / "mobilenet_v2-dsr-imagenet1k-features.pth"
    _, report = build_classifier("torchvision:mobilenet_v2", ("A", "B"), weights=path)
    assert report.missing == ("classifier.1.weight", "classifier.1.bias")
    assert report.unexpected == report.mismatched == ()
