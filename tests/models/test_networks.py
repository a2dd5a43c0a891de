"""One tester for every detector of the table: what holds for one must hold for all, on every backbone that it takes."""

import copy
from itertools import product

import pytest
import torch
from torch import nn

from xraycls.compress.prune import prune
from xraycls.errors import UsageError
from xraycls.models.backbones.build import BACKBONES
from xraycls.models.detection.base import Detector, Suppression, total
from xraycls.models.detection.faster_rcnn_loss import FasterRCNNLoss
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.proposals import ProposalSettings
from xraycls.models.detection.registry import DETECTORS, build_detector, parse_detector_config
from xraycls.types import Objects

HEIGHT, WIDTH = 64, 96
FEW = ProposalSettings(candidates=50, count=10)
# What keeps a network small that has more to do than to look at a picture.
SMALLER = {"faster_rcnn": {"proposals": FEW, "loss": FasterRCNNLoss(proposals=FEW, roi_batch=10)}}
CLASSES = ("nodule", "opacity")
QUICK = ("resnet10",)
PAIRS = [
    pytest.param(pair, id="-".join(pair), marks=[] if pair[1] in QUICK else [pytest.mark.slow, pytest.mark.exhaustive])
    for pair in product(DETECTORS, BACKBONES)
]


@pytest.fixture(scope="module", params=PAIRS)
def original(request):
    """A detector with random weights, in evaluation mode; skipped where the network refuses a backbone by its name."""
    network, backbone = request.param
    torch.manual_seed(0)
    suppression = Suppression(confidence=0.001, iou=0.5, top_k=20)
    sizes = {"height": HEIGHT, "width": WIDTH, "suppression": suppression, **SMALLER.get(network, {})}
    try:
        config = DETECTORS[network].config_class()(network=network, backbone=backbone, classes=CLASSES, **sizes)
        return build_detector(config).eval()
    except UsageError as error:
        if backbone not in error.message:
            raise
        pytest.skip(f"{network} doesn't stand on {backbone}")


@pytest.fixture
def detector(original):
    """A copy that a test may change."""
    return copy.deepcopy(original)


def pictures(count: int = 2) -> torch.Tensor:
    noise = torch.Generator().manual_seed(0)
    return torch.randint(0, 256, (count, 1, HEIGHT, WIDTH), dtype=torch.uint8, generator=noise)


def objects() -> Objects:
    """One object in the first of two pictures, two in the second."""
    boxes = torch.tensor([[10.0, 20.0, 70.0, 80.0], [30.0, 5.0, 120.0, 90.0], [0.0, 40.0, 40.0, 95.0]])
    return Objects(boxes, torch.tensor([0, 1, 0]), torch.tensor([0, 1, 1]), torch.zeros(3, dtype=torch.bool))


def terms(detector: Detector, images: torch.Tensor, weights: tuple[float, float] = (1.0, 1.0)) -> dict:
    return detector.loss(images, objects(), torch.tensor(weights))


@torch.no_grad()
def test_raw_outputs_have_the_batch_first_whatever_its_size(original):
    images = pictures(3)
    alone = original(images[:1])
    for count in (1, 2, 3):
        raw = original(images[:count])
        assert [part.shape for part in raw] == [(count, *part.shape[1:]) for part in alone]
        assert all(part.isfinite().all() for part in raw)
        found = original.detect(raw)
        assert len(found) == count
        assert found[0].scores[:3] == pytest.approx(original.detect(alone)[0].scores[:3], rel=1e-3)


@torch.no_grad()
def test_detections_are_sorted_and_have_classes(original):
    for found in original.detect(original(pictures())):
        assert 0 < len(found.scores) <= original.config.suppression.top_k
        assert found.boxes.shape == (len(found.scores), 4)
        assert (found.boxes[:, 2:] >= found.boxes[:, :2]).all()
        assert (found.scores[:-1] >= found.scores[1:]).all()
        assert 0.001 < found.scores.min() <= found.scores.max() <= 1
        assert set(found.labels.tolist()) <= {0, 1}


def test_every_parameter_has_a_finite_gradient_of_a_finite_loss(detector):
    found = terms(detector.train(), pictures())
    assert all(term.ndim == 0 and term.isfinite() and term >= 0 for term in found.values())
    total(found).backward()
    gradients = {name: parameter.grad for name, parameter in detector.named_parameters()}
    assert [name for name, gradient in gradients.items() if gradient is None or not gradient.isfinite().all()] == []
    first = next(name for name in gradients if name.startswith("net.backbone."))
    assert gradients[first].any()


@torch.no_grad()
def test_a_picture_without_weight_adds_nothing_to_the_loss(original):
    images = pictures()
    found = terms(original, images, (1.0, 0.0))
    images[1] = 255 - images[1]
    torch.testing.assert_close(terms(original, images, (1.0, 0.0)), found, rtol=1e-5, atol=1e-6)
    assert any(not torch.isclose(term, found[name]) for name, term in terms(original, images).items())


@torch.no_grad()
def test_statistics_move_in_training_alone(detector):
    norms = [module for module in detector.net.backbone.modules() if isinstance(module, nn.BatchNorm2d)]
    before = [norm.running_mean.clone() for norm in norms]
    detector(pictures())
    assert all(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))
    detector.train()(pictures())
    assert not any(torch.equal(norm.running_mean, old) for norm, old in zip(norms, before, strict=True))


def test_frozen_blocks_and_statistics_stay_in_training(detector):
    number = max(detector.blocks)
    detector.freeze((number,), statistics=True)
    assert any(not parameter.requires_grad for parameter in detector.net.parameters())
    assert all(name.rpartition(".")[0] in detector.layer_names for name, p in detector.net.named_parameters())
    before = {name: tensor.clone() for name, tensor in detector.net.backbone.named_buffers()}
    total(terms(detector.train(), pictures())).backward()
    assert all(torch.equal(tensor, before[name]) for name, tensor in detector.net.backbone.named_buffers())
    frozen = [parameter for parameter in detector.parameters() if not parameter.requires_grad]
    assert all(parameter.grad is None for parameter in frozen)


@torch.no_grad()
def test_a_file_gives_back_the_same_detector(original, tmp_path):
    path = tmp_path / "model.safetensors"
    save_detector(original, path)
    loaded = load_detector(path)[0]
    assert loaded.config == original.config == parse_detector_config(original.config.described())
    assert not loaded.training
    for one, other in zip(loaded(pictures()), original(pictures()), strict=True):
        assert torch.equal(one, other)


def test_what_pruning_leaves_is_saved_and_trained_on(detector, tmp_path):
    pytest.importorskip("torch_pruning")
    channels = len(detector.config.mean)
    report = prune(detector.net, torch.zeros(1, channels, HEIGHT, WIDTH), threshold=0.99, granularity=8, min_filters=8)
    assert 0 < report.ratio < 0.5
    detector.net = report.model
    path = tmp_path / "pruned.safetensors"
    save_detector(detector, path)
    loaded = load_detector(path)[0]
    assert sum(parameter.numel() for parameter in loaded.parameters()) < report.before
    with torch.no_grad():
        assert [part.shape for part in loaded(pictures())] == [part.shape for part in detector(pictures())]
    total(terms(loaded.train(), pictures())).backward()
    assert all(parameter.grad.isfinite().all() for parameter in loaded.parameters())


def test_layers_have_names_of_their_own(original):
    paths = {path for path, module in original.net.named_modules()}
    names = original.layer_names
    assert names.keys() <= paths
    assert len(set(names.values())) == len(names)


def test_the_penalty_covers_kernels_alone(original):
    covered = original.regularized()
    own = {id(parameter) for parameter in original.net.parameters()}
    assert covered
    assert all(parameter.ndim > 1 and id(parameter) in own for parameter in covered)
