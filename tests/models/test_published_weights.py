"""torchxrayvision's weights, against golden figures of that library itself (golden/make_torchxrayvision.py)."""

import json
import sys
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch

from tests.models.formula import filled, formula
from xraycls.cli.models import models
from xraycls.errors import UsageError, WeightsError
from xraycls.models import published
from xraycls.models.classifier import build_classifier, load_classifier, save_classifier
from xraycls.models.published import PUBLISHED
from xraycls.models.weights import load_weights
from xraycls.models.zoo import find
from xraycls.training.config import parse_config
from xraycls.workflows.settings import resolved

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "torchxrayvision.json").read_text())
pytestmark = pytest.mark.filterwarnings("ignore:Couldn't retrieve source code")

NIH = "xrv:densenet121-res224-nih"
SIDE = GOLDEN["side"]


@pytest.fixture(scope="module")
def cache(tmp_path_factory):
    """A cache of torchxrayvision with one file, a network pickled whole in the format of 2020."""
    from torchvision.models.densenet import DenseNet

    module = ModuleType("torchxrayvision.models")
    module.DenseNet = type("DenseNet", (DenseNet,), {"__module__": "torchxrayvision.models"})
    net = module.DenseNet(32, (6, 12, 24, 16), 64, num_classes=18)
    net.features.conv0 = torch.nn.Conv2d(1, 64, 7, 2, 3, bias=False)
    net.load_state_dict(filled(net.state_dict()))
    folder = tmp_path_factory.mktemp("models_data")
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(sys.modules, "torchxrayvision", ModuleType("torchxrayvision"))
        patch.setitem(sys.modules, "torchxrayvision.models", module)
        torch.save(net, folder / GOLDEN["file"], _use_new_zipfile_serialization=False)
    return folder


@pytest.fixture(autouse=True)
def in_cache(cache, monkeypatch):
    monkeypatch.setattr(published, "CACHE", cache)


@pytest.fixture(scope="module")
def pictures():
    levels = 127.5 * (formula(2 * SIDE * SIDE, "pictures") + 1)
    return torch.from_numpy(levels.astype(np.uint8).reshape(2, 1, SIDE, SIDE))


def close(found, expected):
    expected = np.array(expected)
    assert np.abs(found.numpy() - expected).max() <= 1e-5 * np.abs(expected).max()


def test_the_table_is_torchxrayvisions_own():
    assert {f"xrv:{name}" for name in GOLDEN["published"]} == PUBLISHED.keys()
    for name, (file, labels, size) in GOLDEN["published"].items():
        known = PUBLISHED[f"xrv:{name}"]
        assert (known.file, find(known.base_model).input_size) == (file, size)
        ours = [output.replace("_", " ") for output in known.findings]
        theirs = [label.replace("_", " ") for label in labels]
        if "resnet" in name:  # trained on no data set with these two
            theirs = ["" if label in ("Lung Lesion", "Enlarged Cardiomediastinum") else label for label in theirs]
        assert ours == theirs


def test_the_command_lists_what_is_known_of_each(capsys):
    models(weights=True, as_json=True)
    rows = {row["weights"]: row for row in json.loads(capsys.readouterr().out)}
    assert rows.keys() >= PUBLISHED.keys()
    assert rows[NIH]["input"] == "224 px, grey, -1024 to 1024"
    assert rows[NIH]["source"].endswith(GOLDEN["file"])
    assert all(row["licence"] for row in rows.values())
    for row in rows.values():
        for name in row["base_models"]:
            assert find(name).name.lower() == name
    models(weights=True)
    assert "Nothing else is downloaded" in capsys.readouterr().out


def test_logits_are_those_of_torchxrayvision_after_saving_too(cache, pictures, tmp_path):
    findings = [name or f"random {row}" for row, name in enumerate(GOLDEN["outputs"])]
    classifier, report = build_classifier("xrv:densenet121", findings, weights=NIH, size=SIDE, multi_label=True)
    with torch.inference_mode():
        close(classifier.eval()(pictures)[:, :14], [row[:14] for row in GOLDEN["logits"]])
    assert report.head.endswith("Hernia came along by name, and random 14, random 15, random 16, random 17 are new")
    save_classifier(classifier, tmp_path / "a.safetensors")
    loaded, metadata = load_classifier(tmp_path / "a.safetensors")
    assert (metadata["mean"], metadata["std"], loaded.architecture.channels) == ([0.5], [0.5 / 1024], 1)
    with torch.inference_mode():
        assert torch.equal(loaded(pictures), classifier(pictures))


def test_findings_of_a_run_take_their_rows_of_the_head(cache):
    names = ["Mass", "Bone age", "pleural thickening"]
    classifier, report = build_classifier("xrv:densenet121", names, weights=NIH, multi_label=True)
    weight, bias = (formula(count, f"classifier.{name}") for count, name in ((18 * 1024, "weight"), (18, "bias")))
    head = classifier.net.classifier
    rows = [GOLDEN["outputs"].index(name) for name in ("Mass", "Pleural_Thickening")]
    expected = torch.from_numpy(weight.reshape(18, 1024)[rows] * np.sqrt(6 / 1024)).float()
    assert torch.allclose(head.weight[[0, 2]], expected)
    assert torch.allclose(head.bias[[0, 2]], torch.from_numpy(0.1 * bias[rows]).float())
    assert head.bias[1] == 0
    assert report.head == "of the head Mass, pleural thickening came along by name, and Bone age is new"


def test_classes_that_exclude_each_other_start_with_a_new_head(cache):
    _, report = build_classifier("xrv:densenet121", ["Mass", "Hernia"], weights=NIH)
    assert report.head.startswith("the head is new (there the classes are Atelectasis, ")


def test_another_network_is_told_which_one_the_weights_are_of(cache):
    with pytest.raises(WeightsError, match="are weights of xrv:densenet121, and the base model is ResNet18"):
        build_classifier("resnet18", ["a", "b"], weights=NIH)
    with pytest.raises(WeightsError, match="grey levels from -1024 to 1024, and torchvision:densenet121 doesn't"):
        build_classifier("torchvision:densenet121", ["a", "b"], weights=cache / GOLDEN["file"])


def test_a_name_of_published_weights_brings_its_network():
    assert resolved(parse_config({"weights": NIH})).base_model == "xrv:densenet121"
    assert resolved(parse_config({"weights": NIH, "base_model": "resnet34"})).base_model == "ResNet34"


def test_weights_that_are_not_there_are_told_with_their_address(tmp_path, monkeypatch):
    monkeypatch.setattr(published, "CACHE", tmp_path)
    with pytest.raises(WeightsError, match=r"Download https://github\.com/\S+/chex-densenet121\S+ to "):
        load_weights(torch.nn.Linear(1, 1), find("xrv:densenet121"), "xrv:densenet121-res224-chex")
    with pytest.raises(UsageError, match="Did you mean xrv:densenet121-res224-chex"):
        published.published("xrv:densenet121-res224-chexpert")
    with pytest.raises(WeightsError, match=r"has no ImageNet weights.*xrv:resnet50-res512-all, none or a file"):
        build_classifier("xrv:resnet50", ["a", "b"])


def test_findings_of_an_earlier_run_come_along_by_name(tmp_path):
    first, _ = build_classifier("resnet18", ["Edema", "Mass"], weights="none", size=32, multi_label=True)
    save_classifier(first, tmp_path / "first.safetensors")
    second, report = build_classifier(
        "resnet18", ["Mass", "Nodule"], weights=tmp_path / "first.safetensors", size=32, multi_label=True
    )
    assert torch.equal(second.net.fc.weight[0], first.net.fc.weight[1])
    assert report.head == "of the head Mass came along by name, and Nodule is new"
