"""U-Net: what it learns from boxes, and how boxes are read from its maps."""

from dataclasses import replace
from functools import partial

import numpy as np
import pytest
import torch
from torch.nn import functional as F

from xraycls.errors import UsageError
from xraycls.inference.exported_detections import suppressed
from xraycls.loaders.objects import on_canvas
from xraycls.loaders.recipes.unet import UNetRecipe
from xraycls.loaders.views import Canvas
from xraycls.models.detection.map_boxes import BoxRule, boxes_of_maps, centre_boxes, component_boxes, shrunk
from xraycls.models.detection.registry import build_detector, parse_detector_config, stored_detector_config
from xraycls.models.detection.unet import UNetConfig
from xraycls.models.detection.unet_loss import (
    REACH,
    UNetLoss,
    box_heat,
    centre_loss,
    dice,
    object_masks,
    side_boxes,
    unet_loss,
)
from xraycls.types import Objects


def objects(boxes, labels=None, owners=None):
    n = len(boxes)
    return Objects(
        torch.tensor(boxes, dtype=torch.float32).reshape(n, 4),
        torch.tensor(labels or [0] * n),
        torch.tensor(owners or [0] * n),
        torch.zeros(n, dtype=torch.bool),
    )


def small(**fields):
    torch.manual_seed(0)
    return build_detector(UNetConfig(backbone="resnet10", classes=("a",), height=64, width=64, **fields)).eval()


def test_a_mask_is_the_share_of_every_cell_that_a_box_covers():
    boxes = torch.tensor([[0.5, 1.0, 2.25, 3.0]])
    mask = object_masks(boxes, objects(boxes.tolist()), torch.Size((1, 1, 4, 4)))[0, 0]
    # Drawn a hundred times as large, and averaged.
    drawn = np.zeros((400, 400))
    drawn[100:300, 50:225] = 1
    assert mask.numpy() == pytest.approx(drawn.reshape(4, 100, 4, 100).mean(axis=(1, 3)))


def test_overlapping_boxes_do_not_add_up():
    boxes = torch.tensor([[0.0, 0.0, 2.0, 2.0], [1.0, 0.0, 3.0, 2.0]])
    assert object_masks(boxes, objects(boxes.tolist()), torch.Size((1, 1, 4, 4))).max() == 1.0


def test_masks_that_were_drawn_take_the_place_of_boxes():
    truth = objects([[0, 0, 8, 8], [8, 0, 16, 8], [0, 0, 16, 16]], labels=[0, 0, 1], owners=[0, 0, 1])
    drawn = np.random.default_rng(0).integers(0, 256, (3, 16, 16), dtype=np.uint8)
    masks = object_masks(truth.boxes, replace(truth, masks=torch.from_numpy(drawn)), torch.Size((2, 2, 4, 4)))
    shares = drawn.reshape(3, 4, 4, 4, 4).mean(axis=(2, 4)) / 255
    expected = np.zeros((2, 2, 4, 4))
    expected[0, 0], expected[1, 1] = shares[:2].max(axis=0), shares[2]
    assert masks.numpy() == pytest.approx(expected, abs=1e-6)
    none = replace(objects([]), masks=torch.zeros(0, 16, 16, dtype=torch.uint8))
    assert not object_masks(none.boxes, none, torch.Size((1, 1, 4, 4))).any()


def test_dice_is_that_of_the_formula():
    p, t = torch.tensor([[[[0.5, 0.25]]]]), torch.tensor([[[[1.0, 0.0]]]])
    assert dice(p, t).item() == pytest.approx(1 - (2 * 0.5 + 1) / (0.25 + 0.0625 + 1 + 1))


def test_the_loss_of_centres_is_that_of_the_paper():
    logits, heat = torch.tensor([[[[2.0, -1.0]]]]), torch.tensor([[[[1.0, 0.5]]]])
    p = logits.sigmoid().flatten().tolist()
    expected = -((1 - p[0]) ** 2 * np.log(p[0]) + (1 - 0.5) ** 4 * p[1] ** 2 * np.log(1 - p[1]))
    assert centre_loss(logits, heat, torch.ones(1)).item() == pytest.approx(expected, rel=1e-5)


def test_heat_falls_by_the_spread_of_the_box():
    heat = box_heat(torch.tensor([[2.0, 4.0, 12.0, 14.0]]), 20, 20, 0.2)[0]
    assert heat[9, 7] == 1.0
    assert heat[9, 9].item() == pytest.approx(np.exp(-0.5))  # two cells are one standard deviation


def test_sides_say_the_box_from_the_middle_of_a_cell():
    wanted = torch.tensor([0.5, 1.0, 0.25, 0.75])
    raw = torch.log(torch.expm1(wanted))[None, :, None, None].expand(1, 4, 8, 16)
    left, top, right, bottom = side_boxes(raw)[0, 3, 5].tolist()
    assert (5.5 - left, right - 5.5) == pytest.approx((0.5 * 16 * REACH, 0.25 * 16 * REACH), rel=1e-5)
    assert (3.5 - top, bottom - 3.5) == pytest.approx((8 * REACH, 0.75 * 8 * REACH), rel=1e-5)


def test_a_perfect_answer_costs_next_to_nothing():
    truth = objects([[16.0, 16.0, 48.0, 40.0]])
    mask = object_masks(truth.boxes / 4, truth, torch.Size((1, 1, 16, 16)))
    heat = box_heat(truth.boxes / 4, 16, 16, 0.18)
    x = torch.arange(16) + 0.5
    reach = torch.stack(
        [
            (x[None] - 4).expand(16, 16),
            (x[:, None] - 4).expand(16, 16),
            (12 - x[None]).expand(16, 16),
            (10 - x[:, None]).expand(16, 16),
        ]
    )
    sides = torch.log(torch.expm1((reach / (16 * REACH)).clamp_min(1e-3)))[None]
    logit = 40 * (mask - 0.5)
    raw = (logit, torch.tensor([[20.0]]), 40 * ((heat == 1.0).float()[None] - 0.5), sides)
    size = torch.tensor([64.0] * 4)
    for name, term in unet_loss(raw, truth, torch.ones(1), size, UNetLoss()).items():
        assert term.item() < 1e-3, name


def test_an_unreadable_picture_adds_nothing():
    detector = small()
    raw = tuple(torch.randn(2, *part.shape[1:]) for part in detector(torch.zeros(1, 1, 64, 64, dtype=torch.uint8)))
    truth = objects([[4.0, 4.0, 40.0, 40.0]])
    both = detector.criterion(raw, truth, torch.tensor([1.0, 0.0]))
    alone = detector.criterion(tuple(part[:1] for part in raw), truth, torch.ones(1))
    assert {k: v.item() for k, v in both.items()} == pytest.approx({k: v.item() for k, v in alone.items()}, rel=1e-5)


def test_cells_that_touch_at_a_corner_are_one_region_of_eight_neighbours_and_two_of_four():
    ndimage = pytest.importorskip("scipy.ndimage")
    rng = np.random.default_rng(0)
    heat = (rng.random((40, 50)) * 0.9).astype(np.float32)
    heat[:4] = 0
    heat[0:2, 0:2] = heat[2:4, 2:4] = 0.8
    for connectivity, structure in ((8, np.ones((3, 3))), (4, None)):
        labels, count = ndimage.label(heat > 0.6, structure)
        slices = ndimage.find_objects(labels)
        expected = sorted(
            (s[1].start, s[0].start, s[1].stop, s[0].stop, round(float(heat[s].mean()), 4)) for s in slices
        )
        boxes, scores = component_boxes(heat, 0.6, connectivity)
        found = sorted((*map(int, box), round(float(score), 4)) for box, score in zip(boxes, scores, strict=True))
        assert len(found) == count
        assert [each[:4] for each in found] == [each[:4] for each in expected]
        assert np.array(found) == pytest.approx(np.array(expected), abs=2e-4)


def test_a_box_of_just_the_smallest_area_is_dropped():
    heat = np.zeros((64, 64), np.float32)
    heat[:25, :25] = 1.0
    assert len(component_boxes(heat, 0.5, 8, 625.0)[0]) == 0
    assert len(component_boxes(heat, 0.5, 8, 624.0)[0]) == 1


def test_a_threshold_above_every_pixel_finds_nothing():
    boxes, scores = component_boxes(np.full((8, 8), 0.5, np.float32), 0.5)
    assert (boxes.shape, scores.shape) == ((0, 4), (0,))


def test_centres_are_the_peaks_of_the_heat():
    heat = torch.zeros(8, 8)
    heat[2, 3], heat[2, 4], heat[6, 6] = 0.9, 0.5, 0.3
    boxes = torch.arange(8 * 8 * 4, dtype=torch.float32).view(8, 8, 4)
    found, scores = centre_boxes(heat.numpy(), boxes.numpy())
    assert scores == pytest.approx([0.9, 0.3])
    assert found.tolist() == [boxes[2, 3].tolist(), boxes[6, 6].tolist()]


def test_boxes_scores_and_the_tail_follow_the_rule():
    mask = np.zeros((1, 1, 16, 16), np.float32)
    mask[0, 0, 2:8, 2:8] = 0.8
    mask[0, 0, 10:14, 10:14] = 0.2  # below the threshold: of the tail
    found = boxes_of_maps(
        mask,
        np.array([[0.25]], np.float32),
        None,
        None,
        rule=BoxRule(threshold=0.5, smallest=0.0, tail=0.1, gate=0.5, shrink=0.5),
        size=(64, 32),
        suppress=partial(suppressed, confidence=0.001, iou=0.4, top_k=10),
    )[0]
    assert found.scores == pytest.approx([0.8 * 0.5, 0.2 * 0.1 * 0.5])
    assert found.boxes[0].tolist() == pytest.approx([14.0, 7.0, 26.0, 13.0])


@pytest.mark.parametrize(
    "field",
    [{"threshold": 1.0}, {"threshold": 0.0}, {"threshold": float("nan")}, {"shrink": 0.0}, {"gate": -1}, {"score": 2}],
)
def test_a_rule_out_of_range_is_refused(field):
    with pytest.raises(UsageError, match=next(iter(field))):
        BoxRule(**field)


def test_shrinking_keeps_the_centre():
    assert shrunk(np.array([[0, 0, 10, 20]], np.float32), 0.8).tolist() == [[1, 2, 9, 18]]


@torch.no_grad()
def test_the_mirror_image_gives_the_mirrored_maps():
    detector = small(flip=True)
    images = torch.randint(0, 256, (1, 1, 64, 64), dtype=torch.uint8)
    mask, _, centre, sides = detector(images)
    mirrored = detector(images.flip(3))
    assert torch.allclose(mirrored[0], mask.flip(3), atol=1e-5)
    assert torch.allclose(mirrored[2], centre.flip(3), atol=1e-5)
    assert torch.allclose(mirrored[3], sides.flip(3)[:, [2, 1, 0, 3]], atol=1e-5)


@torch.no_grad()
def test_exposure_changes_nothing_of_a_standardised_film():
    detector = small()
    dark = torch.randint(0, 100, (1, 1, 64, 64), dtype=torch.uint8)
    one, other = detector.normalized(dark), detector.normalized(2 * dark + 20)
    assert torch.allclose(one, other, atol=2.0)  # grey levels


def test_timm_backbones_give_the_maps_of_all_strides_and_take_their_weights():
    detector = build_detector(UNetConfig(backbone="timm:resnet10t", classes=("a",), height=64, width=64))
    backbone = detector.net.backbone
    assert backbone.strides == (4, 8, 16, 32)
    own = backbone.state_dict()
    assert all(f"{known}.weight" in own or known + ".bias" not in own for known in backbone.known_as.values())
    assert detector(torch.zeros(1, 1, 64, 64, dtype=torch.uint8))[0].shape == (1, 1, 16, 16)


@pytest.mark.parametrize(
    ("backbone", "said"),
    [("timm:resnet18x", "timm has no network resnet18x"), ("timm:vit_tiny_patch16_224", "timm:vit_tiny")],
)
def test_a_backbone_that_gives_no_maps_is_refused_by_name(backbone, said):
    with pytest.raises(UsageError, match=said):
        build_detector(UNetConfig(backbone=backbone, classes=("a",), height=64, width=64))


def test_threshold_gate_and_shrink_are_chosen_where_there_are_objects_enough():
    config = UNetConfig(classes=("a",))
    assert config.candidates(299) == (config,)
    assert replace(config, choose="none").candidates(5000) == ()
    many = [each.boxes for each in config.candidates(300)]
    assert many == [each.boxes for each in replace(config, choose="all").candidates(10)]
    of_masks = {(b.threshold, b.gate, b.shrink) for b in many if b.source == "mask"}
    assert {gate for _, gate, _ in of_masks} == {gate for b in many for gate in [b.gate]} == {0.0, 0.5, 1.0}
    assert len(of_masks) == len({t for t, _, _ in of_masks}) * 3 * len({s for _, _, s in of_masks})
    assert min(s for _, _, s in of_masks) == 0.8
    assert any(b.source == "centres" for b in many)
    assert not any(b.boxes.source == "centres" for b in replace(config, centres=False).candidates(300))


def test_the_deepest_map_is_that_of_the_last_block_and_was_widened_in_files_of_before(tmp_path):
    config = {"backbone": "mobilenet_v2", "classes": ("opacity",), "height": 64, "width": 64}
    detector = build_detector(UNetConfig(**config))
    assert detector.net.backbone.channels == (24, 32, 96, 320)
    widened = build_detector(UNetConfig(**config, top=True)).eval()
    assert widened.net.backbone.channels == (24, 32, 96, 1280)
    stored = widened.config.described()
    del stored["top"]
    assert stored_detector_config(stored) == widened.config
    assert parse_detector_config(stored) == detector.config


def test_how_boxes_are_read_is_no_part_of_the_architecture():
    config = UNetConfig(classes=("a",))
    other = config.reported_from(0.7)
    assert (config.reported, other.reported) == (0.3, 0.7)
    assert config.architecture() == other.architecture()


def test_a_turned_box_is_the_one_around_the_ellipse_in_it():
    angle = np.radians(20)
    turn = np.array([[np.cos(angle), -np.sin(angle), 5.0], [np.sin(angle), np.cos(angle), -3.0]])
    around = np.linspace(0, 2 * np.pi, 10001)
    ellipse = np.stack([40 + 30 * np.cos(around), 20 + 10 * np.sin(around)])
    shown = np.linalg.solve(turn[:, :2], ellipse - turn[:, 2:])
    (box,) = on_canvas(np.array([[10.0, 10.0, 70.0, 30.0]]), turn[None], inscribed=True)
    assert box == pytest.approx([*shown.min(axis=1), *shown.max(axis=1)], abs=1e-3)


def test_views_are_similarities_within_the_limits_of_the_recipe():
    recipe = UNetRecipe(Canvas(64, 64), degrees=7, zoom=0.18, shift=0.07)
    views = recipe.training_views(0, 0, 0, np.full((200, 2), 128.0))
    linear = views.matrices[:, :, :2] / 2
    scales = np.linalg.svd(linear, compute_uv=False)
    assert scales[:, 0] == pytest.approx(scales[:, 1])
    assert np.abs(np.log(scales)).max() <= 0.18
    mirrored = np.linalg.det(linear) < 0
    assert 60 < mirrored.sum() < 140
    angles = np.degrees(np.arctan2(-linear[:, 0, 1], linear[:, 1, 1]))
    assert 5 < np.abs(angles).max() <= 7
    middle = views.matrices @ np.array([32.0, 32.0, 1.0])
    assert np.abs(middle - 64).max() <= 0.07 * 128 + 1e-9


def test_flipping_without_other_changes_mirrors_the_film():
    recipe = UNetRecipe(Canvas(64, 64), flip=1.0, degrees=0, zoom=0, shift=0)
    matrix = recipe.training_views(0, 0, 0, [[128, 128]]).matrices[0]
    assert matrix == pytest.approx(np.array([[-2.0, 0, 128], [0, 2, 0]]))


def test_masks_learn_from_soft_targets_as_torch_says():
    truth = objects([[6.0, 4.0, 34.0, 30.0]])
    raw = (torch.randn(1, 1, 16, 16), torch.zeros(1, 1))
    target = object_masks(truth.boxes / 4, truth, torch.Size((1, 1, 16, 16)))
    terms = unet_loss(raw, truth, torch.ones(1), torch.tensor([64.0] * 4), UNetLoss(mask=2.0))
    assert terms["mask"].item() == pytest.approx(2 * F.binary_cross_entropy_with_logits(raw[0], target).item())
    assert terms["image"].item() == pytest.approx(0.3 * np.log(2))
