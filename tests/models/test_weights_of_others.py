"""Weights files as users of chest X-ray models have them."""

import re

import numpy as np
import pytest
import torch

from xraycls.errors import WeightsError
from xraycls.models.build import build_net
from xraycls.models.foreign_names import aligned
from xraycls.models.weight_files import read_weights
from xraycls.models.weights import load_weights
from xraycls.models.zoo import find


@pytest.fixture(scope="module")
def resnet() -> dict[str, torch.Tensor]:
    import torchvision

    torch.manual_seed(0)
    return dict(torchvision.models.resnet18(num_classes=14).state_dict())


def prefixed(state: dict[str, torch.Tensor], prefix: str) -> dict[str, torch.Tensor]:
    return {f"{prefix}{name}": tensor for name, tensor in state.items()}


def by_number(state: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    parts = ["conv1", "bn1", "relu", "maxpool", "layer1", "layer2", "layer3", "layer4"]
    split = [(name.partition("."), tensor) for name, tensor in state.items() if not name.startswith("fc")]
    return {f"{parts.index(first)}.{rest}": tensor for (first, _, rest), tensor in split}


FILES = {
    "lightning": lambda s: {"state_dict": {**prefixed(s, "model."), "criterion.pos_weight": torch.ones(14)}},
    "data parallel": lambda s: prefixed(s, "module."),
    "three wrappers": lambda s: prefixed(s, "module._orig_mod.model."),
    "a wrapper of one's own": lambda s: {**prefixed(s, "my_net.trunk."), "loss.scale": torch.ones(1)},
    "backbone by numbers": lambda s: prefixed(by_number(s), "backbone."),
    "numbers alone": by_number,
    "features of a sequence": lambda s: {"model": prefixed(by_number(s), "features.")},
    "momentum contrast": lambda s: {
        "state_dict": {**prefixed(s, "module.encoder_k."), **prefixed(s, "module.encoder_q."), "queue": torch.ones(8)}
    },
    "a score of numpy": lambda s: {"state_dict": s, "best_auc": np.float64(0.9), "epoch": np.int64(3)},
    "a cifar tutorial": lambda s: {"net": s, "acc": 90.0, "epoch": 1},
    "containers within containers": lambda s: {"checkpoint": {"weights": {"encoder": s}}, "optimizer": {"state": {}}},
    "a head in a sequence": lambda s: {n.replace("fc.", "fc.1."): t for n, t in s.items()},
    "backbone beside a head": lambda s: {
        ("" if name.startswith("fc") else "backbone.") + name: tensor for name, tensor in s.items()
    },
}  # fmt: skip


@pytest.mark.parametrize("kind", FILES)
def test_a_file_of_others_is_loaded(tmp_path, resnet, kind):
    torch.save(FILES[kind](resnet), tmp_path / "a.pth")
    net = build_net(find("resnet18"), 2)
    report = load_weights(net, find("resnet18"), tmp_path / "a.pth")
    assert not report.missing or all(name.startswith("fc") for name in report.missing)
    for name, tensor in net.state_dict().items():
        if not name.startswith("fc"):
            assert torch.equal(tensor, resnet[name]), name


def test_chexnet_and_grey_first_layers(tmp_path):
    import torchvision

    torch.manual_seed(0)
    state = torchvision.models.densenet121(num_classes=14).state_dict()
    pattern = r"(denselayer\d+\.(?:norm|conv))([12]\.)"
    old = {re.sub(pattern, r"\1.\2", n).replace("classifier.", "classifier.0."): t for n, t in state.items()}
    torch.save({"state_dict": prefixed(old, "module.densenet121.")}, tmp_path / "chexnet.pth")
    net = build_net(find("torchvision:densenet121"), 14)
    assert load_weights(net, find("torchvision:densenet121"), tmp_path / "chexnet.pth").head == "the head came along"
    net.eval()
    grey = {**state, "features.conv0.weight": state["features.conv0.weight"].sum(1, keepdim=True)}
    spread = aligned(grey, net)["features.conv0.weight"]
    pictures = torch.rand(2, 1, 32, 32).expand(2, 3, 32, 32)
    with torch.inference_mode():
        expected = torch.conv2d(pictures[:, :1], grey["features.conv0.weight"])
        assert torch.allclose(torch.conv2d(pictures, spread), expected, atol=1e-5)


def test_three_channels_become_one_for_a_grey_network():
    grey, colour = torch.nn.Sequential(torch.nn.Conv2d(1, 4, 3)), torch.nn.Conv2d(3, 4, 3)
    found = aligned({"0.weight": colour.weight.data, "0.bias": colour.bias.data}, grey)
    assert torch.equal(found["0.weight"], colour.weight.data.sum(1, keepdim=True))


def test_a_file_that_does_not_fit_shows_its_own_names_and_the_networks(tmp_path, resnet):
    strange = {f"trunk.{name.replace('conv', 'c')}": tensor for name, tensor in resnet.items()}
    torch.save(strange, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"It has trunk\.c1\.weight, .*; ResNet18 has conv1\.weight") as told:
        load_weights(build_net(find("resnet18"), 2), find("resnet18"), tmp_path / "a.pth")
    assert "trunk.fc" in str(told.value)


def test_python_objects_beside_the_weights_are_named(tmp_path, resnet):
    from pathlib import PurePosixPath

    torch.save({"state_dict": resnet, "where": PurePosixPath("x")}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match=r"Save net\.state_dict\(\) alone.*it holds pathlib\.PurePosixPath"):
        read_weights(tmp_path / "a.pth")


@pytest.mark.parametrize("value", [np.array([object()], dtype=object)[0], np.str_("x")])
def test_numpy_objects_other_than_numbers_stay_refused(tmp_path, value):
    torch.save({"state_dict": {"a": torch.ones(1)}, "x": value}, tmp_path / "a.pth")
    with pytest.raises(WeightsError, match="Python objects"):
        read_weights(tmp_path / "a.pth")
