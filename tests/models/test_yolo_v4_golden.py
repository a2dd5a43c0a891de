"""YOLOv4 against the numbers of upstream's own graph, layer by layer."""

import copy
import json
import re
from functools import cache
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.deeper import deeper_are_exhaustive
from tests.models.formula import close, fill, formula, formula_tensor, sampled
from xraycls.models.detection.base import Suppression, total
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector
from xraycls.models.detection.yolo_v4_loss import YOLOv4Loss, assign
from xraycls.types import Objects

FOLDER = Path(__file__).parents[3] / "shared" / "reference" / "golden_networks"
PARAMETERS = json.loads((Path(__file__).parents[1] / "golden" / "yolo_v4_parameters.json").read_text())
INNER = {
    "conv1": "backbone.conv1",
    "bn_conv1": "backbone.bn1",
    "block_2b_relu": "backbone.layer2.1",
    "block_3b_relu": "backbone.layer3.1",
    "block_4b_relu": "backbone.layer4.1",
    "yolo_neck_3_lrelu": "pyramid.before",
    "yolo_spp_conv_lrelu": "pyramid",
    "yolo_expand_conv1_lrelu": "halved",
    "yolo_conv3_5_lrelu": "middle",
    "yolo_conv5_5_lrelu": "finest",
    "conv_big_object": "heads.conv_big_object",
    "conv_mid_object": "heads.conv_mid_object",
    "conv_sm_object": "heads.conv_sm_object",
}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not FOLDER.is_dir(), reason="needs the executed networks in ../shared"),
]


@cache
def reference() -> tuple[dict, dict]:
    tensors = np.load(FOLDER / "yolov4_resnet18.npz")
    return json.loads((FOLDER / "yolov4_resnet18.json").read_text()), {name: tensors[name] for name in tensors.files}


@cache
def filled() -> YOLOv4Detector:
    """The reference's network with its weights, on a ResNet-18."""
    facts = reference()[0]
    network = facts["network"]
    anchors = tuple(tuple(map(tuple, network["anchors_px_wh"][name])) for name in ("big", "mid", "small"))
    config = YOLOv4Config(
        backbone="resnet18",
        classes=tuple("abcde"),
        height=128,
        width=160,
        anchors=anchors,
        extend=tuple(scale - 1.0 for scale in network["grid_scale_xy"]),
        suppression=Suppression(0.001, 0.5, 200),
        loss=YOLOv4Loss(matching=0.25, neutral=0.5, smoothing=0.1),
    )
    detector = YOLOv4Detector(config)
    fill(tao_layers(detector.net), facts["gain_rules"])
    return detector


def tao_layers(net: nn.Module) -> dict[str, nn.Module]:
    """Convolutions and batch normalisation by TAO's names."""
    named = {name: net.backbone.get_submodule(path) for path, name in net.backbone.layer_names.items()}
    for path, module in net.named_modules():
        if isinstance(module, nn.Conv2d | nn.BatchNorm2d) and not path.startswith("backbone."):
            *_, unit, last = path.split(".")
            named[last if unit == "heads" else unit + "_bn" * isinstance(module, nn.BatchNorm2d)] = module
    return named


@pytest.fixture(scope="module")
def evaluated() -> tuple[YOLOv4Detector, tuple[torch.Tensor, ...], dict[str, torch.Tensor]]:
    """A detector, what it says of the reference's picture, and outputs of inner layers."""
    detector, inner = copy.deepcopy(filled()).eval(), {}
    for name, path in INNER.items():
        keep = lambda _, __, output, name=name: inner.__setitem__(name, output.clone())  # noqa: E731
        detector.net.get_submodule(path).register_forward_hook(keep)
    with torch.inference_mode():
        raw = detector.net(formula_tensor((1, 3, 128, 160), "input_image", 2.0))
    return detector, raw, inner


def test_the_formula_is_the_references():
    for call, expected in reference()[0]["formula_check"].items():
        count, key = re.fullmatch(r"U\((\d+), (.*)\)", call).groups()
        assert formula(int(count), key).tolist() == expected


def test_layers_have_the_references_names_and_shapes():
    facts, _ = reference()
    expected = {
        name: kinds[0][1] for name, kind, _, _, kinds in facts["layers"] if kind in ("Conv2D", "BatchNormalization")
    }
    found = {}
    for name, module in tao_layers(filled().net).items():
        shape = list(module.weight.shape)
        found[name] = [*shape[2:], shape[1], shape[0]] if len(shape) == 4 else shape
    assert found == expected


@pytest.mark.parametrize("layer", INNER)
def test_layer(evaluated, layer):
    expected = reference()[1][f"eval/{layer}"]
    close(sampled(evaluated[2][layer], expected), expected, 1e-5)


def test_decoded_boxes_and_scores(evaluated):
    detector, raw, _ = evaluated
    expected = reference()[1]["eval/decoded_predictions"]
    found = detector.decode(raw)
    centre, half = found[..., [1, 0]], found[..., [3, 2]] / 2
    scores = found[..., 4:5].sigmoid() * found[..., 5:].sigmoid()
    close(torch.cat([centre - half, centre + half, scores], -1).numpy(), expected, 1e-5)


def test_detections(evaluated):
    detector, raw, _ = evaluated
    expected = reference()[1]["eval/detections"]
    (found,) = detector.detect(raw)
    size = np.array([160, 128, 160, 128])
    assert np.abs(found.scores - expected[:, 1]).max() < 1e-5
    gap = reference()[0]["eval"]["detections"]["smallest_score_gap"]
    apart = np.abs(np.diff(expected[:, 1])) > 2 * gap
    assert (found.labels == expected[:, 0])[1:-1][apart[1:] & apart[:-1]].all()
    assert np.abs(found.boxes / size - expected[:, 2:])[1:-1][apart[1:] & apart[:-1]].max() < 1e-5
    assert sorted(found.labels) == sorted(expected[:, 0])


@pytest.fixture(scope="module")
def trained() -> tuple[YOLOv4Detector, torch.Tensor, Objects]:
    """A detector after a forward pass in training mode and the gradients of its loss."""
    facts, _ = reference()
    detector = copy.deepcopy(filled()).train()
    rows = [(image, *box) for image, boxes in enumerate(facts["train"]["gt"]) for box in boxes]
    table = torch.tensor(rows)
    size = torch.tensor([160.0, 128.0, 160.0, 128.0])
    objects = Objects(table[:, 3:] * size, table[:, 1].long(), table[:, 0].long(), table[:, 2] > 0)
    raw = detector.net(formula_tensor((2, 3, 128, 160), "train_images", 2.0))
    loss = total(detector.criterion(raw, objects, torch.ones(2)))
    loss.backward()
    return detector, loss.detach(), objects


def test_number_of_predictions_that_answer_for_objects(trained):
    detector, _, objects = trained
    maps = [(4, 5), (8, 10), (16, 20)]
    found = assign(objects, detector.anchors, maps, detector.size, 0.25)
    assert len(found.slots) == reference()[0]["train"]["n_positive"]


def test_loss(trained):
    facts = reference()[0]["train"]
    detector, loss, _ = trained
    assert float(loss) == pytest.approx(facts["data_loss_initial"], rel=1e-5)
    penalty = 3e-5 * sum(float(kernel.detach().abs().double().sum()) for kernel in detector.regularized())
    assert penalty == pytest.approx(facts["regularizer_value_before"], rel=1e-5)


def gradients(detector: YOLOv4Detector) -> dict[str, torch.Tensor]:
    found = {}
    for name, layer in tao_layers(detector.net).items():
        if isinstance(layer, nn.BatchNorm2d):
            found |= {f"{name}/gamma": layer.weight.grad, f"{name}/beta": layer.bias.grad}
            continue
        found[f"{name}/kernel"] = layer.weight.grad.permute(2, 3, 1, 0)
        if layer.bias is not None:
            found[f"{name}/bias"] = layer.bias.grad
    return found


def test_norms_of_all_gradients(trained):
    found = gradients(trained[0])
    expected = dict(reference()[0]["train"]["gradient_L2_norms_data_loss"])
    assert found.keys() == expected.keys()
    for name, norm in expected.items():
        tolerance = {"bias": 1e-5, "kernel": 2e-5}[name.split("/")[1]] if name.startswith("conv_") else 3e-2
        assert float(found[name].norm()) == pytest.approx(norm, rel=tolerance), name


@pytest.mark.parametrize(
    ("weight", "tolerance"),
    [
        ("conv_mid_object/bias", 1e-5),
        ("conv_sm_object/bias", 1e-5),
        ("conv_big_object/kernel", 5e-4),
        ("yolo_spp_conv/kernel", 0.1),
        ("bn_conv1/gamma", 0.1),
        ("conv1/kernel", 0.1),
    ],
)
def test_gradient(trained, weight, tolerance):
    expected = reference()[1][f"grad/{weight}"]
    close(sampled(gradients(trained[0])[weight].contiguous(), expected), expected, tolerance)


@pytest.mark.parametrize("layer", ["bn_conv1", "yolo_spp_conv_bn"])
def test_moving_statistics(trained, layer):
    module, tensors = tao_layers(trained[0].net)[layer], reference()[1]
    close(module.running_var.numpy(), tensors[f"after1/{layer}/moving_variance"], 1e-6)
    if f"after1/{layer}/moving_mean" in tensors:
        close(module.running_mean.numpy(), tensors[f"after1/{layer}/moving_mean"], 1e-6)


@pytest.mark.parametrize("backbone", deeper_are_exhaustive(PARAMETERS))
def test_number_of_parameters_and_of_predictions(backbone):
    expected = PARAMETERS[backbone]
    config = YOLOv4Config(backbone=backbone, classes=tuple("abcde"), height=320, width=320)
    with torch.device("meta"):
        detector = YOLOv4Detector(config)
    state = detector.net.state_dict()
    found = sum(values.numel() for name, values in state.items() if not name.endswith("num_batches_tracked"))
    assert found == expected["params_total"]
    with torch.device("meta"):
        maps = detector.net(torch.empty(1, 3, 320, 320))
    assert sum(each.shape[1] // 10 * each.shape[2] * each.shape[3] for each in maps) == expected["n_boxes_320"]
