"""The classifier around a network: input, head, sizes, and its file."""

import json
import math
from pathlib import Path

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from torch.nn import functional as F
from torchvision import models
from torchvision.transforms.v2.functional import normalize, to_dtype

from tests.models.detectors import small_detector
from xraycls.errors import RunError, UsageError, XrayclsError
from xraycls.models.build import build_net
from xraycls.models.classifier import Classifier, build_classifier, load_classifier, save_classifier
from xraycls.models.detection.files import save_detector
from xraycls.models.zoo import find

SMALL = "torchvision:shufflenet_v2_x0_5"


@pytest.fixture(scope="module")
def small():
    torch.manual_seed(0)
    return build_classifier(SMALL, ("A", "B"), weights="none", size=64)[0].eval()


def noise(channels, size=64, count=2):
    return torch.randint(0, 256, (count, channels, size, size), dtype=torch.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_images_are_prepared_as_torchvision_does(small, channels):
    images = noise(channels)
    rgb = to_dtype(images.expand(-1, 3, -1, -1), torch.float32, scale=True)
    expected = normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(small.prepare(images), expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("images", [torch.zeros(1, 1, 8, 8), torch.zeros(1, 8, 8, dtype=torch.uint8), noise(2)])
def test_anything_but_grey_levels_is_refused(small, images):
    with pytest.raises(ValueError, match="must be uint8"):
        small(images)


@pytest.mark.parametrize("name", ["GoogleNet", "Inception"])
def test_one_half_does_what_torchvisions_transform_input_does(name):
    torch.manual_seed(0)
    architecture = find(name)
    classifier = Classifier(build_net(architecture, 3, size=96).eval(), architecture, "ABC")
    theirs = models.get_model(
        architecture.builder,
        weights=None,
        num_classes=3,
        aux_logits=name == "GoogleNet",
        transform_input=True,
        init_weights=False,
    ).eval()
    theirs.load_state_dict(classifier.net.state_dict())
    images = noise(1, 96)
    rgb = to_dtype(images.expand(-1, 3, -1, -1), torch.float32, scale=True)
    imagenet = normalize(rgb, [0.485, 0.456, 0.406], [0.229, 0.224, 0.225])
    torch.testing.assert_close(theirs._transform_input(imagenet), classifier.prepare(images), rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        torch.testing.assert_close(theirs(imagenet), classifier.eval()(images), rtol=1e-3, atol=1e-4)


def test_memory_format_changes_nothing(small):
    images = noise(1)
    with torch.no_grad():
        before = small(images)
        twin = build_classifier(SMALL, ("A", "B"), weights="none", size=64)[0].eval()
        twin.load_state_dict(small.state_dict())
        twin = twin.to(memory_format=torch.channels_last)
        torch.testing.assert_close(twin(images), before, rtol=1e-4, atol=1e-5)
        torch.testing.assert_close(twin(images.contiguous(memory_format=torch.channels_last)), before)


def test_weights_load_into_the_library_that_built_the_network(small, tmp_path):
    save_classifier(small, tmp_path / "net.safetensors")
    theirs = models.shufflenet_v2_x0_5(weights=None, num_classes=2)
    theirs.load_state_dict(load_file(tmp_path / "net.safetensors"))


@pytest.mark.parametrize(
    ("name", "size", "said"),
    [
        ("Inception", 74, "at least 75 pixels, but --size is 74"),
        ("Alexnet", 62, "at least 63 pixels"),
        ("VGG11", 31, "at least 32 pixels"),
        ("timm:inception_v4", 64, "can't take images of 64 pixels"),
        ("torchvision:vit_b_32", 256, "Wrong image height"),
    ],
)
def test_a_size_that_the_network_cannot_take_is_one_sentence(name, size, said):
    with pytest.raises(UsageError, match=said) as caught:
        build_classifier(name, ("A", "B"), weights="none", size=size)
    assert "\n" not in str(caught.value)


def test_a_transformer_of_timm_is_built_for_its_size():
    classifier, _ = build_classifier("timm:test_vit", ("A", "B"), weights="none", size=96)
    with torch.no_grad():
        assert classifier.eval()(noise(1, 96)).shape == (2, 2)


@pytest.mark.parametrize("classes", [[], ["A"], ["A", "A"]])
def test_classes_must_be_two_or_more_and_different(classes):
    with pytest.raises(UsageError, match="two or more different classes"):
        build_classifier("resnet18", classes, weights="none")


def test_inception_below_its_own_size_trains_without_its_auxiliary_head(caplog):
    classifier, _ = build_classifier("inception", ("A", "B"), weights="none", size=96)
    assert "trains without its auxiliary head" in caplog.text
    logits, auxiliary = classifier.train().logits_and_auxiliary(noise(1, 96))
    assert logits.shape == (2, 2)
    assert auxiliary == ()


@pytest.mark.parametrize(
    ("name", "own"),
    [("resnet18", 0), ("torchvision:mobilenet_v3_small", 1), ("googlenet", 1), ("torchvision:squeezenet1_1", 1)],
)
def test_dropout_stands_in_front_of_the_head_and_renames_nothing(name, own):
    plain = build_net(find(name), 2)
    net = build_net(find(name), 2, dropout=0.625)
    assert net.state_dict().keys() == plain.state_dict().keys()
    assert [m.p for m in net.modules() if isinstance(m, nn.Dropout)].count(0.625) == own


def test_added_dropout_drops_that_share_of_features_in_training_only():
    head = build_net(find("resnet18"), 2, dropout=0.4).fc
    nn.init.constant_(head.weight, 0.6 / 512)
    features = torch.ones(400, 512)
    torch.testing.assert_close(head.eval()(features), torch.full((400, 2), 0.6))
    dropped = head.train()(features)
    assert dropped.mean().item() == pytest.approx(0.6, abs=0.01)  # what is kept is scaled by 1 / (1 - p)
    assert dropped.std().item() == pytest.approx(math.sqrt(0.4 / 0.6 * 0.36 / 512), rel=0.2)
    torch.manual_seed(3)
    seen = head(features)
    torch.manual_seed(3)
    torch.testing.assert_close(seen, F.linear(F.dropout(features, 0.4), head.weight, head.bias))


@pytest.mark.parametrize("dropout", [-0.1, 1.0])
def test_dropout_is_a_probability(dropout):
    with pytest.raises(UsageError, match="--dropout"):
        build_net(find("resnet18"), 2, dropout=dropout)


def test_timm_takes_dropout_too():
    assert build_net(find("timm:test_resnet"), 2, dropout=0.3).drop_rate == 0.3


def test_the_file_says_what_it_is(small, tmp_path):
    path = tmp_path / "net.safetensors"
    save_classifier(small, path, extra={"augment": "radiograph", "threshold": "0.4"})
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    assert metadata["augment"] == "radiograph"
    assert json.loads(metadata["xraycls"]) == {
        "format": 4,
        "kind": "classifier",
        "network": SMALL,
        "classes": ["A", "B"],
        "config": {
            "input_size": 64,
            "mean": [0.485, 0.456, 0.406],
            "std": [0.229, 0.224, 0.225],
            "cam_layer": None,
        },
        "pruned": {},
    }
    loaded, both = load_classifier(path)
    assert not loaded.training
    assert (both["threshold"], both["architecture"]) == ("0.4", SMALL)


def test_reading_a_classifier_draws_no_random_numbers(small, tmp_path):
    save_classifier(small, tmp_path / "net.safetensors")
    before = torch.get_rng_state()
    load_classifier(tmp_path / "net.safetensors")
    assert torch.equal(torch.get_rng_state(), before)


def test_the_files_own_normalisation_counts(small, tmp_path):
    path = tmp_path / "net.safetensors"
    save_classifier(small, path)
    _rewrite(path, config={"mean": [0.1, 0.2, 0.3]})
    assert load_classifier(path)[0].architecture.mean == (0.1, 0.2, 0.3)


def test_networks_that_share_tensors_or_count_versions_come_back(tmp_path):
    for name in ("timm:coat_tiny", "torchvision:mnasnet0_5"):
        classifier, _ = build_classifier(name, ("A", "B"), weights="none")
        save_classifier(classifier, tmp_path / "net.safetensors")
        images = noise(1, classifier.size, count=1)
        with torch.no_grad():
            torch.testing.assert_close(
                load_classifier(tmp_path / "net.safetensors")[0](images), classifier.eval()(images)
            )


def _rewrite(path, **changes):
    with safe_open(path, framework="pt") as file:
        metadata = file.metadata()
    described = json.loads(metadata["xraycls"])
    described |= {**changes, "config": {**described["config"], **changes.get("config", {})}}
    save_file(load_file(path), path, {**metadata, "xraycls": json.dumps(described)})


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"format": 5}, "newer xraycls"),
        ({"network": "ResNet19"}, "ResNet19"),
        ({"network": "torchvision:shufflenet_v2_x1_0"}, "don't fit together"),
        ({"classes": ["A", "B", "C"]}, "don't fit together"),
        ({"config": {"mean": None}}, "damaged"),
    ],
)
def test_a_description_that_does_not_fit_is_one_sentence(small, tmp_path, changes, said):
    path = tmp_path / "net.safetensors"
    save_classifier(small, path)
    _rewrite(path, **changes)
    with pytest.raises(RunError, match=said) as caught:
        load_classifier(path)
    assert "net.safetensors" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_damaged_foreign_and_missing_files_are_one_sentence(small, tmp_path):
    path = tmp_path / "net.safetensors"
    with pytest.raises(RunError, match="There is no checkpoint"):
        load_classifier(path)
    save_classifier(small, path)
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RunError, match="is damaged"):
        load_classifier(path)
    save_file({"weight": torch.zeros(1)}, path)
    with pytest.raises(RunError, match=r"is not a classifier of xraycls.*--weights"):
        load_classifier(path)


def test_detectors_and_models_of_tao_are_told_apart(tmp_path):
    detector = small_detector("squeezenet")
    save_detector(detector, tmp_path / "ssd.safetensors")
    save_detector(detector, tmp_path / "ssd.tlt", key="k")
    (tmp_path / "resnet18.hdf5").write_bytes(b"\x89HDF\r\n\x1a\n" + bytes(99))
    (tmp_path / "resnet18.tlt").write_bytes(bytes(range(99)))
    for name, said in {
        "ssd.safetensors": r"ssd\.safetensors is a detector and no classifier\. .*xraycls detector evaluate",
        "ssd.tlt": r"ssd\.tlt is a detector under a key and no classifier\. .*xraycls detector evaluate",
        "resnet18.hdf5": "is an HDF5 file of Keras, as NVIDIA's TAO has them, and can't be read. Train",
        "resnet18.tlt": "is encrypted by NVIDIA's TLT or TAO, or damaged, and can't be read. Train",
    }.items():
        with pytest.raises(RunError, match=said):
            load_classifier(tmp_path / name)


def test_a_failed_save_leaves_the_old_file(small, tmp_path, monkeypatch):
    path = tmp_path / "net.safetensors"
    save_classifier(small, path, extra={"epoch": "1"})

    def fail(self, content):
        with self.open("wb") as file:
            file.write(content[:1000])
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)
    with pytest.raises(XrayclsError, match="disk is full"):
        save_classifier(small, path, extra={"epoch": "2"})
    assert load_classifier(path)[1]["epoch"] == "1"
    assert [p.name for p in tmp_path.iterdir()] == ["net.safetensors"]
