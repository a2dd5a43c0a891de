"""Weights files as users of chest X-ray models have them."""

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.formula import filled, formula_tensor
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
    "medclip": lambda s: {**prefixed(s, "vision_model.model."), "text_model.projection_head.weight": torch.ones(2, 2)},
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


WAYS = {
    "of momentum contrast": ("momentum contrast", "resnet18"),
    "layers by their number": ("backbone by numbers", "resnet18"),
    "of what MedCLIP sees with": ("medclip", "resnet18"),
}


@pytest.mark.parametrize("said", WAYS)
def test_whose_names_a_file_has_is_said(tmp_path, resnet, said):
    kind, name = WAYS[said]
    torch.save(FILES[kind](resnet), tmp_path / "a.pth")
    report = load_weights(build_net(find(name), 2), find(name), tmp_path / "a.pth")
    assert f"(names {said}" in report.lines()[0]


def test_numbers_that_leave_out_the_auxiliary_head_fit():
    net = torch.nn.Module()
    net.stem, auxiliary, late = (torch.nn.Conv2d(3, 4, 3, bias=False) for _ in range(3))
    net.AuxLogits, net.Mixed_7a = torch.nn.Sequential(auxiliary), late
    found = aligned({"backbone.0.weight": net.stem.weight.data, "backbone.1.weight": net.Mixed_7a.weight.data}, net)
    assert torch.equal(found["stem.weight"], net.stem.weight)
    assert torch.equal(found["Mixed_7a.weight"], net.Mixed_7a.weight)
    assert not any(name.startswith("AuxLogits") for name in found)


@pytest.fixture(scope="module")
def dinov2():
    """What transformers makes of a small DINOv2 and pictures by formula (golden/make_transformers_vit.py)."""
    return json.loads(Path(__file__).parents[1].joinpath("golden", "transformers_vit.json").read_text())


def small_vit(side: int) -> torch.nn.Module:
    from timm.models.vision_transformer import VisionTransformer

    return VisionTransformer(
        side, 14, embed_dim=32, depth=2, num_heads=2, init_values=1.0, num_classes=2, global_pool="token"
    )


def as_before_version_5(name: str) -> str:
    """What transformers called a layer in files of before its version 5, such as RAD-DINO's."""
    for new, old in {"q_proj": "query", "k_proj": "key", "v_proj": "value"}.items():
        name = name.replace(f"attention.{new}", f"attention.attention.{old}")
    return name.replace("attention.o_proj", "attention.output.dense")


@pytest.mark.parametrize("prefix", ["", "dinov2."])
def test_a_vision_transformer_of_transformers_computes_what_it_did_there(tmp_path, dinov2, prefix):
    state = filled({name: torch.zeros(shape) for name, shape in dinov2["state"]})
    if prefix:
        state = {as_before_version_5(name): tensor for name, tensor in state.items()}
    torch.save(prefixed(state, prefix), tmp_path / "a.pth")
    architecture = replace(find("timm:vit_tiny_patch16_224"), name="small")
    net = small_vit(42)
    report = load_weights(net, architecture, tmp_path / "a.pth", size=42)
    assert "such as RAD-DINO's" in report.lines()[0]
    assert report.positions is None
    with torch.inference_mode():
        found = net.eval().forward_features(formula_tensor((2, 3, 42, 42), "pictures"))[:, 0]
    assert np.abs(found.numpy() - np.array(dinov2["class_token"])).max() < 1e-5


def test_what_a_clip_sees_with_is_taken_from_beside_what_it_reads_with(tmp_path):
    net, architecture = small_vit(42), replace(find("timm:vit_tiny_patch16_224"), name="small")
    state = {name: torch.rand_like(tensor) for name, tensor in net.state_dict().items() if not name.startswith("head")}
    beside = dict.fromkeys(("visual.head.proj.weight", "text.transformer.weight", "logit_scale"), torch.ones(1))
    torch.save({**prefixed(state, "visual.trunk."), **beside}, tmp_path / "a.bin")
    report = load_weights(net, architecture, tmp_path / "a.bin", size=42)
    assert "such as BiomedCLIP's" in report.lines()[0]
    assert all(torch.equal(net.state_dict()[name], tensor) for name, tensor in state.items())


def test_position_embeddings_are_resized_as_timm_does(tmp_path, dinov2):
    from timm.layers import resample_abs_pos_embed

    state = filled({name: torch.zeros(shape) for name, shape in dinov2["state"]})
    torch.save(state, tmp_path / "a.pth")
    net = small_vit(56)
    report = load_weights(net, replace(find("timm:vit_tiny_patch16_224"), name="small"), tmp_path / "a.pth", size=56)
    assert report.lines()[1] == "Its 10 position embeddings were resized to 17."
    expected = resample_abs_pos_embed(state["embeddings.position_embeddings"], new_size=[4, 4], num_prefix_tokens=1)
    assert torch.allclose(net.pos_embed, expected, atol=1e-6)


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
