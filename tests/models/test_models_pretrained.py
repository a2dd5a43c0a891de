"""ImageNet weights, fetched or not; no test here reaches a network."""

import contextlib
import hashlib
import sys
import urllib.error

import pytest
import torch
from torchvision.models import ResNet18_Weights
from torchvision.models._api import WeightsEnum

from xraycls.errors import WeightsError
from xraycls.models import pretrained
from xraycls.models.pretrained import fetch_imagenet, weights_folder
from xraycls.models.zoo import find


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setattr(torch.hub, "_hub_dir", str(tmp_path / "hub"))
    return tmp_path / "hub" / "checkpoints"


def no_network(*_, **__):
    raise urllib.error.URLError(OSError(-2, "Name or service not known"))


def test_weights_that_cannot_be_fetched_stop_with_file_folder_and_way_out(monkeypatch, own_cache):
    monkeypatch.setattr("torch.hub.urlopen", no_network)
    with pytest.raises(WeightsError) as caught:
        fetch_imagenet(find("resnet18"), 224)
    said = str(caught.value)
    assert "ResNet18 can't be fetched (Name or service not known)" in said
    assert "resnet18-f37072fd.pth" in said
    assert str(own_cache) in said
    assert "--weights none" in said


def test_what_torchvision_loads_is_given_and_its_talk_kept_off_stdout(monkeypatch, capsys):
    asked = {}

    def get_state_dict(self, **options):
        asked.update(options, weights=self)
        sys.stdout.write("Downloading")
        return {"conv1.weight": torch.ones(1)}

    monkeypatch.setattr(WeightsEnum, "get_state_dict", get_state_dict)
    assert fetch_imagenet(find("resnet18"), 224) == {"conv1.weight": torch.ones(1)}
    assert asked == {
        "weights": ResNet18_Weights.IMAGENET1K_V1,
        "progress": True,
        "check_hash": True,
        "weights_only": True,
    }
    assert capsys.readouterr().out == ""


def test_a_file_put_into_the_cache_by_hand_must_have_the_hash_of_its_name(own_cache):
    own_cache.mkdir(parents=True)
    (own_cache / "resnet18-f37072fd.pth").write_bytes(b"half a file")
    digest = hashlib.sha256(b"half a file").hexdigest()[:8]
    with pytest.raises(WeightsError, match=f"begins with {digest}, not f37072fd"):
        fetch_imagenet(find("resnet18"), 224)
    assert weights_folder() == own_cache


def test_a_download_with_another_hash_is_told(monkeypatch):
    def get_state_dict(self, **_):
        raise RuntimeError('invalid hash value (expected "f37072fd", got "00")')

    monkeypatch.setattr(WeightsEnum, "get_state_dict", get_state_dict)
    with pytest.raises(WeightsError, match=r"resnet18-f37072fd\.pth didn't arrive whole"):
        fetch_imagenet(find("resnet18"), 224)


def test_an_unreachable_hub_is_asked_once_and_told(monkeypatch, tmp_path):
    from huggingface_hub import constants

    asked = []

    def unreachable(request, timeout):
        asked.append(request.full_url)
        no_network()

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", unreachable)
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", False)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError) as caught:
        fetch_imagenet(find("timm:test_resnet"), 160)
    said = str(caught.value)
    assert "timm/test_resnet.r160_in1k (the hub can't be reached). Download model.safetensors from there" in said
    assert str(tmp_path) in said
    assert "--weights none" in said
    assert len(asked) == 1
    assert constants.HF_HUB_OFFLINE is False


def test_a_user_who_is_offline_by_choice_is_not_asked_for(monkeypatch, tmp_path):
    from huggingface_hub import constants

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda *_, **__: pytest.fail("the network was tried"))
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path))
    with pytest.raises(WeightsError, match="the hub can't be reached"):
        fetch_imagenet(find("timm:test_resnet"), 160)


def test_an_answer_of_any_kind_means_that_the_hub_is_there(monkeypatch):
    def forbidden(request, timeout):
        raise urllib.error.HTTPError(request.full_url, 403, "Forbidden", {}, None)

    monkeypatch.setattr(pretrained.urllib.request, "urlopen", forbidden)
    assert pretrained.is_reachable("https://example.org")
    monkeypatch.setattr(pretrained.urllib.request, "urlopen", lambda *_, **__: contextlib.nullcontext())
    assert pretrained.is_reachable("https://example.org")


def test_timms_loader_is_asked_for_the_network_of_that_size(monkeypatch):
    import timm

    asked = {}
    create = timm.create_model

    def create_model(name, pretrained, **options):
        asked.update(options, name=name, pretrained=pretrained)
        return create(name, **options)

    monkeypatch.setattr(pretrained, "is_reachable", lambda _: True)
    monkeypatch.setattr(timm, "create_model", create_model)
    state = fetch_imagenet(find("timm:test_vit"), 96)
    assert asked == {"name": "test_vit", "pretrained": True, "img_size": 96}
    assert state["head.weight"].shape[0] == 1000


def test_a_network_without_weights_is_told():
    with pytest.raises(WeightsError, match="has no ImageNet weights"):
        fetch_imagenet(find("timm:cspresnet50d"), 256)
