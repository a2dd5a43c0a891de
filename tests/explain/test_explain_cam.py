"""Class activation maps: against Grad-CAM by hand, against what is in the picture, and without a trace left behind."""

import cv2
import numpy as np
import pytest
import torch
from torch import nn

from xraycls.errors import UsageError
from xraycls.explain.cam import METHODS, class_activation_map
from xraycls.models.classifier import build_classifier
from xraycls.models.freeze import freeze

CLASS_METHODS = ("gradcam", "gradcam++", "xgradcam", "hirescam", "layercam", "fullgrad", "finercam", "shapleycam")
CAT, ESPRESSO = 285, 967


@pytest.fixture(scope="module")
def resnet():
    torch.manual_seed(0)
    classifier = build_classifier("resnet18", ("A", "B", "C"), weights="none", size=96)[0].eval()
    classifier.net.fc.weight.detach().add_(0.01)  # random features speak for every class, but not all of them
    return classifier


@pytest.fixture
def images():
    rng = np.random.default_rng(1)
    blurred = [cv2.GaussianBlur(rng.integers(0, 256, (96, 96), dtype=np.uint8), (0, 0), 6) for _ in range(2)]
    return torch.from_numpy(np.stack(blurred))[:, None]


def grad_cam_by_hand(classifier, layer, images, target):
    """Selvaraju et al. 2017, equations 1 and 2; resized and scaled to 0–1."""
    kept = []

    def keep(module, inputs, output):
        kept.append(output)
        return output.clone()  # the network may go on in place

    hook = layer.register_forward_hook(keep)
    logits = classifier(images)
    hook.remove()
    (activations,) = kept
    (gradients,) = torch.autograd.grad(logits[:, target].sum(), activations)
    weights = gradients.mean((2, 3), keepdim=True)
    maps = torch.relu((weights * activations).sum(1)).detach().numpy()
    side = images.shape[-1]
    resized = np.stack([cv2.resize(m - m.min(), (side, side), interpolation=cv2.INTER_LINEAR) for m in maps])
    return resized / resized.max((1, 2), keepdims=True)


@pytest.mark.parametrize("target", [0, 2])
def test_gradcam_is_the_formula_of_the_paper(resnet, images, target):
    result = class_activation_map(resnet, images, target=target)
    np.testing.assert_allclose(result.maps, grad_cam_by_hand(resnet, resnet.net.layer4, images, target), atol=1e-4)
    assert result.classes.tolist() == [target, target]
    np.testing.assert_allclose(result.probabilities, resnet(images).double().softmax(1).detach().numpy(), rtol=1e-5)


def test_activations_are_noted_before_the_network_goes_on_in_place(images):
    torch.manual_seed(0)
    classifier = build_classifier("torchvision:densenet121", ("A", "B"), weights="none", size=96)[0].eval()
    classifier.net.classifier.weight.detach().add_(0.01)
    result = class_activation_map(classifier, images, target=1)
    assert result.layer == "features"
    np.testing.assert_allclose(result.maps, grad_cam_by_hand(classifier, classifier.net.features, images, 1), atol=1e-4)


def test_without_a_target_each_image_explains_its_own_class(resnet, images):
    result = class_activation_map(resnet, images)
    assert result.classes.tolist() == result.probabilities.argmax(1).tolist()
    for index, chosen in enumerate(result.classes):
        alone = class_activation_map(resnet, images[index : index + 1], target=int(chosen))
        np.testing.assert_allclose(result.maps[index], alone.maps[0], atol=1e-5)


@pytest.mark.parametrize("method", METHODS)
def test_every_method_draws_a_map_and_leaves_no_trace(method, images):
    torch.manual_seed(0)
    np.random.seed(1)  # randomcam weighs channels with it, and some draws leave nothing above zero
    classifier = build_classifier("torchvision:squeezenet1_1", ("A", "B"), weights="none", freeze=3, size=64)[0]
    nn.init.constant_(classifier.net.classifier[1].bias, 0.5)  # its last ReLU must not end the logits of random weights
    classifier(images[:, :, :64, :64]).sum().backward()
    found = state(classifier)
    result = class_activation_map(classifier, images[:1, :, :64, :64], method=method.upper())
    assert result.maps.shape == (1, 64, 64)
    assert result.maps.dtype == np.float32
    assert np.isfinite(result.maps).all()
    assert result.maps.min() >= 0
    assert 0.5 < result.maps.max() <= 1.001
    assert_same_state(found, state(classifier))


def state(classifier):
    return {
        "modes": [module.training for module in classifier.modules()],
        "hooks": [(len(m._forward_hooks), len(m._forward_pre_hooks)) for m in classifier.modules()],
        "modules": [id(module) for module in classifier.modules()],
        "asking": [p.requires_grad for p in classifier.parameters()],
        "gradients": [None if p.grad is None else p.grad.clone() for p in classifier.parameters()],
        "tensors": [tensor.clone() for tensor in classifier.state_dict().values()],
    }


def assert_same_state(first, second):
    for key in ("modes", "hooks", "modules", "asking"):
        assert first[key] == second[key], key
    for key in ("gradients", "tensors"):
        for one, other in zip(first[key], second[key], strict=True):
            assert one is other is None or torch.equal(one, other), key


def test_nothing_is_left_behind_after_an_error(resnet, images, monkeypatch):
    def fail(*_, **__):
        raise IndexError("inside the library")

    monkeypatch.setattr("pytorch_grad_cam.GradCAM.get_cam_weights", fail)
    found = state(resnet)
    with pytest.raises(IndexError, match="inside the library"):
        class_activation_map(resnet, images)
    assert_same_state(found, state(resnet))


def test_it_works_with_frozen_parts_and_inside_inference_mode(resnet, images):
    expected = class_activation_map(resnet, images, target=1).maps
    freeze(resnet, "backbone")
    with torch.inference_mode():
        inside = class_activation_map(resnet, images.clone(), target=1).maps
    freeze(resnet, "none")
    np.testing.assert_allclose(inside, expected, atol=1e-5)


@pytest.mark.walkthrough
def test_the_library_says_nothing(resnet, images, capsys):
    for method in ("fullgrad", "sess"):
        class_activation_map(resnet, images[:1], method=method)
    assert capsys.readouterr() == ("", "")


@pytest.mark.parametrize(
    ("name", "layer"),
    [
        ("timm:test_resnet", "layer4"),
        ("timm:test_vit", "blocks.5.norm1"),
        ("torchvision:shufflenet_v2_x0_5", "conv5"),
        ("torchvision:densenet121", "features"),
    ],
)
@pytest.mark.parametrize("method", ["gradcam", "shapleycam"])
def test_other_networks_have_their_layer_found(name, layer, method):
    torch.manual_seed(0)
    classifier = build_classifier(name, ("A", "B"), weights="none", size=64)[0]
    classifier.net.get_submodule(classifier.head).weight.detach().abs_()  # random features speak for the class
    noise = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    result = class_activation_map(classifier, noise, method=method)
    assert result.layer == layer
    assert result.maps.shape == (1, 64, 64)
    assert result.maps.std() > 0.01


def test_a_map_of_one_position_gives_way_to_an_earlier_layer():
    torch.manual_seed(0)
    classifier = build_classifier("resnet18", ("A", "B"), weights="none", size=32)[0]
    noise = torch.randint(0, 256, (1, 1, 32, 32), dtype=torch.uint8)
    result = class_activation_map(classifier, noise)
    assert result.layer == "layer3"
    assert result.maps.std() > 0.01


def test_images_too_small_for_any_map_are_told():
    classifier = build_classifier("timm:test_resnet", ("A", "B"), weights="none", size=1)[0]
    with pytest.raises(UsageError, match="leave no map to explain"):
        class_activation_map(classifier, torch.zeros(1, 1, 1, 1, dtype=torch.uint8))


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"method": "gradcamm"}, "Did you mean gradcam"),
        ({"target": "D"}, "Unknown class 'D'"),
        ({"target": 3}, "There is no class 3"),
        ({"target": -1}, "There is no class -1"),
    ],
)
def test_wrong_methods_and_classes_are_told(resnet, images, options, said):
    with pytest.raises(UsageError, match=said):
        class_activation_map(resnet, images, **options)


def test_a_class_may_be_named(resnet, images):
    named = class_activation_map(resnet, images, target="B")
    assert named.classes.tolist() == [1, 1]


@pytest.fixture(scope="module")
def cat_and_coffee(shared):
    """The real SqueezeNet, and a picture with a cat on its left and an espresso on its right."""
    weights = shared / "weights" / "squeezenet1_1-ndf-deepscale-imagenet1k.pth"
    classes = [str(index) for index in range(1000)]
    classifier = build_classifier("torchvision:squeezenet1_1", classes, weights=weights)[0].eval()
    picture = np.full((224, 224, 3), 124, np.uint8)
    for left, name in ((0, "chelsea.png"), (112, "coffee.png")):
        half = cv2.imread(str(shared / "weights" / "check_images" / name))[:, :, ::-1]
        height, width = half.shape[:2]
        half = half[:, (width - height) // 2 : (width + height) // 2]
        picture[56:168, left : left + 112] = cv2.resize(half, (112, 112), interpolation=cv2.INTER_AREA)
    return classifier, torch.from_numpy(picture.transpose(2, 0, 1).copy())[None]


@pytest.mark.parametrize("method", CLASS_METHODS)
def test_the_map_lies_on_what_it_explains(cat_and_coffee, method):
    classifier, images = cat_and_coffee
    cat = class_activation_map(classifier, images, method=method, target=CAT).maps[0]
    espresso = class_activation_map(classifier, images, method=method, target=ESPRESSO).maps[0]
    assert cat[:, :112].sum() / cat.sum() > 0.7
    assert espresso[:, 112:].sum() / espresso.sum() > 0.5
