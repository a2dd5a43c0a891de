"""YOLOv4 and Faster R-CNN from Keras files laid out by TAO's rules, against the outputs that TAO's graphs gave.

No such files of TAO are at hand. These are written from the reference's tables of layers and its formula for weights
alone, so nothing here depends on what this package writes itself.
"""

import json
import re
from pathlib import Path

import numpy as np
import pytest
import torch

from tests.models.formula import close, formula, formula_tensor
from xraycls.models.detection.keras import detector_of_keras, start_from_keras
from xraycls.models.detection.registry import build_detector, parse_detector_config

h5py = pytest.importorskip("h5py")
pytestmark = pytest.mark.slow

SPREAD = {"bias": 0.1, "beta": 0.1, "moving_mean": 0.1, "gamma": 0.25, "moving_variance": 0.5}
CENTRE = {"gamma": 1.0, "moving_variance": 1.0}


def weight_of(key: str, kind: str, shape: list[int], gain: float) -> np.ndarray:
    """A weight of the reference's README, in Keras' layout."""
    scale = SPREAD.get(kind) or float(np.sqrt(3 * gain / np.prod(shape[:-1])))
    values = CENTRE.get(kind, 0.0) + scale * formula(int(np.prod(shape)), f"{key}/{kind}")
    return values.astype(np.float32).reshape(shape)


def layer_of(row: list) -> dict:
    """A row of the reference's table as the JSON of a layer."""
    name, kind, inputs, shape = row[:4]
    config = {"name": name, **({"batch_input_shape": shape} if kind == "InputLayer" else {})}
    if kind.startswith("TimeDistributed("):
        kind, inner = "TimeDistributed", kind[len("TimeDistributed(") : -1]
        config["layer"] = {"class_name": inner, "config": {"name": row[-1] if isinstance(row[-1], str) else ""}}
    return {"name": name, "class_name": kind, "config": config, "inbound_nodes": [[[i, 0, 0, {}] for i in inputs]]}


def write_reference(path: Path, facts: dict) -> Path:
    """The file that TAO would have saved of a reference's network, with the scopes of a model that was loaded again."""
    with h5py.File(path, "w") as file:
        graph = {"name": "model", "layers": [layer_of(row) for row in facts["layers"]]}
        file.attrs["model_config"] = json.dumps({"class_name": "Model", "config": graph})
        group = file.create_group("model_weights")
        group.attrs["layer_names"] = np.asarray([row[0].encode() for row in facts["layers"]])
        for row in facts["layers"]:
            own, key = group.create_group(row[0]), row[-1] if isinstance(row[-1], str) else row[0]
            gain = next((gain for pattern, gain in facts["gain_rules"] if re.match(pattern, key)), 1.0)
            own.attrs["weight_names"] = np.asarray([f"{row[0]}_1/{kind}:0".encode() for kind, _ in row[4]])
            for kind, shape in row[4]:
                own[f"{row[0]}_1/{kind}:0"] = weight_of(key, kind, shape, gain)
    return path


@pytest.fixture(scope="module")
def folder(shared: Path) -> Path:
    return shared / "reference" / "golden_networks"


def test_yolo_v4_gives_taos_heads_and_boxes(folder, tmp_path):
    facts, stored = json.loads((folder / "yolov4_resnet18.json").read_text()), np.load(folder / "yolov4_resnet18.npz")
    network = facts["network"]
    config = {
        "network": "yolo_v4",
        "backbone": "resnet18",
        "classes": tuple("abcde"),
        "height": 128,
        "width": 160,
        "anchors": [network["anchors_px_wh"][name] for name in ("big", "mid", "small")],
        "extend": [scale - 1.0 for scale in network["grid_scale_xy"]],
    }
    file = write_reference(tmp_path / "yolo.hdf5", facts)
    detector, lines = detector_of_keras(file, parse_detector_config(config))
    assert not any("stay as they were" in line or "no place" in line for line in lines)
    with torch.inference_mode():
        raw = detector.net(formula_tensor((1, 3, 128, 160), "input_image", 2.0))
        found = detector.decode(raw)
    for name, output in zip(("big", "mid", "sm"), raw, strict=True):
        expected = stored[f"eval/conv_{name}_object"]
        flat = output.numpy().ravel()
        close(flat[:: -(-flat.size // expected.size)].ravel(), expected.ravel(), 1e-5)
    centre, half = found[..., [1, 0]], found[..., [3, 2]] / 2
    scores = found[..., 4:5].sigmoid() * found[..., 5:].sigmoid()
    close(torch.cat([centre - half, centre + half, scores], -1).numpy(), stored["eval/decoded_predictions"], 1e-5)


def test_faster_rcnn_gives_taos_stages(folder, tmp_path):
    facts, stored = json.loads((folder / "frcnn_resnet18.json").read_text()), np.load(folder / "frcnn_resnet18.npz")
    network = facts["network"]
    config = {
        "network": "faster_rcnn",
        "backbone": "resnet18",
        "classes": tuple("abc"),
        "height": 192,
        "width": 256,
        "scales": network["scales"],
        "ratios": network["ratios"],
        "use_bias": True,
    }
    file = write_reference(tmp_path / "frcnn.hdf5", facts)
    detector, lines = detector_of_keras(file, parse_detector_config(config))
    assert not any("stay as they were" in line or "no place" in line for line in lines)
    with torch.inference_mode():
        (features,) = detector.net.backbone(formula_tensor((1, 3, 192, 256), "input_image", 2.0))
        logits, deltas = detector.net.rpn(features)
        rois = torch.from_numpy(stored["eval/rois_yxyx"])[..., [1, 0, 3, 2]]
        scores, offsets = detector.second_stage(features, rois)
    close(logits.sigmoid().numpy(), stored["eval/rpn_out_class"], 1e-5)
    close(deltas.numpy(), stored["eval/rpn_out_regress"], 1e-5)
    close(scores.softmax(-1).numpy(), stored["eval/rcnn_class_probs"], 1e-5)
    close(offsets.flatten(2).numpy(), stored["eval/rcnn_deltas"], 1e-5)


@pytest.mark.parametrize("network", ["faster_rcnn", pytest.param("yolo_v4", marks=pytest.mark.exhaustive)])
def test_a_backbone_of_ngc_gives_its_layers_to_a_detector(folder, network, tmp_path):
    layout = json.loads((folder / "hdf5_layout.json").read_text())["files"]
    (name,) = (each for each in layout if each.startswith("pretrained_resnet_18"))
    key = "layers_with_weights[name, [[dataset path below the layer group, shape, dtype]]]"
    rows = [
        (layer, [[path.split("/")[-1].removesuffix(":0"), shape] for path, shape, _ in weights])
        for layer, weights in layout[name][key]
    ]
    kinds = {"gamma": "BatchNormalization", "kernel": "Conv2D"}
    layers, before = [["input_1", "InputLayer", [], [None, 3, 64, 64], []]], "input_1"
    for layer, weights in rows:  # the table has no edges; a normalisation follows the convolution of its name
        source = convolution_of(layer) if "bn" in layer else before
        layers.append([layer, kinds[weights[0][0]], [source], [], weights])
        before = layer
    file = write_reference(tmp_path / "resnet_18.hdf5", {"layers": layers, "gain_rules": []})
    size = {"height": 192, "width": 192}
    config = parse_detector_config({"network": network, "backbone": "resnet18", "classes": ("a",), **size})
    detector = build_detector(config)
    lines = start_from_keras(detector, file)
    assert "1 layers of the file have no place here, the first being predictions." in lines
    places = {tao: path for path, tao in detector.layer_names.items()}
    for layer, weights in rows[:-1]:
        module = detector.net.get_submodule(places[layer])
        expected = weight_of(layer, *weights[0], 1.0)
        expected = expected.transpose(3, 2, 0, 1) if expected.ndim == 4 else expected
        np.testing.assert_array_equal(module.weight.detach().numpy(), expected)


def convolution_of(normalisation: str) -> str:
    """The convolution that a normalisation of ResNet follows."""
    return normalisation.replace("bn_conv1", "conv1").replace("_bn_", "_conv_")
