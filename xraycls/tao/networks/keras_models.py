"""Detectors as the Keras models that TAO 5 loads: the layers of the network, and what TAO's graphs have behind them."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from xraycls.errors import UsageError

if TYPE_CHECKING:
    from xraycls.models.detection.base import Detector
    from xraycls.models.keras_file import KerasModel
    from xraycls.models.keras_graph import KerasGraph

_MAPS = ("bg", "md", "sm")
_FLATTENED = [2, 3, 1]  # channels last, without the batch
_STRIDE, _POSITIVE_SHARE = 16.0, 0.25  # of Faster R-CNN


def ssd_keras(detector: Detector) -> KerasModel:
    """Returns an SSD or DSSD as TAO saves it, with its output ``ssd_predictions``.

    Raises:
        UsageError: TAO 5 has no such model.
    """
    from xraycls.models.detection.ssd import SSDDetector
    from xraycls.models.keras_file import KerasModel

    assert isinstance(detector, SSDDetector)
    config = detector.config
    if config.loss.focal is not None:
        raise UsageError(
            "The model was trained with TLT 2's focal loss, whose scores TAO 5 doesn't compute",
            "Train it without focal_loss_alpha and focal_loss_gamma",
        )
    graph, anchors = _traced(detector, "Input"), config.anchors
    shape, maps = (config.height, config.width), detector.net.map_sizes(config.height, config.width)
    plain = replace(anchors, steps=None, offsets=None)
    if not np.allclose(anchors.boxes(shape, maps), plain.boxes(shape, maps)):
        raise UsageError("TAO's Keras files don't hold steps and offsets of anchors", "Train without them")
    numbers = range(len(anchors.aspect_ratios))

    def rows(kind: str, values: int) -> list[str]:
        made = [graph.add("Permute", [f"ssd_{kind}_{n}"], dims=_FLATTENED) for n in numbers]
        return [_reshaped(graph, each, f"{kind}_reshape_{n}", [-1, 1, values]) for n, each in enumerate(made)]

    conf, loc = rows("conf", len(config.classes) + 1), rows("loc", 4)
    boxes = []
    for n in numbers:
        anchor = graph.add(
            "AnchorBoxes",
            [f"ssd_loc_{n}"],
            f"ssd_anchor_{n}",
            img_height=config.height,
            img_width=config.width,
            this_scale=anchors.scales[n],
            next_scale=anchors.scales[n + 1],
            aspect_ratios=list(anchors.aspect_ratios[n]),
            two_boxes_for_ar1=anchors.two_boxes_for_ar1,
            clip_boxes=anchors.clip,
            variances=list(anchors.variances),
        )
        boxes.append(_reshaped(graph, anchor, f"anchor_reshape_{n}", [-1, 1, 8]))
    parts = {"conf": conf, "loc": loc, "priorbox": boxes}
    joined = {kind: _joined(graph, each, f"mbox_{kind}", 1) for kind, each in parts.items()}
    turned = graph.add("Permute", [joined["conf"]], "before_softmax_permute", dims=[3, 2, 1])
    shares = graph.add("Softmax", [turned], "mbox_conf_softmax_", axis=1)
    shares = graph.add("Permute", [shares], "mbox_conf_softmax", dims=[3, 2, 1])
    every = _joined(graph, [shares, joined["loc"], joined["priorbox"]], "", -1)
    output = _reshaped(graph, every, "ssd_predictions", [-1, len(config.classes) + 1 + 4 + 8])
    return KerasModel(f"{config.network}_{_family(config.backbone)}", graph.ordered([output]), ["Input"], [output])


def yolo_v4_keras(detector: Detector) -> KerasModel:
    """Returns a YOLOv4 as TAO saves it, with its output ``encoded_detections``."""
    from xraycls.models.detection.yolo_v4 import YOLOv4Config
    from xraycls.models.detection.yolo_v4_network import HEADS
    from xraycls.models.keras_file import KerasModel

    config = detector.config
    assert isinstance(config, YOLOv4Config)
    graph = _traced(detector, "Input")
    _name_pyramid(graph)
    encoded = []
    for number, shapes in enumerate(config.relative_anchors()):
        head, kind = HEADS[number], _MAPS[number]
        rows = graph.add("Permute", [head], f"{kind}_permute", dims=_FLATTENED)
        rows = _reshaped(graph, rows, f"{kind}_reshape", [-1, len(config.classes) + 5])
        scale = 1.0 + config.extend[number]
        boxes = graph.add("BBoxPostProcessingLayer", [rows], f"{kind}_bbox_processor", grid_scale_xy=scale)
        anchors = graph.add("YOLOAnchorBox", [head], f"{kind}_anchor", anchor_size=[list(shape) for shape in shapes])
        encoded.append(_joined(graph, [anchors, boxes], f"encoded_{kind}", -1))
    output = _joined(graph, encoded, "encoded_detections", -2)
    graph.configure("Input", batch_input_shape=[None, len(config.mean), None, None])  # as in training, of any size
    return KerasModel(f"yolo_{_family(config.backbone)}", graph.ordered([output]), ["Input"], [output])


def faster_rcnn_keras(detector: Detector) -> KerasModel:
    """Returns a Faster R-CNN as TAO saves it: the graph of training, with the ground truth as inputs."""
    from xraycls.models.detection.faster_rcnn import FasterRCNNConfig
    from xraycls.models.keras_file import KerasModel

    config = detector.config
    assert isinstance(config, FasterRCNNConfig)
    loss = config.loss
    graph = _traced(detector, "input_image")
    graph.fold(next(name for name, layer in graph.layers.items() if layer.inputs == ("rpn_conv1",)))
    for name, activation in (("rpn_conv1", "relu"), ("rpn_out_class", "sigmoid")):
        graph.configure(name, activation=activation)
    dense = graph.layers["dense_class_td"].config["layer"]
    graph.configure("dense_class_td", layer={**dense, "config": {**dense["config"], "activation": "softmax"}})
    truth = {"input_gt_cls": [None, None], "input_gt_bbox": [None, None, 4]}
    for name, shape in truth.items():
        graph.add("InputLayer", name=name, batch_input_shape=shape, dtype="float32", sparse=False)
    rois = graph.add(
        "Proposal",
        ["rpn_out_class", "rpn_out_regress", "input_image"],
        anchor_sizes=list(config.scales),
        anchor_ratios=[ratio**0.5 for ratio in config.ratios],
        std_scaling=config.std_scaling,
        rpn_stride=_STRIDE,
        pre_nms_top_N=loss.proposals.candidates,
        post_nms_top_N=loss.proposals.count,
        nms_iou_thres=loss.proposals.iou,
        activation_type="sigmoid",
        bs_per_gpu=1,
    )
    chosen = graph.add(
        "ProposalTarget",
        [rois, *truth],
        gt_as_roi=loss.gt_as_roi,
        iou_high_thres=loss.roi_positive,
        iou_low_thres=loss.roi_negative,
        roi_train_bs=loss.roi_batch,
        roi_positive_ratio=_POSITIVE_SHARE,
        deltas_scaling=list(config.spread),
        bg_class_id=len(config.classes),
        bs_per_gpu=1,
    )
    crops = next(layer for layer in graph.layers.values() if layer.kind == "CropAndResize")
    graph.connect(crops.name, [*crops.inputs, chosen, "input_image"])
    outputs = ["rpn_out_class", "rpn_out_regress", "dense_class_td", "dense_regress_td"]
    return KerasModel("model_1", graph.ordered(outputs), ["input_image", *truth], outputs)


def _traced(detector: Detector, source: str) -> KerasGraph:
    import torch

    from xraycls.models.keras_graph import trace

    config = detector.config
    example = torch.zeros(1, len(config.mean), config.height, config.width)
    return trace(detector.net.eval(), example, detector.layer_names, source)


def _name_pyramid(graph: KerasGraph) -> None:
    """Give the layers of the spatial pyramid pooling their names in TAO."""
    conv = graph.layers.get("yolo_spp_conv")
    if conv is not None:
        concat = graph.layers[conv.inputs[0]]
        pools = {name: f"yolo_spp_pool_{n}" for n, name in enumerate(concat.inputs[:-1], start=1)}
        graph.rename({concat.name: "yolo_spp_concat", **pools})


def _reshaped(graph: KerasGraph, source: str, name: str, shape: list[int]) -> str:
    return graph.add("Reshape", [source], name, target_shape=shape)


def _joined(graph: KerasGraph, sources: Sequence[str], name: str, axis: int) -> str:
    return graph.add("Concatenate", sources, name, axis=axis)


def _family(backbone: str) -> str:
    """TAO's ``arch`` of a backbone."""
    return re.sub(r"^(resnet|vgg|darknet|cspdarknet)\d+$", r"\1", backbone)
