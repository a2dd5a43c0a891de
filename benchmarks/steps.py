"""Training steps on one synthetic batch that stays on the device: what a training could reach if it never waited."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import nn
from torch.nn import functional as F
from torchvision import models

from xraycls.models.classifier import build_classifier
from xraycls.models.detection.base import Detector
from xraycls.models.zoo import Architecture
from xraycls.training.config import TrainConfig
from xraycls.training.detection import Detection, Regularizer
from xraycls.training.optimizers import build_optimizer
from xraycls.training.precision import Precision, autocast, choose_precision, memory_format_of_detectors
from xraycls.training.task import Classification
from xraycls.types import Batch, Objects

CLASSES = ("NORMAL", "PNEUMONIA")
_WARM_UP = 2

Step = Callable[[], int]


def ceiling_step(config: TrainConfig, device: torch.device) -> Step:
    """Our step without our loop: classifier, task, optimiser, autocast and memory format of ``config``, warmed up.

    Returns:
        A function that does one step and gives the number of images.
    """
    classifier, _ = build_classifier(config.base_model, CLASSES, weights="none")
    layout = torch.channels_last if config.channels_last else torch.contiguous_format
    classifier.to(device=device, memory_format=layout)
    task = Classification(lambda *_: {}, lambda *_: {})
    optimizer = build_optimizer(config.optimizer, classifier.parameters(), config.learning_rate, config.weight_decay)
    precision = choose_precision(config.precision, device)
    batch = _synthetic(config.batch_size, classifier.size).to(device)

    def loss_of(batch: Batch) -> torch.Tensor:
        return task.loss(classifier, batch)

    scored = loss_of
    if config.compile:
        scored = torch.compile(loss_of, mode="reduce-overhead" if device.type == "cuda" else None)

    def step() -> int:
        with autocast(device, precision):
            loss = scored(batch) / config.batch_size
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return config.batch_size

    return _warmed_up(step)


def eager_step(architecture: Architecture, batch_size: int, device: torch.device) -> Step:
    """The ancestor's step with the same torchvision network: fp32, contiguous, eager, Adam and cross-entropy."""
    options = {"aux_logits": True, "init_weights": False} if architecture.auxiliary else {}
    net: nn.Module = models.get_model(architecture.builder, weights=None, num_classes=len(CLASSES), **options)
    net.to(device)
    optimizer = torch.optim.Adam(net.parameters(), lr=1e-4)
    synthetic = _synthetic(batch_size, architecture.input_size).to(device)
    images = synthetic.images.float().div(255).expand(-1, 3, -1, -1).contiguous()

    def step() -> int:
        optimizer.zero_grad()
        output = net(images)
        heads = (output,) if isinstance(output, torch.Tensor) else output
        weights = (1.0, *[architecture.auxiliary_weight] * (len(heads) - 1))
        losses = (weight * F.cross_entropy(head, synthetic.labels) for weight, head in zip(weights, heads, strict=True))
        torch.stack(list(losses)).sum().backward()
        optimizer.step()
        return batch_size

    return _warmed_up(step)


def detector_step(
    detector: Detector,
    batch: Batch,
    precision: Precision,
    device: torch.device,
    memory_format: torch.memory_format | None = None,
) -> Step:
    """A step of ``xraycls ssd train`` without its loop: hard-negative loss, L1 regulariser, SGD with momentum."""
    layout = memory_format or memory_format_of_detectors(device, precision, detector)
    detector.to(device=device, memory_format=layout).train()  # type: ignore[call-overload]
    task = Detection(Regularizer("L1", 3e-5), lambda *_: {}, lambda *_: None)
    optimizer = torch.optim.SGD(detector.parameters(), lr=1e-4, momentum=0.9, fused=True)
    batch = batch.to(device)

    def step() -> int:
        with autocast(device, precision):
            loss = task.loss(detector, batch) / len(batch.images)
        loss.backward()
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        return len(batch.images)

    return step


def synthetic_objects(batch_size: int, size: int, each: int = 2) -> Batch:
    """Noise in which ``each`` boxes a picture, 0.1–0.4 of its side, are to be found."""
    count = batch_size * each
    sides = size * (0.1 + 0.3 * torch.rand(count, 2))
    corners = torch.rand(count, 2) * (size - sides)
    objects = Objects(
        boxes=torch.cat([corners, corners + sides], dim=1),
        labels=torch.zeros(count, dtype=torch.int64),
        owners=torch.arange(batch_size).repeat_interleave(each),
        difficult=torch.zeros(count, dtype=torch.bool),
    )
    return replace(_synthetic(batch_size, size), objects=objects)


def _warmed_up(step: Step) -> Step:
    for _ in range(_WARM_UP):
        step()
    return step


def _synthetic(batch_size: int, size: int) -> Batch:
    images = torch.randint(0, 256, (batch_size, 1, size, size), dtype=torch.uint8)
    indices = torch.arange(batch_size)
    return Batch(images, indices % len(CLASSES), indices, torch.ones(batch_size))
