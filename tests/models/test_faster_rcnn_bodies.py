"""Where Faster R-CNN divides its bodies, what their layers are called, and their sizes against those of others."""

import pytest
import timm
import torch
import torchvision
from torch import nn

from xraycls.models.backbones.roi import ROI_BACKBONES
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig

# Channels of the map, the first and the last layer of the second stage, how many layers with weights it has, and the
# length of its vectors, as upstream builds them. Bodies that are not here are held by upstream's own counts.
BODIES = {
    "resnet34": (256, "block_4a_conv_1", "block_4c_bn_shortcut", 18, 512),
    "resnet101": (1024, "block_4a_conv_1", "block_4c_bn_shortcut", 24, 2048),
    "vgg19": (512, "fc1", "fc2", 2, 4096),
    "darknet19": (512, "b5_conv1", "b5_conv5_bn", 10, 1024),
    "mobilenet_v1": (512, "conv_dw_12", "conv_pw_13_bn", 8, 1024),
    "efficientnet_b0": (112, "block6a_expand_conv", "top_bn", 42, 1280),
    "efficientnet_b7": (224, "block6a_expand_conv", "top_bn", 138, 2560),
}
# Kernels by TAO's name, which ``prune -el`` takes.
KERNELS = {
    "resnet18": {"rpn_conv1": (512, 256, 3, 3), "rpn_out_class": (9, 512, 1, 1), "rpn_out_regress": (36, 512, 1, 1),
                 "dense_class": (3, 512), "dense_regress": (8, 512), "block_4b_conv_shortcut": (512, 512, 1, 1)},
    "vgg16": {"fc1": (4096, 25088), "fc2": (4096, 4096), "block_5c_conv_1": (512, 512, 3, 3)},
    "darknet53": {"conv5": (512, 256, 3, 3), "conv6": (1024, 512, 3, 3), "b5_conv4_1": (512, 1024, 1, 1)},
    "mobilenet_v2": {"block_12_projected_inputs": (96, 96, 1, 1), "block_13_expand": (576, 96, 1, 1),
                     "block_16_project": (320, 960, 1, 1), "conv_1": (1280, 320, 1, 1)},
    "googlenet": {"inception_4e_5x5": (128, 32, 5, 5), "inception_5a_pool_proj": (128, 832, 1, 1)},
    "efficientnet_b0": {"block5c_project_conv": (112, 672, 1, 1), "block6a_dwconv": (672, 1, 5, 5)},
}  # fmt: skip


def detector_of(backbone: str, **changes: object) -> FasterRCNN:
    config = FasterRCNNConfig(backbone=backbone, classes=("a", "b"), height=320, width=320, **changes)
    with torch.device("meta"):
        return FasterRCNN(config)


@pytest.mark.parametrize("backbone", BODIES)
def test_bodies_are_divided_where_upstream_does(backbone):
    channels, first, last, count, vector = BODIES[backbone]
    detector = detector_of(backbone)
    assert detector.net.backbone.channels == (channels,)
    assert detector.net.backbone.taps[0].stride == 16
    second = [name for path, name in detector.layer_names.items() if path.startswith("body.")]
    assert len(second) == count
    assert {first, last} <= set(second)
    assert detector.net.dense_class.in_features == vector


@pytest.mark.parametrize("backbone", KERNELS)
def test_layers_have_upstreams_names_and_shapes(backbone):
    net = detector_of(backbone).net
    shapes = {name: tuple(net.get_submodule(path).weight.shape) for path, name in net.layer_names.items()}
    assert {name: shapes[name] for name in KERNELS[backbone]} == KERNELS[backbone]
    assert len(shapes) == len(net.layer_names)


@pytest.mark.parametrize("backbone", ROI_BACKBONES)
def test_batch_normalisation_has_kerass_constants(backbone):
    """The momentum is 0.99, but of MobileNet v2 0.999; torch has what is left of 1."""
    norms = [module for module in detector_of(backbone).net.modules() if isinstance(module, nn.BatchNorm2d)]
    assert {norm.eps for norm in norms} == {1e-3}
    assert {norm.momentum for norm in norms} == {0.001 if backbone == "mobilenet_v2" else 0.01}


OTHERS = {
    "resnet34": lambda: torchvision.models.resnet34(),
    "resnet101": lambda: torchvision.models.resnet101(),
    "vgg19": lambda: torchvision.models.vgg19_bn().features,
    "mobilenet_v1": lambda: timm.create_model("mobilenetv1_100", num_classes=0),
    "efficientnet_b0": lambda: torchvision.models.efficientnet_b0(),
    "efficientnet_b7": lambda: torchvision.models.efficientnet_b7(),
}


@pytest.mark.parametrize("backbone", OTHERS)
def test_bodies_have_as_many_parameters_as_torchvisions_and_timms(backbone):
    """Without TAO's projections and with pooling, and VGG with biases and without its dense layers."""
    detector = detector_of(backbone, all_projections=False, use_pooling=True, use_bias=backbone == "vgg19")
    with torch.device("meta"):
        other = OTHERS[backbone]()
    ours = [*detector.net.backbone.parameters(), *(detector.net.body.parameters() if backbone != "vgg19" else ())]
    dense = {id(p) for m in other.modules() if isinstance(m, nn.Linear) for p in m.parameters()}
    theirs = [parameter for parameter in other.parameters() if id(parameter) not in dense]
    projected = 64 * 64 + 2 * 64 if backbone == "resnet34" else 0  # TAO's first block always has a projection
    assert sum(p.numel() for p in ours) == sum(p.numel() for p in theirs) + projected


@pytest.mark.parametrize(
    ("backbone", "numbers"),
    [("darknet19", range(6)), ("googlenet", range(8)), ("mobilenet_v1", range(12)), ("mobilenet_v2", range(14)),
     ("efficientnet_b0", range(9)), ("vgg16", range(1, 6)), ("resnet18", range(4))],
)  # fmt: skip
def test_every_block_that_a_spec_may_freeze_has_kernels(backbone, numbers):
    for number in numbers:
        detector = detector_of(backbone)
        detector.freeze((number,), statistics=False)
        frozen = {n for n, p in detector.net.named_parameters() if not p.requires_grad}
        assert frozen, number
        assert not any(isinstance(detector.net.get_submodule(n.rpartition(".")[0]), nn.BatchNorm2d) for n in frozen)


def test_pictures_never_skip_more_than_all(tmp_path):
    """Keras leaves a dropout of 1 or more out, which a large drop_connect_rate gives the last blocks of a large net."""
    rates = [m.p for m in detector_of("efficientnet_b7", drop_connect=0.5).net.modules() if hasattr(m, "mode")]
    assert 0 < max(rates) < 1
    assert rates[-1] == 0
