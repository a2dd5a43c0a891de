"""One tester for every network of the table: what holds for one must hold for all."""

import os

import pytest
import torch
from torch import nn

from xraycls.explain.cam import class_activation_map
from xraycls.models.build import under
from xraycls.models.classifier import build_classifier, load_classifier, save_classifier
from xraycls.models.freeze import freeze, stages
from xraycls.models.zoo import find, list_architectures

CLASSES = ("NORMAL", "BACTERIA", "VIRUS")
AUXILIARY_HEADS = {"GoogleNet": 2, "Inception": 1}


# Deeper ones of a family that is there: nothing in them is of another kind.
DEEPER = {"ResNet101", "ResNet152", "VGG13", "VGG16", "VGG19"}


@pytest.fixture(
    scope="module",
    params=[
        pytest.param(a.name, marks=[pytest.mark.exhaustive] if a.name in DEEPER else []) for a in list_architectures()
    ],
)
def classifier(request):
    torch.manual_seed(5)
    architecture = find(request.param)
    size = max(architecture.min_size, architecture.auxiliary_size, 64)
    return build_classifier(request.param, CLASSES, weights="none", size=size)[0]


@pytest.fixture
def images(classifier):
    noise = torch.Generator().manual_seed(0)
    shape = (2, 1, classifier.size, classifier.size)
    return torch.randint(0, 256, shape, dtype=torch.uint8, generator=noise)


def test_logits_are_one_a_class_and_almost_even_at_the_start(classifier, images):
    with torch.no_grad():
        logits = classifier.train()(images)
    assert logits.shape == (2, len(CLASSES))
    assert logits.softmax(1).max() < 0.7
    assert classifier.net.get_submodule(classifier.head).weight.shape[0] == len(CLASSES)


def test_grey_is_the_same_as_three_equal_channels(classifier, images):
    with torch.no_grad():
        torch.testing.assert_close(classifier.eval()(images), classifier(images.expand(-1, 3, -1, -1)))


def test_auxiliary_heads_answer_in_training_only(classifier, images):
    expected = AUXILIARY_HEADS.get(classifier.architecture.name, 0)
    logits, auxiliary = classifier.train().logits_and_auxiliary(images)
    assert [a.shape for a in auxiliary] == [logits.shape] * expected
    assert (classifier.auxiliary_weight > 0) == (expected > 0)
    assert isinstance(classifier(images), torch.Tensor)
    assert classifier.eval().logits_and_auxiliary(images)[1] == ()


def test_freezing_the_backbone_leaves_the_head(classifier, images):
    freeze(classifier, "backbone")
    trained = [name for name, parameter in classifier.net.named_parameters() if parameter.requires_grad]
    assert trained == [f"{classifier.head}.weight", f"{classifier.head}.bias"]
    before = {name: buffer.clone() for name, buffer in classifier.named_buffers()}
    logits, auxiliary = classifier.train().logits_and_auxiliary(images)
    assert auxiliary == ()
    logits.sum().backward()
    assert classifier.net.get_submodule(classifier.head).weight.grad is not None
    assert all(torch.equal(before[name], buffer) for name, buffer in classifier.named_buffers())
    freeze(classifier, "none")
    classifier.zero_grad(set_to_none=True)


def test_stages_cover_the_backbone_once_in_its_own_order(classifier):
    heads = (classifier.head, *classifier.architecture.auxiliary)
    backbone = [name for name, _ in classifier.net.named_parameters() if not under(name, heads)]
    by_stage = [name for stage in stages(classifier) for name in backbone if under(name, stage)]
    assert sorted(by_stage) == sorted(backbone)
    assert [stage[0] for stage in stages(classifier)] == sorted(
        (stage[0] for stage in stages(classifier)),
        key=lambda module: next(i for i, name in enumerate(backbone) if under(name, (module,))),
    )


def test_freezing_stages_stops_where_it_says(classifier):
    freeze(classifier, 2)
    first_two = tuple(name for stage in stages(classifier)[:2] for name in stage)
    for name, parameter in classifier.net.named_parameters():
        assert parameter.requires_grad != under(name, first_two)
    for name, module in classifier.train().net.named_modules():
        if isinstance(module, nn.BatchNorm2d):
            assert module.training != under(name, first_two)
    freeze(classifier, "none")
    assert all(parameter.requires_grad for parameter in classifier.parameters())


@pytest.mark.exhaustive
def test_a_saved_classifier_comes_back_with_the_same_logits(classifier, images, tmp_path, monkeypatch):
    monkeypatch.setattr(os, "fsync", lambda _: None)  # flushing half a gigabyte of a VGG would test the disk alone
    path = tmp_path / "best.safetensors"
    save_classifier(classifier, path, extra={"threshold": "0.31"})
    loaded, metadata = load_classifier(path)
    path.unlink()
    assert (loaded.classes, loaded.size, loaded.architecture) == (CLASSES, classifier.size, classifier.architecture)
    assert metadata["threshold"] == "0.31"
    with torch.no_grad():
        torch.testing.assert_close(loaded(images), classifier.eval()(images))


def test_a_class_activation_map_comes_from_the_layer_of_the_table(classifier, images):
    freeze(classifier, "backbone")
    result = class_activation_map(classifier, images)
    freeze(classifier, "none")
    assert result.layer == classifier.architecture.cam_layer
    assert result.maps.shape == (2, classifier.size, classifier.size)
    assert result.maps.min() >= 0
    assert result.maps.max() == pytest.approx(1, abs=1e-3)
    assert result.probabilities.sum(1) == pytest.approx([1, 1])
