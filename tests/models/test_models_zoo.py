"""The table of architectures, against torchvision's and timm's own records."""

import subprocess
import sys

import pytest

from xraycls.errors import UsageError
from xraycls.models.zoo import HALF, find, list_architectures

NAMES = "ResNet18 ResNet34 ResNet50 ResNet101 ResNet152 Alexnet VGG11 VGG13 VGG16 VGG19 GoogleNet Inception".split()


def test_the_table_lists_the_ancestors_twelve_names():
    assert [a.name for a in list_architectures()] == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_names_are_found_in_any_case(name):
    assert find(name.lower()) is find(name.upper()) is find(name)
    assert find(name).name == name


@pytest.mark.parametrize("name", NAMES)
def test_the_table_agrees_with_torchvision(name):
    from torchvision.models import get_model_weights

    architecture = find(name)
    weights = get_model_weights(architecture.builder).IMAGENET1K_V1
    presets = weights.transforms()
    assert weights.url.endswith(f"/{architecture.weights}")
    assert architecture.input_size == presets.crop_size[0]
    assert architecture.min_size >= weights.meta["min_size"][0]
    if architecture.mean != HALF:
        assert list(architecture.mean) == presets.mean
        assert list(architecture.std) == presets.std


def test_torchvisions_own_spelling_is_the_same_entry():
    assert find("inception_v3") is find("torchvision:Inception_v3") is find("Inception")


def test_any_network_of_torchvision_has_its_own_preprocessing():
    architecture = find("torchvision:efficientnet_b1")
    assert (architecture.name, architecture.input_size) == ("torchvision:efficientnet_b1", 240)
    assert architecture.weights == "efficientnet_b1-c27df63c.pth"


def test_any_network_of_timm_has_its_own_preprocessing():
    import timm

    architecture = find("timm:vit_tiny_patch16_224")
    config = timm.get_pretrained_cfg("vit_tiny_patch16_224")
    assert (architecture.mean, architecture.std) == (config.mean, config.std)
    assert (architecture.head, architecture.input_size) == ("head", 224)
    assert find("timm:deit_tiny_distilled_patch16_224").auxiliary == ("head_dist",)


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("resnet-18", "Did you mean ResNet18"),
        ("vgg15", "VGG16"),
        ("timm:resnet19", "resnet18"),
        ("timm:resnet18.a9_in1k", "resnet18.a1_in1k"),
        ("timm:qqqqqqqq", "timm.list_models()"),
        ("timm:qwen3_vit_88m_enc", "no classification head"),
        ("torchvision:densnet121", "densenet121"),
        ("torchvision:fasterrcnn_resnet50_fpn", "torchvision has no model"),
        ("keras:resnet50", "Unknown model"),
        ("timm:", "timm:NAME"),
        ("MobileNet_v2", "Write torchvision:mobilenet_v2."),
        ("densenet121", "Write torchvision:densenet121 or timm:densenet121."),
        ("resnet26.bt_in1k", "Write timm:resnet26.bt_in1k."),
    ],
)
def test_unknown_names_are_answered_with_the_nearest(name, said):
    with pytest.raises(UsageError, match=said.replace("(", r"\(").replace(")", r"\)")):
        find(name)


def test_listing_and_finding_the_table_imports_no_torch():
    code = (
        "import sys; from xraycls.models.zoo import find, list_architectures; list_architectures(); find('vgg16'); "
        "sys.exit('torch' in sys.modules or 'timm' in sys.modules)"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
