"""The peers in detection: the input pipeline of torchvision's reference scripts, and its SSD300's training step.

The pipeline is their augmentation "ssd" (``references/detection/presets.py``) in torchvision's second API, followed by
the resize that the network itself would do, on whole batches of one size. On pictures without boxes its random crop
tries in vain again and again; the reference scripts leave such pictures out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import torch
from PIL import Image
from torch import nn
from torch.utils.data import DataLoader, Dataset
from torchvision import tv_tensors
from torchvision.models.detection import ssd300_vgg16
from torchvision.models.detection.ssd import SSD
from torchvision.transforms import v2

from benchmarks.ancestor import Epoch
from benchmarks.steps import Step
from xraycls.types import Batch, Objects, Sample

Backend = Literal["PIL", "tensor"]
"""What the reference scripts transform: pictures of Pillow, which is their default, or uint8 tensors."""

_FILL = (123.0, 117.0, 104.0)
_RATE, _MOMENTUM, _DECAY = 1e-4, 0.9, 5e-4  # a rate at which random weights stay finite


class BoxFiles(Dataset[tuple[torch.Tensor, dict[str, torch.Tensor]]]):
    """Files with their boxes, read by Pillow as RGB."""

    def __init__(self, samples: Sequence[Sample], transform: v2.Transform) -> None:
        self.samples = samples
        self.transform = transform

    def __len__(self) -> int:
        return len(self.samples)

    def __getitem__(self, index: int) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
        sample = self.samples[index]
        with Image.open(sample.path) as image:
            picture = image.convert("RGB")
        corners = [[box.left, box.top, box.right, box.bottom] for box in sample.boxes]
        size = (picture.height, picture.width)
        boxes = tv_tensors.BoundingBoxes(corners, format="XYXY", canvas_size=size)
        target = {"boxes": boxes, "labels": torch.ones(len(corners), dtype=torch.int64)}
        transformed: tuple[torch.Tensor, dict[str, torch.Tensor]] = self.transform(picture, target)
        return transformed


def ssd_transform(size: int, backend: Backend) -> v2.Transform:
    """The augmentation "ssd", to float32 [3, size, size] of 0–1 and the boxes that are still seen."""
    as_tensor = [v2.ToImage()]
    return v2.Compose(
        [
            *(as_tensor if backend == "tensor" else []),
            v2.RandomPhotometricDistort(),
            v2.RandomZoomOut(fill=_FILL),
            v2.RandomIoUCrop(),
            v2.RandomHorizontalFlip(),
            v2.Resize((size, size)),
            *(as_tensor if backend == "PIL" else []),
            v2.ToDtype(torch.float32, scale=True),
            v2.SanitizeBoundingBoxes(),
            v2.ToPureTensor(),
        ]
    )


def torchvision_epoch(
    samples: Sequence[Sample], transform: v2.Transform, *, batch_size: int, workers: int, place: torch.device
) -> Epoch:
    """A DataLoader whose batches go to ``place``; worker processes stay alive between epochs."""
    loader = DataLoader(
        BoxFiles(samples, transform),
        batch_size,
        shuffle=True,
        num_workers=workers,
        persistent_workers=workers > 0,
        pin_memory=place.type == "cuda",
        collate_fn=_together,
    )

    def run() -> int:
        count = 0
        for images, targets in loader:
            count += len(images.to(place, non_blocking=True))
            for target in targets:
                for value in target.values():
                    value.to(place, non_blocking=True)
        return count

    return run


def _together(items: Sequence[tuple[torch.Tensor, Any]]) -> tuple[torch.Tensor, list[Any]]:
    images, targets = zip(*items, strict=True)
    return torch.stack(images), list(targets)


def ssd300() -> SSD:
    """torchvision's SSD300 with VGG16, for one class and the background."""
    net: SSD = ssd300_vgg16(weights=None, weights_backbone=None, num_classes=2)
    return net


def ssd300_logits(net: SSD, images: torch.Tensor) -> torch.Tensor:
    """The logits of all its anchors, [b, a, 2], of pictures [b, 3, 300, 300] of 0–1: the network without its frame."""
    features = list(net.backbone(images).values())
    logits: torch.Tensor = net.head(features)["cls_logits"]
    return logits


def detection_targets(batch: Batch, device: torch.device) -> tuple[list[torch.Tensor], list[dict[str, torch.Tensor]]]:
    """A batch as torchvision's detectors take it: pictures [3, H, W] of 0–1, and the boxes of each.

    Args:
        batch: with objects.
        device: that computes.
    """
    if batch.objects is None:
        raise ValueError("a detector trains on batches with objects")
    images = list(batch.images.to(device).float().div(255).expand(-1, 3, -1, -1).contiguous())
    return images, [_target(batch.objects, row, device) for row in range(len(images))]


def detection_step(net: nn.Module, batch: Batch, device: torch.device) -> Step:
    """A step as in the reference scripts: fp32, contiguous, eager, SGD with momentum.

    Args:
        net: a detector of torchvision.
        batch: with objects.
        device: that computes.
    """
    images, targets = detection_targets(batch, device)
    net.to(device).train()
    optimizer = torch.optim.SGD(net.parameters(), lr=_RATE, momentum=_MOMENTUM, weight_decay=_DECAY)

    def step() -> int:
        losses = net(images, targets)
        optimizer.zero_grad()
        torch.stack(list(losses.values())).sum().backward()
        optimizer.step()
        return len(images)

    return step


def _target(objects: Objects, row: int, device: torch.device) -> dict[str, torch.Tensor]:
    mine = objects.owners == row
    return {"boxes": objects.boxes[mine].to(device), "labels": objects.labels[mine].to(device) + 1}
