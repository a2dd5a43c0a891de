"""YOLOv4 as a detector: configuration, sizes, files, pruning and a few steps of training."""

import pytest
import torch

from xraycls.compress.groups import channel_groups
from xraycls.errors import UsageError
from xraycls.models.detection.base import Suppression, total
from xraycls.models.detection.files import load_detector, save_detector
from xraycls.models.detection.yolo_v4 import YOLOv4Config, YOLOv4Detector
from xraycls.types import Objects

TINY = {"backbone": "cspdarknet_tiny", "classes": ("nodule", "opacity"), "height": 64, "width": 96}


@pytest.fixture(scope="module")
def detector() -> YOLOv4Detector:
    torch.manual_seed(0)
    return YOLOv4Detector(YOLOv4Config(**TINY, suppression=Suppression(0.001, 0.5, 20))).eval()


@pytest.mark.parametrize(
    ("fields", "sentence"),
    [
        ({"width": 100}, "The input of a YOLOv4 is 100 x 64. Choose multiples of 32."),
        ({"anchors": (((9, 9),),) * 3}, "A YOLOv4 on cspdarknet_tiny has 2 maps, but anchors are given for 3."),
        ({"backbone": "resnet18", "anchors": (((9, 9),),) * 2}, "has 3 maps, but anchors are given for 2."),
        ({"anchors": (((97, 9),), ((9, 9),))}, r"The anchor \(97, 9\) doesn't fit an input of 96 x 64."),
        ({"anchors": (((9, 0),), ((9, 9),))}, r"The anchor \(9, 0\) doesn't fit"),
        ({"backbone": "resnet81"}, "Unknown backbone of a YOLOv4 'resnet81'."),
    ],
)
def test_a_configuration_that_cannot_be_is_refused(fields, sentence):
    with pytest.raises(UsageError, match=sentence):
        YOLOv4Config(**{**TINY, **fields})


def test_a_configuration_travels_as_json(detector):
    assert YOLOv4Config.parse(detector.config.described()) == detector.config


def test_pictures_of_another_size_have_their_own_maps_and_pixels(detector):
    with torch.inference_mode():
        raw = detector(torch.randint(0, 255, (2, 1, 160, 128), dtype=torch.uint8))
        found = detector.detect(raw)
    assert [tuple(each.shape) for each in raw] == [(2, 21, 5, 4), (2, 21, 10, 8)]
    assert len(found) == 2
    assert found[0].boxes[:, [0, 2]].max() <= 128
    assert found[0].boxes.max() > 128


def test_centres_may_leave_their_cells_by_the_extension():
    anchors = (((9, 9),), ((9, 9),))
    wide = YOLOv4Detector(YOLOv4Config(**TINY, anchors=anchors, extend=(0.2, 0.0)))
    raw = torch.full((1, 7, 2, 3), 50.0), torch.full((1, 7, 4, 6), 50.0)
    predictions = wide.decode(raw)[0]
    assert predictions[0, 0].item() == pytest.approx((1 + 0.1) / 2)
    assert predictions[6, 0].item() == pytest.approx(1 / 4)


def test_a_saved_detector_says_the_same(detector, tmp_path):
    save_detector(detector, tmp_path / "model.safetensors")
    again = load_detector(tmp_path / "model.safetensors")[0].eval()
    images = torch.randint(0, 255, (1, 1, 64, 96), dtype=torch.uint8)
    with torch.inference_mode():
        assert all(torch.equal(a, b) for a, b in zip(again(images), detector(images), strict=True))
    assert again.config == detector.config


def test_a_few_steps_find_the_objects_of_a_batch():
    torch.manual_seed(0)
    learner = YOLOv4Detector(YOLOv4Config(**TINY)).train()
    images = torch.zeros(2, 1, 64, 96, dtype=torch.uint8)
    images[0, :, 10:40, 20:60] = 200
    images[1, :, 30:50, 10:30] = 120
    boxes = torch.tensor([[20.0, 10, 60, 40], [10, 30, 30, 50]])
    objects = Objects(boxes, torch.tensor([0, 1]), torch.tensor([0, 1]), torch.zeros(2, dtype=torch.bool))
    optimizer = torch.optim.Adam(learner.parameters(), 1e-3)
    losses = []
    for _ in range(20):
        loss = total(learner.loss(images, objects, torch.ones(2)))
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(float(loss.detach()))
    assert losses[-1] < 0.3 * losses[0]


def test_pruning_reaches_every_convolution_but_the_heads(detector):
    groups = channel_groups(detector.net, torch.zeros(1, 3, 64, 96))
    free = {name for group in groups if not group.fixed for name in group.producers}
    fixed = {name for group in groups if group.fixed for name in group.producers}
    assert {"heads.conv_big_object", "heads.conv_mid_object"} <= fixed
    assert {"top.yolo_conv1_1.0", "ends.0.yolo_conv3_6.0", "top_end.yolo_conv1_6.0"} <= free
