"""Detectors as Keras files: the graphs are those of TAO's own files, and weights survive the way there and back."""

import json
from pathlib import Path

import pytest
import torch

from xraycls.errors import UsageError
from xraycls.models.detection.base import Detector
from xraycls.models.detection.keras import detector_of_keras
from xraycls.models.detection.registry import build_detector, parse_detector_config
from xraycls.models.keras_file import KerasLayer, KerasModel, read_keras_file, write_keras_file
from xraycls.tao.networks import network_of

h5py = pytest.importorskip("h5py")


def detector_of(
    network: str, backbone: str, classes: str = "a", size: tuple[int, int] = (96, 128), **other: object
) -> Detector:
    height, width = size
    described = {"network": network, "backbone": backbone, "classes": tuple(classes), "height": height, "width": width}
    return build_detector(parse_detector_config(described | other)).eval()


def keras(detector: Detector) -> KerasModel:
    made = network_of(detector.config.network).keras
    assert made is not None
    return made(detector)


def saved(detector: Detector, path: Path) -> Path:
    write_keras_file(path, keras(detector))
    return path


def row_of(layer: KerasLayer) -> tuple:
    """A layer as the reference's tables have it: name, class, inputs, and shapes of weights."""
    kind, name = layer.kind, layer.name
    if kind == "TimeDistributed":
        kind = f"TimeDistributed({layer.config['layer']['class_name']})"
    return name, kind, list(layer.inputs), [[each, list(values.shape)] for each, values in layer.weights.items()]


@pytest.mark.parametrize(
    ("reference", "detector"),
    [
        ("ssd_resnet18", ("ssd", "resnet18")),
        ("yolov4_resnet18", ("yolo_v4", "resnet18", "abcde", (128, 160))),
    ],
)
def test_layers_are_those_of_taos_graph(shared, reference, detector):
    facts = json.loads((shared / "reference" / "golden_networks" / f"{reference}.json").read_text())
    model = keras(detector_of(*detector))
    assert [row_of(layer) for layer in model.layers] == [(*row[:3], row[4]) for row in facts["layers"]]


def test_layers_of_faster_rcnn_are_those_of_taos_graph_of_training(shared):
    folder = shared / "reference" / "golden_networks"
    facts = json.loads((folder / "frcnn_resnet18.json").read_text())
    detector = detector_of("faster_rcnn", "resnet18", "abc", (192, 256), use_bias=True)
    found = {row_of(layer)[0]: row_of(layer) for layer in keras(detector).layers}
    # The reference's table is of evaluation, without targets; training has three layers more.
    of_training = {"input_gt_cls", "input_gt_bbox", "proposal_target_1"}
    assert found.keys() - {row[0] for row in facts["layers"]} == of_training
    assert found["crop_and_resize_1"][2] == ["block_3b_relu", "proposal_target_1", "input_image"]
    rest = [(*row[:3], row[4]) for row in facts["layers"] if row[0] != "crop_and_resize_1"]
    assert [found[row[0]] for row in rest] == rest


def test_settings_of_layers_of_faster_rcnn_are_those_of_taos_file(shared):
    layout = json.loads((shared / "reference" / "golden_networks" / "hdf5_layout.json").read_text())
    (theirs,) = (file for name, file in layout["files"].items() if name.startswith("frcnn"))
    model = keras(detector_of("faster_rcnn", "resnet18", "abc", (192, 256), use_bias=True))
    layers = {layer.name: layer for layer in model.layers}
    assert len(layers) == theirs["n_layer_names"]
    # What the reference's own training set otherwise than the detector here, and what only its optimiser reads.
    differ = ("pre_nms_top_N", "post_nms_top_N", "roi_train_bs", "trainable", "name", "kernel_regularizer")
    for example in theirs["model_config_examples"]:
        expected, found = example["config"], {"name": example["name"], **layers[example["name"]].config}
        if example["class_name"] == "TimeDistributed":
            expected, found = expected["layer"]["config"], found["layer"]["config"]
        assert expected.keys() - found.keys() <= {"trainable"}
        for setting in found.keys() - set(differ):
            wanted = pytest.approx(expected[setting]) if "iou" in setting else expected[setting]
            assert found[setting] == wanted, setting


def contents(group: "h5py.Group") -> list[tuple]:
    """Layers in their order with the kinds and the float32 numbers of their weights; scopes of TensorFlow left out."""
    return [
        (name, [(each.decode().rpartition("/")[2], group[name][each][()].tobytes()) for each in weights])
        for name in map(bytes.decode, group.attrs["layer_names"])
        for weights in [group[name].attrs["weight_names"]]
    ]


@pytest.mark.parametrize("name", ["ssd_resnet10_small", "ssd_resnet10_small_pruned"])
def test_a_real_file_comes_back_as_it_was(shared, name, tmp_path):
    source = shared / "reference" / "golden_networks" / f"{name}.hdf5"
    detector, _ = detector_of_keras(source, detector_of("ssd", "resnet10").config)
    with h5py.File(source) as theirs, h5py.File(saved(detector, tmp_path / "model.hdf5")) as ours:
        assert ours.attrs["keras_version"] == theirs.attrs["keras_version"]
        assert contents(ours["model_weights"]) == contents(theirs["model_weights"])
        graphs = [json.loads(file.attrs["model_config"])["config"] for file in (theirs, ours)]
    for graph in graphs:
        for layer in graph["layers"]:
            layer["config"].pop("kernel_initializer", None)  # of training from scratch
            if layer["config"].get("kernel_size") == [1, 1]:
                layer["config"].pop("padding")  # "valid" is "same" then
    assert graphs[0] == graphs[1]


EVERY = [
    *(("ssd", name) for name in ("vgg16", "darknet53", "mobilenet_v1", "squeezenet", "googlenet", "efficientnet_b0")),
    *(("dssd", name) for name in ("resnet10", "mobilenet_v2")),
    *(("yolo_v4", name) for name in ("cspdarknet_tiny", "cspdarknet19", "mobilenet_v2", "efficientnet_b0")),
    *(("faster_rcnn", name) for name in ("resnet50", "vgg16", "mobilenet_v1", "googlenet", "efficientnet_b0")),
]


@pytest.mark.parametrize(
    ("network", "backbone"),
    [
        pytest.param(
            *each,
            marks=() if each in (("dssd", "resnet10"), ("yolo_v4", "cspdarknet_tiny")) else pytest.mark.exhaustive,
        )
        for each in EVERY
    ],
)
def test_every_weight_survives_the_way_there_and_back(network, backbone, tmp_path):
    size = (160, 160) if network == "faster_rcnn" else (64, 64)
    detector = detector_of(network, backbone, size=size)
    for module in detector.net.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            torch.nn.init.uniform_(module.running_mean)
            torch.nn.init.uniform_(module.running_var, 0.5, 2.0)
    again, _ = detector_of_keras(saved(detector, tmp_path / "model.hdf5"), detector.config)
    state = detector.net.state_dict()
    for name, tensor in again.net.state_dict().items():
        if "num_batches" not in name:
            torch.testing.assert_close(tensor, state[name], rtol=0, atol=0)


def test_a_network_for_grey_pictures_says_its_channels(tmp_path):
    detector = detector_of("yolo_v4", "cspdarknet_tiny", size=(64, 64), mean=(117.0,))
    assert read_keras_file(saved(detector, tmp_path / "grey.hdf5")).input_shape == (1, None, None)


@pytest.mark.parametrize(
    ("changed", "words"),
    [({"loss": {"focal": (0.25, 2.0)}}, "focal"), ({"anchors": {"offsets": (0.3,) * 6}}, "steps and offsets")],
)
def test_what_taos_files_cannot_hold_is_said(changed, words):
    with pytest.raises(UsageError, match=words):
        keras(detector_of("ssd", "resnet10", size=(64, 64), **changed))
