"""The whole Faster R-CNN against the numbers of upstream's, executed with weights by a formula."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn

from tests.models.formula import fill, formula_tensor
from xraycls.models.detection.base import Suppression
from xraycls.models.detection.faster_rcnn import FasterRCNN, FasterRCNNConfig
from xraycls.models.detection.faster_rcnn_loss import FasterRCNNLoss
from xraycls.models.detection.proposals import ProposalSettings, crop_and_resize
from xraycls.types import Objects

YXYX = [1, 0, 3, 2]
KINDS = {False: {"weight": "kernel", "bias": "bias"}, True: {"weight": "gamma", "bias": "beta"}}
COUNTS = {
    "resnet:10": ("resnet10", ("use_bias True", "use_bias False")),
    "resnet:18": ("resnet18", ("use_bias True", "use_bias False")),
    "resnet:50": ("resnet50", ("use_bias True", "use_bias False")),
    "vgg:16": ("vgg16", ("use_bias False",)),
    "mobilenet_v2": ("mobilenet_v2", ("use_bias False",)),
    "darknet:53": ("darknet53", ("use_bias False",)),
    "googlenet": ("googlenet", ("use_bias False",)),
}


class Golden:
    """The stored figures, the network with the formula's weights, and what it gives."""

    def __init__(self, folder: Path) -> None:
        self.facts = json.loads((folder / "frcnn_resnet18.json").read_text())
        with np.load(folder / "frcnn_resnet18.npz") as stored:
            self.arrays = {name: torch.from_numpy(stored[name]) for name in stored.files}
        network, train = self.facts["network"], self.facts["train"]
        config = FasterRCNNConfig(
            backbone="resnet18",
            classes=("a", "b", "c"),
            height=192,
            width=256,
            mean=(0.0, 0.0, 0.0),
            suppression=Suppression(
                network["object_confidence_thres"],
                network["classifier_nms_overlap_threshold"],
                network["classifier_nms_max_boxes"],
            ),
            scales=tuple(network["scales"]),
            ratios=tuple(network["ratios"]),
            use_bias=True,
            proposals=ProposalSettings(
                network["eval_rpn_pre_nms_top_N"],
                network["eval_rpn_nms_max_boxes"],
                network["eval_rpn_nms_overlap_threshold"],
            ),
            loss=FasterRCNNLoss(
                proposals=ProposalSettings(
                    train["rpn_pre_nms_top_N"], train["rpn_nms_max_boxes"], train["rpn_nms_overlap_threshold"]
                ),
                rpn_batch=train["rpn_mini_batch"],
                roi_batch=train["roi_mini_batch"],
            ),
        )
        self.detector = FasterRCNN(config).eval()
        self.layers = {name: self.detector.net.get_submodule(p) for p, name in self.detector.layer_names.items()}
        fill(self.layers, self.facts["gain_rules"])
        self.names = {
            f"{path}.{name}": f"{layer}/{KINDS[isinstance(self.layers[layer], nn.BatchNorm2d)][name]}"
            for path, layer in self.detector.layer_names.items()
            for name, _ in self.layers[layer].named_parameters()
        }
        self.image = formula_tensor((1, 3, 192, 256), "input_image", 2.0)
        self.detector.normalized = lambda images: images
        with torch.no_grad():
            self.raw = self.detector(self.image)
            self.features = self.detector.net.backbone(self.image)[0]
            # A unit in the last place of a region decides whether a row of its crop is zero: the stored ones go on.
            self.rois = self.rows("eval/rois_yxyx")
            self.second = self.detector.second_stage(self.features, self.rois)

    def rows(self, name: str) -> torch.Tensor:
        return self.arrays[name][..., YXYX]


@pytest.fixture(scope="module")
def golden(shared) -> Golden:
    return Golden(shared / "reference" / "golden_networks")


def same(found: torch.Tensor, expected: torch.Tensor, tolerance: float = 1e-5) -> None:
    assert found.shape == expected.shape
    assert float((found - expected).abs().max() / expected.abs().max()) <= tolerance


def test_the_layers(golden):
    table = {row[-1] if len(row) > 5 else row[0]: dict(row[4]) for row in golden.facts["layers"] if row[4]}
    assert set(golden.layers) == set(table)
    for name, layer in golden.layers.items():
        out, into, *size = (*layer.weight.shape, 0)
        expected = table[name]["gamma"] if isinstance(layer, nn.BatchNorm2d) else table[name]["kernel"]
        assert expected == ([out] if isinstance(layer, nn.BatchNorm2d) else [*size[:-1], into, out])


def test_the_first_stage_and_its_proposals(golden):
    *_, logits, deltas = golden.raw
    same(logits.sigmoid(), golden.arrays["eval/rpn_out_class"])
    same(deltas, golden.arrays["eval/rpn_out_regress"])
    same(golden.raw[0], golden.rois)


def test_the_features_and_the_crops(golden):
    expected = golden.facts["eval"]["block_3b_relu"]
    assert list(golden.features.shape) == expected["shape"]
    same(golden.features.flatten()[::9], golden.arrays["eval/block_3b_relu"])
    crops = crop_and_resize(golden.features, golden.rois, height=192, width=256, size=7)
    same(crops.flatten()[::39], golden.arrays["eval/roi_crop"])


def test_the_second_stage(golden):
    logits, deltas = golden.second
    same(logits.softmax(dim=-1), golden.arrays["eval/rcnn_class_probs"])
    same(deltas.flatten(2), golden.arrays["eval/rcnn_deltas"])


def test_the_detections(golden):
    [found] = golden.detector.detect((golden.rois, *golden.second))
    same(torch.from_numpy(found.boxes), golden.rows("eval/nms_boxes_yxyx")[0])
    same(torch.from_numpy(found.scores), golden.arrays["eval/nms_scores"][0])
    assert found.labels.tolist() == golden.arrays["eval/nms_classes"][0].tolist()


@pytest.fixture(scope="module")
def trained(golden) -> dict[str, torch.Tensor]:
    """The terms of the loss of a step with the stored draws, whose gradients are then in the network."""
    facts, detector = golden.facts["train"], golden.detector
    detector.freeze((0, 1), statistics=True)
    detector.train()
    valid = golden.arrays["train/rpn_scores_target"][:, :9].permute(0, 2, 3, 1).reshape(1, -1)
    detector.draws = lambda *shape: valid if len(shape) == 2 else (torch.arange(shape[2]) / shape[2]).expand(shape)
    boxes = torch.tensor(facts["gt_boxes_yxyx"])[:, YXYX]
    labels = torch.tensor(facts["gt_class"]).long()
    objects = Objects(boxes, labels, torch.zeros(3, dtype=torch.int64), torch.zeros(3, dtype=torch.bool))
    found = {}

    def stored_regions(rpn: tuple[torch.Tensor, torch.Tensor], settings: ProposalSettings) -> torch.Tensor:
        found["rois"] = FasterRCNN.proposals(detector, rpn, settings)
        return golden.rows("train/rois_yxyx")

    detector.proposals = stored_regions
    terms = detector.loss(golden.image, objects, torch.ones(1))
    torch.stack([*terms.values()]).sum().backward()
    return {name: term.detach() for name, term in terms.items()} | found


def test_the_proposals_of_training(golden, trained):
    same(trained["rois"], golden.rows("train/rois_yxyx"))


def test_the_four_losses(golden, trained):
    expected = golden.facts["train"]["losses"]
    for ours, theirs in {"rpn_box": "rpn_regr", "roi_class": "rcnn_class", "roi_box": "rcnn_regr"}.items():
        assert float(trained[ours]) == pytest.approx(expected[theirs], rel=1e-5)
    assert float(trained["rpn_class"]) == pytest.approx(expected["rpn_class"], rel=1e-5)


def test_what_learns(golden, trained):
    learning = {golden.names[name] for name, p in golden.detector.net.named_parameters() if p.requires_grad}
    assert learning == set(golden.facts["train"]["trainable_weights"])


def test_the_norms_of_all_gradients(golden, trained):
    expected = dict(golden.facts["train"]["gradient_L2_norms_of_the_four_losses"])
    for name, parameter in golden.detector.net.named_parameters():
        if parameter.requires_grad:
            norm = float(parameter.grad.double().norm())
            assert norm == pytest.approx(expected[golden.names[name]], rel=1e-4), name


def test_samples_of_gradients(golden, trained):
    ours = {upstream: name for name, upstream in golden.names.items()}
    stored = {name.removeprefix("grad/"): array for name, array in golden.arrays.items() if name.startswith("grad/")}
    assert len(stored) == 8
    for upstream, expected in stored.items():
        gradient = golden.detector.net.get_parameter(ours[upstream]).grad
        keras = gradient.permute(2, 3, 1, 0) if gradient.ndim == 4 else gradient.T if gradient.ndim == 2 else gradient
        flat = keras.reshape(-1)
        step = next(k for k in range(1, len(flat) + 1) if -(-len(flat) // k) == expected.numel())
        same(flat[::step], expected.flatten(), 1e-4)


def test_what_is_regularised(golden):
    facts = golden.facts["train"]
    kernels = golden.detector.regularized()
    names = {id(p): golden.names[name] for name, p in golden.detector.net.named_parameters()}
    assert {names[id(kernel)] for kernel in kernels} == {f"{name}/kernel" for name in facts["regularised_weights"]}
    penalty = 1e-4 * sum(float(kernel.detach().double().square().sum()) for kernel in kernels)
    assert penalty == pytest.approx(facts["regularizer"]["value"], rel=1e-6)


@pytest.mark.parametrize(
    ("arch", "backbone", "bias"), [(arch, name, bias) for arch, (name, biases) in COUNTS.items() for bias in biases]
)
def test_the_numbers_of_parameters(shared, arch, backbone, bias):
    expected = json.loads((shared / "reference" / "golden_networks" / "frcnn_params.json").read_text())["nets"]
    facts = expected[arch][bias]
    with torch.device("meta"):
        detector = FasterRCNN(
            FasterRCNNConfig(
                backbone=backbone,
                classes=("a", "b", "c"),
                height=384,
                width=1280,
                use_bias=bias == "use_bias True",
            )
        )
    if arch.startswith("resnet"):
        detector.freeze((0, 1), statistics=True)
    parameters = list(detector.net.parameters())
    statistics = [b for name, b in detector.net.named_buffers() if not name.endswith("num_batches_tracked")]
    assert sum(p.numel() for p in [*parameters, *statistics]) == facts["params_total"]
    assert sum(p.numel() for p in parameters if p.requires_grad) == facts["params_trainable"]
    assert list(reversed(detector.net.dense_class.weight.shape)) == facts["dense_class_kernel"]
    images = torch.empty(1, 3, 384, 1280, device="meta")
    assert [*detector.net.backbone(images)[0].shape[1:]] == facts["backbone_output"][2]
    *ends, count = facts["rcnn_body_weighted_layers"]
    second = [name for path, name in detector.layer_names.items() if path.startswith("body.")]
    assert set(ends) <= set(second)
    assert len(second) == count
