"""Freezing: what is frozen stays as it was, whatever is trained."""

import pytest
import torch

from xraycls.errors import UsageError
from xraycls.models.classifier import build_classifier
from xraycls.models.freeze import freeze, stages


@pytest.fixture(scope="module")
def classifier():
    torch.manual_seed(0)
    return build_classifier("resnet18", ("A", "B"), weights="none", size=32)[0]


def train_a_step(classifier):
    trained = [p for p in classifier.parameters() if p.requires_grad]
    optimiser = torch.optim.SGD(trained, lr=1.0)
    images = torch.randint(0, 256, (4, 1, 32, 32), dtype=torch.uint8)
    classifier.train()(images)[:, 0].sum().backward()
    optimiser.step()


@pytest.mark.parametrize(
    ("what", "thawed"),
    [
        ("backbone", {"fc"}),
        (3, {"layer3", "layer4", "fc"}),
        ("1", {"layer1", "layer2", "layer3", "layer4", "fc"}),
        (0, {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}),
        ("none", {"conv1", "bn1", "layer1", "layer2", "layer3", "layer4", "fc"}),
    ],
)
def test_a_step_changes_the_thawed_modules_only_and_their_statistics(classifier, what, thawed):
    freeze(classifier, what)
    before = {name: tensor.clone() for name, tensor in classifier.net.state_dict().items()}
    train_a_step(classifier)
    changed = {
        name.partition(".")[0]
        for name, tensor in classifier.net.state_dict().items()
        if not torch.equal(tensor, before[name])
    }
    assert changed == thawed


def test_freezing_survives_evaluation_and_back(classifier):
    freeze(classifier, 2)
    classifier.eval()
    classifier.train()
    assert not classifier.net.bn1.training
    assert not classifier.net.layer1[0].bn1.training
    assert classifier.net.layer2[0].bn1.training
    assert classifier.net.training


def test_a_later_freeze_replaces_the_first(classifier):
    freeze(classifier, "backbone")
    freeze(classifier, 1)
    assert classifier.net.layer1[0].conv1.weight.requires_grad
    assert classifier.net.layer1[0].bn1.training


@pytest.mark.parametrize("what", [6, -1, "7"])
def test_too_many_stages_are_told_with_their_names(classifier, what):
    with pytest.raises(UsageError, match=r"It has 5, named here by their first module: 1 conv1, 2 layer1, .* 5 layer4"):
        freeze(classifier, what)


def test_an_unknown_part_is_told(classifier):
    with pytest.raises(UsageError, match=r"--freeze\. Did you mean backbone"):
        freeze(classifier, "backbones")


@pytest.mark.parametrize(
    ("name", "first", "count"),
    [
        ("timm:test_resnet", "conv1", 5),
        ("timm:test_vit", "cls_token", None),
        ("timm:poolformer_s12", "stem", None),  # a network without groups of its own
        ("torchvision:mobilenet_v3_small", "features.0", 14),
        ("torchvision:shufflenet_v2_x0_5", "conv1", 5),
    ],
)
def test_networks_of_the_libraries_have_stages_from_input_to_head(name, first, count):
    classifier, _ = build_classifier(name, ("A", "B"), weights="none")
    found = stages(classifier)
    assert found[0][0].startswith(first)
    assert count is None or len(found) == count
    freeze(classifier, len(found))
    trained = [n for n, p in classifier.net.named_parameters() if p.requires_grad]
    assert trained == [f"{classifier.head}.weight", f"{classifier.head}.bias"]
