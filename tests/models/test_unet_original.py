"""The original U-Net: its layers, what it learns, and its files."""

import copy
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn import functional as F

from tests.models.formula import close, filled, formula_tensor
from xraycls.errors import UsageError, WeightsError
from xraycls.evaluation.detection.cases import ImageBoxes, pool
from xraycls.evaluation.detection.overlap import overlaps
from xraycls.evaluation.detection.rsna import rsna_scores
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.map_boxes import component_boxes
from xraycls.models.detection.registry import build_detector
from xraycls.models.detection.unet_original import (
    OriginalUNetConfig,
    _mask_loss,
    _named,
    read_original,
    warp_grid,
    write_original,
)
from xraycls.types import Detections, Objects

GOLDEN = json.loads(Path(__file__).parents[1].joinpath("golden", "original_unet.json").read_text())
CONFIG = OriginalUNetConfig(classes=("Lung Opacity",), height=32, width=64)


@pytest.fixture(scope="module")
def detector():
    torch.manual_seed(0)
    return build_detector(CONFIG).eval()


def truth(boxes):
    n = len(boxes)
    zeros = torch.zeros(n, dtype=torch.int64)
    return Objects(torch.tensor(boxes).view(n, 4), zeros, zeros, torch.zeros(n, dtype=torch.bool))


def written_out(tensors, images):
    """The network layer by layer, from the names of its file alone, with torch's functions."""

    def unit(name, x, slope=0.03):
        norm = [tensors[f"{name}.bn.{each}"] for each in ("running_mean", "running_var", "weight", "bias")]
        return F.leaky_relu(F.batch_norm(x, *norm, eps=1e-5), slope)

    def pair(name, x):
        for k in (0, 1):
            one = f"{name}.{k}"
            x = F.conv2d(x, tensors[f"{one}.conv.weight"], tensors[f"{one}.conv.bias"], padding=1)
            x = unit(one, x)
        return x

    def lifted(name, x, skip):
        up = nn.ConvTranspose2d(*tensors[f"{name}.conv_t.weight"].shape[:2], 3, 2, 1)
        up.load_state_dict({each: tensors[f"{name}.conv_t.{each}"] for each in ("weight", "bias")})
        return torch.cat([skip, unit(name, up(x, output_size=skip.shape[2:]))], dim=1)

    skips = []
    for number in range(1, 6):
        images = pair(f"down_{number}", images)
        skips.append(images)
        images = F.max_pool2d(images, 2)
    images = pair("middle", images)
    for number, name in zip(range(5, 0, -1), ("middle_t", "up_5_t", "up_4_t", "up_3_t", "up_2_t"), strict=True):
        images = pair(f"up_{number}", lifted(name, images, skips[number - 1]))
    return images


def test_it_has_the_parameters_of_the_original():
    with torch.device("meta"):
        net = build_detector(OriginalUNetConfig(classes=("Lung Opacity",))).net
    assert sum(parameter.numel() for parameter in net.parameters()) == GOLDEN["parameters"] == 30_971_235


@pytest.fixture(scope="module")
def by_formula(tmp_path_factory):
    """The original's own file, read."""
    path = tmp_path_factory.mktemp("original") / "final.pth.tar"
    state = {name: torch.zeros(shape, dtype=None if shape else torch.int64) for name, shape in GOLDEN["state"]}
    torch.save({"best_threshold": 0.2, "state_dict": filled(state)}, path)
    read = read_original(path)
    detector = build_detector(replace(read.config, height=64, width=64, warp=0.0))
    detector.net.load_state_dict(read.net.state_dict())
    return detector


def golden_films():
    return (127.5 * (formula_tensor((2, 1, 64, 64), "films") + 1)).byte()


@torch.no_grad()
def test_its_logits_are_those_of_the_original_code(by_formula):
    (logits,) = by_formula.eval()(golden_films())
    close(logits.flatten()[::7].numpy(), np.array(GOLDEN["logits"]), 1e-5)


def test_its_loss_gradients_and_statistics_are_those_of_the_original_code(by_formula):
    detector = copy.deepcopy(by_formula).train()
    logits = detector.net(detector.normalized(golden_films()))
    targets = (formula_tensor((2, 1, 64, 64), "targets") > 0.5).float()
    (loss,) = _mask_loss(logits, targets, torch.ones(2)).values()
    loss.backward()
    assert loss.item() == pytest.approx(GOLDEN["loss"], rel=1e-5)
    norms = {name: each.grad.norm().item() for name, each in detector.net.named_parameters() if each.ndim > 1}
    expected = {_named(name): norm for name, norm in GOLDEN["gradients"].items()}
    assert norms == pytest.approx(expected, rel=1e-3)
    assert detector.net.up_1[1].bn.running_mean.tolist() == pytest.approx(GOLDEN["running_mean"], rel=1e-5)


@pytest.mark.parametrize("case", GOLDEN["boxes"])
def test_its_boxes_are_those_of_the_original_code(case):
    threshold, number = case.split("/")
    blocks = (formula_tensor((3, 1, 8, 8), "maps").numpy()[int(number), 0] + 1) / 2 * (0.1 if number == "2" else 1)
    probabilities = np.kron(blocks, np.ones((8, 8), np.float32))
    smallest = OriginalUNetConfig(classes=("Lung Opacity",)).boxes.smallest * probabilities.size
    boxes, scores = component_boxes(probabilities, float(threshold), 8, smallest)
    sides = np.concatenate([boxes[:, :2], boxes[:, 2:] - boxes[:, :2]], axis=1)
    found = dict(zip(map(tuple, sides.astype(int).tolist()), scores.tolist(), strict=True))
    expected = GOLDEN["boxes"][case]
    assert found == pytest.approx(dict(zip(map(tuple, expected["boxes"]), expected["confidences"], strict=True)))
    corners = [[x, y, x + w, y + h] for x, y, w, h in GOLDEN["truth"][number]]
    truth = ImageBoxes.of(corners, [0] * len(corners))
    cases = pool([truth], [Detections(boxes, np.zeros(len(boxes), np.int64), scores)])
    (precision,) = rsna_scores(cases, overlaps(cases, 0.4))
    assert precision == pytest.approx(np.nan if expected["precision"] is None else expected["precision"], nan_ok=True)


@torch.no_grad()
def test_its_file_says_the_same_as_the_layers_one_by_one(detector, tmp_path):
    write_original(detector, tmp_path / "final.pth.tar")
    content = torch.load(tmp_path / "final.pth.tar", weights_only=True)
    assert content["best_threshold"] == 0.2
    images = torch.randint(0, 200, (2, 1, 32, 64), dtype=torch.uint8)
    grey = images.float()
    low, high = grey.amin(dim=(1, 2, 3), keepdim=True), grey.amax(dim=(1, 2, 3), keepdim=True)
    expected = written_out(content["state_dict"], (grey - low) / (high - low))
    assert torch.allclose(detector(images)[0], expected, atol=1e-5)


@torch.no_grad()
def test_a_checkpoint_after_a_search_loads_with_its_threshold(detector, tmp_path):
    path = tmp_path / "final.pth.tar"
    write_original(detector, path)
    content = torch.load(path, weights_only=True)
    torch.save({**content, "best_threshold": np.float64(0.11)}, path)  # as NumPy's search leaves it
    read, _ = load_detector(path)
    assert read.config.boxes.threshold == 0.11
    small = build_detector(CONFIG).eval()
    small.net.load_state_dict(read.net.state_dict())
    images = torch.randint(0, 256, (1, 1, 32, 64), dtype=torch.uint8)
    assert torch.equal(small(images)[0], detector(images)[0])


@pytest.mark.exhaustive
def test_the_checkpoints_of_a_training_load_as_well(detector, tmp_path):
    write_original(detector, tmp_path / "final.pth.tar")
    tensors = torch.load(tmp_path / "final.pth.tar", weights_only=True)["state_dict"]
    optimizer = torch.optim.Adam(detector.net.parameters(), lr=0.5).state_dict()
    path = tmp_path / "prec.best.pth.tar"
    torch.save({"epoch": 2, "state_dict": tensors, "optim_dict": optimizer}, path)
    read, _ = load_detector(path)
    assert read.config.boxes.threshold == 0.2
    assert all(torch.equal(each, detector.net.state_dict()[name]) for name, each in read.net.state_dict().items())


def test_a_file_of_another_network_is_refused(tmp_path):
    torch.save({"state_dict": {"fc.weight": torch.zeros(2, 2)}}, tmp_path / "last.pth.tar")
    with pytest.raises(WeightsError, match="holds no U-Net of the original pipeline"):
        read_original(tmp_path / "last.pth.tar")


def test_it_is_saved_as_any_detector(detector, tmp_path):
    detector.config = replace(CONFIG, slope=0.03)
    save_detector(detector, tmp_path / "model.safetensors")
    read, _ = load_detector(tmp_path / "model.safetensors")
    assert read.config == CONFIG


def test_the_loss_is_that_of_filled_boxes_on_whole_pixels(detector):
    logits = torch.randn(1, 1, 32, 64)
    found = detector.criterion((logits,), truth([[3.4, 5.6, 20.2, 30.0]]), torch.ones(1))
    mask = torch.zeros(1, 1, 32, 64)
    mask[:, :, 6:30, 3:20] = 1.0
    assert found["mask"].item() == pytest.approx(F.binary_cross_entropy_with_logits(logits, mask).item(), rel=1e-6)


def test_the_warp_is_the_gaussian_of_scipy_and_every_film_has_its_own():
    ndimage = pytest.importorskip("scipy.ndimage")
    torch.manual_seed(5)
    grid = warp_grid(torch.zeros(2, 1, 64, 64), 2.0, 0.1)
    torch.manual_seed(5)
    noise = (torch.rand(2, 2, 64, 64) * 2 - 1).numpy()
    smooth = ndimage.gaussian_filter(noise, (0, 0, 6.4, 6.4), mode="mirror", truncate=4.0) * 2.0 * 64
    plain = (np.arange(64) + 0.5) / 32 - 1
    moved = (grid.numpy() - np.stack(np.meshgrid(plain, plain), axis=-1)) * 32  # pixels
    assert moved.transpose(0, 3, 1, 2) == pytest.approx(smooth, abs=1e-3)
    assert np.abs(moved[0] - moved[1]).max() > 1.0


def test_the_mask_moves_with_its_film():
    config = replace(CONFIG, warp=4.0, smoothness=0.1)
    detector = build_detector(config).train()
    box = [[16.0, 8.0, 48.0, 24.0]]
    film = torch.zeros(1, 1, 32, 64, dtype=torch.uint8)
    film[:, :, 8:24, 16:48] = 255
    seen = {}
    detector.net.forward = lambda images: seen.setdefault("film", images) * 1.0
    masks = detector._masks(truth(box), 1)
    torch.manual_seed(0)
    grid = warp_grid(film.float(), 4.0, 0.1)
    torch.manual_seed(0)
    detector.loss(film, truth(box), torch.ones(1))
    moved = F.grid_sample(masks, grid, align_corners=False)
    assert (moved - seen["film"]).abs().mean() < 0.01
    assert (moved - masks).abs().max() > 0.5


@pytest.mark.parametrize(
    ("change", "said"),
    [({"height": 40}, "multiples of 32"), ({"backbone": "resnet18"}, "no backbone resnet18")],
)
def test_what_it_cannot_be_is_said(change, said):
    with pytest.raises(UsageError, match=said):
        build_detector(replace(CONFIG, **change))


def test_the_search_tries_the_thresholds_of_the_original():
    assert CONFIG.candidates(5) == ()
    tried = [each.boxes.threshold for each in replace(CONFIG, search=True).candidates(5)]
    assert (tried[0], tried[-1], len(tried)) == (0.01, 0.59, 59)
