"""Weights in the layout of the Hugging Face hub; timm writes them and reads them, too. No network is reached."""

import json
from pathlib import Path

import pytest
import timm
import torch
from huggingface_hub import constants
from timm.models import save_for_hf

from xraycls.errors import UsageError, WeightsError
from xraycls.models import hub
from xraycls.models.classifier import build_classifier
from xraycls.models.hub import HubModel, hub_file, hub_model
from xraycls.models.zoo import Normalization
from xraycls.training.config import parse_config
from xraycls.workflows.settings import resolved

OWN = {"mean": [0.5307, 0.5307, 0.5307], "std": [0.2583, 0.2583, 0.2583]}


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    """A small vision transformer, as timm saves it for the hub."""
    path = tmp_path_factory.mktemp("hub") / "vit"
    torch.manual_seed(0)
    net = timm.create_model("test_vit", num_classes=3, pretrained_cfg_overlay=OWN)
    save_for_hf(net, path, safe_serialization=True)
    return path


@pytest.fixture
def offline(tmp_path, monkeypatch) -> Path:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.file_download.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(hub, "is_reachable", lambda url: False)
    return tmp_path / "cache"


def test_a_folder_of_timms_layout_tells_network_size_and_normalisation(folder):
    assert hub_model(folder) == HubModel("timm:test_vit", 160, Normalization((0.5307,) * 3, (0.2583,) * 3))
    assert hub_file(folder) == folder / "model.safetensors"
    assert hub_model(folder / "model.safetensors") is None


def test_a_training_takes_over_what_the_user_does_not_name(folder):
    config = resolved(parse_config({"weights": str(folder)}))
    assert (config.base_model, config.normalize) == ("timm:test_vit", "0.5307,0.5307,0.5307/0.2583,0.2583,0.2583")
    assert resolved(parse_config({"weights": str(folder), "normalize": "0.5/0.5"})).normalize == "0.5/0.5"
    assert resolved(parse_config({"weights": str(folder), "base_model": "resnet18"})).normalize is None


@pytest.mark.parametrize("size", [160, 96])
def test_features_are_those_of_timms_own_reader_with_positions_resized(folder, size):
    classifier, report = build_classifier(
        "timm:test_vit", ["a", "b"], weights=folder, size=size, normalize="0.5307/0.2583"
    )
    theirs = timm.create_model(f"local-dir:{folder}", pretrained=True, img_size=size).eval()
    images = torch.randint(0, 256, (2, 1, size, size), dtype=torch.uint8)
    pictures = ((images / 255 - 0.5307) / 0.2583).expand(-1, 3, -1, -1)
    with torch.inference_mode():
        ours = classifier.eval().net.forward_features(classifier.prepare(images))
        assert torch.allclose(ours, theirs.forward_features(pictures), atol=1e-4)
    assert (report.positions is None) == (size == 160)


RAD_DINO = {
    "model_type": "dinov2",
    "hidden_size": 768,
    "num_hidden_layers": 12,
    "num_attention_heads": 12,
    "patch_size": 14,
    "image_size": 518,
    "hidden_act": "gelu",
    "use_swiglu_ffn": False,
}


def written(path: Path, name: str, content: object) -> Path:
    path.mkdir(exist_ok=True)
    (path / name).write_text(json.dumps(content))
    return path


def test_a_vision_transformer_of_transformers_is_known_by_its_sizes(tmp_path):
    written(tmp_path, "config.json", RAD_DINO)
    assert hub_model(tmp_path) == HubModel("timm:vit_base_patch14_dinov2", 518)
    written(tmp_path, "preprocessor_config.json", {"image_mean": [0.53] * 3, "image_std": [0.26] * 3})
    assert hub_model(tmp_path).settings()["normalize"] == "0.53,0.53,0.53/0.26,0.26,0.26"


def test_the_half_of_a_clip_that_sees_is_known(tmp_path):
    vision = {"timm_model_name": "vit_base_patch16_224", "timm_pool": "", "timm_proj": "linear", "image_size": 224}
    pictures = {"mean": [0.48, 0.46, 0.41], "std": [0.27, 0.26, 0.28]}
    content = {"model_cfg": {"embed_dim": 512, "vision_cfg": vision}, "preprocess_cfg": pictures}
    written(tmp_path, "open_clip_config.json", content)
    assert hub_model(tmp_path).settings() == {
        "base_model": "timm:vit_base_patch16_224",
        "normalize": "0.48,0.46,0.41/0.27,0.26,0.28",
    }


BAD = {
    "another type": ({"model_type": "swin"}, "of the type swin; those of transformers that are known are vit, dinov2"),
    "another depth": (RAD_DINO | {"num_hidden_layers": 9}, "timm has no dinov2 of 9 blocks, 768 features and 12 heads"),
    "other arguments": (
        {"architecture": "test_vit", "model_args": {"act_layer": "silu"}, "pretrained_cfg": {}},
        "its test_vit was built with act_layer",
    ),
    "not an object": ([1], "it holds no object"),
    "oblong": ({"architecture": "x", "pretrained_cfg": {}, "model_args": {"img_size": [3, 4]}}, "are no squares"),
}


@pytest.mark.parametrize("kind", BAD)
def test_networks_that_cannot_be_built_are_refused_in_a_sentence(tmp_path, kind):
    content, said = BAD[kind]
    with pytest.raises(WeightsError, match=rf"config\.json of .* tells no network that can be built here \(.*{said}"):
        hub_model(written(tmp_path, "config.json", content))


def test_a_folder_without_weights_is_told(tmp_path):
    written(tmp_path, "config.json", RAD_DINO)
    with pytest.raises(WeightsError, match=r"holds no model\.safetensors or .*Give the file of weights to --weights"):
        hub_file(tmp_path)


def test_a_repository_that_cannot_be_reached_is_told_with_the_way_out(offline):
    with pytest.raises(WeightsError) as told:
        resolved(parse_config({"weights": "hf-hub:someone/chest-vit"}))
    said = str(told.value)
    assert "of hf-hub:someone/chest-vit can't be fetched (the hub can't be reached)" in said
    assert "someone/chest-vit to a folder and give that to --weights" in said
    assert str(offline) in said


def test_what_lies_in_the_cache_of_the_hub_needs_no_network(offline, folder):
    revision = "0" * 40
    repository = offline / "models--someone--chest-vit"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text(revision)
    (repository / "snapshots").mkdir()
    (repository / "snapshots" / revision).symlink_to(folder)
    assert hub_model("hf-hub:someone/chest-vit") == hub_model(folder)
    _, report = build_classifier("timm:test_vit", ["a", "b"], weights="hf-hub:someone/chest-vit")
    assert report.head == "the head is new (3 classes there, 2 here)"


@pytest.mark.parametrize("text", ["0.5", "a/b", "0.5/0", "0.5,0.5/0.2", "0.5/0.2/0.1"])
def test_a_normalisation_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="--normalize"):
        resolved(parse_config({"normalize": text}))


def test_a_normalisation_of_other_channels_is_refused():
    with pytest.raises(UsageError, match="is for 2 channels, and the network takes 3"):
        build_classifier("resnet18", ["a", "b"], weights="none", size=32, normalize="0.5,0.5/0.2,0.2")
