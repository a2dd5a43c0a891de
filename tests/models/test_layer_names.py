"""TAO's names of layers: each of ours has one, and it is that of a layer of the same shape."""

import pytest
import torch
from torch import nn

from xraycls.models.detection.base import Detector
from xraycls.models.detection.ssd import SSDConfig, SSDDetector
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector

# Filters, input channels and kernel of some of upstream's layers; of depthwise ones 1 input channel.
LAYERS = {
    "resnet10": {"conv1": (64, 3, 7), "block_4a_conv_1": (512, 256, 3), "ssd_shrink_block_0": (256, 128, 1)},
    "resnet18": {"block_4b_conv_2": (512, 512, 3), "block_3a_conv_shortcut": (256, 128, 1)},
    "resnet101": {"block_3w_conv_3": (1024, 256, 1)},
    "vgg16": {"block_3a_conv_1": (256, 128, 3), "block_5c_conv_1": (512, 512, 3)},
    "darknet19": {"conv1": (32, 3, 3), "b1_conv1": (64, 32, 3), "b4_conv4": (256, 512, 1), "b5_conv5": (1024, 512, 3)},
    "darknet53": {"conv1": (32, 3, 3), "conv2": (64, 32, 3), "b1_conv1_1": (32, 64, 1), "conv6": (1024, 512, 3),
                  "b5_conv4_2": (1024, 512, 3)},
    "mobilenet_v1": {"conv1": (32, 3, 3), "conv_dw_1": (32, 1, 3), "conv_pw_5": (256, 256, 1),
                     "conv_pw_11": (512, 512, 1)},
    "mobilenet_v2": {"conv1": (32, 3, 3), "expanded_conv_depthwise": (32, 1, 3), "expanded_conv_project": (16, 32, 1),
                     "block_1_expand": (96, 16, 1), "block_2_projected_inputs": (24, 24, 1),
                     "block_12_project": (96, 576, 1)},
    "squeezenet": {"conv1": (96, 3, 7), "fire2_squeeze_conv": (16, 96, 1), "fire8_squeeze_conv": (64, 384, 1),
                   "fire9_expand_conv3x3": (256, 64, 3)},
    "googlenet": {"conv1": (64, 3, 7), "conv2_reduce": (64, 64, 1), "conv2": (192, 64, 3),
                  "inception_4e_3x3_reduce": (160, 528, 1), "inception_5b_5x5": (128, 48, 5),
                  "inception_5b_pool_proj": (128, 832, 1)},
    "efficientnet_b0": {"stem_conv": (32, 3, 3), "block1a_dwconv": (32, 1, 3), "block1a_se_reduce": (8, 32, 1),
                        "block4a_expand_conv": (240, 40, 1), "block6a_dwconv": (672, 1, 5),
                        "block7a_project_conv": (320, 1152, 1), "top_conv": (1280, 320, 1)},
    "efficientnet_b1": {"block1b_dwconv": (16, 1, 3), "block7b_project_conv": (320, 1920, 1)},
}  # fmt: skip
OF_EVERY_ONE = {"ssd_expand_block_1_conv_1", "ssd_expand_block_3_conv_0", "ssd_conf_0", "ssd_loc_5"}
OF_DSSD = {f"dssd_{part}_block_{n}" for part in ("large_conv_0", "small_deconv", "small_conv") for n in range(5)}
OF_PREDICTIONS = {f"ssd_mpred_conv_{n}_block_{block}" for n in range(4) for block in range(6)}


# Filters, input channels and kernel of the executed graphs' layers above the backbone.
OF_YOLO = {
    "resnet18": {"yolo_neck_2": (1024, 512, 3), "yolo_spp_conv": (512, 2048, 1), "yolo_conv3_5_1_1": (128, 256, 1),
                 "md_leaky_conv512_down": (512, 256, 3), "bg_leaky_conv1024": (1024, 512, 3),
                 "conv_sm_object": (18, 128, 1)},
    "cspdarknet_tiny": {"yolo_conv1_6": (512, 256, 3), "yolo_conv2": (128, 256, 1), "yolo_conv3_6": (256, 384, 3),
                        "conv_mid_object": (18, 256, 1)},
}  # fmt: skip


def shapes_of(detector: Detector) -> dict[str, tuple[int, ...]]:
    """Shapes of kernels by TAO's name, of a detector whose every layer has a name of its own."""
    layers = dict(detector.net.named_modules())
    weighted = {path for path, layer in layers.items() if isinstance(layer, nn.Conv2d | nn.BatchNorm2d | nn.Linear)}
    names = detector.layer_names
    assert names.keys() == weighted
    assert len(set(names.values())) == len(names)
    return {name: tuple(layers[path].weight.shape) for path, name in names.items()}


@pytest.mark.parametrize("name", LAYERS)
def test_every_layer_of_a_dssd_has_the_name_of_one_of_taos(name):
    config = SSDConfig(network="dssd", backbone=name, classes=("nodule",), height=64, width=64, prediction_channels=256)
    with torch.device("meta"):
        shapes = shapes_of(SSDDetector(config))
    assert set(shapes) >= OF_EVERY_ONE | OF_DSSD | OF_PREDICTIONS | LAYERS[name].keys()
    for layer, (filters, inputs, kernel) in LAYERS[name].items():
        assert shapes[layer] == (filters, inputs, kernel, kernel), layer


@pytest.mark.parametrize("name", OF_YOLO)
def test_every_layer_of_a_yolo_v4_has_the_name_of_one_of_taos(name):
    with torch.device("meta"):
        shapes = shapes_of(YOLOv4Detector(YOLOv4Config(backbone=name, classes=("nodule",), height=64, width=64)))
    for layer, (filters, inputs, kernel) in OF_YOLO[name].items():
        assert shapes[layer] == (filters, inputs, kernel, kernel), layer
        assert layer.startswith("conv_") or shapes[f"{layer}_bn"] == (filters,)
